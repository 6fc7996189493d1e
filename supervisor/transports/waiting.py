"""
Waiting for events of a client, and for space in its socket, at little cost for an idle one.

:class:`asyncio.Queue` and :class:`asyncio.Event` have five deques between them, of half a kilobyte
each. What is here has what a server's protocol class uses of them, and nothing else.
"""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["EventQueue", "Gate"]


class EventQueue:
    """What waits to be received, first in, first out; whoever receives waits in order."""

    __slots__ = ("_events", "_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._events: list[Any] = []
        self._waiting: list[asyncio.Future[None]] = []  # receivers, in order

    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._events

    def qsize(self) -> int:
        """Return how many events wait."""
        return len(self._events)

    def put_nowait(self, event: Any) -> None:
        """Put ``event`` behind the others; who puts sees to a bound."""
        self._events.append(event)
        self._wake_one()

    def get_nowait(self) -> Any:
        """Return the next event; there has to be one."""
        return self._events.pop(0)

    async def get(self) -> Any:
        """Return the next event. Cancelling loses none."""
        while not self._events:
            turn = self._loop.create_future()
            self._waiting.append(turn)
            try:
                await turn
            except BaseException:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                elif self._events:  # it was this receiver's turn, which is the next one's now
                    self._wake_one()
                raise
        return self._events.pop(0)

    def _wake_one(self) -> None:
        while self._waiting:
            turn = self._waiting.pop(0)
            if not turn.done():
                turn.set_result(None)
                return


class Gate:
    """Whether the socket takes bytes; open at first."""

    __slots__ = ("_loop", "_open", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open = True
        self._waiting: list[asyncio.Future[None]] | None = None

    def is_set(self) -> bool:
        """Whether it is open."""
        return self._open

    def set(self) -> None:
        """Open it, and let everybody through who waits."""
        self._open = True
        waiting, self._waiting = self._waiting, None
        for turn in waiting or ():
            if not turn.done():
                turn.set_result(None)

    def clear(self) -> None:
        """Shut it."""
        self._open = False

    async def wait(self) -> None:
        """Return when it is open. Cancelling leaves nothing behind."""
        while not self._open:
            turn = self._loop.create_future()
            if self._waiting is None:
                self._waiting = []
            self._waiting.append(turn)
            try:
                await turn
            except BaseException:
                if self._waiting is not None and turn in self._waiting:
                    self._waiting.remove(turn)
                raise
