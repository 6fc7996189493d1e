"""The room actor: membership, fan-out, batches, receipts."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any

import pytest

from actors.actor import Actor
from actors.cell import Cell
from actors.errors import ActorStopped, RoomFull
from actors.exits import CloseCode, Ending, ExitReason
from actors.interfaces import Member
from actors.mailbox import Mailbox
from actors.membership import Membership
from actors.messages import Frame, Join, Leave, Publish, RoomMessage
from actors.overflow import DropReason, Offer, Overflow
from actors.publications import Publication
from actors.receipts import FlushLatch, Receipt
from actors.ref import ActorRef
from actors.room import BATCH_BYTES, BATCH_MESSAGES, RoomActor
from actors.runtime import Runtime
from actors.testing import FakeTransport, TextEncoder, settle
from tests.actors.conftest import Exits
from tests.actors.recording import TEXT, FakeMember, RoomLog, chunk, connect

LEFT = ExitReason(Ending.LEFT, CloseCode.NORMAL, "bye")


class Picky(TextEncoder):
    """A format that cannot express what has "bad" in it."""

    def encode(self, data: object) -> Frame:
        if "bad" in str(data):
            raise TypeError(f"cannot say {data!r}")
        return super().encode(f"picky {data}")


class Room:
    """A room and all that a test asks of it."""

    def __init__(
        self,
        runtime: Runtime,
        *members: Member,
        capacity: int | None = None,
        messages: int = 1000,
    ) -> None:
        self.log = RoomLog()
        self.membership: Membership[Member] = Membership()
        for member in members:
            self.membership.join(member)
        self.actor = RoomActor("room", self.membership, self.log, self.log.fault, capacity=capacity)
        mailbox = Mailbox[RoomMessage](messages, overflow=Overflow.BLOCK)
        self.ref: ActorRef[RoomMessage] = runtime.spawn(self.actor, mailbox, name="room")

    async def join(self, member: Member) -> bool:
        """Join, and wait for the answer."""
        return (await self.ref.ask(Join(member), timeout=5)).joined

    async def leave(self, member: Member) -> bool:
        """Leave, and wait for the answer."""
        return await self.ref.ask(Leave(member), timeout=5)

    async def publish(self, data: object, latch: FlushLatch | None = None, **how: Any) -> Receipt:
        """Publish, and wait for the receipt."""
        return await self.ref.ask(Publish(Publication(data, TEXT, **how), latch), timeout=5)

    async def publish_together(self, *publications: Publication) -> list[Receipt]:
        """Publish all before the room has a turn, and wait for the receipts."""
        asking = [
            asyncio.create_task(self.ref.ask(Publish(publication), timeout=5))
            for publication in publications
        ]
        return list(await asyncio.gather(*asking))


def texts(*data: object, exclude: frozenset[Hashable] = frozenset()) -> list[Publication]:
    """Return a publication for each of ``data``."""
    return [Publication(each, TEXT, exclude=exclude) for each in data]


# Joining and leaving.


async def test_a_join_and_a_leave_are_reported_once(runtime: Runtime) -> None:
    """The answer says whether it changed anything; the listener hears of changes only."""
    room, member = Room(runtime), FakeMember()

    answers = [
        await room.join(member),
        await room.join(member),
        await room.leave(member),
        await room.leave(member),
    ]

    assert answers == [True, False, True, False]
    assert room.log.joined == [member]
    assert room.log.left == [member]


async def test_members_get_what_is_published_while_they_are_members(runtime: Runtime) -> None:
    """Nothing from before the join, nothing from after the leave, all between, in order."""
    room, member = Room(runtime, FakeMember("other")), FakeMember()
    messages: list[RoomMessage] = [
        Publish(Publication("before", TEXT)),
        Join(member),
        Publish(Publication("1", TEXT)),
        Publish(Publication("2", TEXT)),
        Leave(member),
        Publish(Publication("after", TEXT)),
    ]

    for message in messages:
        room.ref.tell(message)
    await settle()

    assert member.payloads == ["1", "2"]


async def test_a_room_has_no_more_members_than_it_may(runtime: Runtime) -> None:
    """RoomFull names the room and the limit; who is in it may join again."""
    room = Room(runtime, capacity=1)
    first, second = FakeMember(), FakeMember()
    await room.join(first)

    with pytest.raises(RoomFull, match="room 'room' has its 1 members"):
        await room.join(second)

    assert await room.join(first) is False
    await room.leave(first)
    assert await room.join(second) is True


async def test_a_room_without_members_says_so_when_nothing_waits(runtime: Runtime) -> None:
    """room_empty comes after the last leave, and not while a join waits behind it."""
    room, member = Room(runtime), FakeMember()
    await room.join(member)

    room.ref.tell(Leave(member))
    room.ref.tell(Join(member))
    await settle()
    assert room.log.empty == 0
    await room.leave(member)

    assert room.log.empty == 1


async def test_an_empty_room_ends_when_its_listener_agrees(runtime: Runtime, exits: Exits) -> None:
    """It stops in good order; one whose listener does not agree goes on."""
    room, member = Room(runtime), FakeMember()
    await room.join(member)
    await room.leave(member)
    assert not room.ref.closed
    room.log.may_end = True
    await room.join(member)

    await room.leave(member)

    assert room.ref.closed
    assert [reason.ending for _, reason in exits] == [Ending.STOPPED]


async def test_an_empty_room_does_not_end_while_publishers_wait_for_space(
    runtime: Runtime,
) -> None:
    """They get the receipt of an empty room, not the error of a closed one; then it ends."""
    member = FakeMember()
    room = Room(runtime, member, messages=1)
    room.log.may_end = True
    publishing = [asyncio.create_task(room.publish(data, key=data)) for data in "abc"]
    await asyncio.sleep(0)

    room.ref.tell(Leave(member))
    await settle()

    assert [each.result() for each in publishing] == [Receipt(1), Receipt(), Receipt()]
    assert room.ref.closed


async def test_an_empty_room_ends_when_those_who_wait_for_space_give_up(
    runtime: Runtime,
) -> None:
    """A cancelled publisher leaves no empty room behind."""
    member = FakeMember()
    room = Room(runtime, member, messages=1)
    room.log.may_end = True
    publishing = [asyncio.create_task(room.publish(data, key=data)) for data in "ab"]
    await asyncio.sleep(0)

    room.ref.tell(Leave(member))
    await asyncio.sleep(0)
    publishing[1].cancel()
    await settle()

    assert publishing[1].cancelled()
    assert room.ref.closed


async def test_a_join_and_a_leave_always_have_space(runtime: Runtime) -> None:
    """A room whose mailbox is full of publications still takes memberships, in order."""
    room, member = Room(runtime, messages=1), FakeMember()
    room.ref.tell(Publish(Publication("a", TEXT)))
    assert room.ref.tell(Publish(Publication("b", TEXT))) is Offer.FULL

    assert room.ref.tell(Join(member)) is Offer.ACCEPTED
    assert room.ref.tell(Leave(member)) is Offer.ACCEPTED
    await settle()

    assert (room.log.joined, room.log.left) == ([member], [member])
    assert member.payloads == []


# Publishing.


async def test_everybody_gets_the_same_chunk(runtime: Runtime) -> None:
    """A publication is encoded once a format, and shared by the members of it."""
    first, second, other = FakeMember(), FakeMember(), FakeMember(encoder=Picky())
    room = Room(runtime, first, second, other)

    receipt = await room.publish("a")

    assert receipt == Receipt(3)
    assert first.chunks[0] is second.chunks[0]
    assert (first.payloads, other.payloads) == (["a"], ["picky a"])


async def test_a_publication_to_nobody_is_false(runtime: Runtime) -> None:
    """The receipt of an empty room has no recipients."""
    assert await Room(runtime).publish("a") == Receipt()


async def test_who_is_excluded_is_no_recipient(runtime: Runtime) -> None:
    """exclude= goes by identity, and shows in no count."""
    first, second = FakeMember("first"), FakeMember("second")
    room = Room(runtime, first, second)

    receipt = await room.publish("a", exclude=frozenset({"first", "nobody"}))

    assert receipt == Receipt(1)
    assert (first.payloads, second.payloads) == ([], ["a"])


async def test_a_key_travels_with_the_chunk(runtime: Runtime) -> None:
    """Members conflate by the key of the publication, which is one of its room."""
    member = FakeMember()
    room = Room(runtime, member)

    await room.publish("a", key="k")

    assert member.chunks[0].key == ("room", "k")


async def test_the_receipt_says_why_members_did_not_take_it(runtime: Runtime) -> None:
    """Each outcome is counted under its reason; the listener hears of the losses."""
    reasons = {
        Offer.ACCEPTED: None,
        Offer.CONFLATED: None,
        Offer.EVICTED: None,
        Offer.DROPPED: DropReason.NEWEST,
        Offer.FULL: None,  # until it has space
        Offer.OVERFLOWED: DropReason.OVERFLOW,
        Offer.TOO_LARGE: DropReason.TOO_LARGE,
        Offer.CLOSED: DropReason.CLOSED,
        Offer.FAILED: DropReason.SEND_FAILED,
    }
    members = []
    for offer in Offer:
        member = FakeMember(offer)
        member.offer = offer
        members.append(member)
    room = Room(runtime, *members)

    receipt = await room.publish("a")

    expected: dict[DropReason, int] = {}
    for offer in Offer:
        reason = reasons[offer]
        if reason is not None:
            expected[reason] = expected.get(reason, 0) + 1
    assert receipt == Receipt(4, expected, evicted=1)
    assert receipt.recipients == len(Offer)
    assert dict(room.log.dropped) == expected


async def test_who_ends_during_a_fan_out_costs_the_others_nothing(runtime: Runtime) -> None:
    """A leave from within a delivery waits until the fan-out is over."""
    failing, other = FakeMember(1), FakeMember(2)
    failing.offer = Offer.FAILED
    room = Room(runtime, failing, other)

    def leave() -> None:
        room.ref.tell(Leave(failing), at_once=True)

    failing.on_deliver = leave

    receipt = await room.publish("a")
    await settle()

    assert receipt == Receipt(1, {DropReason.SEND_FAILED: 1})
    assert other.payloads == ["a"]
    assert room.log.left == [failing]


# Data that a format cannot express.


async def test_what_one_format_cannot_express_is_lost_to_its_members_alone(
    runtime: Runtime,
) -> None:
    """The others get it; the receipt and the fault report say what happened."""
    plain, picky = FakeMember(), FakeMember("picky", Picky())
    excluded = FakeMember("excluded", picky.encoder)
    room = Room(runtime, plain, picky, excluded)

    receipt = await room.publish("bad", exclude=frozenset({"excluded"}))

    assert receipt == Receipt(1, {DropReason.UNENCODABLE: 1})
    assert plain.payloads == ["bad"]
    assert picky.payloads == []
    assert room.log.dropped == [(DropReason.UNENCODABLE, 1)]
    assert room.log.feeds == {"event"}
    assert [(what, str(error)) for what, error in room.log.faults] == [
        ("publication.encode", "cannot say 'bad'")
    ]


@pytest.mark.parametrize("ready", [True, False])
async def test_what_cannot_be_expressed_costs_its_neighbours_in_the_batch_nothing(
    runtime: Runtime, ready: bool
) -> None:
    """Publications that wait together succeed and fail each for itself."""
    plain, picky = FakeMember(), FakeMember(encoder=Picky())
    picky.ready = ready
    room = Room(runtime, plain, picky)

    receipts = await room.publish_together(*texts("a", "bad", "b"))

    assert plain.payloads == ["a", "bad", "b"]
    assert picky.payloads == ["picky a", "picky b"]
    assert receipts == [Receipt(2), Receipt(1, {DropReason.UNENCODABLE: 1}), Receipt(2)]
    assert len(room.log.faults) == 1


# Batches.


async def test_publications_that_wait_together_leave_as_one_chunk(runtime: Runtime) -> None:
    """A member that is ready gets one chunk of all, and each publisher its own receipt."""
    member = FakeMember()
    room = Room(runtime, member)

    receipts = await room.publish_together(*texts("a", "b", "c"))

    assert [len(chunk.frames) for chunk in member.chunks] == [3]
    assert member.payloads == ["a", "b", "c"]
    assert receipts == [Receipt(1)] * 3


async def test_a_busy_member_gets_the_publications_one_by_one(runtime: Runtime) -> None:
    """Its mailbox counts messages, so it is offered messages: shared by all busy members."""
    ready, busy, busy_too = FakeMember(1), FakeMember(2), FakeMember(3)
    busy.ready = busy_too.ready = False
    busy.offer = Offer.DROPPED
    busy_too.offer = Offer.EVICTED
    room = Room(runtime, busy, ready, busy_too)

    receipts = await room.publish_together(*texts("a", "b"))

    assert [chunk.count for chunk in ready.chunks] == [2]
    assert [chunk.count for chunk in busy.chunks] == [1, 1]
    assert busy.chunks[0] is busy_too.chunks[0]
    assert busy.payloads == ["a", "b"]
    assert receipts == [Receipt(2, {DropReason.NEWEST: 1}, evicted=1)] * 2


async def test_a_member_that_fails_a_batch_has_lost_all_of_it(runtime: Runtime) -> None:
    """Every publication of the chunk counts it as lost."""
    failing = FakeMember()
    failing.offer = Offer.FAILED
    room = Room(runtime, failing)

    receipts = await room.publish_together(*texts("a", "b"))

    assert receipts == [Receipt(0, {DropReason.SEND_FAILED: 1})] * 2
    assert room.log.dropped == [(DropReason.SEND_FAILED, 2)]


@pytest.mark.parametrize(
    ("publications", "chunks"),
    [
        (texts(*"a" * BATCH_MESSAGES), [BATCH_MESSAGES]),
        (texts(*"a" * (BATCH_MESSAGES + 1)), [BATCH_MESSAGES, 1]),
        (texts("a" * (BATCH_BYTES - 1), "b", "c"), [2, 1]),
        (texts("a" * BATCH_BYTES, "b", "c"), [1, 2]),
        (texts("a", "b" * BATCH_BYTES, "c"), [1, 1, 1]),
        (texts("a" * (BATCH_BYTES + 1), "b"), [1, 1]),
        ([*texts("a", "b"), Publication("c", TEXT, key="k"), *texts("d", "e")], [2, 1, 2]),
        ([Publication("a", TEXT, key="k"), *texts("b", "c")], [1, 2]),
        ([*texts("a"), *texts("b", exclude=frozenset({"x"})), *texts("c")], [1, 1, 1]),
        (texts("", "", ""), [3]),
    ],
    ids=[
        "all messages",
        "one more message",
        "all bytes",
        "large first",
        "large between",
        "too large alone",
        "key between",
        "key first",
        "exclude between",
        "no bytes",
    ],
)
async def test_a_batch_ends_where_it_must(
    runtime: Runtime, publications: list[Publication], chunks: list[int]
) -> None:
    """64 messages, 64 KiB, and what is not the same for all; the order is kept."""
    member = FakeMember()
    room = Room(runtime, member)

    receipts = await room.publish_together(*publications)

    assert [chunk.count for chunk in member.chunks] == chunks
    assert member.payloads == [publication.data for publication in publications]
    assert receipts == [Receipt(1)] * len(publications)


async def test_a_membership_change_ends_a_batch(runtime: Runtime) -> None:
    """A member that joins between two publications gets the second only."""
    first, second = FakeMember(1), FakeMember(2)
    room = Room(runtime, first)

    room.ref.tell(Publish(Publication("a", TEXT)))
    room.ref.tell(Join(second))
    room.ref.tell(Publish(Publication("b", TEXT)))
    await settle()

    assert [chunk.count for chunk in first.chunks] == [1, 1]
    assert second.payloads == ["b"]


async def test_publishers_that_wait_for_sockets_share_a_chunk(runtime: Runtime) -> None:
    """Each of them waits for those that could not take it at once."""
    ready, busy = FakeMember(), FakeMember()
    busy.ready = False
    room = Room(runtime, ready, busy)
    latches = [FlushLatch(), FlushLatch()]
    room.ref.tell(Publish(Publication("a", TEXT), latches[0]))
    room.ref.tell(Publish(Publication("b", TEXT), latches[1]))
    room.ref.tell(Publish(Publication("c", TEXT)))
    await settle()

    assert [chunk.count for chunk in ready.chunks] == [3]
    assert [chunk.count for chunk in busy.chunks] == [1, 1, 1]
    assert busy.latches == latches


async def test_publishers_wait_for_a_socket_that_holds_their_chunk_back(runtime: Runtime) -> None:
    """A member that was ready, and is not any more, has all of the chunk in hand."""
    member = FakeMember()
    room = Room(runtime, member)

    def hold() -> None:
        member.ready = False

    member.on_deliver = hold
    latches = [FlushLatch(), FlushLatch()]
    for latch in latches:
        room.ref.tell(Publish(Publication("a", TEXT), latch))
    await settle()

    assert [chunk.count for chunk in member.chunks] == [2]
    assert member.latches == latches


async def test_other_actors_run_between_two_fan_outs(runtime: Runtime) -> None:
    """A room with much to do does not keep the loop for itself."""
    member = FakeMember()
    room = Room(runtime, member)
    seen: list[int] = []
    for _ in range(3):
        room.ref.tell(Publish(Publication("a", TEXT, key="no batch")))

    for _ in range(3):
        await asyncio.sleep(0)
        seen.append(len(member.chunks))

    assert seen == [1, 2, 3]


# Latches.


async def test_a_latch_waits_for_the_busy_members_that_took_it(runtime: Runtime) -> None:
    """Ready members have written it; members that did not take it are not waited for."""
    ready, busy, closed = FakeMember(1), FakeMember(2), FakeMember(3)
    busy.ready = closed.ready = False
    closed.offer = Offer.CLOSED
    room = Room(runtime, ready, busy, closed)
    latch = FlushLatch()

    receipt = await room.publish("a", latch)

    assert receipt == Receipt(2, {DropReason.CLOSED: 1})
    assert busy.latches == [latch]
    assert closed.latches == []
    busy.latches[0].count_down(True)
    await latch.wait(5)
    assert latch.failed == 0


async def test_a_latch_never_takes_away_more_than_was_accepted(runtime: Runtime) -> None:
    """A socket that is closing, and then fails, has not taken the publication before."""
    transport = FakeTransport()
    connection = connect(runtime, transport)
    transport.stalled = True
    connection.deliver(chunk("held"))
    connection.close(LEFT)
    room = Room(runtime, connection)
    latch = FlushLatch()

    receipt = await room.publish("a", latch)
    transport.fail(OSError("gone"))

    assert receipt.lost(latch.failed, DropReason.SEND_FAILED) == Receipt(0, {DropReason.CLOSED: 1})


async def test_a_latch_through_real_connections(runtime: Runtime) -> None:
    """An awaited fan-out returns when the idle sockets have their message."""
    transports = [FakeTransport(), FakeTransport(), FakeTransport()]
    transports[1].stalled = transports[2].stalled = True
    room = Room(runtime, *(connect(runtime, transport) for transport in transports))
    latch = FlushLatch()
    receipt = await room.publish("a", latch)
    assert receipt == Receipt(3)
    runtime.loop.call_later(1, transports[1].resume)
    runtime.loop.call_later(2, transports[2].fail, OSError("gone"))
    start = runtime.clock()

    await latch.wait(60)

    assert runtime.clock() - start == pytest.approx(2, abs=0.1)
    assert receipt.lost(latch.failed, DropReason.SEND_FAILED) == Receipt(
        2, {DropReason.SEND_FAILED: 1}
    )


# Backpressure.


async def test_publishers_wait_for_space_and_lose_nothing(runtime: Runtime) -> None:
    """More publishers than the room has space for all get their turn, in order."""
    member = FakeMember()
    room = Room(runtime, member, messages=2)

    receipts = await room.publish_together(*texts(*range(50)))

    assert member.payloads == [repr(number) for number in range(50)]
    assert receipts == [Receipt(1)] * 50


async def test_a_publisher_that_may_not_wait_is_refused(runtime: Runtime) -> None:
    """tell() hands the publication back when the room is full."""
    room = Room(runtime, messages=1)
    assert room.ref.tell(Publish(Publication("a", TEXT))) is Offer.ACCEPTED

    assert room.ref.tell(Publish(Publication("b", TEXT))) is Offer.FULL


# Crashes.


class Restarting:
    """A runtime whose rooms get successors."""

    def __init__(self) -> None:
        self.exits: list[ExitReason] = []
        self.runtime = Runtime(on_exit=self.on_exit)

    def on_exit(self, cell: Cell[Any], reason: ExitReason) -> Actor[Any] | None:
        self.exits.append(reason)
        actor = cell.actor
        return actor.successor() if isinstance(actor, RoomActor) else None


async def test_a_crash_loses_no_member_and_no_waiting_message() -> None:
    """The successor has the members, the mailbox and the ref of its predecessor."""
    restarting = Restarting()
    member = FakeMember()
    room = Room(restarting.runtime, member)
    crashes = [RuntimeError("boom")]

    def crash_once() -> None:
        if crashes:
            raise crashes.pop()

    member.on_deliver = crash_once
    failing = asyncio.create_task(room.publish("a", key="alone"))
    following = asyncio.create_task(room.publish("b"))
    joining = FakeMember()
    joined = asyncio.create_task(room.join(joining))
    await settle()

    assert isinstance(failing.exception(), ActorStopped)
    assert following.result() == Receipt(1)
    assert joined.result() is True
    assert member.payloads == ["a", "b"]
    assert room.membership.snapshot() == [member, joining]
    assert room.log.dropped == [(DropReason.ROOM_FAILED, 1)]
    assert [reason.ending for reason in restarting.exits] == [Ending.CRASHED]
    await restarting.runtime.aclose()


async def test_every_publication_of_a_batch_that_crashed_is_answered() -> None:
    """All that was in hand gets ActorStopped, and is counted for every member."""
    restarting = Restarting()
    members = [FakeMember(1), FakeMember(2)]
    room = Room(restarting.runtime, *members)

    def crash() -> None:
        raise RuntimeError("boom")

    members[0].on_deliver = crash
    asking = [asyncio.create_task(room.publish(data)) for data in "abc"]
    await settle()

    assert [type(ask.exception()) for ask in asking] == [ActorStopped] * 3
    assert room.log.dropped == [(DropReason.ROOM_FAILED, 6)]
    await restarting.runtime.aclose()


@pytest.mark.parametrize("which", ["on_joined", "on_left"])
async def test_a_listener_that_raises_leaves_membership_and_answer_in_agreement(
    which: str,
) -> None:
    """Who was told that it joined has joined: once, with one report, also after the crash."""
    restarting = Restarting()
    room, member = Room(restarting.runtime), FakeMember()

    def fail(_: Member) -> None:
        raise RuntimeError("boom")

    setattr(room.log, which, fail)

    assert await room.join(member) is True
    assert await room.join(member) is False
    assert member in room.membership
    assert await room.leave(member) is True
    assert await room.leave(member) is False

    assert member not in room.membership
    assert (room.log.joined, room.log.left) == ([member], [member])
    assert len(restarting.exits) == 1
    await restarting.runtime.aclose()


async def test_a_member_that_cannot_join_is_told_so() -> None:
    """A crash within a join answers whoever asked."""

    class Broken(FakeMember):
        @property
        def encoder(self) -> Any:
            raise RuntimeError("boom")

        @encoder.setter
        def encoder(self, _: Any) -> None:
            pass

    restarting = Restarting()
    room = Room(restarting.runtime)

    with pytest.raises(ActorStopped):
        await room.join(Broken())

    assert len(restarting.exits) == 1
    await restarting.runtime.aclose()


async def test_a_listener_of_losses_that_raises_costs_no_receipt() -> None:
    """The receipts are given before the listener is told; nothing is counted twice."""
    restarting = Restarting()
    member = FakeMember()
    member.offer = Offer.DROPPED
    room = Room(restarting.runtime, member)

    def fail(_: DropReason) -> None:
        raise RuntimeError("boom")

    room.log.on_dropped = fail

    receipts = await room.publish_together(*texts("a", "b"))

    assert receipts == [Receipt(0, {DropReason.NEWEST: 1})] * 2
    assert room.log.dropped == [(DropReason.NEWEST, 2)]
    await restarting.runtime.aclose()


async def test_a_stop_answers_what_waits(runtime: Runtime, exits: Exits) -> None:
    """Publishers, and those who join, learn that the room has ended."""
    room, member = Room(runtime), FakeMember()
    asking: list[asyncio.Task[Any]] = [
        asyncio.create_task(room.publish("a")),
        asyncio.create_task(room.join(member)),
    ]
    await asyncio.sleep(0)

    room.actor.cell.stop(LEFT)
    await settle()

    assert [type(ask.exception()) for ask in asking] == [ActorStopped] * 2
    assert member not in room.membership
    assert exits == [("room", LEFT)]


async def test_a_successor_keeps_the_limit_of_members() -> None:
    """A restarted room is as full as it was."""
    restarting = Restarting()
    member = FakeMember()
    room = Room(restarting.runtime, member, capacity=1)

    def crash() -> None:
        raise RuntimeError("boom")

    member.on_deliver = crash

    with pytest.raises(ActorStopped):
        await room.publish("a")
    with pytest.raises(RoomFull):
        await room.join(FakeMember())

    await restarting.runtime.aclose()
