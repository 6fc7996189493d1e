"""
uvicorn's class with a wire: what it tells the actor and the peer, and when; without a socket.

What follows from it on real sockets is in ``tests/integration/test_frames.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from importlib import metadata
from typing import Any

import pytest
from packaging.version import Version

from actors.errors import TransportClosed
from actors.messages import Chunk, Frame
from actors.testing import settle
from supervisor.transports.waiting import EventQueue, Gate
from supervisor.transports.wire import EXTENSION, WireTransport, find_wire
from tests.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    FrameReader,
    client_frame,
    close_payload,
)
from tests.supervisor.tcp import FakeTcp

if Version(metadata.version("uvicorn")) < Version("0.52.1"):
    pytest.skip("the installed uvicorn is too old", allow_module_level=True)

from uvicorn.config import Config
from uvicorn.server import ServerState

from supervisor.integrations.uvicorn import (
    BUFFER_HIGH,
    READ_AHEAD_BYTES,
    READ_AHEAD_MESSAGES,
    SupervisedProtocol,
    _check_uvicorn,
)

pytestmark = pytest.mark.newest

Event = dict[str, Any]
App = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]

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


@pytest.fixture
async def talk() -> AsyncIterator[Callable[..., Coroutine[Any, Any, Conversation]]]:
    """Begin conversations, and see that each of them ends and leaves nothing behind."""
    begun: list[Conversation] = []

    async def begin(*arguments: Any, headers: str = "", more: bytes = b"", **how: Any) -> Any:
        conversation = Conversation(*arguments, **how)
        begun.append(conversation)
        await conversation.begin(headers, more)
        return conversation

    yield begin
    for each in begun:
        each.tcp.reset()
        await settle()
        for task in each.state.tasks:
            task.cancel()
        await settle()
        assert not each.state.connections
        assert not each.state.tasks


Talk = Callable[..., Coroutine[Any, Any, Conversation]]


def chunk(*payloads: str | bytes) -> Chunk:
    """Return a chunk of frames."""
    return Chunk(tuple(Frame(payload) for payload in payloads))


# The version.


@pytest.mark.parametrize(
    "version", ["0.52.1", "0.52.10", "0.53", "0.54.0", "1.0.0", "2", "unknown"]
)
def test_a_uvicorn_that_applies_backpressure_is_taken(version: str) -> None:
    """And one whose version says nothing."""
    _check_uvicorn(version)


@pytest.mark.parametrize("version", ["0.34.3", "0.52.0", "0.52", "0.9.9", "0.52.0.post1"])
def test_an_older_uvicorn_is_refused_with_the_version_that_is_needed(version: str) -> None:
    """The error says what to install, and what to do otherwise."""
    with pytest.raises(ImportError, match=r"needs uvicorn 0\.52\.1 or newer.*'uvicorn>=0\.52\.1'"):
        _check_uvicorn(version)


# The wire is offered, and found.


async def test_the_application_finds_the_wire_behind_its_own_send(talk: Talk) -> None:
    """And none behind a ``send`` that somebody wraps."""
    conversation = await talk()

    async def wrapped(event: Event) -> None:
        await conversation.send(event)

    assert conversation.status == "101"
    assert conversation.scope["extensions"][EXTENSION] is conversation.protocol.wire
    assert find_wire(conversation.scope, conversation.send) is conversation.protocol.wire
    assert find_wire(conversation.scope, wrapped) is None


async def test_the_wire_of_another_socket_is_not_taken(talk: Talk) -> None:
    """A scope that was copied from another connection gives nothing away."""
    one, other = await talk(), await talk()

    assert find_wire(one.scope, other.send) is None


async def test_a_socket_that_is_over_has_no_wire_any_more(talk: Talk) -> None:
    """Whoever comes too late writes through ASGI, which says so."""
    conversation = await talk()

    conversation.tcp.reset()
    await settle()

    assert find_wire(conversation.scope, conversation.send) is None


# What an endpoint and an actor write.


async def test_writes_of_endpoint_and_actor_keep_their_order(talk: Talk) -> None:
    """Each is written at once, whoever it comes from."""
    conversation = await talk()

    await conversation.send({"type": "websocket.send", "text": "1"})
    assert conversation.wire.write(chunk("2", b"3")) is True
    await conversation.send({"type": "websocket.send", "bytes": b"4"})
    conversation.say(client_frame(PING, b"5"))
    assert conversation.wire.write(chunk("6")) is True

    reader = conversation.read()
    assert reader.messages == ["1", "2", b"3", b"4", "6"]
    assert reader.order == [TEXT, TEXT, BINARY, BINARY, PONG, TEXT]


async def test_a_full_buffer_pauses_and_an_empty_one_goes_on(talk: Talk) -> None:
    """write() says False once the buffer is above its mark; ready comes once."""
    conversation = await talk()
    conversation.tcp.window = 0
    wire = conversation.wire

    assert wire.write(chunk("x" * BUFFER_HIGH)) is False
    assert wire.unsent
    conversation.tcp.take(1000)
    assert conversation.listener.said == []
    conversation.tcp.take()

    assert conversation.listener.said == ["ready"]
    assert not wire.unsent
    assert wire.write(chunk("y")) is True
    assert conversation.read().messages == ["x" * BUFFER_HIGH, "y"]


async def test_an_endpoint_that_sends_waits_while_the_buffer_is_full(talk: Talk) -> None:
    """As with uvicorn's own class."""
    conversation = await talk()
    conversation.tcp.window = 0
    await conversation.send({"type": "websocket.send", "text": "x" * (BUFFER_HIGH + 1)})

    sending = asyncio.ensure_future(conversation.send({"type": "websocket.send", "text": "y"}))
    await settle()
    assert not sending.done()
    conversation.tcp.take()
    await sending

    assert conversation.read().messages[1:] == ["y"]


