"""The idempotency keys in a SQLite file: for :mod:`supervisor.history.writing`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from itertools import chain
from typing import Any

from supervisor.history.base import IDEMPOTENCY_PERIOD
from supervisor.history.tables import REPEAT_COLUMNS, chunks, insert, micros

__all__ = ["Repeats"]

_PERIOD = micros(IDEMPOTENCY_PERIOD)

_UPDATE_REPEAT = (
    " ON CONFLICT (room, key) DO UPDATE SET time = excluded.time, offset = excluded.offset"
)


class Repeats:
    """Which keys were used of late: those that a group of appends asks for, and those that it brings."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[tuple[int, str], tuple[int, int]] = {}
        self._new: list[tuple[Any, ...]] = []
        self._forgotten = 0

    def load(self, pairs: Iterable[tuple[int, str]]) -> None:
        """Begin a group, with what the file knows of these rooms' keys."""
        self._known.clear()
        for marks, some in chunks(list(pairs), "(?, ?)"):
            query = (
                f"SELECT {REPEAT_COLUMNS} FROM history_repeats"  # noqa: S608 - constants
                f" WHERE (room, key) IN (VALUES {marks})"
            )
            values = tuple(chain.from_iterable(some))
            for room, key, when, offset in self._connection.execute(query, values):
                self._known[room, key] = (when, offset)

    def find(self, room: int, key: str, now: int) -> int | None:
        """Return the offset that was appended with this key; None if there is none."""
        first = self._known.get((room, key))
        return first[1] if first is not None and first[0] + _PERIOD > now else None

    def note(self, room: int, key: str, now: int, offset: int) -> None:
        """Remember what was appended with this key."""
        self._known[room, key] = (now, offset)
        self._new.append((room, key, now, offset))

    def write(self, now: int) -> None:
        """Write what was noted, and drop what is too old."""
        if self._new:
            insert(self._connection, "history_repeats", self._new, _UPDATE_REPEAT)
            self._new.clear()
        if self._forgotten + _PERIOD // 100 <= now:
            self._forgotten = now
            self._connection.execute(
                "DELETE FROM history_repeats WHERE time <= ?", (now - _PERIOD,)
            )

    def forget(self) -> None:
        """Forget what was noted, because the group was undone."""
        self._new.clear()
