"""
An ASGI WebSocket server in memory, with one client: what real servers do, without sockets.

A :class:`Peer` is the client and the server's side of one connection. It behaves as uvicorn
does: after either side has closed, ``receive`` reports the disconnect as often as it is asked,
and every ``send`` raises. It also complains, in :attr:`Peer.faults`, of what a real server
would only suffer from: two writers or two readers at once, and whatever is sent although the
application knows of the end.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Self

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

__all__ = [
    "ALL_APPS",
    "ClientDisconnected",
    "Endpoint",
    "Peer",
    "bare_app",
    "fastapi_app",
    "starlette_app",
]

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]
Endpoint = Callable[[WebSocket], Awaitable[None]]


class ClientDisconnected(OSError):
    """What uvicorn raises on a send after the client has gone."""


class _ServerTransport:
    """What an application can reach of the server's own transport."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def is_closing(self) -> bool:
        return self._peer.over

    def get_write_buffer_size(self) -> int:
        return self._peer.unread

    def abort(self) -> None:
        self._peer.aborted = True
        self._peer.vanish()


class Peer:
    """
    One WebSocket between an application and a client, both within the test.

    Args:
        headers: Beside ``Host``.
        subprotocols: What the client offers.
        client: Its address.
        denial: Whether the server can refuse with an HTTP status of the application's choice.
        abortable: Whether the application can reach the server's transport.

    Attributes:
        events: Every event that the application sent.
        closed: Code and reason that the application closed with; None while it did not.
        aborted: Whether the application made the server drop the socket.
        over: Whether the connection has ended, whoever ended it.
        stalled: While True the client reads nothing: no send, no close and no accept ends.
        unread: Bytes that the server holds back because the client does not read them.
        delay: Seconds that each send takes.
        failing: What every send raises from now on, while the server knows of no disconnect.
        faults: What a server would suffer from.
        receives: How often the application asked for an event.
        transport: The server's, where the application can reach it.
    """

    def __init__(
        self,
        *,
        headers: Iterable[tuple[str, str]] = (),
        subprotocols: Iterable[str] = (),
        client: tuple[str, int] | None = ("203.0.113.7", 50000),
        host: str = "testserver",
        denial: bool = True,
        abortable: bool = False,
    ) -> None:
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "root_path": "",
            "headers": [
                (name.lower().encode(), value.encode())
                for name, value in [("host", host), *headers]
            ],
            "client": client,
            "server": ("testserver", 80),
            "subprotocols": list(subprotocols),
            "state": {},
            "extensions": {"websocket.http.response": {}} if denial else {},
        }
        self.events: list[Event] = []
        self.closed: tuple[int, str] | None = None
        self.aborted = False
        self.over = False
        self.stalled = False
        self.unread = 0
        self.delay = 0.0
        self.failing: BaseException | None = None
        self.faults: list[str] = []
        self.receives = 0
        self.transport = _ServerTransport(self) if abortable else None
        self._inbox: asyncio.Queue[Event] = asyncio.Queue()
        self._inbox.put_nowait({"type": "websocket.connect"})
        self._end: Event | None = None
        self._told = False  # the application knows of the end
        self._change: asyncio.Future[None] | None = None
        self._writers = 0
        self._readers = 0
        self._task: asyncio.Task[None] | None = None
        self.looked_at = False

    # The application's side.

    async def receive(self) -> Event:
        """Return the next event; the disconnect as often as it is asked."""
        self.receives += 1
        if self._readers:
            self.faults.append("two readers")
        self._readers += 1
        try:
            if self._end is not None and self._inbox.empty():
                event = self._end
            else:
                event = await self._inbox.get()
        finally:
            self._readers -= 1
        self._told = self._told or event["type"] == "websocket.disconnect"
        return event

    async def send(self, event: Event) -> None:
        """Take an event; wait while the client does not read."""
        if self.over:
            if self._told or self.closed is not None:
                self.faults.append(f"{event['type']} after the end")
            raise ClientDisconnected
        if self._writers:
            self.faults.append("two writers")
        self._writers += 1
        try:
            while self.stalled and not self.over and self.failing is None:
                await self._changed()
            if self.delay:
                await asyncio.sleep(self.delay)
            if self.failing is not None:
                raise self.failing
            if self.over:
                raise ClientDisconnected
            self.events.append(event)
            if event["type"] == "websocket.close":
                self.closed = (event.get("code", 1000), event.get("reason") or "")
                self._finish(*self.closed)
            elif event["type"] == "websocket.http.response.body":
                self._finish(1006, "")
        finally:
            self._writers -= 1

    # The client's side.

    def open(self, app: App) -> Self:
        """Connect: run ``app`` for this socket in a task of its own, as servers do."""
        self._task = asyncio.ensure_future(app(self.scope, self.receive, self.send))
        return self

    async def enter(self, app: App) -> Self:
        """Connect, and return when the application waits for something."""
        self.open(app)
        await asyncio.sleep(1e-6)
        return self

    def say(self, message: str | bytes) -> None:
        """Send a message to the application."""
        kind = "text" if isinstance(message, str) else "bytes"
        self._inbox.put_nowait({"type": "websocket.receive", kind: message})

    def leave(self, code: int = 1001, reason: str = "") -> None:
        """Close from the client's side."""
        self._finish(code, reason)

    def vanish(self, *, unseen: bool = False) -> None:
        """Be gone without a close frame; the server notices, and says so unless ``unseen``."""
        if unseen:
            self.over = True
            self._wake()
        else:
            self._finish(1006, "")

    def resume(self) -> None:
        """Read again."""
        self.stalled = False
        self._wake()

    async def result(self) -> None:
        """Return, or raise, what the application did; wait for its end."""
        assert self._task is not None, "the peer was not opened"
        self.looked_at = True
        await self._task

    async def end(self) -> BaseException | None:
        """Return what the application raised, or None; wait for its end."""
        assert self._task is not None, "the peer was not opened"
        self.looked_at = True
        await asyncio.wait([self._task])
        return asyncio.CancelledError() if self._task.cancelled() else self._task.exception()

    def cancel(self) -> None:
        """Cancel the application's task, as a server does that stops."""
        assert self._task is not None, "the peer was not opened"
        self._task.cancel()

    @property
    def opened(self) -> bool:
        """Whether the client has connected."""
        return self._task is not None

    @property
    def running(self) -> bool:
        """Whether the application still runs."""
        return self._task is not None and not self._task.done()

    @property
    def accepted(self) -> bool:
        """Whether the application accepted."""
        return any(event["type"] == "websocket.accept" for event in self.events)

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the application chose."""
        accept = next(event for event in self.events if event["type"] == "websocket.accept")
        return accept.get("subprotocol")

    @property
    def status(self) -> int | None:
        """HTTP status that the client saw: 101 when accepted; None while there was no answer."""
        for event in self.events:
            if event["type"] == "websocket.accept":
                return 101
            if event["type"] == "websocket.http.response.start":
                return int(event["status"])
            if event["type"] == "websocket.close":
                return 403
        return None

    @property
    def answer(self) -> tuple[dict[str, str], str]:
        """Headers and body of an HTTP refusal."""
        headers: dict[str, str] = {}
        body = b""
        for event in self.events:
            if event["type"] == "websocket.http.response.start":
                headers = {name.decode(): value.decode() for name, value in event["headers"]}
            if event["type"] == "websocket.http.response.body":
                body += event.get("body", b"")
        return headers, body.decode()

    @property
    def got(self) -> list[str | bytes]:
        """Messages that the client got, in order."""
        return [
            event["bytes"] if event.get("text") is None else event["text"]
            for event in self.events
            if event["type"] == "websocket.send"
        ]

    @property
    def got_json(self) -> list[Any]:
        """The same, decoded."""
        return [json.loads(message) for message in self.got]

    def _finish(self, code: int, reason: str) -> None:
        if self._end is None:
            self.over = True
            self._end = {"type": "websocket.disconnect", "code": code, "reason": reason}
            self._inbox.put_nowait(self._end)
            self._wake()

    async def _changed(self) -> None:
        if self._change is None or self._change.done():
            self._change = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._change])

    def _wake(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)


def bare_app(endpoint: Endpoint) -> App:
    """Return an application without any framework around Starlette's WebSocket."""

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await endpoint(WebSocket(scope, receive, send))

    return app


def starlette_app(endpoint: Endpoint) -> App:
    """Return a Starlette application with ``endpoint`` as its only route."""
    return Starlette(routes=[WebSocketRoute("/", endpoint)])


def fastapi_app(endpoint: Endpoint) -> App:
    """Return a FastAPI application with ``endpoint`` as its only route."""
    app = FastAPI()

    async def route(websocket: WebSocket) -> None:
        await endpoint(websocket)

    route.__annotations__["websocket"] = WebSocket  # FastAPI looks at it at runtime
    app.add_api_websocket_route("/", route)
    return app


ALL_APPS = pytest.mark.parametrize(
    "app_of", [bare_app, starlette_app, fastapi_app], ids=["bare", "starlette", "fastapi"]
)
"""For tests that hold for each kind of application."""
