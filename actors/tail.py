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

_SHARE = 16
"""The part of its messages or bytes that a full tail of a log loses at once."""


class Tail(Protocol):
    """
    Messages after an offset, up to the newest.

    Attributes:
        start: It has everything that came after this offset.
        expires: Unix time in seconds from which on something in it may have expired, at the earliest.
    """

    start: int
    expires: float

    def extend(self, publications: list[Publication]) -> None:
        """Add the newest messages, in order; the oldest go when there are too many."""
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

    def extend(self, publications: list[Publication]) -> None:
        """Add the newest messages; see :class:`Tail`."""
        items = self._items
        items += publications
        self._size += sum([publication.size for publication in publications])
        if len(items) > TAIL_MESSAGES or self._size > TAIL_BYTES:
            self._trim()

    def _trim(self) -> None:
        """
        Drop the oldest, several at a time: each time a list moves all the others.

        Not too many, either: the garbage collector comes where more is made than let go of, and
        does not take into account what many at once were let go of before.
        """
        items = self._items
        messages, size = TAIL_MESSAGES, TAIL_BYTES
        if len(items) > messages:
            messages -= messages // _SHARE
        if self._size > size:
            size -= size // _SHARE
        dropped = 0
        last = len(items) - 1
        while dropped < last and (len(items) - dropped > messages or self._size > size):
            self._size -= items[dropped].size
            dropped += 1
        if dropped:
            self.start = items[dropped - 1].position.offset
            del items[:dropped]

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

    def extend(self, publications: list[Publication]) -> None:
        """Add the newest messages, and drop the older ones of their keys; see :class:`Tail`."""
        for publication in publications:
            self._append(publication)

    def _append(self, publication: Publication) -> None:
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
