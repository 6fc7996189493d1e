"""
Who is connected to this node: the connections, and how to find one.

Only the node writes here. What applications see of a connection is :class:`Connection`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from actors.connection import ConnectionActor, ConnectionState
from actors.exits import ExitReason
from actors.interfaces import Transport

if TYPE_CHECKING:
    from actors.timers import Timer
    from supervisor.transports.inbound import Inbound

__all__ = ["ClosedConnection", "Connection", "Registry", "Socket"]


class Socket(Transport, Protocol):
    """A transport that may know that its server has dropped it."""

    @property
    def gone(self) -> bool:
        """Whether the server has dropped the socket already, as far as that can be seen."""
        ...


class Connection:
    """
    One registered socket.

    Attributes:
        id: Unique in the world, and for ever.
        user: Whoever the application said it belongs to, or None.
        client: Address of the peer, without the port, as the server knows it; or None.
        websocket: The socket as the application gave it; None once nothing of it is left.
        opened_at: When it was registered: Unix time in seconds.
        reason: Why it was reaped; None while it is registered.
    """

    __slots__ = (
        "_gone",
        "actor",
        "cancelled",
        "client",
        "endpoint",
        "grace",
        "hooked_rooms",
        "id",
        "inbound",
        "memberships",
        "opened_at",
        "opened_clock",
        "reason",
        "room_names",
        "supervised",
        "timers",
        "transport",
        "user",
        "websocket",
    )

    def __init__(
        self,
        identity: str,
        websocket: Any,
        *,
        user: Hashable | None,
        client: str | None,
        opened_clock: float,
    ) -> None:
        self.id = identity
        self.user = user
        self.client = client
        self.websocket = websocket
        self.opened_at = time.time()
        self.opened_clock = opened_clock
        self.reason: ExitReason | None = None
        self.room_names: set[Hashable] = set()  # the application's; see `rooms`
        self.hooked_rooms: set[Hashable] = set()  # rooms whose on_join was called
        self.memberships = 0  # rooms whose actor has it as a member, internal ones too
        self.actor: ConnectionActor
        self.transport: Socket
        self.inbound: Inbound | None = None
        self.endpoint: asyncio.Task[Any] | None = None  # until it has ended
        self.supervised = False  # whether the endpoint is cancelled when its client has gone
        self.cancelled = False  # whether it was cancelled for that
        self.grace: Timer | None = None
        self.timers: list[Timer] = []
        self._gone: asyncio.Future[None] | None = None

    @property
    def rooms(self) -> frozenset[Hashable]:
        """Rooms that it is in now."""
        return frozenset(self.room_names)

    @property
    def connected(self) -> bool:
        """Whether it is registered and can be sent to."""
        return self.reason is None and self.actor.state is ConnectionState.OPEN

    async def wait_closed(self) -> None:
        """Return when the socket is done with; the close deadline bounds it."""
        if self.actor.state is ConnectionState.CLOSED:
            return
        if self._gone is None:
            self._gone = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._gone])

    def finished(self) -> None:
        """Wake those who wait for the end; called by the node only."""
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def __repr__(self) -> str:
        state = "connected" if self.reason is None else self.reason.ending.value
        return f"<Connection {self.id} user={self.user!r} rooms={len(self.room_names)} {state}>"


@dataclass(slots=True)
class ClosedConnection:
    """
    What is remembered of a connection after it was reaped.

    Attributes:
        id: As it was.
        user: As it was.
        client: As it was.
        rooms: Rooms that it was in at the end.
        reason: Why it ended.
        opened_at: Unix time in seconds.
        duration: Seconds that it was registered.
        written: Messages that its socket took.
        lost: Messages that it had accepted and that its socket never took.
        dropped: Messages that its mailbox dropped, by reason.
        peak_depth: Most messages that waited for it together.
        peak_bytes: Most bytes that waited for it together.
    """

    id: str
    user: Hashable | None
    client: str | None
    rooms: frozenset[Hashable]
    reason: ExitReason
    opened_at: float
    duration: float
    written: int
    lost: int
    dropped: dict[str, int]
    peak_depth: int
    peak_bytes: int


class Registry:
    """
    Connections by id, by socket, by user and by address.

    Sockets are found by identity, because the stubs of users' tests may not hash.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, Connection] = {}
        self._by_socket: dict[int, Connection] = {}
        self._by_user: dict[Hashable, dict[Connection, None]] = {}
        self._by_client: Counter[str] = Counter()

    def add(self, connection: Connection) -> None:
        """Register ``connection``."""
        self._by_id[connection.id] = connection
        self._by_socket[id(connection.websocket)] = connection
        self.assign_user(connection, connection.user)
        if connection.client is not None:
            self._by_client[connection.client] += 1

    def remove(self, connection: Connection) -> None:
        """Deregister ``connection``, once; nothing of it stays in an index."""
        del self._by_id[connection.id]
        del self._by_socket[id(connection.websocket)]
        self._forget_user(connection)
        if connection.client is not None:
            self._by_client[connection.client] -= 1
            if not self._by_client[connection.client]:
                del self._by_client[connection.client]

    def assign_user(self, connection: Connection, user: Hashable | None) -> None:
        """Index ``connection`` under ``user``, and under nobody else."""
        self._forget_user(connection)
        connection.user = user
        if user is not None:
            self._by_user.setdefault(user, {})[connection] = None

    def _forget_user(self, connection: Connection) -> None:
        others = self._by_user.get(connection.user)
        if others is not None:
            others.pop(connection, None)
            if not others:
                del self._by_user[connection.user]

    def get(self, identity: Hashable) -> Connection | None:
        """Return the connection with that id."""
        return self._by_id.get(identity)  # type: ignore[call-overload, no-any-return]

    def of_socket(self, websocket: object) -> Connection | None:
        """Return the connection of that socket."""
        return self._by_socket.get(id(websocket))

    def of_user(self, user: Hashable) -> list[Connection]:
        """Return the connections of that user; may be called from any thread."""
        return list(self._by_user.get(user, ()))

    def users(self) -> list[Hashable]:
        """Return the users that are connected; may be called from any thread."""
        return list(self._by_user)

    def count_of_user(self, user: Hashable) -> int:
        """Return how many connections that user has."""
        return len(self._by_user.get(user, ()))

    def count_of_client(self, client: str) -> int:
        """Return how many connections come from that address."""
        return self._by_client[client]

    def snapshot(self) -> list[Connection]:
        """Return all connections; may be called from any thread."""
        return list(self._by_id.values())

    def __iter__(self) -> Iterator[Connection]:
        return iter(self.snapshot())

    def __len__(self) -> int:
        return len(self._by_id)
