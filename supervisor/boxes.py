"""
What a node holds of the inbox of one user: a part of it, and what the store is to be told.

Made by :mod:`supervisor.inboxes`; given out by :mod:`supervisor.dispatch`, and kept in agreement with the
store by :mod:`supervisor.bookkeeping`, which decide when.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import islice
from typing import NamedTuple

from actors.timers import Timer
from supervisor.connection import Connection
from supervisor.inbox.base import Inbox, InboxMessage, InboxUser
from supervisor.redelivery import Redelivery

__all__ = ["Box", "Saved"]

HELD_SIZE = 4 << 20
"""Size of the payloads that are held of one user, at most, or one message more."""

IDS = 500
"""Ids that are told to the store at a time."""


class Box:
    """
    The inbox of a user who is here, or for whom the store is to be told something yet.

    Attributes:
        messages: Those that the machine holds.
        size: What their payloads count for, or a little more: bytes, or characters.
        settled: Ids to be settled in the store.
        worn_out: Ids to be given up in the store.
        news: Ids of messages that are settled, which clients are to be told.
        delivered: How often messages were delivered, of which the store is to be told.
        unread: Whether the store may have messages that were not offered to the machine.
        reading: Whether it is being asked for them.
        giving: Whether the machine is being asked what to give.
        timer: Looks at the machine again; None if nothing is due.
        rings: When it does.
    """

    __slots__ = (
        "delivered",
        "giving",
        "machine",
        "messages",
        "news",
        "reading",
        "rings",
        "settled",
        "size",
        "timer",
        "unread",
        "user",
        "worn_out",
    )

    def __init__(self, user: InboxUser, machine: Redelivery[Connection]) -> None:
        self.user = user
        self.machine = machine
        self.messages: dict[str, InboxMessage] = {}
        self.size = 0
        self.settled: dict[str, None] = {}
        self.worn_out: dict[str, None] = {}
        self.news: list[str] = []
        self.delivered: dict[str, int] = {}
        self.unread = False
        self.reading = False
        self.giving = False
        self.timer: Timer | None = None
        self.rings = 0.0

    @property
    def full(self) -> bool:
        """Whether no more messages should be held."""
        return self.machine.full or self.size >= HELD_SIZE

    @property
    def wants_messages(self) -> bool:
        """Whether the store should be asked for more."""
        machine = self.machine
        has_space = 2 * len(machine) <= machine.rules.held and self.size < HELD_SIZE
        return self.unread and has_space and bool(machine.receivers)

    def joined(self, connection: Connection, room: Hashable) -> None:
        """Let ``connection`` have what is for ``room``; what was passed over is asked for again."""
        self.machine.joined(connection, room)
        if room in self.machine.skipped:
            self.machine.skipped -= {room}
            self.unread = True

    def offer(self, message: InboxMessage, expires: float) -> None:
        """
        Have the machine deliver ``message``, unless it is here, or is over as far as is known here.

        Args:
            message: The caller has looked whether there is space for it.
            expires: When it does, by the machine's clock.
        """
        if message.id in self.settled or message.id in self.worn_out:
            return
        deliveries = max(message.deliveries, self.delivered.get(message.id, 0))
        if self.machine.offer(
            message.id, room=message.room, expires=expires, deliveries=deliveries
        ):
            self.messages[message.id] = message
            self.size += len(message.payload)

    def forget(self, ids: Iterable[str]) -> None:
        """Deliver these no more: they are settled. Clients that had them are to be told."""
        for id in ids:
            self.worn_out.pop(id, None)
            self.delivered.pop(id, None)
        self.news += self.machine.settle(ids)

    def collect(self) -> None:
        """Take over from the machine what the store is to be told, and let go of what it has."""
        machine = self.machine
        for id, deliveries in machine.counted.items():
            self.count(id, deliveries)
        machine.counted.clear()
        self.worn_out.update(dict.fromkeys(machine.dead))
        self.news += machine.dead
        machine.dead.clear()
        if len(self.messages) > len(self.machine):
            held = {id: self.messages[id] for id in self.messages if id in self.machine}
            self.messages = held
            self.size = sum(len(message.payload) for message in held.values())

    def stop_timer(self) -> None:
        """Do not look at the machine any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def count(self, id: str, deliveries: int) -> None:
        """Have the store told that a message was delivered so often, or more."""
        self.delivered[id] = max(deliveries, self.delivered.get(id, 0))

    @property
    def unsaved(self) -> bool:
        """Whether the store is to be told anything."""
        return bool(self.settled or self.worn_out or self.delivered)

    async def save(self, store: Inbox) -> Saved:
        """
        Tell ``store`` what it is to be told, a part of it at a time: repeat while :attr:`unsaved`.

        What it raises leaves untold what may not have been told.
        """
        if self.settled:
            ids = list(islice(self.settled, IDS))
            settled = await store.acknowledge(self.user, ids)
            _drop(self.settled, ids)
            return Saved(settled, [], {})
        if self.delivered:
            counts = dict(islice(self.delivered.items(), IDS))
            await store.delivered(counts)
            for id, count in counts.items():
                if self.delivered.get(id) == count:  # not more often meanwhile
                    del self.delivered[id]
            return Saved([], [], counts)
        ids = list(islice(self.worn_out, IDS))
        buried = await store.bury(ids)
        _drop(self.worn_out, ids)
        return Saved([message.id for message in buried], buried, {})


class Saved(NamedTuple):
    """
    What the store has been told.

    Attributes:
        settled: Ids that were pending, and are settled now.
        dead: Messages that were given up.
        delivered: How often messages were delivered.
    """

    settled: list[str]
    dead: list[InboxMessage]
    delivered: dict[str, int]


def _drop(ids: dict[str, None], told: Iterable[str]) -> None:
    for id in told:
        ids.pop(id, None)
