"""
The port between a supervisor and what keeps the messages of its rooms.

A store has, for each room, a sequence of records: an epoch, and offsets that count from 1 without a
hole. What is kept of it is bounded by number, bytes and age, oldest gone first. A *compacted* room
keeps, of all records with the same key, only the newest; its offsets count on all the same, so
"everything after offset 7" is at once the changes since then and, after 0, the newest values of all.
That a key has no value any more is such a change: a *tombstone*, which is remembered for a while.

The supervisor appends before it publishes, and room actors read: what a member missed is always
what the store has after that member's offset.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from actors.positions import Position

__all__ = [
    "IDEMPOTENCY_PERIOD",
    "PAGE_BYTES",
    "PAGE_RECORDS",
    "Durability",
    "Entry",
    "History",
    "Page",
    "Record",
    "Repeated",
    "Retention",
    "RoomState",
]

PAGE_RECORDS = 300
"""Records of one page at most."""

PAGE_BYTES = 256 * 1024
"""Bytes of one page at most; a single larger record is a page of its own."""

IDEMPOTENCY_PERIOD = 300.0
"""Seconds that a store remembers an idempotency key."""

Durability = Literal["memory", "written"]
"""When an append is done: once the store has it in memory, or once it is on disk."""


class Entry(NamedTuple):
    """
    What is appended; a tuple, because one is made for every message.

    Attributes:
        payload: ``str`` or ``bytes``, as it goes to clients.
        encoded: Whether the payload is the JSON text of other data.
        key: In a compacted room, whose newest value this is; None is kept like a log's record.
        removed: Whether it says that the key has no value any more; its payload is empty.
        expires: When the record stops being worth anything: Unix time in seconds; None: never. A
            compacted room does not keep it of tombstones.
    """

    payload: str | bytes
    encoded: bool = False
    key: str | None = None
    removed: bool = False
    expires: float | None = None

    @property
    def size(self) -> int:
        """Bytes of payload and key."""
        size = len(self.payload) if isinstance(self.payload, bytes) else _utf8(self.payload)
        return size + (_utf8(self.key) if self.key is not None else 0)


def _utf8(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


class Record(NamedTuple):
    """
    An entry in its place; a tuple, because pages are made of hundreds of them.

    A record goes when it expires. In a compacted room one with a key becomes a tombstone instead,
    at the same offset: ``removed``, without a payload and without ``expires``. It may have replaced
    an older value, which those who were away meanwhile would keep for ever.

    Attributes:
        offset: Its number in the room, from 1.
        time: When it was appended: Unix time in seconds.
        payload: See :class:`Entry`, and so for the rest.
    """

    offset: int
    time: float
    payload: str | bytes
    encoded: bool
    key: str | None
    removed: bool
    expires: float | None


@dataclass(frozen=True, slots=True)
class Retention:
    """
    What a room keeps; None is no bound. It is given with every append, and the last one counts.

    Bounds are never exceeded; a store may keep up to a hundredth less of a large log, in order to
    drop several records at a time.

    In a compacted room, a tombstone never costs a value that is valid. Tombstones are bounded
    apart, by the same number, and of the bytes they are the first to go. Those that are too many
    are forgotten, oldest offset first, when something is appended: what values become when they
    expire is counted from the next append on.

    Attributes:
        records: Newest records kept; in a compacted room, newest records that are no tombstones,
            with or without a key, and besides them as many tombstones.
        size: Bytes kept, payloads and keys, of all together; the newest record is kept however
            large it is. In a compacted room, the oldest tombstones go, and when there are no more,
            the oldest of the others: one record is kept.
        age: Seconds that a record is kept.
        compact: Whether only the newest record of each key is kept.
        tombstone_age: Seconds that a compacted room remembers that a key was removed, or that its
            value expired: from that moment, or from the append of a value that came too late.
        meta_age: Seconds after the last append that the epoch and the offset are remembered,
            records or not; then the room is unknown. Should be longer than ``age``.
    """

    records: int | None = 10_000
    size: int | None = 64 << 20
    age: float | None = 86_400.0
    compact: bool = False
    tombstone_age: float = 3_600.0
    meta_age: float = 30 * 86_400.0


class Repeated(Position):
    """
    The place of the first append with an idempotency key, for one that came later: it is not kept.

    A position like any other; only its type says more.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class RoomState:
    """
    Where a room stands.

    Attributes:
        top: The place after its newest record; ``NOWHERE`` for a room that the store knows
            nothing of.
        lost: Offset of the newest record that the bounds have cost; 0 if none. Whoever has seen
            this offset or a later one has missed nothing. Records that were replaced by their
            key do not count, nor do those that expired and left no tombstone; tombstones that
            were forgotten do, for their age, number or bytes.
        ended: Whether nothing more will be appended.
        records: Records that are kept; in a compacted room values and tombstones together, so that
            they may be twice as many as :attr:`Retention.records`.
        size: Bytes that they count for.
    """

    top: Position
    lost: int = 0
    ended: bool = False
    records: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """
    Records of a room, and where it stood when they were read: both of the same moment.

    Attributes:
        records: In the order that was asked for; of a log perhaps :class:`supervisor.history.lines.Lines`.
        state: Where the room stood.
        more: Whether there are more of the range that was asked for, in that direction.
    """

    records: Sequence[Record] = field(default_factory=list)
    state: RoomState = field(default_factory=lambda: RoomState(Position("", 0)))
    more: bool = False


