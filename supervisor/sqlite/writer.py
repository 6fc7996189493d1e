"""
The writer of a SQLite file: a bounded queue, and one transaction for all that waits in it.

For :mod:`supervisor.sqlite`. Its queue is locked by whoever uses it, with the lock that all parts of
an open file share.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from supervisor.errors import StoreFull, StoreUnavailable
from supervisor.sqlite.failures import is_failure, unavailable
from supervisor.sqlite.health import Health
from supervisor.sqlite.jobs import Job, tell
from supervisor.sqlite.reader import Reader

__all__ = ["Writer"]

GROUP = 1_000
"""Jobs of one transaction at most; their replies occupy an event loop for a millisecond or two."""

RETRY_AFTER = 1.0
"""Seconds after a failure in which nothing is tried."""

J = TypeVar("J", bound=Job)


class Writer(Generic[J]):
    """
    What writes an open file.

    Args:
        path: Of the file.
        mutex: Locks the queue, and who was told.
        health: Told of what fails, and of what succeeds.
        reader: Told of groups that somebody is told of before their commit.
        apply: See :class:`supervisor.sqlite.SqliteFile`, and so for the rest.
        undone: Called with the jobs of a group that was undone.
        on_failure: Called with an error and jobs that cannot be written.
        capacity: Jobs that wait at most.
        capacity_bytes: Bytes that they count for at most.

    Attributes:
        given_up: Whether nothing is tried any more.
    """

    def __init__(
        self,
        path: Path,
        mutex: threading.Lock,
        reader: Reader,
        health: Health,
        *,
        apply: Callable[[sqlite3.Connection, Sequence[J]], None],
        undone: Callable[[Sequence[J]], None] | None,
        on_failure: Callable[[StoreUnavailable, Sequence[J]], bool] | None,
        capacity: int,
        capacity_bytes: int,
    ) -> None:
        self.given_up = False
        self._health = health
        self._path = path
        self._mutex = mutex
        self._reader = reader
        self._apply = apply
        self._undone = undone
        self._on_failure = on_failure
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._wake = threading.Condition(mutex)
        self._error = StoreUnavailable("")  # the last failure
        self._retry_at = 0.0
        self._queue: deque[J] = deque()
        self._queued = 0  # bytes
        self._group: list[J] = []
        self._waits = False
        self._closing = False
        self._lost = False  # the file is no more

    def put(self, job: J) -> None:
        """
        Have a job applied; with the lock.

        Raises:
            StoreFull: If too much waits already.
        """
        if len(self._queue) >= self._capacity or (
            self._queued + job.size > self._capacity_bytes and self._queue
        ):
            raise StoreFull(
                f"{self._path} cannot be written as fast as it is told to:"
                f" {len(self._queue)} writes of {self._queued} bytes wait"
            )
        self._queue.append(job)
        self._queued += job.size
        if self._waits:
            self._waits = False
            self._wake.notify()

    def close(self) -> None:
        """Write what waits, and no more; with the lock."""
        self._closing = True
        self._wake.notify()

    def run(self, connection: sqlite3.Connection) -> None:
        """Write until it is closed; in a thread of its own."""
        while (group := self._take()) is not None:
            if group:
                self._write(connection, group)
            else:
                self._probe(connection)

    def fail(self, error: Exception) -> None:
        """Note that the file has failed."""
        self._error = unavailable(self._path, error)
        self._health.failed(self._error)
        self._retry_at = time.monotonic() + RETRY_AFTER

    def lose(self, error: StoreUnavailable) -> None:
        """Note that what is written goes nowhere; nothing is tried any more."""
        self._error = error
        self._lost = True
        self._health.failed(error)

    def take_late(self, since: float) -> list[Job]:
        """Return the jobs that have waited since before, as told; with the lock."""
        late: list[Job] = [job for job in self._group if job.since <= since and not job.told]
        while self._queue and self._queue[0].since <= since:
            job = self._queue.popleft()
            self._queued -= job.size
            late.append(job)
        for each in late:
            each.told = True
        return late

    def _take(self) -> list[J] | None:
        """
        Wait for jobs; return None once it is to be closed and all are done.

        While the file fails, return without jobs now and then: to see if it still does.
        """
        with self._mutex:
            self._group = []
            while not self._queue:
                if self._closing:
                    return None
                self._waits = True
                failing = not self._health.good and not self.given_up and not self._lost
                if not self._wake.wait(RETRY_AFTER if failing else None) and not self._queue:
                    self._waits = False
                    return []
            self._waits = False
            queue = self._queue
            if len(queue) <= GROUP:
                group = list(queue)
                queue.clear()
                self._queued = 0
            else:
                group = [queue.popleft() for _ in range(GROUP)]
                self._queued -= sum(job.size for job in group)
            self._group = group
            return group

    def _probe(self, connection: sqlite3.Connection) -> None:
        """Write something as large as a page or two, and take it away again."""
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE IF NOT EXISTS probe (payload)")
            connection.execute("INSERT INTO probe VALUES (zeroblob(8192))")
            connection.execute("COMMIT")
            connection.execute("DELETE FROM probe")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                connection.rollback()
            self.fail(error)
        else:
            self._health.recovered()

    def _write(self, connection: sqlite3.Connection, group: list[J]) -> None:
        if self.given_up or self._lost or time.monotonic() < self._retry_at:
            self._refuse(group)
            return
        told = False
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._apply(connection, group)
            early = [job for job in group if job.early]
            if early:
                told = True
                with self._mutex:
                    self._reader.wait_for_group()  # from before anybody is told
                self._tell(early)
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told
            with contextlib.suppress(sqlite3.Error):
                connection.rollback()
            if self._undone is not None:
                self._undone(group)
            if is_failure(error) or told:
                self.fail(error)
                self._refuse(group)
            elif len(group) > 1:  # one job is to blame: the others need not suffer
                for job in group:
                    self._write(connection, [job])
            else:
                group[0].outcome = error
                self._tell(group)
        else:
            if not self._lost:
                self._health.recovered()
            if not told or len(early) < len(group):
                self._tell([job for job in group if not job.early])
        finally:
            if told:
                with self._mutex:
                    self._reader.group_is_over()

    def _refuse(self, group: list[J]) -> None:
        if self._on_failure is None or not self._on_failure(self._error, group):
            for job in group:
                if not job.told:
                    job.outcome = self._error
        self._tell(group)

    def _tell(self, jobs: Sequence[Job]) -> None:
        with self._mutex:  # the watch may have told some that it took too long
            jobs = [job for job in jobs if not job.told]
            for job in jobs:
                job.told = True
        tell(jobs)
