"""What a session receives, in JSON and in MessagePack, and what it does not let pass."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgpack
import pytest
from starlette.websockets import WebSocketDisconnect

from actors.testing import settle
from supervisor import Ending, InvalidMessage, Session
from tests.supervisor.asgi import bare_app
from tests.supervisor.conftest import NewPeer, Supervise
from tests.supervisor.endpoints import endpoint, enter

# Receiving.


async def test_iterating_yields_text_and_bytes_until_the_client_leaves(
    supervise: Supervise, peer: NewPeer
) -> None:
    """str for a text frame, bytes for a binary one; what came before the end is not lost."""
    got: list[str | bytes] = []

    async def collect(session: Session) -> None:
        await asyncio.sleep(1)  # the client has said all, and left
        got.extend([message async for message in session])

    client = peer().open(bare_app(endpoint(supervise(), collect)))
    for message in ("a", b"b", "", b"", "ü"):
        client.say(message)
    await settle()
    client.leave()
    await client.result()

    assert got == ["a", b"b", "", b"", "ü"]


async def test_receive_raises_with_the_clients_code(supervise: Supervise, peer: NewPeer) -> None:
    """The disconnect carries what the client said, as often as it is asked for."""
    codes: list[tuple[int, str]] = []

    async def receive_twice(session: Session) -> None:
        for _ in range(2):
            try:
                await session.receive()
            except WebSocketDisconnect as error:
                codes.append((error.code, error.reason))

    client = await peer().enter(bare_app(endpoint(supervise(), receive_twice)))
    client.leave(4001, "bye")
    await client.result()

    assert codes == [(4001, "bye"), (4001, "bye")]


async def test_a_leave_is_remembered_with_the_clients_code(
    supervise: Supervise, peer: NewPeer
) -> None:
    """The ring of closed connections says who, why and for how long."""
    supervisor = supervise()
    client = peer()
    session = await enter(supervisor, client, rooms=["a"], user="ann")
    await supervisor.publish("a", "x")
    await asyncio.sleep(5)
    client.leave(4001, "bye")
    await client.result()

    (closed,) = supervisor.closed
    assert closed.id == session.connection.id
    assert (closed.user, closed.client) == ("ann", "203.0.113.7")
    assert closed.rooms == {"a"}
    assert (closed.reason.ending, closed.reason.code, closed.reason.text) == (
        Ending.DISCONNECTED,
        4001,
        "bye",
    )
    assert closed.duration == pytest.approx(5, abs=0.01)
    assert (closed.written, closed.lost, closed.dropped) == (1, 0, {})
    assert (closed.peak_depth, closed.peak_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("receive", "message", "code", "says"),
    [
        (Session.receive_text, b"\x00", 1003, "expected text"),
        (Session.receive_bytes, "text", 1003, "expected binary"),
        (Session.receive_json, "{", 1007, "no JSON"),
        (Session.receive_json, "", 1007, "no JSON"),
        (Session.receive_json, "[" * 100_000, 1007, "no JSON"),
        (Session.receive_json, b"{}", 1003, "expected text"),
        (Session.receive, "x" * 101, 1009, "100 bytes"),
        (Session.receive, b"x" * 101, 1009, "100 bytes"),
        (Session.receive, "ü" * 51, 1009, "100 bytes"),
        (Session.receive, "\U0001f600" * 26, 1009, "100 bytes"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or repr(value)[:12],
)
async def test_what_an_endpoint_did_not_expect_closes_with_a_code(
    supervise: Supervise,
    peer: NewPeer,
    receive: Callable[[Session], Awaitable[object]],
    message: str | bytes,
    code: int,
    says: str,
) -> None:
    """Each kind of bad message has its close code; the endpoint gets an InvalidMessage."""
    limit = 100 if code == 1009 else 1 << 20
    supervisor = supervise(max_message_bytes=limit)
    client = peer()
    client.say(message)
    client.open(bare_app(endpoint(supervisor, receive)))

    with pytest.raises(InvalidMessage, match=says) as error:
        await client.result()

    assert isinstance(error.value, WebSocketDisconnect)
    assert error.value.code == code
    assert client.closed is not None
    assert client.closed[0] == code
    assert says in client.closed[1]
    assert supervisor.closed[0].reason.ending is Ending.PROTOCOL


async def test_a_close_reason_is_cut_to_what_a_frame_carries(
    supervise: Supervise, peer: NewPeer
) -> None:
    """123 bytes, at a character's border."""
    client = peer()
    session = await enter(supervise(), client)

    await session.close(4000, "ü" * 100)

    assert client.closed == (4000, "ü" * 61)


