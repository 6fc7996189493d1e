"""
Rooms that keep their messages against the most suspicious clients.

A real room and its feed over a real history, with real connection actors as members, and all that
may go wrong between them: announcements that get lost, overtake each other or come twice, sockets
that stall and fail, stores that are slow, fail and trim, rooms that crash in the middle of a
fan-out, histories that are removed. Whatever happens: what a member gets is what was published
from where it began, in order, without a hole that it was not told of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.actor import Actor
from actors.cell import Cell
from actors.connection import ConnectionActor, ConnectionState
from actors.errors import HistoryIncomplete
from actors.exits import Ending, ExitReason
from actors.feed import Feed
from actors.interfaces import Member
from actors.mailbox import Mailbox
from actors.membership import Membership
from actors.messages import Join, Leave, Look, Publish, RoomMessage
from actors.overflow import Offer, Overflow
from actors.publications import Publication
from actors.replay import JoinReply, Replay
from actors.room import RoomActor
from actors.runtime import Runtime
from actors.testing import FakeTransport, VirtualClockLoop, settle
from supervisor.errors import LogEnded
from tests.actors.recording import ConnectionLog, FakeMember, RoomLog, chunk, connect
from tests.feeds import ROOM, WORDS, Keeper, Reader

SOCKETS = 4
WHO = st.integers(0, SOCKETS - 1)
KEYS = ("a", "b", "c")


class Client:
    """A socket, and who reads it; another socket takes its place when it has ended."""

    def __init__(self, keeper: Keeper, *, compact: bool) -> None:
        self.reader = Reader(keeper, compact=compact)
        self.asking: asyncio.Task[JoinReply] | None = None
        self.asked: Replay | None = None
        self.read = 0

    def open(self, runtime: Runtime, identity: int, listener: ConnectionLog) -> None:
        self.transport = FakeTransport()
        self.read = 0
        self.member = False
        self.connection = connect(
            runtime,
            self.transport,
            listener,
            identity=identity,
            encoder=WORDS,
            capacity=4,
            send_timeout=30,
        )

    def look(self) -> None:
        new = self.transport.sent[self.read :]
        self.read = len(self.transport.sent)
        for word in new:
            self.reader.take(word)


class FeedMachine(RuleBasedStateMachine):
    """Rules do things to the room; the readers check all that comes of it."""

    overflows: tuple[Overflow, ...] = (Overflow.CURSOR,)
    compact = False

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualClockLoop)
        self.log = RoomLog()
        self.held_back: list[Publication] = []  # kept, and not announced yet
        self.crash_at_join = False
        self.number = 0
        self.ended = False

    @initialize(
        data=st.data(),
        records=st.sampled_from([None, 2, 6]),
        age=st.sampled_from([None, 60.0]),
        space=st.integers(1, 4),
        earlier=st.integers(0, 8),
        joined=st.integers(0, SOCKETS),
    )
    def start(
        self,
        data: st.DataObject,
        records: int | None,
        age: float | None,
        space: int,
        earlier: int,
        joined: int,
    ) -> None:
        overflow = data.draw(st.sampled_from(self.overflows))
        self.keeper = Keeper(records=records, age=age, compact=self.compact)
        self.clients = [Client(self.keeper, compact=self.compact) for _ in range(SOCKETS)]
        self.membership: Membership[Member] = Membership()
        self.log.on_joined = self.maybe_crash
        self.saboteur = FakeMember("saboteur", WORDS)

        async def make() -> None:
            self.runtime = Runtime(on_exit=self.on_exit, on_fault=self.log.fault)
            for _ in range(earlier):
                await self.append()
            self.feed: Feed[Member] = Feed(
                ROOM,
                self.keeper,
                self.membership,
                listener=self.log,
                on_fault=self.log.fault,
                runtime=self.runtime,
                compact=self.compact,
                overflow=overflow,
            )
            actor = RoomActor(
                ROOM,
                self.membership,
                self.log,
                self.log.fault,
                overflow=overflow,
                block_timeout=20,
                feed=self.feed,
            )
            mailbox = Mailbox[RoomMessage](space, overflow=Overflow.BLOCK)
            self.ref = self.runtime.spawn(actor, mailbox, name=ROOM)
            for number, client in enumerate(self.clients):
                client.open(self.runtime, number, self.listener())

        self.run(make)
        for who in range(joined):
            self.join("start", who, 0)

    def listener(self) -> ConnectionLog:
        """As a supervisor does: a connection that ended leaves the room, through its mailbox."""
        log = ConnectionLog()

        def leave(connection: ConnectionActor) -> None:
            self.ref.tell(Leave(connection), at_once=True)

        log.on_ended = leave
        return log

    def maybe_crash(self, _: object) -> None:
        if self.crash_at_join:
            self.crash_at_join = False
            raise RuntimeError("told to crash")

    def on_exit(self, cell: Cell[Any], reason: ExitReason) -> Actor[Any] | None:
        if isinstance(cell.actor, RoomActor) and reason.ending is Ending.CRASHED:
            assert isinstance(reason.error, RuntimeError), reason.error
            return cell.actor.successor()
        return None

    def run(self, work: Callable[[], Coroutine[Any, Any, object]], *, settled: bool = True) -> None:
        async def on_loop() -> None:
            await work()
            if settled:
                await settle()

        self.runner.run(on_loop())

    def now(self, call: Callable[[], object], *, settled: bool = True) -> None:
        async def work() -> None:
            call()

        self.run(work, settled=settled)

    # Publishing.

    async def append(self) -> Publication:
        self.number += 1
        key = KEYS[self.number * 7 % 5 % len(KEYS)] if self.compact else None
        removed = self.compact and self.number % 4 == 0
        return await self.keeper.append(self.number, key=key, removed=removed)

    def announce(self, publication: Publication) -> None:
        """As the supervisor does."""
        if self.ref.waiting or self.ref.tell(Publish(publication)) is Offer.FULL:
            self.feed.announce(publication)

    @precondition(lambda self: not self.ended)
    @rule(times=st.integers(1, 6), settled=st.booleans())
    def publish(self, times: int, settled: bool) -> None:
        async def work() -> None:
            for _ in range(times):
                self.announce(await self.append())

        self.run(work, settled=settled)

    @precondition(lambda self: not self.ended)
    @rule(times=st.integers(1, 12))
    def publish_slowly(self, times: int) -> None:
        async def work() -> None:
            for _ in range(times):
                self.announce(await self.append())
                await settle()

        self.run(work)

    @precondition(lambda self: not self.ended)
    @rule(times=st.integers(1, 3))
    def keep_without_a_word(self, times: int) -> None:
        async def work() -> None:
            for _ in range(times):
                self.held_back.append(await self.append())

        self.run(work)

    @precondition(lambda self: self.held_back)
    @rule(data=st.data(), again=st.booleans(), settled=st.booleans())
    def announce_late(self, data: st.DataObject, again: bool, settled: bool) -> None:
        publication = data.draw(st.sampled_from(self.held_back))
        if not again:
            self.held_back.remove(publication)
        self.now(lambda: self.announce(publication), settled=settled)

    @precondition(lambda self: not self.ended)
    @rule(settled=st.booleans(), told=st.booleans())
    def end(self, settled: bool, told: bool) -> None:
        async def work() -> None:
            publication = await self.keeper.end()
            if told:
                self.announce(publication)
            else:
                self.held_back.append(publication)

        self.ended = True
        self.run(work, settled=settled)

    @rule(told=st.booleans(), settled=st.booleans())
    def forget_all(self, told: bool, settled: bool) -> None:
        async def work() -> None:
            await self.keeper.history.remove(ROOM)
            if told:
                self.ref.tell(Look())

        self.ended = False
        self.run(work, settled=settled)

    # Members.

    @rule(
        who=WHO,
        how=st.sampled_from(["since", "since", "start", "live", "tail", "ahead"]),
        tail=st.integers(0, 4),
        settled=st.booleans(),
    )
    def join_or_come_back(self, who: int, how: str, tail: int, settled: bool) -> None:
        self.join(how, who, tail, settled=settled)

    def join(self, how: str, who: int, tail: int, *, settled: bool = True) -> None:
        client = self.clients[who]
        if client.member or (client.asking is not None and not client.asking.done()):
            return
        client.look()
        replay = {
            "since": Replay(since=client.reader.position),
            "start": Replay(),
            "live": Replay(live=True),
            "tail": Replay(tail=tail),
            "ahead": Replay(since=client.reader.position._replace(offset=10_000)),
        }[how]

        def ask() -> None:
            if client.connection.state is not ConnectionState.OPEN:
                client.open(self.runtime, who, self.listener())
            client.member = True
            client.asked = replay
            question = self.ref.ask(Join(client.connection, replay), timeout=10_000, at_once=True)
            client.asking = asyncio.ensure_future(question)

        self.now(ask, settled=settled)

    @rule(who=WHO, settled=st.booleans())
    def leave_at_once(self, who: int, settled: bool) -> None:
        self.leave(self.clients[who], settled=settled)

    def leave(self, client: Client, *, settled: bool = True) -> None:
        def tell() -> None:
            client.member = False
            self.ref.tell(Leave(client.connection), at_once=True)

        self.now(tell, settled=settled)

    @rule(who=WHO)
    def stall(self, who: int) -> None:
        self.clients[who].transport.stalled = True

    @rule(who=WHO, again=st.booleans())
    def resume(self, who: int, again: bool) -> None:
        self.now(lambda: self.clients[who].transport.resume(stalled=again))

    @rule(who=WHO)
    def resume_in_small_steps(self, who: int) -> None:
        async def work() -> None:
            for _ in range(4):
                self.clients[who].transport.resume(stalled=True)
                await asyncio.sleep(0.01)

        self.run(work)

    @rule(who=WHO)
    def fail(self, who: int) -> None:
        client = self.clients[who]
        if client.connection.state is ConnectionState.OPEN:
            client.member = False
            self.now(lambda: client.transport.fail(OSError("gone")))

    @rule(who=WHO, times=st.integers(1, 3))
    def send_directly(self, who: int, times: int) -> None:
        for _ in range(times):
            self.now(lambda: self.clients[who].connection.deliver(chunk("direct")), settled=False)

    # The store and the room.

    @rule(before=st.sampled_from([0.0, 0.0, 0.5]), after=st.sampled_from([0.0, 0.0, 0.5]))
    def be_slow(self, before: float, after: float) -> None:
        self.keeper.before, self.keeper.after = before, after

    @rule(seconds=st.sampled_from([30.0, 100.0]))
    def grow_old(self, seconds: float) -> None:
        self.keeper.older += seconds

    @rule(failing=st.booleans())
    def fail_to_read(self, failing: bool) -> None:
        if failing and not self.feed.opened:
            return
        self.keeper.failing = failing

    @rule()
    def crash_at_the_next_join(self) -> None:
        self.crash_at_join = True

    @precondition(lambda self: not self.ended)
    @rule(times=st.integers(1, 3))
    def crash_in_the_middle(self, times: int) -> None:
        """A member that does not keep the promises of members."""

        def crash() -> None:
            self.saboteur.on_deliver = lambda: None
            raise RuntimeError("told to crash")

        def plan() -> None:
            self.saboteur.on_deliver = crash

        async def work() -> None:
            self.ref.tell(Join(self.saboteur, Replay(live=True)))
            await asyncio.sleep(2)
            plan()
            for _ in range(times):
                self.announce(await self.append())
            await settle()
            self.saboteur.on_deliver = lambda: None
            self.ref.tell(Leave(self.saboteur))

        self.run(work)

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.run(lambda: asyncio.sleep(seconds))

    # What must be.

    @invariant()
    def every_word_is_right(self) -> None:
        for client in self.clients:
            client.look()

    @invariant()
    def joins_begin_where_they_asked(self) -> None:
        for client in self.clients:
            asking = client.asking
            if asking is None or not asking.done():
                continue
            client.asking = None
            if asking.exception() is not None:  # the store failed, or the room on the way
                self.leave(client)
                continue
            self.check_reply(client, asking.result())

    def check_reply(self, client: Client, reply: JoinReply) -> None:
        asked = client.asked
        assert asked is not None
        assert reply.joined
        assert reply.begins <= reply.position.offset
        if asked.since is None:
            assert reply.recovered is None
            assert reply.reason is None
        elif not client.member:
            pass  # it left before that was known
        elif reply.recovered:
            assert reply.begins == asked.since.offset
            assert reply.reason is None
            assert asked.since.offset == 0 or asked.since.epoch == reply.position.epoch
        else:
            assert reply.reason is not None
            state = self.runner.run(self.keeper.state())
            if state.top.epoch == asked.since.epoch == reply.position.epoch:
                assert not state.lost <= asked.since.offset <= reply.position.offset
        if asked.live:
            assert reply.begins == reply.position.offset

    @invariant()
    def the_store_is_believed(self) -> None:
        faults = [type(error) for _, error in self.log.faults]
        assert HistoryIncomplete not in faults

    @invariant()
    def stalled_sockets_keep_no_pages(self) -> None:
        for cursor in self.feed._cursors.values():
            if not cursor.member.ready:
                assert len(cursor._page) <= 64

    def teardown(self) -> None:
        try:
            if hasattr(self, "runtime"):
                self.finish()
                self.runner.run(self.runtime.aclose())
        finally:
            self.runner.close()

    def finish(self) -> None:
        """With nothing in the way any more everybody comes to have everything."""
        self.keeper.before = self.keeper.after = 0.0
        self.keeper.failing = self.crash_at_join = False

        async def resume_all() -> None:
            for client in self.clients:
                client.transport.resume()
            await asyncio.sleep(100)  # whoever waits for a store, or for space, does so no more
            try:
                self.announce(await self.append())
            except LogEnded:
                self.announce(await self.keeper.end())
            await asyncio.sleep(100)

        self.run(resume_all)
        self.every_word_is_right()
        self.joins_begin_where_they_asked()
        state = self.runner.run(self.keeper.state())
        for client in self.clients:
            if client.member and client.connection.state is ConnectionState.OPEN:
                assert client.connection.ready
                self.has_everything(client.reader, state)
        assert self.feed._cursors == {}
        assert self.membership.behind == 0
        assert self.runtime.jobs == 0

    def has_everything(self, reader: Reader, state: Any) -> None:
        if not self.compact:
            assert reader.offset == state.top.offset, reader.got
            assert reader.epoch in {None, state.top.epoch} or not reader.offset, reader.got
        else:
            page = self.runner.run(self.keeper.history.read(ROOM))
            for record in page.records:
                if record.offset > reader.begins:
                    assert record.key is not None
                    value = None if record.removed else record.payload
                    assert reader.values.get(record.key) == value, (record, reader.got)
        assert reader.ended is state.ended, reader.got


class StatusMachine(FeedMachine):
    """The same for rooms that keep the newest message of each key."""

    overflows: tuple[Overflow, ...] = (Overflow.CONFLATE,)
    compact = True


class OtherPoliciesMachine(FeedMachine):
    """The same for logs that close, or wait for, who is slow: the mailbox holds messages there."""

    overflows: tuple[Overflow, ...] = (Overflow.DISCONNECT, Overflow.BLOCK)


TestLog = FeedMachine.TestCase
TestStatus = StatusMachine.TestCase
TestOtherPolicies = OtherPoliciesMachine.TestCase
