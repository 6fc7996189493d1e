"""
What reads rooms in a SQLite file: for :mod:`supervisor.history.sqlite`.

A page is read as one row of JSON, made by SQLite: each step of a statement hands the lock that
Python's threads share to another thread and back, and a row for each record would be a step each.
It is read by columns, a list each: a list for each record would have the garbage collector look at
every object of the process once in a few pages.

The columns are read by whoever asked, not by the thread: that would take the lock in the middle of a
fan-out, and have a thousand clients wait for one that comes late.
"""

from __future__ import annotations

import json
import sqlite3
from typing import NamedTuple

from actors.positions import Position
from supervisor.history.base import Page, Record, RoomState
from supervisor.history.lines import Lines
from supervisor.history.tables import (
    BYTES,
    ENCODED,
    KEY_SIZE,
    REMOVED,
    ROOM_COLUMNS,
    TOMBSTONE,
    Going,
    RoomRow,
    find_going,
)

__all__ = ["Asked", "Found", "page_of", "read_columns"]

_new = tuple.__new__  # a named tuple's own constructor costs twice as much


class Asked(NamedTuple):
    """What a reader asks for: see :meth:`supervisor.history.base.History.read`."""

    after: int
    before: int | None
    limit: int
    size: int
    reverse: bool


class Found(NamedTuple):
    """
    What a thread has read of a page.

    Attributes:
        columns: JSON lists: offsets, times, flags, expiries, keys, payloads; those of lines: times
            and payloads, because the others would cost as much and say nothing; None: no records.
        state: Where the room stands.
        more: Whether there are more records of the range.
        lines: Offsets of lines without a hole; None: they are others, with all columns.
        encoded: Whether the lines are.
    """

    columns: tuple[str, ...] | None
    state: RoomState
    more: bool = False
    lines: range | None = None
    encoded: bool = False


_NOTHING = Found(None, Page().state)


def read_columns(
    connection: sqlite3.Connection,
    name: str,
    now: int,
    asked: Asked | None,
    renamed: dict[int, str],
) -> Found:
    """
    Read a page of a room, for :func:`page_of`.

    Args:
        connection: Inside a transaction.
        name: Of the room.
        now: The time.
        asked: Which records; None: only where the room stands.
        renamed: Epochs that the file does not know yet.
    """
    row = connection.execute(
        f"SELECT {ROOM_COLUMNS} FROM history_rooms WHERE name = ?",  # noqa: S608 - a constant
        (name,),
    ).fetchone()
    if row is None:
        return _NOTHING
    room = RoomRow.of(row)
    if room.touched + room.bounds.meta_age <= now:
        return _NOTHING
    going = Going(0, 0, 0, 0, room.lost)
    if room.due <= now:
        going = find_going(connection, room, now)
    state = RoomState(
        Position(renamed.get(room.id, room.epoch), room.top),
        going.lost,
        bool(room.ended),
        room.records - going.records,
        room.size - going.size,
    )
    if asked is None or not state.records or asked.after >= room.top:
        return Found(None, state)
    which = "room = :room AND offset > :after AND offset < :before"
    expired = "0"
    if room.due <= now:
        stays = "expires IS NULL OR expires > :now"
        if room.bounds.compact:
            stays += " OR key IS NOT NULL AND max(time, expires) > :since"
            expired = "(key IS NOT NULL AND expires <= :now AND NOT flags & 8)"
        which += f" AND ({stays})"
    values = {
        "room": room.id,
        "after": max(asked.after, going.first - 1),
        "before": room.top + 1 if asked.before is None else asked.before,
        "now": now,
        "since": now - room.bounds.tombstone_age,
    }
    order = "offset DESC" if asked.reverse else "offset"
    # First how many and which, without touching what may be large: most often all that was asked for.
    sizes = (
        f"(SELECT CASE WHEN {expired} THEN {KEY_SIZE} ELSE size END AS size,"  # noqa: S608 - constants
        " offset, flags, coalesce(key, expires) AS named"
        f" FROM history_records WHERE {which}"
        f" ORDER BY {order} LIMIT {asked.limit + 1})"
    )
    there, size, first, last, flags, most, named = connection.execute(
        "SELECT count(*), sum(size), min(offset), max(offset), min(flags), max(flags), count(named)"  # noqa: S608 - constants
        f" FROM {sizes}",
        values,
    ).fetchone()
    count = min(there, asked.limit)
    if count and size > asked.size:
        (found,) = connection.execute(
            f"SELECT json_group_array(size) FROM {sizes}",  # noqa: S608 - constants
            values,
        ).fetchone()
        count = _fitting(json.loads(found), asked)
    if not count:
        return Found(None, state, bool(there))
    columns: tuple[str, ...]
    if flags == most and not flags & ~ENCODED and not named and last - first < there:
        offsets = range(last, first - 1, -1) if asked.reverse else range(first, last + 1)
        columns = connection.execute(
            "SELECT json_group_array(time), json_group_array(payload)"  # noqa: S608 - constants
            " FROM (SELECT time, payload FROM history_records"
            f" WHERE {which} ORDER BY {order} LIMIT {count})",
            values,
        ).fetchone()
        return Found(columns, state, count < there, offsets[:count], flags == ENCODED)
    columns = connection.execute(
        "SELECT json_group_array(offset), json_group_array(time),"  # noqa: S608 - constants
        f" json_group_array(CASE WHEN {expired} THEN {REMOVED | TOMBSTONE} ELSE flags END),"
        f" json_group_array(CASE WHEN {expired} OR flags & 8 THEN NULL ELSE expires END),"
        f" json_group_array(key), json_group_array(CASE WHEN {expired} THEN ''"
        " WHEN flags & 4 THEN hex(payload) ELSE payload END)"
        f" FROM (SELECT * FROM history_records WHERE {which} ORDER BY {order} LIMIT {count})",
        values,
    ).fetchone()
    return Found(columns, state, count < there)


def page_of(found: Found) -> Page:
    """Return the page that was read."""
    if found.columns is None:
        return Page([], found.state, found.more)
    if found.lines is not None:
        times, payloads = map(json.loads, found.columns)
        seconds = [time / 1e6 for time in times]
        lines = Lines(found.lines, seconds, payloads, encoded=found.encoded)
        return Page(lines, found.state, found.more)
    records = [
        _new(
            Record,
            (
                offset,
                time / 1e6,
                bytes.fromhex(payload) if flags & BYTES else payload,
                flags & ENCODED != 0,
                key,
                flags & REMOVED != 0,
                None if expires is None else expires / 1e6,
            ),
        )
        for offset, time, flags, expires, key, payload in zip(
            *map(json.loads, found.columns), strict=True
        )
    ]
    return Page(records, found.state, found.more)


def _fitting(sizes: list[int], asked: Asked) -> int:
    """Return how many records of these sizes have a place in the page."""
    left = asked.size
    count = 0
    for size in sizes:
        left -= size
        if count >= asked.limit or (left < 0 and count):
            break
        count += 1
    return count
