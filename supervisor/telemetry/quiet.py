"""What happens for each message and is logged once a while: the first, then one a period with the number."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

__all__ = ["LOG_PERIOD", "Quiet"]

LOG_PERIOD = 10.0
"""Seconds between two log lines about the same thing."""

REMEMBERED = 1000
"""Things whose numbers are remembered; the one that was logged longest ago is forgotten."""


class Quiet:
    """
    Says whether it is time for a log line; thread-safe.

    Args:
        clock: Seconds, of a clock that never goes back.
        period: Seconds between two lines about the same thing.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, period: float = LOG_PERIOD
    ) -> None:
        self._clock = clock
        self._period = period
        self._lock = threading.Lock()
        self._seen: OrderedDict[Hashable, list[float]] = OrderedDict()  # quiet until, and number

    def total(self, what: Hashable) -> int | None:
        """Count one more; return how many there were if that is to be logged now, or else None."""
        now = self._clock()
        with self._lock:
            seen = self._seen.setdefault(what, [float("-inf"), 0])
            seen[1] += 1
            if now < seen[0]:
                return None
            seen[0] = now + self._period
            self._seen.move_to_end(what)
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
            return int(seen[1])
