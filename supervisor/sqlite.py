"""
A SQLite file that one process writes: the ground that the stores on disk stand on.

Two threads, each with a connection of its own: one writes, one reads, so that neither an event
loop nor a reader ever waits for the disk of a writer. What is to be written waits in a bounded
queue, and whatever waits together becomes one transaction (*group commit*): a *job* costs a
fraction of a commit. Replies go back in groups, too, with one wake-up of each event loop.

A store says how a group of jobs is applied, and decides nothing about transactions, threads,
waiting and failing. The journal is a write-ahead log. With ``synchronous="normal"``, what was
confirmed survives that the process is killed; if the machine loses its power, the last commits may
be missing, and the file is whole. With ``"full"`` they are there too, and each commit waits for the
disk. Not for network file systems.

It is one piece because it has one state: who opens, writes, reads, watches and closes share a lock.

Whoever has the file open holds a lock on ``PATH.<role>.lock``; the kernel drops it with the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import math
import sqlite3
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any, Generic, Literal, TypeVar

from supervisor.errors import StoreFull, StoreUnavailable

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = [
    "CAPACITY",
    "CAPACITY_BYTES",
    "DEADLINE",
    "Call",
    "Job",
    "LastStop",
    "SqliteFile",
    "apply_each",
    "call_safely",
]

CAPACITY = 10_000
"""Jobs that wait at most."""

CAPACITY_BYTES = 64 << 20
"""Bytes that wait at most."""

DEADLINE = 30.0
"""Seconds that anything may take."""

GROUP = 1_000
"""Jobs of one transaction at most; their replies occupy an event loop for a millisecond or two."""

RETRY_AFTER = 1.0
"""Seconds after a failure in which nothing is tried."""

CHECKED_ALWAYS = 16 << 20
"""Bytes of a file that is looked through whenever it is opened: some 20 milliseconds."""

CHECKED_AFTER_A_CRASH = 256 << 20
"""Bytes of a file that is looked through after it was not closed; a larger one takes too long."""

OLDEST_SQLITE = (3, 35, 0)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

T = TypeVar("T")
J = TypeVar("J", bound="Job")

Then = Callable[[Any], None]


class LastStop(enum.Enum):
    """How the file was left by who used it last."""

    CLEAN = "closed; also that of a new file"
    KILLED = "the process ended, the machine did not: every commit is there"
    CRASHED = "the machine may have ended: with synchronous='normal' the last commits may be gone"


class Job:
    """
    Something to be written; a base class, because one is made for every message.

    Attributes:
        size: Bytes that it counts for while it waits.
        outcome: Set when it is applied: what its waiter gets, an ``Exception`` to be raised.
        early: Set when it is applied: whether the waiter may be told before the commit.
        told: Whether it was told.
    """

    __slots__ = ("early", "loop", "outcome", "reply", "since", "size", "told")

    def __init__(self, size: int = 0) -> None:
        self.size = size
        self.early = False
        self.told = False
        self.outcome: Any = None
        self.since = 0.0
        self.loop: asyncio.AbstractEventLoop | None = None
        self.reply: Any = None  # a future of that loop; without a loop, what to call


class Call(Job):
    """
    A function that writes; for :func:`apply_each`.

    Args:
        function: Takes the connection, inside a transaction that it must not end. What it raises
            undoes what it did, and nothing else.
        size: Bytes that it counts for while it waits.
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[[sqlite3.Connection], Any], size: int = 0) -> None:
        super().__init__(size)
        self.function = function


def apply_each(connection: sqlite3.Connection, jobs: Sequence[Job]) -> None:
    """Apply :class:`Call` jobs, each in a savepoint."""
    for job in jobs:
        assert isinstance(job, Call)
        connection.execute("SAVEPOINT job")
        try:
            job.outcome = job.function(connection)
        except Exception as error:
            if is_failure(error):
                raise
            connection.execute("ROLLBACK TO job")
            job.outcome = error
        connection.execute("RELEASE job")


