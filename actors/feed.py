"""
What a room that keeps its messages knows beside its members: how far it has routed, and who is behind.

Only the room actor uses it. It outlives a crashed actor, like the membership, so a restart loses
neither the epoch nor anybody's place.

The supervisor appends a message to the store before the room hears of it. So the store is never
behind the room, and there is one rule for everything that goes out of order (a publisher that was
cancelled half-way, two threads that overtake each other, a mailbox that was full): messages at or
before :attr:`Feed.routed` are routed already, and where some in between are missing, all members
are behind and read on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from actors.cursor import Cursor
from actors.interfaces import Encoder, FaultReporter, HistoryPage, Member, RoomHistory, RoomListener
from actors.membership import Membership
from actors.messages import Chunk, Frame, Join
from actors.notices import Ended, Gap, GapReason
from actors.overflow import DropReason, Overflow
from actors.positions import Position
from actors.publications import Publication
from actors.replay import JoinReply, Replay
from actors.tail import CompactTail, LogTail, Tail

if TYPE_CHECKING:
    from actors.runtime import Runtime

__all__ = ["Feed"]

M = TypeVar("M", bound=Member)

SHARED_CHUNKS = 16
"""Pieces of the tail that are kept for those who pull the same, until the next publication."""

FORMER_EPOCHS = 16
"""Sequences that are remembered as being over, so that what comes late of them is known."""


class Feed(Generic[M]):
    """
    The memory of one room.

    Args:
        room: Its name.
        history: Its messages in the store.
        membership: Its members.
        listener: Told of losses.
        on_fault: Told of reads that failed, and of data that a wire format cannot express.
        runtime: Runs what waits for the store.
        compact: Whether only the newest message of each key is kept.
        overflow: What a live member without space gives up. ``CURSOR`` and ``CONFLATE``: nothing,
            it is behind from then on.
        on_join: Where members begin that do not say.
        close_on_gap: Whether a member is closed with 3010 that missed messages for good.
        label: What losses are counted under.
        wall_clock: Returns Unix time in seconds.

    Attributes:
        opened: Whether it is known where the room stands.
        epoch: Of the room's positions; empty as long as nothing was ever kept.
        routed: Offset of the last message that was routed.
        ended: Whether nothing more will come.
        tail: The newest messages.
    """

    __slots__ = (
        "_announced",
        "_chunks",
        "_cursors",
        "_former",
        "_late",
        "_listener",
        "_on_fault",
        "_routing",
        "_wall_clock",
        "close_on_gap",
        "compact",
        "ended",
        "epoch",
        "history",
        "label",
        "membership",
        "on_join",
        "opened",
        "overflow",
        "room",
        "routed",
        "runtime",
        "tail",
    )

    def __init__(
        self,
        room: Hashable,
        history: RoomHistory,
        membership: Membership[M],
        *,
        listener: RoomListener[M],
        on_fault: FaultReporter,
        runtime: Runtime,
        compact: bool = False,
        overflow: Overflow = Overflow.CURSOR,
        on_join: Replay = Replay(),  # noqa: B008 - frozen
        close_on_gap: bool = False,
        label: str = "log",
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.room = room
        self.history = history
        self.membership = membership
        self.runtime = runtime
        self.compact = compact
        self.overflow = overflow
        self.on_join = on_join
        self.close_on_gap = close_on_gap
        self.label = label
        self.opened = False
        self.epoch = ""
        self.routed = 0
        self.ended = False
        self.tail: Tail = self._new_tail(0)
        self._listener = listener
        self._on_fault = on_fault
        self._wall_clock = wall_clock
        self._cursors: dict[M, Cursor[M]] = {}
        self._late: list[Cursor[M]] = []  # caught up during a fan-out
        self._routing = False
        self._chunks: dict[tuple[Encoder, int, int, int], Chunk] = {}
        self._announced: dict[str, tuple[int, bool]] = {}  # by epoch: offset, and whether it ended
        self._former: dict[str, None] = {}  # epochs that are over

    async def open(self) -> None:
        """
        Find out where the room stands.

        Raises:
            Exception: If the store cannot say.
        """
        page = await self.history.look()
        self._stand_at(page)
        self.opened = True

    def _stand_at(self, page: HistoryPage) -> None:
        self.epoch, self.routed = page.top
        self.ended = page.ended
        self.tail = self._new_tail(self.routed)
        self._chunks.clear()

    def _new_tail(self, start: int) -> Tail:
        return CompactTail(start) if self.compact else LogTail(start)

    @property
    def position(self) -> Position:
        """The place after the last message that was routed."""
        return Position(self.epoch, self.routed)

    @property
    def loses_nothing(self) -> bool:
        """Whether a member without space is behind from then on, rather than losing something."""
        return self.overflow in {Overflow.CURSOR, Overflow.CONFLATE}

    # Members.

    def begin(self, member: M, join: Join) -> None:
        """Let one who has become a member, behind, begin where its join says; answer that."""
        replay = join.replay if join.replay is not None else self.on_join
        cursor = Cursor(self, member, 0, join=join, replay=replay)
        self._cursors[member] = cursor
        member.follow(cursor)
        cursor.start()

    def knows(self, position: Position) -> bool:
        """Whether a place is one of this room, as far as it was routed."""
        return position.epoch == self.epoch and position.offset <= self.routed

    def remembers(self, offset: int) -> bool:
        """
        Whether the tail has all that came after ``offset``.

        What has expired is for the store to say: it knows what is left of it.
        """
        if self.tail.expires <= self._wall_clock():
            self.tail = self._new_tail(self.routed)
            self._chunks.clear()
        return offset >= self.tail.start

    def resolve(self, replay: Replay) -> int:
        """Return the offset after which a member begins that names no position."""
        if replay.live:
            return self.routed
        return 0 if replay.tail is None else max(0, self.routed - replay.tail)

    def default_begin(self) -> int:
        """Return the offset after which a member begins that cannot begin where it asked to."""
        return self.resolve(self.on_join)

    def leave(self, member: M) -> None:
        """Forget the place of a member that leaves."""
        cursor = self._cursors.pop(member, None)
        if cursor is not None:
            cursor.leave()
            member.unfollow(cursor)

    def fall_behind(self, member: M, after: int) -> None:
        """Let a live member go on by itself after ``after``; not within a walk over the members."""
        self.membership.fall_behind(member)
        cursor = self._cursors[member] = Cursor(self, member, after)
        member.follow(cursor)

    def caught_up(self, cursor: Cursor[M]) -> Chunk | None:
        """Make a member live that has all that was routed; return what it is told before that."""
        if self._routing:
            self._late.append(cursor)
            return None
        member = cursor.member
        words = cursor.last_words()
        if self.ended:
            words += self._said_of_end(member.encoder)
        cursor.drop()
        del self._cursors[member]
        member.unfollow(cursor)
        self.membership.catch_up(member)
        if cursor.missed:
            self._listener.member_caught_up(self.room, member, cursor.missed)
        return Chunk(words, feed=self.label) if words else None

    def _said_of_end(self, encoder: Encoder) -> tuple[Frame, ...]:
        frame = encoder.notice(Ended(self.room, self.routed))
        return () if frame is None else (frame,)

    def greet(self, member: M) -> JoinReply:
        """Return the answer for one that asked to join and is a member already."""
        cursor = self._cursors.get(member)
        begins = self.routed if cursor is None else cursor.after
        return JoinReply(False, self.position, begins)

    # Messages.

    def admit(self, publication: Publication) -> bool:
        """
        Return whether ``publication`` is the next to route.

        If it is not, it is routed already, or of a sequence that is over, or what came before it
        was missed: then all members are behind now, and read it from the store.
        """
        epoch, offset = publication.position
        if epoch != self.epoch and not self.adopt(epoch):
            return False
        if publication.ended:
            if offset > self.routed:
                self.miss(offset)
            return not self.ended
        if offset == self.routed + 1:
            return True
        if offset > self.routed:
            self.miss(offset)
        return False

    def announce(self, publication: Publication) -> None:
        """Take note of what is kept, and what the room's mailbox had no space for."""
        epoch, offset = publication.position
        before, ended = self._announced.get(epoch, (0, False))
        self._announced[epoch] = (max(before, offset), ended or publication.ended)

    def catch_up(self) -> str | None:
        """
        Have the members read what was announced and never came.

        Returns:
            An epoch of what was announced that :meth:`look_for` has to look for first; or None.
        """
        announced, self._announced = self._announced, {}
        strange = None
        for epoch, (offset, ended) in announced.items():
            if self.is_strange(epoch):
                strange = epoch
                self._announced[epoch] = (offset, ended)
            elif epoch == self.epoch or self.adopt(epoch):
                if offset > self.routed:
                    self.miss(offset)
                if ended:
                    self.finish()
        return strange

    def is_strange(self, epoch: str) -> bool:
        """Whether only the store can say if an epoch is the one before this one, or the next."""
        return bool(self.epoch) and epoch != self.epoch and epoch not in self._former

    async def look_for(self, epoch: str) -> None:
        """Find out whether ``epoch`` has taken the place of this one; go over to it if so."""
        while self.is_strange(epoch):
            known = self.epoch
            try:
                top = (await self.history.look()).top
            except Exception as error:  # noqa: BLE001 - it is reported; who publishes is believed
                self.fault(error)
                self.renew(Position(epoch, 0))
                del self._former[known]  # it may be the one before, or the next
                return
            if self.epoch != known:  # a member has found out more meanwhile
                continue
            if top.epoch == epoch:
                self.renew(Position(epoch, 0))  # what is in it comes now, or is missed
                return
            if top.epoch != known:
                self.renew(top)
            self._retire(epoch)

    async def look_again(self) -> None:
        """Find out whether another sequence has taken the place of this one, or none."""
        while True:
            known = self.epoch
            try:
                page = await self.history.look()
            except Exception as error:  # noqa: BLE001 - it is reported; the next publication says more
                self.fault(error)
                return
            if self.epoch == known:  # else a member has found out more meanwhile
                break
        if page.top.epoch != known and not self.adopt(page.top.epoch):
            self.renew(page.top, ended=page.ended)

    def adopt(self, epoch: str) -> bool:
        """Take an epoch if there is none yet; return whether there was none."""
        if self.epoch or epoch in self._former:
            return False
        self.epoch = epoch
        return True

    def _retire(self, epoch: str) -> None:
        if epoch:
            self._former[epoch] = None
            if len(self._former) > FORMER_EPOCHS:
                del self._former[next(iter(self._former))]

    def finish(self) -> None:
        """Tell the members that nothing more will come; not within a walk over them."""
        if self.ended:
            return
        self.ended = True
        for member in self.membership.live():
            self.fall_behind(member, self.routed)

    def miss(self, offset: int) -> None:
        """Go on at ``offset`` without what is in between: all members read it from the store."""
        live = self.membership.live()
        after, self.routed = self.routed, offset
        self.tail = self._new_tail(offset)
        self._chunks.clear()
        for member in live:
            self.fall_behind(member, after)

    def renew(self, top: Position, *, ended: bool = False) -> None:
        """Go over to another sequence, in which every member begins anew."""
        reason = GapReason.EPOCH_CHANGED
        live = self.membership.live()
        behind = list(self._cursors.values())
        self._retire(self.epoch)
        self._former.pop(top.epoch, None)
        self.epoch, self.routed = top
        self.ended = ended
        self.tail = self._new_tail(top.offset)
        self._chunks.clear()
        for cursor in behind:
            cursor.restart(reason)
        for member in live:
            self.membership.fall_behind(member)
            cursor = self._cursors[member] = Cursor(self, member, 0)
            cursor.restart(reason)
            member.follow(cursor)
        for cursor in behind:
            cursor.start()

    def close(self) -> None:
        """Forget everybody's place, and answer the joins that nobody answers any more."""
        for cursor in self._cursors.values():
            cursor.drop()
        self._cursors.clear()

    def begin_routing(self) -> None:
        """Nobody may become live from now on, because the live members are walked over."""
        self._routing = True

    def end_routing(
        self, publications: list[Publication], behind: list[M], waiting: Mapping[M, int]
    ) -> None:
        """
        Take note of what was routed, and to whom it was not.

        Args:
            publications: What was routed.
            behind: Members that have none of it, and read it by themselves from now on.
            waiting: The same for members that have some of it, with the offset up to which.
        """
        self._routing = False
        after = self.routed
        newest = publications[-1]
        self.routed = newest.position.offset
        if newest.ended:  # and alone: it shares no chunk
            self.ended = True
        else:
            self.tail.extend(publications)
        self._chunks.clear()
        for member in behind:
            self.fall_behind(member, after)
        for member, has in waiting.items():
            self.fall_behind(member, has)
        late, self._late = self._late, []
        for cursor in late:
            cursor.member.resume(cursor)

    def chunk(
        self, encoder: Encoder, publications: list[Publication], words: tuple[Frame, ...]
    ) -> Chunk | None:
        """Return what one member pulls, which others may pull, too; None if there are no words."""
        if not publications:
            return Chunk(words, feed=self.label) if words else None
        first, last = publications[0].position.offset, publications[-1].position.offset
        place = (encoder, first, last, len(publications))
        shared = self._chunks.get(place)
        if shared is None or words:
            frames = words + self._frames(encoder, publications)
            if not frames:
                return None
            shared = Chunk(frames, feed=self.label)
            if not words:
                if len(self._chunks) >= SHARED_CHUNKS:
                    del self._chunks[next(iter(self._chunks))]
                self._chunks[place] = shared
        return shared

    def _frames(self, encoder: Encoder, publications: list[Publication]) -> tuple[Frame, ...]:
        frames = []
        for publication in publications:
            try:
                frame = publication.frame(encoder)
            except Exception as error:  # noqa: BLE001 - one message's trouble is not the others'
                self._on_fault("publication.encode", error)
                self._listener.room_dropped(self.room, DropReason.UNENCODABLE, 1, self.label)
                frame = self.said_of_unencodable(encoder, publication)
            if frame is not None:
                frames.append(frame)
        return tuple(frames)

    def said_of_unencodable(self, encoder: Encoder, publication: Publication) -> Frame | None:
        """Return what members are told of a message that their format cannot express."""
        epoch, offset = publication.position
        return encoder.notice(Gap(self.room, epoch, offset, offset, GapReason.UNENCODABLE))

    # What went wrong.

    def missed(self, cursor: Cursor[M], count: int) -> None:
        """
        Count messages that a member will never get, and tell of the first.

        How many values a compacted room has lost is not known: a gap there counts for one.
        """
        count = 1 if self.compact else count
        cursor.member.missed(count, DropReason.TRIMMED, self.label)
        if not cursor.missed:
            self._listener.member_missed(self.room, cursor.member, count)
        cursor.missed += count

    def fault(self, error: Exception) -> None:
        """Report a read that failed."""
        self._on_fault("history.read", error)
