"""
What actors say to each other: values without behaviour of their own.

A message tells the mailbox four things about itself (:class:`Message`). What
travels to sockets is a :class:`Chunk`: one or more :class:`Frame` objects that were
encoded once and are shared by everybody who receives them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

from actors.errors import ActorStopped
from actors.overflow import Overflow

if TYPE_CHECKING:
    from actors.interfaces import Member
    from actors.publications import Publication
    from actors.receipts import FlushLatch, Receipt  # noqa: F401 - a base class names it
    from actors.replay import JoinReply, Replay  # noqa: F401 - a base class names it

__all__ = [
    "Chunk",
    "Frame",
    "Join",
    "Leave",
    "Look",
    "Message",
    "Publish",
    "Question",
    "RoomMessage",
]

R = TypeVar("R")


class Message:
    """
    Base of everything that can lie in a mailbox.

    Attributes:
        size: Bytes that the message counts for.
        count: How many messages of the application it carries.
        key: Messages with the same key replace each other while they wait; None never does.
        pinned: An overflow never drops it: its sender waits for space instead.
        overflow: What a full mailbox gives up for it; None leaves that to the mailbox.
        feed: What its loss is counted under: the class of its room, or ``direct``.
    """

    __slots__ = ()

    size: int = 0
    count: int = 1
    key: Hashable | None = None
    pinned: bool = False
    overflow: Overflow | None = None
    feed: str = "direct"

    def settle(self, delivered: bool) -> None:
        """Learn, exactly once, whether the owner of the mailbox took it to its end."""


class Frame:
    """
    One encoded application message.

    Args:
        payload: ``str`` travels as a text frame, ``bytes`` as a binary one.
        encoded: Whether a codec made the payload out of other data.

    Attributes:
        text: Whether it travels as a text frame.
        size: Bytes on the wire without the frame header.
        encoded: As it was given.
    """

    __slots__ = ("_kept", "_offset", "encoded", "size", "text")

    def __init__(self, payload: str | bytes, encoded: bool = False) -> None:
        text = self.text = isinstance(payload, str)
        self.encoded = encoded
        self._kept = payload
        if not text or payload.isascii():
            self.size = len(payload)
        else:
            self.size = len(payload.encode("utf-8", "surrogatepass"))  # type: ignore[union-attr]  # it is text
        self._offset: int | None = None  # where the payload begins, when it is kept in other bytes

    @property
    def payload(self) -> str | bytes:
        """What travels: ``str`` as a text frame, ``bytes`` as a binary one."""
        if self._offset is None:
            return self._kept
        data = self._kept[self._offset :]
        return data.decode() if isinstance(data, bytes) and self.text else data

    def keep_in(self, data: bytes, offset: int) -> None:
        """
        Let go of the payload: from now on it is read out of ``data``.

        A transport that has made wire bytes of a message, which all who wait for it share, need not
        keep it a second time.

        Args:
            data: Bytes that end with the payload, as UTF-8 if it is text.
            offset: Where in ``data`` it begins.
        """
        self._kept = data
        self._offset = offset


class Chunk(Message):
    """
    Frames that travel together to a socket, in order; shared by all who receive them.

    Attributes:
        frames: At least one frame.
        forms: What transports made of the frames (ASGI events, wire bytes), by form:
            made once, whoever asks first, and used by every transport of that kind.
        parts: The chunks that this one was joined from, which have forms of their own; or None.
        on_settled: Called once with True when it was written, with False when it never will
            be; only for chunks of a single receiver. Must not raise.
    """

    __slots__ = (
        "count",
        "feed",
        "forms",
        "frames",
        "key",
        "on_settled",
        "overflow",
        "parts",
        "pinned",
        "size",
    )

    def __init__(
        self,
        frames: tuple[Frame, ...],
        *,
        key: Hashable | None = None,
        pinned: bool = False,
        overflow: Overflow | None = None,
        feed: str = "direct",
        on_settled: Callable[[bool], None] | None = None,
    ) -> None:
        self.frames = frames
        self.count = len(frames)
        self.size = frames[0].size if len(frames) == 1 else sum(frame.size for frame in frames)
        self.key = key
        self.pinned = pinned
        self.overflow = overflow
        self.feed = feed
        self.on_settled = on_settled
        self.forms: dict[Hashable, object] | None = None
        self.parts: tuple[Chunk, ...] | None = None

    @staticmethod
    def join(chunks: list[Chunk]) -> Chunk:
        """Return one chunk of all frames; only the last of ``chunks`` may have an ``on_settled``."""
        joined = Chunk(
            tuple(frame for chunk in chunks for frame in chunk.frames),
            feed=chunks[0].feed,
            on_settled=chunks[-1].settle if chunks[-1].on_settled is not None else None,
        )
        joined.parts = tuple(chunks)
        return joined

    def singles(self) -> list[Chunk]:
        """Return each frame as a chunk of its own; for a chunk of one, itself."""
        if self.count == 1:
            return [self]
        return [Chunk((frame,), overflow=self.overflow, feed=self.feed) for frame in self.frames]

    def settle(self, delivered: bool) -> None:
        """Tell the sender, once, whether the chunk was written."""
        if self.on_settled is not None:
            callback, self.on_settled = self.on_settled, None
            callback(delivered)


class Question(Message, Generic[R]):
    """
    A message that may be answered.

    Attributes:
        reply: Where the answer goes; None when nobody asked for one.
    """

    __slots__ = ("reply",)

    def __init__(self) -> None:
        self.reply: asyncio.Future[R] | None = None

    def answer(self, value: R) -> None:
        """Give the answer; nobody may be waiting for it any more."""
        if self.reply is not None and not self.reply.done():
            self.reply.set_result(value)

    def refuse(self, error: Exception) -> None:
        """Answer with an error."""
        if self.reply is not None and not self.reply.done():
            self.reply.set_exception(error)

    def settle(self, delivered: bool) -> None:
        """A question that nobody will answer is answered with :class:`ActorStopped`."""
        if not delivered:
            self.refuse(ActorStopped("the actor stopped before it answered"))


class Join(Question["JoinReply"]):
    """Make ``member`` a member, which begins where ``replay`` says; None: where the room says."""

    __slots__ = ("member", "replay")

    pinned = True
    count = 0  # there is always space for it: a room never loses a leave

    def __init__(self, member: Member, replay: Replay | None = None) -> None:
        super().__init__()
        self.member = member
        self.replay = replay


class Leave(Question[bool]):
    """End the membership of ``member``; the answer is whether it was one."""

    __slots__ = ("member",)

    pinned = True
    count = 0  # there is always space for it: a room never loses a leave

    def __init__(self, member: Member) -> None:
        super().__init__()
        self.member = member


class Publish(Question["Receipt"]):
    """
    Route ``publication`` to the members; the answer is the receipt.

    Attributes:
        latch: Where given, is told of every member whose transport could not take the
            publication at once, so that the publisher can wait for those too.
    """

    __slots__ = ("latch", "publication", "size")

    def __init__(self, publication: Publication, latch: FlushLatch | None = None) -> None:
        super().__init__()
        self.publication = publication
        self.latch = latch
        self.size = publication.size


class Look(Message):
    """What the room keeps was removed, or exchanged: it is to look where it stands."""

    __slots__ = ()

    pinned = True
    count = 0  # there is always space for it, too


RoomMessage = Join | Leave | Publish | Look
"""What a room actor takes."""
