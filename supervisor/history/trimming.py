"""
How rooms in a SQLite file are kept within their bounds: for :mod:`supervisor.history.writing`.

Functions take a room, drop records of it, and count what is left, in the row that they are given;
writing that row is up to the caller.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from supervisor.history.tables import KEY_SIZE, REMOVED, TOMBSTONE, RoomRow, find_going

__all__ = ["compact", "drop", "trim", "uncompact"]

_AT_ONCE = 256
"""Records that are looked at in one go when there are too many bytes."""


def trim(connection: sqlite3.Connection, room: RoomRow, now: int) -> None:
    """Drop what the room does not keep at ``now``."""
    if room.due <= now:
        going = find_going(connection, room, now)
        _delete(connection, room, "offset < ?", going.first)
        if room.bounds.compact:
            _bury(connection, room, now)
        _delete(connection, room, "NOT flags & 8 AND expires <= ?", now)
        if room.bounds.compact:
            _delete(connection, room, "flags & 8 AND expires <= ?", now - room.bounds.tombstone_age)
        room.records -= going.records
        room.tombstones -= going.tombstones
        room.size -= going.size
        room.lost = going.lost
        room.due = _due(connection, room)
    if room.grown:
        room.grown = False
        _keep_bounds(connection, room)


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
    room.records, room.tombstones, room.size = _count(
        connection, "history_records WHERE room = ?", room.id
    )


def uncompact(connection: sqlite3.Connection, room: RoomRow) -> None:
    """Make records like any others of the tombstones."""
    connection.execute(
        "UPDATE history_records SET flags = flags & ~8, expires = NULL WHERE room = ? AND flags & 8",
        (room.id,),
    )
    room.tombstones = room.oldest = 0


def drop(connection: sqlite3.Connection, room: RoomRow, marks: str, keys: Sequence[str]) -> None:
    """Drop the records with these keys, which do not count as lost."""
    # Without being told, SQLite would look at all records of the room.
    which = f"history_records INDEXED BY history_keys WHERE room = ? AND key IN ({marks})"
    records, tombstones, size = _count(connection, which, room.id, *keys)
    if records:
        connection.execute(f"DELETE FROM {which}", (room.id, *keys))  # noqa: S608 - constants
        room.records -= records
        room.tombstones -= tombstones
        room.size -= size


def _keep_bounds(connection: sqlite3.Connection, room: RoomRow) -> None:
    """Drop the oldest that are too many or too large; the newest stays for the sake of bytes."""
    if room.bounds.most is not None:
        values = room.records - room.tombstones
        if values > room.bounds.most:
            _lose_values(connection, room, values - room.bounds.most, None)
        if room.tombstones > room.bounds.most:
            _lose_tombstones(connection, room, room.tombstones - room.bounds.most, None)
    while room.bounds.largest is not None and room.size > room.bounds.largest and room.records > 1:
        lose = _lose_tombstones if room.tombstones else _lose_values
        if not lose(connection, room, min(_AT_ONCE, room.records - 1), room.bounds.largest):
            return  # the counts are wrong


def _lose_values(
    connection: sqlite3.Connection, room: RoomRow, records: int, largest: int | None
) -> bool:
    """Drop the oldest that are no tombstones; see :func:`_lose`."""
    which = "history_records WHERE room = :room AND offset >= :oldest AND NOT flags & 8"
    last = _lose(connection, room, which, records, largest)
    room.oldest = max(room.oldest, last + 1)
    return last > 0


def _lose_tombstones(
    connection: sqlite3.Connection, room: RoomRow, records: int, largest: int | None
) -> bool:
    """Drop the oldest tombstones; see :func:`_lose`."""
    before = room.records
    which = "history_records INDEXED BY history_oldest_tombstones WHERE room = :room AND flags & 8"
    last = _lose(connection, room, which, records, largest)
    room.tombstones -= before - room.records
    return last > 0


def _lose(
    connection: sqlite3.Connection, room: RoomRow, which: str, records: int, largest: int | None
) -> int:
    """
    Drop the oldest of some, which are lost; return the offset of the last of them, 0 if there is none.

    Args:
        connection: Inside a transaction.
        room: Its row.
        which: Table and condition; ``:room`` is its number, ``:oldest`` what the row says.
        records: How many, at most.
        largest: Bytes that the room may have: no more are dropped than are needed; None: all.
    """
    values = {"room": room.id, "oldest": room.oldest, "records": records}
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(offset, size)) FROM"  # noqa: S608 - constants
        f" (SELECT offset, size FROM {which} ORDER BY offset LIMIT :records)",
        values,
    ).fetchone()
    last = 0
    for offset, size in json.loads(found):
        if largest is not None and room.size <= largest:
            break
        last = offset
        room.records -= 1
        room.size -= size
    if last:
        room.lost = max(room.lost, last)
        connection.execute(
            f"DELETE FROM {which} AND offset <= :last",  # noqa: S608 - constants
            {**values, "last": last},
        )
    return last


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
    dues = [room.touched + room.bounds.meta_age]
    next_expiry = "SELECT min(expires) FROM history_records WHERE room = ?"
    for query, age in (
        (
            "SELECT time FROM history_records WHERE room = ? ORDER BY offset LIMIT 1",
            room.bounds.age,
        ),
        (f"{next_expiry} AND expires IS NOT NULL AND NOT flags & 8", 0),
        (
            f"{next_expiry} AND flags & 8",
            room.bounds.tombstone_age if room.bounds.compact else None,
        ),
    ):
        if age is not None:
            (first,) = connection.execute(query, (room.id,)).fetchone() or (None,)
            if first is not None:
                dues.append(first + age)
    return min(dues)


def _count(connection: sqlite3.Connection, which: str, *values: object) -> tuple[int, int, int]:
    """Return how many records there are, how many of them are tombstones, and their bytes."""
    records, tombstones, size = connection.execute(
        "SELECT count(*), coalesce(sum((flags & 8) / 8), 0), coalesce(sum(size), 0)"  # noqa: S608 - constants
        f" FROM {which}",
        values,
    ).fetchone()
    return records, tombstones, size
