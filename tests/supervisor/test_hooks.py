"""The application's hooks: once each, in order, and without harm to anybody."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.testing import settle
from supervisor import ClosedConnection, Connection, Supervisor
from tests.supervisor.asgi import bare_app
from tests.supervisor.conftest import Events, NewPeer, Supervise, named
from tests.supervisor.endpoints import endpoint, enter


async def test_hooks_are_called_once_each_in_order(supervise: Supervise, peer: NewPeer) -> None:
    """Join, leave and close; with the application's rooms only."""
    told: list[tuple[object, ...]] = []

    def on_close(closed: ClosedConnection) -> None:
        told.append(("close", closed.id, closed.reason.code))

    supervisor = supervise(
        on_join=lambda connection, room: told.append(("join", connection.id, room)),
        on_leave=lambda connection, room: told.append(("leave", connection.id, room)),
        on_close=on_close,
    )
    client = peer()
    session = await enter(supervisor, client, rooms=["a", "b"], user="ann")
    number = session.connection.id
    await session.leave("b")
    await session.join("c")
    client.leave(4001)
    await client.result()
    await settle()

    assert told[:4] == [
        ("join", number, "a"),
        ("join", number, "b"),
        ("leave", number, "b"),
        ("join", number, "c"),
    ]
    assert sorted(map(str, told[4:6])) == sorted(
        map(str, [("leave", number, "a"), ("leave", number, "c")])
    )
    assert told[6:] == [("close", number, 4001)]


@pytest.mark.parametrize("name", ["on_join", "on_leave", "on_close", "on_offline"])
def test_a_hook_can_be_called(name: str) -> None:
    """One that cannot is refused at once, by its name, not logged with each of its calls."""
    arguments: dict[str, Any] = {name: 5}

    with pytest.raises(TypeError, match=f"^{name} is a function, or None, not 5$"):
        Supervisor(**arguments)


async def test_coroutine_hooks_are_awaited(supervise: Supervise, peer: NewPeer) -> None:
    """As jobs of their own, which hold nobody up."""
    told: list[str] = []

    async def on_join(connection: Connection, room: object) -> None:
        await asyncio.sleep(1)
        told.append(f"join {room}")

    async def on_close(closed: ClosedConnection) -> None:
        await asyncio.sleep(1)
        told.append("close")

    supervisor = supervise(on_join=on_join, on_close=on_close)
    client = peer()
    await enter(supervisor, client, rooms=["a"])
    client.leave()
    await client.result()
    assert told == []
    await asyncio.sleep(1.1)

    assert sorted(told) == ["close", "join a"]


async def test_what_a_plain_hook_returns_is_its_own(
    supervise: Supervise, peer: NewPeer, events: Events
) -> None:
    """Lambdas return something."""
    supervisor = supervise(on_join=lambda *_: 7, on_leave=lambda *_: "x", on_close=lambda _: [])
    client = peer()
    await enter(supervisor, client, rooms=["a"])
    client.leave()
    await client.result()
    await settle()

    assert named(events, "hook.failed") == []


async def test_coroutine_hooks_end_before_the_supervisor_does(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Whoever notes down who left, does so for those who left at the shutdown too."""
    told: list[str] = []

    async def on_leave(connection: Connection, room: object) -> None:
        await asyncio.sleep(1)
        told.append(f"{connection.user} left {room}")

    async def on_close(closed: ClosedConnection) -> None:
        await asyncio.sleep(2)
        told.append(f"{closed.user} closed")

    supervisor = supervise(on_leave=on_leave, on_close=on_close)
    await enter(supervisor, peer(), rooms=["a"], user="ann")

    await supervisor.aclose()

    assert told == ["ann left a", "ann closed"]


async def test_a_coroutine_hook_that_never_ends_is_cancelled_in_the_end(
    supervise: Supervise, peer: NewPeer
) -> None:
    """After the drain's timeout."""
    cancelled: list[bool] = []

    async def on_close(closed: ClosedConnection) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    supervisor = supervise(on_close=on_close)
    await enter(supervisor, peer())
    started = asyncio.get_running_loop().time()

    await supervisor.aclose(timeout=3.0)

    assert asyncio.get_running_loop().time() - started == pytest.approx(3.0, abs=0.2)
    assert cancelled == [True]


async def test_a_hook_that_raises_harms_nobody(
    supervise: Supervise, peer: NewPeer, events: Events
) -> None:
    """It is logged as hook.failed, whether plain or a coroutine."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError("bug")

    async def fail_later(*_: object) -> None:
        raise ZeroDivisionError("bug")

    supervisor = supervise(on_join=fail, on_leave=fail_later, on_close=fail)
    client = peer()
    await enter(supervisor, client, rooms=["a"])
    assert await supervisor.publish("a", "x")
    client.leave()
    assert await client.end() is None
    await settle()

    assert [event["what"] for event in named(events, "hook.failed")] == [
        "hook on_join",
        "hook on_close",
        "hook on_leave",
    ]


async def test_a_hook_may_use_the_supervisor(supervise: Supervise, peer: NewPeer) -> None:
    """Announcing who came and who left is what hooks are for."""
    supervisor: Supervisor

    def on_join(connection: Connection, room: Any) -> None:
        supervisor.publish_nowait(room, f"{connection.user} came", exclude=connection)

    def on_leave(connection: Connection, room: Any) -> None:
        supervisor.publish_nowait(room, f"{connection.user} left")

    supervisor = supervise(on_join=on_join, on_leave=on_leave)
    clients = {user: peer() for user in ("ann", "bob")}
    for user, client in clients.items():
        await enter(supervisor, client, rooms=["a"], user=user)
        await settle()
    clients["bob"].leave()
    await clients["bob"].result()
    await settle()

    assert clients["ann"].got == ["bob came", "bob left"]


async def test_a_hook_may_kick_whoever_joins(supervise: Supervise, peer: NewPeer) -> None:
    """The join is refused then, and nothing of it stays."""
    supervisor: Supervisor

    async def kick(connection: Connection) -> None:
        await supervisor.kick(connection, 4008, "banned")

    supervisor = supervise(on_join=lambda connection, room: kick(connection))
    client = peer()
    client.open(bare_app(endpoint(supervisor, rooms=["a"])))
    await client.end()

    assert client.closed == (4008, "banned")
    assert supervisor.members("a") == frozenset()


@pytest.mark.parametrize("timeout", [10.0, 0.0])
async def test_who_is_in_a_busy_room_when_all_is_closed_leaves_it(
    supervise: Supervise, peer: NewPeer, timeout: float
) -> None:
    """Its leave waits behind what was published; and it has left when nobody waits for that."""
    left: list[Any] = []

    async def on_leave(connection: Connection, room: Any) -> None:
        left.append(room)

    supervisor = supervise(on_leave=on_leave)
    client = peer()
    await enter(supervisor, client, rooms=["a"])
    for number in range(500):  # a key each: they cannot share a turn of the room
        supervisor.publish_nowait("a", "x", key=number)

    await supervisor.aclose(timeout)

    assert left == ["a"]
    assert supervisor.statistics().rooms == 0
    await client.end()
