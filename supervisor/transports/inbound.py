"""
The reading half of an ASGI WebSocket: one reader, ever, so that no message is stolen.

The endpoint reads through it, usually without noticing: it stands where the WebSocket keeps
the server's ``receive``. An endpoint that does not read for a while is read for: a *pump*
keeps a few messages for it and, above all, sees the disconnect that ASGI tells to readers
only. Where the server tells the end by itself, as the fast path does, no pump is needed.

States: *read by the endpoint* (a call of :meth:`Inbound.receive` waits for the server),
*unread* (nobody does; after :data:`PUMP_AFTER` seconds the pump starts), *pumped*
(the pump waits for the server), *full* (the pump has stopped, because the endpoint leaves
:data:`PUMP_MESSAGES` unread: the client is held back by TCP, and its end is left to sweeps),
*ended* (the disconnect was seen, or the connection was ended here).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from actors.runtime import Job, Runtime
from actors.timers import Timer

__all__ = ["PUMP_AFTER", "PUMP_MESSAGES", "Inbound"]

Event = MutableMapping[str, Any]

PUMP_AFTER = 1.0
"""Seconds without a reader after which the pump starts."""

PUMP_MESSAGES = 16
"""Messages that the pump keeps at most."""


class Inbound:
    """
    Reads one ASGI WebSocket.

    Args:
        receive: The server's ``receive``.
        runtime: Where the pump runs.
        on_disconnect: Called once with code and reason when a reader is told of the end.
        told: Whether the server tells of every message, by :meth:`heard`, and of the end, by
            :meth:`peer_ended`, whether anybody reads or not.

    Attributes:
        told: As it was given.
        last_message: When the last message came, on the runtime's clock.
        messages: How many messages came.
    """

    __slots__ = (
        "_buffer",
        "_ended",
        "_gone",
        "_on_disconnect",
        "_pump_job",
        "_readers",
        "_receive",
        "_runtime",
        "_unread_since",
        "_wake",
        "_watch",
        "last_message",
        "messages",
        "told",
    )

    def __init__(
        self,
        receive: Callable[[], Awaitable[Event]],
        runtime: Runtime,
        on_disconnect: Callable[[int, str], None],
        *,
        told: bool = False,
    ) -> None:
        self.told = told
        self._receive = receive
        self._runtime = runtime
        self._on_disconnect: Callable[[int, str], None] | None = on_disconnect
        self._buffer: deque[Event] | None = None
        self._ended: Event | None = None
        self._gone = False  # the server has said so
        self._readers: dict[asyncio.Task[Any], bool] = {}  # and whether they were interrupted
        self._pump_job: Job | None = None
        self._wake: asyncio.Future[None] | None = None
        self._watch: Timer | None = None
        self.last_message = self._unread_since = runtime.clock()
        self.messages = 0
        self._watch_for_readers()

    async def receive(self) -> Event:
        """
        Return the next ASGI event; after the end, the disconnect, as often as asked.

        Cancelling loses no message.
        """
        while True:
            if self._buffer:
                if self._watch is None and self._pump_job is None:
                    self._watch_for_readers()
                return self._buffer.popleft()
            if self._ended is not None:
                return self._ended
            if self._pump_job is None:
                return await self._read()
            await self._wait_for_pump()

    async def _read(self) -> Event:
        task = asyncio.current_task()
        assert task is not None  # endpoints are coroutines of a task
        cancellations = task.cancelling()
        self._readers[task] = False
        try:
            event = await self._receive()
        except asyncio.CancelledError:
            if not self._readers[task] or task.uncancel() > cancellations:
                raise
            assert self._ended is not None
            return self._ended
        else:
            if self._readers[task]:  # it came at the same moment
                task.uncancel()
        finally:
            del self._readers[task]
            self._unread_since = self._runtime.clock()
            if self._watch is None:
                self._watch_for_readers()
        self._saw(event)
        return event

    def end(self, code: int, reason: str) -> None:
        """
        Make :meth:`receive` a disconnect from now on: the connection was ended here.

        Whoever waits in it hears so at once: not every server tells its reader that the
        application has closed, and some do not close before the reader has gone.
        """
        self._on_disconnect = None
        if self._ended is None:
            self._ended = {"type": "websocket.disconnect", "code": code, "reason": reason}
        self._stop_watching()
        self._wake_reader()
        for task in self._readers:
            if task is not asyncio.current_task():
                self._readers[task] = task.cancel()

    def peer_ended(self) -> None:
        """
        Expect the end of the socket, of which the server has told.

        Who reads meets it in its place: behind what the peer has sent before.
        """
        self._on_disconnect = None

    def heard(self, _: str | bytes) -> bool:
        """Take note of a message that waits to be received; return False: it is to be read yet."""
        self.messages += 1
        self.last_message = self._runtime.clock()
        return False

    def let_go(self, message: str | bytes) -> bool:
        """Take note of a message that nobody will receive; return True: that is all."""
        self.heard(message)
        return True

    async def until_gone(self) -> None:
        """Return when the server reports the end of the socket, whatever was ended here before."""
        while self._pump_job is not None:
            await self._wait_for_pump()
        while not self._gone:
            self._saw(await self._receive())

    def stop(self) -> None:
        """Read no more; what the pump waits for goes unseen."""
        self._stop_watching()
        if self._pump_job is not None:
            self._pump_job.cancel()

    def _watch_for_readers(self) -> None:
        if self._ended is None and not self.told:
            self._watch = self._runtime.call_later(PUMP_AFTER, self._check_readers)

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _check_readers(self) -> None:
        self._watch = None
        if self._readers or self._pump_job is not None or len(self._buffer or ()) >= PUMP_MESSAGES:
            return  # whoever stops reading, or makes space, starts the watch again
        if self._runtime.clock() - self._unread_since < PUMP_AFTER:
            self._watch_for_readers()
        elif self._ended is None:
            self._pump_job = self._runtime.run(
                self._pump(), name="websocket pump", on_done=self._pump_ended
            )

    async def _pump(self) -> None:
        if self._buffer is None:
            self._buffer = deque()
        while self._ended is None and len(self._buffer) < PUMP_MESSAGES:
            event = await self._receive()
            if event["type"] != "websocket.disconnect":
                self._buffer.append(event)
            self._saw(event)
            self._wake_reader()

    def _pump_ended(self, error: BaseException | None) -> None:
        self._pump_job = None
        if isinstance(error, Exception) and self._ended is None:
            self._saw({"type": "websocket.disconnect", "code": 1006, "reason": str(error)})
        self._wake_reader()

    def _saw(self, event: Event) -> None:
        if event["type"] != "websocket.disconnect":
            if not self.told:
                self.messages += 1
                self.last_message = self._runtime.clock()
            return
        self._gone = True
        if self._ended is None:
            self._ended = event
        if self._on_disconnect is not None:
            callback, self._on_disconnect = self._on_disconnect, None
            callback(event.get("code", 1005), event.get("reason") or "")

    async def _wait_for_pump(self) -> None:
        if self._wake is None or self._wake.done():
            self._wake = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._wake)

    def _wake_reader(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
