"""
uvicorn's class with a wire: what it tells the actor and the peer, and when; without a socket.

What follows from it on real sockets is in ``tests/integration/test_frames.py``.
"""

from __future__ import annotations

import asyncio

import pytest

from actors.errors import TransportClosed
from actors.testing import settle
from supervisor.transports.wire import EXTENSION, find_wire
from tests.frames import CLOSE, client_frame, close_payload
from tests.supervisor.conversation import REQUEST, Conversation, Event, Talk, _check_uvicorn, chunk

pytestmark = pytest.mark.newest


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
