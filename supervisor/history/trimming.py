"""
How rooms in a SQLite file are kept within their bounds: for :mod:`supervisor.history.writing`.

Functions take a room, drop records of it, and count what is left, in the row that they are given;
writing that row is up to the caller.
"""

from __future__ import annotations

import json
import sqlite3

from supervisor.history.tables import KEY_SIZE, REMOVED, TOMBSTONE, RoomRow, find_going

__all__ = ["compact", "drop", "trim", "uncompact"]


def trim(connection: sqlite3.Connection, room: RoomRow, now: int) -> None:
    """Drop what the room does not keep at ``now``."""
    if room.due <= now:
        going = find_going(connection, room, now)
        _delete(connection, room, "offset < ?", going.first)
        if room.compact:
            _bury(connection, room, now)
        _delete(connection, room, "NOT flags & 8 AND expires <= ?", now)
        if room.compact:
            _delete(connection, room, "flags & 8 AND expires <= ?", now - room.tombstone_age)
        room.records -= going.records
        room.size -= going.size
        room.lost = going.lost
        room.due = _due(connection, room)
    if room.most is not None and room.records > room.most:
        _lose(connection, room, room.records - room.most, 0)
    if room.largest is not None and room.size > room.largest and room.records > 1:
        _lose(connection, room, 0, room.size - room.largest)


def compact(connection: sqlite3.Connection, room: RoomRow) -> None:
    """Drop all but the newest record of each key, and count what is left."""
    connection.execute(
        "DELETE FROM history_records WHERE room = ?1 AND key IS NOT NULL AND offset NOT IN"
        " (SELECT max(offset) FROM history_records WHERE room = ?1 AND key IS NOT NULL"
        " GROUP BY key)",
        (room.id,),
    )
    connection.execute(
        "UPDATE history_records SET flags = flags | 8, expires = time"
        " WHERE room = ? AND key IS NOT NULL AND flags & 2",
        (room.id,),
    )
    room.records, room.size = _count(connection, "room = ?", room.id)


def uncompact(connection: sqlite3.Connection, room: RoomRow) -> None:
    """Make records like any others of the tombstones."""
    connection.execute(
        "UPDATE history_records SET flags = flags & ~8, expires = NULL WHERE room = ? AND flags & 8",
        (room.id,),
    )


def drop(connection: sqlite3.Connection, room: RoomRow, which: str, *values: object) -> None:
    """Drop records that do not count as lost."""
    records, size = _count(connection, which, *values)
    if records:
        connection.execute(f"DELETE FROM history_records WHERE {which}", values)  # noqa: S608 - constants
        room.records -= records
        room.size -= size


def _lose(connection: sqlite3.Connection, room: RoomRow, records: int, size: int) -> None:
    """Drop the oldest, so many or of so many bytes; the newest stays for the sake of bytes."""
    (found,) = connection.execute(
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
    connection.execute(
        "DELETE FROM history_records WHERE room = ? AND offset <= ?", (room.id, last)
    )
    if size > 0 and room.records > 1:
        _lose(connection, room, 0, size)


def _bury(connection: sqlite3.Connection, room: RoomRow, now: int) -> None:
    """Make tombstones of the values that have expired."""
    connection.execute(
        f"UPDATE history_records SET flags = {REMOVED | TOMBSTONE}, payload = '',"  # noqa: S608 - constants
        f" size = {KEY_SIZE}, expires = max(time, expires)"
        " WHERE room = ? AND NOT flags & 8 AND expires <= ? AND key IS NOT NULL",
        (room.id, now),
    )


def _delete(connection: sqlite3.Connection, room: RoomRow, which: str, value: int) -> None:
    connection.execute(
        f"DELETE FROM history_records WHERE room = ? AND {which}",  # noqa: S608 - constants
        (room.id, value),
    )


def _due(connection: sqlite3.Connection, room: RoomRow) -> int:
    """Return when something of the room goes by time next."""
    dues = [room.touched + room.meta_age]
    next_expiry = "SELECT min(expires) FROM history_records WHERE room = ?"
    for query, age in (
        ("SELECT time FROM history_records WHERE room = ? ORDER BY offset LIMIT 1", room.age),
        (f"{next_expiry} AND expires IS NOT NULL AND NOT flags & 8", 0),
        (f"{next_expiry} AND flags & 8", room.tombstone_age if room.compact else None),
    ):
        if age is not None:
            (first,) = connection.execute(query, (room.id,)).fetchone() or (None,)
            if first is not None:
                dues.append(first + age)
    return min(dues)


def _count(connection: sqlite3.Connection, which: str, *values: object) -> tuple[int, int]:
    query = f"SELECT count(*), coalesce(sum(size), 0) FROM history_records WHERE {which}"  # noqa: S608 - constants
    records, size = connection.execute(query, values).fetchone()
    return records, size
