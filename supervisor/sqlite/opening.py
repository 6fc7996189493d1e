"""
How a SQLite file is locked, opened, looked through and left: for :mod:`supervisor.sqlite`.

Whoever has the file open holds a lock on ``PATH.<role>.lock``; the kernel drops it with the process.
"""

from __future__ import annotations

import contextlib
import enum
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from supervisor.errors import StoreUnavailable
from supervisor.sqlite.failures import unavailable

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["LastStop", "Place"]

CHECKED_ALWAYS = 16 << 20
"""Bytes of a file that is looked through whenever it is opened: some 20 milliseconds."""

CHECKED_AFTER_A_CRASH = 256 << 20
"""Bytes of a file that is looked through after it was not closed; a larger one takes too long."""

OLDEST_SQLITE = (3, 35, 0)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class LastStop(enum.Enum):
    """How the file was left by who used it last."""

    CLEAN = "closed; also that of a new file"
    KILLED = "the process ended, the machine did not: every commit is there"
    CRASHED = "the machine may have ended: with synchronous='normal' the last commits may be gone"


class Place:
    """
    Where a file is, and what is to be in it.

    Args:
        path: Of the database; its directory exists.
        role: See :class:`supervisor.sqlite.SqliteFile`, and so for the rest.
        schema: Statements that make the tables of a new file.
        version: Of the schema.
        synchronous: What survives when the machine loses its power.
        deadline: Seconds that anything may take.
    """

    def __init__(
        self,
        path: Path,
        role: str,
        *,
        schema: Sequence[str],
        version: int,
        synchronous: str,
        deadline: float,
    ) -> None:
        self._path = path
        self._role = role
        self._schema = schema
        self._version = version
        self._synchronous = synchronous
        self._deadline = deadline
        self._identity: tuple[int, int] | None = None  # of the file that is open

    def open(
        self,
        stack: contextlib.ExitStack,
        prepare: Callable[[sqlite3.Connection, LastStop], None] | None,
    ) -> sqlite3.Connection:
        """
        Lock and open the file; ``stack`` closes and unlocks it.

        Raises:
            StoreUnavailable: If that cannot be; the text says why, and what would help.
        """
        self._check_place()
        stack.enter_context(self._locked())
        try:
            connection = self.connect()
            stack.callback(connection.close)
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if tables and "stores" not in tables:
                raise StoreUnavailable(
                    f"{self._path} is the database of another application: use another file"
                )
            # What is said about how it was left must be on disk before anything else is.
            connection.execute("PRAGMA synchronous = FULL")
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StoreUnavailable(
                    f"{self._path} cannot have a write-ahead log: is it on a network file system?"
                )
            self._check_size(connection)
            connection.execute("BEGIN IMMEDIATE")
            last_stop = self._read_last_stop(connection)
            self._check(connection, last_stop)
            if prepare is not None:
                prepare(connection, last_stop)
            connection.execute("COMMIT")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            self._identity = self._look()
        except sqlite3.Error as error:
            raise unavailable(self._path, error) from error
        return connection

    def is_same(self) -> bool:
        """Whether the file that is open is the one that would be opened now."""
        return self._look() == self._identity

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def connect(self) -> sqlite3.Connection:
        """Return a further connection, for as long as the file is open."""
        connection = sqlite3.connect(
            self._path, timeout=self._deadline / 2, isolation_level=None, check_same_thread=False
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
        directory = self._path.parent
        try:
            if not directory.is_dir():
                problem = "is not a directory" if directory.exists() else "does not exist: make it"
                raise StoreUnavailable(f"{self._path} cannot be opened: {directory} {problem}")
            if self._path.exists() and not self._path.is_file():
                raise StoreUnavailable(f"{self._path} is not a file")
        except OSError as error:
            raise StoreUnavailable(
                f"{self._path} cannot be opened: {error.strerror}; check the permissions of its"
                " directory and of those above"
            ) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        path = self._path.with_name(f"{self._path.name}.{self._role}.lock")
        try:
            file = path.open("ab")
        except OSError as error:
            raise StoreUnavailable(
                f"{path} cannot be written: {error.strerror}; this file and the directory of the"
                " database must be writable"
            ) from error
        with file:
            if not _lock(file):
                raise StoreUnavailable(
                    f"{self._path} is used by another process, or by another store of this one: one"
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
                    f"{self._path} was made by a newer version of this library (its {self._role} is"
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
        size = self._path.stat().st_size
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        log = self._path.with_name(f"{self._path.name}-wal")
        if size < page_size * pages and not (log.exists() and log.stat().st_size):
            raise sqlite3.DatabaseError(f"it has {size} bytes of {page_size * pages}")

    def _check(self, connection: sqlite3.Connection, last_stop: LastStop) -> None:
        """
        Look for damage, as far as there is time.

        SQLite survives crashes; what damages files is disks, copies of files in use, and hands.
        """
        size = self._path.stat().st_size
        most = CHECKED_ALWAYS if last_stop is LastStop.CLEAN else CHECKED_AFTER_A_CRASH
        if size <= most:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(found)

    def leave(
        self,
        connection: sqlite3.Connection,
        finish: Callable[[sqlite3.Connection], None] | None,
    ) -> None:
        """Say that the file was left in order; if that fails, the next one to open it will know."""
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        if finish is not None:
            finish(connection)
        connection.execute("UPDATE stores SET clean = 1 WHERE role = ?", (self._role,))
        connection.execute("COMMIT")


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
