"""The least that actors can be run with: a socket that takes all, and listeners that do nothing."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from actors.connection import ConnectionActor
from actors.exits import ExitReason
from actors.interfaces import Member, Transport, TransportListener
from actors.mailbox import Mailbox, MailboxStatistics
from actors.membership import Membership
from actors.messages import Chunk, RoomMessage
from actors.overflow import DropReason, Overflow
from actors.room import RoomActor
from actors.runtime import Runtime
from actors.testing import TextEncoder

__all__ = ["TEXT", "NullListener", "NullTransport", "connect", "open_room"]

TEXT = TextEncoder()


class NullTransport:
    """
    A socket that counts.

    Attributes:
        messages: How many it took.
        ended: Whether it was closed or aborted.
    """

    __slots__ = ("ended", "messages")

    held = 0

    def __init__(self) -> None:
        self.messages = 0
        self.ended = False

    def attach(self, listener: TransportListener) -> None:
        """Tell nobody anything."""

    def write(self, chunk: Chunk) -> bool:
        """Take it."""
        self.messages += chunk.count
        return True

    def close(self, code: int, reason: str) -> bool:
        """Be done with."""
        self.ended = True
        return True

    def abort(self) -> None:
        """Be done with."""
        self.ended = True


class NullListener:
    """Hears of connections and rooms, and does nothing."""

    def connection_ended(self, connection: ConnectionActor, reason: ExitReason) -> None: ...

    def connection_lagging(self, connection: ConnectionActor, reason: DropReason) -> None: ...

    def connection_slow(self, connection: ConnectionActor, mailbox: MailboxStatistics) -> None: ...

    def connection_caught_up(self, connection: ConnectionActor, dropped: int) -> None: ...

    def member_joined(self, room: Hashable, member: ConnectionActor) -> None: ...

    def member_left(self, room: Hashable, member: ConnectionActor) -> None: ...

    def room_empty(self, room: Hashable) -> bool:
        return False

    def member_missed(self, room: Hashable, member: object, count: int) -> None: ...

    def member_caught_up(self, room: Hashable, member: object, missed: int) -> None: ...

    def room_dropped(self, room: Hashable, reason: DropReason, count: int, feed: str) -> None: ...

    def fault(self, what: str, error: BaseException) -> None:
        """Fail: nothing may go wrong in a benchmark."""
        raise error


def connect(runtime: Runtime, transport: Transport, number: int) -> ConnectionActor:
    """Start a connection actor, with a mailbox of the default size."""
    actor = ConnectionActor(number, transport, TEXT, NullListener())
    runtime.spawn(actor, Mailbox[Chunk](1024, 1 << 20), name="connection")
    return actor


def open_room(runtime: Runtime, transports: Sequence[Transport]) -> RoomActor[Member]:
    """Start a room whose members write to ``transports``."""
    membership: Membership[Member] = Membership()
    for number, transport in enumerate(transports):
        membership.join(connect(runtime, transport, number))
    listener = NullListener()
    actor: RoomActor[Member] = RoomActor("room", membership, listener, listener.fault)  # type: ignore[arg-type]  # its members are connections
    mailbox = Mailbox[RoomMessage](10_000, 64 << 20, Overflow.BLOCK)
    runtime.spawn(actor, mailbox, name="room")
    return actor