async def test_closing_sends_the_close_frame_and_nothing_more(talk: Talk) -> None:
    """Not even a pong; the answer of the peer ends the socket."""
    conversation = await talk()
    wire = conversation.wire

    assert wire.close(4000, "bye") is True
    with pytest.raises(TransportClosed):
        wire.write(chunk("late"))
    with pytest.raises(RuntimeError, match=r"after sending 'websocket\.close'"):
        await conversation.send({"type": "websocket.send", "text": "late"})
    conversation.say(client_frame(PING, b"?"), client_frame(TEXT, b"talking on"))
    assert not conversation.tcp.is_closing()
    conversation.say(client_frame(CLOSE, close_payload(4000)))
    await settle()

    assert conversation.read().order == [CLOSE]
    assert conversation.reader.close == (4000, "bye")
    assert conversation.tcp.over
    assert not conversation.tcp.aborted
    assert conversation.received == []
    assert conversation.lost == []  # whoever closes knows


async def test_nothing_follows_a_close_that_is_answered_with_nonsense(talk: Talk) -> None:
    """No pong, and no second close frame."""
    conversation = await talk()

    conversation.wire.close(4000, "")
    conversation.say(client_frame(PING, b"?"), client_frame(3, b"x"))
    await settle()

    assert conversation.read().order == [CLOSE]
    assert conversation.tcp.over


async def test_a_peer_that_does_not_answer_a_close_is_dropped(talk: Talk) -> None:
    """After close_timeout, and not before."""
    conversation = await talk()
    conversation.wire.close_timeout = 3.0

    conversation.wire.close(1000, "")
    await asyncio.sleep(2.9)
    assert not conversation.tcp.over
    await asyncio.sleep(0.2)

    assert conversation.tcp.aborted


async def test_a_close_frame_behind_a_full_buffer_arrives_last(talk: Talk) -> None:
    """It does not overtake what was written, and the socket ends when the peer has answered."""
    conversation = await talk()
    conversation.tcp.window = 0
    wire = conversation.wire
    wire.write(chunk("x" * BUFFER_HIGH, "y"))

    wire.close(4001, "")
    conversation.tcp.take()
    assert conversation.read().messages == ["x" * BUFFER_HIGH, "y"]
    assert conversation.reader.close == (4001, "")
    conversation.say(client_frame(CLOSE, close_payload(4001)))
    await settle()

    assert conversation.tcp.over
    assert not conversation.tcp.aborted


