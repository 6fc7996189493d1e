"""A registered socket, while it lives and afterwards: what applications and the node see of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from actors.connection import LOST, ConnectionActor, ConnectionState
from actors.exits import ExitReason
from actors.interfaces import Transport
from actors.mailbox import MailboxStatistics
from supervisor.losses import by_feed_of

if TYPE_CHECKING:
    from actors.timers import Timer
    from supervisor.transports.inbound import Inbound

__all__ = ["ClosedConnection", "Connection", "Socket"]


class Socket(Transport, Protocol):
    """A transport that may know that its server has dropped it."""

    @property
    def gone(self) -> bool:
        """Whether the server has dropped the socket already, as far as that can be seen."""
        ...

    @property
    def unsent(self) -> bool:
        """Whether anything waits for the peer to read, here or in the server, as far as seen."""
        ...

    @property
    def left_behind(self) -> bool:
        """Whether it was given up, and the server could not be made to drop it."""
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
        "closed",
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
        self.room_names: dict[Hashable, None] = {}  # the application's, in order; see `rooms`
        self.hooked_rooms: set[Hashable] | None = None  # those whose on_join was called
        self.memberships = 0  # rooms whose actor has it as a member, internal ones too
        self.actor: ConnectionActor
        self.transport: Socket
        self.inbound: Inbound | None = None
        self.endpoint: asyncio.Task[Any] | None = None  # until it has ended
        self.supervised = False  # whether the endpoint is cancelled when its client has gone
        self.cancelled = False  # whether it was cancelled for that
        self.grace: Timer | None = None
        self.timers: list[Timer] = []
        self.closed: ClosedConnection | None = None  # what is remembered of it
        self._gone: asyncio.Future[None] | None = None

    @property
    def rooms(self) -> frozenset[Hashable]:
        """Rooms that it is in now."""
        return frozenset(self.room_names)

    @property
    def connected(self) -> bool:
        """Whether it is registered and can be sent to."""
        return self.reason is None and self.actor.state is ConnectionState.OPEN

    @property
    def dropped(self) -> dict[str, dict[str, int]]:
        """
        Messages that did not reach its socket so far, by the class of the room and the reason.

        The classes are ``event``, ``status``, ``log``, ``alert``, and ``direct`` for what was sent to
        it without a room; the reasons are the values of :class:`actors.overflow.DropReason`.
        """
        return by_feed_of(self.actor.statistics())

    @property
    def waiting(self) -> int:
        """Messages that wait for the socket, without what it has in hand."""
        return len(self.actor.cell.mailbox)

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
        reason: Why it ended; of an exception its name and text, as the exception itself would
            keep all alive that it has passed through.
        opened_at: Unix time in seconds.
        duration: Seconds that it was registered.
        written: Messages that its socket took; final, as all that follows, when the socket is done
            with.
        lost: Messages that it had accepted and that its socket never took.
        dropped: Messages that it did not accept or gave up for others, and those that their rooms
            kept no longer, by reason.
        dropped_by_feed: What ``lost`` and ``dropped`` count, together, by the class of the room
            (``event``, ``status``, ``log``, ``alert``, or ``direct`` without a room) and reason.
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
    dropped_by_feed: dict[str, dict[str, int]]
    peak_depth: int
    peak_bytes: int

    @classmethod
    def of(cls, connection: Connection, reason: ExitReason, now: float) -> ClosedConnection:
        """Return what is to be remembered of ``connection`` at ``now``, on its node's clock."""
        actor = connection.actor
        mailbox = actor.statistics()
        return cls(
            id=connection.id,
            user=connection.user,
            client=connection.client,
            rooms=connection.rooms,
            reason=_without_error(reason),
            opened_at=connection.opened_at,
            duration=now - connection.opened_clock,
            written=actor.written,
            lost=actor.lost,
            dropped=_dropped(mailbox),
            dropped_by_feed=by_feed_of(mailbox),
            peak_depth=mailbox.peak_depth,
            peak_bytes=mailbox.peak_size,
        )

    def settle(self, actor: ConnectionActor) -> None:
        """Take over what became of the messages that waited at the end, or came later."""
        mailbox = actor.statistics()
        self.written = actor.written
        self.lost = actor.lost
        self.dropped = _dropped(mailbox)
        self.dropped_by_feed = by_feed_of(mailbox)
        self.peak_depth = mailbox.peak_depth
        self.peak_bytes = mailbox.peak_size


def _dropped(mailbox: MailboxStatistics) -> dict[str, int]:
    return {why.value: count for why, count in mailbox.dropped.items() if why not in LOST}


def _without_error(reason: ExitReason) -> ExitReason:
    error = reason.error
    if error is None:
        return reason
    text = reason.text or f"{type(error).__name__}: {error}"
    return ExitReason(reason.ending, reason.code, text)
