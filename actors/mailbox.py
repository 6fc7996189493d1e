"""
Bounded mailbox: the queue between everyone who sends to an actor and the actor.

One actor owns a mailbox. Whoever runs on the same event loop may offer to it; only the
owner takes. Nothing here waits or knows an event loop: waiting for space is the business
of :class:`actors.ref.ActorRef`, waking the owner that of :mod:`actors.runtime`.

A mailbox is bounded by messages and by bytes, and holds references to shared messages: a
broadcast of B bytes to N members costs B bytes, not N·B. Its lanes come into being with
the first message that has to wait, so an idle connection does not pay for them.

What it gives up for a message is the message's own matter, if that has a policy, and else the
mailbox's. Below the bounds there are soft ones, a share of them: whoever finds that the owner has
been above those for too long (:mod:`actors.slow_rule`) squeezes the mailbox, so that a slow owner
costs no more than that until it is relaxed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

from actors.messages import Message
from actors.overflow import DropReason, Offer, Overflow

__all__ = ["CONTROL_CAPACITY", "Mailbox", "MailboxStatistics"]

M = TypeVar("M", bound=Message)

CONTROL_CAPACITY = 64
"""Messages that the control lane holds; one more ends the owner."""

_OF_ROOMS = (Overflow.CONFLATE, Overflow.CURSOR)  # tuples, because an enum is dear to hash
_HANDED_BACK = (Overflow.BLOCK, *_OF_ROOMS)
_LOSABLE = (Overflow.DROP_OLDEST, Overflow.DROP_NEWEST)
_OLDEST = (Overflow.DROP_OLDEST,)


@dataclass(frozen=True, slots=True)
class MailboxStatistics:
    """
    A snapshot: metrics pull it, so offering and taking pay for counters only.

    Attributes:
        depth: Messages that wait, both lanes.
        size: Bytes that wait.
        peak_depth: Most messages that ever waited together.
        peak_size: Most bytes that ever waited together.
        accepted: Messages that were put into the mailbox.
        conflated: Messages that took the place of an older one.
        dropped: Messages lost here, by reason.
        dropped_by_feed: The same by the class of their rooms first; see :attr:`Message.feed`.
    """

    depth: int = 0
    size: int = 0
    peak_depth: int = 0
    peak_size: int = 0
    accepted: int = 0
    conflated: int = 0
    dropped: dict[DropReason, int] = field(default_factory=dict)
    dropped_by_feed: dict[str, dict[DropReason, int]] = field(default_factory=dict)


class _Keyed(Generic[M]):
    """The place of a keyed message in the lane; the message in it may be replaced."""

    __slots__ = ("message",)

    def __init__(self, message: M) -> None:
        self.message = message


class Mailbox(Generic[M]):
    """
    First-in, first-out queue of one actor, with a lane for control that overtakes.

    Args:
        capacity: Most messages of the data lane; at least 1.
        max_bytes: Most bytes of the data lane; at least 1.
        overflow: What :meth:`offer` does when either bound is reached, for messages that do not
            say it themselves.
        slow_share: What the soft bounds are of the others; more than 0, at most 1.
        on_drop: Called for every message that is lost here, with the reason, after it was
            counted. Must not raise, and must not touch this mailbox.
        on_space: Called when a message was taken from a mailbox that had refused one since
            the last call, or when such a mailbox is relaxed.

    Raises:
        ValueError: If a bound is less than 1, the share is none, or the policy one of rooms.

    Not thread-safe: only the loop that runs the owner may call it.
    """

    __slots__ = (
        "_accepted",
        "_closed",
        "_conflated",
        "_control",
        "_data",
        "_depth",
        "_dropped",
        "_keys",
        "_peak_depth",
        "_peak_size",
        "_refused",
        "_size",
        "_squeezed",
        "capacity",
        "max_bytes",
        "on_drop",
        "on_space",
        "overflow",
        "slow_share",
    )

    def __init__(
        self,
        capacity: int = 1024,
        max_bytes: int = 1 << 20,
        overflow: Overflow = Overflow.DROP_OLDEST,
        *,
        slow_share: float = 0.75,
        on_drop: Callable[[M, DropReason], None] | None = None,
        on_space: Callable[[], None] | None = None,
    ) -> None:
        if capacity < 1 or max_bytes < 1:
            raise ValueError(
                f"capacity and max_bytes must be at least 1, not {capacity} and {max_bytes}"
            )
        if overflow in _OF_ROOMS:
            raise ValueError(f"{overflow.value} is for rooms; a mailbox keeps no values or records")
        if not 0 < slow_share <= 1:
            raise ValueError(f"slow_share must be more than 0 and at most 1, not {slow_share}")
        self.capacity = capacity
        self.max_bytes = max_bytes
        self.overflow = overflow
        self.slow_share = slow_share
        self.on_drop = on_drop
        self.on_space = on_space
        self._control: deque[M] | None = None
        self._data: deque[M | _Keyed[M]] | None = None
        self._keys: dict[Hashable, _Keyed[M]] | None = None
        self._depth = 0  # messages in the data lane; a message may count for several
        self._size = 0
        self._peak_depth = 0
        self._peak_size = 0
        self._accepted = 0
        self._conflated = 0
        self._dropped: dict[tuple[str, DropReason], int] | None = None
        self._refused = False
        self._squeezed = False
        self._closed = False

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._data) or bool(self._control)

    def __len__(self) -> int:
        """Messages that wait, both lanes."""
        depth = self._depth
        return depth + sum(m.count for m in self._control) if self._control else depth

    @property
    def closed(self) -> bool:
        """Whether it takes nothing more: the owner has stopped, or is about to."""
        return self._closed

    @property
    def above_soft(self) -> bool:
        """Whether more data waits than the soft bounds allow, in messages or in bytes."""
        share = self.slow_share
        return self._depth > self.capacity * share or self._size > self.max_bytes * share

    @property
    def below_half(self) -> bool:
        """Whether less data waits than half of the soft bounds allow, in messages and in bytes."""
        half = self.slow_share / 2
        return self._depth < self.capacity * half and self._size < self.max_bytes * half

    def offer(self, message: M) -> Offer:
        """
        Queue ``message``, or apply its overflow policy, or else the mailbox's. Never waits.

        A pinned message is never dropped: with no space for it the answer is
        :attr:`Offer.FULL`, whatever the policy; so it is with the policies of rooms, which have
        what they offer. Space is made only of messages whose own policy is to lose some: those of
        a policy that blocks, disconnects or is a room's stay.

        Returns:
            What became of the message. What was lost was also counted, and told to
            ``on_drop``; FULL, TOO_LARGE and CLOSED hand it back instead.
        """
        if self._closed:
            return Offer.CLOSED
        if message.size > self.max_bytes or message.count > self.capacity:
            return Offer.TOO_LARGE
        if message.key is not None and self._conflate(message):
            return Offer.CONFLATED
        if self._fits(message):
            self._append(message)
            return Offer.ACCEPTED
        overflow = message.overflow
        if overflow is None:
            overflow = self.overflow
        if message.pinned or overflow in _HANDED_BACK:
            self._refused = True
            return Offer.FULL
        if overflow is Overflow.DROP_OLDEST and (evicted := self._evict_for(message)):
            self._append(message)
            for older in evicted:  # only now: whoever is told may come back with an offer
                self.drop(older, DropReason.OLDEST)
            return Offer.EVICTED
        if overflow is Overflow.DISCONNECT:
            self.drop(message, DropReason.OVERFLOW)
            return Offer.OVERFLOWED
        self.drop(message, DropReason.NEWEST)
        return Offer.DROPPED

    def offer_control(self, message: M) -> Offer:
        """
        Queue ``message`` before all data, after earlier control.

        Returns:
            ACCEPTED; OVERFLOWED when :data:`CONTROL_CAPACITY` messages wait there already
            (the message is dropped and counted: the owner has to end); or CLOSED.
        """
        if self._closed:
            return Offer.CLOSED
        if self._control is None:
            self._control = deque()
        if len(self._control) >= CONTROL_CAPACITY:
            self.drop(message, DropReason.OVERFLOW)
            return Offer.OVERFLOWED
        self._control.append(message)
        self._accepted += message.count
        self._note_peaks()
        return Offer.ACCEPTED

    def take(self) -> M | None:
        """Return the next message, control first; None when nothing waits."""
        if self._control:
            return self._control.popleft()
        if not self._data:
            return None
        message = self._popleft()
        if self._refused and self.on_space is not None:
            self._refused = False
            self.on_space()
        return message

    def peek(self) -> M | None:
        """Return what :meth:`take` would return, and leave it where it is."""
        if self._control:
            return self._control[0]
        if not self._data:
            return None
        entry = self._data[0]
        return entry.message if isinstance(entry, _Keyed) else entry

    def squeeze(self) -> bool:
        """
        Make the soft bounds the bounds, until :meth:`relax`, and give up what is above them.

        What can be given up is what its policy says: of ``drop_oldest`` the oldest messages, with
        ``disconnect`` the owner, of the others nothing. The newest message stays, however large; so
        does one that is offered later to an empty mailbox. Pinned messages keep the bounds that
        they had, and so do those that take the place of an older one.

        Returns:
            Whether the owner has to end.
        """
        self._squeezed = True
        if not self.above_soft:
            return False
        share = self.slow_share
        depth = self._depth - self.capacity * share  # what has to go
        evicted = self._evict(depth, self._size - self.max_bytes * share, _OLDEST, partly=True)
        ends = self.above_soft and self._has(Overflow.DISCONNECT)
        for older in evicted:  # only now, as in offer()
            self.drop(older, DropReason.OLDEST)
        return ends

    def relax(self) -> None:
        """Go back to the bounds that it was made with. Idempotent."""
        if not self._squeezed:
            return
        self._squeezed = False
        if self._refused and self.on_space is not None:
            self._refused = False
            self.on_space()

    def seal(self) -> None:
        """Take nothing more, and keep what waits for the owner. Idempotent."""
        self._closed = True
        if self._refused and self.on_space is not None:
            self._refused = False
            self.on_space()

    def close(self, reason: DropReason = DropReason.CLOSED) -> int:
        """
        Take nothing more, and drop what waits, with ``reason``. Idempotent.

        Returns:
            How many messages were dropped; each was counted, and told to ``on_drop``.
        """
        self.seal()
        lost = 0
        while (message := self.take()) is not None:
            lost += message.count
            self.drop(message, reason)
        self._data = self._control = self._keys = None
        return lost

    def statistics(self) -> MailboxStatistics:
        """Return a snapshot of depth, peaks and counters."""
        dropped: dict[DropReason, int] = {}
        by_feed: dict[str, dict[DropReason, int]] = {}
        for (feed, reason), count in dict(self._dropped or {}).items():
            dropped[reason] = dropped.get(reason, 0) + count
            by_feed.setdefault(feed, {})[reason] = count
        return MailboxStatistics(
            depth=len(self),
            size=self._size + sum(m.size for m in self._control or ()),
            peak_depth=self._peak_depth,
            peak_size=self._peak_size,
            accepted=self._accepted,
            conflated=self._conflated,
            dropped=dropped,
            dropped_by_feed=by_feed,
        )

    def _fits(self, message: M) -> bool:
        capacity: float = self.capacity
        max_bytes: float = self.max_bytes
        if self._squeezed:
            capacity, max_bytes = self._bounds(message)
        return self._depth + message.count <= capacity and self._size + message.size <= max_bytes

    def _bounds(self, message: M) -> tuple[float, float]:
        """Return the squeezed bounds for ``message``: one alone may be larger than the soft ones."""
        if message.pinned:
            return self.capacity, self.max_bytes
        share = self.slow_share
        return (
            max(self.capacity * share, message.count),
            max(self.max_bytes * share, message.size),
        )

    def _append(self, message: M) -> None:
        if self._data is None:
            self._data = deque()
        if message.key is None:
            self._data.append(message)
        else:
            place = _Keyed(message)
            self._data.append(place)
            if self._keys is None:
                self._keys = {}
            self._keys[message.key] = place
        self._depth += message.count
        self._size += message.size
        self._note_peaks()
        self._accepted += message.count

    def _popleft(self) -> M:
        assert self._data is not None
        entry = self._data.popleft()
        if isinstance(entry, _Keyed):
            message: M = entry.message
            if self._keys is not None and self._keys.get(message.key) is entry:
                del self._keys[message.key]
        else:
            message = entry
        self._depth -= message.count
        self._size -= message.size
        return message

    def _note_peaks(self) -> None:
        depth, size = self._depth, self._size
        if self._control:
            depth += sum(m.count for m in self._control)
            size += sum(m.size for m in self._control)
        if depth > self._peak_depth:
            self._peak_depth = depth
        if size > self._peak_size:
            self._peak_size = size

    def _conflate(self, message: M) -> bool:
        """Put ``message`` where an older one with its key waits, if the bounds allow it."""
        place = self._keys.get(message.key) if self._keys else None
        if place is None:
            return False
        older = place.message
        depth = self._depth - older.count + message.count
        size = self._size - older.size + message.size
        if depth > self.capacity or size > self.max_bytes:
            return False
        place.message = message
        self._depth = depth
        self._size = size
        self._note_peaks()
        self._conflated += message.count
        older.settle(False)
        return True

    def _evict_for(self, message: M) -> list[M]:
        """
        Take out the oldest messages that have to go for ``message``.

        Returns:
            What was taken out; nothing, if all that may go would not make enough space.
        """
        assert self._data is not None
        capacity: float = self.capacity
        max_bytes: float = self.max_bytes
        if self._squeezed:
            capacity, max_bytes = self._bounds(message)
        depth = self._depth + message.count - capacity  # what has to go
        size = self._size + message.size - max_bytes
        entry = self._data[0]
        older = entry.message if isinstance(entry, _Keyed) else entry
        if depth <= older.count and size <= older.size and self._may_go(older, _LOSABLE):
            return [self._popleft()]  # what happens to nearly every slow client
        return self._evict(depth, size, _LOSABLE)

    def _evict(
        self, depth: float, size: float, policies: tuple[Overflow, ...], *, partly: bool = False
    ) -> list[M]:
        """
        Take out the oldest messages of ``policies`` that make ``depth`` and ``size`` less.

        Returns:
            What was taken out; nothing, if all of them are not enough, unless ``partly``: then
            all but the newest message, if it has to be.
        """
        assert self._data is not None
        looked_at = 0
        for entry in islice(self._data, len(self._data) - 1 if partly else None):
            if depth <= 0 and size <= 0:
                break
            looked_at += 1
            older = entry.message if isinstance(entry, _Keyed) else entry
            if self._may_go(older, policies):
                depth -= older.count
                size -= older.size
        if (depth > 0 or size > 0) and not partly:
            return []
        evicted: list[M] = []
        staying: list[M | _Keyed[M]] = []
        for _ in range(looked_at):
            entry = self._data[0]
            older = entry.message if isinstance(entry, _Keyed) else entry
            if self._may_go(older, policies):
                evicted.append(self._popleft())
            else:
                staying.append(self._data.popleft())
        self._data.extendleft(reversed(staying))
        return evicted

    def _may_go(self, message: M, policies: tuple[Overflow, ...]) -> bool:
        overflow = message.overflow
        if overflow is None:
            overflow = self.overflow
        return overflow in policies and not message.pinned

    def _has(self, overflow: Overflow) -> bool:
        """Whether a message waits whose policy is ``overflow``."""
        return any(
            self._may_go(entry.message if isinstance(entry, _Keyed) else entry, (overflow,))
            for entry in self._data or ()
        )

    def drop(self, message: M, reason: DropReason) -> None:
        """Count ``message`` as lost, and tell; for one that was handed back and is given up."""
        if self._dropped is None:
            self._dropped = {}
        key = (message.feed, reason)
        self._dropped[key] = self._dropped.get(key, 0) + message.count
        if self.on_drop is not None:
            self.on_drop(message, reason)
        message.settle(False)

    def count_dropped(self, count: int, reason: DropReason, feed: str) -> None:
        """Count messages of the owner that never came here, such as what its room keeps no longer."""
        if self._dropped is None:
            self._dropped = {}
        key = (feed, reason)
        self._dropped[key] = self._dropped.get(key, 0) + count
