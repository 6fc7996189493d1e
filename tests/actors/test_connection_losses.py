"""What a connection loses, who is told of it, and under which class it is counted."""

from __future__ import annotations

import asyncio

import pytest

from actors.connection import ConnectionActor
from actors.exits import CloseCode
from actors.overflow import DropReason, Offer, Overflow
from actors.runtime import Runtime
from actors.testing import FakeTransport
from tests.actors.conftest import Faults
from tests.actors.recording import LEFT, ConnectionLog, chunk, connect, stall

# Slow clients.


async def test_a_client_that_begins_to_lose_messages_is_reported_once_an_episode(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """connection_lagging at the first loss; connection_caught_up with the number of all."""
    connection = stall(runtime, transport, log, capacity=2)
    for payload in "abcde":
        connection.deliver(chunk(payload))
    assert (log.lagging, log.caught_up) == ([DropReason.OLDEST], [])

    transport.resume()

    assert transport.sent == ["held", "d", "e"]
    assert log.caught_up == [3]
    transport.stalled = True
    for payload in "fghi":
        connection.deliver(chunk(payload))
    transport.resume()
    assert len(log.lagging) == 2
    assert log.caught_up == [3, 1]


async def test_a_client_too_slow_for_its_policy_is_disconnected(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """Overflow.DISCONNECT closes with 3008 and loses what waited."""
    connection = stall(runtime, transport, log, capacity=1, overflow=Overflow.DISCONNECT)
    connection.deliver(chunk("a"))

    offer = connection.deliver(chunk("b"))

    assert offer is Offer.OVERFLOWED
    assert [reason.code for reason in log.ended] == [CloseCode.SLOW]
    transport.resume()
    assert transport.sent == ["held"]
    assert transport.closed == (3008, "mailbox overflow")


async def test_an_end_is_no_lag(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """What is lost because the connection ends begins no episode of a slow client."""
    connection = stall(runtime, transport, log)
    connection.deliver(chunk("a"))

    connection.cell.stop(LEFT)

    assert log.lagging == []
    assert connection.lost == 2


async def test_a_listener_may_close_a_client_that_lags(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """A close from within connection_lagging loses and counts what waits."""
    connection = stall(runtime, transport, log, capacity=1)
    log.on_lagging = lambda connection: connection.close(LEFT)
    connection.deliver(chunk("a"))

    connection.deliver(chunk("b"))
    transport.resume()

    assert transport.sent == ["held"]
    assert transport.closed == (1000, "bye")
    assert connection.statistics().dropped == {DropReason.OLDEST: 1, DropReason.SEND_FAILED: 1}
    assert (connection.written, connection.lost) == (1, 1)


async def test_a_listener_may_send_a_notice_to_a_client_that_lags(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """A control message from within connection_lagging goes out before what is left."""
    connection = stall(runtime, transport, log, capacity=1)
    offers: list[Offer] = []
    log.on_lagging = lambda connection: offers.append(connection.deliver_control(chunk("gap")))
    connection.deliver(chunk("a"))

    connection.deliver(chunk("b"))
    transport.resume()

    assert transport.sent == ["held", "gap", "b"]


async def test_a_listener_may_send_to_a_client_that_caught_up(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """Within connection_caught_up the connection is idle again."""
    connection = stall(runtime, transport, log, capacity=1)
    offers: list[Offer] = []
    log.on_caught_up = lambda connection: offers.append(connection.deliver(chunk("welcome")))
    connection.deliver(chunk("a"))
    connection.deliver(chunk("b"))

    transport.resume()

    assert transport.sent == ["held", "b", "welcome"]
    assert log.caught_up == [1]


@pytest.mark.parametrize("which", ["on_lagging", "on_caught_up"])
async def test_a_listener_of_lags_that_raises_is_reported_and_costs_nothing(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog, faults: Faults, which: str
) -> None:
    """deliver() and the transport's call go on as if it had not."""
    boom = RuntimeError("boom")

    def fail(_: ConnectionActor) -> None:
        raise boom

    setattr(log, which, fail)
    connection = stall(runtime, transport, log, capacity=1)
    connection.deliver(chunk("a"))

    assert connection.deliver(chunk("b")) is Offer.EVICTED
    transport.resume()

    assert transport.sent == ["held", "b"]
    assert log.caught_up == [1]
    assert connection.ready
    assert faults.pop() == ("connection.listener", boom)


@pytest.mark.parametrize(
    ("overflow", "offer", "sent"),
    [
        (Overflow.DROP_OLDEST, Offer.EVICTED, ["held", "b"]),
        (Overflow.DROP_NEWEST, Offer.DROPPED, ["held", "a"]),
        (Overflow.BLOCK, Offer.FULL, ["held", "a"]),
    ],
)
async def test_deliver_says_what_became_of_the_chunk(
    runtime: Runtime, transport: FakeTransport, overflow: Overflow, offer: Offer, sent: list[str]
) -> None:
    """The mailbox's answer is the connection's."""
    connection = stall(runtime, transport, capacity=1, overflow=overflow)
    connection.deliver(chunk("a"))

    assert connection.deliver(chunk("b")) is offer
    transport.resume()

    assert transport.sent == sent


# What is lost, by class.


@pytest.mark.parametrize("end", ["fail", "stop", "deadline", "close"])
async def test_what_is_lost_at_the_end_is_counted_by_class(
    runtime: Runtime, transport: FakeTransport, end: str
) -> None:
    """What was in flight and what waited: `lost` is the sum. A stop of the actor says closed."""
    connection = stall(runtime, transport)
    connection.deliver(chunk("a", "b", feed="log"))
    connection.deliver(chunk("c", feed="event"))

    if end == "fail":
        transport.fail(OSError("gone"))
    elif end == "stop":
        connection.cell.stop(LEFT)
    elif end == "deadline":
        await asyncio.sleep(11)
    else:
        connection.close(LEFT)

    in_flight = {} if end == "close" else {"direct": {DropReason.SEND_FAILED: 1}}
    waited = DropReason.CLOSED if end == "stop" else DropReason.SEND_FAILED
    assert connection.statistics().dropped_by_feed == {
        **in_flight,
        "log": {waited: 2},
        "event": {waited: 1},
    }
    assert connection.lost == sum(connection.statistics().dropped.values())


@pytest.mark.parametrize("stalls", [True, False])
async def test_messages_that_were_lost_in_one_write_keep_their_classes(
    runtime: Runtime, transport: FakeTransport, stalls: bool
) -> None:
    """What leaves together may be of several rooms."""
    connection = stall(runtime, transport)
    connection.deliver(chunk("a", feed="log"))
    connection.deliver(chunk("b", "c", feed="event"))
    if not stalls:
        transport.failing = OSError("gone")

    transport.resume(stalled=stalls)
    transport.fail(OSError("gone"))

    assert connection.statistics().dropped_by_feed == {
        "log": {DropReason.SEND_FAILED: 1},
        "event": {DropReason.SEND_FAILED: 2},
    }
    assert (connection.written, connection.lost) == (1, 3)


async def test_what_an_idle_socket_refuses_is_counted_by_class(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """The write that fails is the one that is lost."""
    connection = connect(runtime, transport)
    transport.failing = OSError("gone")

    connection.deliver(chunk("a", feed="status"))

    assert connection.statistics().dropped_by_feed == {"status": {DropReason.SEND_FAILED: 1}}
