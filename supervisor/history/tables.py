"""
How rooms and their records lie in a SQLite file: for :mod:`supervisor.history.sqlite`.

:class:`RoomWriter` gives offsets and keeps bounds, a group of appends at a time, in few statements
of many rows; :func:`read_page` reads. Each step of a statement hands the lock that Python's threads
share to another thread and back, so records are read as one row of JSON, made by SQLite. Knows
nothing of threads and transactions.

Times are whole microseconds. A room has a time ``due`` at which something of it may go, at the
earliest: before, neither readers nor writers look for what is too old.
"""

from __future__ import annotations

import json
import math
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain, islice
from typing import Any, NamedTuple, TypeVar

from actors.positions import NOWHERE, Position
from supervisor.errors import AppendRefused, LogEnded, OffsetConflict
from supervisor.history.base import (
    IDEMPOTENCY_PERIOD,
    Appended,
    Durability,
    Entry,
    Page,
    Record,
    Retention,
    RoomState,
)
from supervisor.sqlite import Job

__all__ = [
    "SCHEMA",
    "Append",
    "Asked",
    "End",
    "Remove",
    "RoomWriter",
    "Work",
    "micros",
    "read_page",
]

ROOMS = 10_000
"""Rooms whose state is cached."""

SWEEP_EVERY = 256
"""Works, and a second, after which rooms are looked after that nobody may be using."""

SWEEP_ROOMS = 50
"""Such rooms at a time, and two more for each work: rooms go faster than they can come."""

SWEEP_RECORDS = 10_000
"""Records that are dropped in them at a time, unless one room has more."""

_NEVER = 2**63 - 1
_EVER = float(2**62)  # so that two of them can be added
_ENCODED, _REMOVED, _BYTES, _TOMBSTONE = 1, 2, 4, 8  # in the column `flags`

_ROOM_COLUMNS = (
    "id, name, epoch, top, lost, ended, records, size, touched, due, unsure,"
    " most, largest, age, compact, tombstone_age, meta_age"
)

_REPEAT_COLUMNS = "room, key, time, offset"

