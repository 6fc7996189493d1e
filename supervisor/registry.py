"""
Who is connected to this node: the connections, and how to find one.

Only the node and its rooms write here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from actors.connection import ConnectionActor, ConnectionState
from supervisor.connection import Connection

__all__ = ["Registry"]


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
        self._by_actor: dict[ConnectionActor, Connection] = {}  # until nothing is left of them

    def add(self, connection: Connection) -> None:
        """Register ``connection``."""
        self._by_actor[connection.actor] = connection
        self._by_id[connection.id] = connection
        self._by_socket[id(connection.websocket)] = connection
        self.assign_user(connection, connection.user)
        if connection.client is not None:
            self._by_client[connection.client] += 1

    def remove(self, connection: Connection) -> None:
        """Deregister ``connection``, once; nothing of it stays in an index."""
        del self._by_id[connection.id]
        self._by_socket.pop(id(connection.websocket), None)
        self._forget_user(connection)
        if connection.client is not None:
            self._by_client[connection.client] -= 1
            if not self._by_client[connection.client]:
                del self._by_client[connection.client]

    def forget_socket(self, connection: Connection) -> None:
        """Let go of the WebSocket of a connection that nobody will look for by it."""
        self._by_socket.pop(id(connection.websocket), None)
        connection.websocket = None

    def let_go(self, connection: Connection) -> None:
        """Drop the last references, once the socket is done with and no room has it any more."""
        if (
            connection.actor.state is ConnectionState.CLOSED
            and connection.reason is not None
            and not connection.memberships
            and self._by_actor.pop(connection.actor, None) is not None
        ):
            if connection.inbound is not None:
                connection.inbound.stop()
            connection.websocket = None

    def of_actor(self, actor: ConnectionActor) -> Connection | None:
        """Return the connection of that actor; None once nothing is left of it."""
        return self._by_actor.get(actor)

    def bound_to(self, actor: ConnectionActor) -> Connection:
        """Return the connection of an actor that has not stopped."""
        return self._by_actor[actor]

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

    def __len__(self) -> int:
        return len(self._by_id)
