"""The connection actor: the one writer of its socket, from its first chunk to the end of the runtime."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable

import pytest

from actors.connection import ConnectionActor, ConnectionState
from actors.exits import CloseCode, Ending, ExitReason
from actors.interfaces import TransportListener
from actors.mailbox import CONTROL_CAPACITY, Mailbox
from actors.messages import Chunk
from actors.overflow import DropReason, Offer, Overflow
from actors.runtime import Runtime
from actors.testing import FakeTransport, settle
from tests.actors.conftest import Exits
from tests.actors.recording import GONE, LEFT, TEXT, ConnectionLog, chunk, connect, stall, state

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
