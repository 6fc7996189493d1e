"""
What other threads publish, on its way to the rooms of one node: for :mod:`supervisor.delivery`.

A publication is handed over in any thread, and taken over on the loop of the node, all that waits in
one call. What finds no space in its room waits there, in order and with a deadline, and nothing of
another room waits behind it. What is kept need not wait: of that, a room has to hear the newest only.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Hashable
from typing import NamedTuple, Protocol

from actors.errors import MailboxFull
from actors.publications import Publication
from actors.runtime import Runtime
from supervisor.telemetry.logging import event_logger

__all__ = ["HANDED_OVER", "Handover", "Receiver", "is_kept"]

HANDED_OVER = 10_000
"""Publications of other threads that may wait for a node's loop and its rooms."""


class Receiver(Protocol):
    """Who takes over; on the loop of the node."""

    def tell(self, room: Hashable, publication: Publication) -> None:
        """
        Tell the room, if anybody is in it; what is kept is announced where there is no space.

        Raises:
            MailboxFull: If it has no space, or somebody waits for space already.
        """
        ...

    async def put(self, room: Hashable, publication: Publication, timeout: float) -> None:
        """Tell the room when there is space; after ``timeout`` seconds without, count a loss."""
        ...


class Handover:
    """
    The way of other threads to one node.

    Args:
        runtime: Of the node.
        receiver: Who takes over.
        patience: Seconds that a publication waits for space in its room.
    """

    def __init__(self, runtime: Runtime, receiver: Receiver, *, patience: float) -> None:
        self._runtime = runtime
        self._loop = runtime.loop
        self._receiver = receiver
        self._patience = patience
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Hashable, Publication]] = deque()
        self._coming = False  # whether the loop was told to take over
        # The newest of each room and epoch that had no space on the way.
        self._announced: dict[tuple[Hashable, str], Publication] = {}
        self._held_up: dict[Hashable, deque[_HeldUp]] = {}  # what rooms had no space for, in order
        self._holding_up = 0  # how many those are
        self._gone = False  # whether the loop was found closed, which is logged once
        self._log = event_logger()

    def add(self, room: Hashable, publication: Publication) -> None:
        """
        Hand over; from any thread.

        Raises:
            MailboxFull: If too much waits already, unless it is kept.
        """
        with self._lock:
            if len(self._waiting) + self._holding_up >= HANDED_OVER:
                if is_kept(publication):  # what is taken over after those before it says so
                    self._announce(room, publication)
                    return
                raise MailboxFull(f"{HANDED_OVER} publications wait for the loop of the node")
            self._waiting.append((room, publication))
            if self._coming and not self._loop.is_closed():
                return
            self._coming = True
        if not self.post(self._take_over):
            with self._lock:
                self._waiting.clear()
                self._coming = False

    def post(self, call: Callable[[], None]) -> bool:
        """Have the loop of the node run ``call``; return whether there is that loop."""
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # it was closed; with it went its sockets
            if not self._gone:
                self._gone = True
                self._log.debug("node.gone")
            return False
        return True

    def holds_up(self, room: Hashable) -> bool:
        """Whether something that was handed over waits for space in ``room``."""
        return room in self._held_up

    async def passed_on(self, room: Hashable) -> None:
        """
        Return when nothing is held up any more that was handed over to ``room`` before.

        So who publishes in a thread and then waits for a publication gets both in order.
        """
        held_up = self._held_up.get(room)
        if held_up is not None:
            turn = self._loop.create_future()
            held_up.append(_HeldUp(None, self._loop.time() + self._patience, turn))
            await turn

    def _announce(self, room: Hashable, publication: Publication) -> None:
        """Remember what has no space; threads may come with an older one after a newer one."""
        epoch, offset = publication.position
        before = self._announced.get((room, epoch))
        if before is None or before.position.offset < offset:
            self._announced[room, epoch] = publication

    def _take_over(self) -> None:
        announced: dict[tuple[Hashable, str], Publication] = {}
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
            announced, self._announced = self._announced, announced
            self._coming = False
        try:
            while waiting:
                self._pass_on(*waiting.popleft())
            while announced:
                (room, _), newest = announced.popitem()
                self._receiver.tell(room, newest)
        finally:
            if waiting or announced:  # somebody's fault, which the loop reports, is not the others'
                with self._lock:
                    self._waiting.extendleft(reversed(waiting))
                    for (room, _), newest in announced.items():
                        self._announce(room, newest)
                    self._coming = True
                self.post(self._take_over)

    def _pass_on(self, room: Hashable, publication: Publication) -> None:
        """Tell the room, or let the publication wait for those before it, or for space."""
        held_up = self._held_up.get(room)
        if held_up is None:
            try:
                self._receiver.tell(room, publication)
                return
            except MailboxFull:
                held_up = self._hold_up(room, deque())
        held_up.append(_HeldUp(publication, self._loop.time() + self._patience, None))
        with self._lock:
            self._holding_up += 1

    def _hold_up(self, room: Hashable, held_up: deque[_HeldUp]) -> deque[_HeldUp]:
        self._held_up[room] = held_up
        self._runtime.run(
            self._serve(room, held_up),
            name=f"publications to {room}",
            on_done=lambda error: self._served(room, held_up, error),
        )
        return held_up

    async def _serve(self, room: Hashable, held_up: deque[_HeldUp]) -> None:
        """Pass on what is held up, one after the other, as soon as there is space."""
        while held_up:
            publication, deadline, turn = held_up[0]
            try:
                if publication is not None:
                    timeout = max(0.0, deadline - self._loop.time())
                    await self._receiver.put(room, publication, timeout)
            finally:
                held_up.popleft()
                if publication is not None:
                    with self._lock:
                        self._holding_up -= 1
                if turn is not None and not turn.done():
                    turn.set_result(None)

    def _served(self, room: Hashable, held_up: deque[_HeldUp], error: BaseException | None) -> None:
        """Go on with the others after somebody's fault; at the end of the runtime let all go."""
        del self._held_up[room]
        if held_up and isinstance(error, Exception):
            self._hold_up(room, held_up)
            return
        for _, _, turn in held_up:
            if turn is not None and not turn.done():
                turn.set_result(None)


class _HeldUp(NamedTuple):
    """A publication that waits for space in its room, until when; or who waits for those before."""

    publication: Publication | None
    deadline: float
    turn: asyncio.Future[None] | None


def is_kept(publication: Publication) -> bool:
    """Whether a store has it, so that members that do not hear of it read it."""
    return bool(publication.position.epoch)
