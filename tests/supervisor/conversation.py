"""
A client and uvicorn's class with a wire, without a socket.

Importing this skips a test module where the installed uvicorn is too old. So test modules take from
here whatever they need of :mod:`supervisor.integrations.uvicorn`, which refuses to be imported then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from importlib import metadata
from typing import Any

import pytest
from packaging.version import Version

from actors.messages import Chunk, Frame
from actors.testing import settle
from supervisor.transports.wire import WireTransport
from tests.frames import FrameReader
from tests.supervisor.tcp import FakeTcp

if Version(metadata.version("uvicorn")) < Version("0.52.1"):
    pytest.skip("the installed uvicorn is too old", allow_module_level=True)

from uvicorn.config import Config
from uvicorn.server import ServerState

from supervisor.integrations.uvicorn import (
    READ_AHEAD_BYTES,
    READ_AHEAD_MESSAGES,
    SupervisedProtocol,
    _check_uvicorn,
)

__all__ = [
    "LARGE",
    "READ_AHEAD_BYTES",
    "READ_AHEAD_MESSAGES",
    "REQUEST",
    "App",
    "Conversation",
    "Event",
    "Talk",
    "_check_uvicorn",
    "chunk",
]

Event = dict[str, Any]
App = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]

LARGE = 64 * 1024
"""Bytes of a message that fills any socket whose peer does not read."""

REQUEST = (
    "GET /room HTTP/1.1\r\nHost: testserver\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


class Listener:
    """Hears what the transport says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def transport_ready(self) -> None:
        self.said.append("ready")

    def transport_failed(self, error: BaseException) -> None:
        self.said.append("failed")

    def transport_closed(self) -> None:
        self.said.append("closed")


class Conversation:
    """
    One connection: the protocol, its transport, and what the client makes of what it gets.

    Attributes:
        events: What the application received.
        lost: What the wire has said of the end.
        heard: What the wire has said of messages.
    """

    def __init__(self, app: App | None = None, **settings: Any) -> None:
        config = Config(
            app or self.application,
            interface="asgi3",
            log_config=None,
            lifespan="off",
            **settings,
        )
        config.load()
        self.state = ServerState()
        self.protocol = SupervisedProtocol(
            config=config, server_state=self.state, app_state={}, _loop=asyncio.get_running_loop()
        )
        self.tcp = FakeTcp(self.protocol)
        self.reader = FrameReader()
        self.events: list[Event] = []
        self.lost: list[tuple[int, str]] = []
        self.heard: list[str | bytes] = []
        self.receiving = True
        self.status = ""
        self.scope: Any = None
        self.send: Any = None
        self.listener = Listener()
        self.closed_with: tuple[int, str] | None = None

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        """Accept, and listen."""
        self.scope, self.send = scope, send
        self.events.append(await receive())
        await send({"type": "websocket.accept"})
        while self.receiving:
            self.events.append(await receive())
            if self.events[-1]["type"] == "websocket.disconnect":
                return
        await asyncio.Event().wait()

    async def begin(self, headers: str = "", more: bytes = b"") -> None:
        """Do the handshake, and send ``more`` without waiting for the answer."""
        self.protocol.connection_made(self.tcp)
        self.protocol.data_received(f"{REQUEST}{headers}\r\n".encode())
        if more:
            self.protocol.data_received(more)
        await settle()
        self.read_head()

    def read_head(self) -> None:
        """Take the answer to the handshake off, if it has come."""
        head, found, _ = bytes(self.tcp.taken).partition(b"\r\n\r\n")
        if found:
            self.status = head.decode().split(" ", 2)[1]
            del self.tcp.taken[: len(head) + 4]

    @property
    def wire(self) -> WireTransport:
        """The wire, as an actor that has the socket sees it."""
        wire = self.protocol.wire
        if wire.on_lost is None:
            wire.on_lost = lambda code, reason: self.lost.append((code, reason))
            wire.on_message = self.hear
            wire.attach(self.listener)
        return wire

    def hear(self, message: str | bytes) -> bool:
        """Note a message; it is to be received too."""
        self.heard.append(message)
        return False

    def say(self, *frames: bytes) -> None:
        """Have the client send all of it in one segment."""
        self.protocol.data_received(b"".join(frames))

    def read(self) -> FrameReader:
        """Have the client read what it was sent."""
        self.reader.feed(bytes(self.tcp.taken))
        self.tcp.taken.clear()
        return self.reader

    @property
    def received(self) -> list[str | bytes]:
        """The messages that the application received."""
        return [
            event["text"] if "text" in event else event["bytes"]
            for event in self.events
            if event["type"] == "websocket.receive"
        ]


Talk = Callable[..., Coroutine[Any, Any, Conversation]]


def chunk(*payloads: str | bytes) -> Chunk:
    """Return a chunk of frames."""
    return Chunk(tuple(Frame(payload) for payload in payloads))
