"""
The port between a supervisor and what keeps messages until their user has acknowledged them.

One inbox a user. A message is *pending* from :meth:`Inbox.put` until it is acknowledged, expires,
or is given up as a *dead letter*. Who delivers, how often and when, is not decided here: the store is
told how often that was, so that the count outlives the process, and is one for all its loops.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeGuard

__all__ = [
    "DEAD_LETTERS",
    "EXPIRED_AT_ONCE",
    "REMEMBERED",
    "Inbox",
    "InboxMessage",
    "InboxUser",
    "Kept",
    "has_inbox",
]

DEAD_LETTERS = 1_000
"""Dead letters that a store keeps; the newest."""

EXPIRED_AT_ONCE = 1_000
"""Messages that one call of :meth:`Inbox.expire` drops at most."""

REMEMBERED = 10_000
"""Settled messages whose ids a store knows at least; the newest. They are not kept again."""

InboxUser = str | int
"""A user with an inbox; ``1`` and ``"1"`` are two users."""


def has_inbox(user: object) -> TypeGuard[InboxUser]:
    """Whether ``user`` can have an inbox; a flag, which Python takes for 0 or 1, cannot."""
    return isinstance(user, str | int) and not isinstance(user, bool)


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """
    A message for a user.

    Attributes:
        id: Unique in the world: the client acknowledges it, and tells repetitions, by this.
        user: Whose inbox it is in.
        room: The alert room that it was published to; None if it was sent to the user.
        payload: ``str`` or ``bytes``, as it goes to clients.
        encoded: Whether the payload is the JSON text of other data.
        created: Unix time in seconds.
        expires: Unix time in seconds from which on it is not worth delivering.
        deliveries: How often it was given to clients, and none of them acknowledged it.
    """

    id: str
    user: InboxUser
    room: str | None
    payload: str | bytes
    encoded: bool
    created: float
    expires: float
    deliveries: int = 0


class Kept(NamedTuple):
    """
    What became of a put.

    Attributes:
        new: Ids that were kept; the others were known.
        evicted: What had to go for them, oldest first.
    """

    new: frozenset[str]
    evicted: list[InboxMessage]


class Inbox(Protocol):
    """
    Keeps messages. Thread-safe: supervisors with several event loops use one store.

    Promises: what :meth:`put` has returned for is pending, after the process was killed too;
    the messages of a user keep the order in which they were put; a message is settled once,
    whoever acknowledges it, and never pending again.

    Waiting is bounded by the store. Every method but :meth:`open` raises ``StoreUnavailable`` if
    the store has failed.
    """

    @property
    def healthy(self) -> bool:
        """Whether it keeps what it promises; False once it has had to fall back."""
        ...

    async def open(self) -> None:
        """
        Open the store; before anything else. Idempotent.

        Raises:
            StoreUnavailable: If it cannot be used; the text says why, and what would help.
        """
        ...

    async def aclose(self) -> None:
        """Write what waits, and close. Idempotent; may be opened again."""
        ...

    async def put(self, messages: Sequence[InboxMessage], *, capacity: int) -> Kept:
        """
        Keep ``messages``, all or none; one whose id is known already is not kept again.

        Which were new is told, so that nobody is mailed twice because a publisher tried again.

        Args:
            messages: For one or several users.
            capacity: Pending messages that one user may have; for more, that user's oldest go.

        Raises:
            StoreFull: If too much waits to be written.
        """
        ...

    async def pending(
        self, user: InboxUser, *, now: float, after: str | None = None, limit: int = 100
    ) -> list[InboxMessage]:
        """
        Return pending messages, oldest first, without those that have expired by ``now``.

        Args:
            user: Whose.
            now: Unix time in seconds.
            after: Id of a message; only those put after it, whatever became of it. One that the
                store does not know any more counts as older than all.
            limit: Most messages.
        """
        ...

    async def delivered(self, counts: Mapping[str, int]) -> None:
        """
        Say how often messages were delivered so far; of what several loops say the most counts.

        Idempotent.

        Args:
            counts: Deliveries by id; ids that are not pending do no harm.
        """
        ...

    async def acknowledge(self, user: InboxUser, ids: Collection[str]) -> list[str]:
        """
        Settle messages of ``user``; ids that are not pending, or another user's, do no harm.

        Returns:
            Which of ``ids`` were pending.
        """
        ...

    async def bury(self, ids: Collection[str]) -> list[InboxMessage]:
        """Give pending messages up as dead letters; return those that were pending."""
        ...

    async def dead(self, *, limit: int = 100) -> list[InboxMessage]:
        """Return the newest dead letters, the newest first; of :data:`DEAD_LETTERS`."""
        ...

    async def expire(self, *, now: float) -> list[InboxMessage]:
        """Drop pending messages that have expired by ``now``; return at most :data:`EXPIRED_AT_ONCE`."""
        ...

    async def subscribe(self, room: str, user: InboxUser) -> bool:
        """Put into the inbox of ``user`` what is published to ``room``; return whether that is new."""
        ...

    async def unsubscribe(self, room: str, user: InboxUser) -> bool:
        """Undo :meth:`subscribe`; return whether there was anything to undo."""
        ...

    async def subscribers(self, room: str) -> list[InboxUser]:
        """Return who subscribed to ``room``, in the order in which they did."""
        ...
