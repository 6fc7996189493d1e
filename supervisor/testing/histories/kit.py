"""What the suite of histories needs: a clock, outcomes, and short forms of appends and reads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from actors.positions import Position
from supervisor.errors import AppendRefused, OffsetConflict
from supervisor.history.base import (
    Durability,
    Entry,
    History,
    Page,
    Record,
    Retention,
)

__all__ = [
    "ALL",
    "NEWEST",
    "Clock",
    "Outcomes",
    "all_offsets",
    "all_records",
    "append_text",
    "append_texts",
    "append_to",
    "expect_conflict",
    "opened",
]

REPLY_TIMEOUT = 5.0
"""Seconds after which an outcome that was not told is missed."""

ALL = Retention(records=None, size=None, age=None)
"""Keeps everything."""

NEWEST = Retention(records=None, size=None, age=None, compact=True, tombstone_age=60.0)
"""Keeps the newest record of each key, and for a minute that there is none."""


async def append_to(
    history: History,
    room: str,
    entry: Entry,
    retention: Retention,
    *,
    durability: Durability = "written",
    idempotency_key: str | None = None,
    expect_offset: int | None = None,
) -> Position:
    """
    Append, and wait until that is done; see :meth:`supervisor.history.base.History.append`.

    Cancelling undoes nothing.

    Raises:
        OffsetConflict, LogEnded, StoreFull, StoreUnavailable: As the history does.
        AssertionError: If nothing is told.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Position] = loop.create_future()

    def settle(outcome: Position | Exception) -> None:
        if done.done():
            return  # nobody waits any more
        if isinstance(outcome, Exception):
            done.set_exception(outcome)
        else:
            done.set_result(outcome)

    def then(outcome: Position | Exception) -> None:
        with suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(settle, outcome)

    at_once = history.append(
        room,
        entry,
        retention,
        durability=durability,
        idempotency_key=idempotency_key,
        expect_offset=expect_offset,
        then=then,
    )
    if at_once is not None:
        return at_once
    answered, _ = await asyncio.wait([done], timeout=REPLY_TIMEOUT)
    assert answered, f"an append is told what became of it; not so within {REPLY_TIMEOUT} s"
    return done.result()


class Clock:
    """Unix time that passes when it is told to."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        """Return it."""
        return self.now


class Outcomes(list[Position | Exception]):
    """What appends were told; in whatever thread."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def of_append(self, history: History, *args: Any, **options: Any) -> None:
        """Append, and note the outcome: at once or later."""
        try:
            at_once = history.append(*args, **options, then=self.take)
        except AppendRefused as refusal:
            self.take(refusal)
        else:
            if at_once is not None:
                self.take(at_once)

    def take(self, outcome: Position | Exception) -> None:
        """Be told."""
        with self._lock:
            self.append(outcome)

    async def told(self, count: int) -> None:
        """Wait until there are ``count``, and a little for too many."""
        deadline = asyncio.get_running_loop().time() + REPLY_TIMEOUT
        while len(self) < count:
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"{count} appends were to be told, not {len(self)}")
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        assert len(self) == count, f"{count} appends were to be told, not {len(self)}"


@asynccontextmanager
async def opened(history: History) -> AsyncIterator[History]:
    """Open a history, and close it in the end."""
    await history.open()
    try:
        yield history
    finally:
        await history.aclose()


async def append_text(
    history: History, room: str, payload: str, retention: Retention = ALL, **options: Any
) -> Position:
    """Append a payload, by default where everything is kept."""
    return await append_to(history, room, Entry(payload), retention, **options)


async def append_texts(history: History, room: str, count: int, retention: Retention = ALL) -> None:
    """Append payloads, so many, quickly."""
    for number in range(count):
        await append_text(history, room, str(number), retention, durability="memory")


async def expect_conflict(
    history: History, room: str, expected: int, current: Position, **options: Any
) -> None:
    """Append where another offset is expected; that has to be refused, with the current place."""
    try:
        await append_text(history, room, "x", expect_offset=expected, **options)
    except OffsetConflict as error:
        told = error.current
    else:
        raise AssertionError(f"expecting {expected} at {current.offset} is an OffsetConflict")
    assert told == current, f"a conflict says where the room is: {told}"


async def all_records(history: History, room: str) -> list[Record]:
    """Return all records of a room."""
    records: list[Record] = []
    page = Page(more=True)
    while page.more:
        page = await history.read(room, after=records[-1].offset if records else 0)
        records += page.records
    return records


async def all_offsets(history: History, room: str) -> list[int]:
    """Return the offsets of all records of a room."""
    return [record.offset for record in await all_records(history, room)]