SCHEMA = (
    # unsure: whether appends may have been told that are not committed.
    """
    CREATE TABLE history_rooms (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, epoch TEXT NOT NULL,
        top INTEGER NOT NULL, lost INTEGER NOT NULL, ended INTEGER NOT NULL,
        records INTEGER NOT NULL, size INTEGER NOT NULL,
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
    "CREATE INDEX history_expiries ON history_records (room, expires) WHERE expires IS NOT NULL",
    "CREATE INDEX history_tombstones ON history_records (room, time) WHERE flags & 8",
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

_new = tuple.__new__  # a named tuple's own constructor costs twice as much


class Work(Job):
    """A change of a room."""

    __slots__ = ("room", "room_id")

    def __init__(self, room: str, size: int = 0) -> None:
        super().__init__(size)
        if not room.isascii():
            room.encode()  # what SQLite refuses would cost the whole group
        self.room = room
        self.room_id = 0  # set when it is applied


class Append(Work):
    """See :meth:`supervisor.history.base.History.append`."""

    __slots__ = ("durability", "entry", "expect_offset", "idempotency_key", "retention")

    def __init__(
        self,
        room: str,
        entry: Entry,
        retention: Retention,
        *,
        durability: Durability,
        idempotency_key: str | None,
        expect_offset: int | None,
    ) -> None:
        super().__init__(room, entry.size)
        if idempotency_key is not None and not idempotency_key.isascii():
            idempotency_key.encode()
        if entry.expires is not None and math.isnan(entry.expires):
            raise ValueError("expires is not a number")
        self.entry = entry
        self.retention = retention
        self.durability = durability
        self.idempotency_key = idempotency_key
        self.expect_offset = expect_offset


class End(Work):
    """See :meth:`supervisor.history.base.History.end`."""

    __slots__ = ()


class Remove(Work):
    """See :meth:`supervisor.history.base.History.remove`."""

    __slots__ = ()


class Asked(NamedTuple):
    """What a reader asks for: see :meth:`supervisor.history.base.History.read`."""

    after: int
    before: int | None
    limit: int
    size: int
    reverse: bool


class RoomWriter:
    """
    What has changed rooms since the file was opened, and their state.

    Args:
        renamed: Epochs that the file does not know yet, by the number of the room.
    """

    def __init__(self, connection: sqlite3.Connection, renamed: dict[int, str]) -> None:
        self._connection = connection
        self._renamed = renamed
        self._rooms: dict[str, _Room] = {}
        self._changed: dict[int, _Room] = {}
        self._rows: list[tuple[Any, ...] | None] = []  # None: replaced by a later one's key
        self._repeats: dict[tuple[int, str], tuple[int, int]] = {}
        self._new_repeats: list[tuple[Any, ...]] = []
        self._group = 0
        self._repeats_forgotten = 0
        self._swept = 0
        self._unswept = 0
        query = "SELECT coalesce(max(id), 0) FROM history_rooms"
        (self._last_id,) = connection.execute(query).fetchone()

    def forget(self) -> None:
        """Forget what was cached, because a group was undone."""
        self._rooms.clear()
        self._changed.clear()
        self._rows.clear()
        self._new_repeats.clear()

    def apply(self, works: Sequence[Work], now: int) -> None:
        """Do a group of works, and set their outcomes."""
        self._group += 1
        self._load({work.room for work in works})
        self._load_repeats(works)
        unsettled: set[int] = set()  # rooms with appends that are told after the commit only
        for work in works:
            room = self._rooms.get(work.room)
            if room is not None and room.touched + room.meta_age <= now:
                self._forget_room(room)
                room = None
            if isinstance(work, Append):
                self._append(work, room, now, unsettled)
            elif isinstance(work, End):
                if room is None:
                    room = self._make(work.room, Retention(), now)
                room.ended = 1
                room.unsure = 0  # committed with all before it
                self._changed[room.id] = room
                work.outcome = Position(room.epoch, room.top)
            else:
                if room is not None:
                    self._forget_room(room)
                work.outcome = room is not None
        for room in self._write_rows():
            self._trim(room, now)
        self._unswept += len(works)
        if self._unswept >= SWEEP_EVERY or self._swept + micros(1.0) <= now:
            self._sweep(now, 2 * self._unswept + SWEEP_ROOMS)
            self._swept = now
            self._unswept = 0
        self._write_rooms()
        self._write_repeats(now)

    def _append(self, work: Append, room: _Room | None, now: int, unsettled: set[int]) -> None:
        refusal = self._refuse(work, room, now)
        if refusal is not None:
            work.outcome = refusal
            return
        entry = work.entry
        if room is None:
            room = self._make(work.room, work.retention, now)
        elif room.retention is not work.retention:
            self._change(room, work.retention)
        if now > room.touched:  # otherwise the clock was put back
            room.touched = now
        number = work.room_id = room.id
        offset = room.top = room.top + 1
        work.outcome = _new(Appended, (_new(Position, (room.epoch, offset)), False))
        self._add(room, entry, work.size)
        if work.idempotency_key is not None:
            self._repeats[number, work.idempotency_key] = (now, offset)
            self._new_repeats.append((number, work.idempotency_key, now, offset))
        if work.durability == "memory":
            if not room.unsure:
                room.unsure = 1
                room.unsure_since = self._group
            # Only once the file says so; and never before an earlier one of the room is told.
            work.early = room.unsure_since < self._group and number not in unsettled
        if not work.early:
            unsettled.add(number)

    def _refuse(
        self, work: Append, room: _Room | None, now: int
    ) -> Appended | AppendRefused | None:
        """Return why nothing is to be appended; None if it is."""
        expected = work.expect_offset
        if room is None:
            return OffsetConflict(work.room, expected, NOWHERE) if expected else None
        if work.idempotency_key is not None:
            first = self._repeats.get((room.id, work.idempotency_key))
            if first is not None and first[0] + _PERIOD > now:
                return Appended(Position(room.epoch, first[1]), repeated=True)
        if room.ended:
            return LogEnded(f"room {work.room!r} has ended")
        if expected is not None and expected != room.top:
            return OffsetConflict(work.room, expected, Position(room.epoch, room.top))
        return None

    def _add(self, room: _Room, entry: Entry, size: int) -> None:
        """Note the newest record of a room, to be written with the others."""
        payload, encoded, key, removed, expires = entry
        flags = _ENCODED if encoded else 0
        if removed:
            flags |= _REMOVED if key is None else _REMOVED | _TOMBSTONE
        if isinstance(payload, bytes):
            flags |= _BYTES
        moment = room.touched
        if room.compact and key is not None:
            self._replace(room, key)
            if removed:
                room.due = min(room.due, moment + room.tombstone_age)
        until = None
        if expires is not None:
            until = micros(expires)
            room.due = min(room.due, until)
        if room.age is not None and not room.records:
            room.due = min(room.due, moment + room.age)
        room.records += 1
        room.size += size
        self._rows.append((room.id, room.top, moment, size, flags, until, key, payload))
        self._changed[room.id] = room

    # ---------------------------------------------------------------------------------- the rooms

    def _load(self, names: set[str]) -> None:
        """Cache the rooms with these names that exist."""
        rooms = self._rooms
        missing = [name for name in names if name not in rooms]
        if not missing:
            return
        if len(rooms) + len(missing) > ROOMS:
            for name in list(islice(rooms, max(len(missing), ROOMS // 2))):
                if name not in names:
                    del rooms[name]
        for marks, some in _chunks(missing):
            query = f"SELECT {_ROOM_COLUMNS} FROM history_rooms WHERE name IN ({marks})"  # noqa: S608 - constants
            for row in self._connection.execute(query, some):
                room = _Room(row)
                room.epoch = self._renamed.get(room.id, room.epoch)
                rooms[room.name] = room

    def _make(self, name: str, retention: Retention, now: int) -> _Room:
        self._last_id += 1
        fixed = (self._last_id, name, secrets.token_hex(8), 0, 0, 0, 0, 0, now, _NEVER, 0)
        room = self._rooms[name] = _Room((*fixed, *_bounds(retention)))
        room.retention = retention
        room.due = now + room.meta_age
        self._changed[room.id] = room
        return room

    def _change(self, room: _Room, retention: Retention) -> None:
        """Keep a room in another way."""
        was_compact = room.compact
        bounds = _bounds(retention)
        if bounds != room.bounds():
            room.set_bounds(bounds)
            room.due = 0  # to be found out
            if room.compact and not was_compact:
                self._write_rows()
                self._compact(room)
        room.retention = retention

    def _compact(self, room: _Room) -> None:
        """Drop all but the newest record of each key, and count what is left."""
        self._connection.execute(
            "DELETE FROM history_records WHERE room = ?1 AND key IS NOT NULL AND offset NOT IN"
            " (SELECT max(offset) FROM history_records WHERE room = ?1 AND key IS NOT NULL"
            " GROUP BY key)",
            (room.id,),
        )
        room.records, room.size = self._count("room = ?", room.id)

    def _forget_room(self, room: _Room) -> None:
        self._write_rows()
        for table, column in (
            ("history_records", "room"),
            ("history_repeats", "room"),
            ("history_rooms", "id"),
        ):
            self._connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (room.id,))  # noqa: S608 - constants
        self._rooms.pop(room.name, None)
        self._changed.pop(room.id, None)
        self._renamed.pop(room.id, None)

    def _write_rooms(self) -> None:
        if self._changed:
            rows = [room.row() for room in self._changed.values()]
            _insert(self._connection, "history_rooms", rows, _UPDATE_ROOM)
            self._changed.clear()

    # -------------------------------------------------------------------------------- the records

    def _replace(self, room: _Room, key: str) -> None:
        """Drop the record of this group that has the key; those on disk go all at once."""
        place = room.replaced.get(key)
        if place is not None:
            row = self._rows[place]
            assert row is not None
            room.records -= 1
            room.size -= row[3]
            self._rows[place] = None
        room.replaced[key] = len(self._rows)

    def _write_rows(self) -> list[_Room]:
        """Write the records of this group, in place of those with the same keys; return the rooms."""
        changed = list(self._changed.values())
        if not self._rows:
            return changed
        for room in changed:
            if room.replaced:
                for marks, keys in _chunks(list(room.replaced)):
                    self._drop(room, f"room = ? AND key IN ({marks})", room.id, *keys)
                room.replaced.clear()
        _insert(self._connection, "history_records", sorted(row for row in self._rows if row))
        self._rows.clear()
        return changed

    def _drop(self, room: _Room, which: str, *values: object) -> None:
        """Drop records that do not count as lost."""
        records, size = self._count(which, *values)
        if records:
            self._connection.execute(f"DELETE FROM history_records WHERE {which}", values)  # noqa: S608 - constants
            room.records -= records
            room.size -= size

    def _count(self, which: str, *values: object) -> tuple[int, int]:
        query = f"SELECT count(*), coalesce(sum(size), 0) FROM history_records WHERE {which}"  # noqa: S608 - constants
        records, size = self._connection.execute(query, values).fetchone()
        return records, size

    def _trim(self, room: _Room, now: int) -> None:
        """Drop what the room does not keep at ``now``."""
        if room.due <= now:
            going = _going(self._connection, room, now)
            if going.records:
                for which, value in (
                    ("offset < ?", going.first),
                    ("expires <= ?", now),
                    *(
                        [("flags & 8 AND time <= ?", now - room.tombstone_age)]
                        if room.compact
                        else []
                    ),
                ):
                    self._connection.execute(
                        f"DELETE FROM history_records WHERE room = ? AND {which}",  # noqa: S608 - constants
                        (room.id, value),
                    )
            room.records -= going.records
            room.size -= going.size
            room.lost = going.lost
            room.due = self._due(room)
            self._changed[room.id] = room
        if room.most is not None and room.records > room.most:
            self._lose(room, room.records - room.most, 0)
        if room.largest is not None and room.size > room.largest and room.records > 1:
            self._lose(room, 0, room.size - room.largest)

    def _lose(self, room: _Room, records: int, size: int) -> None:
        """Drop the oldest, so many or of so many bytes; the newest stays for the sake of bytes."""
        (found,) = self._connection.execute(
            "SELECT json_group_array(json_array(offset, size)) FROM"
            " (SELECT offset, size FROM history_records WHERE room = ? ORDER BY offset LIMIT ?)",
            (room.id, records or 256),
        ).fetchone()
        oldest: list[tuple[int, int]] = json.loads(found)
        last = 0
        for offset, of_one in oldest:
            if size and room.records == 1:
                break
            last = offset
            room.records -= 1
            room.size -= of_one
            if size:
                size -= of_one
                if size <= 0:
                    break
        room.lost = max(room.lost, last)
        self._connection.execute(
            "DELETE FROM history_records WHERE room = ? AND offset <= ?", (room.id, last)
        )
        if size > 0 and room.records > 1:
            self._lose(room, 0, size)

    def _due(self, room: _Room) -> int:
        """Return when something of the room goes by time next."""
        dues = [room.touched + room.meta_age]
        for query, age in (
            ("SELECT time FROM history_records WHERE room = ? ORDER BY offset LIMIT 1", room.age),
            ("SELECT min(expires) FROM history_records WHERE room = ? AND expires IS NOT NULL", 0),
            (
                "SELECT min(time) FROM history_records WHERE room = ? AND flags & 8",
                room.tombstone_age if room.compact else None,
            ),
        ):
            if age is not None:
                (first,) = self._connection.execute(query, (room.id,)).fetchone() or (None,)
                if first is not None:
                    dues.append(first + age)
        return min(dues)

    def _sweep(self, now: int, rooms: int) -> None:
        """Look after rooms that nobody may be using."""
        left = SWEEP_RECORDS
        names = self._connection.execute(
            "SELECT json_group_array(name) FROM"
            " (SELECT name FROM history_rooms WHERE due <= ? ORDER BY due LIMIT ?)",
            (now, rooms),
        ).fetchone()
        due: list[str] = json.loads(names[0])
        if not due:
            return
        self._load(set(due))
        for name in due:
            room = self._rooms[name]
            left -= room.records
            if room.touched + room.meta_age <= now:
                self._forget_room(room)
            elif room.due <= now:
                self._trim(room, now)
            if left < 0:
                return

    # ------------------------------------------------------------------------ the idempotency keys

    def _load_repeats(self, works: Sequence[Work]) -> None:
        self._repeats.clear()
        pairs = []
        for work in works:
            if isinstance(work, Append) and work.idempotency_key is not None:
                room = self._rooms.get(work.room)
                if room is not None:
                    pairs.append((room.id, work.idempotency_key))
        for marks, some in _chunks(pairs, "(?, ?)"):
            query = (
                f"SELECT {_REPEAT_COLUMNS} FROM history_repeats"  # noqa: S608 - constants
                f" WHERE (room, key) IN (VALUES {marks})"
            )
            values = tuple(chain.from_iterable(some))
            for room_id, key, when, offset in self._connection.execute(query, values):
                self._repeats[room_id, key] = (when, offset)

    def _write_repeats(self, now: int) -> None:
        if self._new_repeats:
            _insert(self._connection, "history_repeats", self._new_repeats, _UPDATE_REPEAT)
            self._new_repeats.clear()
        if self._repeats_forgotten + _PERIOD // 100 <= now:
            self._repeats_forgotten = now
            self._connection.execute(
                "DELETE FROM history_repeats WHERE time <= ?", (now - _PERIOD,)
            )


class _Room:
    """A row of the rooms."""

    __slots__ = (
        "age",
        "compact",
        "due",
        "ended",
        "epoch",
        "id",
        "largest",
        "lost",
        "meta_age",
        "most",
        "name",
        "records",
        "replaced",
        "retention",
        "size",
        "tombstone_age",
        "top",
        "touched",
        "unsure",
        "unsure_since",
    )

    id: int
    name: str
    epoch: str
    top: int
    lost: int
    ended: int
    records: int
    size: int
    touched: int
    due: int
    unsure: int
    most: int | None
    largest: int | None
    age: int | None
    compact: int
    tombstone_age: int
    meta_age: int

    def __init__(self, row: tuple[Any, ...]) -> None:
        (
            self.id,
            self.name,
            self.epoch,
            self.top,
            self.lost,
            self.ended,
            self.records,
            self.size,
            self.touched,
            self.due,
            self.unsure,
            *bounds,
        ) = row
        self.set_bounds(tuple(bounds))
        self.retention: Retention | None = None  # the object that was given last
        self.unsure_since = 0  # group that set it; 0: the file says so already
        self.replaced: dict[str, int] = {}  # by key, places among the rows of this group

    def row(self) -> tuple[Any, ...]:
        """Return what it is made from."""
        return (
            self.id,
            self.name,
            self.epoch,
            self.top,
            self.lost,
            self.ended,
            self.records,
            self.size,
            self.touched,
            self.due,
            self.unsure,
            *self.bounds(),
        )

    def bounds(self) -> tuple[Any, ...]:
        """Return what is kept, as :func:`_bounds` does."""
        return (
            self.most,
            self.largest,
            self.age,
            self.compact,
            self.tombstone_age,
            self.meta_age,
        )

    def set_bounds(self, bounds: tuple[Any, ...]) -> None:
        """Take what is kept from :func:`_bounds`."""
        (
            self.most,
            self.largest,
            self.age,
            self.compact,
            self.tombstone_age,
            self.meta_age,
        ) = bounds


class _Going(NamedTuple):
    """
    What a room does not keep any more, but the file still has.

    Attributes:
        first: Records before this offset are too old.
        records: Records that go, of any age.
        size: Their bytes.
        lost: See :class:`supervisor.history.base.RoomState`, once they have gone.
    """

    first: int
    records: int
    size: int
    lost: int


def read_page(
    connection: sqlite3.Connection,
    name: str,
    now: int,
    asked: Asked | None,
    renamed: dict[int, str],
) -> Page:
    """
    Return a page of a room.

    Args:
        connection: Inside a transaction.
        name: Of the room.
        now: The time.
        asked: Which records; None: only where the room stands.
        renamed: Epochs that the file does not know yet.
    """
    row = connection.execute(
        f"SELECT {_ROOM_COLUMNS} FROM history_rooms WHERE name = ?",  # noqa: S608 - a constant
        (name,),
    ).fetchone()
    if row is None:
        return Page()
    room = _Room(row)
    if room.touched + room.meta_age <= now:
        return Page()
    going = _Going(0, 0, 0, room.lost)
    if room.due <= now:
        going = _going(connection, room, now)
    state = RoomState(
        Position(renamed.get(room.id, room.epoch), room.top),
        going.lost,
        bool(room.ended),
        room.records - going.records,
        room.size - going.size,
    )
    if asked is None or not state.records or asked.after >= room.top:
        return Page([], state)
    which = "room = :room AND offset > :after AND offset < :before"
    if going.records:
        which += " AND (expires IS NULL OR expires > :now)"
        if room.compact:
            which += " AND NOT (flags & 8 AND time <= :since)"
    values = {
        "room": room.id,
        "after": max(asked.after, going.first - 1),
        "before": room.top + 1 if asked.before is None else asked.before,
        "now": now,
        "since": now - room.tombstone_age,
    }
    order = "offset DESC" if asked.reverse else "offset"
    # First which ones, without touching what may be large.
    limit = asked.limit + 1
    (found,) = connection.execute(
        f"SELECT json_group_array(json_array(offset, size)) FROM (SELECT offset, size"  # noqa: S608 - constants
        f" FROM history_records WHERE {which} ORDER BY {order} LIMIT {int(limit)})",
        values,
    ).fetchone()
    offsets: list[tuple[int, int]] = json.loads(found)
    count = _fitting(offsets, asked)
    if not count:
        return Page([], state, bool(offsets))
    ends = (offsets[0][0], offsets[count - 1][0])
    values["after"], values["before"] = min(ends) - 1, max(ends) + 1
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(offset, time, flags, expires, key,"  # noqa: S608 - constants
        " CASE WHEN flags & 4 THEN hex(payload) ELSE payload END))"
        f" FROM (SELECT * FROM history_records WHERE {which} ORDER BY {order} LIMIT {count})",
        values,
    ).fetchone()
    records = [
        _new(
            Record,
            (
                offset,
                time / 1e6,
                bytes.fromhex(payload) if flags & _BYTES else payload,
                flags & _ENCODED != 0,
                key,
                flags & _REMOVED != 0,
                None if expires is None else expires / 1e6,
            ),
        )
        for offset, time, flags, expires, key, payload in json.loads(found)
    ]
    return Page(records, state, count < len(offsets))


def _fitting(offsets: list[tuple[int, int]], asked: Asked) -> int:
    """Return how many of the records have a place in the page."""
    left = asked.size
    count = 0
    for _, size in offsets:
        left -= size
        if count >= asked.limit or (left < 0 and count):
            break
        count += 1
    return count


def _going(connection: sqlite3.Connection, room: _Room, now: int) -> _Going:
    """Return what a room does not keep any more at ``now``."""
    first = 0
    lost = room.lost
    records = size = 0
    if room.age is not None:
        row = connection.execute(
            "SELECT offset FROM history_records WHERE room = ? AND time > ?"
            " ORDER BY offset LIMIT 1",
            (room.id, now - room.age),
        ).fetchone()
        first = row[0] if row else room.top + 1
    tombstone = f"{room.compact} AND flags & 8"
    values = {"room": room.id, "first": first, "now": now, "since": now - room.tombstone_age}
    for which, loses in (
        # Expired ones first: they are not lost, but tombstones are, however they go.
        ("offset < :first", f"expires IS NULL OR expires > :now OR {tombstone}"),
        ("offset >= :first AND expires <= :now", tombstone),
        (
            "offset >= :first AND flags & 8 AND time <= :since AND (expires IS NULL OR expires > :now)",
            "1",
        ),
    ):
        if ":since" in which and not room.compact:
            continue
        more, bytes_, newest = connection.execute(
            "SELECT count(*), coalesce(sum(size), 0),"  # noqa: S608 - constants
            f" max(CASE WHEN {loses} THEN offset ELSE 0 END)"
            f" FROM history_records WHERE room = :room AND {which}",
            values,
        ).fetchone()
        records += more
        size += bytes_
        lost = max(lost, newest or 0)
    return _Going(first, records, size, lost)


def micros(seconds: float) -> int:
    """Return whole microseconds; at most 100,000 years of them."""
    return round(max(-_EVER, min(seconds * 1e6, _EVER)))


_PERIOD = micros(IDEMPOTENCY_PERIOD)


def _bounds(retention: Retention) -> tuple[Any, ...]:
    return (
        retention.records,
        retention.size,
        None if retention.age is None else micros(retention.age),
        int(retention.compact),
        micros(retention.tombstone_age),
        micros(retention.meta_age),
    )


_UPDATE_ROOM = " ON CONFLICT (id) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in _ROOM_COLUMNS.split(", ")[2:]
)
_UPDATE_REPEAT = (
    " ON CONFLICT (room, key) DO UPDATE SET time = excluded.time, offset = excluded.offset"
)


def _insert(
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


def _chunks(values: Sequence[T], mark: str = "?") -> Iterator[tuple[str, Sequence[T]]]:
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