class History(Protocol):
    """
    Keeps records. Thread-safe: supervisors with several event loops use one store.

    Rooms are named by ``str``. Promises, for every room: offsets are contiguous, in the order of
    the appends; what was read once under an epoch is never something else later, but for values
    that expire; a read sees every append that was done before it, and nothing that has gone by
    then; a record that ``"written"`` confirmed is there after the
    process was killed, and if a record that somebody may have seen is not, the epoch is another.

    Waiting is bounded by the store. Cancelling a wait undoes nothing.
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

    def append(
        self,
        room: str,
        entry: Entry,
        retention: Retention,
        *,
        durability: Durability = "written",
        idempotency_key: str | None = None,
        expect_offset: int | None = None,
        then: Callable[[Position | Exception], None],
    ) -> Position | None:
        """
        Append, unless it is a repetition; never waits, from any thread.

        Args:
            room: Its name.
            entry: What.
            retention: What the room keeps from now on.
            durability: When it is done.
            idempotency_key: The same key within :data:`IDEMPOTENCY_PERIOD` appends once.
            expect_offset: Offset that the room must be at.
            then: Called once when it is done, unless that was so at once: from whatever thread,
                with what is returned or raised otherwise. The appends to a room are told in their
                order. Must neither wait nor raise.

        Returns:
            Its place, if that is known at once, and :class:`Repeated` if it is a repetition; None
            if ``then`` is told.

        Raises:
            OffsetConflict: If the room is elsewhere; it says where.
            LogEnded: If the room has ended.
            StoreFull: If too much waits to be written; only raised, never told.
            StoreUnavailable: If the store has failed, or is not open.
        """
        ...

    async def read(
        self,
        room: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = PAGE_RECORDS,
        size: int = PAGE_BYTES,
        reverse: bool = False,
    ) -> Page:
        """
        Return the records with ``after < offset < before``, oldest first; in a page.

        Args:
            room: Its name; one that the store knows nothing of has no records.
            after: Offset.
            before: Offset; None: to the newest.
            limit: Most records; at most :data:`PAGE_RECORDS`.
            size: Most bytes, but always one record; at most :data:`PAGE_BYTES`.
            reverse: Newest first.

        Raises:
            StoreUnavailable: If the store has failed.
        """
        ...

    async def state(self, room: str) -> RoomState:
        """Return where the room stands; raises as :meth:`read`."""
        ...

    async def end(self, room: str) -> Position:
        """
        Say that nothing more will be appended; return the top. Idempotent.

        A room without records can end, too.

        Raises:
            StoreUnavailable: If the store has failed.
        """
        ...

    async def remove(self, room: str) -> bool:
        """
        Forget the room and all its records; return whether there was any.

        Whatever is appended afterwards has another epoch. Raises as :meth:`end`.
        """
        ...
