"""
How rooms and their records lie in a SQLite file: for :mod:`supervisor.history.sqlite`.

Written by :mod:`supervisor.history.writing`, read by :mod:`supervisor.history.reading`; what both
must know of a room is here. Knows nothing of threads and transactions.

Times are whole microseconds. A room has a time ``due`` at which something of it may go, at the
earliest: before, neither readers nor writers look for what is too old.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from supervisor.history.base import Retention

__all__ = [
    "BYTES",
    "ENCODED",
    "KEY_SIZE",
    "NEVER",
    "REMOVED",
    "REPEAT_COLUMNS",
    "ROOM_COLUMNS",
    "SCHEMA",
    "TOMBSTONE",
    "Bounds",
    "Going",
    "RoomRow",
    "chunks",
    "find_going",
    "insert",
    "micros",
]

NEVER = 2**63 - 1
"""A time after all others."""

_EVER = float(2**62)  # so that two of them can be added

ENCODED, REMOVED, BYTES, TOMBSTONE = 1, 2, 4, 8
"""
Bits of the column ``flags``. A tombstone is a record that says that a key of a compacted room has no
value; its column ``expires`` says since when.
"""

KEY_SIZE = "length(CAST(key AS BLOB))"
"""Bytes that a tombstone counts for."""

ROOM_COLUMNS = (
    "id, name, epoch, top, lost, ended, records, tombstones, size, touched, due, unsure,"
    " most, largest, age, compact, tombstone_age, meta_age"
)

REPEAT_COLUMNS = "room, key, time, offset"

SCHEMA = (
    # tombstones: how many of the records. unsure: whether appends may have been told that are not
    # committed.
    """
    CREATE TABLE history_rooms (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, epoch TEXT NOT NULL,
        top INTEGER NOT NULL, lost INTEGER NOT NULL, ended INTEGER NOT NULL,
        records INTEGER NOT NULL, tombstones INTEGER NOT NULL, size INTEGER NOT NULL,
        touched INTEGER NOT NULL, due INTEGER NOT NULL, unsure INTEGER NOT NULL,
        most INTEGER, largest INTEGER, age INTEGER, compact INTEGER NOT NULL,
        tombstone_age INTEGER NOT NULL, meta_age INTEGER NOT NULL
    )
    """,
    "CREATE INDEX history_due ON history_rooms (due)",
    """
    CREATE TABLE history_records (
        room INTEGER NOT NULL, offset INTEGER NOT NULL, time INTEGER NOT NULL,
        size INTEGER NOT NULL, flags INTEGER NOT NULL, expires INTEGER, key TEXT,
        payload NOT NULL, PRIMARY KEY (room, offset)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX history_keys ON history_records (room, key) WHERE key IS NOT NULL",
    """
    CREATE INDEX history_expiries ON history_records (room, expires)
    WHERE expires IS NOT NULL AND NOT flags & 8
    """,
    "CREATE INDEX history_tombstones ON history_records (room, expires) WHERE flags & 8",
    "CREATE INDEX history_oldest_tombstones ON history_records (room, offset) WHERE flags & 8",
    """
    CREATE TABLE history_repeats (
        room INTEGER NOT NULL, key TEXT NOT NULL, time INTEGER NOT NULL, offset INTEGER NOT NULL,
        PRIMARY KEY (room, key)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX history_repeats_time ON history_repeats (time)",
)

_MOST_ROWS = 128
"""Rows of one statement; a power of two, so that any number needs few statements."""

T = TypeVar("T")


class Bounds(NamedTuple):
    """What a room keeps, as the last columns of its row have it: see :class:`Retention`."""

    most: int | None
    largest: int | None
    age: int | None
    compact: int
    tombstone_age: int
    meta_age: int

    @classmethod
    def of(cls, retention: Retention) -> Bounds:
        """Return the columns."""
        return cls(
            retention.records,
            retention.size,
            None if retention.age is None else micros(retention.age),
            int(retention.compact),
            micros(retention.tombstone_age),
            micros(retention.meta_age),
        )


_state_of = attrgetter(*ROOM_COLUMNS.split(", ")[: -len(Bounds._fields)])


@dataclass(slots=True)
class RoomRow:
    """
    A row of the rooms, and what is known of it while it is cached.

    Attributes:
        bounds: What is kept.
        retention: The object that was given last.
        unsure_since: The group that set ``unsure``; 0: the file says so already.
        replaced: By key, places among the rows of this group.
        grown: Whether there were appends since its bounds were kept.
        oldest: An offset before which there are tombstones at most.
    """

    id: int
    name: str
    epoch: str
    top: int
    lost: int
    ended: int
    records: int
    tombstones: int
    size: int
    touched: int
    due: int
    unsure: int
    bounds: Bounds
    retention: Retention | None = None
    unsure_since: int = 0
    replaced: dict[str, int] = field(default_factory=dict)
    grown: bool = False
    oldest: int = 0

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> RoomRow:
        """Return the room whose row that is."""
        bounds = Bounds(*row[-len(Bounds._fields) :])
        values: list[Any] = [*row[: -len(Bounds._fields)], bounds]
        return cls(*values)

    def row(self) -> tuple[Any, ...]:
        """Return what it is made from."""
        return (*_state_of(self), *self.bounds)


class Going(NamedTuple):
    """
    What a room does not keep any more, but the file still has.

    Attributes:
        first: Records before this offset are too old.
        records: Records that go, of any age.
        tombstones: Tombstones that go, less those that values become.
        size: Their bytes, and those of the values that tombstones come in the place of.
        lost: See :class:`supervisor.history.base.RoomState`, once they have gone.
    """

    first: int
    records: int
    tombstones: int
    size: int
    lost: int


_STAYS = "(key IS NOT NULL AND max(time, expires) > :since)"  # an expired value, as a tombstone

# Which records, whether one goes, and one tombstone less, its bytes that go, and whether it is lost.
# Expired ones are not lost when they are too old, too; tombstones are, however they go. (`+offset`:
# by the other index.)
_GOING = (
    ("offset < :first", "1", "0", "size", "expires IS NULL OR expires > :now"),
    ("+offset >= :first AND NOT flags & 8 AND expires <= :now", "1", "0", "size", "0"),
)
_GOING_COMPACTED = (
    (
        "offset < :first",
        "1",
        "(flags & 8) / 8",
        "size",
        "key IS NOT NULL OR expires IS NULL OR expires > :now",
    ),
    (
        "+offset >= :first AND NOT flags & 8 AND expires <= :now",
        f"NOT {_STAYS}",
        f"-{_STAYS}",
        f"CASE WHEN {_STAYS} THEN size - {KEY_SIZE} ELSE size END",
        f"key IS NOT NULL AND NOT {_STAYS}",
    ),
    ("+offset >= :first AND flags & 8 AND expires <= :since", "1", "1", "size", "1"),
)


def find_going(connection: sqlite3.Connection, room: RoomRow, now: int) -> Going:
    """Return what a room does not keep any more at ``now``."""
    first = 0
    lost = room.lost
    records = tombstones = size = 0
    if room.bounds.age is not None:
        row = connection.execute(
            "SELECT offset FROM history_records WHERE room = ? AND time > ?"
            " ORDER BY offset LIMIT 1",
            (room.id, now - room.bounds.age),
        ).fetchone()
        first = row[0] if row else room.top + 1
    values = {"room": room.id, "first": first, "now": now, "since": now - room.bounds.tombstone_age}
    for which, goes, buried, shrinks, loses in _GOING_COMPACTED if room.bounds.compact else _GOING:
        more, of_them, bytes_, newest = connection.execute(
            f"SELECT coalesce(sum({goes}), 0), coalesce(sum({buried}), 0),"  # noqa: S608 - constants
            f" coalesce(sum({shrinks}), 0), max(CASE WHEN {loses} THEN offset ELSE 0 END)"
            f" FROM history_records WHERE room = :room AND {which}",
            values,
        ).fetchone()
        records += more
        tombstones += of_them
        size += bytes_
        lost = max(lost, newest or 0)
    return Going(first, records, tombstones, size, lost)


def micros(seconds: float) -> int:
    """Return whole microseconds; at most 100,000 years of them."""
    return round(max(-_EVER, min(seconds * 1e6, _EVER)))


def insert(
    connection: sqlite3.Connection, table: str, rows: list[tuple[Any, ...]], clash: str = ""
) -> None:
    """Insert rows in few statements: in each of them, a power of two."""
    start = 0
    count = _MOST_ROWS
    while start < len(rows):
        while count > len(rows) - start:
            count //= 2
        values = tuple(chain.from_iterable(rows[start : start + count]))
        connection.execute(_insertion(table, count, len(rows[0]), clash), values)
        start += count


def chunks(values: Sequence[T], mark: str = "?") -> Iterator[tuple[str, Sequence[T]]]:
    """
    Yield values that are looked for, a statement at a time, with the marks for them.

    The last ones are repeated up to a power of two, so that there are few different statements.
    They are not passed as JSON, because what SQLite makes of that ends at U+0000.
    """
    for start in range(0, len(values), _MOST_ROWS):
        some = list(values[start : start + _MOST_ROWS])
        some += some[-1:] * ((1 << (len(some) - 1).bit_length()) - len(some))
        yield ", ".join([mark] * len(some)), some


@cache
def _insertion(table: str, rows: int, columns: int, clash: str) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"INSERT INTO {table} VALUES {', '.join([row] * rows)}{clash}"  # noqa: S608 - constants
