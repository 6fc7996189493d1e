"""A deadline that is set and met again and again, such as that of each write to a slow client."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actors.runtime import Runtime
    from actors.timers import Timer

__all__ = ["Deadline"]


class Deadline:
    """
    Until when something has to happen.

    Args:
        runtime: Has the clock and the timers.
        on_missed: Called when it has passed, once each time that it was set.

    Attributes:
        due: When it passes; None while nothing has to happen. Whoever meets it sets None.
    """

    __slots__ = ("_on_missed", "_rings", "_runtime", "_timer", "due")

    def __init__(self, runtime: Runtime, on_missed: Callable[[], None]) -> None:
        self.due: float | None = None
        self._runtime = runtime
        self._on_missed = on_missed
        self._timer: Timer | None = None  # looks whether it has passed
        self._rings = 0.0  # when it looks

    def set(self, seconds: float) -> None:
        """
        Have it pass in ``seconds``.

        A timer that is on its way already will do: it looks at :attr:`due` when it rings. So
        a client that is slow all the time does not make a timer for each message.
        """
        due = self.due = self._runtime.clock() + seconds
        if self._timer is not None:
            if self._rings <= due:
                return
            self._timer.cancel()
        self._rings = due
        self._timer = self._runtime.call_later(seconds, self._look)

    def cancel(self) -> None:
        """Never call ``on_missed``, whatever passes, unless it is set again. Idempotent."""
        self.due = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self.due is None:
            return
        remaining = self.due - self._runtime.clock()
        if remaining <= 0:
            self._on_missed()
        else:
            self.set(remaining)
