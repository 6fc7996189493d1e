"""
The reader of a SQLite file: queries, one after the other, each at one moment.

For :mod:`supervisor.sqlite`. Its queue is locked by whoever uses it, with the lock that all parts of
an open file share.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor.sqlite.failures import unavailable
from supervisor.sqlite.jobs import answer, wake

__all__ = ["Read", "Reader"]


class Read:
    """A query that waits."""

    __slots__ = ("future", "loop", "needs", "query", "since", "told")

    def __init__(
        self,
        query: Callable[[sqlite3.Connection], Any],
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[Any],
    ) -> None:
        self.query = query
        self.loop = loop
        self.future = future
        self.needs = 0  # groups that must be over before
        self.since = time.monotonic()
        self.told = False


class Reader:
    """
    What reads an open file.

    Args:
        path: Of the file.
        mutex: Locks the queue, and who was told.
        connect: Returns a connection of its own.

    Attributes:
        begun: Set when it has the file, or could not open it yet.
    """

    def __init__(
        self, path: Path, mutex: threading.Lock, connect: Callable[[], sqlite3.Connection]
    ) -> None:
        self._path = path
        self._mutex = mutex
        self._connect = connect
        self._wake = threading.Condition(mutex)
        self._reads: deque[Read] = deque()
        self._reading: Read | None = None
        self._groups_told = 0  # groups of which somebody was told before the commit
        self._groups_over = 0  # those of them whose commit is over
        self._written = False  # all of it, because the file is to be closed
        self.begun = threading.Event()

    def put(self, read: Read) -> None:
        """Have a query answered, after what was told by now is committed; with the lock."""
        read.needs = self._groups_told
        self._reads.append(read)
        self._wake.notify()

    def wait_for_group(self) -> None:
        """Let reads wait for the group that is being written; with the lock."""
        self._groups_told += 1

    def group_is_over(self) -> None:
        """Say that this group was committed, or undone; with the lock."""
        self._groups_over += 1
        self._wake.notify()

    def close(self) -> None:
        """Answer what waits, and no more; with the lock."""
        self._written = True
        self._wake.notify()

    def take_late(self, since: float) -> list[Read]:
        """Return the reads that have waited since before, as told; with the lock."""
        late = [read for read in (self._reading, *self._reads) if read and read.since <= since]
        for read in late:
            read.told = True
            if read is not self._reading:
                self._reads.remove(read)
        return late

    def run(self) -> None:
        """Answer reads until it is closed; in a thread of its own."""
        connection: sqlite3.Connection | None = None
        with contextlib.suppress(sqlite3.Error):  # later, by path, it might be another file
            connection = self._opened()
        self.begun.set()
        while (read := self._take()) is not None:
            outcome: Any
            failed = True
            try:
                if connection is None:
                    connection = self._opened()
                connection.execute("BEGIN")
                try:
                    outcome = read.query(connection)
                finally:
                    connection.rollback()
                failed = False
            except sqlite3.Error as error:
                outcome = unavailable(self._path, error)
            except Exception as error:  # noqa: BLE001 - the reader gets whatever it was
                outcome = error
            with self._mutex:
                self._reading = None
                if read.told:
                    continue
                read.told = True
            wake(read.loop, answer, read.future, outcome, failed)
        if connection is not None:
            connection.close()

    def _opened(self) -> sqlite3.Connection:
        connection = self._connect()
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # opens the file
        return connection

    def _take(self) -> Read | None:
        with self._mutex:
            while True:
                if self._reads and self._reads[0].needs <= self._groups_over:
                    self._reading = self._reads.popleft()
                    return self._reading
                if self._written and not self._reads:
                    return None
                self._wake.wait()
