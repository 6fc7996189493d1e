"""The stores of a supervisor, as its settings name them: what keeps messages of rooms and of users."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from supervisor.errors import NotRunning, StoreUnavailable
from supervisor.history.base import History
from supervisor.history.memory import MemoryHistory
from supervisor.inbox.base import Inbox
from supervisor.inbox.memory import MemoryInbox
from supervisor.settings import Settings
from supervisor.telemetry.logging import event_logger

__all__ = ["Stores"]

SQLITE = "sqlite:///"


class Stores:
    """
    Made with the supervisor, opened with its first use, closed with it.

    Args:
        settings: Name them.
        check_running: Raises where nobody would close them any more.

    Attributes:
        history: Keeps the messages of rooms.
        inbox: Keeps the important messages of users.
        opened: Whether they are open.
    """

    def __init__(self, settings: Settings, check_running: Callable[[], None]) -> None:
        self._log = event_logger()
        self._check_running = check_running
        self.history = self._history(settings)
        self.inbox = self._inbox(settings)
        self.opened = False

    async def open(self) -> None:
        """
        Open what is not open. Idempotent.

        Raises:
            StoreUnavailable: If one cannot be used; the text says why, and what would help.
            NotRunning: If the supervisor does not run, or was stopped meanwhile.
        """
        for name, store in (("history", self.history), ("inbox", self.inbox)):
            if self.opened:
                return
            self._check_running()
            try:
                await store.open()
            except StoreUnavailable as error:
                raise StoreUnavailable(f"setting {name}: {error}") from error
            if not self.opened:
                await self._close_if_stopped(store)
        self.opened = True

    async def _close_if_stopped(self, store: History | Inbox) -> None:
        """Close what was opened while the supervisor was stopped: it has closed its stores by then."""
        try:
            self._check_running()
        except NotRunning:
            await store.aclose()
            raise

    async def aclose(self) -> None:
        """Write what waits, and close. Idempotent."""
        self.opened = False
        await self.inbox.aclose()
        await self.history.aclose()

    @property
    def healthy(self) -> bool:
        """Whether they keep what they promise."""
        return self.history.healthy and self.inbox.healthy

    def _history(self, settings: Settings) -> History:
        if not settings.history.startswith(SQLITE):
            return MemoryHistory()
        from supervisor.history.sqlite import SqliteHistory  # noqa: PLC0415 - Python may lack it

        return SqliteHistory(
            Path(settings.history.removeprefix(SQLITE)),
            on_failure=settings.store_failure,
            on_fallback=self._history_fell_back,
            on_health=self._history_changed,
        )

    def _inbox(self, settings: Settings) -> Inbox:
        if not settings.inbox.startswith(SQLITE):
            return MemoryInbox()
        from supervisor.inbox.sqlite import SqliteInbox  # noqa: PLC0415 - Python may lack it

        return SqliteInbox(
            Path(settings.inbox.removeprefix(SQLITE)),
            on_failure=settings.store_failure,
            on_fall_back=self._inbox_fell_back,
        )

    def _history_fell_back(self, text: str, error: Exception) -> None:
        self._log.critical("history.fallback", reason=text, error=repr(error))

    def _history_changed(self, error: StoreUnavailable | None) -> None:
        if error is not None:
            self._log.error("history.failed", reason=str(error))
        else:
            self._log.warning("history.recovered")

    def _inbox_fell_back(self, error: StoreUnavailable) -> None:
        self._log.critical("inbox.fallback", reason=str(error))
