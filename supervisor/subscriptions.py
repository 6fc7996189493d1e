"""
Who is addressed by what is published to alert rooms: their subscribers, whom the inbox store knows.

A user subscribes with the first join and stays, connected or not, until an explicit leave.
"""

from __future__ import annotations

from collections.abc import Hashable

from actors.exits import CloseCode
from actors.runtime import Runtime
from supervisor.connection import Connection
from supervisor.errors import InvalidPublication, JoinRefused
from supervisor.important import inbox_user
from supervisor.inbox.base import Inbox
from supervisor.neighbours import Neighbours
from supervisor.registry import Registry

__all__ = ["Subscriptions"]


class Subscriptions:
    """The subscriptions of the users of one node."""

    def __init__(
        self, inbox: Inbox, registry: Registry, neighbours: Neighbours, runtime: Runtime
    ) -> None:
        self._inbox = inbox
        self._registry = registry
        self._neighbours = neighbours
        self._runtime = runtime

    async def add(self, connection: Connection, room: Hashable) -> bool:
        """
        Have what is published to ``room`` put into the inbox of the connection's user, from now on.

        Returns:
            Whether that is new.

        Raises:
            JoinRefused: If the connection has no user, or one who cannot have an inbox.
            StoreUnavailable: If the inbox cannot be written.
        """
        assert isinstance(room, str)  # no other room has a policy
        if connection.user is None:
            raise JoinRefused(
                CloseCode.PERMISSION_DENIED,
                f"room {room} is of the class alert, for users only: the session has no user=",
            )
        try:
            user = inbox_user(connection.user)
        except InvalidPublication as error:
            raise JoinRefused(CloseCode.PERMISSION_DENIED, str(error)) from error
        return await self._inbox.subscribe(room, user)

    def remove(self, connection: Connection, room: Hashable) -> None:
        """Undo that, in the background, unless another connection of the user is in the room."""
        assert isinstance(room, str)
        user, name = connection.user, room
        if user is None:
            return

        async def unsubscribe() -> None:
            here = any(name in each.room_names for each in self._registry.of_user(user))
            if not here and not self._neighbours.in_room(user, name):
                await self._inbox.unsubscribe(name, inbox_user(user))

        self._runtime.run(unsubscribe(), name="unsubscribe")
