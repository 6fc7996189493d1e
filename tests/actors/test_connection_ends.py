"""How connections end: exactly once, whoever is first, and the socket with them."""

from __future__ import annotations

import asyncio

import pytest

from actors.connection import ConnectionActor, ConnectionState
from actors.errors import TransportClosed
from actors.exits import CloseCode, Ending, ExitReason
from actors.overflow import Offer
from actors.runtime import Runtime
from actors.testing import FakeTransport
from tests.actors.conftest import Exits, Faults
from tests.actors.recording import GONE, LEFT, ConnectionLog, chunk, connect, stall, state


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
