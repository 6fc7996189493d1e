"""
The history that is kept in a SQLite file, for one process.

Offsets are given in the writer's thread (:mod:`supervisor.sqlite`), by
:mod:`supervisor.history.writing`; :mod:`supervisor.history.reading` reads. Here is what of them can
be relied upon: which epoch a room has after a stop or a failure, and what becomes of appends when
the file fails.

An append with durability ``"memory"`` is done before it is committed, but only in rooms that the
file says so of: if the process is killed, those get another epoch when the file is opened. The
first such append to a room waits for its commit, as ``"written"`` ones do.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from actors.positions import Position
from supervisor.errors import AppendRefused, StoreUnavailable
from supervisor.history.base import (
    PAGE_BYTES,
    PAGE_RECORDS,
    Durability,
    Entry,
    Page,
    Retention,
    RoomState,
)
from supervisor.history.memory import MemoryHistory
from supervisor.history.reading import Asked, page_of, read_columns
from supervisor.history.tables import SCHEMA, micros
from supervisor.history.works import Append, End, Remove, Work
from supervisor.history.writing import RoomWriter
from supervisor.sqlite import (
    CAPACITY,
    CAPACITY_BYTES,
    DEADLINE,
    LastStop,
    OnHealth,
    SqliteFile,
    call_safely,
)

__all__ = ["SqliteHistory"]

T = TypeVar("T")


class SqliteHistory:
    """
    See :class:`supervisor.history.base.History`.

    Args:
        path: Of the file; its directory exists.
        clock: Returns Unix time in seconds.
        on_failure: What becomes of appends once the file cannot be written. ``"refuse"``: they
            raise ``StoreUnavailable``, and it is tried again. ``"memory"``: rooms that are appended
            to go on in memory, with another epoch and without their past, until it is opened anew.
        on_fallback: Called once with a text and the error when rooms begin to go on in memory; in
            another thread.
        on_health: Called with the error when the file begins to fail, and with None when it works
            again; in another thread.
        synchronous: With ``"normal"``, what was written survives that the process is killed; when
            the machine loses power, the last of it may be lost, and rooms that have not ended get
            another epoch. With ``"full"`` it survives that, too, and each commit waits for the disk.
        capacity: Appends that wait to be written at most.
        capacity_bytes: Bytes of them at most.
        deadline: Seconds that anything may take.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        on_failure: Literal["refuse", "memory"] = "refuse",
        on_fallback: Callable[[str, Exception], None] | None = None,
        on_health: OnHealth | None = None,
        synchronous: Literal["normal", "full"] = "normal",
        capacity: int = CAPACITY,
        capacity_bytes: int = CAPACITY_BYTES,
        deadline: float = DEADLINE,
    ) -> None:
        self._clock = clock
        self._falls_back = on_failure == "memory"
        self._on_fallback = on_fallback
        self._synchronous = synchronous
        self._file: SqliteFile[Work] = SqliteFile(
            path,
            "history",
            schema=SCHEMA,
            apply=self._apply,
            prepare=self._prepare,
            finish=self._finish,
            undone=self._undone,
            on_failure=self._failed,
            on_health=on_health,
            synchronous=synchronous,
            capacity=capacity,
            capacity_bytes=capacity_bytes,
            deadline=deadline,
        )
        self._fallback: MemoryHistory | None = None
        self._fallen: set[str] = set()
        self._renamed: dict[int, str] = {}  # epochs that the file does not know yet, by room
        self._writer: RoomWriter | None = None

    @property
    def healthy(self) -> bool:
        """Whether the last write succeeded, and no room had to go on in memory."""
        return self._file.healthy and self._fallback is None

    async def open(self) -> None:
        """Open the file; see :class:`supervisor.history.base.History`."""
        await self._file.open()

    async def aclose(self) -> None:
        """Write what waits, and close the file."""
        await self._file.aclose()

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
    ) -> None:
        """Append; told by the writer's thread. See :class:`supervisor.history.base.History`."""
        work = Append(
            room,
            entry,
            retention,
            durability=durability,
            idempotency_key=idempotency_key,
            expect_offset=expect_offset,
        )
        self._file.write_nowait(work, then)

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
        """Return a page; see :class:`supervisor.history.base.History`."""
        if self._fallback is not None and room in self._fallen:
            return await self._fallback.read(
                room, after=after, before=before, limit=limit, size=size, reverse=reverse
            )
        asked = Asked(after, before, min(limit, PAGE_RECORDS), min(size, PAGE_BYTES), reverse)
        return await self._read(room, asked)

    async def state(self, room: str) -> RoomState:
        """Return where the room stands; see :class:`supervisor.history.base.History`."""
        if self._fallback is not None and room in self._fallen:
            return await self._fallback.state(room)
        return (await self._read(room, None)).state

    async def _read(self, room: str, asked: Asked | None) -> Page:
        now = micros(self._clock())
        found = await self._file.read(
            lambda connection: read_columns(connection, room, now, asked, self._renamed)
        )
        return page_of(found)

    async def end(self, room: str) -> Position:
        """Say that nothing more will be appended; see :class:`supervisor.history.base.History`."""
        position: Position = await self._file.write(End(room))
        return position

    async def remove(self, room: str) -> bool:
        """
        Forget the room; see :class:`supervisor.history.base.History`.

        Once rooms go on in memory, raises ``StoreUnavailable``: what is on disk cannot be removed.
        """
        removed: bool = await self._file.write(Remove(room))
        return removed

    # ------------------------------------------------------------------------ the writer's thread

    def _prepare(self, connection: sqlite3.Connection, last_stop: LastStop) -> None:
        self._fallback = None
        self._fallen = set()
        self._renamed.clear()
        doubtful = None
        if last_stop is LastStop.CRASHED and self._synchronous == "normal":
            doubtful = "NOT ended"  # it ended after all that is before: that is there, too
        elif last_stop is not LastStop.CLEAN:
            doubtful = "NOT ended AND unsure"
        if doubtful:
            connection.execute(
                "UPDATE history_rooms SET epoch = lower(hex(randomblob(8)))"  # noqa: S608 - constants
                f" WHERE {doubtful}"
            )
        connection.execute("UPDATE history_rooms SET unsure = 0 WHERE unsure")
        self._writer = RoomWriter(connection, self._renamed)

    def _apply(self, _: sqlite3.Connection, works: Sequence[Work]) -> None:
        assert self._writer is not None
        self._writer.apply(works, micros(self._clock()))

    def _finish(self, connection: sqlite3.Connection) -> None:
        connection.executemany(
            "UPDATE history_rooms SET epoch = ? WHERE id = ?",
            [(epoch, room) for room, epoch in self._renamed.items()],
        )
        connection.execute("UPDATE history_rooms SET unsure = 0 WHERE unsure")

    def _undone(self, works: Sequence[Work]) -> None:
        """Forget what was done, and give rooms another epoch of which too much was told."""
        assert self._writer is not None
        self._writer.forget()
        for work in works:
            if work.early and isinstance(work.outcome, Position):
                self._renamed[work.room_id] = secrets.token_hex(8)

    def _failed(self, error: StoreUnavailable, works: Sequence[Work]) -> bool:
        """Go on in memory if that was asked for."""
        if not self._falls_back:
            return False
        if self._fallback is None:
            self._file.give_up()
            self._fallback = MemoryHistory(clock=self._clock)
            if self._on_fallback is not None:
                text = f"rooms go on in memory, with other epochs: {error}"
                call_safely(self._on_fallback, text, error)
        for work in works:
            outcome: Any = error
            if not isinstance(work, Remove):
                outcome = _in_memory(self._fallback, work)
                self._fallen.add(work.room)
            if not work.told:
                work.outcome = outcome
        return True


def _in_memory(memory: MemoryHistory, work: Work) -> Any:
    """Return the outcome of a work."""
    if isinstance(work, Append):
        try:
            return memory.append(
                work.room,
                work.entry,
                work.retention,
                idempotency_key=work.idempotency_key,
                expect_offset=work.expect_offset,
                then=_nobody,
            )
        except AppendRefused as refusal:
            return refusal
    return _at_once(memory.end(work.room))


def _nobody(_: object) -> None:
    """Be told of what is known already."""


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine that never suspends returns."""
    try:
        coroutine.send(None)
    except StopIteration as result:
        returned: T = result.value
        return returned
    raise AssertionError("it has suspended")
