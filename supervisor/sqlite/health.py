"""Whether a SQLite file does what it should, and who is told when that changes: for :mod:`supervisor.sqlite`."""

from __future__ import annotations

import threading
from collections.abc import Callable

from supervisor.errors import StoreUnavailable
from supervisor.sqlite.jobs import call_safely

__all__ = ["Health", "OnHealth"]

OnHealth = Callable[[StoreUnavailable | None], None]
"""Called once each time that a file begins to fail, with the error, and with None when it works again:
in a thread of the file, in order. Must not wait, nor raise."""


class Health:
    """
    Of one file, as long as it is open; used from any thread.

    Args:
        on_change: See :data:`OnHealth`.

    Attributes:
        good: Whether the last thing that was tried succeeded.
    """

    def __init__(self, on_change: OnHealth | None = None) -> None:
        self.good = True
        self._on_change = on_change
        self._changing = threading.Lock()

    def failed(self, error: StoreUnavailable) -> None:
        """Note that something has failed."""
        self._change(error)

    def recovered(self) -> None:
        """Note that something has succeeded."""
        if not self.good:
            self._change(None)

    def _change(self, error: StoreUnavailable | None) -> None:
        with self._changing:
            if self.good is (error is None):
                return
            self.good = error is None
            if self._on_change is not None:
                call_safely(self._on_change, error)
