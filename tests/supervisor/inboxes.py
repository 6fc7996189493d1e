"""A node's inboxes with a store and clients, but without the rest of the node."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from actors.connection import ConnectionActor, Patience
from actors.exits import ExitReason
from actors.mailbox import Mailbox, MailboxStatistics
from actors.messages import Chunk, Frame
from actors.overflow import DropReason
from actors.runtime import Runtime
from actors.testing import FakeTransport, TextEncoder, settle
from supervisor.connection import Connection
from supervisor.errors import StoreUnavailable
from supervisor.inbox.base import Inbox, InboxMessage, InboxUser, Kept
from supervisor.inbox.memory import MemoryInbox
from supervisor.inboxes import Inboxes
from supervisor.redelivery import RedeliveryRules
from supervisor.registry import Registry

__all__ = ["Client", "House", "Moody", "message"]

EPOCH = 1_000_000.0
"""Unix time when the clock of a test is at 0."""


def message(id: str, user: InboxUser = "ann", **fields: Any) -> InboxMessage:
    """Return a message that is good for a day."""
    made = InboxMessage(
        id, user, room=None, payload=id, encoded=False, created=EPOCH, expires=EPOCH + 86_400
    )
    return replace(made, **fields)


class Client:
    """A connection, and the socket at its end."""

    def __init__(self, connection: Connection, *, acknowledges: bool) -> None:
        self.connection = connection
        self.transport = FakeTransport()
        self.acknowledges = acknowledges

    @property
    def got(self) -> list[Any]:
        """What was written to its socket."""
        return self.transport.sent


class Moody(MemoryInbox):
    """A store that fails while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = False
        self.calls = 0

    def _check(self) -> None:
        self.calls += 1
        if self.failing:
            raise StoreUnavailable("told to fail")

    async def put(self, messages: Sequence[InboxMessage], *, capacity: int) -> Kept:
        self._check()
        return await super().put(messages, capacity=capacity)

    async def pending(
        self, user: InboxUser, *, now: float, after: str | None = None, limit: int = 100
    ) -> list[InboxMessage]:
        self._check()
        return await super().pending(user, now=now, after=after, limit=limit)

    async def delivered(self, counts: Mapping[str, int]) -> None:
        self._check()
        await super().delivered(counts)

    async def acknowledge(self, user: InboxUser, ids: Collection[str]) -> list[str]:
        self._check()
        return await super().acknowledge(user, ids)

    async def expire(self, *, now: float) -> list[InboxMessage]:
        self._check()
        return await super().expire(now=now)


class House:
    """
    One node: its inboxes, its registry and its clients.

    Attributes:
        offline: What ``on_offline`` was called with.
        losses: What ``on_loss`` was called with.
        faults: What was reported as a fault.
    """

    def __init__(self, store: Inbox | None = None, **arguments: Any) -> None:
        self.faults: list[tuple[str, BaseException]] = []
        self.offline: list[InboxMessage] = []
        self.losses: list[tuple[int, str]] = []
        self.runtime = Runtime(on_fault=lambda what, error: self.faults.append((what, error)))
        self.registry = Registry()
        self.store: Any = store if store is not None else MemoryInbox()
        self.clients: dict[Connection, Client] = {}
        self.others: list[House] = []
        self.unframeable: set[str] = set()
        given: dict[str, Any] = {
            "rules": RedeliveryRules(),
            "jitter": lambda: 0.5,
            "wall_clock": lambda: EPOCH + self.runtime.clock(),
            "neighbours": self,
            "on_offline": self.offline.append,
            "on_loss": lambda count, reason: self.losses.append((count, reason)),
        }
        self.inboxes = Inboxes(
            self.runtime,
            self.registry,
            self.store,
            frame=self._frame,
            **{**given, **arguments},
        )

    def _frame(self, connection: Connection, message: InboxMessage) -> tuple[Frame, bool]:
        if message.id in self.unframeable:
            raise ValueError(f"{message.id} cannot be framed")
        return Frame(message.payload), self.clients[connection].acknowledges

    def come(
        self,
        user: InboxUser | None = "ann",
        *rooms: str,
        acknowledges: bool = True,
        stalled: bool = False,
        space: int = 1024,
        space_bytes: int = 1 << 20,
    ) -> Client:
        """Connect a client."""
        number = len(self.clients)
        connection = Connection(
            f"c{number}", object(), user=user, client=None, opened_clock=self.runtime.clock()
        )
        client = Client(connection, acknowledges=acknowledges)
        client.transport.stalled = stalled
        connection.actor = ConnectionActor(
            connection.id, client.transport, TextEncoder(), self, patience=Patience(send=1e6)
        )
        self.clients[connection] = client
        connection.room_names.update(dict.fromkeys(rooms))
        self.registry.add(connection)
        mailbox: Mailbox[Chunk] = Mailbox(space, space_bytes)
        self.runtime.spawn(connection.actor, mailbox, name=connection.id)
        self.inboxes.connected(connection, rooms)
        return client

    def join(self, client: Client, room: str) -> None:
        """Let a client join a room."""
        client.connection.room_names[room] = None
        self.inboxes.joined(client.connection, room)

    def leave(self, client: Client, room: str) -> None:
        """Let a client leave a room."""
        client.connection.room_names.pop(room, None)
        self.inboxes.left(client.connection, room)

    def die(self, client: Client) -> None:
        """Have the socket of a client fail."""
        client.transport.fail(ConnectionError("gone"))

    async def pending(self, user: InboxUser = "ann") -> dict[str, int]:
        """Return what is pending in the store, and how often it was delivered."""
        now = EPOCH + self.runtime.clock()
        found = await MemoryInbox.pending(self.store, user, now=now, limit=10_000)
        return {each.id: each.deliveries for each in found}

    async def aclose(self) -> None:
        """Close everything; nothing may be left."""
        await self.inboxes.aclose()
        await self.runtime.aclose()
        await settle()
        assert len(self.inboxes) == 0
        assert self.runtime.jobs == 0

    # What connection actors tell; see actors.interfaces.ConnectionListener.

    def connection_ended(self, actor: ConnectionActor, reason: ExitReason) -> None:
        connection = self.registry.bound_to(actor)
        connection.reason = reason
        self.registry.remove(connection)
        self.inboxes.gone(connection)

    def connection_lagging(self, actor: ConnectionActor, reason: DropReason) -> None:
        pass

    def connection_slow(self, actor: ConnectionActor, mailbox: MailboxStatistics) -> None:
        pass

    def connection_caught_up(self, actor: ConnectionActor, dropped: int) -> None:
        pass

    # As a supervisor with several nodes; see supervisor.neighbours.

    def connected(self, user: InboxUser) -> bool:
        return any(other.registry.count_of_user(user) for other in self.others)

    def in_room(self, user: Hashable, room: str) -> bool:
        return any(
            room in connection.room_names
            for other in self.others
            for connection in other.registry.of_user(user)
        )

    def arrived(self, messages: Sequence[InboxMessage]) -> None:
        for other in self.others:
            self.runtime.loop.call_soon(other.inboxes.arrived, messages)

    def settled(self, user: InboxUser, ids: Collection[str]) -> None:
        for other in self.others:
            self.runtime.loop.call_soon(other.inboxes.settled, user, ids)

    def delivered(self, user: InboxUser, counts: Mapping[str, int]) -> None:
        for other in self.others:
            self.runtime.loop.call_soon(other.inboxes.delivered, user, counts)
