"""
The connection actor against everything that a socket and an application may do, in any order.

The socket is a :class:`FakeTransport`, which itself objects to a write while it holds
something back, and to anything after its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from actors.connection import LOST, ConnectionState
from actors.exits import CloseCode, Ending, ExitReason
from actors.messages import Chunk, Frame
from actors.overflow import Offer, Overflow
from actors.receipts import FlushLatch
from actors.runtime import Runtime
from actors.testing import FakeTransport, VirtualClockLoop, settle
from tests.actors.recording import MAILBOX_OVERFLOWS, ConnectionLog, connect

KEYS = st.one_of(st.none(), st.none(), st.sampled_from(["k", "l"]))
FRAMES = st.lists(st.sampled_from(["", "x", "xx", "xxxx"]), min_size=1, max_size=3)
ENDINGS = st.sampled_from([Ending.LEFT, Ending.KICKED, Ending.DISCONNECTED])
SECONDS = st.sampled_from([0.01, 1.0, 1.9, 3.0, 4.0, 6.0, 11.0])
GRACE = 3.0  # less than the deadline of a write


class Strict(FakeTransport):
    """A transport that remembers every touch after it was given up or closed."""

    def __init__(self) -> None:
        super().__init__()
        self.touched_after_end: list[str] = []
        self.failed_before = False

    def write(self, chunk: Chunk) -> bool:
        self._note("write")
        try:
            return super().write(chunk)
        except AssertionError:
            self.touched_after_end.append("write")
            raise
        except OSError:
            self.failed_before = True
            raise

    def close(self, code: int, reason: str) -> bool:
        self._note("close")
        try:
            return super().close(code, reason)
        except AssertionError:
            self.touched_after_end.append("close")
            raise
        except OSError:
            self.failed_before = True
            raise

    def abort(self) -> None:
        if self.aborted:
            self.touched_after_end.append("abort")
        super().abort()

    def fail(self, error: Exception) -> None:
        self.failed_before = True
        super().fail(error)

    def _note(self, what: str) -> None:
        if self.failed_before or self.aborted or self.closed is not None:
            self.touched_after_end.append(what)


def may_end(machine: ConnectionMachine) -> bool:
    """Return whether it has lived for a while: most runs would be over at once."""
    return machine.steps_left <= 0


class ConnectionMachine(RuleBasedStateMachine):
    """Rules are what the world does; invariants are what the actor promises."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualClockLoop)
        self.transport = Strict()
        self.log = ConnectionLog()
        self.exits: list[ExitReason] = []
        self.faults: list[object] = []
        self.latches: list[FlushLatch] = []
        self.number = 0
        self.told_of: dict[int, list[bool]] = {}  # by number of the chunk, if not handed back
        self.keys: dict[int, str | None] = {}
        self.counts: dict[int, int] = {}
        self.data: list[int] = []  # accepted chunks, in the order in which they are to be written
        self.control: list[int] = []
        self.steps_left = 0  # before somebody may end it
        self.above_since: float | None = (
            None  # when the mailbox was found above, and was ever since
        )
        self.replaced = 0  # messages that newer ones of their key took the place of

    @initialize(
        capacity=st.integers(1, 5),
        max_bytes=st.integers(4, 60),
        life=st.integers(0, 25),
        overflow=st.sampled_from(MAILBOX_OVERFLOWS),
        slow_share=st.sampled_from([0.25, 0.5, 0.75, 1.0]),
    )
    def start(
        self, capacity: int, max_bytes: int, life: int, overflow: Overflow, slow_share: float
    ) -> None:
        self.steps_left = life

        async def make() -> None:
            self.runtime = Runtime(
                on_exit=lambda _, reason: self.exits.append(reason),
                on_fault=lambda *fault: self.faults.append(fault),
            )
            self.connection = connect(
                self.runtime,
                self.transport,
                self.log,
                capacity=capacity,
                max_bytes=max_bytes,
                overflow=overflow,
                send_timeout=5,
                close_timeout=5,
                slow_grace=GRACE,
                slow_share=slow_share,
            )

        self.run(make())

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self.runner.run(work)

    def now(self, call: Any) -> None:
        """Do something on the loop, and let everything run that follows from it."""

        async def on_loop() -> None:
            call()
            await settle()

        self.run(on_loop())

    def send(
        self,
        frames: list[str],
        *,
        key: str | None = None,
        pinned: bool = False,
        control: bool = False,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        self.number += 1
        number = self.number
        told: list[bool] = []

        def settled(delivered: bool) -> None:
            told.append(delivered)
            then()

        chunk = Chunk(
            tuple(Frame(f"{number}.{index}{frame}") for index, frame in enumerate(frames)),
            key=key,
            pinned=pinned,
            on_settled=settled,
        )
        connection = self.connection
        was_open = connection.state is ConnectionState.OPEN and not connection.cell.mailbox.closed
        rivals = [n for n in self.data if key and self.keys[n] == key and not self.told_of[n]]
        lane = self.control if control else self.data
        lane.append(number)  # its place, if it is accepted: what it sets off comes after it
        self.told_of[number] = told
        self.keys[number] = key
        self.counts[number] = len(frames)

        offer = (connection.deliver_control if control else connection.deliver)(chunk)

        assert (offer is Offer.CLOSED) == (not was_open)
        if offer in {Offer.FULL, Offer.TOO_LARGE, Offer.CLOSED}:
            assert told == []
            lane.remove(number)
            del self.told_of[number], self.keys[number], self.counts[number]
        elif offer is Offer.CONFLATED:
            (older,) = [n for n in rivals if self.told_of[n]]
            assert self.told_of[older] == [False]
            self.replaced += self.counts[older]
            lane.remove(number)
            lane[lane.index(older)] = number
        elif not offer.taken:
            assert told == [False]
            lane.remove(number)

    @rule(
        frames=FRAMES,
        key=KEYS,
        pinned=st.booleans(),
        control=st.booleans(),
        times=st.integers(1, 4),
    )
    def deliver(
        self, frames: list[str], key: str | None, pinned: bool, control: bool, times: int
    ) -> None:
        def send_all() -> None:
            for _ in range(times):
                self.send(frames, key=None if control else key, pinned=pinned, control=control)

        self.now(send_all)

    @rule()
    def stall(self) -> None:
        self.transport.stalled = True

    @rule(again=st.booleans())
    def resume(self, again: bool) -> None:
        self.now(lambda: self.transport.resume(stalled=again))

    @precondition(may_end)
    @rule()
    def fail(self) -> None:
        self.now(lambda: self.transport.fail(OSError("gone")))

    @precondition(may_end)
    @rule()
    def fail_at_the_next_write(self) -> None:
        self.transport.failing = OSError("broken")

    @rule(hangs=st.booleans())
    def let_closes_hang(self, hangs: bool) -> None:
        self.transport.close_hangs = hangs

    @rule()
    def finish_close(self) -> None:
        if self.transport.closed is not None:
            self.now(self.transport.finish_close)

    @precondition(may_end)
    @rule(ending=ENDINGS, flush=st.booleans(), silent=st.booleans())
    def close(self, ending: Ending, flush: bool, silent: bool) -> None:
        reason = ExitReason(ending, CloseCode.NORMAL, "bye")
        self.now(lambda: self.connection.close(reason, flush=flush, silent=silent))

    @precondition(may_end)
    @rule()
    def stop(self) -> None:
        self.now(lambda: self.connection.cell.stop(ExitReason(Ending.SHUTDOWN)))

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(more=st.integers(1, 4), again=st.booleans())
    def keep_waiting_what_is_too_much(self, more: int, again: bool) -> None:
        """More than the soft bounds allow, for as long as makes a client slow."""
        self.stall()
        self.resume(again=True)
        for _ in range(more):
            self.now(lambda: self.send(["+"]))
        self.a_client_is_slow_once_too_much_has_waited_for_too_long()
        self.wait(GRACE + 0.2)
        self.a_client_is_slow_once_too_much_has_waited_for_too_long()
        self.resume(again)

    @rule()
    def wait_for_a_flush(self) -> None:
        def add() -> None:
            latch = FlushLatch()
            busy = bool(self.connection.cell.mailbox) or self.connection._in_flight is not None
            assert self.connection.when_flushed(latch) is busy
            if busy:
                self.latches.append(latch)

        self.now(add)

    @precondition(may_end)
    @rule(flush=st.booleans(), stall=st.booleans())
    def close_when_the_next_is_settled(self, flush: bool, stall: bool) -> None:
        """Whoever is told of a settled chunk may do anything."""

        def close() -> None:
            self.transport.stalled = stall
            self.connection.close(ExitReason(Ending.KICKED), flush=flush)

        self.now(lambda: self.send(["last"], then=close))

    @rule(times=st.integers(1, 3))
    def send_when_the_next_is_settled(self, times: int) -> None:
        """Also send again, which goes out after all that waits."""

        def again() -> None:
            for _ in range(times):
                self.send(["again"])

        self.now(lambda: self.send(["first"], then=again))

    # What the actor promises.

    @invariant()
    def what_was_written_was_accepted_and_in_order(self) -> None:
        sent = [str(payload) for payload in self.transport.sent]
        numbers = [int(payload.split(".")[0]) for payload in sent]

        assert len(set(sent)) == len(sent)
        for accepted in (self.data, self.control):
            positions = [accepted.index(number) for number in numbers if number in accepted]
            assert positions == sorted(positions)
        assert set(numbers) <= {*self.data, *self.control}

    @invariant()
    def time_goes_by(self) -> None:
        self.steps_left -= 1

    @invariant()
    def the_socket_is_never_touched_after_its_end(self) -> None:
        assert self.transport.touched_after_end == []

    @invariant()
    def its_end_is_told_once_and_at_once(self) -> None:
        if not hasattr(self, "connection"):
            return
        over = self.connection.state is not ConnectionState.OPEN

        assert len(self.log.ended) == (1 if over else 0)
        assert len(self.exits) == (1 if self.connection.state is ConnectionState.CLOSED else 0)
        assert self.faults == []
        if over:
            assert self.connection.reason == self.log.ended[0]
        if self.exits:
            assert self.runtime.actors == 0

    @invariant()
    def every_message_is_accounted_for(self) -> None:
        if not hasattr(self, "connection"):
            return
        connection, statistics = self.connection, self.connection.statistics()
        in_flight = connection._in_flight.count if connection._in_flight is not None else 0
        dropped = sum(count for reason, count in statistics.dropped.items() if reason not in LOST)
        by_feed = statistics.dropped_by_feed.values()
        offered = sum(self.counts.values())

        assert sum(statistics.dropped.get(reason, 0) for reason in LOST) == connection.lost
        assert sum(sum(reasons.values()) for reasons in by_feed) == dropped + connection.lost
        assert connection.written == len(self.transport.sent)
        assert offered == (
            connection.written
            + connection.lost
            + in_flight
            + statistics.depth
            + dropped
            + self.replaced
        )

    @invariant()
    def every_chunk_is_settled_once(self) -> None:
        if not hasattr(self, "connection"):
            return
        sent = {str(payload).split(".")[0] for payload in self.transport.sent}
        waiting = 0
        for number, told in self.told_of.items():
            assert len(told) <= 1
            assert (told == [True]) == (str(number) in sent)
            waiting += not told
        if self.connection.state is ConnectionState.CLOSED:
            assert waiting == 0

    @invariant()
    def every_latch_is_told_once(self) -> None:
        if not hasattr(self, "connection"):
            return
        idle = not self.connection.cell.mailbox and self.connection._in_flight is None
        for latch in self.latches:
            assert 0 <= latch._pending <= 1
            assert latch.failed + latch._pending <= 1
            if idle:
                assert latch._pending == 0

    @invariant()
    def an_open_connection_with_nothing_to_do_is_ready(self) -> None:
        if not hasattr(self, "connection"):
            return
        connection = self.connection
        idle = not connection.cell.mailbox and connection._in_flight is None

        assert connection.ready == (connection.state is ConnectionState.OPEN and idle)
        if connection.state is ConnectionState.CLOSED:
            assert idle

    @invariant()
    def a_client_is_slow_once_too_much_has_waited_for_too_long(self) -> None:
        """The mailbox is looked at after every step here, and the time taken by itself."""
        if not hasattr(self, "connection"):
            return
        connection, mailbox = self.connection, self.connection.cell.mailbox
        episode = connection._episode
        now = self.runtime.clock()
        if connection.state is not ConnectionState.OPEN:
            assert episode is None
            return
        if not mailbox.above_soft:
            self.above_since = None
        elif self.above_since is None:
            self.above_since = now

        squeezed = mailbox._squeezed
        slow = episode is not None and episode._rule is not None and episode._rule.slow
        assert squeezed == slow
        if squeezed:
            assert episode is not None
            assert episode.slow
            assert not mailbox.below_half
        elif self.above_since is not None:
            assert now < self.above_since + GRACE + self.runtime._wheel.tick
        if connection.ready:
            assert episode is None
        told = len(self.log.slow) + len(self.log.lagging)
        assert (told > 0) >= (len(self.log.caught_up) > 0)
        assert len(self.log.slow) <= len(self.log.caught_up) + 1

    def teardown(self) -> None:
        try:
            if hasattr(self, "connection"):
                self.run(self.runtime.aclose())
                assert self.connection.state is ConnectionState.CLOSED
                assert len(self.log.ended) == len(self.exits) == 1
                assert all(told for told in self.told_of.values())
                assert all(latch._pending == 0 for latch in self.latches)
                assert self.transport.touched_after_end == []
                assert all(
                    not timer.pending
                    for bucket in self.runtime._wheel._buckets.values()
                    for timer in bucket
                )
        finally:
            self.runner.close()


TestConnection = ConnectionMachine.TestCase
