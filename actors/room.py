"""
The room actor: alone owns the membership, and routes publications to the members.

Joins, leaves and publications go through its mailbox and are processed one at a time, in
order. Publications that wait together are encoded once per wire format and offered to each
member as one chunk, so the cost of a delivery falls as the load grows.

In a room that keeps its messages (:mod:`actors.feed`) a member that does not take one at once is
no part of the fan-out any more until it has caught up by itself.

A member that has no space, of a room that drops nothing (:attr:`Overflow.BLOCK`), is
waited for: the turn goes on until it has space, or is closed as slow after ``block_timeout``.
That holds the room back, and with it those who publish there.

Nobody can join or leave during a fan-out: who fails under it is told to leave through the
mailbox. The membership is handed in, because it outlives a crashed room actor.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Hashable, Iterable
from typing import Generic, TypeVar

from actors.actor import Actor
from actors.errors import RoomFull
from actors.exits import CloseCode, Ending, ExitReason
from actors.feed import Feed
from actors.interfaces import Encoder, FaultReporter, Member, RoomListener
from actors.mailbox import Mailbox
from actors.membership import Membership
from actors.messages import Chunk, Join, Leave, Look, Publish, RoomMessage
from actors.overflow import DropReason, Offer, Overflow
from actors.receipts import Receipt
from actors.replay import JoinReply

__all__ = ["BATCH_BYTES", "BATCH_MESSAGES", "RoomActor"]

M = TypeVar("M", bound=Member)

BATCH_MESSAGES = 64
"""Publications that are joined into one chunk at most."""

BATCH_BYTES = 64 * 1024
"""Bytes that are joined into one chunk at most; a larger publication travels alone."""

_REASONS = {
    Offer.DROPPED: DropReason.NEWEST,
    Offer.OVERFLOWED: DropReason.OVERFLOW,
    Offer.TOO_LARGE: DropReason.TOO_LARGE,
    Offer.CLOSED: DropReason.CLOSED,
    Offer.FAILED: DropReason.SEND_FAILED,
}


class RoomActor(Actor[RoomMessage], Generic[M]):
    """
    One room.

    Args:
        name: The room, as its listener knows it.
        membership: Its members, possibly those of a predecessor that crashed.
        listener: Told of joins, leaves and losses.
        on_fault: Told of data that a wire format cannot express.
        capacity: Most members; a further one is refused with :class:`RoomFull`. None: no limit.
        block_timeout: Longest time in seconds that a fan-out waits for a member without space.
        overflow: What a member without space gives up; None leaves that to its mailbox.
        label: What losses are counted under.
        feed: What the room knows of the messages that it keeps; None if it keeps none.
    """

    __slots__ = (
        "_block_timeout",
        "_capacity",
        "_fan_out",
        "_in_hand",
        "_label",
        "_listener",
        "_on_fault",
        "_overflow",
        "feed",
        "membership",
        "name",
    )

    def __init__(
        self,
        name: Hashable,
        membership: Membership[M],
        listener: RoomListener[M],
        on_fault: FaultReporter,
        *,
        capacity: int | None = None,
        block_timeout: float = 5.0,
        overflow: Overflow | None = None,
        label: str = "event",
        feed: Feed[M] | None = None,
    ) -> None:
        self.name = name
        self.membership = membership
        self.feed = feed
        self._overflow = overflow
        self._label = label
        self._listener = listener
        self._on_fault = on_fault
        self._capacity = capacity
        self._block_timeout = block_timeout
        self._in_hand: list[Publish] = []  # taken from the mailbox and not yet answered
        self._fan_out: _FanOut[M] | None = None  # of a room that keeps its messages, under way

    def turn(self, mailbox: Mailbox[RoomMessage]) -> Awaitable[None] | None:
        """Process what waits, up to one fan-out; the rest has another turn."""
        feed = self.feed
        if feed is not None and not feed.opened:
            return self._open(feed, mailbox)
        while (message := mailbox.peek()) is not None:
            if isinstance(message, Publish):
                if feed is not None and feed.is_strange(message.publication.position.epoch):
                    return feed.look_for(message.publication.position.epoch)
                mailbox.take()
                if feed is not None and not feed.admit(message.publication):
                    message.answer(Receipt(len(self.membership)))
                    continue
                self._in_hand.append(message)
                fan_out: _FanOut[M] = _FanOut(self._batch(mailbox), keeps=feed is not None)
                self._publish(fan_out)
                if fan_out.held:
                    return self._publish_held(fan_out, mailbox)
                self._answer(fan_out)
                break
            mailbox.take()
            if isinstance(message, Look):
                if feed is not None:
                    return self._look_again(feed, mailbox)
                continue
            try:
                if isinstance(message, Join):
                    self._join(message)
                else:
                    self._leave(message)
            except BaseException:
                message.settle(False)
                raise
        return self._rest(mailbox)

    async def _open(self, feed: Feed[M], mailbox: Mailbox[RoomMessage]) -> None:
        """Find out where the room stands; while nobody can say, nobody can join."""
        try:
            await feed.open()
        except Exception as error:  # noqa: BLE001 - it is told to who asks, and reported
            feed.fault(error)
            while (message := mailbox.take()) is not None:
                self._turn_away(message, error)
            self._end_if_empty(mailbox)

    def _turn_away(self, message: RoomMessage, error: Exception) -> None:
        if isinstance(message, Look):
            return  # it has looked
        if isinstance(message, Publish):
            message.answer(Receipt())  # it is kept
        elif isinstance(message, Leave):
            message.answer(False)
        elif message.reply is not None:
            message.refuse(error)
        else:  # nobody waits for the answer, and the room would be silent for ever
            text = f"what {self.name} keeps cannot be read"
            reason = ExitReason(Ending.GAP, CloseCode.INSUFFICIENT_STATE, text)
            message.member.close(reason)

    def _rest(self, mailbox: Mailbox[RoomMessage]) -> Awaitable[None] | None:
        """End the turn: see to what was announced only, and whether anybody is left."""
        if self.feed is not None and not mailbox:
            strange = self.feed.catch_up()
            if strange is not None:
                return self._look_for(self.feed, strange, mailbox)
        self._end_if_empty(mailbox)
        return None

    async def _look_again(self, feed: Feed[M], mailbox: Mailbox[RoomMessage]) -> None:
        await feed.look_again()
        rest = self._rest(mailbox)
        if rest is not None:
            await rest

    async def _look_for(self, feed: Feed[M], epoch: str, mailbox: Mailbox[RoomMessage]) -> None:
        await feed.look_for(epoch)
        rest = self._rest(mailbox)
        if rest is not None:
            await rest

    def _end_if_empty(self, mailbox: Mailbox[RoomMessage]) -> None:
        if self.membership or mailbox or self.cell.ref.waiting:
            return
        if self._listener.room_empty(self.name):
            self.cell.stop(ExitReason(Ending.STOPPED, text="the last member left"))

    def successor(self) -> RoomActor[M]:
        """Return a new actor for the same room, with the same members."""
        return RoomActor(
            self.name,
            self.membership,
            self._listener,
            self._on_fault,
            capacity=self._capacity,
            block_timeout=self._block_timeout,
            overflow=self._overflow,
            label=self._label,
            feed=self.feed,
        )

    def on_stop(self, reason: ExitReason) -> Awaitable[None] | None:
        """Answer what was in hand when the actor crashed."""
        in_hand, self._in_hand = self._in_hand, []
        feed, fan_out = self.feed, self._fan_out
        if feed is not None and fan_out is not None:  # it is kept: who did not get it reads it
            self._fan_out = None
            reached = fan_out.reached()
            left_out = [each for each in self.membership.live() if each not in reached]
            waiting = {
                member: in_hand[held[0][1]].publication.position.offset - 1
                for member, held in fan_out.held.items()
            }
            feed.end_routing([message.publication for message in in_hand], left_out, waiting)
            for message in in_hand:
                message.answer(Receipt(len(self.membership)))
            in_hand = []
        for message in in_hand:
            message.settle(False)
        if in_hand:
            lost = len(in_hand) * len(self.membership)
            self._listener.room_dropped(self.name, DropReason.ROOM_FAILED, lost, self._label)
        if feed is not None and reason.ending is not Ending.CRASHED:
            feed.close()
        return None

    def _join(self, join: Join) -> None:
        member: M = join.member  # type: ignore[assignment]  # the mailbox is typed by Member
        if (
            self._capacity is not None
            and member not in self.membership
            and len(self.membership) >= self._capacity
        ):
            join.refuse(RoomFull(f"room {self.name!r} has its {self._capacity} members"))
            return
        feed = self.feed
        joined = self.membership.join(member, behind=feed is not None)
        # It is a fact now, whatever the listener makes of it.
        if feed is None:
            join.answer(_JOINED if joined else _WAS_MEMBER)
        elif joined:
            feed.begin(member, join)
        else:
            join.answer(feed.greet(member))
        if joined:
            self._listener.member_joined(self.name, member)

    def _leave(self, leave: Leave) -> None:
        member: M = leave.member  # type: ignore[assignment]  # the mailbox is typed by Member
        if self.feed is not None:
            self.feed.leave(member)
        left = self.membership.leave(member)
        leave.answer(left)
        if left:
            self._listener.member_left(self.name, member)

    def _batch(self, mailbox: Mailbox[RoomMessage]) -> list[Publish]:
        """Take along what can share a chunk with the publication in hand."""
        batch = self._in_hand
        size = batch[0].size
        follows = _joinable if self.feed is None else _contiguous
        while len(batch) < BATCH_MESSAGES:
            following = mailbox.peek()
            if (
                not isinstance(following, Publish)
                or not follows(batch[-1], following)
                or size + following.size > BATCH_BYTES
            ):
                break
            mailbox.take()
            batch.append(following)
            size += following.size
        return batch

    def _publish(self, fan_out: _FanOut[M]) -> None:
        feed = self.feed
        if feed is not None:
            self._fan_out = fan_out
            feed.begin_routing()
            if self.membership.behind:
                for tally in fan_out.tallies:  # those behind read it
                    tally[Offer.ACCEPTED] += self.membership.behind
        for encoder, members in self.membership.groups():
            try:
                chunk = self._encode(fan_out.batch, encoder)
            except Exception:  # noqa: BLE001 - one format's trouble is not the room's
                self._publish_apart(fan_out, encoder, members)
                continue
            if chunk is None:  # the format has no words for it: nothing is missing
                for tally in fan_out.tallies:
                    tally[Offer.ACCEPTED] += len(members)
            elif feed is not None and feed.loses_nothing:
                _deliver_or_leave_behind(chunk, members, fan_out, range(len(fan_out.batch)))
            elif len(fan_out.batch) == 1:
                _deliver_one(chunk, 0, members, fan_out)
            else:
                _deliver_joined(chunk, members, fan_out)
        if feed is not None:
            self._fan_out = None
            publications = [publish.publication for publish in fan_out.batch]
            feed.end_routing(publications, fan_out.behind, {})

    async def _publish_held(self, fan_out: _FanOut[M], mailbox: Mailbox[RoomMessage]) -> None:
        """Wait for the members that have no space, all at once, so that each is judged by itself."""
        runtime = self.cell.runtime
        left = len(fan_out.held)
        served: asyncio.Future[None] = runtime.loop.create_future()

        def done(error: BaseException | None) -> None:
            nonlocal left
            left -= 1
            if served.done():
                return
            if error is not None:
                served.set_exception(error)
            elif not left:
                served.set_result(None)

        jobs = [
            runtime.run(self._serve(member, fan_out), name=f"{self.cell.name} waits", on_done=done)
            for member in fan_out.held
        ]
        try:
            await served
        finally:
            for job in jobs:
                job.cancel()
        self._answer(fan_out)
        rest = self._rest(mailbox)
        if rest is not None:
            await rest

    async def _serve(self, member: M, fan_out: _FanOut[M]) -> None:
        """Hand a member what it had no space for; one that gets none in time is closed."""
        for chunk, index in fan_out.held[member]:
            offer = await member.deliver_when_space(chunk, timeout=self._block_timeout)
            fan_out.note(member, offer, index)

    def _answer(self, fan_out: _FanOut[M]) -> None:
        dropped = Counter[DropReason]()
        for publish, tally, count in zip(
            fan_out.batch, fan_out.tallies, fan_out.unencodable, strict=True
        ):
            receipt = _receipt(tally, count)
            dropped.update(receipt.dropped)
            publish.answer(receipt)
        fan_out.batch.clear()  # they are in hand no more
        for reason, count in dropped.items():
            self._listener.room_dropped(self.name, reason, count, self._label)

    def _encode(self, batch: list[Publish], encoder: Encoder) -> Chunk | None:
        """
        Return what members of that format get; None if that has no words for it.

        Raises:
            Exception: If something of it cannot be expressed.
        """
        frames = [publish.publication.frame(encoder) for publish in batch]
        said = tuple([frame for frame in frames if frame is not None])
        if not said:
            return None
        key = batch[0].publication.key
        return Chunk(
            said,
            key=None if key is None else (self.name, key),
            overflow=self._overflow,
            feed=self._label,
        )

    def _publish_apart(self, fan_out: _FanOut[M], encoder: Encoder, members: dict[M, None]) -> None:
        """Deliver what can be encoded of a batch of which something cannot."""
        singles: list[tuple[Chunk, int]] = []
        feed = self.feed if self.feed is not None and self.feed.loses_nothing else None
        told: list[Chunk] = []  # in a room that loses nothing: messages, and what is said of gaps
        missing: list[int] = []
        for index, publish in enumerate(fan_out.batch):
            try:
                chunk = self._encode([publish], encoder)
            except Exception as error:  # noqa: BLE001 - it is this message's trouble only
                self._on_fault("publication.encode", error)
                missing.append(index)
                if feed is not None:
                    frame = feed.said_of_unencodable(encoder, publish.publication)
                    told += [] if frame is None else [Chunk((frame,), feed=self._label)]
                continue
            told += [] if chunk is None else [chunk]
            if chunk is not None:
                singles.append((chunk, index))
            else:
                fan_out.tallies[index][Offer.ACCEPTED] += len(members)
        behind = len(fan_out.behind)
        if feed is not None and told:
            indices = [index for _, index in singles]
            _deliver_or_leave_behind(Chunk.join(told), members, fan_out, indices)
        behind = len(fan_out.behind) - behind  # it is missing to them when they come to it
        for index in missing:
            exclude = fan_out.batch[index].publication.exclude
            missed = sum(member.identity not in exclude for member in members)
            fan_out.unencodable[index] += missed - behind
            fan_out.tallies[index][Offer.ACCEPTED] += behind
        if feed is not None or not singles:
            return
        member: M | None = None
        try:
            for member in members:  # of several, which exclude nobody
                _deliver_singles(singles, member, fan_out)
        except BaseException:
            fan_out.walks.append((members, member))
            raise
        fan_out.walks.append((members, None))


class _FanOut(Generic[M]):
    """
    Publications on their way to the members.

    Attributes:
        batch: The publications.
        keeps: Whether the room keeps them, so that members can read them later.
        tallies: What became of each of them, counted.
        unencodable: How many members' formats cannot express it, for each of them.
        held: What each member had no space for, in order, with the index of the publication.
        latches: Those of publishers who wait for sockets, too.
        behind: Members that did not take it at once, in a room that keeps its messages.
        walks: Groups of members that were walked over, and where that broke off, if it did.
    """

    __slots__ = ("batch", "behind", "held", "keeps", "latches", "tallies", "unencodable", "walks")

    def __init__(self, batch: list[Publish], *, keeps: bool = False) -> None:
        self.batch = batch
        self.keeps = keeps
        self.tallies = [Counter[Offer]() for _ in batch]
        self.unencodable = [0] * len(batch)
        self.held: dict[M, list[tuple[Chunk, int]]] = {}
        self.latches = [publish.latch for publish in batch if publish.latch is not None]
        self.behind: list[M] = []
        self.walks: list[tuple[dict[M, None], M | None]] = []

    def reached(self) -> set[M]:
        """Return who has it, when the room has crashed in the middle."""
        reached: set[M] = set()
        for members, crashed_at in self.walks:
            for member in members:
                if member is crashed_at:
                    break
                reached.add(member)
        return reached.difference(self.behind)

    def note(self, member: M, offer: Offer, index: int) -> None:
        """Count what became of publication ``index``, and have its publisher wait if it asked."""
        if offer is Offer.TOO_LARGE and self.keeps and len(self.batch) == 1:
            self.behind.append(member)  # it reads what no mailbox would hold
            offer = Offer.ACCEPTED
        self.tallies[index][offer] += 1
        latch = self.batch[index].latch
        if latch is not None and not member.ready and offer.taken:
            member.when_flushed(latch)


_JOINED = JoinReply(True)
_WAS_MEMBER = JoinReply(False)


def _joinable(last: Publish, following: Publish) -> bool:
    """Whether both may share a chunk: each is the same for all members."""
    return (
        last.publication.key is None
        and not last.publication.exclude
        and following.publication.key is None
        and not following.publication.exclude
    )


def _contiguous(last: Publish, following: Publish) -> bool:
    """Whether both may share a chunk, in a room that keeps its messages: one follows the other."""
    epoch, offset = last.publication.position
    return (
        following.publication.position == (epoch, offset + 1)
        and not last.publication.ended
        and not following.publication.ended
    )


def _receipt(tally: Counter[Offer], unencodable: int) -> Receipt:
    accepted = tally[Offer.ACCEPTED] + tally[Offer.CONFLATED] + tally[Offer.EVICTED]
    dropped: dict[DropReason, int] = {}
    for offer, reason in _REASONS.items():
        if tally[offer]:
            dropped[reason] = dropped.get(reason, 0) + tally[offer]
    if unencodable:
        dropped[DropReason.UNENCODABLE] = unencodable
    return Receipt(accepted, dropped, tally[Offer.EVICTED])


def _deliver_one(chunk: Chunk, index: int, members: dict[M, None], fan_out: _FanOut[M]) -> None:
    """Offer one publication to each member that it does not exclude."""
    publish = fan_out.batch[index]
    exclude = publish.publication.exclude
    latch = publish.latch
    accepted_offer = Offer.ACCEPTED  # once: this loop is where a broadcast spends its time
    accepted = 0
    member: M | None = None
    try:
        for member in members:
            if exclude and member.identity in exclude:
                continue
            offer = member.deliver(chunk)
            if offer is accepted_offer and latch is None:
                accepted += 1
            elif offer is Offer.FULL:
                fan_out.held[member] = [(chunk, index)]
            else:
                fan_out.note(member, offer, index)
    except BaseException:
        fan_out.walks.append((members, member))
        raise
    fan_out.walks.append((members, None))
    fan_out.tallies[index][accepted_offer] += accepted


def _deliver_or_leave_behind(
    chunk: Chunk, members: dict[M, None], fan_out: _FanOut[M], indices: Iterable[int]
) -> None:
    """Write to each member that takes it at once; all the others are behind from now on."""
    accepted_offer = Offer.ACCEPTED
    latches = fan_out.latches
    behind = fan_out.behind
    failed = Counter[Offer]()
    member: M | None = None
    try:
        for member in members:
            if not member.ready:
                behind.append(member)
                continue
            offer = member.deliver(chunk)
            if offer is not accepted_offer:
                failed[offer] += 1
            elif latches and not member.ready:
                for latch in latches:
                    member.when_flushed(latch)
    except BaseException:
        fan_out.walks.append((members, member))
        raise
    fan_out.walks.append((members, None))
    accepted = len(members) - failed.total() if failed else len(members)
    for index in indices:
        tally = fan_out.tallies[index]
        tally[accepted_offer] += accepted
        if failed:
            tally.update(failed)


def _deliver_joined(chunk: Chunk, members: dict[M, None], fan_out: _FanOut[M]) -> None:
    """
    Offer several publications to each member: as one chunk where it is written at once.

    A member that is busy gets them one by one, so that its mailbox counts, and if need be
    drops, messages rather than chunks.
    """
    singles: list[tuple[Chunk, int]] | None = None
    tallies = fan_out.tallies
    latches = fan_out.latches
    accepted_offer = Offer.ACCEPTED
    at_once = 0
    member: M | None = None
    try:
        for member in members:
            if member.ready:
                offer = member.deliver(chunk)
                if offer is accepted_offer:
                    at_once += 1
                    if latches and not member.ready:
                        for latch in latches:
                            member.when_flushed(latch)
                else:
                    for tally in tallies:
                        tally[offer] += 1
            else:
                if singles is None:
                    singles = [(single, index) for index, single in enumerate(chunk.singles())]
                _deliver_singles(singles, member, fan_out)
    except BaseException:
        fan_out.walks.append((members, member))
        raise
    fan_out.walks.append((members, None))
    for tally in tallies:
        tally[accepted_offer] += at_once


def _deliver_singles(singles: list[tuple[Chunk, int]], member: M, fan_out: _FanOut[M]) -> None:
    """Offer each to ``member``; after one that it has no space for, all the others wait too."""
    for place, (single, index) in enumerate(singles):
        offer = member.deliver(single)
        if offer is Offer.FULL:
            fan_out.held[member] = singles[place:]
            return
        fan_out.note(member, offer, index)
