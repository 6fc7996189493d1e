"""How often an actor may crash: a pure window over the times of its crashes."""

from __future__ import annotations

from collections import deque

__all__ = ["RestartWindow"]


class RestartWindow:
    """
    Allows a restart unless there were more than ``intensity`` in the last ``period`` seconds.

    The words are Erlang's (https://www.erlang.org/doc/system/sup_princ.html).
    """

    __slots__ = ("_times", "intensity", "period")

    def __init__(self, intensity: int, period: float) -> None:
        self.intensity = intensity
        self.period = period
        self._times: deque[float] = deque()

    def allows(self, now: float) -> bool:
        """Count a crash at ``now``, in seconds, and return whether to restart."""
        self._times.append(now)
        while self._times[0] <= now - self.period:
            self._times.popleft()
        return len(self._times) <= self.intensity
