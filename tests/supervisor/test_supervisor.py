"""The supervisor: its life, what it shows of itself, and everything at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from actors.testing import settle
from supervisor import (
    ConnectionRefused,
    Drained,
    Ending,
    NotStarted,
    Session,
    Settings,
    StoreUnavailable,
    Supervisor,
    SupervisorState,
)
from tests.supervisor.asgi import Peer, bare_app
from tests.supervisor.conftest import NewPeer, Supervise, done, nothing_left
from tests.supervisor.endpoints import endpoint, enter, for_ever, until_the_client_leaves

SENDS: dict[str, Callable[[Supervisor], Any]] = {
    "publish": lambda s: s.publish("a", "x"),
    "publish_nowait": lambda s: s.publish_nowait("a", "x"),
    "send_to_user": lambda s: s.send_to_user("ann", "x"),
    "broadcast": lambda s: s.broadcast("x"),
}
EVERY_SEND = pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)


# Life.


def test_a_supervisor_is_made_without_a_loop() -> None:
    """At import time, as a module's global."""
    supervisor = Supervisor(max_connections=7)

    assert supervisor.state is SupervisorState.NEW
    assert supervisor.settings.max_connections == 7
    assert supervisor.healthy


def test_settings_come_as_an_object_or_by_name() -> None:
    """Not both, as nobody could say which wins."""
    settings = Settings(max_connections=7)

    assert Supervisor(settings).settings is settings
    with pytest.raises(TypeError, match="not both"):
        Supervisor(settings, max_connections=8)


@pytest.mark.parametrize("wrong", ["sqlite:///feeds.db", {"history": "memory://"}])
def test_what_are_no_settings_is_explained(wrong: Any) -> None:
    """To pass a URL, or a table, is a natural mistake."""
    with pytest.raises(TypeError, match=r"settings is a Settings object, not .* by name"):
        Supervisor(wrong)


@EVERY_SEND
async def test_sending_before_the_start_is_refused_by_name(
    supervise: Supervise, send: Callable[[Supervisor], Any]
) -> None:
    """NotStarted says how to start."""
    with pytest.raises(NotStarted, match="lifespan"):
        await done(send(supervise(start=False)))


@EVERY_SEND
async def test_sending_after_the_drain_is_refused_by_name(
    supervise: Supervise, send: Callable[[Supervisor], Any]
) -> None:
    """Drained, also after aclose()."""
    supervisor = supervise()
    await supervisor.drain()

    with pytest.raises(Drained):
        await done(send(supervisor))

    await supervisor.aclose()
    with pytest.raises(Drained):
        await done(send(supervisor))


async def test_connecting_after_the_drain_is_refused(supervise: Supervise, peer: NewPeer) -> None:
    """503, and 3001 for those who would see a close code."""
    supervisor = supervise()
    await supervisor.drain()
    client = peer().open(bare_app(endpoint(supervisor)))

    with pytest.raises(ConnectionRefused) as refusal:
        await client.result()

    assert (refusal.value.code, client.status) == (3001, 503)


