"""
The history that is kept in the memory of the process, and is gone with it.

The default store of a supervisor, and what others fall back to. Nothing waits: an append is done
when it returns, without suspension. What the bounds of a room cost is dropped at its next append
or read, and a few other rooms are looked after on the way, so that forgotten ones go, too. How the
records of a room lie is said in :mod:`supervisor.history.ring`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from actors.positions import NOWHERE, Position
from supervisor.errors import LogEnded, OffsetConflict
from supervisor.history.base import (
    PAGE_BYTES,
    PAGE_RECORDS,
    Durability,
    Entry,
    Page,
    Repeated,
    Retention,
    RoomState,
)
from supervisor.history.room import Room

__all__ = ["MemoryHistory"]

SWEEP_EVERY = 16
"""Appends between two looks at rooms that nobody may be using; a power of two."""

SWEEP_ROOMS = 32
"""Rooms that are looked at each time: twice as many as appends can make in between."""

_new = tuple.__new__  # a named tuple's own constructor costs twice as much


class MemoryHistory:
    """
    See :class:`supervisor.history.base.History`; both kinds of durability mean the same here.

    Args:
        clock: Returns Unix time in seconds.

    What was kept stays when it is closed. It never raises ``StoreUnavailable``.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rooms: dict[str, Room] = {}
        self._round: deque[Room] = deque()
        self._appends = 0

    @property
    def healthy(self) -> bool:
        """True."""
        return True

    async def open(self) -> None:
        """Do nothing."""

    async def aclose(self) -> None:
        """Do nothing."""

    def append(
        self,
        room: str,
        entry: Entry,
        retention: Retention,
        *,
        durability: Durability = "written",
        idempotency_key: str | None = None,
        expect_offset: int | None = None,
        then: Callable[[Position | Exception], None],
    ) -> Position:
        """Append; done when it returns. See :class:`supervisor.history.base.History`."""
        self._lock.acquire()  # half of what `with` costs
        try:
            now = self._clock()
            self._appends += 1
            if not self._appends & (SWEEP_EVERY - 1):
                self._sweep(now)
            kept = self._rooms.get(room)
            if kept is None or kept.touched + kept.retention.meta_age <= now:
                if kept is not None:
                    self._forget(kept)
                if expect_offset:
                    raise OffsetConflict(room, expect_offset, NOWHERE)
                kept = self._make(room, retention, now)
            if idempotency_key is not None:
                first = kept.repeats(idempotency_key, now)
                if first is not None:
                    return Repeated(kept.epoch, first)
            if kept.ended:
                raise LogEnded(f"room {room!r} has ended")
            if expect_offset is not None and expect_offset != kept.top:
                raise OffsetConflict(room, expect_offset, Position(kept.epoch, kept.top))
            offset = kept.append(entry, retention, now)
            if idempotency_key is not None:
                kept.remember(idempotency_key, now, offset)
            return _new(Position, (kept.epoch, offset))
        finally:
            self._lock.release()

    async def read(
        self,
        room: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = PAGE_RECORDS,
        size: int = PAGE_BYTES,
        reverse: bool = False,
    ) -> Page:
        """Return a page; never suspends. See :class:`supervisor.history.base.History`."""
        with self._lock:
            found = self._find(room, self._clock())
            if found is None:
                return Page()
            records, more = found.page(after, before, limit, size, reverse=reverse)
            return Page(records, found.state(), more)

    async def state(self, room: str) -> RoomState:
        """Return where the room stands; never suspends."""
        with self._lock:
            found = self._find(room, self._clock())
            return RoomState(NOWHERE) if found is None else found.state()

    async def end(self, room: str) -> Position:
        """Say that nothing more will be appended; never suspends."""
        with self._lock:
            now = self._clock()
            found = self._find(room, now) or self._make(room, Retention(), now)
            found.ended = True
            return Position(found.epoch, found.top)

    async def remove(self, room: str) -> bool:
        """Forget the room and all its records; never suspends."""
        with self._lock:
            if self._find(room, self._clock()) is None:
                return False
            self._forget(self._rooms[room])
            return True

    def _find(self, name: str, now: float) -> Room | None:
        room = self._rooms.get(name)
        if room is None:
            return None
        if room.touched + room.retention.meta_age <= now:
            self._forget(room)
            return None
        if now >= room.due:
            room.trim(now)
        return room

    def _make(self, name: str, retention: Retention, now: float) -> Room:
        room = self._rooms[name] = Room(name, retention, now)
        self._round.append(room)
        return room

    def _forget(self, room: Room) -> None:
        del self._rooms[room.name]
        room.forgotten = True  # and leaves the round when its turn comes

    def _sweep(self, now: float) -> None:
        """Trim or forget the next rooms of the round."""
        for _ in range(min(SWEEP_ROOMS, len(self._round))):
            room = self._round.popleft()
            if room.forgotten or self._find(room.name, now) is None:
                continue
            self._round.append(room)
