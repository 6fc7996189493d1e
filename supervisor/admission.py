"""
Whom the node takes: limits, checked before a socket is accepted.

A place is reserved while the accept is under way, so that a burst of sockets cannot pass a
limit together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from actors.exits import CloseCode
from supervisor.errors import ConnectionRefused
from supervisor.registry import Registry
from supervisor.settings import Settings

__all__ = ["Admission"]


class Admission:
    """The limits of one node on the connections in ``registry``."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._reserved = 0
        self._reserved_users: Counter[Hashable] = Counter()
        self._reserved_clients: Counter[str] = Counter()

    @contextmanager
    def place(self, user: Hashable | None, client: str | None) -> Iterator[None]:
        """
        Hold a place for a connection until it is registered, which is to happen within.

        Raises:
            ConnectionRefused: If a limit is reached.
        """
        self._check(user, client)
        self._reserved_users[user] += 1  # first: the one that raises, for an unhashable user
        self._reserved += 1
        if client is not None:
            self._reserved_clients[client] += 1
        try:
            yield
        finally:
            self._reserved -= 1
            _take_back(self._reserved_users, user)
            if client is not None:
                _take_back(self._reserved_clients, client)

    def check_rooms(self, count: int) -> None:
        """
        Check how many rooms one connection would be in.

        Raises:
            ConnectionRefused: If they are too many.
        """
        limit = self._settings.max_rooms_per_connection
        if count > limit:
            raise ConnectionRefused(
                CloseCode.ROOM_LIMIT, f"a connection may be in {limit} rooms, not in {count}"
            )

    def _check(self, user: Hashable | None, client: str | None) -> None:
        settings = self._settings
        if settings.max_connections is not None:
            used = len(self._registry) + self._reserved
            if used >= settings.max_connections:
                raise ConnectionRefused(
                    CloseCode.CONNECTION_LIMIT,
                    f"this node has its {settings.max_connections} connections",
                    503,
                )
        if settings.max_connections_per_user is not None and user is not None:
            used = self._registry.count_of_user(user) + self._reserved_users[user]
            if used >= settings.max_connections_per_user:
                raise ConnectionRefused(
                    CloseCode.CONNECTION_LIMIT,
                    f"a user may have {settings.max_connections_per_user} connections",
                    429,
                )
        if settings.max_connections_per_ip is not None and client is not None:
            used = self._registry.count_of_client(client) + self._reserved_clients[client]
            if used >= settings.max_connections_per_ip:
                raise ConnectionRefused(
                    CloseCode.CONNECTION_LIMIT,
                    f"an address may have {settings.max_connections_per_ip} connections",
                    429,
                )


def _take_back(reserved: Counter[Any], key: Hashable) -> None:
    """Undo one reservation; what is not reserved any more leaves no zero behind."""
    reserved[key] -= 1
    if not reserved[key]:
        del reserved[key]
