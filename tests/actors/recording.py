"""Fakes that the tests of the actors share: they record what they are told."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from actors.connection import ConnectionActor, ConnectionState, Patience
from actors.exits import CloseCode, Ending, ExitReason
from actors.interfaces import Encoder, Member, Source
from actors.mailbox import Mailbox, MailboxStatistics
from actors.messages import Chunk, Frame, Message, Question
from actors.overflow import DropReason, Offer, Overflow
from actors.receipts import FlushLatch
from actors.runtime import Runtime
from actors.testing import FakeTransport, TextEncoder

__all__ = [
    "GONE",
    "LEFT",
    "MAILBOX_OVERFLOWS",
    "TEXT",
    "ConnectionLog",
    "FakeMember",
    "Item",
    "Request",
    "RoomLog",
    "chunk",
    "connect",
    "stall",
    "state",
]

LEFT = ExitReason(Ending.LEFT, CloseCode.NORMAL, "bye")
GONE = ExitReason(Ending.DISCONNECTED, CloseCode.GOING_AWAY)

TEXT = TextEncoder()
"""One encoder, as members are grouped by it."""

MAILBOX_OVERFLOWS = [one for one in Overflow if one not in {Overflow.CONFLATE, Overflow.CURSOR}]
"""What a mailbox may do; the others are for rooms."""


class Item(Message):
    """A message that knows how often it was settled, and how."""

    __slots__ = ("count", "feed", "key", "name", "overflow", "pinned", "settled", "size")

    def __init__(
        self,
        name: str = "",
        *,
        size: int = 0,
        count: int = 1,
        key: Hashable | None = None,
        pinned: bool = False,
        overflow: Overflow | None = None,
        feed: str = "direct",
    ) -> None:
        self.name = name
        self.size = size
        self.count = count
        self.key = key
        self.pinned = pinned
        self.overflow = overflow
        self.feed = feed
        self.settled: list[bool] = []

    def settle(self, delivered: bool) -> None:
        self.settled.append(delivered)

    def __repr__(self) -> str:
        return self.name


class Request(Question[str]):
    """A question with a name."""

    __slots__ = ("name",)

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self.name = name


def chunk(
    *payloads: str | bytes,
    key: Hashable | None = None,
    pinned: bool = False,
    overflow: Overflow | None = None,
    feed: str = "direct",
    on_settled: Callable[[bool], None] | None = None,
) -> Chunk:
    """Return a chunk of ``payloads``."""
    frames = tuple(Frame(payload) for payload in payloads)
    return Chunk(
        frames, key=key, pinned=pinned, overflow=overflow, feed=feed, on_settled=on_settled
    )


class ConnectionLog:
    """A connection listener that records, and does ``then`` when told that one ended."""

    def __init__(self) -> None:
        self.ended: list[ExitReason] = []
        self.lagging: list[DropReason] = []
        self.slow: list[tuple[int, int]] = []  # what waited then: messages, bytes
        self.caught_up: list[int] = []
        self.on_ended: Callable[[ConnectionActor], None] = lambda _: None
        self.on_lagging: Callable[[ConnectionActor], None] = lambda _: None
        self.on_slow: Callable[[ConnectionActor], None] = lambda _: None
        self.on_caught_up: Callable[[ConnectionActor], None] = lambda _: None

    def connection_ended(self, connection: ConnectionActor, reason: ExitReason) -> None:
        self.ended.append(reason)
        self.on_ended(connection)

    def connection_lagging(self, connection: ConnectionActor, reason: DropReason) -> None:
        self.lagging.append(reason)
        self.on_lagging(connection)

    def connection_slow(self, connection: ConnectionActor, mailbox: MailboxStatistics) -> None:
        self.slow.append((mailbox.depth, mailbox.size))
        self.on_slow(connection)

    def connection_caught_up(self, connection: ConnectionActor, dropped: int) -> None:
        self.caught_up.append(dropped)
        self.on_caught_up(connection)


def connect(
    runtime: Runtime,
    transport: FakeTransport,
    listener: ConnectionLog | None = None,
    *,
    identity: Hashable = "client",
    encoder: Encoder = TEXT,
    capacity: int = 1024,
    max_bytes: int = 1 << 20,
    overflow: Overflow = Overflow.DROP_OLDEST,
    send_timeout: float = 10.0,
    close_timeout: float = 10.0,
    slow_grace: float = 5.0,
    slow_share: float = 0.75,
) -> ConnectionActor:
    """Return a started connection actor on ``transport``."""
    connection = ConnectionActor(
        identity,
        transport,
        encoder,
        listener or ConnectionLog(),
        patience=Patience(send_timeout, close_timeout, slow_grace),
    )
    mailbox = Mailbox[Chunk](capacity, max_bytes, overflow, slow_share=slow_share)
    runtime.spawn(connection, mailbox, name=f"connection {identity}")
    return connection


def stall(
    runtime: Runtime, transport: FakeTransport, log: ConnectionLog | None = None, **settings: Any
) -> ConnectionActor:
    """Return a connection whose socket holds back the chunk "held"."""
    connection = connect(runtime, transport, log, **settings)
    transport.stalled = True
    assert connection.deliver(chunk("held")) is Offer.ACCEPTED
    assert not connection.ready
    return connection


def state(connection: ConnectionActor) -> ConnectionState:
    """Return the state it is in now, which type checkers cannot know."""
    return connection.state


class FakeMember:
    """
    A member that records the chunks it is handed.

    Attributes:
        offer: What it says of every chunk.
        ready: Whether it says that it would write at once.
        latches: Latches that it holds, while it is not ready.
        offer_later: What it says of a chunk for which it had no space, when it has waited.
        closed: Why it was closed, each time.
        sources: What it follows.
        lost: Messages that it was told it will never get.
    """

    def __init__(self, identity: Hashable = None, encoder: Encoder = TEXT) -> None:
        self.identity = identity
        self.encoder = encoder
        self.offer = self.offer_later = Offer.ACCEPTED
        self.ready = True
        self.chunks: list[Chunk] = []
        self.latches: list[FlushLatch] = []
        self.closed: list[ExitReason] = []
        self.sources: list[Source] = []
        self.lost = 0
        self.on_deliver: Callable[[], None] = lambda: None

    def deliver(self, chunk: Chunk) -> Offer:
        self.chunks.append(chunk)
        self.on_deliver()
        return self.offer

    async def deliver_when_space(self, chunk: Chunk, *, timeout: float) -> Offer:
        return self.offer_later

    def when_flushed(self, latch: FlushLatch) -> bool:
        if self.ready:
            return False
        latch.add()
        self.latches.append(latch)
        return True

    def deliver_control(self, chunk: Chunk) -> Offer:
        return self.deliver(chunk)

    def close(self, reason: ExitReason) -> None:
        self.closed.append(reason)

    def missed(self, count: int, reason: DropReason, feed: str) -> None:
        self.lost += count

    def follow(self, source: Source) -> None:
        self.sources.append(source)

    def unfollow(self, source: Source) -> None:
        self.sources.remove(source)

    def resume(self, source: Source) -> None:
        if self.ready and source in self.sources:
            while (chunk := source.pull()) is not None:
                self.deliver(chunk)

    @property
    def payloads(self) -> list[str | bytes]:
        """All that was delivered, in order."""
        return [frame.payload for chunk in self.chunks for frame in chunk.frames]


class RoomLog:
    """A room listener that records; also what a room reports as faults."""

    def __init__(self) -> None:
        self.joined: list[Member] = []
        self.left: list[Member] = []
        self.empty = 0
        self.may_end = False
        self.dropped: list[tuple[DropReason, int]] = []
        self.missed: list[tuple[Member, int]] = []
        self.caught_up: list[tuple[Member, int]] = []
        self.feeds: set[str] = set()  # classes that losses were counted under
        self.faults: list[tuple[str, BaseException]] = []
        self.on_joined: Callable[[Member], None] = lambda _: None
        self.on_left: Callable[[Member], None] = lambda _: None
        self.on_dropped: Callable[[DropReason], None] = lambda _: None

    def member_joined(self, room: Hashable, member: Member) -> None:
        self.joined.append(member)
        self.on_joined(member)

    def member_left(self, room: Hashable, member: Member) -> None:
        self.left.append(member)
        self.on_left(member)

    def member_missed(self, room: Hashable, member: Member, count: int) -> None:
        self.missed.append((member, count))

    def member_caught_up(self, room: Hashable, member: Member, missed: int) -> None:
        self.caught_up.append((member, missed))

    def room_empty(self, room: Hashable) -> bool:
        self.empty += 1
        return self.may_end

    def room_dropped(self, room: Hashable, reason: DropReason, count: int, feed: str) -> None:
        self.dropped.append((reason, count))
        self.feeds.add(feed)
        self.on_dropped(reason)

    def fault(self, what: str, error: BaseException) -> None:
        """Take a fault report."""
        self.faults.append((what, error))
