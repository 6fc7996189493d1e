"""What every history promises, as a suite: see :mod:`supervisor.testing`."""

from __future__ import annotations

from collections.abc import Callable

from supervisor.history.base import History
from supervisor.testing.histories import appending, compaction, reading, retention
from supervisor.testing.histories.kit import Clock, append_to, opened

__all__ = ["append_to", "check_history"]

_MakeHistory = Callable[[Callable[[], float]], History]


async def check_history(make_history: _MakeHistory, *, durable: bool = False) -> None:
    """
    Check the promises of :class:`supervisor.history.base.History`.

    Args:
        make_history: Returns a new, empty store that is not open; takes the clock that the store
            reads Unix time from. Called once a promise; each store is closed at the end.
        durable: Whether what it keeps survives that it is closed and opened again.

    Raises:
        AssertionError: If a promise is broken; its text says which.

    Waits on the real clock for replies only, and uses threads.
    """
    parts = (appending, reading, retention, compaction)
    for promise in (promise for part in parts for promise in part.PROMISES):
        async with opened(make_history(Clock())) as history:
            await promise(history)
    timed = [promise for part in parts for promise in part.TIMED_PROMISES]
    if durable:
        timed += appending.DURABLE_PROMISES
    for promise in timed:
        clock = Clock()
        async with opened(make_history(clock)) as history:
            await promise(history, clock)
