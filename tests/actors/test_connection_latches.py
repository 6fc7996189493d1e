"""What a publisher is told that waits until its message is written."""

from __future__ import annotations

import asyncio

import pytest

from actors.receipts import FlushLatch
from actors.runtime import Runtime
from actors.testing import FakeTransport
from tests.actors.recording import GONE, LEFT, chunk, connect, stall


async def test_a_latch_of_an_idle_connection_is_not_touched(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """when_flushed() says False when nothing waits."""
    connection = connect(runtime, transport)
    latch = FlushLatch()

    assert connection.when_flushed(latch) is False
    assert latch._pending == 0


async def test_a_latch_of_what_is_in_flight_waits_for_nothing_else(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """What comes later does not keep the publisher of what is in flight waiting."""
    connection = stall(runtime, transport)
    latch = FlushLatch()
    assert connection.when_flushed(latch) is True
    connection.deliver(chunk("later"))

    transport.resume(stalled=True)

    assert (latch._pending, latch.failed) == (0, 0)


async def test_a_latch_of_what_waits_is_told_when_all_is_written(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """All that waited at the time is written when the latch is told."""
    connection = stall(runtime, transport)
    connection.deliver(chunk("a"))
    latch = FlushLatch()
    assert connection.when_flushed(latch) is True

    transport.resume(stalled=True)
    assert latch._pending == 1
    transport.resume()

    assert (latch._pending, latch.failed) == (0, 0)


@pytest.mark.parametrize("queued", [True, False])
@pytest.mark.parametrize("end", ["fail", "gone", "stop", "deadline"])
async def test_a_latch_learns_that_the_message_was_lost(
    runtime: Runtime, transport: FakeTransport, end: str, queued: bool
) -> None:
    """Whatever ends the connection, the latch is told once, and told the truth."""
    connection = stall(runtime, transport)
    if queued:
        connection.deliver(chunk("a"))
    latch = FlushLatch()
    connection.when_flushed(latch)

    if end == "fail":
        transport.fail(OSError("gone"))
    elif end == "gone":
        connection.close(GONE)
    elif end == "stop":
        connection.cell.stop(LEFT)
    else:
        await asyncio.sleep(11)

    assert (latch._pending, latch.failed) == (0, 1)


async def test_a_latch_learns_of_a_close_that_lost_the_message(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """What is dropped by a close is not counted as written when the socket is ready again."""
    connection = stall(runtime, transport)
    in_flight, waiting = FlushLatch(), FlushLatch()
    connection.when_flushed(in_flight)
    connection.deliver(chunk("a"))
    connection.when_flushed(waiting)

    connection.close(LEFT)
    assert (waiting._pending, waiting.failed) == (0, 1)
    transport.resume()

    assert (in_flight._pending, in_flight.failed) == (0, 0)


async def test_a_latch_of_a_flush_is_told_when_it_is_done(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """A close that flushes writes what latches wait for."""
    connection = stall(runtime, transport)
    connection.deliver(chunk("a"))
    latch = FlushLatch()
    connection.when_flushed(latch)

    connection.close(LEFT, flush=True)
    transport.resume()

    assert (latch._pending, latch.failed) == (0, 0)
