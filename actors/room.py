"""
The room actor: alone owns the membership, and routes publications to the members.

Joins, leaves and publications go through its mailbox and are processed one at a time, in
order. Publications that wait together are encoded once per wire format and offered to each
member as one chunk, so the cost of a delivery falls as the load grows.

A member that has no space, and whose mailbox drops nothing (:attr:`Overflow.BLOCK`), is
waited for: the turn goes on until it has space, or is closed as slow after ``block_timeout``.
That holds the room back, and with it those who publish there.

Nobody can join or leave during a fan-out: who fails under it is told to leave through the
mailbox. The membership is handed in, because it outlives a crashed room actor.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Hashable
from typing import Generic, TypeVar

from actors.actor import Actor
from actors.errors import RoomFull
from actors.exits import Ending, ExitReason
from actors.interfaces import Encoder, FaultReporter, Member, RoomListener
from actors.mailbox import Mailbox
from actors.membership import Membership
from actors.messages import Chunk, Join, Leave, Publish, RoomMessage
from actors.overflow import DropReason, Offer
from actors.receipts import Receipt

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
    """

    __slots__ = (
        "_block_timeout",
        "_capacity",
        "_in_hand",
        "_listener",
        "_on_fault",
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
    ) -> None:
        self.name = name
        self.membership = membership
        self._listener = listener
        self._on_fault = on_fault
        self._capacity = capacity
        self._block_timeout = block_timeout
        self._in_hand: list[Publish] = []  # taken from the mailbox and not yet answered

    def turn(self, mailbox: Mailbox[RoomMessage]) -> Awaitable[None] | None:
        """Process what waits, up to one fan-out; the rest has another turn."""
        while (message := mailbox.take()) is not None:
            if isinstance(message, Publish):
                self._in_hand.append(message)
                fan_out: _FanOut[M] = _FanOut(self._batch(mailbox))
                self._publish(fan_out)
                if fan_out.held:
                    return self._publish_held(fan_out, mailbox)
                self._answer(fan_out)
                break
            try:
                if isinstance(message, Join):
                    self._join(message)
                else:
                    self._leave(message)
            except BaseException:
                message.settle(False)
                raise
        self._end_if_empty(mailbox)
        return None

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
        )

    def on_stop(self, reason: ExitReason) -> Awaitable[None] | None:
        """Answer what was in hand when the actor crashed."""
        in_hand, self._in_hand = self._in_hand, []
        for message in in_hand:
            message.settle(False)
        if in_hand:
            lost = len(in_hand) * len(self.membership)
            self._listener.room_dropped(self.name, DropReason.ROOM_FAILED, lost)
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
        joined = self.membership.join(member)
        join.answer(joined)  # it is a fact now, whatever the listener makes of it
        if joined:
            self._listener.member_joined(self.name, member)

    def _leave(self, leave: Leave) -> None:
        member: M = leave.member  # type: ignore[assignment]  # the mailbox is typed by Member
        left = self.membership.leave(member)
        leave.answer(left)
        if left:
            self._listener.member_left(self.name, member)

    def _batch(self, mailbox: Mailbox[RoomMessage]) -> list[Publish]:
        """Take along what can share a chunk with the publication in hand."""
        batch = self._in_hand
        size = batch[0].size
        while _joinable(batch[-1]) and len(batch) < BATCH_MESSAGES:
            following = mailbox.peek()
            if (
                not isinstance(following, Publish)
                or not _joinable(following)
                or size + following.size > BATCH_BYTES
            ):
                break
            mailbox.take()
            batch.append(following)
            size += following.size
        return batch

    def _publish(self, fan_out: _FanOut[M]) -> None:
        batch = fan_out.batch
        for encoder, members in self.membership.groups():
            chunk = self._encode(batch, encoder)
            if chunk is None:
                self._publish_apart(fan_out, encoder, members)
            elif len(batch) == 1:
                _deliver_one(chunk, 0, members, fan_out)
            else:
                _deliver_joined(chunk, members, fan_out)

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
        self._end_if_empty(mailbox)

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
            self._listener.room_dropped(self.name, reason, count)

    def _encode(self, batch: list[Publish], encoder: Encoder) -> Chunk | None:
        try:
            frames = tuple(publish.publication.frame(encoder) for publish in batch)
        except Exception as error:  # noqa: BLE001 - one format's trouble is not the room's
            if len(batch) == 1:
                self._on_fault("publication.encode", error)
            return None
        return Chunk(frames, key=batch[0].publication.key)

    def _publish_apart(self, fan_out: _FanOut[M], encoder: Encoder, members: dict[M, None]) -> None:
        """Deliver what can be encoded of a batch of which something cannot."""
        batch = fan_out.batch
        singles: list[tuple[Chunk, int]] = []
        for index, publish in enumerate(batch):
            chunk = self._encode([publish], encoder) if len(batch) > 1 else None
            if chunk is not None:
                singles.append((chunk, index))
            else:
                exclude = publish.publication.exclude
                fan_out.unencodable[index] += sum(
                    member.identity not in exclude for member in members
                )
        if singles:  # of several, which exclude nobody
            for member in members:
                _deliver_singles(singles, member, fan_out)


class _FanOut(Generic[M]):
    """
    Publications on their way to the members.

    Attributes:
        batch: The publications.
        tallies: What became of each of them, counted.
        unencodable: How many members' formats cannot express it, for each of them.
        held: What each member had no space for, in order, with the index of the publication.
        latches: Those of publishers who wait for sockets, too.
    """

    __slots__ = ("batch", "held", "latches", "tallies", "unencodable")

    def __init__(self, batch: list[Publish]) -> None:
        self.batch = batch
        self.tallies = [Counter[Offer]() for _ in batch]
        self.unencodable = [0] * len(batch)
        self.held: dict[M, list[tuple[Chunk, int]]] = {}
        self.latches = [publish.latch for publish in batch if publish.latch is not None]

    def note(self, member: M, offer: Offer, index: int) -> None:
        """Count what became of publication ``index``, and have its publisher wait if it asked."""
        self.tallies[index][offer] += 1
        latch = self.batch[index].latch
        if latch is not None and not member.ready and offer.taken:
            member.when_flushed(latch)


def _joinable(publish: Publish) -> bool:
    """Whether it may share a chunk: it is the same for all members."""
    return publish.publication.key is None and not publish.publication.exclude


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
    fan_out.tallies[index][accepted_offer] += accepted


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
