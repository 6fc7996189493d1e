"""
The journal of a run: keeps what happens, then publishes it.

Every line goes to room ``log:{run}``, every change of state to ``status:{run}``
and, for lists of runs, to ``runs``. A line is kept before it is published, so
the kept lines are the truth: a viewer that missed a publication fetches it. A
publication that fails is counted and never fails a run. Publishing waits while
a room is full, so output is read from a command no faster than it can leave.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.runs import Run

__all__ = ["PUBLISH_TIMEOUT", "Journal", "Publisher"]

PUBLISH_TIMEOUT = 10.0  # seconds a publication may take before the run goes on without it

log = structlog.get_logger(__name__)


class Publisher(Protocol):
    """What the example needs of a supervisor to publish."""

    async def publish(self, room: str, data: Any, /, *, key: str | None = None) -> object:
        """Send ``data`` to everyone in ``room``; see :meth:`supervisor.Supervisor.publish`."""


class Journal:
    """The one writer of a run's log and of its rooms. ``clock`` returns seconds since 1970."""

    def __init__(self, run: Run, publisher: Publisher, clock: Callable[[], float]) -> None:
        self._run = run
        self._publisher = publisher
        self._order = asyncio.Lock()
        self.clock = clock

    async def line(self, step: int, stream: str, text: str) -> None:
        """Keep and publish a line. Lines are published in the order of their numbers."""
        async with self._order:
            line = self._run.lines.append(step=step, stream=stream, text=text, time=self.clock())
            await self._publish(f"log:{self._run.id}", line.message(self._run.id))

    async def state(self) -> None:
        """
        Publish how the run and its steps stand now.

        The key lets a newer state take the place of one that still waits for a slow viewer.
        """
        self._run.version += 1
        message = self._run.message(self.clock())
        await self._publish(f"status:{self._run.id}", message, key=self._run.id)
        await self._publish("runs", message, key=self._run.id)

    async def forgotten(self, run: str) -> None:
        """Publish that ``run`` is no longer kept."""
        await self._publish("runs", {"type": "forgotten", "run": run})

    async def _publish(self, room: str, message: dict[str, Any], key: str | None = None) -> None:
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT):
                await self._publisher.publish(room, message, key=key)
        except Exception:  # whatever is wrong with the feed, the run goes on
            self._run.unpublished += 1
            if self._run.unpublished == 1:
                log.warning("run.unpublished", run=self._run.id, room=room, exc_info=True)
