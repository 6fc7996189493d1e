"""What a broker calls back on a node: hands publications to rooms, from whatever thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Hashable
from typing import Any, Generic, NamedTuple, TypeVar

from actors.errors import ActorStopped, MailboxClosed, MailboxFull
from actors.messages import Publish
from actors.overflow import DropReason, Offer
from actors.publications import Publication
from actors.receipts import FlushLatch, Receipt
from actors.runtime import Runtime
from supervisor.rooms import Rooms
from supervisor.settings import Settings
from supervisor.telemetry.logging import event_logger

__all__ = ["FAR_TIMEOUT", "HANDED_OVER", "Delivery", "FarCall"]

R = TypeVar("R")

HANDED_OVER = 10_000
"""Publications of other threads that may wait for a node's loop."""

TAKEN_OVER = 256
"""Publications of other threads that a loop takes over at once, so that rooms have their turn."""

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


class _HeldUp(NamedTuple):
    """A publication of another thread, and until when it waits for space in its room."""

    publication: Publication
    deadline: float


def _kept(publication: Publication) -> bool:
    """Whether a store has it, so that members that do not hear of it read it."""
    return bool(publication.position.epoch)


class Delivery:
    """The way into the rooms of one node; see :class:`supervisor.brokers.base.BrokerNode`."""

    def __init__(self, runtime: Runtime, rooms: Rooms, settings: Settings) -> None:
        self._runtime = runtime
        self._loop = runtime.loop
        self._rooms = rooms
        self._settings = settings
        self._handing_over = threading.Lock()
        self._handed_over: deque[tuple[Hashable, Publication]] = deque()
        self._coming = False  # whether the loop was told to take what was handed over
        self._held_up: dict[Hashable, deque[_HeldUp]] = {}  # what rooms had no space for, in order
        self._holding_up = 0  # how many those are
        self._announced: dict[Hashable, Publication] = {}  # the newest that had no space, by room
        self._gone = False  # whether the loop was found closed, which is logged once
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
        latch = FlushLatch(self._settings.flush_timeout) if flush else None
        try:
            receipt = await found.ref.ask(
                Publish(publication, latch), timeout=self._settings.publish_timeout
            )
        except (MailboxFull, TimeoutError):
            if not _kept(publication):
                raise
            found.announce(publication)  # the room reads it when it comes to it
            return Receipt(0, {DropReason.ROOM_FULL: len(found.membership)})
        except (ActorStopped, MailboxClosed):
            if not _kept(publication):
                raise
            return Receipt(0, {DropReason.ROOM_FAILED: len(found.membership)})
        except asyncio.CancelledError:
            if _kept(publication):  # whether or not it waits in the mailbox
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
            self._tell(room, publication)
            return
        with self._handing_over:
            if len(self._handed_over) + self._holding_up >= HANDED_OVER:
                if _kept(publication):  # what is taken after those before it says so
                    self._announced[room] = publication
                    return
                raise MailboxFull(f"{HANDED_OVER} publications wait for the loop of the node")
            self._handed_over.append((room, publication))
            if self._coming and not self._loop.is_closed():
                return
            self._coming = True
        if not self._post(self._take_over):
            with self._handing_over:
                self._handed_over.clear()
                self._coming = False

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
            self._post(call)

    def _post(self, call: Callable[[], None]) -> bool:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop was closed; with it went its sockets
            if not self._gone:
                self._gone = True
                self._log.debug("node.gone")
            return False
        return True

    def _take_over(self) -> None:
        """Take what was handed over: one wake-up of the loop for all of it, if it is not too much."""
        announced: dict[Hashable, Publication] = {}
        with self._handing_over:
            waiting = self._handed_over
            arrived = [waiting.popleft() for _ in range(min(len(waiting), TAKEN_OVER))]
            self._coming = bool(waiting)
            if not waiting:
                announced, self._announced = self._announced, announced
            more = self._coming
        for room, publication in arrived:
            self._pass_on(room, publication)
        for name, newest in announced.items():
            self._tell(name, newest)
        if more:
            self._post(self._take_over)  # behind the turns of the rooms that were told

    def _pass_on(self, room: Hashable, publication: Publication) -> None:
        """Tell the room, or let the publication wait for those before it, or for space."""
        held_up = self._held_up.get(room)
        if held_up is None:
            try:
                self._tell(room, publication)
                return
            except MailboxFull:
                held_up = self._held_up[room] = deque()
                self._runtime.run(self._put(room, held_up), name=f"publications to {room}")
        held_up.append(_HeldUp(publication, self._loop.time() + self._settings.publish_timeout))
        with self._handing_over:
            self._holding_up += 1

    async def _put(self, room: Hashable, held_up: deque[_HeldUp]) -> None:
        """Put what is held up into the mailbox of its room, as soon as there is space."""
        try:
            while held_up:
                publication, deadline = held_up[0]
                found = self._rooms.get(room)
                if found is not None:
                    timeout = max(0.0, deadline - self._loop.time())
                    try:
                        await found.ref.put(Publish(publication), timeout=timeout)
                    except MailboxFull:
                        self._rooms.had_no_space(room)
                    except MailboxClosed:
                        pass  # everybody has left it
                held_up.popleft()
                with self._handing_over:
                    self._holding_up -= 1
        finally:
            del self._held_up[room]
            with self._handing_over:
                self._holding_up -= len(held_up)

    def _tell(self, room: Hashable, publication: Publication) -> None:
        found = self._rooms.get(room)
        if found is None:
            return
        # Whoever waits for space came first: without that a flood from here would starve it.
        if found.ref.waiting or found.ref.tell(Publish(publication)) is Offer.FULL:
            if _kept(publication):
                found.announce(publication)
                return
            raise MailboxFull(
                f"room {room!r} holds its {self._settings.room_mailbox_messages} messages; await "
                "publish() to wait for space"
            )
