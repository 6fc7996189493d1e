"""
What is to be written, and how those who wait are told: for :mod:`supervisor.sqlite`.

Nothing here knows the file. Who waits for a job is a future of an event loop, which is woken once
for many of them, or a function that is called in the thread that tells.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from supervisor.sqlite.failures import is_failure

__all__ = ["Call", "Job", "answer", "apply_each", "call_safely", "refuse", "tell", "wake"]


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


def tell(jobs: Sequence[Job]) -> None:
    """Tell the waiters what became of their jobs: one wake-up of each loop."""
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
        wake(loop, _settle, waiting)


def refuse(job: Job, error: Exception) -> None:
    """Tell the waiter of one job that it has failed."""
    if job.loop is None:
        call_safely(job.reply, error)
    else:
        wake(job.loop, answer, job.reply, error, True)


def _settle(jobs: Sequence[Job]) -> None:
    for job in jobs:
        answer(job.reply, job.outcome, isinstance(job.outcome, Exception))


def answer(future: asyncio.Future[Any], outcome: Any, failed: bool) -> None:
    """Set what a future waits for; in the thread of its loop."""
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


def wake(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any) -> None:
    """Have a loop call a function, from any thread."""
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        pass  # it was closed: nobody waits there any more
