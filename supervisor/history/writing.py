"""
What changes rooms in a SQLite file: for :mod:`supervisor.history.sqlite`.

:class:`RoomWriter` gives offsets, a group of appends at a time, in few statements of many rows: each
step of a statement hands the lock that Python's threads share to another thread and back. What is
cached, what waits to be inserted and what is counted agree at every step. Bounds are kept by
:mod:`supervisor.history.trimming`, idempotency keys by :mod:`supervisor.history.repeats`.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Sequence
from itertools import islice
from typing import Any

from actors.positions import NOWHERE, Position
from supervisor.errors import AppendRefused, LogEnded, OffsetConflict
from supervisor.history.base import Entry, Repeated, Retention
from supervisor.history.repeats import Repeats
from supervisor.history.tables import (
    BYTES,
    ENCODED,
    NEVER,
    REMOVED,
    ROOM_COLUMNS,
    TOMBSTONE,
    Bounds,
    RoomRow,
    chunks,
    insert,
    micros,
)
from supervisor.history.trimming import compact, drop, trim, uncompact
from supervisor.history.works import Append, End, Work

__all__ = ["RoomWriter"]

ROOMS = 10_000
"""Rooms whose state is cached."""

SWEEP_EVERY = 256
"""Works, and a second, after which rooms are looked after that nobody may be using."""

SWEEP_ROOMS = 50
"""Such rooms at a time, and two more for each work: rooms go faster than they can come."""

SWEEP_RECORDS = 10_000
"""Records that are dropped in them at a time, unless one room has more."""

_UPDATE_ROOM = " ON CONFLICT (id) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in ROOM_COLUMNS.split(", ")[2:]
)
_new = tuple.__new__  # a named tuple's own constructor costs twice as much


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
        self._repeats = Repeats(connection)
        self._group = 0
        self._swept = 0
        self._unswept = 0
        query = "SELECT coalesce(max(id), 0) FROM history_rooms"
        (self._last_id,) = connection.execute(query).fetchone()

    def forget(self) -> None:
        """Forget what was cached, because a group was undone."""
        self._rooms.clear()
        self._changed.clear()
        self._rows.clear()
        self._repeats.forget()

    def apply(self, works: Sequence[Work], now: int) -> None:
        """Do a group of works, and set their outcomes."""
        self._group += 1
        self._load({work.room for work in works})
        self._repeats.load(
            (self._rooms[work.room].id, work.idempotency_key)
            for work in works
            if isinstance(work, Append) and work.idempotency_key is not None
            if work.room in self._rooms
        )
        self._trim_compacted(works, now)
        unsettled: set[int] = set()  # rooms with appends that are told after the commit only
        for work in works:
            room = self._rooms.get(work.room)
            if room is not None and room.touched + room.bounds.meta_age <= now:
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
        self._repeats.write(now)

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
        work.outcome = _new(Position, (room.epoch, offset))
        self._add(room, entry, work.size)
        if work.idempotency_key is not None:
            self._repeats.note(number, work.idempotency_key, now, offset)
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
    ) -> Repeated | AppendRefused | None:
        """Return why nothing is to be appended; None if it is."""
        expected = work.expect_offset
        if room is None:
            return OffsetConflict(work.room, expected, NOWHERE) if expected else None
        if work.idempotency_key is not None:
            first = self._repeats.find(room.id, work.idempotency_key, now)
            if first is not None:
                return Repeated(room.epoch, first)
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
        if room.bounds.compact and key is not None:
            self._replace(room, key)
        if room.bounds.compact and key is not None and removed:
            flags |= TOMBSTONE
            until = moment
            room.due = min(room.due, moment + room.bounds.tombstone_age)
        elif expires is not None:
            until = micros(expires)
            room.due = min(room.due, until)
        if room.bounds.age is not None and not room.records:
            room.due = min(room.due, moment + room.bounds.age)
        room.records += 1
        room.tombstones += flags & TOMBSTONE != 0
        room.size += size
        room.grown = True
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
                room = RoomRow.of(row)
                room.epoch = self._renamed.get(room.id, room.epoch)
                rooms[room.name] = room

    def _make(self, name: str, retention: Retention, now: int) -> RoomRow:
        self._last_id += 1
        fixed = (self._last_id, name, secrets.token_hex(8), 0, 0, 0, 0, 0, 0, now, NEVER, 0)
        room = self._rooms[name] = RoomRow(*fixed, Bounds.of(retention))
        room.retention = retention
        room.due = now + room.bounds.meta_age
        self._changed[room.id] = room
        return room

    def _change(self, room: RoomRow, retention: Retention, now: int) -> None:
        """Keep a room in another way; what is not kept by now must not come back."""
        was_compact = room.bounds.compact
        bounds = Bounds.of(retention)
        if bounds != room.bounds:
            self._write_rows()
            self._trim(room, max(now, room.touched))
            room.bounds = bounds
            room.due = 0  # to be found out
            if room.bounds.compact and not was_compact:
                compact(self._connection, room)
            elif was_compact and not room.bounds.compact:
                uncompact(self._connection, room)
        room.retention = retention

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
            room.tombstones -= row[4] & TOMBSTONE != 0
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
                    drop(self._connection, room, marks, keys)
                room.replaced.clear()
        insert(self._connection, "history_records", sorted(row for row in self._rows if row))
        self._rows.clear()
        return changed

    def _trim_compacted(self, works: Sequence[Work], now: int) -> None:
        """Drop what has gone by now before it is replaced: it is lost."""
        for name in {work.room for work in works}:
            room = self._rooms.get(name)
            if room is not None and room.bounds.compact and room.due <= now:
                self._trim(room, now)

    def _trim(self, room: RoomRow, now: int) -> None:
        trim(self._connection, room, now)
        self._changed[room.id] = room

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
            if room.touched + room.bounds.meta_age <= now:
                self._forget_room(room)
            elif room.due <= now:
                self._trim(room, now)
            if left < 0:
                return