def is_failure(error: Exception) -> bool:
    """Return whether the file has failed, rather than what was done with it."""
    if isinstance(error, StoreUnavailable):
        return True
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)
    )


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
        synchronous: Literal["normal", "full"] = "normal",
        capacity: int = CAPACITY,
        capacity_bytes: int = CAPACITY_BYTES,
        deadline: float = DEADLINE,
    ) -> None:
        self.path = path
        self._role = role
        self._schema = schema
        self._version = version
        self._apply = apply
        self._prepare = prepare
        self._finish = finish
        self._undone = undone
        self._on_failure = on_failure
        self._synchronous = synchronous
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._deadline = deadline
        self._mutex = threading.Lock()
        self._wake_writer = threading.Condition(self._mutex)
        self._wake_reader = threading.Condition(self._mutex)
        self._state = _State.CLOSED
        self._start()

    def _start(self) -> None:
        self._healthy = True
        self._given_up = False
        self._error = StoreUnavailable("")  # the last failure
        self._retry_at = 0.0
        self._queue: deque[J] = deque()
        self._queued = 0  # bytes
        self._group: list[J] = []
        self._writer_waits = False
        self._written = False  # all of it, because it is to be closed
        self._reads: deque[_Read] = deque()
        self._reading: _Read | None = None
        self._groups_told = 0  # groups of which somebody was told before the commit
        self._groups_over = 0  # those of them whose commit is over
        self._changing_since = math.inf  # when opening or closing began
        self._ended = threading.Event()
        self._opening = _uncancellable()
        self._closing = _uncancellable()

    @property
    def healthy(self) -> bool:
        """Whether the last thing that was tried succeeded."""
        return self._healthy

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
                self._wake_writer.notify()
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
        """
        job.reply = then
        try:
            self._put(job)
        except StoreFull:
            raise
        except StoreUnavailable as error:
            then(error)

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
        read = _Read(query, loop, loop.create_future())
        with self._mutex:
            if self._state is not _State.OPEN:
                raise self._not_open()
            read.needs = self._groups_told
            self._reads.append(read)
            self._wake_reader.notify()
        found: T = await read.future
        return found

    def give_up(self) -> None:
        """Never try to write again until it is opened anew; for ``on_failure`` to call."""
        self._given_up = True

    # ------------------------------------------------------------------------------- the writer

    def _put(self, job: J) -> None:
        job.since = time.monotonic()
        with self._mutex:
            if self._state is not _State.OPEN:
                raise self._not_open()
            if len(self._queue) >= self._capacity or (
                self._queued + job.size > self._capacity_bytes and self._queue
            ):
                raise StoreFull(
                    f"{self.path} cannot be written as fast as it is told to:"
                    f" {len(self._queue)} writes of {self._queued} bytes wait"
                )
            self._queue.append(job)
            self._queued += job.size
            if self._writer_waits:
                self._writer_waits = False
                self._wake_writer.notify()

    def _run(self) -> None:
        """Open, write until it is closed, and close; all of it in one thread."""
        with contextlib.ExitStack() as stack:
            try:
                connection = self._open(stack)
            except StoreUnavailable as error:
                stack.close()
                self._stopped(error)
                return
            except Exception as error:  # noqa: BLE001 - whoever opens must hear of it
                stack.close()
                self._stopped(StoreUnavailable(f"{self.path} cannot be opened: {error!r}"))
                return
            reader = threading.Thread(
                target=self._read_all, name=f"{self.path.name} read", daemon=True
            )
            reader.start()
            with self._mutex:
                if self._state is _State.OPENING:
                    self._state = _State.OPEN
                    self._changing_since = math.inf
                if not self._opening.done():
                    self._opening.set_result(None)
            while group := self._take():
                self._write(connection, group)
            with self._mutex:
                self._written = True
                self._wake_reader.notify()
            reader.join(self._deadline)
            self._end(connection)
        self._stopped(None)

    def _stopped(self, error: StoreUnavailable | None) -> None:
        with self._mutex:
            self._state = _State.CLOSED
            self._ended.set()
            if error is not None:
                self._healthy = False
                if not self._opening.done():
                    self._opening.set_exception(error)
            if not self._closing.done():
                self._closing.set_result(None)

    def _take(self) -> list[J]:
        """Wait for jobs; return none once it is to be closed and all are done."""
        with self._mutex:
            self._group = []
            while not self._queue:
                if self._state is _State.CLOSING:
                    return []
                self._writer_waits = True
                self._wake_writer.wait()
            self._writer_waits = False
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

    def _write(self, connection: sqlite3.Connection, group: list[J]) -> None:
        if self._given_up or time.monotonic() < self._retry_at:
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
                    self._groups_told += 1  # reads must wait from before anybody is told
                self._tell(early)
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told
            with contextlib.suppress(sqlite3.Error):
                connection.rollback()
            if self._undone is not None:
                self._undone(group)
            if is_failure(error) or told:
                self._fail(error)
                self._refuse(group)
            elif len(group) > 1:  # one job is to blame: the others need not suffer
                for job in group:
                    self._write(connection, [job])
            else:
                group[0].outcome = error
                self._tell(group)
        else:
            self._healthy = True
            if not told or len(early) < len(group):
                self._tell([job for job in group if not job.early])
        finally:
            if told:
                with self._mutex:
                    self._groups_over += 1
                    self._wake_reader.notify()

    def _fail(self, error: Exception) -> None:
        self._healthy = False
        self._error = self._unavailable(error)
        self._retry_at = time.monotonic() + RETRY_AFTER

    def _refuse(self, group: list[J]) -> None:
        if self._on_failure is None or not self._on_failure(self._error, group):
            for job in group:
                if not job.told:
                    job.outcome = self._error
        self._tell(group)

    def _tell(self, jobs: Sequence[Job]) -> None:
        """Tell the waiters what became of their jobs: one wake-up of each loop."""
        with self._mutex:  # the watch may have told some that it took too long
            jobs = [job for job in jobs if not job.told]
            for job in jobs:
                job.told = True
        by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
        for job in jobs:
            loop = job.loop
            if loop is None:
                call_safely(job.reply, job.outcome)
            elif loop in by_loop:
                by_loop[loop].append(job)
            else:
                by_loop[loop] = [job]
        for loop, waiting in by_loop.items():
            _wake(loop, _settle, waiting)

    # ------------------------------------------------------------------------------- the reader

    def _read_all(self) -> None:
        """Answer reads until the writer has ended; in a thread of its own."""
        connection: sqlite3.Connection | None = None
        while (read := self._next_read()) is not None:
            outcome: Any
            failed = True
            try:
                if connection is None:
                    connection = self._connect()
                    connection.execute("PRAGMA query_only = ON")
                connection.execute("BEGIN")
                try:
                    outcome = read.query(connection)
                finally:
                    connection.rollback()
                failed = False
            except sqlite3.Error as error:
                outcome = self._unavailable(error)
            except Exception as error:  # noqa: BLE001 - the reader gets whatever it was
                outcome = error
            with self._mutex:
                self._reading = None
                if read.told:
                    continue
                read.told = True
            _wake(read.loop, _answer, read.future, outcome, failed)
        if connection is not None:
            connection.close()

    def _next_read(self) -> _Read | None:
        with self._mutex:
            while True:
                if self._reads and self._reads[0].needs <= self._groups_over:
                    self._reading = self._reads.popleft()
                    return self._reading
                if self._written and not self._reads:
                    return None
                self._wake_reader.wait()

    # -------------------------------------------------------------------------------- the watch

    def _watch(self) -> None:
        """
        Tell those who have waited too long; in a thread of its own.

        A thread that hangs in the kernel can tell nobody.
        """
        while not self._ended.wait(min(1.0, self._deadline / 4)):
            since = time.monotonic() - self._deadline
            with self._mutex:
                late: list[Job] = [
                    job for job in self._group if job.since <= since and not job.told
                ]
                while self._queue and self._queue[0].since <= since:
                    job = self._queue.popleft()
                    self._queued -= job.size
                    late.append(job)
                for each in late:
                    each.told = True
                reads = [self._reading, *self._reads]
                late_reads = [read for read in reads if read and read.since <= since]
                for read in late_reads:
                    read.told = True
                    if read is not self._reading:
                        self._reads.remove(read)
                if self._changing_since <= since:
                    opening = self._state is _State.OPENING
                    future = self._opening if opening else self._closing
                    if not future.done():
                        future.set_exception(self._too_slow())
            if late or late_reads:
                self._healthy = False
            for each in late:
                if each.loop is None:
                    call_safely(each.reply, self._too_slow())
                else:
                    _wake(each.loop, _answer, each.reply, self._too_slow(), True)
            for read in late_reads:
                _wake(read.loop, _answer, read.future, self._too_slow(), True)

    def _too_slow(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self.path} did not answer within {self._deadline:g} s: its disk hangs, or is far too"
            " slow; whether what waited was written is not known"
        )

    # ------------------------------------------------------------------------ opening and closing

    def _open(self, stack: contextlib.ExitStack) -> sqlite3.Connection:
        self._check_place()
        stack.enter_context(self._locked())
        try:
            connection = self._connect()
            stack.callback(connection.close)
            # What is said about how it was left must be on disk before anything else is.
            connection.execute("PRAGMA synchronous = FULL")
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StoreUnavailable(
                    f"{self.path} cannot have a write-ahead log: is it on a network file system?"
                )
            self._check_size(connection)
            connection.execute("BEGIN IMMEDIATE")
            last_stop = self._read_last_stop(connection)
            self._check(connection, last_stop)
            if self._prepare is not None:
                self._prepare(connection, last_stop)
            connection.execute("COMMIT")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=self._deadline / 2, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA cache_size = -16384")
        # Each time the log is brought into the file, the disk is waited for: in 16 MiB, not in 4.
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        return connection

    def _check_place(self) -> None:
        """Say what SQLite would only call an inability to open."""
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            oldest = ".".join(map(str, OLDEST_SQLITE))
            raise StoreUnavailable(f"SQLite is {sqlite3.sqlite_version}; {oldest} is needed")
        directory = self.path.parent
        if not directory.is_dir():
            problem = "is not a directory" if directory.exists() else "does not exist: make it"
            raise StoreUnavailable(f"{self.path} cannot be opened: {directory} {problem}")
        if self.path.exists() and not self.path.is_file():
            raise StoreUnavailable(f"{self.path} is not a file")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        path = self.path.with_name(f"{self.path.name}.{self._role}.lock")
        try:
            file = path.open("ab")
        except OSError as error:
            raise StoreUnavailable(
                f"{path} cannot be written: {error.strerror}; the directory of the database must"
                " be writable"
            ) from error
        with file:
            if not _lock(file):
                raise StoreUnavailable(
                    f"{self.path} is used by another process, or by another store of this one: one"
                    " process has it at a time. Several processes need a server that they share,"
                    " such as Redis, which a later version will support"
                )
            yield

    def _read_last_stop(self, connection: sqlite3.Connection) -> LastStop:
        """Check the version, make the tables of a new file; say how it was left, and that it is open."""
        boot = _boot_id()
        connection.execute(
            "CREATE TABLE IF NOT EXISTS stores"
            " (role TEXT PRIMARY KEY, version INTEGER, clean INTEGER, boot TEXT)"
        )
        row = connection.execute(
            "SELECT version, clean, boot FROM stores WHERE role = ?", (self._role,)
        ).fetchone()
        if row is None:
            for statement in self._schema:
                connection.execute(statement)
            last_stop = LastStop.CLEAN
        else:
            version, clean, last_boot = row
            if version > self._version:
                raise StoreUnavailable(
                    f"{self.path} was made by a newer version of this library (its {self._role} is"
                    f" of version {version}, not {self._version}): upgrade, or use another file"
                )
            if clean:
                last_stop = LastStop.CLEAN
            elif boot and boot == last_boot:
                last_stop = LastStop.KILLED
            else:
                last_stop = LastStop.CRASHED
        connection.execute(
            "REPLACE INTO stores VALUES (?, ?, 0, ?)", (self._role, self._version, boot)
        )
        return last_stop

    def _check_size(self, connection: sqlite3.Connection) -> None:
        """Find a file that was cut off; the missing pages may be in its log."""
        size = self.path.stat().st_size
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        log = self.path.with_name(f"{self.path.name}-wal")
        if size < page_size * pages and not (log.exists() and log.stat().st_size):
            raise sqlite3.DatabaseError(f"it has {size} bytes of {page_size * pages}")

    def _check(self, connection: sqlite3.Connection, last_stop: LastStop) -> None:
        """
        Look for damage, as far as there is time.

        SQLite survives crashes; what damages files is disks, copies of files in use, and hands.
        """
        size = self.path.stat().st_size
        most = CHECKED_ALWAYS if last_stop is LastStop.CLEAN else CHECKED_AFTER_A_CRASH
        if size <= most:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(found)

    def _end(self, connection: sqlite3.Connection) -> None:
        """Say that the file was left in order; if that fails, the next one to open it will know."""
        if not self._healthy:
            return
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            if self._finish is not None:
                self._finish(connection)
            connection.execute("UPDATE stores SET clean = 1 WHERE role = ?", (self._role,))
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail(error)

    def _not_open(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self.path} is not open")

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        if isinstance(error, StoreUnavailable):
            return error
        code = getattr(
            error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT if is_failure(error) else 0
        )
        text = f"{self.path}: {_HELP.get(code & 0xFF, 'it has failed')} ({error})"
        unavailable = StoreUnavailable(text)
        unavailable.__cause__ = error
        return unavailable


class _State(enum.Enum):
    CLOSED = enum.auto()
    OPENING = enum.auto()
    OPEN = enum.auto()
    CLOSING = enum.auto()


class _Read:
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


_HELP = {
    sqlite3.SQLITE_FULL: "its disk is full: make space",
    sqlite3.SQLITE_IOERR: "its disk has failed",
    sqlite3.SQLITE_CORRUPT: "it is damaged: put a backup in its place, or move it away",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database, or damaged: use another file",
    sqlite3.SQLITE_READONLY: "it cannot be written: check the permissions of it and its directory",
    sqlite3.SQLITE_PERM: "it cannot be written: check the permissions of it and its directory",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check the permissions of it and its directory",
    sqlite3.SQLITE_BUSY: "another program keeps it locked",
    sqlite3.SQLITE_LOCKED: "another program keeps it locked",
}


def _settle(jobs: Sequence[Job]) -> None:
    for job in jobs:
        _answer(job.reply, job.outcome, isinstance(job.outcome, Exception))


def _answer(future: asyncio.Future[Any], outcome: Any, failed: bool) -> None:
    if future.done():
        return  # its waiter was cancelled
    if failed:
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def call_safely(function: Callable[..., None], *args: Any) -> None:
    """Call what must not raise; if it does, report it as an error of the thread, and go on."""
    try:
        function(*args)
    except Exception:  # noqa: BLE001 - the thread has others to serve
        threading.excepthook(
            threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread()))
        )


def _wake(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any) -> None:
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        pass  # it was closed: nobody waits there any more


async def _done(future: Future[None]) -> None:
    # The deadline is the watch's, as any other: the clock of a loop may be virtual.
    await asyncio.shield(asyncio.wrap_future(future))


def _uncancellable() -> Future[None]:
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()
    return future


def _boot_id() -> str:
    """Return what names this run of the machine; empty where there is no such name."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _lock(file: IO[bytes]) -> bool:
    """Lock a file for as long as it is open; return whether nobody else has."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
