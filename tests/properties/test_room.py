"""
The room actor against a list of members, with sockets that stall, fail and close under it.

The room has a real mailbox, real connection actors as members, and a runtime that restarts it
when it crashes; the model knows who was a member when each publication was routed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.actor import Actor
from actors.cell import Cell
from actors.connection import ConnectionActor, Patience
from actors.errors import RoomFull
from actors.exits import CloseCode, Ending, ExitReason
from actors.mailbox import Mailbox
from actors.membership import Membership
from actors.messages import Chunk, Frame, Join, Leave, Publish, RoomMessage
from actors.overflow import DropReason, Offer, Overflow
from actors.publications import Publication
from actors.receipts import FlushLatch, Receipt
from actors.room import RoomActor
from actors.runtime import Runtime
from actors.testing import FakeTransport, TextEncoder, VirtualClockLoop, settle
from tests.actors.recording import MAILBOX_OVERFLOWS, TEXT, ConnectionLog, RoomLog

SOCKETS = 5
WHO = st.integers(0, SOCKETS - 1)


class Brackets(TextEncoder):
    """A second format: what it cannot express begins with "odd"."""

    def encode(self, data: object) -> Frame:
        if str(data).startswith("odd"):
            raise TypeError("odd")
        return super().encode(f"[{data}]")


BRACKETS = Brackets()

REASONS = {
    Offer.DROPPED: DropReason.NEWEST,
    Offer.OVERFLOWED: DropReason.OVERFLOW,
    Offer.TOO_LARGE: DropReason.TOO_LARGE,
    Offer.CLOSED: DropReason.CLOSED,
    Offer.FAILED: DropReason.SEND_FAILED,
}


class Counting(ConnectionActor):
    """A connection that counts what it said of the messages it was handed."""

    offers: Counter[Offer]

    def deliver(self, chunk: Chunk) -> Offer:
        offer = super().deliver(chunk)
        self.offers[offer] += chunk.count
        return offer


class Told(NamedTuple):
    """A publication on its way, and who answers for it."""

    data: str
    exclude: frozenset[Hashable]
    latch: FlushLatch | None
    receipt: asyncio.Task[Receipt]


class RoomMachine(RuleBasedStateMachine):
    """Rules queue messages; ``run`` lets the room have its turns, and the model follows."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualClockLoop)
        self.log = RoomLog()
        self.membership: Membership[Counting] = Membership()
        self.transports = [FakeTransport() for _ in range(SOCKETS)]
        self.undisturbed = set(range(SOCKETS))  # sockets that nothing ever happened to
        self.crash_next = False
        self.crashes = 0
        self.number = 0
        # What was told to the room and has not been handled, in order.
        self.queue: list[Told | tuple[str, Counting, asyncio.Task[Any] | None]] = []
        # The model.
        self.members: list[Counting] = []
        self.joined: list[Counting] = []
        self.left: list[Counting] = []
        self.routed: dict[Counting, list[str]] = {}  # what each may have got, in order
        self.unencodable = 0
        self.receipts = Receipt()  # the sum of all
        self.latches: list[tuple[FlushLatch, Receipt]] = []

    @initialize(
        overflow=st.sampled_from([one for one in MAILBOX_OVERFLOWS if one is not Overflow.BLOCK]),
        capacity=st.integers(1, 4),
        limit=st.one_of(st.none(), st.integers(1, SOCKETS)),
    )
    def start(self, overflow: Overflow, capacity: int, limit: int | None) -> None:
        self.limit = limit

        def make() -> None:
            self.runtime = Runtime(on_exit=self.on_exit)
            self.connections: list[Counting] = []
            for number, transport in enumerate(self.transports):
                connection = Counting(
                    number,
                    transport,
                    TEXT if number % 2 else BRACKETS,
                    self.listener(),
                    patience=Patience(send=5, close=5),
                )
                connection.offers = Counter()
                mailbox = Mailbox[Chunk](capacity, overflow=overflow)
                self.runtime.spawn(connection, mailbox, name=f"connection {number}")
                self.connections.append(connection)
            self.routed = {connection: [] for connection in self.connections}
            self.log.on_joined = self.maybe_crash
            actor = RoomActor("room", self.membership, self.log, self.log.fault, capacity=limit)
            room = Mailbox[RoomMessage](1000, overflow=Overflow.BLOCK)
            self.ref = self.runtime.spawn(actor, room, name="room")

        self.now(make)

    def listener(self) -> ConnectionLog:
        """As a supervisor does: a connection that ended leaves the room, through its mailbox."""
        log = ConnectionLog()
        log.on_ended = self.tell_leave
        return log

    def tell_leave(self, ended: ConnectionActor) -> None:
        if self.ref.tell(Leave(ended)) is Offer.ACCEPTED:
            connection = next(each for each in self.connections if each is ended)
            self.queue.append(("leave", connection, None))

    def maybe_crash(self, _: object) -> None:
        if self.crash_next:
            self.crash_next = False
            raise RuntimeError("told to crash")

    def on_exit(self, cell: Cell[Any], reason: ExitReason) -> Actor[Any] | None:
        if isinstance(cell.actor, RoomActor) and reason.ending is Ending.CRASHED:
            self.crashes += 1
            return cell.actor.successor()
        return None

    def now(self, call: Callable[[], object]) -> None:
        """Do something on the loop, and no more: the room has no turn yet."""

        async def on_loop() -> None:
            call()

        self.runner.run(on_loop())

    # What the world does.

    @rule(who=WHO)
    def join(self, who: int) -> None:
        connection = self.connections[who]

        def ask() -> None:
            asking = asyncio.ensure_future(self.ref.ask(Join(connection), timeout=60))
            self.queue.append(("join", connection, asking))

        self.in_turn(ask)

    @rule(who=WHO)
    def leave(self, who: int) -> None:
        self.in_turn(lambda: self.tell_leave(self.connections[who]))

    @rule(
        times=st.integers(1, 4),
        key=st.one_of(st.none(), st.none(), st.just("k")),
        exclude=st.frozensets(WHO, max_size=2),
        odd=st.lists(st.booleans(), min_size=4, max_size=4),
        latched=st.booleans(),
    )
    def publish(
        self,
        times: int,
        key: str | None,
        exclude: frozenset[Hashable],
        odd: list[bool],
        latched: bool,
    ) -> None:
        def publish_all() -> None:
            for index in range(times):
                self.number += 1
                data = f"{'odd' if odd[index] else ''}{'k' if key else 'p'}{self.number}"
                publication = Publication(data, TEXT, key=key, exclude=exclude)
                latch = FlushLatch() if latched else None
                asking = self.ref.ask(Publish(publication, latch), timeout=60)
                self.queue.append(Told(data, exclude, latch, asyncio.ensure_future(asking)))

        self.in_turn(publish_all)

    def in_turn(self, call: Callable[[], object]) -> None:
        """Tell the room something, let it handle that, and the model with it."""
        self.now(call)
        self.follow()

    @rule(who=WHO)
    def stall(self, who: int) -> None:
        self.undisturbed.discard(who)
        self.transports[who].stalled = True

    @rule(who=WHO, again=st.booleans())
    def resume(self, who: int, again: bool) -> None:
        self.undisturbed.discard(who)
        self.in_turn(lambda: self.transports[who].resume(stalled=again))

    @rule(who=WHO)
    def fail(self, who: int) -> None:
        self.undisturbed.discard(who)
        self.in_turn(lambda: self.transports[who].fail(OSError("gone")))

    @rule(who=WHO, flush=st.booleans())
    def close(self, who: int, flush: bool) -> None:
        self.undisturbed.discard(who)
        reason = ExitReason(Ending.LEFT, CloseCode.NORMAL)
        self.in_turn(lambda: self.connections[who].close(reason, flush=flush))

    @rule()
    def crash_at_the_next_join(self) -> None:
        self.crash_next = True

    @rule(seconds=st.sampled_from([1.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))
        self.follow()

    @rule(who=WHO)
    def fail_at_the_next_write(self, who: int) -> None:
        self.undisturbed.discard(who)
        self.transports[who].failing = OSError("broken")

    @rule(whos=st.lists(WHO, min_size=2, max_size=4), key=st.booleans())
    def join_and_publish_together(self, whos: list[int], key: bool) -> None:
        """What is told in one go is handled in its order, whatever of it shares a batch."""

        def tell_all() -> None:
            for who in whos:
                self.number += 1
                data = f"p{self.number}"
                publish = Publish(Publication(data, TEXT))
                connection = self.connections[who]
                asking = asyncio.ensure_future(self.ref.ask(publish, timeout=60))
                self.queue.append(Told(data, frozenset(), None, asking))
                joining = asyncio.ensure_future(self.ref.ask(Join(connection), timeout=60))
                self.queue.append(("join", connection, joining))

        self.in_turn(tell_all)

    # The model.

    def follow(self) -> None:
        """Let the room handle all that waits, and then the model: in the same order."""
        self.runner.run(settle())
        queue, self.queue = self.queue, []
        for message in queue:
            if isinstance(message, Told):
                self.routed_to_members(message)
                continue
            what, connection, asking = message
            if what == "leave":
                if connection in self.members:
                    self.members.remove(connection)
                    self.left.append(connection)
            else:
                assert asking is not None
                self.joins(connection, asking)

    def joins(self, connection: Counting, asking: asyncio.Task[Any]) -> None:
        new = connection not in self.members
        if new and self.limit is not None and len(self.members) >= self.limit:
            assert isinstance(asking.exception(), RoomFull)
            return
        if new:
            self.members.append(connection)
            self.joined.append(connection)
        assert bool(asking.result()) is new

    def routed_to_members(self, told: Told) -> None:
        recipients = [m for m in self.members if m.identity not in told.exclude]
        unencodable = [m for m in recipients if m.encoder is BRACKETS and "odd" in told.data]
        for member in recipients:
            if member not in unencodable:
                payload = f"[{told.data}]" if member.encoder is BRACKETS else told.data
                self.routed[member].append(payload)

        receipt = told.receipt.result()

        assert receipt.recipients == len(recipients)
        assert receipt.dropped.get(DropReason.UNENCODABLE, 0) == len(unencodable)
        self.receipts += receipt
        if told.latch is not None:
            self.latches.append((told.latch, receipt))

    @invariant()
    def membership_agrees_with_the_model(self) -> None:
        assert sorted(map(id, self.membership.snapshot())) == sorted(map(id, self.members))
        assert self.log.joined == self.joined
        assert self.log.left == self.left

    @invariant()
    def every_member_gets_its_messages_in_order(self) -> None:
        for connection, routed in self.routed.items():
            sent = [str(payload) for payload in self.transports[self.who(connection)].sent]
            if self.who(connection) in self.undisturbed:
                assert sent == routed
            assert set(sent) <= set(routed)
            assert len(set(sent)) == len(sent)
            for kind in "kp":  # the newest of a key may overtake, but not what has its key
                positions = [routed.index(payload) for payload in sent if kind in payload]
                assert positions == sorted(positions)

    def who(self, connection: Counting) -> int:
        return self.connections.index(connection)

    @invariant()
    def receipts_say_what_the_members_said(self) -> None:
        said: Counter[Offer] = sum(
            (connection.offers for connection in self.routed), Counter[Offer]()
        )
        dropped = Counter(self.receipts.dropped)
        del dropped[DropReason.UNENCODABLE]
        expected: Counter[DropReason] = Counter()
        for offer, reason in REASONS.items():
            expected[reason] += said[offer]

        assert self.receipts.accepted == sum(said[offer] for offer in Offer if offer.taken)
        assert self.receipts.evicted == said[Offer.EVICTED]
        assert +dropped == +expected
        told: Counter[DropReason] = Counter()
        for reason, count in self.log.dropped:
            told[reason] += count
        assert told == Counter(self.receipts.dropped)

    @invariant()
    def latches_count_who_took_the_message(self) -> None:
        for latch, receipt in self.latches:
            assert latch._pending >= 0
            assert latch._pending + latch.failed <= receipt.accepted

    def teardown(self) -> None:
        try:
            if hasattr(self, "runtime"):
                self.runner.run(self.runtime.aclose())
                assert self.runtime.actors == 0
                assert all(latch._pending == 0 for latch, _ in self.latches)
                self.latches_count_who_took_the_message()
        finally:
            self.runner.close()


TestRoom = RoomMachine.TestCase
