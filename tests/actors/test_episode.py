"""Episodes: clients for whom too much waits for too long, and what it costs them."""

from __future__ import annotations

import asyncio

import pytest

from actors.connection import ConnectionActor
from actors.exits import CloseCode, Ending
from actors.overflow import DropReason, Offer, Overflow
from actors.runtime import Runtime
from actors.testing import FakeTransport, settle
from tests.actors.recording import LEFT, ConnectionLog, chunk, connect, stall


def keep(connection: ConnectionActor, transport: FakeTransport) -> None:
    """Have the socket take what it holds back, and then hold back what comes next."""
    transport.resume(stalled=True)


async def test_too_much_for_too_long_makes_a_client_slow(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """After slow_grace above the soft bounds it keeps no more than those; told once, with sizes."""
    connection = stall(runtime, transport, log, capacity=8, slow_share=0.5)
    for payload in "abcdef":
        connection.deliver(chunk(payload))

    await asyncio.sleep(4.9)
    assert (log.slow, len(connection.cell.mailbox)) == ([], 6)
    await asyncio.sleep(0.3)

    assert log.slow == [(6, 6)]
    assert log.lagging == [DropReason.OLDEST]
    assert len(connection.cell.mailbox) == 4
    connection.deliver(chunk("g"))
    assert len(connection.cell.mailbox) == 4
    transport.resume()
    assert transport.sent == ["held", "d", "e", "f", "g"]
    assert (log.slow, log.lagging, log.caught_up) == ([(6, 6)], [DropReason.OLDEST], [3])
    transport.stalled = True
    for payload in "0123456":
        connection.deliver(chunk(payload))
    assert len(connection.cell.mailbox) == 6  # it has the bounds of before


async def test_too_many_bytes_make_a_client_slow_too(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """Either soft bound will do."""
    connection = stall(runtime, transport, log, max_bytes=100, slow_share=0.5)
    for payload in "ab":
        connection.deliver(chunk(payload * 30))

    await asyncio.sleep(5.2)

    assert log.slow == [(2, 60)]
    assert connection.statistics().size == 30


async def test_a_client_at_the_soft_bound_is_not_slow(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """Only what is above it counts, and nothing is kept of a client that is not."""
    connection = stall(runtime, transport, log, capacity=8, slow_share=0.5, send_timeout=60)
    for payload in "abcd":
        connection.deliver(chunk(payload))

    await asyncio.sleep(30)

    assert log.slow == []
    assert connection._episode is None


async def test_a_break_begins_the_grace_anew(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """Without a break means: not even for a moment at or below the soft bound."""
    connection = stall(runtime, transport, log, capacity=8, slow_share=0.5, send_timeout=60)
    wants = [chunk(payload, on_settled=lambda _: None) for payload in "abcdef"]
    for each in wants[:5]:
        connection.deliver(each)

    await asyncio.sleep(4)
    keep(connection, transport)
    assert len(connection.cell.mailbox) == 4
    connection.deliver(wants[5])
    await asyncio.sleep(4.9)
    assert log.slow == []
    await asyncio.sleep(0.3)

    assert log.slow == [(5, 5)]


async def test_a_newer_value_may_be_the_break(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """What takes the place of a larger message brings the mailbox below its soft bound."""
    connection = stall(runtime, transport, log, max_bytes=100, slow_share=0.5, send_timeout=60)
    connection.deliver(chunk("a" * 60, key="k"))
    await asyncio.sleep(4)

    connection.deliver(chunk("b", key="k"))
    await asyncio.sleep(30)

    assert log.slow == []
    assert connection._episode is None


async def test_rises_and_breaks_share_a_timer(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """A busy client that goes around its soft bound does not make a timer each time."""
    connection = stall(runtime, transport, log, capacity=8, slow_share=0.5)
    for payload in "abcd":
        connection.deliver(chunk(payload, on_settled=lambda _: None))

    for _ in range(1000):
        connection.deliver(chunk("x", on_settled=lambda _: None))
        keep(connection, transport)

    assert log.slow == []
    assert len(runtime._wheel) == 2  # the other is the deadline of the write


async def test_a_client_that_keeps_up_again_has_its_bounds_back(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """Below half of the soft bounds: before nothing waits, and without another line."""
    connection = stall(runtime, transport, log, capacity=8, slow_share=0.5, send_timeout=60)
    for payload in "abcdef":
        connection.deliver(chunk(payload, on_settled=lambda _: None))
    await asyncio.sleep(5.2)

    for _ in range(2):
        keep(connection, transport)
    for payload in "gh":
        connection.deliver(chunk(payload, on_settled=lambda _: None))
    connection.deliver(chunk("i", on_settled=lambda _: None))
    assert len(connection.cell.mailbox) == 4  # half is not below half: it is squeezed still
    for _ in range(3):
        keep(connection, transport)
    for payload in "jklmno":
        connection.deliver(chunk(payload, on_settled=lambda _: None))

    assert len(connection.cell.mailbox) == 7
    assert len(log.slow) == 1
    assert log.caught_up == []
    await asyncio.sleep(6)
    assert len(connection.cell.mailbox) == 4  # it is slow again, in the same episode
    assert len(log.slow) == 1
    transport.resume()
    assert len(log.caught_up) == 1
    assert connection._episode is None


async def test_a_slow_client_without_losses_is_reported_at_the_end_of_its_episode(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """A begin in the log has its end there."""
    connection = stall(
        runtime, transport, log, capacity=4, overflow=Overflow.BLOCK, send_timeout=60
    )
    for payload in "abcd":
        connection.deliver(chunk(payload))
    await asyncio.sleep(5.2)
    assert (log.slow, log.lagging) == ([(4, 4)], [])

    transport.resume()

    assert transport.sent == ["held", "a", "b", "c", "d"]
    assert log.caught_up == [0]


async def test_a_slow_client_may_cost_the_connection(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """A message whose policy is to disconnect ends a slow client with 3008."""
    connection = stall(runtime, transport, log, capacity=4)
    for payload in "abcd":
        connection.deliver(chunk(payload, overflow=Overflow.DISCONNECT, feed="alert"))

    await asyncio.sleep(5.2)

    assert [(each.ending, each.code) for each in log.ended] == [(Ending.SLOW, CloseCode.SLOW)]
    assert connection.statistics().dropped_by_feed == {"alert": {DropReason.SEND_FAILED: 4}}
    transport.resume()
    assert transport.closed == (3008, "too much waited for 5 s")


@pytest.mark.parametrize("which", ["on_slow", "on_lagging"])
async def test_a_listener_may_close_a_client_that_is_slow(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog, which: str
) -> None:
    """A close from within connection_slow, or from what the squeeze costs, stands."""
    connection = stall(runtime, transport, log, capacity=4)
    setattr(log, which, lambda connection: connection.close(LEFT))
    for payload in "abc":
        connection.deliver(chunk(payload))
    connection.deliver(chunk("d", overflow=Overflow.DISCONNECT))

    await asyncio.sleep(5.2)
    transport.resume()

    assert log.ended == [LEFT]
    assert transport.sent == ["held"]
    assert connection._episode is None


async def test_a_listener_may_send_when_a_client_is_slow(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """A control message from within connection_slow goes out first."""
    connection = stall(runtime, transport, log, capacity=4)
    offers: list[Offer] = []
    log.on_slow = lambda connection: offers.append(connection.deliver_control(chunk("slow")))
    for payload in "abcd":
        connection.deliver(chunk(payload))

    await asyncio.sleep(5.2)
    transport.resume()

    assert transport.sent == ["held", "slow", "b", "c", "d"]


async def test_what_came_by_the_ref_makes_a_client_slow_too(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """Whichever way it came."""
    connection = stall(runtime, transport, log, capacity=4)
    for payload in "abcd":
        connection.cell.ref.tell(chunk(payload))

    await asyncio.sleep(5.3)

    assert log.slow == [(4, 4)]
    assert len(connection.cell.mailbox) == 3


async def test_who_waits_for_space_gets_it_when_a_slow_client_keeps_up(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """The bounds that come back are space, too."""
    connection = stall(runtime, transport, log, capacity=8, slow_share=0.5, send_timeout=60)
    for payload in "abcdef":
        connection.deliver(chunk(payload, on_settled=lambda _: None, overflow=Overflow.BLOCK))
    await asyncio.sleep(5.2)
    late = chunk("late", overflow=Overflow.BLOCK)
    waiting = asyncio.create_task(connection.deliver_when_space(late, timeout=60))
    await settle()
    assert len(connection.cell.mailbox) == 6

    transport.resume()
    await settle()

    assert await waiting is Offer.ACCEPTED
    assert transport.sent == ["held", *"abcdef", "late"]


@pytest.mark.parametrize("flush", [True, False])
async def test_an_ended_client_is_slow_no_more(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog, flush: bool
) -> None:
    """What is flushed to it is not given up for being slow, and no timer is left."""
    connection = stall(runtime, transport, log, capacity=4, send_timeout=60, close_timeout=60)
    for payload in "abcd":
        connection.deliver(chunk(payload))
    await asyncio.sleep(3)

    connection.close(LEFT, flush=flush)
    await asyncio.sleep(20)
    transport.resume()

    assert (log.slow, log.caught_up) == ([], [])
    assert transport.sent == (["held", *"abcd"] if flush else ["held"])


async def test_a_client_that_keeps_up_has_no_episode(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """Nothing is made for a message that is written at once, nor kept when nothing waits."""
    connection = connect(runtime, transport, log, capacity=4)
    connection.deliver(chunk("at once"))
    assert connection._episode is None
    transport.stalled = True
    for payload in "abcde":
        connection.deliver(chunk(payload))
    assert connection._episode is not None

    transport.resume()

    assert connection._episode is None
    assert log.caught_up == []
