"""
Who may talk to the server: rules as pure functions, and the middleware that applies them.

The example starts commands, so a page of another site must not be able to use
it through its visitor's browser. Three rules keep it out: the ``Host`` must be
one the server was started for (this stops DNS rebinding), an ``Origin`` must be
the server's own, and what changes something must be sent as JSON, which a
foreign page cannot do unasked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["LOOPBACK", "Guard", "host_allowed", "is_json", "same_origin"]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def host_allowed(host: str, allowed: Collection[str]) -> bool:
    """Say whether the ``Host`` header names one of ``allowed``, with any port; ``*`` allows all."""
    if "*" in allowed:
        return True
    try:
        return urlsplit(f"//{host}").hostname in allowed
    except ValueError:
        return False


def same_origin(origin: str | None, host: str) -> bool:
    """Say whether a request comes from the server's own page, or from no page at all."""
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == host.lower() != ""
    except ValueError:
        return False


def is_json(content_type: str) -> bool:
    """Say whether a ``Content-Type`` header announces JSON."""
    return content_type.partition(";")[0].strip().lower() == "application/json"


class Guard:
    """ASGI middleware: refuse unknown hosts, and add the security headers to every answer."""

    def __init__(self, app: ASGIApp, *, allowed_hosts: Collection[str]) -> None:
        self._app = app
        self._allowed = allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return

        if scope["type"] == "websocket":
            if self._trusts(scope):
                await self._app(scope, receive, send)  # unwrapped: each message passes through it
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": "unknown host"})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if self._trusts(scope):
            await self._app(scope, receive, send_with_headers)
            return
        names = ", ".join(sorted(self._allowed))
        refusal = PlainTextResponse(f"This server answers only as: {names}\n", status_code=421)
        await refusal(scope, receive, send_with_headers)

    def _trusts(self, scope: Scope) -> bool:
        return host_allowed(Headers(scope=scope).get("host", ""), self._allowed)
