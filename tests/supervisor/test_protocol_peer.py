"""uvicorn's class with a wire: what its peer does, and how far it reads ahead."""

from __future__ import annotations

import asyncio

import pytest

from actors.errors import TransportClosed
from actors.testing import settle
from tests.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, client_frame, close_payload
from tests.supervisor.conversation import (
    LARGE,
    READ_AHEAD_BYTES,
    READ_AHEAD_MESSAGES,
    Talk,
    chunk,
)

pytestmark = pytest.mark.newest


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
        assert conversation.tcp.get_write_buffer_size() < LARGE + 50 * 127
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
    conversation.wire.write(chunk("x" * (LARGE + 1)))

    conversation.say(client_frame(PING, b"1"), client_frame(PING, b"2"))
    conversation.say(client_frame(PING, b"3"))
    conversation.tcp.take(LARGE)
    conversation.wire.write(chunk("y" * LARGE))
    conversation.tcp.take()
    conversation.wire.write(chunk("z"))

    assert conversation.read().pongs == [b"3"]
    assert len(conversation.reader.messages) == 3


async def test_a_ping_that_waits_for_space_is_not_answered_after_a_close(talk: Talk) -> None:
    """Whoever closes."""
    for closes in ("server", "peer"):
        conversation = await talk()
        conversation.tcp.window = 0
        conversation.wire.write(chunk("x" * (LARGE + 1)))
        conversation.say(client_frame(PING, b"?"))

        if closes == "server":
            conversation.wire.close(4000, "")
        else:
            conversation.say(client_frame(CLOSE, close_payload(1000)))
        conversation.tcp.take()

        assert conversation.read().order == [TEXT, CLOSE]


async def test_a_pong_that_fills_the_socket_again_lets_nobody_write(talk: Talk) -> None:
    """It has waited for the space; whoever writes next waits for more."""
    conversation = await talk()
    conversation.tcp.window = 0
    conversation.wire.write(chunk("x" * LARGE))
    conversation.say(client_frame(PING, b"?"))

    conversation.tcp.take(conversation.tcp.get_write_buffer_size() + 1)
    assert conversation.listener.said == []
    assert conversation.wire.write(chunk("y")) is False
    conversation.tcp.take()

    assert conversation.listener.said == ["ready"]
    assert conversation.read().order == [TEXT, PONG, TEXT]


async def test_a_close_is_answered_however_much_the_peer_has_pinged(talk: Talk) -> None:
    """The pongs that are left out do not take the close frame with them."""
    conversation = await talk()
    conversation.tcp.window = 0
    conversation.wire.write(chunk("x" * (LARGE + 1)))

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
