"""
Which errors mean that a SQLite file has failed, and what would help: for :mod:`supervisor.sqlite`.

Says it in words for whoever runs the server; decides nothing.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from supervisor.errors import StoreUnavailable

__all__ = ["is_failure", "too_slow", "unavailable"]

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

_HELP_EXACTLY = {
    sqlite3.SQLITE_IOERR_WRITE: "it cannot be written: its disk has failed, or a quota or a limit of "
    "the size of files is reached",
}
"""The same for extended codes, which say more. That of a write is the same for every ``errno`` but
``ENOSPC``, so that whether it was ``EFBIG``, ``EDQUOT`` or ``EIO`` is not known."""


def is_failure(error: Exception) -> bool:
    """Return whether the file has failed, rather than what was done with it."""
    if isinstance(error, StoreUnavailable):
        return True
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)
    )


def unavailable(path: Path, error: Exception) -> StoreUnavailable:
    """Return what those are told whom the error keeps from the file."""
    if isinstance(error, StoreUnavailable):
        return error
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT if is_failure(error) else 0)
    help_ = _HELP_EXACTLY.get(code) or _HELP.get(code & 0xFF, "it has failed")
    text = f"{path}: {help_} ({error})"
    unavailable = StoreUnavailable(text)
    unavailable.__cause__ = error
    return unavailable


def too_slow(path: Path, deadline: float) -> StoreUnavailable:
    """Return what those are told who have waited for longer than the deadline."""
    return StoreUnavailable(
        f"{path} did not answer within {deadline:g} s: its disk hangs, or is far too"
        " slow; whether what waited was written is not known"
    )
