"""
The newest messages of a room, as its members get them: a pure machine.

It is what members take from who are only a little behind, so that nobody asks the store for
what has just been sent, and nothing is encoded twice for them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Protocol

from actors.publications import Publication

__all__ = ["CompactTail", "LogTail", "Tail"]

TAIL_MESSAGES = 1024
"""Messages that a tail holds at most."""

TAIL_BYTES = 1 << 20
"""Bytes that a tail holds at most, but always one message."""


class Tail(Protocol):
    """
    Messages after an offset, up to the newest.

    Attributes:
        start: It has everything that came after this offset.
        expires: Unix time in seconds from which on something in it may have expired, at the earliest.
    """

    start: int
    expires: float

    def append(self, publication: Publication) -> None:
        """Add the newest message; the oldest go when there are too many."""
        ...

    def after(self, offset: int, *, limit: int, size: int) -> list[Publication]:
        """
        Return what came after ``offset``, which is at least ``start``; oldest first.

        At most ``limit`` messages of ``size`` bytes, but at least one, if there is any.
        """
        ...


class LogTail:
    """Every message, in order."""

    __slots__ = ("_items", "_size", "start")

    expires = math.inf  # messages of a log do not

    def __init__(self, start: int) -> None:
        self.start = start
        self._items: list[Publication] = []
        self._size = 0

    def append(self, publication: Publication) -> None:
        """Add the newest message; see :class:`Tail`."""
        items = self._items
        items.append(publication)
        self._size += publication.size
        if len(items) >= 2 * TAIL_MESSAGES or self._size > 2 * TAIL_BYTES:
            self._trim()

    def _trim(self) -> None:
        """Drop the older half: one by one, a list would move all the others each time."""
        items = self._items
        kept = size = 0
        while kept < min(TAIL_MESSAGES, len(items)):
            size += items[-1 - kept].size
            if size > TAIL_BYTES and kept:
                break
            kept += 1
        del items[: len(items) - kept]
        self._size = sum(item.size for item in items)
        self.start = items[0].position.offset - 1

    def after(self, offset: int, *, limit: int, size: int) -> list[Publication]:
        """Return what came after ``offset``; see :class:`Tail`."""
        first = offset - self.start
        return up_to(self._items[first : first + limit], size)


class CompactTail:
    """The newest message of every key, in the order of those."""

    __slots__ = ("_items", "_size", "expires", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.expires = math.inf
        self._items: dict[Hashable, Publication] = {}
        self._size = 0

    def append(self, publication: Publication) -> None:
        """Add the newest message, and drop the older one of its key; see :class:`Tail`."""
        items = self._items
        key = publication.key if publication.key is not None else publication.position
        older = items.pop(key, None)
        if older is not None:
            self._size -= older.size
        items[key] = publication
        if publication.expires is not None:
            self.expires = min(self.expires, publication.expires)
        self._size += publication.size
        while (len(items) > TAIL_MESSAGES or self._size > TAIL_BYTES) and len(items) > 1:
            oldest = items.pop(next(iter(items)))
            self._size -= oldest.size
            self.start = oldest.position.offset

    def after(self, offset: int, *, limit: int, size: int) -> list[Publication]:
        """Return what came after ``offset``; see :class:`Tail`."""
        found = []
        for publication in reversed(self._items.values()):
            if publication.position.offset <= offset:
                break
            found.append(publication)
        found.reverse()
        return up_to(found[:limit], size)


def up_to(publications: list[Publication], size: int) -> list[Publication]:
    """Return the first of ``publications``: ``size`` bytes of them, but at least one."""
    total = 0
    for count, publication in enumerate(publications):
        total += publication.size
        if total > size and count:
            return publications[:count]
    return publications
