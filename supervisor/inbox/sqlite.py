"""
The inbox in a SQLite file: where each operation is done, and what becomes of it when the file fails.

What an operation does to the tables is in :mod:`supervisor.inbox.tables`. A put is confirmed after the
commit, which it shares with whatever else waits to be written; see :mod:`supervisor.sqlite` for threads,
failures, and what survives.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from supervisor.errors import StoreFull, StoreUnavailable
from supervisor.inbox.base import InboxMessage, InboxUser, Kept
from supervisor.inbox.memory import MemoryInbox
from supervisor.inbox.tables import (
    SCHEMA,
    InboxTables,
    read_all_pending,
    read_all_subscriptions,
    read_dead,
    read_pending,
    read_subscribers,
    row_of,
)
from supervisor.sqlite import Call, Job, LastStop, SqliteFile

__all__ = ["SqliteInbox"]

T = TypeVar("T")


class _Operation(Call):
    """What is to be done with the file; or with the memory, once the file has failed."""

    __slots__ = ("elsewhere",)

    def __init__(
        self,
        function: Callable[[sqlite3.Connection], Any],
        elsewhere: Callable[[MemoryInbox], Coroutine[Any, Any, Any]],
        size: int = 0,
    ) -> None:
        super().__init__(function, size)
        self.elsewhere = elsewhere


class SqliteInbox:
    """
    See :class:`supervisor.inbox.base.Inbox`.

    Args:
        path: Of the database; its directory exists. Other stores may use the same one.
        on_failure: What happens when the file fails while it is open. ``"refuse"``: whoever calls
            gets ``StoreUnavailable``, until it works again. ``"memory"``: it goes on in memory, with
            what can still be read, until it is opened anew; then what the file has counts.
        on_fall_back: Told of the error when it does that; called in another thread.
        synchronous: What survives when the machine loses its power; see :mod:`supervisor.sqlite`.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_failure: Literal["refuse", "memory"] = "refuse",
        on_fall_back: Callable[[StoreUnavailable], None] | None = None,
        synchronous: Literal["normal", "full"] = "normal",
    ) -> None:
        self._falls_back = on_failure == "memory"
        self._on_fall_back = on_fall_back
        self._memory: MemoryInbox | None = None
        self._tables = InboxTables()  # the writer's
        self._file: SqliteFile[_Operation] = SqliteFile(
            path,
            "inbox",
            schema=SCHEMA,
            prepare=self._prepare,
            on_failure=self._failed,
            synchronous=synchronous,
        )

    @property
    def healthy(self) -> bool:
        """Whether the file works."""
        return self._memory is None and self._file.healthy

    async def open(self) -> None:
        """Open the file; see :class:`supervisor.inbox.base.Inbox`."""
        await self._file.open()

    async def aclose(self) -> None:
        """Write what waits, and close the file; see :class:`supervisor.inbox.base.Inbox`."""
        await self._file.aclose()

    async def put(self, messages: Sequence[InboxMessage], *, capacity: int) -> Kept:
        """Keep ``messages``, and commit; see :class:`supervisor.inbox.base.Inbox`."""
        rows = [row_of(message) for message in messages]  # here: the writer has others to serve
        return await self._write(
            lambda connection: self._tables.put(connection, messages, rows, capacity),
            lambda memory: memory.put(messages, capacity=capacity),
            size=sum(len(payload) for _, _, _, payload, *_ in rows),
        )

    async def pending(
        self, user: InboxUser, *, now: float, after: str | None = None, limit: int = 100
    ) -> list[InboxMessage]:
        """Return pending messages; see :class:`supervisor.inbox.base.Inbox`."""
        return await self._read(
            lambda connection: read_pending(connection, user, now, after, limit),
            lambda memory: memory.pending(user, now=now, after=after, limit=limit),
        )

    async def delivered(self, counts: Mapping[str, int]) -> None:
        """Remember how often that was; see :class:`supervisor.inbox.base.Inbox`."""
        await self._write(
            lambda connection: self._tables.delivered(connection, counts),
            lambda memory: memory.delivered(counts),
        )

    async def acknowledge(self, user: InboxUser, ids: Collection[str]) -> list[str]:
        """Settle; see :class:`supervisor.inbox.base.Inbox`."""
        return await self._write(
            lambda connection: self._tables.acknowledge(connection, user, ids),
            lambda memory: memory.acknowledge(user, ids),
        )

    async def bury(self, ids: Collection[str]) -> list[InboxMessage]:
        """Give messages up; see :class:`supervisor.inbox.base.Inbox`."""
        return await self._write(
            lambda connection: self._tables.bury(connection, ids), lambda memory: memory.bury(ids)
        )

    async def dead(self, *, limit: int = 100) -> list[InboxMessage]:
        """Return dead letters; see :class:`supervisor.inbox.base.Inbox`."""
        return await self._read(
            lambda connection: read_dead(connection, limit), lambda memory: memory.dead(limit=limit)
        )

    async def expire(self, *, now: float) -> list[InboxMessage]:
        """Drop what has expired; see :class:`supervisor.inbox.base.Inbox`."""
        return await self._write(
            lambda connection: self._tables.expire(connection, now),
            lambda memory: memory.expire(now=now),
        )

    async def subscribe(self, room: str, user: InboxUser) -> bool:
        """Subscribe; see :class:`supervisor.inbox.base.Inbox`."""
        return await self._write(
            lambda connection: self._tables.subscribe(connection, room, user),
            lambda memory: memory.subscribe(room, user),
        )

    async def unsubscribe(self, room: str, user: InboxUser) -> bool:
        """Undo it; see :class:`supervisor.inbox.base.Inbox`."""
        return await self._write(
            lambda connection: self._tables.unsubscribe(connection, room, user),
            lambda memory: memory.unsubscribe(room, user),
        )

    async def subscribers(self, room: str) -> list[InboxUser]:
        """Return who subscribed; see :class:`supervisor.inbox.base.Inbox`."""
        return await self._read(
            lambda connection: read_subscribers(connection, room),
            lambda memory: memory.subscribers(room),
        )

    def _prepare(self, connection: sqlite3.Connection, _: LastStop) -> None:
        self._memory = None
        self._tables.prepare(connection)

    # ------------------------------------------------------------------------- the file, or memory

    async def _write(
        self,
        function: Callable[[sqlite3.Connection], T],
        elsewhere: Callable[[MemoryInbox], Coroutine[Any, Any, T]],
        size: int = 0,
    ) -> T:
        outcome: T = await self._file.write(_Operation(function, elsewhere, size))
        return outcome

    async def _read(
        self,
        query: Callable[[sqlite3.Connection], T],
        elsewhere: Callable[[MemoryInbox], Coroutine[Any, Any, T]],
    ) -> T:
        if self._memory is None:
            try:
                return await self._file.read(query)
            except StoreUnavailable:
                if self._memory is None:
                    raise
        return await elsewhere(self._memory)

    def _failed(self, error: StoreUnavailable, jobs: Sequence[Job]) -> bool:
        """Go on in memory, if that is wanted; called in the writer's thread."""
        if not self._falls_back:
            return False
        if self._memory is None:
            self._file.give_up()
            self._memory = self._what_can_be_read()
            if self._on_fall_back is not None:
                self._on_fall_back(error)
        for job in jobs:
            assert isinstance(job, _Operation)
            try:
                job.outcome = _run(job.elsewhere(self._memory))
            except StoreFull as full:
                job.outcome = full
        return True

    def _what_can_be_read(self) -> MemoryInbox:
        """Return subscriptions and pending messages of the file, as far as it still gives them."""
        memory = MemoryInbox()
        with (
            contextlib.suppress(sqlite3.Error, StoreFull),
            contextlib.closing(
                sqlite3.connect(f"{self._file.path.as_uri()}?mode=ro", uri=True, timeout=1.0)
            ) as connection,
        ):
            for room, user in read_all_subscriptions(connection):
                _run(memory.subscribe(room, user))
            for messages in read_all_pending(connection):
                _run(memory.put(messages, capacity=sys.maxsize))
        return memory


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run what never suspends."""
    try:
        work.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    raise AssertionError("a memory inbox waits for nothing")