async def test_messages_up_to_the_limit_pass(supervise: Supervise, peer: NewPeer) -> None:
    """max_message_bytes counts UTF-8 bytes, and is itself allowed."""
    messages: list[str | bytes] = ["x" * 8, b"x" * 8, "ü" * 4, "\U0001f600" * 2]
    got: list[str | bytes] = []

    async def receive_all(session: Session) -> None:
        got.extend([await session.receive() for _ in messages])

    client = peer()
    for message in messages:
        client.say(message)
    await client.open(bare_app(endpoint(supervise(max_message_bytes=8), receive_all))).result()

    assert got == messages


async def test_iteration_raises_for_a_message_over_the_limit(
    supervise: Supervise, peer: NewPeer
) -> None:
    """It ends silently only when the client leaves."""
    client = peer()
    client.say("xx")
    client.open(bare_app(endpoint(supervise(max_message_bytes=1))))

    with pytest.raises(InvalidMessage):
        await client.result()


async def test_receive_json_decodes(supervise: Supervise, peer: NewPeer) -> None:
    """Any JSON value, not only objects."""
    got: list[object] = []

    async def receive_three(session: Session) -> None:
        got.extend([await session.receive_json() for _ in range(3)])

    client = peer()
    for text in ('{"a": 1}', "[1]", "null"):
        client.say(text)
    await client.open(bare_app(endpoint(supervise(), receive_three))).result()

    assert got == [{"a": 1}, [1], None]


async def test_cancelling_receive_loses_no_message(supervise: Supervise, peer: NewPeer) -> None:
    """A receive with a timeout leaves the next message to the next one."""
    got: list[str | bytes] = []

    async def poll(session: Session) -> None:
        while len(got) < 3:
            try:
                async with asyncio.timeout(0.3):
                    got.append(await session.receive())
            except TimeoutError:
                pass

    client = await peer().enter(bare_app(endpoint(supervise(), poll)))
    for message in ("a", "b", "c"):
        await asyncio.sleep(2)
        client.say(message)
    await client.result()

    assert got == ["a", "b", "c"]


# MessagePack.


async def test_msgpack_is_chosen_where_the_client_offers_it(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Data travels as MessagePack then, both ways; str and bytes stay what they are."""
    supervisor = supervise()
    client = peer(subprotocols=["other", "msgpack"])
    client.say(msgpack.packb({"q": 1}))
    got: list[object] = []

    async def talk(session: Session) -> None:
        got.append(await session.receive_json())
        await session.send({"a": 1})
        await supervisor.publish("a", [1, 2])
        await session.send("text")
        await session.send(b"bytes")

    await client.open(bare_app(endpoint(supervisor, talk, rooms=["a"]))).result()

    assert client.subprotocol == "msgpack"
    assert got == [{"q": 1}]
    assert [msgpack.unpackb(message) for message in client.got[:2]] == [{"a": 1}, [1, 2]]
    assert client.got[2:] == ["text", b"bytes"]


async def test_no_subprotocol_is_chosen_for_others(supervise: Supervise, peer: NewPeer) -> None:
    """A client that offered something else gets JSON, and no subprotocol."""
    client = peer(subprotocols=["other"])
    session = await enter(supervise(), client)

    await session.send({"a": 1})
    await settle()

    assert client.subprotocol is None
    assert client.got == ['{"a":1}']


@pytest.mark.parametrize(("message", "code"), [("{}", 1003), (b"\xc1", 1007), (b"\x01\x02", 1007)])
async def test_what_is_no_msgpack_closes_with_a_code(
    supervise: Supervise, peer: NewPeer, message: str | bytes, code: int
) -> None:
    """Text, malformed bytes, and more than one value."""
    client = peer(subprotocols=["msgpack"])
    client.say(message)
    client.open(bare_app(endpoint(supervise(), Session.receive_json)))

    with pytest.raises(InvalidMessage):
        await client.result()

    assert client.closed is not None
    assert client.closed[0] == code
