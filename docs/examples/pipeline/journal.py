"""
What is kept of runs: four kinds of rooms, and who writes and reads them.

``log:{run}`` has the lines, and ends with the run. ``status:{run}`` has the state of the run under
the key ``run``, and of its steps under ``step:0``, ``step:1`` and so on. ``runs`` lists the runs by
their ids. ``alert:runs`` has those that have failed, until somebody acknowledges. The supervisor keeps
all that, and brings viewers up to date whenever they come.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from pipeline.runs import Run
    from supervisor import KeptMessage, Supervisor

__all__ = ["ALERTS", "RUNS", "Journal", "forget", "log_room", "messages", "status_room", "values"]

RUNS = "runs"
ALERTS = "alert:runs"

log = structlog.get_logger(__name__)


def log_room(run: str) -> str:
    """Return the room of a run's lines."""
    return f"log:{run}"


def status_room(run: str) -> str:
    """Return the room of the states of a run and its steps."""
    return f"status:{run}"


class Journal:
    """
    The one writer of a run's rooms. ``clock`` returns seconds since 1970.

    Attributes:
        unkept: Lines that could not be kept.
    """

    def __init__(self, run: Run, supervisor: Supervisor, clock: Callable[[], float]) -> None:
        self._run = run
        self._supervisor = supervisor
        self._published: dict[str, dict[str, Any]] = {}
        self._failed = False
        self.clock = clock
        self.unkept = 0

    async def lines(self, step: str, stream: str, texts: Sequence[str]) -> None:
        """Publish lines of a step, in order; returns once they are kept, so output cannot run ahead."""
        room = log_room(self._run.run)
        now = round(self.clock(), 3)
        # All at once: the store writes together what comes together.
        kept = await asyncio.gather(
            *(
                self._publish(room, {"step": step, "stream": stream, "text": text, "time": now})
                for text in texts
            )
        )
        self.unkept += kept.count(False)

    async def state(self) -> None:
        """Publish what has changed of the states of the run and its steps."""
        run = self._run.run
        for key, value in self._run.values().items():
            if self._published.get(key) == value:
                continue
            self._published[key] = value
            await self._publish(status_room(run), value, key)
            if key == "run":
                await self._publish(RUNS, value, run)

    async def alert(self, detail: str) -> None:
        """Have somebody acknowledge that the run has failed; however often this is said, once."""
        run = self._run
        with self._whatever_is_wrong():
            await self._supervisor.publish(
                ALERTS,
                {"run": run.run, "title": run.title, "detail": detail},
                idempotency_key=run.run,
            )

    async def end(self) -> None:
        """Say that the log is complete."""
        with self._whatever_is_wrong():
            await self._supervisor.end(log_room(self._run.run))

    async def _publish(self, room: str, data: dict[str, Any], key: str | None = None) -> bool:
        with self._whatever_is_wrong():
            await self._supervisor.publish(room, data, key=key)
            return True
        return False

    @contextmanager
    def _whatever_is_wrong(self) -> Iterator[None]:
        """Let the run go on to its end when something cannot be kept."""
        try:
            yield
        except Exception:
            if not self._failed:  # once a run: there may be a hundred thousand lines
                log.warning("run.unpublished", run=self._run.run, exc_info=True)
            self._failed = True


async def messages(
    supervisor: Supervisor, room: str, *, after: int = 0
) -> AsyncIterator[KeptMessage]:
    """Iterate over what a room keeps after an offset, however many pages that is."""
    more = True
    while more:
        page = await supervisor.read_history(room, after=after)
        for message in page.messages:
            yield message
            after = message.offset
        more = page.more


async def values(supervisor: Supervisor, room: str) -> dict[str, Any]:
    """Return the values of a status room by their keys, the one that changed last at the end."""
    found: dict[str, Any] = {}
    async for message in messages(supervisor, room):
        if message.key is not None:
            found.pop(message.key, None)
            if not message.removed:
                found[message.key] = message.data
    return found


async def forget(supervisor: Supervisor, run: str) -> None:
    """Remove what is kept of a run; the list comes last, so that nothing is left without a name."""
    await supervisor.remove_history(log_room(run))
    await supervisor.remove_history(status_room(run))
    await supervisor.remove_key(RUNS, run)
