"""Time is an argument: whoever needs it takes a :class:`Clock`, so that tests own it."""

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """Seconds on a clock that never goes back, from an arbitrary start: ``loop.time``."""

    def __call__(self) -> float:
        """Return the time now, in seconds."""
        ...
