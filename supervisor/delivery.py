"""What a broker calls back on a node: hands publications to rooms, from whatever thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable

from actors.errors import MailboxFull
from actors.messages import Publication, Publish
from actors.overflow import DropReason, Offer
from actors.receipts import FlushLatch, Receipt
from supervisor.rooms import Rooms
from supervisor.settings import Settings
from supervisor.telemetry.logging import event_logger

__all__ = ["HANDED_OVER", "Delivery"]

HANDED_OVER = 10_000
"""Publications of other threads that may wait for a node's loop."""

FAR_TIMEOUT = 1.0
"""Seconds that a publisher waits for the receipt of a node on another loop, beside the flush."""


class Delivery:
    """The way into the rooms of one node; see :class:`supervisor.brokers.base.BrokerNode`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rooms: Rooms, settings: Settings) -> None:
        self._loop = loop
        self._rooms = rooms
        self._settings = settings
        self._handed_over = 0
        self._handing_over = threading.Lock()
        self._log = event_logger()

    @property
    def local(self) -> bool:
        """Whether the caller runs on the node's loop."""
        return asyncio._get_running_loop() is self._loop

    async def deliver(self, room: Hashable, publication: Publication, *, flush: bool) -> Receipt:
        """Hand over and wait for the room's turn; see the port."""
        found = self._rooms.get(room)
        if found is None:
            await asyncio.sleep(0)  # who publishes in a loop must not starve the others
            return Receipt()
        latch = FlushLatch() if flush else None
        receipt = await found.ref.ask(
            Publish(publication, latch), timeout=self._settings.publish_timeout
        )
        if latch is not None:
            await latch.wait(self._settings.flush_timeout)
            receipt = receipt.lost(latch.failed, DropReason.SEND_FAILED)
        return receipt

    def deliver_nowait(self, room: Hashable, publication: Publication) -> None:
        """Hand over without waiting, from any thread; see the port."""
        if self.local:
            self._tell(room, publication)
            return
        with self._handing_over:
            if self._handed_over >= HANDED_OVER:
                raise MailboxFull(f"{HANDED_OVER} publications wait for the loop of the node")
            self._handed_over += 1
        if not self._post(lambda: self._arrived(room, publication)):
            with self._handing_over:
                self._handed_over -= 1

    async def deliver_from_afar(
        self, room: Hashable, publication: Publication, *, flush: bool
    ) -> Receipt:
        """Hand over from another loop and wait for the receipt; see the port."""
        if self._rooms.get(room) is None or not self._loop.is_running():
            return Receipt()
        there = asyncio.run_coroutine_threadsafe(
            self.deliver(room, publication, flush=flush), self._loop
        )
        try:
            return await asyncio.wait_for(
                asyncio.wrap_future(there), self._settings.flush_timeout + FAR_TIMEOUT
            )
        except (MailboxFull, TimeoutError):
            self._lost(room)
            return Receipt(0, {DropReason.ROOM_FULL: 1})

    def post(self, call: Callable[[], None]) -> None:
        """Run ``call`` on the node's loop, from any thread: at once if that is here."""
        if self.local:
            call()
        else:
            self._post(call)

    def _post(self, call: Callable[[], None]) -> bool:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop was closed; with it went its sockets
            self._log.debug("node.gone")
            return False
        return True

    def _arrived(self, room: Hashable, publication: Publication) -> None:
        with self._handing_over:
            self._handed_over -= 1
        try:
            self._tell(room, publication)
        except MailboxFull:
            self._lost(room)

    def _tell(self, room: Hashable, publication: Publication) -> None:
        found = self._rooms.get(room)
        if found is not None and found.ref.tell(Publish(publication)) is Offer.FULL:
            raise MailboxFull(
                f"room {room!r} holds its {self._settings.room_mailbox_messages} messages; await "
                "publish() to wait for space"
            )

    def _lost(self, room: Hashable) -> None:
        self._rooms.dropped[DropReason.ROOM_FULL.value] += 1
        self._log.warning("room.full", room=room)
