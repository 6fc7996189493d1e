"""Who is in a room: joining, leaving, and being kicked."""

from __future__ import annotations

import asyncio

import pytest
from starlette.websockets import WebSocketDisconnect

from actors.testing import settle
from supervisor import Ending, NotAMember, UnknownConnection
from tests.supervisor.conftest import NewPeer, Supervise
from tests.supervisor.endpoints import enter, for_ever


async def test_join_and_leave_take_whatever_names_a_connection(
    supervise: Supervise, peer: NewPeer
) -> None:
    """A session, a connection or its WebSocket."""
    supervisor = supervise()
    session = await enter(supervisor, peer())
    connection = session.connection

    for target in (session, connection, connection.websocket):
        assert (await supervisor.join(target, "a")).joined
        assert not (await supervisor.join(target, "a")).joined
        assert supervisor.members("a") == {connection}
        await supervisor.leave(target, "a")
        assert supervisor.members("a") == frozenset()
    with pytest.raises(NotAMember):
        await supervisor.leave(session, "a")


async def test_who_is_not_connected_cannot_join(supervise: Supervise, peer: NewPeer) -> None:
    """UnknownConnection, before and after."""
    supervisor = supervise()
    client = peer()
    session = await enter(supervisor, client)
    client.leave()
    await client.result()

    for target in (session, session.connection, object(), "ann", None):
        with pytest.raises(UnknownConnection):
            await supervisor.join(target, "a")
        with pytest.raises(UnknownConnection):
            await supervisor.leave(target, "a")
        assert await supervisor.kick(target) == 0


async def test_joins_at_once_are_one_membership(supervise: Supervise, peer: NewPeer) -> None:
    """Exactly one of them was the first."""
    joined: list[object] = []
    supervisor = supervise(on_join=lambda connection, room: joined.append(room))
    client = peer()
    session = await enter(supervisor, client)

    answers = await asyncio.gather(*(supervisor.join(session, "a") for _ in range(5)))
    await supervisor.publish("a", "x")
    await settle()

    assert sorted(answer.joined for answer in answers) == [False] * 4 + [True]
    assert joined == ["a"]
    assert client.got == ["x"]


@pytest.mark.parametrize("how", ["session", "connection", "websocket", "user"])
async def test_a_kick_closes_and_drops_what_waits(
    supervise: Supervise, peer: NewPeer, how: str
) -> None:
    """3503 and its reason; it returns at once, with the number of connections."""
    supervisor = supervise()
    clients = [peer(), peer(), peer()]
    users = ["ann", "ann", "bob"]
    sessions = [
        await enter(supervisor, client, rooms=["a"], user=user)
        for client, user in zip(clients, users, strict=True)
    ]
    for client in clients:
        client.stalled = True
    for _ in range(3):
        await supervisor.publish("a", "x")
    target = {
        "session": sessions[0],
        "connection": sessions[0].connection,
        "websocket": sessions[0].connection.websocket,
        "user": "ann",
    }[how]
    gone = 2 if how == "user" else 1

    assert await supervisor.kick(target, reason="spam") == gone
    assert len(supervisor.members("a")) == 3 - gone
    for client in clients:
        client.resume()
    await settle()

    for client in clients[:gone]:
        assert client.closed == (3503, "spam")
        assert client.got == ["x"]  # was under way
        assert await client.end() is None
    assert clients[2].closed is None
    assert supervisor.closed[0].lost == 2
    assert supervisor.closed[0].reason.ending is Ending.KICKED


async def test_a_kick_has_a_code_that_can_travel(supervise: Supervise, peer: NewPeer) -> None:
    """Any that RFC 6455 lets a server send."""
    supervisor = supervise()
    client = peer()
    session = await enter(supervisor, client)

    for code in (0, 999, 1005, 1006, 1015, 2999, 5000):
        with pytest.raises(ValueError, match=f"not {code}"):
            await supervisor.kick(session, code)
    assert session.connected

    assert await supervisor.kick(session, 1008) == 1
    await settle()
    assert client.closed == (1008, "kicked")


async def test_a_kick_of_nobody_is_counted_as_such(supervise: Supervise) -> None:
    """Unknown users, unhashable targets."""
    supervisor = supervise()

    assert await supervisor.kick("nobody") == 0
    assert await supervisor.kick(["ann"]) == 0


async def test_a_kicked_body_that_sleeps_is_cancelled(supervise: Supervise, peer: NewPeer) -> None:
    """After the same grace as when its client leaves, with the kick's code outside."""
    supervisor = supervise(disconnect_grace=2.0)
    client = peer()
    session = await enter(supervisor, client, for_ever)
    started = asyncio.get_running_loop().time()

    await supervisor.kick(session, 4009, "out")
    error = await client.end()

    assert isinstance(error, WebSocketDisconnect)
    assert (error.code, error.reason) == (4009, "out")
    assert asyncio.get_running_loop().time() - started == pytest.approx(2.0, abs=0.2)
