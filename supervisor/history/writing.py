"""
What changes rooms in a SQLite file: for :mod:`supervisor.history.sqlite`.

:class:`RoomWriter` gives offsets and keeps bounds, a group of appends at a time, in few statements
of many rows: each step of a statement hands the lock that Python's threads share to another thread
and back. It is one class because one thing is done: what is cached, what waits to be inserted and
what is counted must agree at every step.
"""

from __future__ import annotations

import json
import math
import secrets
import sqlite3
from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

from actors.positions import NOWHERE, Position
from supervisor.errors import AppendRefused, LogEnded, OffsetConflict
from supervisor.history.base import IDEMPOTENCY_PERIOD, Appended, Durability, Entry, Retention
from supervisor.history.tables import (
    BYTES,
    ENCODED,
    KEY_SIZE,
    NEVER,
    REMOVED,
    REPEAT_COLUMNS,
    ROOM_COLUMNS,
    TOMBSTONE,
    RoomRow,
    bounds_of,
    chunks,
    find_going,
    insert,
    micros,
)
from supervisor.sqlite import Job

__all__ = ["Append", "End", "Remove", "RoomWriter", "Work"]

ROOMS = 10_000
"""Rooms whose state is cached."""

SWEEP_EVERY = 256
"""Works, and a second, after which rooms are looked after that nobody may be using."""

SWEEP_ROOMS = 50
"""Such rooms at a time, and two more for each work: rooms go faster than they can come."""

SWEEP_RECORDS = 10_000
"""Records that are dropped in them at a time, unless one room has more."""

_PERIOD = micros(IDEMPOTENCY_PERIOD)

_UPDATE_ROOM = " ON CONFLICT (id) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in ROOM_COLUMNS.split(", ")[2:]
)
_UPDATE_REPEAT = (
    " ON CONFLICT (room, key) DO UPDATE SET time = excluded.time, offset = excluded.offset"
)

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


