"""
Appends under way, and who waits for them: for :mod:`supervisor.publishing`.

A store may tell what became of an append in a thread of its own. Who waits is woken on its own loop;
if nobody waits any more, what has become of it is somebody's all the same.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from actors.positions import Position
from supervisor.errors import StoreUnavailable

__all__ = ["Answers", "Pending"]


class Pending:
    """An append under way, and who waits for it."""

    __slots__ = ("_answers", "_claimed", "_future", "_loop", "_outcome", "_thread", "on_abandoned")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        answers: Answers,
        on_abandoned: Callable[[Position], None],
    ) -> None:
        self._loop = loop
        self._answers = answers
        self._thread = threading.get_ident()
        self._outcome: Position | Exception | None = None
        self._future: asyncio.Future[None] | None = None
        self._claimed = False  # whether the publisher has the outcome
        self.on_abandoned = on_abandoned

    def done(self, outcome: Position | Exception) -> None:
        """Take the outcome, in whatever thread the store has it."""
        self._outcome = outcome
        if threading.get_ident() == self._thread:
            if self._future is not None:
                self.wake()
        elif not self._answers.post(self._loop, self):
            self.wake()

    async def outcome(self, timeout: float) -> Position:
        """Return the outcome; who stops waiting leaves the rest to ``on_abandoned``."""
        if self._outcome is None:
            self._future = self._loop.create_future()
            late = self._loop.call_later(timeout, self._give_up)  # cheaper than a context
            try:
                await self._future
            except asyncio.CancelledError:
                if self._future.done() and not self._future.cancelled():
                    self.wake()  # the outcome came in the same moment
                raise
            finally:
                late.cancel()
            if self._outcome is None:
                raise StoreUnavailable(
                    f"the history has not answered within publish_timeout, {timeout:g} s; the "
                    "message may be kept yet"
                )
        self._claimed = True
        if isinstance(self._outcome, Exception):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome

    def _give_up(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def wake(self) -> None:
        """Let the one who waits go on; if nobody does any more, see to the rest."""
        if self._claimed:
            return
        if self._future is not None and not self._future.done():
            self._future.set_result(None)
        elif isinstance(self._outcome, Position):
            self.on_abandoned(self._outcome)


class Answers:
    """Takes answers to the loops that wait for them: one wake-up a loop, however many there are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.AbstractEventLoop, list[Pending]] = {}

    def post(self, loop: asyncio.AbstractEventLoop, pending: Pending) -> bool:
        """Wake ``pending`` on its loop; return whether that loop still is."""
        with self._lock:
            waiting = self._waiting.get(loop)
            if waiting is not None:
                waiting.append(pending)
                return True
            self._waiting[loop] = [pending]
        try:
            loop.call_soon_threadsafe(self._deliver, loop)
        except RuntimeError:  # it was closed
            with self._lock:
                abandoned = self._waiting.pop(loop)
            for each in abandoned:
                if each is not pending:
                    each.wake()
            return False
        return True

    def _deliver(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            waiting = self._waiting.pop(loop)
        for pending in waiting:
            pending.wake()
