"""
Work that may fail and must not be forgotten: what has to be told to a store, by whom it is for.

A few are worked for at once, the others wait their turn. When something fails, all wait for a
backoff, then one of them tries; once it works they all go on. What the work is, the caller knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from itertools import islice
from typing import Generic, TypeVar

from actors.runtime import Job, Runtime
from actors.timers import Timer

__all__ = ["Retries"]

K = TypeVar("K", bound=Hashable)


class Retries(Generic[K]):
    """
    Works for keys, for each in one job at a time; belongs to the loop of ``runtime``.

    Args:
        runtime: Runs the jobs.
        work: Does all there is to do for a key; what it had not done when it raised, it does when
            it is called again.
        at_once: Keys that are worked for at a time.
        timeout: Seconds that one call of ``work`` may take; longer is a failure.
        longest: Seconds of the longest backoff; the first is one second.
        jitter: Returns a random number from 0 to 1.
        on_failure: Called with the error when an episode of failures begins.
        on_recovery: Called when it ends.
        on_done: Called with a key that was worked for without a failure.

    Attributes:
        failures: Rounds that have failed one after the other; 0 while it works.
    """

    def __init__(
        self,
        runtime: Runtime,
        work: Callable[[K], Awaitable[None]],
        *,
        at_once: int,
        timeout: float,
        longest: float = 60.0,
        jitter: Callable[[], float],
        on_failure: Callable[[BaseException], None],
        on_recovery: Callable[[], None],
        on_done: Callable[[K], None],
    ) -> None:
        self.failures = 0
        self._runtime = runtime
        self._work = work
        self._at_once = at_once
        self._timeout = timeout
        self._longest = longest
        self._jitter = jitter
        self._on_failure = on_failure
        self._on_recovery = on_recovery
        self._on_done = on_done
        self._waiting: dict[K, None] = {}
        self._running: dict[K, Job | None] = {}
        self._retry: Timer | None = None
        self._all_done: asyncio.Future[None] | None = None
        self._closed = False

    def __contains__(self, key: K) -> bool:
        return key in self._running or key in self._waiting

    def want(self, key: K) -> None:
        """Work for ``key``, and once more if that is being done now. Never waits."""
        if not self._closed:
            self._waiting[key] = None
            self._go_on()

    def forget(self, key: K) -> None:
        """Do not work for ``key`` any more, unless that is being done now."""
        self._waiting.pop(key, None)

    async def finish(self, timeout: float) -> None:
        """Return when all is done, or fails, or after ``timeout`` seconds; then do nothing more."""
        if self._running or (self._waiting and self._retry is None):
            self._all_done = self._runtime.loop.create_future()
            await asyncio.wait([self._all_done], timeout=timeout)
        self._closed = True
        self._waiting.clear()
        if self._retry is not None:
            self._retry.cancel()
        for job in list(self._running.values()):
            if job is not None:
                job.cancel()

    def _go_on(self) -> None:
        at_once = 1 if self.failures else self._at_once
        if self._retry is None and len(self._running) < at_once:
            free = (key for key in self._waiting if key not in self._running)
            for key in list(islice(free, at_once - len(self._running))):
                del self._waiting[key]
                self._start(key)
        idle = not self._running and (not self._waiting or self._retry is not None)
        if idle and self._all_done is not None and not self._all_done.done():
            self._all_done.set_result(None)

    def _start(self, key: K) -> None:
        async def work() -> None:
            async with asyncio.timeout(self._timeout):
                await self._work(key)

        self._running[key] = None
        job = self._runtime.run(
            work(), name="store work", on_done=lambda error: self._ended(key, error)
        )
        if key in self._running:  # with eager tasks it may have ended
            self._running[key] = job

    def _ended(self, key: K, error: BaseException | None) -> None:
        del self._running[key]
        if error is None:
            recovered = self.failures > 0
            self.failures = 0
            if recovered:
                self._on_recovery()
            self._on_done(key)
        elif not self._closed and not isinstance(error, asyncio.CancelledError):
            self._waiting[key] = None
            self._failed(error)
        self._go_on()

    def _failed(self, error: BaseException) -> None:
        if self._retry is not None:  # others that ran at the same time
            return
        if not self.failures:
            self._on_failure(error)
        seconds = min(self._longest, 2.0**self.failures)
        self.failures += 1
        self._retry = self._runtime.call_later(
            seconds * (0.8 + 0.4 * self._jitter()), self._try_again
        )

    def _try_again(self) -> None:
        self._retry = None
        self._go_on()
