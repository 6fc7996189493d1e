"""
One room in memory, and which of its records go: for :mod:`supervisor.history.memory`.

Knows no other room, no lock and no clock: whoever calls says what time it is.
"""

from __future__ import annotations

import heapq
import math
import secrets
from bisect import bisect_left, bisect_right
from collections import OrderedDict

from actors.positions import Position
from supervisor.history.base import IDEMPOTENCY_PERIOD, Entry, Retention, RoomState
from supervisor.history.ring import ENCODED, REMOVED, Ring

__all__ = ["Room"]

_STALE = 64
"""Things that may be noted of records that went, before a heap is made anew."""

_SHARE = 256
"""A log that is full loses this part of its records or bytes at once, rounded down."""

_BLOCK = 64
"""Records that a full log loses at once, at most, because there are too many."""

_FEW = 8
"""Lines up to which they are dropped one by one."""


class Room(Ring):
    """
    The records of one room, and what is to be known of them to keep no more than is wanted.

    No value is before the offset ``oldest``: whoever looks for the oldest one passes each tombstone
    once.
    """

    __slots__ = (
        "age",
        "buried",
        "due",
        "ended",
        "epoch",
        "expiries",
        "forgotten",
        "keys",
        "largest",
        "lost",
        "most",
        "name",
        "oldest",
        "recent",
        "retention",
        "tombs",
        "tombstones",
        "top",
        "touched",
    )

    def __init__(self, name: str, retention: Retention, now: float) -> None:
        super().__init__()
        self.name = name
        self.epoch = secrets.token_hex(8)
        self._follow(retention)
        self.top = 0
        self.lost = 0
        self.ended = False
        self.forgotten = False
        self.touched = now  # when the newest record came: the time of records never decreases
        self.tombs = 0  # of the records tombstones
        self.oldest = 0
        self.keys: dict[str, int] = {}  # offset of the newest record; in a compacted room only
        # Heaps of times and offsets; those of records that went stay a while.
        self.expiries: list[tuple[float, int]] = []
        self.tombstones: list[tuple[float, int]] = []  # since when; in a compacted room only
        self.buried: list[tuple[float, int]] = []  # the same, by their offsets
        self.recent: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def _follow(self, retention: Retention) -> None:
        """Take the bounds, infinite where there is none."""
        self.retention = retention
        self.most = math.inf if retention.records is None else retention.records
        self.largest = math.inf if retention.size is None else retention.size
        self.age = math.inf if retention.age is None else retention.age
        self.due = -math.inf  # when something goes by time, at the earliest: to be found out

    def repeats(self, idempotency_key: str, now: float) -> int | None:
        """Return the offset that was appended with this key; None if there is none."""
        self._forget_keys(now)
        first = self.recent.get(idempotency_key)
        return None if first is None else first[1]

    def remember(self, idempotency_key: str, now: float, offset: int) -> None:
        """Remember what was appended with this key."""
        self.recent[idempotency_key] = (now, offset)
        self.due = min(self.due, now + IDEMPOTENCY_PERIOD)

    def append(self, entry: Entry, retention: Retention, now: float) -> int:
        """Append and trim; return the offset."""
        if now < self.touched:
            now = self.touched  # the clock was put back
        else:
            self.touched = now
        payload, encoded, key, removed, expires = entry
        if key is not None and now >= self.due and self.retention.compact:
            self.trim(now)  # what has gone by now is not replaced
        if retention is not self.retention:
            self._change(retention, now)
        if key is None and payload.isascii():
            size = len(payload)
        else:
            size = entry.size
        flags = ENCODED if encoded else 0
        if removed:
            flags |= REMOVED
        offset = self.top = self.top + 1
        if key is not None or expires is not None:
            self._name(entry, offset, now)
        if not self.count:
            self.due = min(self.due, now + self.age)
        self.offsets.append(offset)
        self.times.append(now)
        self.payloads.append(payload)
        self.flags.append(flags)
        self.sizes.append(size)
        self.count += 1
        self.size += size
        if now >= self.due:
            self.trim(now)
        if self.count > self.most or self.size > self.largest:
            if self.keys:
                self._keep_bounds()
            else:
                self._lose_oldest(now)
        return offset

    def _name(self, entry: Entry, offset: int, now: float) -> None:
        """Note the key of the newest record, and when it expires."""
        _, _, key, removed, expires = entry
        if key is not None and self.retention.compact:
            self._replace(key, offset)
            if removed:
                expires = None
                self._note_tombstone(now, offset)
                self.due = min(self.due, now + self.retention.tombstone_age)
        if expires is not None:
            self._note(self.expiries, expires, offset)
            self.due = min(self.due, expires)
        self.named[offset] = (key, expires)

    def trim(self, now: float) -> None:
        """Drop what is not kept at ``now``; nothing is kept too long if it is called when due."""
        if self.expiries:
            self._expire(now)
        if self.tombstones:
            self._forget_tombstones(now)
        if self.recent:
            self._forget_keys(now)
        self._lose_oldest(now)
        self.due = self._next_due()

    def _next_due(self) -> float:
        due = math.inf
        if self.count:
            due = self.times[self.head] + self.age
        if self.expiries:
            due = min(due, self.expiries[0][0])
        if self.tombstones:
            due = min(due, self.tombstones[0][0] + self.retention.tombstone_age)
        if self.recent:
            due = min(due, next(iter(self.recent.values()))[0] + IDEMPOTENCY_PERIOD)
        return due

    def _expire(self, now: float) -> None:
        """Drop the records that have expired, or make tombstones of them."""
        expiries = self.expiries
        while expiries and expiries[0][0] <= now:
            expired, offset = heapq.heappop(expiries)
            place = self._place(offset)
            if place is None:
                continue
            key, expires = self.named[offset]
            if expires is None:
                continue  # a tombstone by now
            if key is None or not self.retention.compact:
                self._drop(place)
            else:
                self._bury(place, key)
                self._note_tombstone(max(expired, self.times[place]), offset)

    def _bury(self, place: int, key: str) -> None:
        """Make a tombstone of a value."""
        size = Entry("", key=key).size
        self.size -= self.sizes[place] - size
        self.sizes[place] = size
        self.payloads[place] = ""
        self.flags[place] = REMOVED
        self.named[self.offsets[place]] = (key, None)

    def _lose_oldest(self, now: float) -> None:
        """
        Drop the records that the bounds cost; of a large log some more, to do so less often.

        Where there are keys, only those that are too old: see :meth:`_keep_bounds`.
        """
        most, largest = self.most, self.largest
        if self.keys:
            most = largest = math.inf
        else:
            if self.count > most:
                most -= min(most // _SHARE, _BLOCK)
            if self.size > largest:
                largest -= largest // _SHARE
        last = self.head + _FEW
        if (
            last < len(self.times)
            and (
                self.count > most + _FEW
                or self.times[last] + self.age <= now
                or (self.size > largest and self.size - largest > _FEW * (self.size // self.count))
            )
            and self._are_lines()
        ):
            self._lose_at_once(most, largest, now)
            return
        payloads, sizes, times, age = self.payloads, self.sizes, self.times, self.age
        count, size, place = self.count, self.size, self.head
        lost = 0
        while count:
            if payloads[place] is not None:
                if count <= most and (size <= largest or count == 1) and times[place] + age > now:
                    break
                payloads[place] = None
                count -= 1
                size -= sizes[place]
                lost = self.offsets[place]
                if self.named:
                    self._forget_name(place)
            place += 1
        if lost:
            self.count = count
            self.size = size
            self.lost = max(self.lost, lost)
            self._skip_holes(place)

    def _lose_at_once(self, most: float, largest: float, now: float) -> None:
        """Drop lines, in slices."""
        head, sizes, age = self.head, self.sizes, self.age
        end = head + self.count
        place = head + int(max(0, self.count - most))
        size = self.size - sum(sizes[head:place])
        while size > largest and place < end - 1:
            size -= sizes[place]
            place += 1
        aged = bisect_right(self.times, now, place, key=lambda time: time + age)
        if aged > place:
            size -= sum(sizes[place:aged])
            place = aged
        if place > head:
            self.payloads[head:place] = [None] * (place - head)
            self.count = end - place
            self.size = size
            self.lost = max(self.lost, self.offsets[place - 1])
            self._skip_holes(place)

    def _drop(self, place: int) -> None:
        """Make a hole of a record."""
        self.payloads[place] = None
        self.count -= 1
        self.size -= self.sizes[place]
        self._forget_name(place)
        self._skip_holes(self.head)

    def _forget_name(self, place: int) -> None:
        """Forget the key of a record that goes."""
        key, _ = self.named.pop(self.offsets[place], (None, None))
        if self.keys and key is not None:
            del self.keys[key]
            self.tombs -= self.flags[place] & REMOVED != 0

    def _keep_bounds(self) -> None:
        """Drop what the bounds of number and bytes cost where there are keys."""
        while self.count - self.tombs > self.most:
            self._lose_value()
        while self.tombs > self.most:
            self._lose_tombstone()
        while self.size > self.largest and self.count > 1:
            if self.tombs:
                self._lose_tombstone()
            else:
                self._lose_value()

    def _lose_value(self) -> None:
        """Drop the oldest record that is no tombstone; there is one."""
        place = bisect_left(self.offsets, self.oldest, self.head)
        while self.payloads[place] is None or self._is_tombstone(place):
            place += 1
        offset = self.offsets[place]
        self.oldest = offset + 1
        self._lose(place, offset)

    def _is_tombstone(self, place: int) -> bool:
        if not self.flags[place] & REMOVED:
            return False
        key, _ = self.named.get(self.offsets[place], (None, None))
        return key is not None

    def _lose_tombstone(self) -> None:
        """Drop the oldest tombstone; there is one."""
        while True:
            offset = heapq.heappop(self.buried)[1]
            place = self._place(offset)
            if place is not None:
                return self._lose(place, offset)

    def _lose(self, place: int, offset: int) -> None:
        """Drop a record, which is lost."""
        self.lost = max(self.lost, offset)
        self._drop(place)

    def state(self) -> RoomState:
        """Return where the room stands."""
        top = Position(self.epoch, self.top)
        return RoomState(top, self.lost, self.ended, self.count, self.size)

    def _replace(self, key: str, offset: int) -> None:
        """Drop the record that had the key, and note who has it now."""
        place = self._place(self.keys.get(key, 0))
        if place is not None:
            self._drop(place)
        self.keys[key] = offset

    def _note(self, heap: list[tuple[float, int]], when: float, offset: int) -> None:
        """Remember when something happens to a record; one thing in each heap."""
        if len(heap) > 2 * self.count + _STALE:
            heap[:] = [noted for noted in heap if self._place(noted[1]) is not None]
            heapq.heapify(heap)
        heapq.heappush(heap, (when, offset))

    def _note_tombstone(self, since: float, offset: int) -> None:
        """Count a tombstone, and remember when and in which order it is forgotten."""
        self.tombs += 1
        self._note(self.tombstones, since, offset)
        self._note(self.buried, offset, offset)

    def _forget_tombstones(self, now: float) -> None:
        tombstones = self.tombstones
        while tombstones and tombstones[0][0] + self.retention.tombstone_age <= now:
            offset = heapq.heappop(tombstones)[1]
            place = self._place(offset)
            if place is not None:
                self._lose(place, offset)

    def _forget_keys(self, now: float) -> None:
        while self.recent:
            key = next(iter(self.recent))
            if self.recent[key][0] + IDEMPOTENCY_PERIOD > now:
                return
            del self.recent[key]

    def _change(self, retention: Retention, now: float) -> None:
        """Be kept in another way; what is not kept by now must not come back."""
        self.trim(now)
        if retention.compact is not self.retention.compact:
            self.keys.clear()
            self.tombstones.clear()
            self.buried.clear()
            self.tombs = self.oldest = 0
            if retention.compact:
                self._compact()
        self._follow(retention)

    def _compact(self) -> None:
        """Drop all but the newest record of each key."""
        for offset, (key, _) in sorted(self.named.items()):
            if key is None:
                continue
            self._replace(key, offset)
            place = self._place(offset)
            assert place is not None
            if self.flags[place] & REMOVED:
                self.named[offset] = (key, None)
                self._note_tombstone(self.times[place], offset)
