"""uvicorn's class with a wire: what an endpoint and an actor write, and in which order."""

from __future__ import annotations

import asyncio

import pytest

from actors.errors import TransportClosed
from actors.testing import settle
from tests.frames import BINARY, CLOSE, PING, PONG, TEXT, client_frame, close_payload
from tests.supervisor.conversation import LARGE, Talk, chunk

pytestmark = pytest.mark.newest


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

    assert wire.write(chunk("x" * LARGE)) is False
    assert wire.unsent
    held = wire.held
    conversation.tcp.take(1000)
    assert wire.held == held - 1000
    assert conversation.listener.said == []
    conversation.tcp.take()

    assert conversation.listener.said == ["ready"]
    assert not wire.unsent
    assert wire.held == 0
    assert wire.write(chunk("y")) is True
    assert conversation.read().messages == ["x" * LARGE, "y"]


async def test_an_endpoint_that_sends_waits_while_the_buffer_is_full(talk: Talk) -> None:
    """As with uvicorn's own class."""
    conversation = await talk()
    conversation.tcp.window = 0
    await conversation.send({"type": "websocket.send", "text": "x" * (LARGE + 1)})

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
    wire.write(chunk("x" * LARGE, "y"))

    wire.close(4001, "")
    conversation.tcp.take()
    assert conversation.read().messages == ["x" * LARGE, "y"]
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
    assert wire.write(chunk("x" * (LARGE + 1))) is False

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
