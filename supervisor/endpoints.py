"""
The endpoints of a node: the tasks of the application that hold a connection open.

An endpoint whose client has gone is given a little time to end by itself. After that the
body of a session is cancelled; any other endpoint only when the server stops, which would
otherwise wait for it for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from actors.exits import CloseCode, Ending, ExitReason
from actors.runtime import Runtime
from supervisor.connection import Connection
from supervisor.settings import Settings

__all__ = ["Endpoints"]


class Endpoints:
    """Endpoints that have not ended."""

    def __init__(self, runtime: Runtime, settings: Settings) -> None:
        self._runtime = runtime
        self._settings = settings
        self._open: dict[Connection, None] = {}
        self._stopping = False
        self._change: asyncio.Future[None] | None = None  # of who waits for them to end

    def __len__(self) -> int:
        return len(self._open)

    def watch(self, connection: Connection, task: asyncio.Task[Any] | None) -> None:
        """Remember the endpoint of ``connection`` until :meth:`ended`."""
        if task is not None:
            connection.endpoint = task
            self._open[connection] = None

    def ended(self, connection: Connection) -> bool:
        """
        Take note that the endpoint of ``connection`` has ended. Idempotent.

        Returns:
            Whether it was cancelled because its client had gone, or the server stops; the
            cancellation is taken back then.
        """
        self._open.pop(connection, None)
        if self._change is not None and not self._change.done():
            self._change.set_result(None)
        if connection.grace is not None:
            connection.grace.cancel()
        task, connection.endpoint = connection.endpoint, None
        if not connection.cancelled or task is None:
            return False
        connection.cancelled = False
        task.uncancel()
        return True

    def client_gone(self, connection: Connection, reason: ExitReason) -> None:
        """Limit the time of the endpoint of a connection that was reaped."""
        stopping = reason.ending is Ending.SHUTDOWN or reason.code == CloseCode.SERVICE_RESTART
        if stopping or self._stopping:
            self._cancel_in(connection, self._settings.shutdown_grace)
        elif connection.supervised:
            self._cancel_in(connection, self._settings.disconnect_grace)

    def server_stops(self) -> None:
        """Limit the time of every endpoint, those whose clients have gone long ago too."""
        self._stopping = True
        for connection in list(self._open):
            self._cancel_in(connection, self._settings.shutdown_grace)

    async def finish(self, timeout: float, last: float) -> None:
        """
        Return when all have ended but the caller's own; cancel those that have not.

        Args:
            timeout: Seconds that they may take, unless their grace ends before.
            last: Seconds that those may take that are cancelled now.
        """
        await self._others_ended(timeout)
        for connection in self._others():
            _cancel(connection, connection.endpoint)
        await self._others_ended(last)

    def _others(self) -> list[Connection]:
        here = asyncio.current_task()
        return [connection for connection in self._open if connection.endpoint is not here]

    async def _others_ended(self, timeout: float) -> None:
        deadline = self._runtime.clock() + timeout
        while self._others() and (left := deadline - self._runtime.clock()) > 0:
            self._change = self._runtime.loop.create_future()
            await asyncio.wait([self._change], timeout=left)

    def _cancel_in(self, connection: Connection, grace: float) -> None:
        task = connection.endpoint
        if task is None:
            return
        if connection.grace is not None:
            connection.grace.cancel()
        connection.grace = self._runtime.call_later(grace, lambda: _cancel(connection, task))


def _cancel(connection: Connection, task: asyncio.Task[Any] | None) -> None:
    """Cancel the endpoint of ``connection``, unless it is another one, or none, by now."""
    if task is not None and connection.endpoint is task and not task.done():
        connection.cancelled = True
        task.cancel()
