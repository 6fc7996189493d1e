"""
Timer wheel: thousands of coarse deadlines for the price of one loop timer.

A pure machine: it knows no clock and calls nothing, it says what is due. Deadlines fall
into buckets of one tick; a heap holds each bucket once, so a wheel with five thousand
deadlines thirty seconds away costs one entry, and an empty one costs nothing at all.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

__all__ = ["Timer", "TimerWheel"]


class Timer:
    """One deadline. :meth:`cancel` is idempotent and drops the callback at once."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Make sure that the callback is never called."""
        self.callback = None

    @property
    def pending(self) -> bool:
        """Whether the callback is still to be called."""
        return self.callback is not None


class TimerWheel:
    """
    Deadlines by bucket.

    Args:
        tick: Width of a bucket in seconds; a deadline is late by less than this, and
            never early.
    """

    __slots__ = ("_buckets", "_heap", "tick")

    def __init__(self, tick: float = 0.1) -> None:
        if tick <= 0:
            raise ValueError(f"tick must be more than 0 seconds, not {tick}")
        self.tick = tick
        self._buckets: dict[int, list[Timer]] = {}
        self._heap: list[int] = []

    def schedule(self, when: float, callback: Callable[[], None]) -> Timer:
        """Have ``callback`` due at ``when``, in seconds of the caller's clock."""
        timer = Timer(callback)
        number = math.ceil(when / self.tick)
        if number * self.tick < when:  # the division was rounded, down
            number += 1
        elif (number - 1) * self.tick >= when:  # or up
            number -= 1
        bucket = self._buckets.get(number)
        if bucket is None:
            self._buckets[number] = [timer]
            heapq.heappush(self._heap, number)
        else:
            bucket.append(timer)
        return timer

    def next_due(self) -> float | None:
        """When :meth:`advance` has something to say next; None while the wheel is empty."""
        return self._heap[0] * self.tick if self._heap else None

    def advance(self, now: float) -> list[Timer]:
        """Take out and return the timers that are due at ``now`` and not cancelled."""
        due: list[Timer] = []
        while self._heap and self._heap[0] * self.tick <= now:
            due.extend(t for t in self._buckets.pop(heapq.heappop(self._heap)) if t.pending)
        return due

    def __len__(self) -> int:
        """Timers held, cancelled ones too until their bucket is due."""
        return sum(len(bucket) for bucket in self._buckets.values())
