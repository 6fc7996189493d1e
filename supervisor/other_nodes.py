"""What one node sees of the others of its process; see :class:`supervisor.neighbours.Neighbours`."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from supervisor.inbox.base import InboxMessage, InboxUser

if TYPE_CHECKING:
    from supervisor.node import Node

__all__ = ["OtherNodes"]


class OtherNodes:
    """
    All nodes but one.

    Args:
        nodes: All of them, those too that will be made yet.
        loop: That of the one.
    """

    def __init__(self, nodes: Iterable[Node], loop: asyncio.AbstractEventLoop) -> None:
        self._nodes = nodes
        self._loop = loop

    def __iter__(self) -> Iterator[Node]:
        return (node for node in self._nodes if node.loop is not self._loop)

    def connected(self, user: InboxUser) -> bool:
        """Whether ``user`` has a connection at any of them."""
        return any(node.registry.count_of_user(user) for node in self)

    def in_room(self, user: Hashable, room: str) -> bool:
        """Whether ``user`` is in ``room`` with a connection at any of them."""
        return any(
            room in connection.room_names
            for node in self
            for connection in node.registry.of_user(user)
        )

    def arrived(self, messages: Sequence[InboxMessage]) -> None:
        """Tell them of messages that were kept."""
        for node in self:
            node.delivery.post(partial(node.inboxes.arrived, messages))

    def delivered(self, user: InboxUser, counts: Mapping[str, int]) -> None:
        """Tell them how often messages were delivered."""
        for node in self:
            node.delivery.post(partial(node.inboxes.delivered, user, counts))

    def settled(self, user: InboxUser, ids: Collection[str]) -> None:
        """Tell them of messages that are settled."""
        for node in self:
            node.delivery.post(partial(node.inboxes.settled, user, ids))
