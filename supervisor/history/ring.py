"""
Records of a room in memory, side by side in lists: for :mod:`supervisor.history.room`.

Knows where a record is and what a page is made of; not which records are kept, or for how long.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import cast

from supervisor.history.base import PAGE_BYTES, PAGE_RECORDS, Record
from supervisor.history.lines import Lines

__all__ = ["ENCODED", "REMOVED", "Ring"]

_SPARSE = 64
"""Places that may be empty before a list is made dense again."""

ENCODED, REMOVED = 1, 2
"""What is remembered of a record in one byte."""


class Ring:
    """
    Records in lists side by side: none of them is an object of its own.

    A ring may keep millions, and the garbage collector would look at every object among them, each
    time that it looks at all, and come the sooner the more are made. Few records have a key or
    expire: those are in ``named``, by their offsets.

    ``payloads`` have holes where one was replaced or has expired; ``head`` is the first place that
    has none. The other lists never have holes, so that places are found by bisection of the
    ``offsets``. The room puts records in and takes them out, in its own methods: this is done for
    every message, and each call would be felt.
    """

    __slots__ = ("count", "flags", "head", "named", "offsets", "payloads", "size", "sizes", "times")

    def __init__(self) -> None:
        self.count = 0
        self.size = 0
        self.head = 0
        self.offsets: list[int] = []
        self.times: list[float] = []
        self.payloads: list[str | bytes | None] = []
        self.flags = bytearray()
        self.sizes: list[int] = []
        self.named: dict[int, tuple[str | None, float | None]] = {}  # key and expiry

    def page(
        self, after: int, before: int | None, limit: int, size: int, *, reverse: bool
    ) -> tuple[Sequence[Record], bool]:
        """Return the records of a page, and whether there are more of that range."""
        limit = min(limit, PAGE_RECORDS)
        size = min(size, PAGE_BYTES)
        start = bisect_right(self.offsets, after, self.head)
        stop = len(self.offsets)
        if before is not None:
            stop = bisect_left(self.offsets, before, start)
        if self._are_lines() and not reverse:
            end = start + self._fitting(start, min(stop, start + limit), size)
            lines = self._lines(start, end)
            if lines is not None:
                return lines, end < stop
        places: list[int] = []
        more = False
        payloads, sizes = self.payloads, self.sizes
        for place in range(stop - 1, start - 1, -1) if reverse else range(start, stop):
            if payloads[place] is None:
                continue
            size -= sizes[place]
            if len(places) >= limit or (size < 0 and places):
                more = True
                break
            places.append(place)
        return [self._record(place) for place in places], more

    def _fitting(self, start: int, stop: int, size: int) -> int:
        """Return how many lines from ``start`` on have a place in a page: at least one, if any."""
        sizes = self.sizes[start:stop]
        if sum(sizes) > size:
            for count, each in enumerate(sizes):
                size -= each
                if size < 0 and count:
                    return count
        return len(sizes)

    def _lines(self, start: int, stop: int) -> Lines | None:
        """Return the lines in these places, if they are of one kind."""
        payloads, flags = self.payloads[start:stop], self.flags[start:stop]
        if not payloads or flags[0] & ~ENCODED or flags.count(flags[0]) < len(flags):
            return None
        encoded = flags[0] == ENCODED
        return Lines(
            self.offsets[start:stop],
            self.times[start:stop],
            cast("list[str | bytes]", payloads),
            encoded=encoded,
        )

    def _record(self, place: int) -> Record:
        payload = self.payloads[place]
        assert payload is not None
        offset, flags = self.offsets[place], self.flags[place]
        key, expires = self.named.get(offset, (None, None))
        encoded, removed = flags & ENCODED != 0, flags & REMOVED != 0
        return Record(offset, self.times[place], payload, encoded, key, removed, expires)

    def _place(self, offset: int) -> int | None:
        """Return where the record is; None if it is no longer kept."""
        place = bisect_left(self.offsets, offset, self.head)
        if (
            place < len(self.offsets)
            and self.offsets[place] == offset
            and self.payloads[place] is not None
        ):
            return place
        return None

    def _are_lines(self) -> bool:
        """Whether there are no holes, and no record has a key or an expiry."""
        return not self.named and len(self.payloads) - self.head == self.count

    def _skip_holes(self, head: int) -> None:
        """Move the head on to a record, and be dense again where there are more holes than those."""
        payloads = self.payloads
        length = len(payloads)
        while head < length and payloads[head] is None:
            head += 1
        self.head = head
        count = self.count
        if length > 2 * count + _SPARSE:
            if length - head == count:
                del payloads[:head], self.offsets[:head], self.times[:head]
                del self.flags[:head], self.sizes[:head]
            else:
                kept = [place for place, payload in enumerate(payloads) if payload is not None]
                self.offsets = [self.offsets[place] for place in kept]
                self.times = [self.times[place] for place in kept]
                self.flags = bytearray([self.flags[place] for place in kept])
                self.sizes = [self.sizes[place] for place in kept]
                payloads[:] = [payloads[place] for place in kept]
            self.head = 0
