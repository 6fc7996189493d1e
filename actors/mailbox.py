"""
Bounded mailbox: the queue between everyone who sends to an actor and the actor.

One actor owns a mailbox. Whoever runs on the same event loop may offer to it; only the
owner takes. Nothing here waits or knows an event loop: waiting for space is the business
of :class:`actors.ref.ActorRef`, waking the owner that of :mod:`actors.runtime`.

A mailbox is bounded by messages and by bytes, and holds references to shared messages: a
broadcast of B bytes to N members costs B bytes, not N·B. Its lanes come into being with
the first message that has to wait, so an idle connection does not pay for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from actors.messages import Message
from actors.overflow import DropReason, Offer, Overflow

__all__ = ["CONTROL_CAPACITY", "Mailbox", "MailboxStatistics"]

M = TypeVar("M", bound=Message)

CONTROL_CAPACITY = 64
"""Messages that the control lane holds; one more ends the owner."""


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
    """

    depth: int = 0
    size: int = 0
    peak_depth: int = 0
    peak_size: int = 0
    accepted: int = 0
    conflated: int = 0
    dropped: dict[DropReason, int] = field(default_factory=dict)


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
        overflow: What :meth:`offer` does when either bound is reached.
        on_drop: Called for every message that is lost here, with the reason, after it was
            counted. Must not raise, and must not touch this mailbox.
        on_space: Called when a message was taken from a mailbox that had refused one since
            the last call.

    Raises:
        ValueError: If a bound is less than 1.

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
        "capacity",
        "max_bytes",
        "on_drop",
        "on_space",
        "overflow",
    )

    def __init__(
        self,
        capacity: int = 1024,
        max_bytes: int = 1 << 20,
        overflow: Overflow = Overflow.DROP_OLDEST,
        *,
        on_drop: Callable[[M, DropReason], None] | None = None,
        on_space: Callable[[], None] | None = None,
    ) -> None:
        if capacity < 1 or max_bytes < 1:
            raise ValueError(
                f"capacity and max_bytes must be at least 1, not {capacity} and {max_bytes}"
            )
        self.capacity = capacity
        self.max_bytes = max_bytes
        self.overflow = overflow
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
        self._dropped: dict[DropReason, int] | None = None
        self._refused = False
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

    def offer(self, message: M) -> Offer:
        """
        Queue ``message``, or apply the overflow policy. Never waits.

        A pinned message is never dropped: with no space for it the answer is
        :attr:`Offer.FULL`, whatever the policy.

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
        if message.pinned or self.overflow is Overflow.BLOCK:
            self._refused = True
            return Offer.FULL
        if self.overflow is Overflow.DROP_OLDEST and (evicted := self._evict_for(message)):
            self._append(message)
            for older in evicted:  # only now: whoever is told may come back with an offer
                self.drop(older, DropReason.OLDEST)
            return Offer.EVICTED
        if self.overflow is Overflow.DISCONNECT:
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
        return MailboxStatistics(
            depth=len(self),
            size=self._size + sum(m.size for m in self._control or ()),
            peak_depth=self._peak_depth,
            peak_size=self._peak_size,
            accepted=self._accepted,
            conflated=self._conflated,
            dropped=dict(self._dropped or {}),
        )

    def _fits(self, message: M) -> bool:
        return (
            self._depth + message.count <= self.capacity
            and self._size + message.size <= self.max_bytes
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
        Take out the oldest messages that have to go for ``message``; pinned ones stay.

        Returns:
            What was taken out; nothing, if all that may go would not make enough space.
        """
        assert self._data is not None
        depth = self._depth + message.count - self.capacity  # what has to go
        size = self._size + message.size - self.max_bytes
        entry = self._data[0]
        older = entry.message if isinstance(entry, _Keyed) else entry
        if depth <= older.count and size <= older.size and not older.pinned:
            return [self._popleft()]  # what happens to nearly every slow client
        looked_at = 0
        for entry in self._data:
            if depth <= 0 and size <= 0:
                break
            looked_at += 1
            older = entry.message if isinstance(entry, _Keyed) else entry
            if not older.pinned:
                depth -= older.count
                size -= older.size
        if depth > 0 or size > 0:
            return []
        evicted: list[M] = []
        pinned: list[M | _Keyed[M]] = []
        for _ in range(looked_at):
            entry = self._data[0]
            older = entry.message if isinstance(entry, _Keyed) else entry
            if older.pinned:
                pinned.append(self._data.popleft())
            else:
                evicted.append(self._popleft())
        self._data.extendleft(reversed(pinned))
        return evicted

    def drop(self, message: M, reason: DropReason) -> None:
        """Count ``message`` as lost, and tell; for one that was handed back and is given up."""
        if self._dropped is None:
            self._dropped = {}
        self._dropped[reason] = self._dropped.get(reason, 0) + message.count
        if self.on_drop is not None:
            self.on_drop(message, reason)
        message.settle(False)
