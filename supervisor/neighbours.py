"""The other nodes of the process, as the inboxes of one node see them."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Protocol

from supervisor.inbox.base import InboxMessage, InboxUser

__all__ = ["Alone", "Neighbours"]


class Neighbours(Protocol):
    """
    The other nodes of the process. Called on the loop of the node; must neither wait nor raise.

    An implementation posts to the loop of each of the others, in order.
    """

    def connected(self, user: InboxUser) -> bool:
        """Whether ``user`` has a connection at any of them."""
        ...

    def in_room(self, user: Hashable, room: str) -> bool:
        """Whether ``user`` is in ``room`` with a connection at any of them."""
        ...

    def arrived(self, messages: Sequence[InboxMessage]) -> None:
        """Call :meth:`Inboxes.arrived` there."""
        ...

    def delivered(self, user: InboxUser, counts: Mapping[str, int]) -> None:
        """Call :meth:`Inboxes.delivered` there."""
        ...

    def settled(self, user: InboxUser, ids: Collection[str]) -> None:
        """Call :meth:`Inboxes.settled` there."""
        ...


class Alone:
    """The neighbours of a node that has none."""

    def connected(self, user: InboxUser) -> bool:
        """Return False."""
        return False

    def in_room(self, user: Hashable, room: str) -> bool:
        """Return False."""
        return False

    def arrived(self, messages: Sequence[InboxMessage]) -> None:
        """Do nothing."""

    def delivered(self, user: InboxUser, counts: Mapping[str, int]) -> None:
        """Do nothing."""

    def settled(self, user: InboxUser, ids: Collection[str]) -> None:
        """Do nothing."""
