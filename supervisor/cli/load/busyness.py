"""How busy this process is, so that a client can tell whether it was the bottleneck."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

__all__ = ["Busyness"]

INTERVAL = 0.02
"""Seconds between two samples."""


class Busyness:
    """
    Samples the CPU time of this process, while something arrives.

    Attributes:
        lag: Seconds by which a sample was late, at worst.
    """

    def __init__(self) -> None:
        self.lag = 0.0
        self._last_receipt: Callable[[], int] = int
        self._timer: asyncio.TimerHandle | None = None
        self._before = (0.0, 0.0)  # time and CPU time, when nothing had arrived yet
        self._latest = (0.0, 0.0)  # the same, when something last had
        self._seen = 0

    @property
    def share(self) -> float:
        """Share of one core that was used from the first receipt to the last."""
        elapsed = self._latest[0] - self._before[0]
        return (self._latest[1] - self._before[1]) / elapsed if elapsed > 0 else 0.0

    def start(self, last_receipt: Callable[[], int]) -> None:
        """
        Begin, in the running loop.

        Args:
            last_receipt: Returns the time of the last receipt; 0 before the first.
        """
        self._last_receipt = last_receipt
        self._before = self._latest = (time.monotonic(), time.process_time())
        self._schedule()

    def stop(self) -> None:
        """Take no more samples. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def sample(self) -> None:
        """Look now, too."""
        seen = self._last_receipt()
        if seen == self._seen:
            if not seen:
                self._before = self._latest = (time.monotonic(), time.process_time())
            return
        self._seen = seen
        self._latest = (time.monotonic(), time.process_time())

    def _schedule(self) -> None:
        due = time.monotonic() + INTERVAL

        def run() -> None:
            self.lag = max(self.lag, time.monotonic() - due)
            self.sample()
            self._schedule()

        self._timer = asyncio.get_running_loop().call_later(INTERVAL, run)
