"""The stores of a supervisor, as its settings name them: what keeps messages of rooms and of users."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from supervisor.history.base import History
from supervisor.history.memory import MemoryHistory
from supervisor.settings import Settings
from supervisor.telemetry.logging import event_logger

__all__ = ["Stores"]

SQLITE = "sqlite:///"


class Stores:
    """
    Made with the supervisor, opened with its first use, closed with it.

    Attributes:
        history: Keeps the messages of rooms.
    """

    def __init__(self, settings: Settings) -> None:
        self._log = event_logger()
        self.history = self._history(settings)
        self._opened = False

    async def open(self) -> None:
        """
        Open what is not open. Idempotent.

        Raises:
            StoreUnavailable: If one cannot be used; the text says why, and what would help.
        """
        if not self._opened:
            await self.history.open()
            self._opened = True

    async def aclose(self) -> None:
        """Write what waits, and close. Idempotent."""
        self._opened = False
        await self.history.aclose()

    @property
    def healthy(self) -> bool:
        """Whether they keep what they promise."""
        return self.history.healthy

    def _history(self, settings: Settings) -> History:
        if not settings.history.startswith(SQLITE):
            return MemoryHistory()
        from supervisor.history.sqlite import SqliteHistory  # noqa: PLC0415 - Python may lack it

        return SqliteHistory(
            Path(settings.history.removeprefix(SQLITE)),
            on_failure=settings.store_failure,
            on_fallback=self._fell_back("history"),
        )

    def _fell_back(self, store: str) -> Callable[[str, Exception], None]:
        def tell(text: str, error: Exception) -> None:
            self._log.critical(f"{store}.fallback", reason=text, error=repr(error))

        return tell
