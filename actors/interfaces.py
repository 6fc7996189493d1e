"""
What the actors ask of the world outside: ports that :mod:`supervisor` fills.

Nothing here is called from more than one event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from actors.positions import Position

if TYPE_CHECKING:
    from actors.exits import ExitReason
    from actors.mailbox import MailboxStatistics
    from actors.messages import Chunk, Frame
    from actors.notices import Notice
    from actors.overflow import DropReason, Offer
    from actors.publications import Publication
    from actors.receipts import FlushLatch

__all__ = [
    "ConnectionListener",
    "Encoder",
    "FaultReporter",
    "HistoryPage",
    "Member",
    "RoomHistory",
    "RoomListener",
    "Source",
    "Transport",
    "TransportListener",
]


class Encoder(Protocol):
    """
    Turns application data into frames of one wire format. Hashable by identity.

    One that derives from it has only :meth:`encode` to say: then a publication is its data, and
    there are no words for the rest.
    """

    def encode(self, data: object) -> Frame:
        """
        Return the frame for ``data``.

        ``str`` becomes a text frame and ``bytes`` a binary one, unchanged.

        Raises:
            Exception: Whatever the format says of data it cannot express.
        """
        ...

    def publication(self, publication: Publication) -> Frame | None:
        """Return the frame for a publication; None if the format has no words for it."""
        return None if publication.silent else self.encode(publication.data)

    def notice(self, notice: Notice) -> Frame | None:
        """Return the frame for what a room says of itself; None if the format has no words for it."""
        return None


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

    @property
    def held(self) -> int:
        """
        Bytes that were written and that it holds back, as far as it can see; 0 where it cannot.

        Fewer than before: the socket takes some. Never raises.
        """
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

    def deliver_control(self, chunk: Chunk) -> Offer:
        """As :meth:`deliver`, ahead of all that waits."""
        ...

    def close(self, reason: ExitReason) -> None:
        """End; idempotent."""
        ...

    def missed(self, count: int, reason: DropReason, feed: str) -> None:
        """Count messages of a room that it will never get."""
        ...

    def follow(self, source: Source) -> None:
        """Pull from ``source`` from now on, at once if nothing waits."""
        ...

    def unfollow(self, source: Source) -> None:
        """Pull from ``source`` no more. Idempotent."""
        ...

    def resume(self, source: Source) -> None:
        """``source`` has something again: pull, now or as soon as nothing waits."""
        ...


class Source(Protocol):
    """
    What a member takes from at its own speed, whenever nothing else waits for its socket.

    Called by the member only, and never from within another call of the source.
    """

    def pull(self) -> Chunk | None:
        """Return what to write next; None when there is nothing, and ``resume`` will be called."""
        ...

    def stalled(self) -> None:
        """What was pulled last is held back by the socket: it may be long until the next pull."""
        ...


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """
    Messages of a room in a store, and where it stood when they were read.

    Attributes:
        publications: Oldest first.
        top: The place after the newest message; ``NOWHERE`` if nothing was ever kept.
        lost: Offset of the newest message that is not kept any more; 0 if none.
        ended: Whether nothing more will come.
    """

    publications: Sequence[Publication]
    top: Position
    lost: int
    ended: bool


class RoomHistory(Protocol):
    """What a room actor asks of the store that keeps the messages of its room."""

    async def look(self) -> HistoryPage:
        """
        Return where the room stands, without messages.

        Raises:
            Exception: If the store cannot say; within its own deadline.
        """
        ...

    async def read(self, after: int, *, limit: int, size: int) -> HistoryPage:
        """
        Return messages with an offset above ``after``: at most ``limit``, of ``size`` bytes.

        One message is returned however large it is. Raises as :meth:`look`.
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

    def member_missed(self, room: Hashable, member: MemberT_contra, count: int) -> None:
        """
        ``member`` is behind, and ``count`` messages that it was to get are kept no longer.

        Told once until it has caught up, however often that happens to it; each is counted.
        """
        ...

    def member_caught_up(self, room: Hashable, member: MemberT_contra, missed: int) -> None:
        """``member``, of which that was told, is live again; it has missed so many in all."""
        ...

    def room_empty(self, room: Hashable) -> bool:
        """The last member has gone, and nothing waits; return whether the room may end."""
        ...

    def room_dropped(self, room: Hashable, reason: DropReason, count: int, feed: str) -> None:
        """
        Messages of the room were lost on their way to ``count`` recipients.

        ``feed`` is the class of the room, under which they are counted.
        """
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

    def connection_slow(self, connection: ConnectionT_contra, mailbox: MailboxStatistics) -> None:
        """
        Too much has waited for it for too long: told once an episode.

        Its mailbox, as it is now, will be squeezed.
        """
        ...

    def connection_caught_up(self, connection: ConnectionT_contra, dropped: int) -> None:
        """
        Its mailbox is empty again, after it lost ``dropped`` messages in the episode.

        Told at the end of each that :meth:`connection_lagging` or :meth:`connection_slow` was told of.
        """
        ...


FaultReporter = Callable[[str, BaseException], None]
"""Told of a failure that nobody waits for: what failed (a dotted word), and the error."""