async def test_a_peer_that_closes_too_but_reads_nothing_is_dropped(talk: Talk) -> None:
    """Its own close frame is no reason to keep what it does not take."""
    conversation = await talk()
    conversation.tcp.window = 0
    wire = conversation.wire
    wire.close_timeout = 3.0
    wire.write(chunk("x" * 1000))

    wire.close(4001, "")
    conversation.say(client_frame(CLOSE, close_payload(1001)))
    await asyncio.sleep(2.9)
    assert not conversation.tcp.over
    await asyncio.sleep(0.2)

    assert conversation.tcp.aborted


async def test_a_peer_that_closes_and_does_not_read_is_dropped(talk: Talk) -> None:
    """Also where nobody has taken the socket over: the answer cannot wait for ever."""
    conversation = await talk()
    conversation.tcp.window = 0
    await conversation.send({"type": "websocket.send", "text": "x" * 1000})

    conversation.say(client_frame(CLOSE, close_payload(1001)))
    await asyncio.sleep(conversation.protocol.wire.close_timeout + 0.1)

    assert conversation.tcp.aborted


async def test_aborting_is_idempotent_and_final(talk: Talk) -> None:
    """Also while the buffer is full."""
    conversation = await talk()
    conversation.tcp.window = 0
    wire = conversation.wire
    assert wire.write(chunk("x" * (BUFFER_HIGH + 1))) is False

    wire.abort()
    wire.abort()
    await settle()

    assert conversation.tcp.over
    assert wire.gone
    assert conversation.lost == []
    assert conversation.listener.said == []
    with pytest.raises(TransportClosed):
        wire.write(chunk("late"))
    assert wire.close(1000, "") is True
    assert conversation.events[-1]["type"] == "websocket.disconnect"


# What the peer does.


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (close_payload(1000), 1000, ""),
        (close_payload(1001, "going"), 1001, "going"),
        (close_payload(3000), 3000, ""),
        (close_payload(4999, "ü" * 61), 4999, "ü" * 61),
        (b"", 1005, ""),
    ],
    ids=["1000", "1001", "3000", "4999", "empty"],
)
async def test_a_close_of_the_peer_is_echoed_and_told(
    talk: Talk, payload: bytes, code: int, reason: str
) -> None:
    """To the actor at once, to the endpoint in its place, and nothing is written after it."""
    conversation = await talk()
    wire = conversation.wire

    conversation.say(client_frame(TEXT, b"1"), client_frame(CLOSE, payload))
    assert conversation.lost == [(code, reason)]
    with pytest.raises(TransportClosed):
        wire.write(chunk("late"))
    await settle()

    reader = conversation.read()
    assert reader.order == [CLOSE]
    assert reader.close == ((None, "") if code == 1005 else (code, reason))
    assert conversation.received == ["1"]
    assert conversation.events[-1] == {
        "type": "websocket.disconnect",
        "code": code,
        "reason": reason,
    }
    assert conversation.lost == [(code, reason)]
    assert conversation.tcp.over


