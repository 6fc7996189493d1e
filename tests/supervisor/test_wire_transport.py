"""Ready-made frames: what they look like, that they are made once, and when nothing is written."""

from __future__ import annotations

import os
from typing import Any

import pytest
from starlette._exception_handler import wrap_app_handling_exceptions
from starlette.websockets import WebSocket
from websockets.frames import Frame as ReferenceFrame
from websockets.frames import Opcode

from actors.errors import TransportClosed
from actors.messages import Chunk, Frame
from actors.testing import FakeTransport
from supervisor.transports.framing import DEFLATE_FROM
from supervisor.transports.wire import EXTENSION, WireTransport, find_wire
from tests.frames import FrameReader
from tests.supervisor.tcp import FakeTcp, WireServer

SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20]


class Server(WireServer):
    """A wire whose listener counts."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = 0
        self.wire.attach(self)

    def transport_ready(self) -> None:
        self.ready += 1

    def transport_failed(self, error: BaseException) -> None:
        raise AssertionError("a wire never fails later")

    def transport_closed(self) -> None:
        raise AssertionError("a wire is closed at once")


def chunk(*payloads: str | bytes) -> Chunk:
    """Return a chunk of frames."""
    return Chunk(tuple(Frame(payload) for payload in payloads))


# Frames.


@pytest.mark.parametrize("size", SIZES)
def test_frames_are_those_of_the_reference(size: int) -> None:
    """Text and binary, byte for byte what the library websockets sends."""
    server = Server()
    server.wire.write(chunk("x" * size, b"y" * size))

    expected = [
        ReferenceFrame(opcode, letter * size).serialize(mask=False)
        for opcode, letter in ((Opcode.TEXT, b"x"), (Opcode.BINARY, b"y"))
    ]

    assert bytes(server.tcp.taken) == b"".join(expected)


@pytest.mark.parametrize("text", ["ü" * 62 + "x", "ü" * 63, "€" * 21_845, "😀" * 16_384])
def test_the_length_is_that_of_the_bytes(text: str) -> None:
    """On both sides of 125 and of 65,535 bytes, whatever the characters are."""
    server = Server()

    server.wire.write(chunk(text))

    reader = FrameReader()
    reader.feed(bytes(server.tcp.taken))
    assert reader.messages == [text]
    assert reader.at_boundary


def test_all_frames_of_a_chunk_leave_in_one_write() -> None:
    """In their order."""
    server = Server()

    server.wire.write(chunk("a", b"b", "", "c"))

    reader = FrameReader()
    reader.feed(server.tcp.writes[0])
    assert len(server.tcp.writes) == 1
    assert reader.messages == ["a", b"b", "", "c"]


def test_a_chunk_is_made_once_for_all_sockets() -> None:
    """Each writes the very same bytes."""
    servers = [Server() for _ in range(3)]
    shared = chunk("a", b"b")

    for server in servers:
        server.wire.write(shared)

    first, *others = (server.tcp.writes[0] for server in servers)
    assert all(other is first for other in others)


@pytest.mark.parametrize("deflate", [False, True])
def test_what_a_wire_has_made_of_a_message_is_the_same_message_to_others(deflate: bool) -> None:
    """To sockets of every other kind in the room, whichever comes first."""
    payloads: list[str | bytes] = ["ü€", "", b"", b"\xff\xfe", "large ü " * 1000, b"x" * 70_000]
    shared, fresh = chunk(*payloads), chunk(*payloads)
    server, other, fake = Server(), Server(), FakeTransport()
    (server if deflate else other).wire.deflate(12)
    fake.attach(server)

    server.wire.write(shared)
    fake.write(shared)
    other.wire.write(shared)

    assert fake.sent == payloads
    assert [frame.size for frame in shared.frames] == [frame.size for frame in fresh.frames]
    for each in (server, other):
        reader = FrameReader(12)
        reader.feed(bytes(each.tcp.taken))
        assert reader.messages == payloads


# Compression.


def test_a_compressed_form_is_shared_by_those_with_the_same_window() -> None:
    """And by nobody else: another window may not be able to read it."""
    plain, twelve, twelve_too, nine = (Server() for _ in range(4))
    twelve.wire.deflate(12)
    twelve_too.wire.deflate(12)
    nine.wire.deflate(9)
    shared = chunk("large " * 1000, "small")

    for server in (plain, twelve, twelve_too, nine):
        server.wire.write(shared)

    written = [server.tcp.writes[0] for server in (plain, twelve, twelve_too, nine)]
    assert written[1] is written[2]
    assert len({id(data) for data in written}) == 3
    for window, data in ((None, written[0]), (12, written[1]), (9, written[3])):
        reader = FrameReader(window)
        reader.feed(data)
        assert reader.messages == ["large " * 1000, "small"]
        assert reader.compressed == [window is not None, False]


@pytest.mark.parametrize("bits", range(9, 16))
def test_what_is_compressed_fits_into_the_window(bits: int) -> None:
    """A client whose window is no larger can read it: repetitions from far away are not used."""
    server = Server()
    server.wire.deflate(bits)
    block = os.urandom(300).hex()
    far = block + "x" * (2**bits) + block

    server.wire.write(chunk(far))

    reader = FrameReader(bits)
    reader.feed(bytes(server.tcp.taken))
    assert reader.messages == [far]
    assert reader.compressed == [True]


@pytest.mark.parametrize(
    ("payload", "compressed"),
    [
        ("x" * (DEFLATE_FROM - 1), False),
        ("x" * DEFLATE_FROM, True),
        (b"x" * DEFLATE_FROM, True),
        ("ü" * (DEFLATE_FROM // 2), True),
        (os.urandom(5000), False),
    ],
    ids=["just too small", "just large enough", "binary", "bytes count", "nothing to gain"],
)
def test_only_what_gains_by_it_is_compressed(payload: str | bytes, compressed: bool) -> None:
    """Whatever it is, the client gets what was sent."""
    server = Server()
    server.wire.deflate(12)

    server.wire.write(chunk(payload))

    reader = FrameReader(12)
    reader.feed(bytes(server.tcp.taken))
    assert (reader.messages, reader.compressed) == ([payload], [compressed])


def test_a_window_that_zlib_does_not_have_means_no_compression() -> None:
    """Uncompressed messages are right on every connection."""
    server, plain = Server(), Server()
    server.wire.deflate(8)
    shared = chunk("x" * 5000)

    server.wire.write(shared)
    plain.wire.write(shared)

    assert server.tcp.writes[0] is plain.tcp.writes[0]


# Backpressure.


def test_a_socket_that_is_full_before_anybody_listens_is_full_for_the_first_write() -> None:
    """An endpoint may have sent before the supervisor took the socket over."""
    tcp = FakeTcp()
    server = Server()
    wire = WireTransport(tcp, server)
    tcp.window = 0
    wire.pause()
    wire.attach(server)

    assert wire.write(chunk("a")) is False
    wire.resume()

    assert server.ready == 1
    assert wire.write(chunk("b")) is True


def test_resuming_before_anybody_listens_does_no_harm() -> None:
    """The next write says that more may come."""
    wire = WireTransport(FakeTcp(), Server())
    wire.pause()
    wire.resume()

    assert wire.write(chunk("a")) is True


# The end.


async def test_the_loss_of_the_socket_is_told_once() -> None:
    """With the first code; from then on writing is an error, and closing does nothing."""
    server = Server()
    told: list[tuple[int, str]] = []
    server.wire.on_lost = lambda *end: told.append(end)

    server.wire.lost(1001, "going")
    server.wire.lost(1006, "gone")

    assert told == [(1001, "going")]
    with pytest.raises(TransportClosed):
        server.wire.write(chunk("a"))
    assert server.wire.close(1000, "") is True
    assert server.closes == []
    assert server.tcp.writes == []


async def test_whoever_is_told_of_the_loss_may_do_anything() -> None:
    """The wire is closed already when it tells."""
    server = Server()
    errors: list[BaseException] = []

    def on_lost(code: int, reason: str) -> None:
        try:
            server.wire.write(chunk("a"))
        except TransportClosed as error:
            errors.append(error)
        server.wire.close(1000, "")
        server.wire.abort()

    server.wire.on_lost = on_lost
    server.wire.lost(1006, "")

    assert len(errors) == 1
    assert server.closes == []
    assert server.tcp.aborted


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_who_ends_the_socket_is_not_told_that_it_ended(end: str) -> None:
    """The loss that follows is its own doing."""
    server = Server()
    told: list[object] = []
    server.wire.on_lost = lambda *end: told.append(end)

    if end == "close":
        server.wire.close(1000, "")
    else:
        server.wire.abort()
    server.wire.lost(1006, "")

    assert told == []


async def test_a_close_is_the_servers_with_code_reason_and_patience() -> None:
    """Once, and with no more of the reason than a close frame has space for."""
    server = Server()
    server.wire.close_timeout = 3.0

    assert server.wire.close(4000, "ü" * 100) is True
    assert server.wire.close(4001, "again") is True

    assert server.closes == [(4000, "ü" * 61, 3.0)]


async def test_the_state_of_the_socket_can_be_seen() -> None:
    """Whether it is gone, and whether anything waits for the peer."""
    server = Server()
    server.tcp.window = 0
    assert not server.wire.unsent
    assert not server.wire.gone

    server.wire.write(chunk("a"))
    assert server.wire.unsent
    server.wire.abort()

    assert server.wire.gone
    assert not server.wire.unsent


# Finding it.


async def test_a_wire_is_found_below_starlettes_own_wrappers() -> None:
    """They leave what is sent unchanged; every application has them."""
    server = Server()
    scope: dict[str, Any] = {"type": "websocket", "headers": [], "extensions": {}}
    scope["extensions"][EXTENSION] = server.wire
    found: list[WireTransport | None] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        found.append(find_wire(scope, send))

    async def receive() -> Any:
        """Never be called."""

    websocket = WebSocket(scope, receive=receive, send=server.send)
    wrapped = wrap_app_handling_exceptions(
        wrap_app_handling_exceptions(application, websocket), websocket
    )
    await wrapped(scope, receive, server.send)

    assert found == [server.wire]


@pytest.mark.parametrize(
    "extensions",
    [None, {}, {"websocket.http.response": {}}, {EXTENSION: {}}, {EXTENSION: None}],
)
def test_without_an_extension_there_is_no_wire(extensions: Any) -> None:
    """On other servers, and where somebody else uses the name."""
    server = Server()

    assert find_wire({"type": "websocket", "extensions": extensions}, server.send) is None
    assert find_wire({"type": "websocket"}, server.send) is None


async def test_a_middleware_that_wraps_send_is_not_passed_by() -> None:
    """Whether it is a function, an object or a method of one."""
    server = Server()
    scope = {"type": "websocket", "extensions": {EXTENSION: server.wire}}

    async def function(event: Any) -> None:
        await server.send(event)

    class Middleware:
        async def __call__(self, event: Any) -> None:
            await server.send(event)

        async def send(self, event: Any) -> None:
            await server.send(event)

    assert find_wire(scope, server.send) is server.wire
    for wrapped in (function, Middleware(), Middleware().send, Server().send):
        assert find_wire(scope, wrapped) is None
