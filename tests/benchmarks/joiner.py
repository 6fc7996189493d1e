"""A client that joins a room which keeps its messages, reads them all, and leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from supervisor.cli.load import Receivers
from tests.benchmarks.servers import ServerError
from tests.benchmarks.sessions import Session

__all__ = ["Joiner"]

PATIENCE = 20.0
"""Seconds that a replay may take."""


class Joiner:
    """
    Joins the room of ``session`` at its oldest message.

    Args:
        session: Whose server keeps messages.
        lines: How many it keeps.
    """

    def __init__(self, session: Session, lines: int) -> None:
        self._url = f"ws://127.0.0.1:{session.server.port}{session.peer.path}?begin=start"
        self._lines = lines

    async def join(self) -> float:
        """
        Join, read all, and leave; return lines a second, the handshake included.

        Raises:
            ServerError: If they do not all come.
        """
        receiver = Receivers(self._url, 1)
        began = time.monotonic()
        try:
            await receiver.connect()
            receiver.expect(self._lines)
            complete = await receiver.done(PATIENCE)
            elapsed = time.monotonic() - began
        finally:
            await receiver.close(timeout=2)
        if not complete:
            raise ServerError(f"{receiver.delivered} of {self._lines} lines were replayed")
        return self._lines / elapsed

    @asynccontextmanager
    async def again_and_again(self, rates: list[float]) -> AsyncIterator[None]:
        """
        Join again and again meanwhile; the last one is read to its end.

        Args:
            rates: Gets what each time :meth:`join` returned.
        """
        leaving = asyncio.Event()

        async def join() -> None:
            while not leaving.is_set():
                rates.append(await self.join())

        joining = asyncio.create_task(join())
        try:
            yield
        finally:
            leaving.set()
            await joining
