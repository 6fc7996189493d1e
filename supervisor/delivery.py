"""What a broker calls back on a node: hands publications to rooms, from whatever thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine, Generator, Hashable
from typing import Any, Generic, TypeVar

from actors.errors import ActorStopped, MailboxClosed, MailboxFull
from actors.messages import Publish
from actors.overflow import DropReason, Offer
from actors.publications import Publication
from actors.receipts import FlushLatch, Receipt
from actors.runtime import Runtime
from supervisor.handover import Handover, is_kept
from supervisor.rooms import Rooms
from supervisor.settings import Settings

__all__ = ["FAR_TIMEOUT", "Delivery", "FarCall"]

R = TypeVar("R")

FAR_TIMEOUT = 1.0
"""Seconds that a publisher waits for the receipt of a node on another loop, beside the flush."""


class FarCall(Generic[R]):
    """
    A coroutine that runs on another loop; begun at once, and awaited or not.

    Waiting is bounded. Whoever stops waiting, because it was cancelled itself, undoes nothing;
    and a loop that cancels its tasks at its end cancels nobody here.

    Args:
        work: What to run.
        loop: Where.
        timeout: Longest wait for it, in seconds.
        lost: Returns what to say when there is no answer: that loop does not run, or has ended
            (it is called with False), or took longer (with True).
    """

    __slots__ = ("_future", "_lost", "_timeout")

    def __init__(
        self,
        work: Coroutine[Any, Any, R],
        loop: asyncio.AbstractEventLoop,
        *,
        timeout: float,
        lost: Callable[[bool], R],
    ) -> None:
        self._timeout = timeout
        self._lost = lost
        self._future: concurrent.futures.Future[R] | None = None
        try:
            if loop.is_running():
                self._future = asyncio.run_coroutine_threadsafe(work, loop)
        except RuntimeError:  # it was closed at this moment
            pass
        if self._future is None:
            work.close()

    def __await__(self) -> Generator[Any, None, R]:
        return self._answer().__await__()

    async def _answer(self) -> R:
        there = self._future
        if there is None:
            return self._lost(False)
        here = asyncio.get_running_loop()
        answered = here.create_future()

        def wake(_: object) -> None:
            try:
                here.call_soon_threadsafe(_resolve, answered)
            except RuntimeError:  # nobody is here any more
                pass

        there.add_done_callback(wake)
        await asyncio.wait([answered], timeout=self._timeout)
        if not there.done():
            return self._lost(True)
        return self._lost(False) if there.cancelled() else there.result()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Delivery:
    """The way into the rooms of one node; see :class:`supervisor.brokers.base.BrokerNode`."""

    def __init__(self, runtime: Runtime, rooms: Rooms, settings: Settings) -> None:
        self._loop = runtime.loop
        self._rooms = rooms
        self._settings = settings
        self._handover = Handover(runtime, self, patience=settings.publish_timeout)

    @property
    def local(self) -> bool:
        """Whether the caller runs on the node's loop."""
        return asyncio._get_running_loop() is self._loop

    async def deliver(self, room: Hashable, publication: Publication, *, flush: bool) -> Receipt:
        """Hand over and wait for the room's turn; see the port."""
        if self._handover.holds_up(room):
            await self._handover.passed_on(room)
        found = self._rooms.get(room)
        if found is None:
            await asyncio.sleep(0)  # who publishes in a loop must not starve the others
            return Receipt()
        latch = FlushLatch(self._settings.flush_timeout) if flush else None
        try:
            receipt = await found.ref.ask(
                Publish(publication, latch), timeout=self._settings.publish_timeout
            )
        except (MailboxFull, TimeoutError):
            if not is_kept(publication):
                raise
            found.announce(publication)  # the room reads it when it comes to it
            return Receipt(0, {DropReason.ROOM_FULL: len(found.membership)})
        except (ActorStopped, MailboxClosed):
            if not is_kept(publication):
                raise
            return Receipt(0, {DropReason.ROOM_FAILED: len(found.membership)})
        except asyncio.CancelledError:
            if is_kept(publication):  # whether or not it waits in the mailbox
                found.announce(publication)
            raise
        if latch is not None:
            await latch.wait(self._settings.flush_timeout)
            receipt = receipt.lost(latch.failed, DropReason.SEND_FAILED)
        if found.brake and found.mostly_behind():
            await asyncio.sleep(found.brake)
        return receipt

    def deliver_nowait(self, room: Hashable, publication: Publication) -> None:
        """Hand over without waiting, from any thread; see the port."""
        if self.local:
            self.tell(room, publication)
        else:
            self._handover.add(room, publication)

    def deliver_from_afar(
        self, room: Hashable, publication: Publication, *, flush: bool
    ) -> FarCall[Receipt]:
        """Hand over from another loop; see the port."""
        return FarCall(
            self._deliver_here(room, publication, flush=flush),
            self._loop,
            timeout=self._settings.flush_timeout + FAR_TIMEOUT,
            lost=lambda late: Receipt(0, {DropReason.ROOM_FULL: 1}) if late else Receipt(),
        )

    async def _deliver_here(
        self, room: Hashable, publication: Publication, *, flush: bool
    ) -> Receipt:
        """As :meth:`deliver`; the publisher on another loop hears of failures by the receipt."""
        try:
            return await self.deliver(room, publication, flush=flush)
        except MailboxFull:
            self._rooms.had_no_space(room)
            return Receipt(0, {DropReason.ROOM_FULL: 1})
        except (ActorStopped, MailboxClosed):
            return Receipt(0, {DropReason.ROOM_FAILED: 1})

    def post(self, call: Callable[[], None]) -> None:
        """Run ``call`` on the node's loop, from any thread: at once if that is here."""
        if self.local:
            call()
        else:
            self._handover.post(call)

    def tell(self, room: Hashable, publication: Publication) -> None:
        """Tell the room without waiting; see :class:`supervisor.handover.Receiver`."""
        found = self._rooms.get(room)
        if found is None:
            return
        # Whoever waits for space came first: without that a flood from here would starve it.
        if found.ref.waiting or found.ref.tell(Publish(publication)) is Offer.FULL:
            if is_kept(publication):
                found.announce(publication)
                return
            raise MailboxFull(
                f"room {room!r} holds its {self._settings.room_mailbox_messages} messages; await "
                "publish() to wait for space"
            )

    async def put(self, room: Hashable, publication: Publication, timeout: float) -> None:
        """Tell the room when it has space; see :class:`supervisor.handover.Receiver`."""
        found = self._rooms.get(room)
        if found is None:
            return
        try:
            await found.ref.put(Publish(publication), timeout=timeout)
        except MailboxFull:
            self._rooms.had_no_space(room)
        except MailboxClosed:
            pass  # everybody has left it