class RoomWriter:
    """
    What has changed rooms since the file was opened, and their state.

    Args:
        renamed: Epochs that the file does not know yet, by the number of the room.
    """

    def __init__(self, connection: sqlite3.Connection, renamed: dict[int, str]) -> None:
        self._connection = connection
        self._renamed = renamed
        self._rooms: dict[str, RoomRow] = {}
        self._changed: dict[int, RoomRow] = {}
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
        self._trim_compacted(works, now)
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

    def _append(self, work: Append, room: RoomRow | None, now: int, unsettled: set[int]) -> None:
        refusal = self._refuse(work, room, now)
        if refusal is not None:
            work.outcome = refusal
            return
        entry = work.entry
        if room is None:
            room = self._make(work.room, work.retention, now)
        elif room.retention is not work.retention:
            self._change(room, work.retention, now)
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
        self, work: Append, room: RoomRow | None, now: int
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

    def _add(self, room: RoomRow, entry: Entry, size: int) -> None:
        """Note the newest record of a room, to be written with the others."""
        payload, encoded, key, removed, expires = entry
        flags = ENCODED if encoded else 0
        if removed:
            flags |= REMOVED
        if isinstance(payload, bytes):
            flags |= BYTES
        moment = room.touched
        until = None
        if room.compact and key is not None:
            self._replace(room, key)
        if room.compact and key is not None and removed:
            flags |= TOMBSTONE
            until = moment
            room.due = min(room.due, moment + room.tombstone_age)
        elif expires is not None:
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
        for marks, some in chunks(missing):
            query = f"SELECT {ROOM_COLUMNS} FROM history_rooms WHERE name IN ({marks})"  # noqa: S608 - constants
            for row in self._connection.execute(query, some):
                room = RoomRow(row)
                room.epoch = self._renamed.get(room.id, room.epoch)
                rooms[room.name] = room

    def _make(self, name: str, retention: Retention, now: int) -> RoomRow:
        self._last_id += 1
        fixed = (self._last_id, name, secrets.token_hex(8), 0, 0, 0, 0, 0, now, NEVER, 0)
        room = self._rooms[name] = RoomRow((*fixed, *bounds_of(retention)))
        room.retention = retention
        room.due = now + room.meta_age
        self._changed[room.id] = room
        return room

    def _change(self, room: RoomRow, retention: Retention, now: int) -> None:
        """Keep a room in another way; what is not kept by now must not come back."""
        was_compact = room.compact
        bounds = bounds_of(retention)
        if bounds != room.bounds():
            self._write_rows()
            self._trim(room, max(now, room.touched))
            room.set_bounds(bounds)
            room.due = 0  # to be found out
            if room.compact and not was_compact:
                self._compact(room)
            elif was_compact and not room.compact:
                self._connection.execute(
                    "UPDATE history_records SET flags = flags & ~8, expires = NULL"
                    " WHERE room = ? AND flags & 8",
                    (room.id,),
                )
        room.retention = retention

    def _compact(self, room: RoomRow) -> None:
        """Drop all but the newest record of each key, and count what is left."""
        self._connection.execute(
            "DELETE FROM history_records WHERE room = ?1 AND key IS NOT NULL AND offset NOT IN"
            " (SELECT max(offset) FROM history_records WHERE room = ?1 AND key IS NOT NULL"
            " GROUP BY key)",
            (room.id,),
        )
        self._connection.execute(
            "UPDATE history_records SET flags = flags | 8, expires = time"
            " WHERE room = ? AND key IS NOT NULL AND flags & 2",
            (room.id,),
        )
        room.records, room.size = self._count("room = ?", room.id)

    def _forget_room(self, room: RoomRow) -> None:
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
            insert(self._connection, "history_rooms", rows, _UPDATE_ROOM)
            self._changed.clear()

    # -------------------------------------------------------------------------------- the records

    def _replace(self, room: RoomRow, key: str) -> None:
        """Drop the record of this group that has the key; those on disk go all at once."""
        place = room.replaced.get(key)
        if place is not None:
            row = self._rows[place]
            assert row is not None
            room.records -= 1
            room.size -= row[3]
            self._rows[place] = None
        room.replaced[key] = len(self._rows)

    def _write_rows(self) -> list[RoomRow]:
        """Write the records of this group, in place of those with the same keys; return the rooms."""
        changed = list(self._changed.values())
        if not self._rows:
            return changed
        for room in changed:
            if room.replaced:
                for marks, keys in chunks(list(room.replaced)):
                    self._drop(room, f"room = ? AND key IN ({marks})", room.id, *keys)
                room.replaced.clear()
        insert(self._connection, "history_records", sorted(row for row in self._rows if row))
        self._rows.clear()
        return changed

    def _drop(self, room: RoomRow, which: str, *values: object) -> None:
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

    def _trim_compacted(self, works: Sequence[Work], now: int) -> None:
        """Drop what has gone by now before it is replaced: it is lost."""
        for name in {work.room for work in works}:
            room = self._rooms.get(name)
            if room is not None and room.compact and room.due <= now:
                self._trim(room, now)

    def _trim(self, room: RoomRow, now: int) -> None:
        """Drop what the room does not keep at ``now``."""
        if room.due <= now:
            going = find_going(self._connection, room, now)
            self._delete(room, "offset < ?", going.first)
            if room.compact:
                self._bury(room, now)
            self._delete(room, "NOT flags & 8 AND expires <= ?", now)
            if room.compact:
                self._delete(room, "flags & 8 AND expires <= ?", now - room.tombstone_age)
            room.records -= going.records
            room.size -= going.size
            room.lost = going.lost
            room.due = self._due(room)
            self._changed[room.id] = room
        if room.most is not None and room.records > room.most:
            self._lose(room, room.records - room.most, 0)
        if room.largest is not None and room.size > room.largest and room.records > 1:
            self._lose(room, 0, room.size - room.largest)

    def _bury(self, room: RoomRow, now: int) -> None:
        """Make tombstones of the values that have expired."""
        self._connection.execute(
            f"UPDATE history_records SET flags = {REMOVED | TOMBSTONE}, payload = '',"  # noqa: S608 - constants
            f" size = {KEY_SIZE}, expires = max(time, expires)"
            " WHERE room = ? AND NOT flags & 8 AND expires <= ? AND key IS NOT NULL",
            (room.id, now),
        )

    def _delete(self, room: RoomRow, which: str, value: int) -> None:
        self._connection.execute(
            f"DELETE FROM history_records WHERE room = ? AND {which}",  # noqa: S608 - constants
            (room.id, value),
        )

    def _lose(self, room: RoomRow, records: int, size: int) -> None:
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

    def _due(self, room: RoomRow) -> int:
        """Return when something of the room goes by time next."""
        dues = [room.touched + room.meta_age]
        next_expiry = "SELECT min(expires) FROM history_records WHERE room = ?"
        for query, age in (
            ("SELECT time FROM history_records WHERE room = ? ORDER BY offset LIMIT 1", room.age),
            (f"{next_expiry} AND expires IS NOT NULL AND NOT flags & 8", 0),
            (f"{next_expiry} AND flags & 8", room.tombstone_age if room.compact else None),
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
        for marks, some in chunks(pairs, "(?, ?)"):
            query = (
                f"SELECT {REPEAT_COLUMNS} FROM history_repeats"  # noqa: S608 - constants
                f" WHERE (room, key) IN (VALUES {marks})"
            )
            values = tuple(chain.from_iterable(some))
            for room_id, key, when, offset in self._connection.execute(query, values):
                self._repeats[room_id, key] = (when, offset)

    def _write_repeats(self, now: int) -> None:
        if self._new_repeats:
            insert(self._connection, "history_repeats", self._new_repeats, _UPDATE_REPEAT)
            self._new_repeats.clear()
        if self._repeats_forgotten + _PERIOD // 100 <= now:
            self._repeats_forgotten = now
            self._connection.execute(
                "DELETE FROM history_repeats WHERE time <= ?", (now - _PERIOD,)
            )
