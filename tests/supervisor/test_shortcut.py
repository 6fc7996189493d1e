"""Ready-made frames past the ``send`` of uvicorn's own class: only where it would write at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib import metadata
from typing import Any, Protocol

import pytest
from packaging.version import Version

from actors.messages import Chunk, Frame
from actors.runtime import Runtime
from actors.testing import settle
from supervisor.transports.asgi import AsgiTransport
from supervisor.transports.shortcut import Shortcut
from tests.frames import CLOSE, TEXT, FrameReader, client_frame, close_payload
from tests.supervisor.tcp import FakeTcp

if Version(metadata.version("uvicorn")) < Version("0.52.1"):
    pytest.skip("the installed uvicorn is too old", allow_module_level=True)

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

pytestmark = pytest.mark.newest

REQUEST = (
    "GET /room HTTP/1.1\r\nHost: testserver\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate\r\n"


class Socket:
    """
    One connection of uvicorn's class, accepted by an application that waits.

    Attributes:
        sends: ASGI events that went through ``send``.
        said: What the transport told its listener.
    """

    def __init__(self, runtime: Runtime, kind: type[WebSocketsSansIOProtocol]) -> None:
        config = Config(self.application, interface="asgi3", log_config=None, lifespan="off")
        config.load()
        self.protocol = kind(
            config=config,
            server_state=ServerState(),
            app_state={},
            _loop=asyncio.get_running_loop(),
        )
        self.tcp = FakeTcp(self.protocol)
        self.reader = FrameReader()
        self.runtime = runtime
        self.over = asyncio.Event()
        self.said: list[object] = []
        self.transport: AsgiTransport

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        """Accept, and have a transport over ``send``."""
        await receive()
        await send({"type": "websocket.accept"})
        self.transport = AsgiTransport(send, self.runtime, linger=1)
        self.transport.attach(self)
        await self.over.wait()

    async def begin(self, headers: str = "") -> Socket:
        """Do the handshake."""
        self.protocol.connection_made(self.tcp)
        self.protocol.data_received(f"{REQUEST}{headers}\r\n".encode())
        await settle()
        head, _, rest = bytes(self.tcp.taken).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101")
        assert rest == b""
        self.tcp.taken.clear()
        self.tcp.writes.clear()
        return self

    def transport_ready(self) -> None:
        self.said.append("ready")

    def transport_failed(self, error: BaseException) -> None:
        self.said.append(error)

    def transport_closed(self) -> None:
        self.said.append("closed")

    def read(self) -> FrameReader:
        """Have the client read what it was sent."""
        self.reader.feed(bytes(self.tcp.taken))
        self.tcp.taken.clear()
        return self.reader


class Open(Protocol):
    """Returns an accepted socket."""

    async def __call__(
        self, headers: str = "", kind: type[WebSocketsSansIOProtocol] = WebSocketsSansIOProtocol
    ) -> Socket: ...


@pytest.fixture
async def open_socket() -> AsyncIterator[Open]:
    """Open sockets; end their applications after the test."""
    runtime = Runtime()
    opened: list[Socket] = []

    async def open_one(
        headers: str = "", kind: type[WebSocketsSansIOProtocol] = WebSocketsSansIOProtocol
    ) -> Socket:
        opened.append(Socket(runtime, kind))
        return await opened[-1].begin(headers)

    yield open_one
    for socket in opened:
        socket.over.set()
        if not socket.tcp.over:
            socket.tcp.abort()
    await runtime.aclose()
    await settle()


def chunk(*payloads: str | bytes) -> Chunk:
    """Return one chunk of these messages."""
    return Chunk(tuple(Frame(payload) for payload in payloads))


async def test_sockets_share_one_frame(open_socket: Open) -> None:
    """The same bytes are written to all of them, in one piece for a chunk of several."""
    one, two = await open_socket(), await open_socket()
    message = chunk("häb", b"\xff", "c" * 70_000)

    assert one.transport.write(message)
    assert two.transport.write(message)

    assert len(one.tcp.writes) == 1
    assert one.tcp.writes[0] is two.tcp.writes[0]
    assert one.read().messages == ["häb", b"\xff", "c" * 70_000]


async def test_frames_keep_their_place_beside_those_of_send(open_socket: Open) -> None:
    """What the application sends itself, before and after, is where it was sent."""
    socket = await open_socket()

    await socket.protocol.send({"type": "websocket.send", "text": "1", "bytes": None})
    socket.transport.write(chunk("2"))
    await socket.protocol.send({"type": "websocket.send", "text": "3", "bytes": None})

    assert socket.read().messages == ["1", "2", "3"]


async def test_a_full_socket_is_waited_for(open_socket: Open) -> None:
    """Then it is ``send`` that holds the message back, and goes on when there is space."""
    socket = await open_socket()
    socket.tcp.window = 0
    assert socket.transport.write(chunk("x" * 100_000))  # into the server's buffer, which is full

    assert not socket.transport.write(chunk("later"))
    await settle()
    assert socket.said == []

    socket.tcp.take()
    await settle()
    assert socket.said == ["ready"]
    assert socket.read().messages == ["x" * 100_000, "later"]


async def test_nothing_follows_a_close(open_socket: Open) -> None:
    """A socket whose peer has closed fails as ``send`` says that it does."""
    socket = await open_socket()
    socket.protocol.data_received(client_frame(CLOSE, close_payload(1000)))

    with pytest.raises(OSError):  # noqa: PT011 - uvicorn's ClientDisconnected, which has no text
        socket.transport.write(chunk("too late"))

    assert socket.read().order == [CLOSE]


async def test_a_lost_socket_fails(open_socket: Open) -> None:
    """It is not written to any more."""
    socket = await open_socket()
    socket.protocol.connection_lost(None)
    socket.tcp.writes.clear()

    with pytest.raises(OSError):  # noqa: PT011 - as above
        socket.transport.write(chunk("too late"))

    assert socket.tcp.writes == []


async def test_compressed_sockets_are_left_to_uvicorn(open_socket: Open) -> None:
    """Where compression was negotiated, ``send`` makes the frames."""
    socket = await open_socket(DEFLATE)

    assert socket.transport.write(chunk("x" * 1000))

    assert len(socket.tcp.writes[0]) < 100
    assert Shortcut.past(socket.protocol.send) is None


async def test_classes_of_others_are_left_alone(open_socket: Open) -> None:
    """Who derives from uvicorn's class may do something in ``send``."""
    sent: list[object] = []

    class Noting(WebSocketsSansIOProtocol):
        async def send(self, message: Any) -> None:
            sent.append(message["type"])
            await super().send(message)

    socket = await open_socket(kind=Noting)
    assert Shortcut.past(socket.protocol.send) is None

    socket.transport.write(chunk("a"))
    await settle()

    assert sent == ["websocket.accept", "websocket.send"]
    assert socket.read().messages == ["a"]


async def test_a_class_that_lacks_something_is_left_alone(
    open_socket: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of uvicorn may have other attributes; then ``send`` is used."""
    socket = await open_socket()
    assert Shortcut.past(socket.protocol.send) is not None

    monkeypatch.delattr(socket.protocol, "close_sent")

    assert Shortcut.past(socket.protocol.send) is None


@pytest.mark.parametrize("send", [None, print, asyncio.sleep, [].append])
def test_only_uvicorns_send_is_passed_by(send: object) -> None:
    """Whatever else sends has no shortcut."""
    assert Shortcut.past(send) is None


async def test_messages_are_text_frames(open_socket: Open) -> None:
    """A str travels as text."""
    socket = await open_socket()

    socket.transport.write(chunk("text"))

    assert (socket.read().order, socket.reader.messages) == ([TEXT], ["text"])