async def test_the_lifespan_starts_and_stops_as_often_as_asked(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Applications are started again in tests and by reloaders."""
    supervisor = supervise(start=False)

    states: list[SupervisorState] = []

    for _ in range(2):
        async with supervisor.lifespan(object()):
            states.append(supervisor.state)
            client = peer()
            await enter(supervisor, client, rooms=["a"])
            assert await supervisor.publish("a", "x")
        states.append(supervisor.state)
        assert client.closed == (3001, "shutdown")
        assert client.got == ["x"]
    assert states == [SupervisorState.RUNNING, SupervisorState.STOPPED] * 2


async def test_the_lifespan_stops_after_an_exception_too(supervise: Supervise) -> None:
    """The application's own start-up may fail."""
    supervisor = supervise(start=False)

    with pytest.raises(ZeroDivisionError):
        async with supervisor.lifespan(object()):
            raise ZeroDivisionError

    assert supervisor.state is SupervisorState.STOPPED


async def test_a_drain_closes_all_with_3001_after_what_waits(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Nothing that was accepted is lost, and every endpoint ends."""
    supervisor = supervise()
    clients = [peer() for _ in range(5)]
    for client in clients:
        await enter(supervisor, client, rooms=["a"])
        client.stalled = True
    for number in range(3):
        await supervisor.publish("a", str(number))

    draining = asyncio.ensure_future(supervisor.drain())
    await settle()
    assert not draining.done()
    for client in clients:
        client.resume()
    await draining

    for client in clients:
        assert client.got == ["0", "1", "2"]
        assert client.closed == (3001, "shutdown")
        assert await client.end() is None
    assert supervisor.state is SupervisorState.DRAINING
    assert {closed.reason.ending for closed in supervisor.closed} == {Ending.SHUTDOWN}


async def test_a_drain_ends_bodies_that_sleep(supervise: Supervise, peer: NewPeer) -> None:
    """They have shutdown_grace seconds; outside, that is a WebSocketDisconnect."""
    supervisor = supervise(shutdown_grace=0.5, disconnect_grace=100.0)
    client = peer()
    await enter(supervisor, client, for_ever)
    started = asyncio.get_running_loop().time()

    await supervisor.drain()
    error = await client.end()

    assert isinstance(error, WebSocketDisconnect)
    assert error.code == 3001
    assert asyncio.get_running_loop().time() - started == pytest.approx(0.5, abs=0.2)


async def test_a_drain_takes_no_longer_than_its_timeout(
    supervise: Supervise, peer: NewPeer
) -> None:
    """A client that does not read holds it up until then; aclose() aborts it."""
    supervisor = supervise(close_timeout=60.0, send_timeout=60.0)
    client = peer(abortable=True)
    await enter(supervisor, client, rooms=["a"])
    client.stalled = True
    await supervisor.publish("a", "x")
    loop = asyncio.get_running_loop()
    started = loop.time()

    await supervisor.drain(timeout=2.0)
    assert loop.time() - started == pytest.approx(2.0, abs=0.01)
    assert not client.aborted

    await supervisor.aclose(timeout=3.0)
    assert loop.time() - started == pytest.approx(5.0, abs=0.2)
    assert client.aborted
    assert await client.end() is None


async def test_drains_at_once_end_together(supervise: Supervise, peer: NewPeer) -> None:
    """A signal handler's drain and the lifespan's do not disturb each other."""
    supervisor = supervise(close_timeout=60.0, send_timeout=60.0)
    client = peer()
    await enter(supervisor, client, rooms=["a"])
    client.stalled = True
    await supervisor.publish("a", "x")

    drains = [asyncio.ensure_future(supervisor.drain()) for _ in range(3)]
    await asyncio.sleep(1)
    client.resume()
    await settle()

    assert all(drain.done() for drain in drains)
    await asyncio.gather(*drains)


async def test_a_socket_that_is_being_accepted_does_not_survive_a_drain(
    supervise: Supervise, peer: NewPeer
) -> None:
    """It had its place before; it is closed like the others."""
    supervisor = supervise()
    client = peer()
    client.stalled = True
    await client.enter(bare_app(endpoint(supervisor, rooms=["a"])))

    await supervisor.drain()
    client.resume()
    await settle()

    assert supervisor.statistics().connections == 0
    assert isinstance(await client.end(), WebSocketDisconnect)


async def test_a_drained_supervisor_may_be_started_again(
    supervise: Supervise, peer: NewPeer
) -> None:
    """A drain that was called off."""
    supervisor = supervise()
    await enter(supervisor, peer())
    await supervisor.drain()

    supervisor.start()

    await enter(supervisor, peer(), rooms=["a"])
    assert await supervisor.publish("a", "x")


async def test_aclose_is_idempotent(supervise: Supervise, peer: NewPeer) -> None:
    """Also twice at once; and without any node."""
    supervisor = supervise()
    await supervisor.aclose()
    supervisor.start()
    await enter(supervisor, peer())

    await asyncio.gather(supervisor.aclose(), supervisor.aclose())
    await supervisor.aclose()

    assert supervisor.state is SupervisorState.STOPPED
    assert supervisor.nodes == []


@pytest.mark.parametrize(("timeout", "takes"), [(None, 2.0), (5.0, 2.0), (0.5, 0.5), (0.0, 0.0)])
@pytest.mark.parametrize("gone", [False, True], ids=["connected", "gone"])
async def test_aclose_ends_endpoints_that_do_not_end(
    supervise: Supervise, peer: NewPeer, timeout: float | None, takes: float, gone: bool
) -> None:
    """After shutdown_grace, or when it has no more time: nobody would cancel them afterwards."""
    supervisor = supervise(shutdown_grace=2.0, disconnect_grace=50.0)
    client, loop = peer(), asyncio.get_running_loop()
    await enter(supervisor, client, for_ever)
    if gone:
        client.vanish()
        await settle()
    before = loop.time()

    await supervisor.aclose(timeout)

    assert loop.time() - before == pytest.approx(takes, abs=0.2)
    await settle()
    assert not client.running
    assert isinstance(await client.end(), WebSocketDisconnect)


async def test_aclose_does_not_wait_for_endpoints_that_will_not_end(
    supervise: Supervise, peer: NewPeer
) -> None:
    """For those that swallow their cancellation no longer than a second; nor for its own caller."""
    supervisor = supervise(shutdown_grace=2.0)
    stubborn, closer, loop = peer(), peer(), asyncio.get_running_loop()
    free = asyncio.Event()
    took: list[float] = []

    async def go_on(session: Session) -> None:
        try:
            await for_ever(session)
        except asyncio.CancelledError:
            await free.wait()

    async def close(_: Session) -> None:
        before = loop.time()
        await supervisor.aclose(1.0)
        took.append(loop.time() - before)

    await enter(supervisor, stubborn, go_on)
    await enter(supervisor, closer, close)

    assert await closer.end() is None

    assert took == [pytest.approx(2.0, abs=0.2)]
    free.set()
    assert isinstance(await stubborn.end(), WebSocketDisconnect | None)


async def test_who_comes_after_the_end_is_refused_and_leaves_nothing(
    supervise: Supervise, peer: NewPeer
) -> None:
    """No node is made for a connection that is refused: nobody would close it."""
    supervisor = supervise()
    await supervisor.aclose()
    late = peer().open(bare_app(endpoint(supervisor)))

    error = await late.end()

    assert isinstance(error, ConnectionRefused)
    assert (error.code, late.status) == (3001, 503)
    assert supervisor.nodes == []


@pytest.mark.real_time
@pytest.mark.parametrize("milliseconds", range(8))
async def test_stores_that_are_opened_while_all_is_closed_do_not_stay_open(
    supervise: Supervise, tmp_path: Path, milliseconds: int
) -> None:
    """Without a lifespan the first use opens them, which takes a moment: see what is left of it."""
    store = f"sqlite:///{tmp_path}/feeds.db"
    supervisor, other = (supervise(history=store, inbox=store) for _ in range(2))

    async def close() -> None:
        await asyncio.sleep(milliseconds / 1000)
        await supervisor.aclose()

    used, _ = await asyncio.gather(supervisor.pending("ann"), close(), return_exceptions=True)

    assert used == [] or isinstance(used, Drained | StoreUnavailable)
    assert await other.pending("ann") == []  # the file is free


# Looking.


async def test_statistics_add_up(supervise: Supervise, peer: NewPeer) -> None:
    """Connections, users, rooms, what waits, what was written."""
    supervisor = supervise()
    clients = [peer() for _ in range(3)]
    for client, user in zip(clients, ("ann", "ann", None), strict=True):
        await enter(supervisor, client, rooms=["a"], user=user)
    clients[0].stalled = True

    for _ in range(3):
        await supervisor.publish("a", "12345")
    await settle()
    statistics = supervisor.statistics()

    assert (statistics.nodes, statistics.connections, statistics.closing) == (1, 3, 0)
    assert statistics.users == 1
    assert statistics.rooms == 3  # a, ann's, everyone's
    assert (statistics.waiting, statistics.waiting_bytes) == (2, 10)
    assert statistics.written == 6
    assert statistics.jobs >= 1  # the write that waits
    assert (statistics.dropped, statistics.refused) == ({}, {})


async def test_the_ring_forgets_the_oldest(supervise: Supervise, peer: NewPeer) -> None:
    """closed_ring bounds it."""
    supervisor = supervise(closed_ring=2)
    for code in (4001, 4002, 4003):
        client = peer()
        await enter(supervisor, client)
        client.leave(code)
        await client.result()

    assert [closed.reason.code for closed in supervisor.closed] == [4002, 4003]


async def test_what_a_closing_socket_loses_is_counted(supervise: Supervise, peer: NewPeer) -> None:
    """In the ring once the socket is done with, and in the statistics."""
    supervisor = supervise()
    client = peer(abortable=True)
    await enter(supervisor, client, rooms=["a"])
    client.stalled = True
    for _ in range(4):
        await supervisor.publish("a", "x")

    client.vanish()
    await client.end()
    await settle()

    (closed,) = supervisor.closed
    assert (closed.written, closed.lost) == (0, 4)
    assert supervisor.statistics().dropped == {"send_failed": 4}


# Everything at once.


async def test_a_refresh_storm_leaves_nothing(supervise: Supervise, peer: NewPeer) -> None:
    """Clients come, leave, stall and vanish under a steady publish; all is in order and gone."""
    supervisor = supervise(mailbox_messages=8, send_timeout=2.0)
    publishing = True

    async def publish() -> None:
        number = 0
        while publishing:
            await supervisor.publish("a", str(number))
            number += 1
            await asyncio.sleep(0.01)

    publisher = asyncio.ensure_future(publish())
    clients: list[Peer] = []
    for number in range(60):
        client = peer(abortable=bool(number % 2))
        clients.append(client)
        await client.enter(bare_app(endpoint(supervisor, until_the_client_leaves, rooms=["a"])))
        await asyncio.sleep(0.03)
        if number % 5 == 1:
            clients[number // 2].stalled = True
        if number % 5 == 2:
            clients[number // 2].leave()
        if number % 5 == 3:
            clients[number // 2].vanish()
        if number % 5 == 4:
            clients[number // 2].failing = OSError("reset")
    for client in clients:
        client.resume()
        client.leave()
    publishing = False
    await publisher
    for client in clients:
        error = await client.end()
        assert error is None or isinstance(error, WebSocketDisconnect)
    await settle()

    for client in clients:
        numbers = [int(message) for message in client.got]
        assert numbers == sorted(set(numbers))
    nothing_left(supervisor.nodes)
