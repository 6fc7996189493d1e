"""Those who publish: over a WebSocket of their own, or with HTTP requests."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Protocol, Self

from supervisor.cli.load.client import ClientState, Inlet, LoadClient
from supervisor.cli.load.connecting import open_client, why_not
from supervisor.cli.load.errors import LoadError
from supervisor.cli.load.handshake import Address

__all__ = ["HttpPublisher", "Publisher", "WebSocketPublisher", "open_publisher"]

AS_TEXT = "The payload is sent as text/plain, as the body of a POST: does it take that?"

HINTS = {
    401: "It wants to know who is there: give it a header (--header).",
    403: "It refused: is a token or a header missing (--header)?",
    404: "There is nothing at that path.",
    405: "Nothing at that path takes a POST.",
    415: AS_TEXT,
    422: AS_TEXT,
}


class Publisher(Protocol):
    """Publishes one text after the other."""

    async def publish(self, text: str) -> None:
        """
        Publish, and wait while the server takes no more.

        Raises:
            LoadError: If the server does not take it.
        """

    @property
    def delivered(self) -> int:
        """Publications that came back to it, because it is a receiver too."""

    async def close(self) -> None:
        """Leave. Idempotent."""


async def open_publisher(
    url: str,
    *,
    subprotocol: str | None = None,
    headers: Sequence[tuple[str, str]] = (),
    hello: str | None = None,
) -> Publisher:
    """
    Connect a publisher.

    Args:
        url: ``ws://...``, where each text that is sent is broadcast, or ``http://...``, where
            each is posted to; ``wss`` and ``https`` too.
        subprotocol: Of the WebSocket.
        headers: More headers, as pairs.
        hello: What it sends first, over a WebSocket.

    Raises:
        LoadError: If the server cannot be reached, or refuses.
    """
    if url.startswith("http"):
        return await HttpPublisher.open(url, headers=headers)
    return await WebSocketPublisher.open(url, subprotocol=subprotocol, headers=headers, hello=hello)


class WebSocketPublisher:
    """Sends each text as a message; what comes back is read and counted."""

    def __init__(self, client: LoadClient) -> None:
        self._client = client

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        subprotocol: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        hello: str | None = None,
        inlet: Inlet | None = None,
        timeout: float = 10.0,
    ) -> Self:
        """Connect within ``timeout`` seconds; see :func:`open_publisher`."""
        address = Address.of(url, "ws")
        try:
            async with asyncio.timeout(timeout):
                client = await open_client(
                    address, inlet or Inlet(), subprotocol=subprotocol, headers=headers
                )
        except TimeoutError:
            raise LoadError(f"{url}: no connection within {timeout:g} s") from None
        if hello is not None:
            client.send(hello)
        return cls(client)

    @property
    def delivered(self) -> int:
        """Publications that came back."""
        return self._client.counter.delivered

    async def publish(self, text: str) -> None:
        """Send; see :class:`Publisher`."""
        client = self._client
        if client.state is not ClientState.OPEN:
            raise LoadError(f"the server ended a publisher's connection ({client.close_code})")
        client.send(text)
        await client.until_writable()

    async def close(self) -> None:
        """Leave, within a few seconds."""
        self._client.close()
        await asyncio.wait([self._client.gone], timeout=2)
        self._client.abort()
        await asyncio.wait([self._client.gone], timeout=2)


class HttpPublisher:
    """Posts each text as ``text/plain`` over one connection, and waits for each answer."""

    def __init__(
        self,
        address: Address,
        headers: Sequence[tuple[str, str]],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        timeout: float,
    ) -> None:
        self._address = address
        self._reader = reader
        self._writer = writer
        self._timeout = timeout
        lines = [
            f"POST {address.target} HTTP/1.1",
            f"Host: {address.authority}",
            "Content-Type: text/plain; charset=utf-8",
            *(f"{name}: {value}" for name, value in headers),
        ]
        self._head = "\r\n".join(lines).encode("latin-1")

    @classmethod
    async def open(
        cls, url: str, *, headers: Sequence[tuple[str, str]] = (), timeout: float = 10.0
    ) -> Self:
        """Connect; ``timeout`` seconds are the bound of this and of each request."""
        address = Address.of(url, "http")
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_connection(
                    address.host, address.port, ssl=True if address.secure else None
                )
        except (OSError, TimeoutError) as error:
            answered = isinstance(error, ssl.SSLError)
            raise LoadError(why_not(address, error, answered=answered)) from error
        return cls(address, headers, reader, writer, timeout)

    @property
    def delivered(self) -> int:
        """Nothing comes back to it."""
        return 0

    async def publish(self, text: str) -> None:
        """Post; see :class:`Publisher`."""
        body = text.encode()
        self._writer.write(b"%b\r\nContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body))
        try:
            async with asyncio.timeout(self._timeout):
                status, fields, answer = await self._answer()
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise LoadError(
                f"{self._address.url}: no answer to a publication ({str(error) or type(error).__name__})"
            ) from error
        if not 200 <= status < 300:
            raise LoadError(_refusal(self._address.url, status, fields, answer))

    async def close(self) -> None:
        """Leave."""
        self._writer.close()
        try:
            async with asyncio.timeout(2):
                await self._writer.wait_closed()
        except OSError:  # of which TimeoutError is one
            pass

    async def _answer(self) -> tuple[int, dict[str, str], bytes]:
        while True:
            first, *rest = (
                (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            )
            status = int(first.split(" ", 2)[1])
            if status >= 200:
                break
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)
        }
        if "chunked" in fields.get("transfer-encoding", "").lower():
            body = b""
            while size := int((await self._reader.readline()).split(b";")[0], 16):
                body += (await self._reader.readexactly(size + 2))[:-2]
            while (await self._reader.readline()).strip():
                pass
            return status, fields, body
        body = await self._reader.readexactly(int(fields.get("content-length", "0")))
        return status, fields, body


def _refusal(url: str, status: int, fields: dict[str, str], answer: bytes) -> str:
    """Return what was refused, what it may mean, and what the server said to it."""
    words = [f"{url} answered {status} to a publication."]
    if 300 <= status < 400 and "location" in fields:
        words.append(f"It redirects to {fields['location']}: publish there (--publish).")
    elif status in HINTS:
        words.append(HINTS[status])
    if said := " ".join(answer[:200].decode(errors="replace").split()):
        words.append(f"It said: {said}")
    return " ".join(words)
