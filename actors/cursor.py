"""
A member that is behind: its place in what the room keeps, and how it goes on from there.

States, and who moves them::

    WAITING    the socket holds something back; the member pulls when it takes more
    READING    a page was asked of the store; its arrival makes the member pull
    caught up  its place is that of the room: it is a live member again, and the cursor is done

A member in this state costs its place. What it is about to get comes from the room's tail, which
all members share, or in pages from the store; of a page that the socket does not take, only the
place is remembered. Pages begin small and grow as long as the socket takes all of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from actors.errors import HistoryIncomplete
from actors.exits import CloseCode, Ending, ExitReason
from actors.interfaces import HistoryPage, Member
from actors.messages import Chunk, Frame, Join
from actors.notices import Gap, GapReason, Joined, Notice
from actors.positions import Position
from actors.publications import Publication
from actors.receipts import FlushLatch
from actors.replay import JoinReply, Replay
from actors.tail import up_to

if TYPE_CHECKING:
    from actors.feed import Feed
    from actors.runtime import Job
    from actors.timers import Timer

__all__ = ["Cursor"]

M = TypeVar("M", bound=Member)

PULL_MESSAGES = 64
"""Messages that a member pulls at once, at most."""

PULL_BYTES = 16 * 1024
"""Bytes that a member pulls at once, but always one message: a stalled socket holds no more."""

PAGE_MESSAGES = 300
"""Messages that are read from the store at once, at most."""

PAGE_BYTES = 256 * 1024
"""Bytes that are read from the store at once, but always one message."""

READ_ATTEMPTS = 4
"""How often a page is asked for, one second longer apart each time, before the member is closed."""


class Cursor(Generic[M]):
    """
    The place of one member that is behind; what the member pulls from.

    Args:
        feed: The room's.
        member: Who is behind.
        after: Offset of the last message that it has, or need not get.
        join: Its join, when that is to be answered once it is known where it begins.
        replay: Where that is to be.

    Attributes:
        missed: Messages that were kept no longer when the member came to them.
    """

    __slots__ = (
        "_asked",
        "_conceded",
        "_doubtful",
        "_drain",
        "_dropped",
        "_failures",
        "_feed",
        "_fresh_to",
        "_join",
        "_notices",
        "_page",
        "_pulls",
        "_reading",
        "_reason",
        "_replay",
        "_reread",
        "_step",
        "_taken",
        "_unread",
        "after",
        "member",
        "missed",
    )

    def __init__(
        self,
        feed: Feed[M],
        member: M,
        after: int,
        *,
        join: Join | None = None,
        replay: Replay = Replay(),  # noqa: B008 - frozen
    ) -> None:
        self._feed = feed
        self.member = member
        self.after = after
        self.missed = 0
        self._join = join  # as long as that is open nothing was promised yet
        self._replay = replay
        self._asked: Position | None = replay.since
        self._reason: GapReason | None = None
        self._doubtful = False  # whether the store has to say if the place that it asked for exists
        self._fresh_to = (
            0  # whoever knew nothing needs not hear of what was removed up to this offset
        )
        self._conceded = 0  # what was lost before a snapshot: that is of no use to anybody
        self._unread = False  # whether the store has to say what is kept
        self._notices: list[Notice] = []
        self._page: Sequence[Publication] = ()
        self._taken = 0  # of the page
        self._pulls = 0  # of the page to be pulled in all: what is not routed yet comes live
        self._step = 1  # pulls that a page is read for
        self._reading: Job | None = None
        self._reread: Timer | None = None
        self._failures = 0
        self._dropped = False
        if join is not None:
            self._place()
        # Where a mailbox holds messages of the room, those come first.
        self._drain = None if feed.loses_nothing else _Drain(self)
        if self._drain is not None and not member.when_flushed(self._drain):
            self._drain = None

    def _place(self) -> None:
        """Begin where the join asks to, as far as the room can say that."""
        feed, asked = self._feed, self._asked
        self._reason = None
        if asked is None:
            self.after = feed.resolve(self._replay)
            self._unread = True  # the room may remember more than is kept
        elif asked.offset == 0:
            self.after = 0  # before everything is the same place in every sequence
            self._unread = True
        else:
            self.after = asked.offset
            self._doubtful = not feed.knows(asked)

    def start(self) -> None:
        """Go on, or find out where to begin: nobody waits for a socket to hear where it begins."""
        feed = self._feed
        if self._join is not None and self._reading is None and self._reread is None:
            if self._doubtful or (
                self.after < feed.routed and (self._unread or not feed.remembers(self.after))
            ):
                self._read()
                return
            self.answer()
        self.member.resume(self)

    def drained(self) -> None:
        """What waited for the member before is written, or lost."""
        self._drain = None
        self.member.resume(self)

    def pull(self) -> Chunk | None:
        """Return what comes next; see :class:`actors.interfaces.Source`."""
        feed = self._feed
        while not (self._dropped or self._reading or self._reread or self._drain):
            if self._taken < self._pulls:
                publications = self._next_of_page()
                self._taken += len(publications)
            elif self._doubtful:
                self._read()
                return None
            elif self.after >= feed.routed:
                return feed.caught_up(self)
            elif feed.remembers(self.after) and not self._unread:
                publications = feed.tail.after(self.after, limit=PULL_MESSAGES, size=PULL_BYTES)
            else:
                self._read()
                return None
            self.answer()
            self.after = publications[-1].position.offset
            if publications[0].position.offset <= self._fresh_to:
                publications = [  # without removals of keys of which it never heard
                    each
                    for each in publications
                    if not each.removed or each.position.offset > self._fresh_to
                ]
            chunk = feed.chunk(self.member.encoder, publications, self._said())
            if chunk is not None:  # a format may have no words for any of them
                return chunk
        return None

    def stalled(self) -> None:
        """Let go of all but the place; see :class:`actors.interfaces.Source`."""
        self._hold((), 0)
        self._step = 1

    def last_words(self) -> tuple[Frame, ...]:
        """Answer the join, and return what is to be said of the room; for one that has caught up."""
        self.answer()
        return self._said()

    def answer(self) -> None:
        """Answer the join, if that is open: the member begins after :attr:`after`."""
        join, self._join = self._join, None
        if join is None:
            return
        feed = self._feed
        recovered = None if self._asked is None else self._reason is None
        if self.after == 0:
            self._fresh_to = feed.routed
        top = feed.position
        join.answer(JoinReply(True, top, self.after, recovered, self._reason, feed.ended))
        self._notices.insert(0, Joined(feed.room, top, self.after, recovered, self._reason))

    def leave(self) -> None:
        """End: the member leaves, perhaps before it was known where it begins."""
        join, self._join = self._join, None
        if join is not None:
            top = self._feed.position
            join.answer(JoinReply(True, top, top.offset))
        self.drop()

    def drop(self) -> None:
        """End: the member is live again, or the room has ended."""
        self._dropped = True
        self._hold((), 0)
        self._stop_reading()
        if self._join is not None:
            self._join.settle(False)
            self._join = None

    def restart(self, reason: GapReason) -> None:
        """Begin anew in another sequence: the place that it had says nothing any more."""
        self._stop_reading()
        self.stalled()
        self._conceded = 0
        if self._join is not None:
            self._place()
        else:
            self._notices.append(Gap(self._feed.room, self._feed.epoch, 0, 0, reason))
            self.after = 0
            self._fresh_to = self._feed.routed  # it forgets what it had

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        if self._reread is not None:
            self._reread.cancel()
            self._reread = None

    def _said(self) -> tuple[Frame, ...]:
        """Return the notices as frames, where the member's format has words for them."""
        if not self._notices:
            return ()
        notices, self._notices = self._notices, []
        frames = (self.member.encoder.notice(notice) for notice in notices)
        return tuple(frame for frame in frames if frame is not None)

    def _read(self) -> None:
        feed = self._feed
        limit = min(PULL_MESSAGES * self._step, PAGE_MESSAGES)
        size = min(PULL_BYTES * self._step, PAGE_BYTES)
        self._step = min(2 * self._step, 1 + PAGE_BYTES // PULL_BYTES)

        after = self.after
        epoch, routed = feed.position
        page: HistoryPage | None = None

        async def read() -> None:
            nonlocal page
            page = await feed.history.read(after, limit=limit, size=size)

        def done(error: BaseException | None) -> None:
            if self._reading is not job:  # it left meanwhile, or begins anew
                return
            self._reading = None
            if page is not None and feed.epoch != epoch:
                self.start()  # it may be older than what is known by now
            elif page is not None:
                self._arrived(page, routed)
            elif isinstance(error, Exception):
                self._failed(error)

        job = self._reading = feed.runtime.run(read(), name="history", on_done=done)

    def _arrived(self, page: HistoryPage, known: int) -> None:
        """Go on with a page that was asked for when ``known`` was the newest offset of the room."""
        feed = self._feed
        if page.top.epoch != feed.epoch and not feed.adopt(page.top.epoch):
            feed.renew(page.top, ended=page.ended)
            return
        self._unread = False
        if self._doubtful and not self._exists(page.top):
            self.start()
            return
        lost = min(page.lost, feed.routed)  # what is not routed yet will come live
        if lost > max(self.after, self._conceded) and not self._skip_to(lost):
            return
        self._hold(page.publications, _count_up_to(feed.routed, page.publications))
        if not self._pulls:  # what was routed while it was read may not be in it
            found_to = page.top.offset if feed.compact else self.after
            if found_to < known:
                text = f"messages of {feed.room} after {self.after} are kept, but not found"
                self._failed(HistoryIncomplete(text))
                return
            self.answer()
            if feed.compact:  # newer values have replaced all that was in between
                self.after = max(self.after, min(found_to, feed.routed))
        self._failures = 0
        self.answer()
        if page.ended and page.top.offset == feed.routed:
            feed.finish()  # perhaps nobody came to say so
        self.member.resume(self)
        if self._taken < self._pulls and not self.member.ready:  # held back by something else
            pulled_at_once = self._next_of_page()
            self._hold(pulled_at_once, len(pulled_at_once))
            self._step = 1

    def _hold(self, page: Sequence[Publication], pulls: int) -> None:
        """Hold a page, of which so many are to be pulled."""
        self._page = page
        self._taken = 0
        self._pulls = pulls

    def _next_of_page(self) -> list[Publication]:
        """Return what is pulled at once of the page."""
        stop = min(self._pulls, self._taken + PULL_MESSAGES)
        return up_to(list(self._page[self._taken : stop]), PULL_BYTES)

    def _exists(self, top: Position) -> bool:
        """Judge the place that was asked for by where the store stands; return whether it exists."""
        feed, asked = self._feed, self._asked
        assert asked is not None
        self._doubtful = False
        if asked.epoch == top.epoch and asked.offset <= top.offset:
            if top.offset > feed.routed:  # the member has heard more of the room than this one
                feed.miss(top.offset)
            return True
        self._reason = GapReason.EPOCH_CHANGED if top.epoch else GapReason.UNKNOWN_ROOM
        self.after = feed.default_begin()
        self._unread = True
        return False

    def _skip_to(self, lost: int) -> bool:
        """
        Go on after what is kept no longer; return whether the page that says so is of use.

        In a compacted room what was lost is told, and nothing is skipped: values from before may be
        kept still. Who joins begins with all of them, because it may know keys that are no more.
        """
        feed = self._feed
        self._conceded = lost
        if feed.compact and self.after == 0:
            return True  # it knows nothing, so there is nothing that it misses
        if self._join is not None:
            if self._asked is not None and self._reason is None:
                self._reason = GapReason.TRIMMED
                begin = feed.default_begin()
                self.after = begin if feed.compact else max(begin, lost)
                self.start()
                return False
            self.after = lost
            return True
        gap = Gap(feed.room, feed.epoch, self.after + 1, lost, GapReason.TRIMMED)
        self._notices.append(gap)
        feed.missed(self, lost - self.after)
        if feed.close_on_gap:
            text = f"messages of {feed.room} up to {lost} are kept no longer"
            self.member.close(ExitReason(Ending.GAP, CloseCode.INSUFFICIENT_STATE, text))
            return False
        if not feed.compact:
            self.after = lost
        return True

    def _failed(self, error: Exception) -> None:
        feed = self._feed
        self._failures += 1
        feed.fault(error)
        if self._join is not None and self._join.reply is not None:
            join, self._join = self._join, None
            join.refuse(error)  # who asked has it leave
            self.drop()
            return
        if self._failures >= READ_ATTEMPTS:
            text = f"what {feed.room} keeps cannot be read"
            self.member.close(ExitReason(Ending.GAP, CloseCode.INSUFFICIENT_STATE, text))
            return

        def again() -> None:
            self._reread = None
            self.start()

        self._reread = feed.runtime.call_later(float(self._failures), again)


def _count_up_to(offset: int, publications: Sequence[Publication]) -> int:
    """Return how many of ``publications`` are at or before an offset."""
    if not publications or publications[-1].position.offset <= offset:
        return len(publications)
    return bisect_right(publications, offset, key=lambda each: each.position.offset)


class _Drain(FlushLatch):
    """Tells a cursor when nothing waits for its member any more."""

    __slots__ = ("_cursor",)

    def __init__(self, cursor: Cursor[M]) -> None:
        super().__init__()
        self._cursor = cursor

    def count_down(self, delivered: bool) -> None:
        """What waited is written, or lost."""
        super().count_down(delivered)
        self._cursor.drained()
