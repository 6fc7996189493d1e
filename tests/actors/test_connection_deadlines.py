"""How long a connection waits for a socket that takes nothing."""

from __future__ import annotations

import asyncio

import pytest

from actors.connection import ConnectionState
from actors.exits import CloseCode, Ending
from actors.runtime import Runtime
from actors.testing import FakeTransport
from tests.actors.recording import LEFT, ConnectionLog, chunk, connect, stall, state


async def test_a_socket_that_takes_nothing_is_given_up(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """After send_timeout it is deregistered, then aborted; nobody waits for it."""
    connection = stall(runtime, transport, log, send_timeout=5)
    connection.deliver(chunk("a"))

    await asyncio.sleep(4.9)
    assert state(connection) is ConnectionState.OPEN
    await asyncio.sleep(0.3)

    assert state(connection) is ConnectionState.CLOSED
    assert transport.aborted
    assert transport.closed is None
    assert connection.lost == 2
    assert [(reason.ending, reason.text) for reason in log.ended] == [
        (Ending.SEND_TIMEOUT, "the socket took nothing for 5 s")
    ]


async def test_a_socket_that_takes_some_of_it_has_more_time(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """A large message over a slow line is no reason to give a client up; standing still is."""
    transport.held = 1000
    connection = stall(runtime, transport, log, send_timeout=5)

    for left in (999, 10):
        transport.held = left
        await asyncio.sleep(5.1)
        assert state(connection) is ConnectionState.OPEN
    await asyncio.sleep(5.1)

    assert state(connection) is ConnectionState.CLOSED
    assert transport.aborted
    assert connection.reason is not None
    assert connection.reason.ending is Ending.SEND_TIMEOUT


async def test_a_close_has_its_time_however_much_the_socket_takes(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """What is flushed first must not keep a connection that was closed."""
    transport.held = 1000
    connection = stall(runtime, transport, log, send_timeout=5, close_timeout=8)

    connection.close(LEFT, flush=True)
    transport.held = 999
    await asyncio.sleep(8.1)

    assert state(connection) is ConnectionState.CLOSED
    assert transport.aborted


async def test_each_write_has_a_deadline_of_its_own(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """A slow client that takes something in time is kept, however long it goes on."""
    connection = stall(runtime, transport, send_timeout=5)
    for number in range(20):
        connection.deliver(chunk(str(number)))
        await asyncio.sleep(4)
        transport.resume(stalled=True)

    assert state(connection) is ConnectionState.OPEN
    assert connection.written == 20
    await asyncio.sleep(5.3)
    assert state(connection) is ConnectionState.CLOSED


async def test_an_idle_connection_has_no_deadline(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """What was written in time leaves no deadline behind."""
    connection = stall(runtime, transport, send_timeout=5)
    await asyncio.sleep(4)
    transport.resume()

    await asyncio.sleep(3600)

    assert state(connection) is ConnectionState.OPEN


async def test_a_slow_client_makes_no_timer_for_each_message(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """A thousand writes that were held back share a deadline's timer."""
    connection = connect(runtime, transport)
    transport.stalled = True
    for number in range(1000):
        connection.deliver(chunk(str(number)))
        transport.resume(stalled=True)

    assert connection.written == 1000
    assert len(runtime._wheel) == 1


async def test_a_deadline_that_comes_nearer_is_kept(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """A close_timeout that is shorter than the send_timeout counts from the close."""
    connection = stall(runtime, transport, send_timeout=60, close_timeout=2)
    await asyncio.sleep(1)

    connection.close(LEFT)
    await asyncio.sleep(1.9)
    assert state(connection) is ConnectionState.CLOSING
    await asyncio.sleep(0.3)

    assert state(connection) is ConnectionState.CLOSED
    assert transport.aborted


async def test_a_closed_connection_leaves_no_timer(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """Nothing holds on to the actor after its end."""
    connection = stall(runtime, transport)

    connection.close(LEFT)
    transport.resume()

    assert state(connection) is ConnectionState.CLOSED
    assert all(not timer.pending for bucket in runtime._wheel._buckets.values() for timer in bucket)


async def test_a_socket_that_is_closed_at_once_makes_no_timer(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """There is nothing to wait for, whether or not what waited is written first."""
    connect(runtime, transport).close(LEFT, flush=True)

    assert transport.closed == (CloseCode.NORMAL, "bye")
    assert len(runtime._wheel) == 0


@pytest.mark.parametrize(
    ("after", "expected", "sent"),
    [(4.999, ConnectionState.OPEN, ["held"]), (5.0, ConnectionState.CLOSED, [])],
)
async def test_readiness_and_deadline_may_come_together(
    runtime: Runtime,
    transport: FakeTransport,
    after: float,
    expected: ConnectionState,
    sent: list[str],
) -> None:
    """Whoever is first decides; the other finds nothing to do."""
    connection = stall(runtime, transport, send_timeout=5)
    runtime.loop.call_later(after, transport.resume)

    await asyncio.sleep(20)

    assert state(connection) is expected
    assert transport.sent == sent
    assert connection.written + connection.lost == 1
