"""
What the actors ask of the world outside: ports that :mod:`supervisor` fills.

Nothing here is called from more than one event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from actors.exits import ExitReason
    from actors.messages import Chunk, Frame
    from actors.overflow import DropReason, Offer
    from actors.receipts import FlushLatch

__all__ = [
    "ConnectionListener",
    "Encoder",
    "FaultReporter",
    "Member",
    "RoomListener",
    "Transport",
    "TransportListener",
]


class Encoder(Protocol):
    """Turns application data into frames of one wire format. Hashable by identity."""

    def encode(self, data: object) -> Frame:
        """
        Return the frame for ``data``.

        ``str`` becomes a text frame and ``bytes`` a binary one, unchanged.

        Raises:
            Exception: Whatever the format says of data it cannot express.
        """
        ...


class TransportListener(Protocol):
    """What a transport tells its connection actor, never from within a call of that actor."""

    def transport_ready(self) -> None:
        """What :meth:`Transport.write` held back is written; more may come."""
        ...

    def transport_failed(self, error: BaseException) -> None:
        """Nothing can be written any more."""
        ...

    def transport_closed(self) -> None:
        """The close that was begun is finished."""
        ...


class Transport(Protocol):
    """
    One socket, as its connection actor sees it.

    Only the actor calls it, and it never calls :meth:`write` again before it was told that
    the transport is ready, when the last call returned False.
    """

    def attach(self, listener: TransportListener) -> None:
        """Name the listener, once, before anything else."""
        ...

    def write(self, chunk: Chunk) -> bool:
        """
        Write all frames of ``chunk``, in order, without waiting.

        Returns:
            True when it is done and more may come; False when the transport still holds a
            part, and will say ``transport_ready`` or ``transport_failed``.

        Raises:
            Exception: When the socket can carry nothing any more.
        """
        ...

    def close(self, code: int, reason: str) -> bool:
        """
        Close the socket with ``code``, without waiting.

        Returns:
            True when it is done; False when ``transport_closed`` or ``transport_failed``
            will be said.

        Raises:
            Exception: When the socket can carry nothing any more.
        """
        ...

    def abort(self) -> None:
        """Give the socket up at once, whatever it still holds. Idempotent, never raises."""
        ...


class Member(Protocol):
    """What a room knows of a member: how to hand it a chunk. Hashable by identity."""

    @property
    def encoder(self) -> Encoder:
        """The wire format of the member."""
        ...

    @property
    def identity(self) -> Hashable:
        """What publishers exclude it by."""
        ...

    @property
    def ready(self) -> bool:
        """Whether :meth:`deliver` would write at once."""
        ...

    def deliver(self, chunk: Chunk) -> Offer:
        """
        Write ``chunk`` at once, or queue it; never waits, never raises.

        FULL hands it back: only :meth:`deliver_when_space` will do.
        """
        ...

    async def deliver_when_space(self, chunk: Chunk, *, timeout: float) -> Offer:
        """Queue ``chunk`` when there is space; after ``timeout`` seconds without, end as slow."""
        ...

    def when_flushed(self, latch: FlushLatch) -> bool:
        """
        Count down ``latch`` when all that waits now is written or lost.

        Returns:
            Whether there is anything worth waiting for; if not, the latch is not touched.
        """
        ...


MemberT_contra = TypeVar("MemberT_contra", contravariant=True)


class RoomListener(Protocol[MemberT_contra]):
    """What a room actor tells; each call happens within its turn and must not raise."""

    def member_joined(self, room: Hashable, member: MemberT_contra) -> None:
        """``member`` has become a member: once a membership."""
        ...

    def member_left(self, room: Hashable, member: MemberT_contra) -> None:
        """``member`` has stopped being one: once a membership."""
        ...

    def room_empty(self, room: Hashable) -> bool:
        """The last member has gone, and nothing waits; return whether the room may end."""
        ...

    def room_dropped(self, room: Hashable, reason: DropReason, count: int) -> None:
        """Messages of the room were lost on their way to ``count`` recipients."""
        ...


ConnectionT_contra = TypeVar("ConnectionT_contra", contravariant=True)


class ConnectionListener(Protocol[ConnectionT_contra]):
    """What a connection actor tells; must not raise."""

    def connection_ended(self, connection: ConnectionT_contra, reason: ExitReason) -> None:
        """It takes nothing any more: deregister it. Told exactly once, before it closes."""
        ...

    def connection_lagging(self, connection: ConnectionT_contra, reason: DropReason) -> None:
        """It has begun to lose messages: once an episode."""
        ...

    def connection_caught_up(self, connection: ConnectionT_contra, dropped: int) -> None:
        """Its mailbox is empty again, after it lost ``dropped`` messages in the episode."""
        ...


FaultReporter = Callable[[str, BaseException], None]
"""Told of a failure that nobody waits for: what failed (a dotted word), and the error."""
