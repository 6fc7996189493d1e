"""
The inboxes of one node: brings what is pending in the store to the users who are connected here.

Each user who is here has a box: a part of the inbox, and the machine of :mod:`supervisor.redelivery` that
says what to give to whom. This module knows whose box that is, and passes on to it what connections,
publishers and the other nodes say. :mod:`supervisor.dispatch` gives to connections,
:mod:`supervisor.bookkeeping` asks and tells the store. What a message looks like to a client, who
subscribed to a room, and what is done for users who are away, others decide.

Everything here belongs to the loop of the node.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

from actors.messages import Frame
from actors.runtime import Runtime
from supervisor.bookkeeping import Bookkeeper
from supervisor.boxes import Box
from supervisor.connection import Connection
from supervisor.dispatch import AT_A_TURN, Dispatcher
from supervisor.errors import Drained
from supervisor.inbox.base import Inbox, InboxMessage, InboxUser, Kept, has_inbox
from supervisor.neighbours import Alone, Neighbours
from supervisor.redelivery import NO_ROOMS, Redelivery, RedeliveryRules
from supervisor.registry import Registry
from supervisor.telemetry.logging import event_logger

__all__ = ["Inboxes"]

UNSAVED = 1_000
"""Acknowledgements of one user, of messages not held here, that may wait for the store."""

ID_LENGTH = 200
"""Characters of an id at most; a longer one was not made here."""

AWAY = 10_000
"""Users who are away for whom a store that has failed is to be told something, at most."""


class Inboxes:
    """
    The inboxes of the users of one node.

    Args:
        runtime: Clock, timers and jobs of the node.
        registry: Who is connected to the node.
        store: Keeps the messages; opened and closed by whoever made it.
        frame: Returns a message as a connection gets it, and whether its client acknowledges; for
            one that does not, written is acknowledged.
        on_offline: Called with a message that no connection of its user may be given when it is
            put, and with each that is given up as a dead letter. Must not wait.
        on_loss: Called with a number of messages and why they were dropped: ``expired``, or
            ``capacity``. Must not wait, nor raise.
        rules: How often and how fast is delivered.
        capacity: Pending messages that a user may have.
        neighbours: The other nodes of the process.
        jitter: Returns a random number from 0 to 1.
        wall_clock: Returns Unix time in seconds.
        sweep_interval: Seconds between two looks for expired messages.
    """

    def __init__(
        self,
        runtime: Runtime,
        registry: Registry,
        store: Inbox,
        *,
        frame: Callable[[Connection, InboxMessage], tuple[Frame, bool]],
        on_offline: Callable[[InboxMessage], None],
        on_loss: Callable[[int, str], None],
        rules: RedeliveryRules,
        capacity: int = 1_000,
        neighbours: Neighbours | None = None,
        jitter: Callable[[], float] = random.random,
        wall_clock: Callable[[], float] = time.time,
        sweep_interval: float = 30.0,
    ) -> None:
        self._runtime = runtime
        self._registry = registry
        self._on_offline = on_offline
        self._rules = rules
        self._neighbours = neighbours or Alone()
        self._jitter = jitter
        self._boxes: dict[InboxUser, Box] = {}
        self._box_of: dict[Connection, Box] = {}
        self._handing_over = asyncio.Lock()  # first come, first served: the order of the commits
        self._closed = False
        self._log = event_logger()
        self._dispatcher = Dispatcher(
            runtime,
            frame=frame,
            wall_clock=wall_clock,
            on_acknowledged=lambda user, id: self._acknowledge(user, [id]),
            on_advanced=self._keep_or_drop,
        )
        self._books = Bookkeeper(
            runtime,
            store,
            self._dispatcher,
            self._neighbours,
            capacity=capacity,
            settle=self.settled,
            on_dead=self._tell_offline,
            on_loss=on_loss,
            jitter=jitter,
            wall_clock=wall_clock,
            sweep_interval=sweep_interval,
        )

    def __len__(self) -> int:
        """Users who are here, or for whom the store is to be told something yet."""
        return len(self._boxes)

    @property
    def healthy(self) -> bool:
        """Whether the store answers, and keeps what it promises."""
        return self._books.healthy

    # Who comes and goes.

    def connected(self, connection: Connection, rooms: Iterable[Hashable] = ()) -> None:
        """
        Give to ``connection`` what its user has pending; it is in ``rooms`` already.

        Idempotent. One that has become another user's keeps its rooms, and gets nothing more of
        whose it was. One whose user is None, or nobody who can have an inbox, is ignored.
        """
        user = connection.user
        known = self._box_of.get(connection)
        if known is not None:
            if known.user == user:
                return
            rooms = known.machine.rooms_of(connection).union(rooms)
            self.gone(connection)
        if self._closed or connection.reason is not None:  # nobody would say that it has gone
            return
        if not has_inbox(user):
            return
        box = self._box(user)
        self._box_of[connection] = box
        machine = box.machine
        if not machine.receivers:
            machine.skipped = NO_ROOMS
            box.unread = True
        machine.connected(connection)
        for room in rooms:
            box.joined(connection, room)
        self._dispatcher.go_on(box)

    def joined(self, connection: Connection, room: Hashable) -> None:
        """Give to ``connection`` what is for members of ``room``, too."""
        box = self._box_of.get(connection)
        if box is not None:
            box.joined(connection, room)
            self._dispatcher.go_on(box)

    def left(self, connection: Connection, room: Hashable) -> None:
        """Give to ``connection`` no more of what is for members of ``room``. Idempotent."""
        box = self._box_of.get(connection)
        if box is not None:
            box.machine.left(connection, room)
            self._dispatcher.go_on(box)

    def gone(self, connection: Connection) -> None:
        """Give to others what ``connection`` did not acknowledge. Idempotent."""
        box = self._box_of.pop(connection, None)
        if box is not None:
            box.machine.gone(connection, self._runtime.clock())
            self._dispatcher.go_on(box)

    # What happens to messages.

    async def put(self, messages: Sequence[InboxMessage]) -> Kept:
        """
        Keep ``messages``; give them to those who are here, and tell of those whom nothing reaches.

        Returns once they are kept, and offered to connections. Cancelling undoes nothing.

        Raises:
            Drained: If it was closed.
            StoreFull, StoreUnavailable: If they were not kept, or took too long to be sure.
        """
        if self._closed:
            raise Drained("the inboxes of this node are closed")
        return await self._books.put(messages, self._hand_over)

    def arrived(self, messages: Sequence[InboxMessage]) -> None:
        """Give ``messages``, which the store has kept, to those who are here."""
        boxes: dict[Box, None] = {}
        for message in messages:
            box = self._boxes.get(message.user)
            if box is None:
                continue
            boxes[box] = None
            if box.unread or box.reading or box.full:
                box.unread = True  # it comes in its place when the store is asked
            else:
                self._dispatcher.offer(box, message)
        for box in boxes:
            self._dispatcher.go_on(box)

    def acknowledge(self, connection: Connection, ids: Iterable[str]) -> None:
        """The client of ``connection`` has acknowledged; what is not pending does no harm."""
        user = connection.user
        credible = [id for id in ids if len(id) <= ID_LENGTH]
        if credible and has_inbox(user):
            self._acknowledge(user, credible)

    def delivered(self, user: InboxUser, counts: Mapping[str, int]) -> None:
        """Another node says that these were delivered so often, and the store knows it."""
        box = self._boxes.get(user)
        if box is None:
            return
        for id, deliveries in counts.items():
            if id in box.machine:
                box.machine.delivered_elsewhere(id, deliveries)
            elif box.reading:  # what is being read may be older
                box.count(id, deliveries)
        self._dispatcher.go_on(box)

    def settled(self, user: InboxUser, ids: Collection[str]) -> None:
        """These are settled, as another node or the store says: give them to nobody."""
        box = self._boxes.get(user)
        if box is not None:
            box.forget(ids)
            self._dispatcher.go_on(box)

    async def aclose(self, timeout: float = 5.0) -> None:
        """
        Tell the store what it is to be told, for at most ``timeout`` seconds; take nothing more.

        What it was not told is delivered again when its user comes back. Idempotent.
        """
        self._closed = True
        for box in list(self._boxes.values()):
            box.stop_timer()
            for connection in list(box.machine.receivers):
                box.machine.gone(connection, self._runtime.clock())
            self._dispatcher.go_on(box)
        self._box_of.clear()
        await self._books.finish(timeout)
        if unsaved := sum(len(box.settled) for box in self._boxes.values()):
            self._log.warning("inbox.unsaved", acknowledgements=unsaved)
        self._boxes.clear()

    # -------------------------------------------------------------------------------------- boxes

    def _box(self, user: InboxUser) -> Box:
        box = self._boxes.get(user)
        if box is None:
            box = self._boxes[user] = Box(user, Redelivery(self._rules, self._jitter))
        return box

    def _keep_or_drop(self, box: Box) -> None:
        """Have the store told and asked for ``box``; let go of one that is done with."""
        away = not box.machine.receivers
        if away and self._books.failing and len(self._boxes) > len(self._box_of) + AWAY:
            self._books.give_up(box)
        if box in self._books:
            return  # it is looked at again when that has ended
        if away and not box.unsaved:
            if self._boxes.get(box.user) is box:
                del self._boxes[box.user]
            box.stop_timer()
        elif box.unsaved or box.wants_messages:
            self._books.want(box)

    def _acknowledge(self, user: InboxUser, ids: Sequence[str]) -> None:
        if self._closed and user not in self._boxes:
            return
        box = self._box(user)
        for id in ids:
            if id in box.messages or len(box.settled) < UNSAVED:
                box.settled[id] = None
        box.forget(ids)
        self._dispatcher.go_on_soon(box)

    # --------------------------------------------------------------------------- what is new

    async def _hand_over(self, messages: Sequence[InboxMessage]) -> None:
        """Bring what was put to those who are here and to the neighbours; yield now and then."""
        async with self._handing_over:
            for start in range(0, len(messages), AT_A_TURN):
                some = messages[start : start + AT_A_TURN]
                self.arrived(some)
                self._neighbours.arrived(some)
                for message in some:
                    if not self._reaches_anybody(message):
                        self._tell_offline(message)
                if len(some) == AT_A_TURN:
                    await asyncio.sleep(0)

    def _reaches_anybody(self, message: InboxMessage) -> bool:
        """Whether a connection, here or at a neighbour, may be given ``message`` now, or soon."""
        user, room = message.user, message.room
        if room is None:
            return self._registry.count_of_user(user) > 0 or self._neighbours.connected(user)
        if any(room in connection.room_names for connection in self._registry.of_user(user)):
            return True
        return self._neighbours.in_room(user, room)

    def _tell_offline(self, message: InboxMessage) -> None:
        try:
            self._on_offline(message)
        except Exception as error:  # noqa: BLE001 - an application's hook must not stop the machine
            self._runtime.fault("inbox.on_offline", error)
