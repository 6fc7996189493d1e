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
from collections.abc import Awaitable, Hashable
from typing import Generic, TypeVar

from actors.actor import Actor
from actors.errors import RoomFull
from actors.exits import CloseCode, Ending, ExitReason
from actors.fan_out import FanOut
from actors.feed import Feed
from actors.interfaces import Encoder, FaultReporter, Member, RoomListener
from actors.mailbox import Mailbox
from actors.membership import Membership
from actors.messages import Chunk, Join, Leave, Look, Publish, RoomMessage
from actors.overflow import DropReason, Overflow
from actors.receipts import Receipt
from actors.replay import JoinReply

__all__ = ["BATCH_BYTES", "BATCH_MESSAGES", "RoomActor"]

M = TypeVar("M", bound=Member)

BATCH_MESSAGES = 64
"""Publications that are joined into one chunk at most."""

BATCH_BYTES = 64 * 1024
"""Bytes that are joined into one chunk at most; a larger publication travels alone."""


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
        self._fan_out: FanOut[M] | None = None  # of a room that keeps its messages, under way

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
                fan_out: FanOut[M] = FanOut(self._batch(mailbox), keeps=feed is not None)
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

    def _publish(self, fan_out: FanOut[M]) -> None:
        feed = self.feed
        if feed is not None:
            self._fan_out = fan_out
            feed.begin_routing()
            fan_out.accepted += self.membership.behind  # they read it
        for encoder, members in self.membership.groups():
            try:
                chunk = self._encode(fan_out.batch, encoder)
            except Exception:  # noqa: BLE001 - one format's trouble is not the room's
                self._publish_apart(fan_out, encoder, members)
                continue
            if chunk is None:  # the format has no words for it: nothing is missing
                fan_out.accepted += len(members)
            elif feed is not None and feed.loses_nothing:
                fan_out.deliver_or_leave_behind(chunk, members)
            elif len(fan_out.batch) == 1:
                fan_out.deliver_one(chunk, members)
            else:
                fan_out.deliver_joined(chunk, members)
        if feed is not None:
            self._fan_out = None
            publications = [publish.publication for publish in fan_out.batch]
            feed.end_routing(publications, fan_out.behind, {})

    async def _publish_held(self, fan_out: FanOut[M], mailbox: Mailbox[RoomMessage]) -> None:
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

    async def _serve(self, member: M, fan_out: FanOut[M]) -> None:
        """Hand a member what it had no space for; one that gets none in time is closed."""
        for chunk, index in fan_out.held[member]:
            offer = await member.deliver_when_space(chunk, timeout=self._block_timeout)
            fan_out.note(member, offer, index)

    def _answer(self, fan_out: FanOut[M]) -> None:
        dropped = fan_out.answer()
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

    def _publish_apart(self, fan_out: FanOut[M], encoder: Encoder, members: dict[M, None]) -> None:
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
                fan_out.took(index, len(members))
        behind = len(fan_out.behind)
        if feed is not None and told:
            indices = [index for _, index in singles]
            fan_out.deliver_or_leave_behind(Chunk.join(told), members, indices)
        behind = len(fan_out.behind) - behind  # it is missing to them when they come to it
        for index in missing:
            exclude = fan_out.batch[index].publication.exclude
            missed = sum(member.identity not in exclude for member in members)
            fan_out.had_no_words(index, missed - behind)
            fan_out.took(index, behind)
        if feed is None and singles:
            fan_out.deliver_apart(singles, members)


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
