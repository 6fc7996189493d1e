"""
A SQLite file that one process writes, with its threads: see :mod:`supervisor.sqlite`.

Here is its state, open or not, and the watch over its deadline; :mod:`supervisor.sqlite.opening`,
:mod:`~supervisor.sqlite.writer` and :mod:`~supervisor.sqlite.reader` do the rest. They share a lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from supervisor.errors import StoreUnavailable
from supervisor.sqlite.failures import too_slow
from supervisor.sqlite.health import Health, OnHealth
from supervisor.sqlite.jobs import Call, Job, answer, apply_each, refuse, wake
from supervisor.sqlite.opening import LastStop, Place
from supervisor.sqlite.reader import Read, Reader
from supervisor.sqlite.writer import Writer

__all__ = ["CAPACITY", "CAPACITY_BYTES", "DEADLINE", "SqliteFile"]

CAPACITY = 10_000
"""Jobs that wait at most."""

CAPACITY_BYTES = 64 << 20
"""Bytes that wait at most."""

DEADLINE = 30.0
"""Seconds that anything may take."""

T = TypeVar("T")
J = TypeVar("J", bound=Job)

Then = Callable[[Any], None]


class SqliteFile(Generic[J]):
    """
    A file, its threads and its lock.

    Args:
        path: Of the database; its directory exists.
        role: What the file is to this store, such as ``"history"``; names the lock and the version.
        schema: Statements that make the tables of a new file.
        version: Of the schema; a file of a newer one is refused.
        apply: Applies a group of jobs in the writer's thread: takes the connection, inside a
            transaction that it must not end, and sets the outcome of each. If it raises, the group
            is undone, and each of its jobs applied alone.
        prepare: Called in the writer's thread when the file was opened, inside a transaction.
        finish: Called there before it is closed, inside a transaction.
        undone: Called there with the jobs of a group that was undone, some of which may have been
            told early.
        on_failure: Called there with an error and jobs that cannot be written because the file has
            failed. Sets their outcomes and returns True; if False, the waiters get the error.
        on_health: Called when it begins to fail, and when it works again.
        synchronous: What survives when the machine loses its power; see the module.
        capacity: Jobs that wait at most.
        capacity_bytes: Bytes that they count for at most.
        deadline: Seconds that anything may take.

    Thread-safe; used by any number of event loops.
    """

    def __init__(
        self,
        path: Path,
        role: str,
        *,
        schema: Sequence[str],
        version: int = 1,
        apply: Callable[[sqlite3.Connection, Sequence[J]], None] = apply_each,
        prepare: Callable[[sqlite3.Connection, LastStop], None] | None = None,
        finish: Callable[[sqlite3.Connection], None] | None = None,
        undone: Callable[[Sequence[J]], None] | None = None,
        on_failure: Callable[[StoreUnavailable, Sequence[J]], bool] | None = None,
        on_health: OnHealth | None = None,
        synchronous: Literal["normal", "full"] = "normal",
        capacity: int = CAPACITY,
        capacity_bytes: int = CAPACITY_BYTES,
        deadline: float = DEADLINE,
    ) -> None:
        self.path = path = (
            path.resolve()
        )  # behind a link, the log and the lock are beside the file itself
        self._prepare = prepare
        self._finish = finish
        self._deadline = deadline
        self._on_health = on_health
        self._place = Place(
            path,
            role,
            schema=schema,
            version=version,
            synchronous=synchronous,
            deadline=deadline,
        )
        self._mutex = threading.Lock()
        self._make_reader: Callable[[], Reader] = lambda: Reader(
            path, self._mutex, self._place.connect
        )
        self._make_writer: Callable[[], Writer[J]] = lambda: Writer(
            path,
            self._mutex,
            self._reader,
            self._health,
            apply=apply,
            undone=undone,
            on_failure=on_failure,
            capacity=capacity,
            capacity_bytes=capacity_bytes,
        )
        self._state = _State.CLOSED
        self._start()

    def _start(self) -> None:
        """Be as if nothing had happened; for each time that it is opened."""
        self._health = Health(self._on_health)
        self._reader = self._make_reader()
        self._writer = self._make_writer()
        self._changing_since = math.inf  # when opening or closing began
        self._ended = threading.Event()
        self._opening = _uncancellable()
        self._closing = _uncancellable()

    @property
    def healthy(self) -> bool:
        """Whether the last thing that was tried succeeded."""
        return self._health.good

    async def open(self) -> None:
        """
        Lock and open the file; make it if there is none. Idempotent.

        Raises:
            StoreUnavailable: If that cannot be; the text says why, and what would help.
        """
        while True:
            with self._mutex:
                if self._state is _State.CLOSED:
                    self._start()
                    self._state = _State.OPENING
                    self._changing_since = time.monotonic()
                    for run in (self._run, self._watch):
                        name = f"{self.path.name} {run.__name__.strip('_')}"
                        threading.Thread(target=run, name=name, daemon=True).start()
                closing = self._closing if self._state is _State.CLOSING else None
            if closing is None:
                return await _done(self._opening)
            await _done(closing)

    async def aclose(self) -> None:
        """
        Write what waits, and close the file. Idempotent.

        Raises:
            StoreUnavailable: If that takes longer than the deadline.
        """
        with self._mutex:
            if self._state is _State.CLOSED:
                return
            if self._state is not _State.CLOSING:
                self._state = _State.CLOSING
                self._changing_since = time.monotonic()
                self._writer.close()
        await _done(self._closing)

    async def write(self, job: J) -> Any:
        """
        Have a job applied; return its outcome, or raise it. Cancelling undoes nothing.

        Raises:
            StoreFull: If too much waits already.
            StoreUnavailable: If the file is not open, or has failed.
        """
        job.loop = asyncio.get_running_loop()
        job.reply = job.loop.create_future()
        self._put(job)
        return await job.reply

    def write_nowait(self, job: J, then: Then) -> None:
        """
        Have a job applied; from any thread.

        Args:
            job: What to write.
            then: Called once with the outcome, in the order of the jobs, in the writer's thread:
                it must not wait, nor raise.

        Raises:
            StoreFull: If too much waits already.
            StoreUnavailable: If the file is not open.
        """
        job.reply = then
        self._put(job)

    async def call(self, function: Callable[[sqlite3.Connection], T], size: int = 0) -> T:
        """Write with a :class:`Call`; for files whose jobs are applied by :func:`apply_each`."""
        job: Any = Call(function, size)
        outcome: T = await self.write(job)
        return outcome

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """
        Return what ``query`` returns, or raise what it raises.

        It sees one moment: all that was told before this was called, and nothing uncommitted. Every
        step of a statement costs two changes of the lock that Python's threads share, each of
        which may take milliseconds beside a busy event loop: few rows are better than many.

        Args:
            query: Takes the reader's connection, in the reader's thread.

        Raises:
            StoreUnavailable: If the file is not open, has failed, or takes too long.
        """
        loop = asyncio.get_running_loop()
        read = Read(query, loop, loop.create_future())
        with self._mutex:
            if self._state is not _State.OPEN:
                raise StoreUnavailable(f"{self.path} is not open")
            self._reader.put(read)
        found: T = await read.future
        return found

    def give_up(self) -> None:
        """Never try to write again until it is opened anew; for ``on_failure`` to call."""
        self._writer.given_up = True

    def _put(self, job: J) -> None:
        job.since = time.monotonic()
        with self._mutex:
            if self._state is not _State.OPEN:
                raise StoreUnavailable(f"{self.path} is not open")
            self._writer.put(job)

    def _run(self) -> None:
        """Open, write until it is closed, and close; all of it in one thread."""
        with contextlib.ExitStack() as stack:
            try:
                connection = self._place.open(stack, self._prepare)
            except StoreUnavailable as error:
                stack.close()
                self._stopped(error)
                return
            except Exception as error:  # noqa: BLE001 - whoever opens must hear of it
                stack.close()
                self._stopped(StoreUnavailable(f"{self.path} cannot be opened: {error!r}"))
                return
            reader = threading.Thread(
                target=self._reader.run, name=f"{self.path.name} read", daemon=True
            )
            reader.start()
            self._reader.begun.wait(self._deadline)  # later its path might be another file's
            with self._mutex:
                if self._state is _State.OPENING:
                    self._state = _State.OPEN
                    self._changing_since = math.inf
                if not self._opening.done():
                    self._opening.set_result(None)
            self._writer.run(connection)
            with self._mutex:
                self._reader.close()
            reader.join(self._deadline)
            if self._health.good:
                try:
                    self._place.leave(connection, self._finish)
                except sqlite3.Error as error:
                    self._writer.fail(error)
        self._stopped(None)

    def _stopped(self, error: StoreUnavailable | None) -> None:
        with self._mutex:
            self._state = _State.CLOSED
            self._ended.set()
            if error is not None:
                self._health.good = False  # who opens it is told
                if not self._opening.done():
                    self._opening.set_exception(error)
            if not self._closing.done():
                self._closing.set_result(None)

    def _watch(self) -> None:
        """
        Tell those who have waited too long, and see if the file is there; in a thread of its own.

        A thread that hangs in the kernel can tell nobody.
        """
        while not self._ended.wait(min(1.0, self._deadline / 4)):
            since = time.monotonic() - self._deadline
            if self._state is _State.OPEN and not self._place.is_same():
                self._writer.lose(
                    StoreUnavailable(
                        f"{self.path} was removed or replaced while it was open; what it had is not"
                        " there any more: restart with the file that is to be used"
                    )
                )
            with self._mutex:
                jobs = self._writer.take_late(since)
                reads = self._reader.take_late(since)
                if self._changing_since <= since:
                    opening = self._state is _State.OPENING
                    future = self._opening if opening else self._closing
                    if not future.done():
                        future.set_exception(self._too_slow())
            if jobs or reads:
                self._health.failed(self._too_slow())
            for job in jobs:
                refuse(job, self._too_slow())
            for read in reads:
                wake(read.loop, answer, read.future, self._too_slow(), True)

    def _too_slow(self) -> StoreUnavailable:
        return too_slow(self.path, self._deadline)


class _State(enum.Enum):
    CLOSED = enum.auto()
    OPENING = enum.auto()
    OPEN = enum.auto()
    CLOSING = enum.auto()


async def _done(future: Future[None]) -> None:
    # The deadline is the watch's, as any other: the clock of a loop may be virtual.
    await asyncio.shield(asyncio.wrap_future(future))


def _uncancellable() -> Future[None]:
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()
    return future
