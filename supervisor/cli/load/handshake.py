"""The opening handshake of RFC 6455, from the client's side: bytes and rules, no socket."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from supervisor.cli.load.errors import LoadError, ProtocolError, ServerRefused

__all__ = ["Address", "Handshake"]

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

LONGEST_ANSWER = 16 << 10
"""Bytes that the head of an answer may have."""

HINTS = {
    401: "It wants to know who is there: give it a header (--header).",
    403: "Is there a WebSocket at this path? If so, it refused: is this Origin allowed, is a token "
    "missing?",
    404: "There is nothing at that path.",
    426: "It wants another version of the protocol.",
    429: "It refuses more connections.",
    503: "It has no capacity: is a limit on connections set?",
}


@dataclass(frozen=True, slots=True)
class Address:
    """
    Where a URL leads.

    Attributes:
        url: As it was given.
        secure: Whether TLS is used.
        host: Name or address.
        port: Its own, or that of the scheme.
        target: Path and query.
    """

    url: str
    secure: bool
    host: str
    port: int
    target: str

    @classmethod
    def of(cls, url: str, *schemes: str) -> Address:
        """
        Take ``url`` apart.

        Args:
            url: Absolute.
            schemes: What it may begin with, such as ``ws``; with an ``s`` behind it, it uses TLS.

        Raises:
            LoadError: If it is no such URL.
        """
        parts = urlsplit(url)
        allowed = [name for scheme in schemes for name in (scheme, f"{scheme}s")]
        example = f"{schemes[0]}://127.0.0.1:8000/path"
        if parts.scheme not in allowed:
            raise LoadError(f"{url!r} is no address to use here: write it like {example}")
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            raise LoadError(f"{url!r} has no valid port: write it like {example}") from None
        if not host:
            raise LoadError(f"{url!r} names no host: write it like {example}")
        if not url.isascii() or not url.isprintable() or " " in url:
            raise LoadError(f"{url!r} has characters that have to be percent-encoded")
        secure = parts.scheme not in schemes
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(url, secure, host, port or (443 if secure else 80), target)

    @property
    def authority(self) -> str:
        """Host and port, as the header Host has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Handshake:
    """
    One opening handshake.

    Args:
        address: Where to.
        subprotocol: To offer; the server has to choose it.
        headers: More headers of the request, as pairs.
    """

    def __init__(
        self,
        address: Address,
        subprotocol: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._address = address
        self._subprotocol = subprotocol
        self._headers = headers
        self._key = base64.b64encode(secrets.token_bytes(16))

    def request(self) -> bytes:
        """Return what to send."""
        lines = [
            f"GET {self._address.target} HTTP/1.1",
            f"Host: {self._address.authority}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {self._key.decode()}",
            "Sec-WebSocket-Version: 13",
        ]
        if self._subprotocol is not None:
            lines.append(f"Sec-WebSocket-Protocol: {self._subprotocol}")
        lines += [f"{name}: {value}" for name, value in self._headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def end_of_head(self, answer: bytes | bytearray) -> int | None:
        """
        Return where the frames begin in what came; None while the head is incomplete.

        Raises:
            ServerRefused: If the answer is not 101.
            ProtocolError: If it is no answer to this request.
        """
        end = answer.find(b"\r\n\r\n")
        if end < 0:
            if len(answer) > LONGEST_ANSWER or not b"HTTP/1.".startswith(answer[:7]):
                raise ProtocolError(f"{self._address.url}: what answers there does not speak HTTP")
            return None
        first, *rest = bytes(answer[:end]).decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if not words[0].startswith("HTTP/1.") or len(words) < 2 or not words[1].isdigit():
            raise ProtocolError(f"{self._address.url}: what answers there does not speak HTTP")
        if words[1] != "101":
            status = int(words[1])
            raise ServerRefused(
                f"{self._address.url}: the server answered {' '.join(words[1:])} "
                f"instead of opening a WebSocket. {HINTS.get(status, '')}".rstrip(),
                status,
            )
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in rest)
        }
        digest = hashlib.sha1(self._key + GUID, usedforsecurity=False).digest()
        if fields.get("sec-websocket-accept") != base64.b64encode(digest).decode():
            raise ProtocolError(f"{self._address.url}: the server's handshake does not fit ours")
        if "sec-websocket-extensions" in fields:
            raise ProtocolError(f"{self._address.url}: the server uses an extension nobody offered")
        chosen = fields.get("sec-websocket-protocol")
        if chosen != self._subprotocol:
            raise ProtocolError(
                f"{self._address.url}: the subprotocol should be {self._subprotocol}, "
                f"the server chose {chosen or 'none'}"
            )
        return end + 4