FAULTS = {
    "reserved opcode": (client_frame(3, b"x"), 1002),
    "reserved control opcode": (client_frame(11), 1002),
    "RSV2": (client_frame(TEXT, b"x", rsv=2), 1002),
    "compressed without having negotiated it": (client_frame(TEXT, b"x", rsv=4), 1002),
    "unmasked": (client_frame(TEXT, b"x", masked=False), 1002),
    "oversize control frame": (client_frame(PING, b"x" * 126), 1002),
    "fragmented ping": (client_frame(PING, b"x", final=False), 1002),
    "half a close code": (client_frame(CLOSE, b"\x03"), 1002),
    "close code 999": (client_frame(CLOSE, close_payload(999)), 1002),
    "close code 1005": (client_frame(CLOSE, close_payload(1005)), 1002),
    "close code 1006": (client_frame(CLOSE, close_payload(1006)), 1002),
    "close code 5000": (client_frame(CLOSE, close_payload(5000)), 1002),
    "close reason that is no UTF-8": (client_frame(CLOSE, close_payload(1000, b"\xff")), 1007),
    "continuation of nothing": (client_frame(CONTINUATION, b"x"), 1002),
    "message within a message": (
        client_frame(TEXT, b"x", final=False) + client_frame(TEXT, b"x"),
        1002,
    ),
    "text that is no UTF-8": (client_frame(TEXT, b"\xff\xfe"), 1007),
    "half a character": (client_frame(TEXT, "ü".encode()[:1]), 1007),
    "half a surrogate pair": (client_frame(TEXT, b"\xed\xa0\x80"), 1007),
    "fragments that are no UTF-8": (
        client_frame(TEXT, b"a", final=False) + client_frame(CONTINUATION, b"\xff"),
        1007,
    ),
    "too large": (client_frame(BINARY, b"x" * 1001), 1009),
    "too large in fragments": (
        client_frame(TEXT, b"x" * 600, final=False) + client_frame(CONTINUATION, b"x" * 600),
        1009,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("more", [b"", client_frame(CLOSE, close_payload(1000))], ids=["", "close"])
async def test_what_a_client_must_not_send_closes_with_the_code_for_it(
    talk: Talk, fault: str, more: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a word in the log, and without anything after the close frame; then the end."""
    conversation = await talk(ws_max_size=1000)
    wire = conversation.wire
    frames, code = FAULTS[fault]

    conversation.say(frames, more)
    await settle()

    with pytest.raises(TransportClosed):
        wire.write(chunk("late"))
    reader = conversation.read()
    assert reader.order == [CLOSE]
    # Who says goodbye in the same breath, after a message that was whole, may be answered to that.
    assert reader.close[0] in ({code, 1000} if more and code == 1007 else {code})
    assert [lost[0] for lost in conversation.lost] == [reader.close[0]]
    assert conversation.received == []
    assert conversation.events[-1]["type"] == "websocket.disconnect"
    assert conversation.tcp.over
    assert caplog.records == []


async def test_fragments_with_a_ping_between_them_are_one_message(talk: Talk) -> None:
    """A character may be cut in two by a fragment."""
    conversation = await talk()
    text = "aü€".encode()

    conversation.say(
        client_frame(TEXT, text[:2], final=False),
        client_frame(PING, b"between"),
        client_frame(CONTINUATION, b"", final=False),
        client_frame(CONTINUATION, text[2:]),
        client_frame(BINARY, text[:2], final=False),
        client_frame(CONTINUATION, text[2:]),
    )
    await settle()

    assert conversation.received == ["aü€", text]
    assert conversation.read().pongs == [b"between"]


@pytest.mark.parametrize(
    "more",
    [
        client_frame(3, b"x"),
        client_frame(TEXT, b"\xff"),
        client_frame(CLOSE, close_payload(1000)),
        client_frame(TEXT, b"x") + client_frame(CLOSE),
        client_frame(PING, b"x") * 3,
    ],
    ids=["opcode", "no UTF-8", "close", "text and close", "pings"],
)
async def test_frames_before_the_answer_to_the_handshake_do_no_harm(
    talk: Talk, more: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that does not wait for the answer gets an end, or what it asked for; no traceback."""
    conversation = await talk(more=more)
    conversation.say(client_frame(TEXT, b"and then"))
    await settle()

    assert caplog.records == []
    assert conversation.tcp.over or conversation.received == ["and then"]


async def test_a_peer_that_pings_without_reading_gets_no_more_pongs_than_fit(talk: Talk) -> None:
    """What waits for it stays bounded; when it reads again it is answered again."""
    conversation = await talk()
    conversation.tcp.window = 0
    ping = client_frame(PING, b"x" * 125)

    for _ in range(200):
        conversation.say(ping * 50)
        assert conversation.tcp.get_write_buffer_size() < BUFFER_HIGH + 50 * 127
    conversation.say(client_frame(PING, b"the last"))
    conversation.tcp.take()
    answered = conversation.read().pongs
    conversation.say(client_frame(PING, b"there?"))

    assert len(answered) < 1000
    assert conversation.read().pongs[-2:] == [b"the last", b"there?"]


async def test_a_ping_to_a_full_socket_is_answered_when_there_is_space(talk: Talk) -> None:
    """The last of them, once: a client that is behind must not be taken for gone."""
    conversation = await talk()
    conversation.tcp.window = 0
    conversation.wire.write(chunk("x" * (BUFFER_HIGH + 1)))

    conversation.say(client_frame(PING, b"1"), client_frame(PING, b"2"))
    conversation.say(client_frame(PING, b"3"))
    conversation.tcp.take(BUFFER_HIGH)
    conversation.wire.write(chunk("y" * BUFFER_HIGH))
    conversation.tcp.take()
    conversation.wire.write(chunk("z"))

    assert conversation.read().pongs == [b"3"]
    assert len(conversation.reader.messages) == 3


async def test_a_ping_that_waits_for_space_is_not_answered_after_a_close(talk: Talk) -> None:
    """Whoever closes."""
    for closes in ("server", "peer"):
        conversation = await talk()
        conversation.tcp.window = 0
        conversation.wire.write(chunk("x" * (BUFFER_HIGH + 1)))
        conversation.say(client_frame(PING, b"?"))

        if closes == "server":
            conversation.wire.close(4000, "")
        else:
            conversation.say(client_frame(CLOSE, close_payload(1000)))
        conversation.tcp.take()

        assert conversation.read().order == [TEXT, CLOSE]


async def test_an_answered_ping_is_not_answered_again(talk: Talk) -> None:
    """By the one that waited for space."""
    conversation = await talk()
    conversation.tcp.window = 0
    conversation.wire.write(chunk("x" * (BUFFER_HIGH + 1)))
    conversation.say(client_frame(PING, b"1"))

    conversation.tcp.take(10)
    conversation.tcp.take(BUFFER_HIGH // 2)  # below the upper mark, and above the lower
    conversation.say(client_frame(PING, b"2"))
    conversation.tcp.take()

    assert conversation.read().pongs == [b"2"]


async def test_a_close_is_answered_however_much_the_peer_has_pinged(talk: Talk) -> None:
    """The pongs that are left out do not take the close frame with them."""
    conversation = await talk()
    conversation.tcp.window = 0
    conversation.wire.write(chunk("x" * (BUFFER_HIGH + 1)))

    conversation.say(client_frame(PING, b"?") * 3, client_frame(CLOSE, close_payload(1001)))
    conversation.tcp.take()
    await settle()

    assert conversation.read().close == (1001, "")
    assert conversation.tcp.over


async def test_a_peer_that_ends_its_half_is_told_of_at_once(talk: Talk) -> None:
    """Also while something waits for it, which then has close_timeout to go."""
    conversation = await talk()
    conversation.tcp.window = 0
    wire = conversation.wire
    wire.close_timeout = 3.0
    wire.write(chunk("x" * 1000))

    conversation.tcp.end_input()
    await settle()

    assert [code for code, _ in conversation.lost] == [1006]
    assert not conversation.tcp.over
    await asyncio.sleep(3.1)
    assert conversation.tcp.aborted


async def test_a_peer_that_is_gone_is_told_of_once(talk: Talk) -> None:
    """Though both the end of its half and that of the connection say so."""
    conversation = await talk()
    wire = conversation.wire

    conversation.tcp.end_input()
    conversation.tcp.reset()
    await settle()

    assert [code for code, _ in conversation.lost] == [1006]
    assert wire.gone
    assert conversation.events[-1]["type"] == "websocket.disconnect"


# Reading ahead.


async def test_messages_are_read_ahead_up_to_a_bound(talk: Talk) -> None:
    """Then the peer is held back, and read on when all was received."""
    conversation = await talk()
    conversation.receiving = False
    conversation.say(client_frame(TEXT, b"0"))
    await settle()  # the endpoint takes this one, and no more

    for number in range(1, READ_AHEAD_MESSAGES):
        conversation.say(client_frame(TEXT, b"%d" % number))
        assert conversation.tcp.reading
    conversation.say(client_frame(TEXT, b"last"))

    assert not conversation.tcp.reading
    for _ in range(READ_AHEAD_MESSAGES):
        assert not conversation.tcp.reading
        await conversation.protocol.receive()
    assert conversation.tcp.reading


async def test_large_messages_are_read_ahead_up_to_their_bytes(talk: Talk) -> None:
    """One at least."""
    conversation = await talk()
    conversation.receiving = False
    conversation.say(client_frame(TEXT, b"0"))
    await settle()

    conversation.say(client_frame(TEXT, b"x" * (READ_AHEAD_BYTES - 1)))
    assert conversation.tcp.reading
    conversation.say(client_frame(TEXT, b"x"))
    assert not conversation.tcp.reading


async def test_a_close_reads_on_to_hear_the_answer(talk: Talk) -> None:
    """Though the endpoint has received nothing of what was read ahead."""
    conversation = await talk()
    conversation.receiving = False
    conversation.say(*[client_frame(TEXT, b"x")] * (READ_AHEAD_MESSAGES + 1))
    await settle()
    assert not conversation.tcp.reading

    conversation.wire.close(1000, "")
    assert conversation.tcp.reading
    conversation.say(client_frame(TEXT, b"still"), client_frame(CLOSE, close_payload(1000)))
    await settle()

    assert conversation.tcp.over


# The server ends it.


LONG_URL = REQUEST.replace("/room", f"/room?since={'a' * 9000}")


async def test_a_handshake_that_cannot_be_read_is_answered() -> None:
    """With 400: a URL that is too long for the parser would leave the client without an answer."""
    conversation = Conversation()
    conversation.protocol.connection_made(conversation.tcp)

    conversation.protocol.data_received(f"{LONG_URL}\r\n".encode())
    await settle()

    conversation.read_head()
    assert conversation.status == "400"
    assert conversation.tcp.is_closing()
    assert conversation.events == []
    conversation.tcp.reset()
    await settle()


async def test_a_server_can_stop_in_the_middle_of_a_handshake() -> None:
    """It lets the socket go; uvicorn's class would fail, and keep the server from stopping."""
    conversation = Conversation()
    conversation.protocol.connection_made(conversation.tcp)
    conversation.protocol.data_received(REQUEST.encode())

    conversation.protocol.shutdown()

    assert conversation.tcp.is_closing()
    conversation.tcp.reset()
    await settle()


async def test_a_server_that_stops_says_so_to_actor_and_peer(talk: Talk) -> None:
    """With 1012; a peer that does not read is dropped."""
    conversation = await talk()
    conversation.tcp.window = 0
    wire = conversation.wire
    wire.close_timeout = 3.0

    conversation.protocol.shutdown()
    assert [code for code, _ in conversation.lost] == [1012]
    with pytest.raises(TransportClosed):
        wire.write(chunk("late"))
    await asyncio.sleep(3.1)

    assert conversation.tcp.aborted


@pytest.mark.parametrize("who", ["peer", "peer, badly", "server", "server, with its answer"])
async def test_a_server_that_stops_while_a_socket_closes_waits_for_it_no_longer(
    talk: Talk, who: str
) -> None:
    """Whoever has begun to close it; a failure here would keep the server from stopping."""
    conversation = await talk()
    conversation.tcp.window = 0
    wire = conversation.wire
    wire.close_timeout = 3.0
    await conversation.send({"type": "websocket.send", "text": "x" * 1000})
    if who == "peer":
        conversation.say(client_frame(CLOSE, close_payload(1000)))
    elif who == "peer, badly":
        conversation.say(client_frame(3))
    else:
        wire.close(4000, "")
        if "answer" in who:
            conversation.say(client_frame(CLOSE, close_payload(4000)))

    conversation.protocol.shutdown()
    await asyncio.sleep(3.1)

    assert conversation.tcp.over
    assert conversation.tcp.aborted


async def test_a_peer_that_answers_no_ping_is_closed_and_dropped(talk: Talk) -> None:
    """With 1011; the actor hears of it, and nothing is written after that."""
    conversation = await talk(ws_ping_interval=1.0, ws_ping_timeout=1.0)
    wire = conversation.wire
    conversation.tcp.window = 0
    wire.close_timeout = 3.0

    await asyncio.sleep(2.1)

    assert [code for code, _ in conversation.lost] == [1011]
    with pytest.raises(TransportClosed):
        wire.write(chunk("late"))
    await asyncio.sleep(3.1)
    assert conversation.tcp.aborted


# Compression.


async def test_large_messages_are_compressed_for_those_who_asked(talk: Talk) -> None:
    """Small ones are not; what the endpoint sends itself is read with the same window."""
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    conversation = await talk(headers=offer)
    conversation.reader.window_bits = 12
    large = "large " * 500

    await conversation.send({"type": "websocket.send", "text": large})
    conversation.wire.write(chunk("small", large, large.encode()))

    assert conversation.read().messages == [large, "small", large, large.encode()]
    assert conversation.reader.compressed == [True, False, True, True]


@pytest.mark.parametrize("offer", ["server_max_window_bits=8", "server_max_window_bits=7", "what"])
async def test_an_offer_that_cannot_be_met_is_declined(talk: Talk, offer: str) -> None:
    """zlib has no window of 8 bits: the connection is made, and nothing is compressed."""
    conversation = await talk(headers=f"Sec-WebSocket-Extensions: permessage-deflate; {offer}\r\n")
    if conversation.status != "101":  # older websockets refuse a handshake that is wrong
        return
    large = "large " * 500

    await conversation.send({"type": "websocket.send", "text": large})
    conversation.wire.write(chunk(large))

    assert conversation.read().messages == [large, large]


# What uvicorn uses of a queue.


async def test_events_come_in_their_order() -> None:
    """As from asyncio's queue."""
    events = EventQueue(asyncio.get_running_loop())
    assert events.empty()
    for number in range(3):
        events.put_nowait(number)

    assert (events.empty(), events.qsize()) == (False, 3)
    assert [await events.get() for _ in range(3)] == [0, 1, 2]


async def test_several_receivers_are_served_in_their_order() -> None:
    """Each gets one, who came first the first."""
    events = EventQueue(asyncio.get_running_loop())
    receivers = [asyncio.ensure_future(events.get()) for _ in range(3)]
    await settle()

    for number in range(3):
        events.put_nowait(number)
    await settle()

    assert [receiver.result() for receiver in receivers] == [0, 1, 2]


@pytest.mark.parametrize("woken", [False, True])
async def test_a_receiver_that_is_cancelled_loses_no_event(woken: bool) -> None:
    """Also one that was just about to get it: the next one does."""
    events = EventQueue(asyncio.get_running_loop())
    receivers = [asyncio.ensure_future(events.get()) for _ in range(3)]
    await settle()

    if woken:
        events.put_nowait("one")
        receivers[0].cancel()
    else:
        receivers[0].cancel()
        await settle()
        events.put_nowait("one")
    await settle()
    events.put_nowait("two")
    await settle()

    assert receivers[0].cancelled()
    assert [receiver.result() for receiver in receivers[1:]] == ["one", "two"]


async def test_the_last_receiver_that_is_cancelled_leaves_the_event() -> None:
    """For whoever receives next."""
    events = EventQueue(asyncio.get_running_loop())
    receiver = asyncio.ensure_future(events.get())
    await settle()

    events.put_nowait("one")
    receiver.cancel()
    await settle()

    assert await events.get() == "one"


# What uvicorn uses of an event.


async def test_all_who_wait_go_on_when_the_gate_opens() -> None:
    """And nobody waits at an open one."""
    gate = Gate(asyncio.get_running_loop())
    await gate.wait()
    gate.clear()
    waiting = [asyncio.ensure_future(gate.wait()) for _ in range(3)]
    await settle()
    assert not any(each.done() for each in waiting)

    gate.set()
    await settle()

    assert all(each.done() for each in waiting)


async def test_a_gate_that_closes_again_at_once_lets_nobody_through() -> None:
    """They wait on, instead of adding to what is full."""
    gate = Gate(asyncio.get_running_loop())
    gate.clear()
    waiting = asyncio.ensure_future(gate.wait())
    await settle()

    gate.set()
    gate.clear()
    await settle()
    assert not waiting.done()
    gate.set()
    await waiting


async def test_a_gate_forgets_who_gave_up_waiting() -> None:
    """A stalled socket to which an endpoint sends with a timeout, again and again."""
    gate = Gate(asyncio.get_running_loop())
    gate.clear()

    for _ in range(10):
        waiting = asyncio.ensure_future(gate.wait())
        await settle()
        waiting.cancel()
        await settle()

    assert not gate._waiting
    gate.set()
    await gate.wait()
