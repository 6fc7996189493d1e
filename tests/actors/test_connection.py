"""The connection actor: the one writer and the one closer of its socket."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from actors.connection import ConnectionActor, ConnectionState
from actors.errors import TransportClosed
from actors.exits import CloseCode, Ending, ExitReason
from actors.interfaces import TransportListener
from actors.mailbox import CONTROL_CAPACITY, Mailbox
from actors.messages import Chunk
from actors.overflow import DropReason, Offer, Overflow
from actors.receipts import FlushLatch
from actors.runtime import Runtime
from actors.testing import FakeTransport, settle
from tests.actors.conftest import Exits, Faults
from tests.actors.recording import TEXT, ConnectionLog, chunk, connect

LEFT = ExitReason(Ending.LEFT, CloseCode.NORMAL, "bye")
GONE = ExitReason(Ending.DISCONNECTED, CloseCode.GOING_AWAY)


@pytest.fixture
def transport() -> FakeTransport:
    """Return a socket that takes everything."""
    return FakeTransport()


@pytest.fixture
def log() -> ConnectionLog:
    """Return a listener."""
    return ConnectionLog()


def state(connection: ConnectionActor) -> ConnectionState:
    """Return the state it is in now, which type checkers cannot know."""
    return connection.state


def stall(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog | None = None, **settings: Any
) -> ConnectionActor:
    """Return a connection whose socket holds back the chunk "held"."""
    connection = connect(runtime, transport, log, **settings)
    transport.stalled = True
    assert connection.deliver(chunk("held")) is Offer.ACCEPTED
    assert not connection.ready
    return connection


# Writing.


async def test_an_idle_connection_writes_within_the_call(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """deliver() to a socket that takes bytes needs no queue and no task."""
    connection = connect(runtime, transport)

    offer = connection.deliver(chunk("a", b"b"))

    assert offer is Offer.ACCEPTED
    assert transport.sent == ["a", b"b"]
    assert connection.written == 2
    assert connection.ready
    assert connection.statistics().accepted == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_comes_while_the_socket_holds_back_waits_in_order(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """All is written, in the order in which it came, when the socket is ready again."""
    connection = stall(runtime, transport)
    for payload in "abc":
        assert connection.deliver(chunk(payload)) is Offer.ACCEPTED
    assert transport.sent == []
    assert connection.statistics().depth == 3

    transport.resume()

    assert transport.sent == ["held", "a", "b", "c"]
    assert connection.written == 4
    assert connection.ready


async def test_a_socket_that_stalls_again_is_not_written_to(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """Each False of the transport is one wait for its readiness."""
    connection = stall(runtime, transport)
    connection.deliver(chunk("a"))
    connection.deliver(chunk("b"))

    transport.resume(stalled=True)
    assert transport.sent == ["held"]
    assert transport.writes == 2
    transport.resume()

    assert transport.sent == ["held", "a", "b"]


async def test_control_overtakes_data_that_waits(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """deliver_control() goes out next; what is in flight cannot be overtaken."""
    connection = stall(runtime, transport)
    connection.deliver(chunk("data"))

    assert connection.deliver_control(chunk("control")) is Offer.ACCEPTED
    transport.resume()

    assert transport.sent == ["held", "control", "data"]


async def test_control_is_written_at_once_when_nothing_waits(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """An idle connection knows no lanes."""
    connection = connect(runtime, transport)

    assert connection.deliver_control(chunk("control")) is Offer.ACCEPTED
    connection.close(LEFT)

    assert transport.sent == ["control"]
    assert connection.deliver_control(chunk("late")) is Offer.CLOSED


async def test_a_full_control_lane_ends_the_connection(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """A client that takes no control frames is slow, whatever the policy for data."""
    connection = stall(runtime, transport, log)
    for _ in range(CONTROL_CAPACITY):
        assert connection.deliver_control(chunk("c")) is Offer.ACCEPTED

    offer = connection.deliver_control(chunk("c"))

    assert offer is Offer.OVERFLOWED
    assert [(reason.ending, reason.code) for reason in log.ended] == [(Ending.SLOW, CloseCode.SLOW)]


async def test_readiness_that_nobody_waits_for_does_nothing(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """A transport may say too often that it is ready, or that it is closed."""
    connection = connect(runtime, transport)

    connection.transport_ready()
    connection.transport_closed()

    assert state(connection) is ConnectionState.OPEN
    assert connection.ready


async def test_what_is_told_by_the_ref_is_written_too(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """A ref to a connection is an address like any other: idle, busy, or full."""
    connection = connect(runtime, transport, capacity=1, overflow=Overflow.BLOCK)
    ref = connection.cell.ref

    ref.tell(chunk("idle"))
    await settle()
    assert transport.sent == ["idle"]
    transport.stalled = True
    ref.tell(chunk("held"), at_once=True)
    ref.tell(chunk("waits"))
    putting = asyncio.create_task(ref.put(chunk("put"), timeout=60))
    await settle()
    transport.resume()
    await putting
    await settle()

    assert transport.sent == ["idle", "held", "waits", "put"]
    assert connection.ready


async def test_a_busy_connection_costs_no_turns(runtime: Runtime, transport: FakeTransport) -> None:
    """What waits for the socket does not keep the event loop busy."""
    turns: list[int] = []

    class Counting(ConnectionActor):
        def turn(self, mailbox: Mailbox[Chunk]) -> None:
            turns.append(len(mailbox))
            super().turn(mailbox)

    connection = Counting("client", transport, TEXT, ConnectionLog())
    ref = runtime.spawn(connection, Mailbox[Chunk](), name="connection")
    transport.stalled = True
    connection.deliver(chunk("held"))

    ref.tell(chunk("waits"))
    for _ in range(100):
        await asyncio.sleep(0)

    assert turns == [1]


async def test_a_mailbox_that_is_not_empty_at_the_start_is_written_first(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """What was offered before the connection started keeps its place."""
    mailbox = Mailbox[Chunk]()
    mailbox.offer(chunk("early"))
    connection = ConnectionActor("client", transport, TEXT, ConnectionLog())
    runtime.spawn(connection, mailbox, name="connection")

    connection.deliver(chunk("late"))
    await settle()

    assert transport.sent == ["early", "late"]


# Settling.


async def test_a_sender_learns_that_its_chunk_was_written(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """on_settled(True) comes when the socket took it: at once, from flight, from the queue."""
    told: list[tuple[str, bool]] = []
    connection = connect(runtime, transport)

    def telling(name: str) -> Chunk:
        return chunk(name, on_settled=lambda delivered: told.append((name, delivered)))

    connection.deliver(telling("at once"))
    assert told == [("at once", True)]
    transport.stalled = True
    connection.deliver(telling("in flight"))
    connection.deliver(telling("queued"))
    assert len(told) == 1
    transport.resume()

    assert told == [("at once", True), ("in flight", True), ("queued", True)]


async def test_a_sender_learns_that_its_chunk_was_lost(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """on_settled(False) comes for what was in flight or waited when the socket failed."""
    told: list[bool] = []
    connection = connect(runtime, transport)
    transport.stalled = True
    for payload in "abc":
        connection.deliver(chunk(payload, on_settled=told.append))

    transport.fail(OSError("gone"))

    assert told == [False, False, False]
    assert connection.lost == 3
    assert connection.written == 0


async def test_a_sender_that_comes_back_when_its_chunk_failed_writes_nothing(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """The connection has ended before anybody learns of the loss: nothing is written after."""
    connection = connect(runtime, transport)
    offers: list[Offer] = []
    transport.failing = OSError("gone")

    connection.deliver(
        chunk("a", on_settled=lambda _: offers.append(connection.deliver(chunk("b"))))
    )

    assert offers == [Offer.CLOSED]
    assert transport.writes == 0


@pytest.mark.parametrize("flush", [True, False])
@pytest.mark.parametrize("hangs", [True, False])
async def test_a_sender_may_close_when_its_chunk_was_written(
    runtime: Runtime, transport: FakeTransport, flush: bool, hangs: bool
) -> None:
    """A close from within a turn of the connection closes the socket once, in good order."""
    connection = stall(runtime, transport)
    connection.deliver(chunk("a", on_settled=lambda _: connection.close(LEFT, flush=flush)))
    connection.deliver(chunk("b"))
    transport.close_hangs = hangs

    transport.resume()

    assert transport.sent == (["held", "a", "b"] if flush else ["held", "a"])
    assert transport.closed == (1000, "bye")
    assert not transport.aborted
    assert connection.lost == (0 if flush else 1)
    if hangs:
        assert state(connection) is ConnectionState.CLOSING
        transport.finish_close()
    assert state(connection) is ConnectionState.CLOSED


async def test_a_sender_may_close_with_a_flush_that_stalls(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """Nothing is written while the socket holds back what a nested flush wrote."""
    connection = stall(runtime, transport)

    def close_and_stall(_: bool) -> None:
        transport.stalled = True
        connection.close(LEFT, flush=True)

    connection.deliver(chunk("a", on_settled=close_and_stall))
    connection.deliver(chunk("b"))
    connection.deliver(chunk("c"))

    transport.resume()
    assert transport.sent == ["held", "a"]
    assert transport.closed is None
    transport.resume()

    assert transport.sent == ["held", "a", "b", "c"]
    assert transport.closed == (1000, "bye")


async def test_a_sender_may_send_again_when_its_chunk_was_written(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """What is delivered from within comes after all that waited before."""
    connection = stall(runtime, transport)
    offers: list[Offer] = []
    connection.deliver(
        chunk("a", on_settled=lambda _: offers.append(connection.deliver(chunk("again"))))
    )
    connection.deliver(chunk("b"))

    transport.resume()

    assert transport.sent == ["held", "a", "b", "again"]


# Ends.


async def test_a_close_deregisters_first_and_closes_the_socket(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog, exits: Exits
) -> None:
    """The listener is told before the socket is closed; the actor ends with the reason."""
    connection = connect(runtime, transport, log)
    closed_when_told: list[object] = []
    log.on_ended = lambda _: closed_when_told.append(transport.closed)

    connection.close(LEFT)

    assert log.ended == [LEFT]
    assert closed_when_told == [None]
    assert transport.closed == (1000, "bye")
    assert state(connection) is ConnectionState.CLOSED
    assert connection.reason == LEFT
    assert exits == [("connection client", LEFT)]


async def test_the_first_reason_to_close_stands(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """close() is idempotent, also from within connection_ended."""
    connection = connect(runtime, transport, log)
    log.on_ended = lambda connection: connection.close(GONE)

    connection.close(LEFT)
    connection.close(GONE)

    assert log.ended == [LEFT]
    assert transport.closed == (1000, "bye")


async def test_nothing_is_accepted_after_the_close(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """deliver() says CLOSED from connection_ended on, however long the close takes."""
    connection = connect(runtime, transport, log)
    offers: list[Offer] = []
    log.on_ended = lambda connection: offers.append(connection.deliver(chunk("late")))
    transport.close_hangs = True

    connection.close(LEFT)
    offers.append(connection.deliver(chunk("later")))
    transport.finish_close()
    offers.append(connection.deliver(chunk("too late")))

    assert offers == [Offer.CLOSED] * 3
    assert transport.sent == []


async def test_a_close_without_flush_loses_what_waits_and_counts_it(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """What is in flight is finished first: a frame is never cut in two."""
    connection = stall(runtime, transport)
    connection.deliver(chunk("a", "b"))

    connection.close(LEFT)
    assert connection.lost == 2
    assert transport.closed is None
    transport.resume()

    assert transport.sent == ["held"]
    assert transport.closed == (1000, "bye")
    assert (connection.written, connection.lost) == (1, 2)


async def test_a_close_with_flush_writes_what_waits_first(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """Control and data that were accepted go out before the close frame."""
    connection = stall(runtime, transport)
    connection.deliver(chunk("data"))
    connection.deliver_control(chunk("control"))

    connection.close(LEFT, flush=True)
    transport.resume(stalled=True)
    transport.resume()

    assert transport.sent == ["held", "control", "data"]
    assert transport.closed == (1000, "bye")
    assert connection.lost == 0


async def test_a_connection_that_flushes_takes_nothing_by_its_ref(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """Only what was accepted before the close is flushed."""
    connection = stall(runtime, transport)
    connection.deliver(chunk("a"))

    connection.close(LEFT, flush=True)

    assert connection.cell.ref.tell(chunk("late")) is Offer.CLOSED
    transport.resume()
    assert transport.sent == ["held", "a"]


async def test_a_flush_that_takes_too_long_is_cut_short(
    runtime: Runtime, transport: FakeTransport, exits: Exits
) -> None:
    """close_timeout is for all of it: what is in flight, what waits, and the close."""
    connection = stall(runtime, transport, close_timeout=7)
    connection.deliver(chunk("a"))

    connection.close(LEFT, flush=True)
    runtime.loop.call_later(5, transport.resume)
    transport.close_hangs = True
    await asyncio.sleep(6.9)
    assert state(connection) is ConnectionState.CLOSING
    await asyncio.sleep(0.3)

    assert transport.sent == ["held", "a"]
    assert transport.closed == (1000, "bye")
    assert transport.aborted
    assert state(connection) is ConnectionState.CLOSED
    assert exits == [("connection client", LEFT)]


async def test_a_peer_that_has_gone_is_sent_nothing(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """DISCONNECTED ends at once: no flush, no close frame, no abort."""
    connection = stall(runtime, transport, log)
    connection.deliver(chunk("a"))

    connection.close(GONE, flush=True)

    assert state(connection) is ConnectionState.CLOSED
    assert (transport.sent, transport.closed, transport.aborted) == ([], None, False)
    assert connection.lost == 2
    assert log.ended == [GONE]


async def test_a_silent_close_lets_the_socket_go_as_it_is(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """A silent close flushes like any other, and sends no close frame."""
    connection = stall(runtime, transport, log)
    connection.deliver(chunk("a"))

    connection.close(LEFT, flush=True, silent=True)
    transport.resume()

    assert transport.sent == ["held", "a"]
    assert transport.closed is None
    assert state(connection) is ConnectionState.CLOSED
    assert log.ended == [LEFT]


@pytest.mark.parametrize(
    ("error", "ending", "code"),
    [
        (RuntimeError("of any kind"), Ending.SEND_FAILED, CloseCode.WRITE_ERROR),
        (OSError("broken pipe"), Ending.DISCONNECTED, CloseCode.ABNORMAL),
        (TransportClosed("gone"), Ending.DISCONNECTED, CloseCode.ABNORMAL),
    ],
)
async def test_a_failed_write_ends_the_connection(
    runtime: Runtime,
    transport: FakeTransport,
    log: ConnectionLog,
    error: Exception,
    ending: Ending,
    code: CloseCode,
) -> None:
    """The listener is told, the socket is aborted and never touched again."""
    connection = connect(runtime, transport, log)
    transport.failing = error

    offer = connection.deliver(chunk("a"))

    assert offer is Offer.FAILED
    assert log.ended == [ExitReason(ending, code, str(error), error)]
    assert transport.aborted
    assert transport.closed is None
    assert connection.lost == 1
    assert connection.deliver(chunk("b")) is Offer.CLOSED


async def test_a_write_that_is_cancelled_ends_the_connection(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """deliver() never raises: a cancelled send is a failed one."""
    connection = connect(runtime, transport, log)
    transport.failing = asyncio.CancelledError()  # type: ignore[assignment]  # of another kind

    offer = connection.deliver(chunk("a"))

    assert offer is Offer.FAILED
    assert state(connection) is ConnectionState.CLOSED
    assert len(log.ended) == 1


async def test_what_ends_the_program_ends_the_connection_and_goes_on(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """KeyboardInterrupt within a write reaches the caller, and leaves no half-dead socket."""
    connection = connect(runtime, transport, log)
    transport.failing = KeyboardInterrupt()  # type: ignore[assignment]  # of another kind

    with pytest.raises(KeyboardInterrupt):
        connection.deliver(chunk("a"))

    assert state(connection) is ConnectionState.CLOSED
    assert len(log.ended) == 1


async def test_a_write_from_the_queue_that_fails_ends_the_connection(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog
) -> None:
    """What waited behind it is lost and counted."""
    connection = stall(runtime, transport, log)
    connection.deliver(chunk("a"))
    connection.deliver(chunk("b"))
    transport.failing = RuntimeError("broken")

    transport.resume()

    assert transport.sent == ["held"]
    assert (connection.written, connection.lost) == (1, 2)
    assert [reason.ending for reason in log.ended] == [Ending.SEND_FAILED]


async def test_a_transport_that_fails_by_itself_ends_the_connection_once(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog, exits: Exits
) -> None:
    """A second failure, or a readiness that comes late, changes nothing."""
    connection = stall(runtime, transport, log)

    transport.fail(OSError("first"))
    transport.fail(OSError("second"))
    connection.transport_ready()
    connection.transport_closed()

    assert [reason.text for reason in log.ended] == ["first"]
    assert len(exits) == 1
    assert transport.sent == []
    assert connection.lost == 1


async def test_a_close_that_fails_is_an_end_all_the_same(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog, exits: Exits
) -> None:
    """The reason stays that of the close; the socket is aborted."""
    connection = connect(runtime, transport, log)
    transport.failing = OSError("gone")

    connection.close(LEFT)

    assert transport.aborted
    assert exits == [("connection client", LEFT)]
    assert log.ended == [LEFT]


async def test_a_transport_that_fails_while_it_closes_is_an_end(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog, exits: Exits
) -> None:
    """transport_failed finishes a close that hangs; the first reason stands."""
    connection = connect(runtime, transport, log)
    transport.close_hangs = True
    connection.close(LEFT)
    assert state(connection) is ConnectionState.CLOSING

    transport.fail(OSError("gone"))

    assert state(connection) is ConnectionState.CLOSED
    assert exits == [("connection client", LEFT)]
    assert log.ended == [LEFT]


@pytest.mark.parametrize("again", ["close", "fail"])
async def test_a_listener_that_ends_the_connection_again_changes_nothing(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog, again: str
) -> None:
    """Whatever connection_ended does to the connection, it ends once."""

    def end_again(connection: ConnectionActor) -> None:
        if again == "close":
            connection.close(GONE, flush=True)
        else:
            connection.transport_failed(OSError("again"))

    connection = stall(runtime, transport, log)
    connection.deliver(chunk("a"))
    log.on_ended = end_again

    connection.close(LEFT)
    transport.resume()

    assert log.ended == [LEFT]
    assert state(connection) is ConnectionState.CLOSED
    assert connection.written + connection.lost == 2
    await asyncio.sleep(60)  # no deadline is left that could ring


@pytest.mark.parametrize("end", ["close", "fail", "stop"])
async def test_a_listener_that_raises_is_reported_and_the_socket_ends(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog, faults: Faults, end: str
) -> None:
    """A fault of the application must not leave a zombie."""
    boom = RuntimeError("boom")

    def fail(_: ConnectionActor) -> None:
        raise boom

    connection = connect(runtime, transport, log)
    log.on_ended = fail

    if end == "close":
        connection.close(LEFT)
    elif end == "fail":
        connection.transport_failed(OSError("gone"))
    else:
        connection.cell.stop(LEFT)

    assert state(connection) is ConnectionState.CLOSED
    assert transport.closed is not None or transport.aborted
    assert runtime.actors == 0
    assert faults.pop() == ("connection.listener", boom)


# Deadlines.


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


# Clients for whom too much waits for too long.


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


# Latches.


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


# With the runtime.


async def test_the_end_of_the_runtime_closes_the_socket(
    transport: FakeTransport, log: ConnectionLog
) -> None:
    """An idle socket gets its close frame, and is not aborted after it."""
    runtime = Runtime()
    connection = connect(runtime, transport, log)
    reason = ExitReason(Ending.SHUTDOWN, CloseCode.SHUTDOWN, "shutdown")

    await runtime.aclose(reason=reason)

    assert transport.closed == (3001, "shutdown")
    assert not transport.aborted
    assert state(connection) is ConnectionState.CLOSED
    assert log.ended == [reason]


@pytest.mark.parametrize("closing", [True, False])
async def test_the_end_of_the_runtime_waits_for_no_socket(
    transport: FakeTransport, log: ConnectionLog, closing: bool
) -> None:
    """A busy one, or one that is closing, is aborted at once."""
    runtime = Runtime()
    connection = stall(runtime, transport, log)
    if closing:
        connection.close(LEFT)
    start = runtime.clock()

    await runtime.aclose()

    assert runtime.clock() - start < 1
    assert transport.aborted
    assert state(connection) is ConnectionState.CLOSED
    assert len(log.ended) == 1


async def test_a_transport_that_cannot_be_attached_is_the_end(
    runtime: Runtime, log: ConnectionLog, exits: Exits
) -> None:
    """The crash is reported, the listener told; its text never travels in a close frame."""

    class Broken(FakeTransport):
        def attach(self, listener: TransportListener) -> None:
            raise RuntimeError("secret")

    transport = Broken()

    connection = connect(runtime, transport, log)

    assert state(connection) is ConnectionState.CLOSED
    assert transport.closed is None
    assert transport.aborted
    assert [reason.ending for reason in log.ended] == [Ending.CRASHED]
    assert [reason.ending for _, reason in exits] == [Ending.CRASHED]
    assert connection.deliver(chunk("a")) is Offer.CLOSED


async def test_a_ref_keeps_no_dead_connection_alive(runtime: Runtime) -> None:
    """Whoever keeps the ref of a connection that ended keeps neither actor nor socket."""
    transport = FakeTransport()
    connection = stall(runtime, transport)
    ref = connection.cell.ref
    alive = weakref.ref(connection), weakref.ref(transport)
    connection.deliver(chunk("a"))

    connection.close(GONE)
    del connection, transport
    gc.collect()

    assert [each() for each in alive] == [None, None]
    assert ref.statistics().dropped == {DropReason.SEND_FAILED: 2}


async def test_states_only_move_down(runtime: Runtime, transport: FakeTransport) -> None:
    """OPEN, CLOSING, CLOSED: each at most once, in this order."""
    connection = connect(runtime, transport)
    states = [connection.state]
    transport.close_hangs = True
    calls: list[Callable[[], object]] = [
        lambda: connection.close(LEFT),
        lambda: connection.close(GONE),
        transport.finish_close,
        transport.finish_close,
        lambda: connection.close(GONE),
        lambda: connection.transport_failed(OSError()),
    ]

    for call in calls:
        call()
        states.append(connection.state)

    assert states == sorted(states)
    assert states[0] is ConnectionState.OPEN
    assert states[-1] is ConnectionState.CLOSED


async def test_what_waits_leaves_in_few_writes(runtime: Runtime, transport: FakeTransport) -> None:
    """Waiting messages leave together, at most 64 of them or 16 KiB in a write."""
    connection = stall(runtime, transport)
    for number in range(100):
        connection.deliver(chunk(f"{number}"))
    before = transport.writes

    transport.resume()

    assert transport.sent == ["held", *(f"{number}" for number in range(100))]
    assert transport.writes - before == 2


async def test_a_chunk_whose_sender_waits_is_not_held_up_by_those_behind_it(
    runtime: Runtime, transport: FakeTransport
) -> None:
    """A write ends with the first chunk that has to be settled."""
    told: list[tuple[bool, int]] = []
    connection = stall(runtime, transport)
    connection.deliver(chunk("a"))
    connection.deliver(chunk("b", on_settled=lambda ok: told.append((ok, len(transport.sent)))))
    connection.deliver(chunk("c"))

    transport.resume()

    assert transport.sent == ["held", "a", "b", "c"]
    assert told == [(True, 3)]
