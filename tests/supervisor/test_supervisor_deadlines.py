"""Connections that have lasted too long, and zombies."""

from __future__ import annotations

import asyncio

import pytest
from starlette.websockets import WebSocketDisconnect

from supervisor import Ending
from tests.supervisor.conftest import Events, NewPeer, Supervise, named
from tests.supervisor.endpoints import enter, for_ever


async def test_a_silent_client_is_closed_after_the_idle_timeout(
    supervise: Supervise, peer: NewPeer
) -> None:
    """3502; any message starts the time anew, what the server sends does not."""
    supervisor = supervise(idle_timeout=10.0)
    client = peer()
    await enter(supervisor, client, rooms=["a"])
    loop = asyncio.get_running_loop()
    for _ in range(3):
        await asyncio.sleep(8)
        client.say("still here")
        await supervisor.publish("a", "x")
    started = loop.time()

    assert await client.end() is None

    assert client.closed == (3502, "no message for 10 s")
    assert loop.time() - started == pytest.approx(10.0, abs=0.2)
    assert supervisor.closed[0].reason.ending is Ending.IDLE


async def test_a_client_whose_endpoint_never_reads_is_not_idle_while_it_talks(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Somebody reads for the endpoint."""
    supervisor = supervise(idle_timeout=10.0)
    client = peer()
    session = await enter(supervisor, client, for_ever)

    for _ in range(5):
        await asyncio.sleep(8)
        client.say("x")

    assert session.connected


async def test_a_client_that_left_unseen_behind_unread_messages_is_closed_as_idle(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Nobody reads any more, so nothing else would ever end it."""
    supervisor = supervise(idle_timeout=10.0, disconnect_grace=1.0)
    client = peer()
    await enter(supervisor, client, for_ever)
    for _ in range(40):
        client.say("x")
    client.leave()

    assert isinstance(await client.end(), WebSocketDisconnect)

    assert supervisor.closed[0].reason.ending is Ending.IDLE


async def test_a_connection_lives_no_longer_than_allowed(
    supervise: Supervise, peer: NewPeer
) -> None:
    """3005, which invites to come back; a tenth earlier or later, so that not all come at once."""
    supervisor = supervise(max_lifetime=100.0)
    clients = [peer() for _ in range(20)]
    for client in clients:
        await enter(supervisor, client)
    for client in clients:
        assert await client.end() is None

    durations = [closed.duration for closed in supervisor.closed]
    assert {client.closed for client in clients} == {(3005, "lifetime reached")}
    assert {closed.reason.ending for closed in supervisor.closed} == {Ending.LIFETIME}
    assert 90 <= min(durations) <= max(durations) <= 110.2
    assert max(durations) - min(durations) > 1


async def test_a_sweep_finds_zombies(supervise: Supervise, peer: NewPeer, events: Events) -> None:
    """Registered, but the server has dropped the socket and nobody was told."""
    supervisor = supervise(sweep_interval=30.0, disconnect_grace=1.0)
    zombie, healthy = peer(abortable=True), peer(abortable=True)
    await enter(supervisor, zombie, for_ever, rooms=["a"])
    await enter(supervisor, healthy, rooms=["a"])

    zombie.vanish(unseen=True)
    await asyncio.sleep(61)  # a socket that closes at the first sweep may be reported yet
    assert len(supervisor.members("a")) == 1
    await asyncio.sleep(2)

    assert isinstance(await zombie.end(), WebSocketDisconnect)
    assert len(named(events, "connection.zombie")) == 1
    assert supervisor.closed[0].reason.ending is Ending.DISCONNECTED
    assert healthy.running
