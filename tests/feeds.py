"""
What tests of rooms that keep their messages share: a store that they hold up, and words to check.

:class:`Words` is a format that says everything; :class:`Reader` checks what came of it, as the most
suspicious client would.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Hashable
from typing import Any

from actors.feed import Feed
from actors.interfaces import HistoryPage, Member, Source
from actors.mailbox import Mailbox
from actors.membership import Membership
from actors.messages import Frame, Join, Leave, Publish, RoomMessage
from actors.notices import Ended, Gap, Joined, Notice
from actors.overflow import Overflow
from actors.positions import Position
from actors.publications import Publication
from actors.receipts import Receipt
from actors.ref import ActorRef
from actors.replay import JoinReply, Replay
from actors.room import RoomActor
from actors.runtime import Runtime
from actors.testing import TextEncoder
from supervisor.codecs.json import JsonCodec
from supervisor.errors import StoreUnavailable
from supervisor.feeds import StoredRoom
from supervisor.history.base import Entry, Retention
from supervisor.history.memory import MemoryHistory
from supervisor.testing import append_to
from tests.actors.recording import FakeMember, RoomLog

__all__ = ["JSON", "ROOM", "WORDS", "Keeper", "Kept", "Reader", "Viewer", "Words"]

ROOM = "room"
JSON = JsonCodec()
"""What the messages are kept in, and a format that has words for data alone."""


class Words(TextEncoder):
    """Says of every message where it stands, and says what rooms say of themselves."""

    def publication(self, publication: Publication) -> Frame:
        epoch, offset = publication.position
        if publication.ended:
            return Frame(f"end {offset}")
        data = "-" if publication.removed else f"={publication.data}"
        key = "" if publication.key is None else f"{publication.key}"
        return Frame(f"{epoch}:{offset} {key}{data}")

    def notice(self, notice: Notice) -> Frame:
        if isinstance(notice, Joined):
            said = f"{notice.recovered} {notice.reason}"
            return Frame(f"joined {notice.position} after {notice.begins} {said}")
        if isinstance(notice, Gap):
            return Frame(f"gap {notice.epoch}:{notice.first}-{notice.last} {notice.reason}")
        assert isinstance(notice, Ended)
        return Frame(f"end {notice.offset}")


WORDS = Words()

_MESSAGE = re.compile(r"(\w*):(\d+) (\w*)([=-])(.*)")
_JOINED = re.compile(r"joined (\w*):(\d+) after (\d+) (\w+) (\w+)")
_GAP = re.compile(r"gap (\w*):(\d+)-(\d+) (\w+)")


class Keeper:
    """
    The room's history, in memory, and how a room reads it: as slowly and badly as a test wants.

    Attributes:
        history: The store.
        retention: What it keeps.
        older: Seconds that it takes everything to be older than it is.
        before: Seconds that pass before a read looks.
        after: Seconds that pass between the look and the answer.
        failing: Whether reads fail.
        gate: What reads wait for, before they look; None: nothing.
        late: What reads wait for, after they have looked; None: nothing.
        reads: Offset, limit and size of every read so far.
        kept: All that was ever appended, by epoch and offset.
    """

    def __init__(
        self,
        *,
        records: int | None = None,
        compact: bool = False,
        size: int | None = None,
        age: float | None = None,
        clock: Callable[[], float] = lambda: 1e9,
    ) -> None:
        self.older = 0.0
        self.history = MemoryHistory(clock=lambda: clock() + self.older)
        self.retention = Retention(records=records, size=size, age=age, compact=compact)
        self.before = self.after = 0.0
        self.failing = False
        self.gate: asyncio.Event | None = None
        self.late: asyncio.Event | None = None
        self.looks = 0
        self.reads: list[tuple[int, int, int]] = []
        self.kept: dict[str, dict[int, Publication]] = {}
        self._room = StoredRoom(ROOM, self.history, JSON)

    async def append(
        self,
        data: object,
        *,
        key: str | None = None,
        removed: bool = False,
        expires: float | None = None,
    ) -> Publication:
        """Keep a message, and return what a publisher then hands to the room."""
        if removed:
            publication = Publication.of_frame(None, JSON, lambda _: None, room=ROOM, key=key)
            publication.removed = True
            entry = Entry("", key=key, removed=True)
        else:
            publication = Publication(data, JSON, room=ROOM, key=key)
            frame = publication.frame(JSON)
            assert frame is not None
            publication.expires = expires
            entry = Entry(frame.payload, frame.encoded, key, False, expires)
        publication.position = await append_to(self.history, ROOM, entry, self.retention)
        epoch, offset = publication.position
        self.kept.setdefault(epoch, {})[offset] = publication
        return publication

    async def end(self) -> Publication:
        """End the room, and return what is then handed to it."""
        publication = Publication.of_frame(None, JSON, lambda _: None, room=ROOM)
        publication.position = await self.history.end(ROOM)
        publication.ended = True
        return publication

    async def state(self) -> Any:
        """Return where the room stands in the store."""
        return await self.history.state(ROOM)

    # As actors.interfaces.RoomHistory.

    async def look(self) -> HistoryPage:
        self.looks += 1
        await self._hold_up(self.before)
        page = await self._room.look()
        await self._hold_up(self.after)
        return page

    async def read(self, after: int, *, limit: int, size: int) -> HistoryPage:
        self.reads.append((after, limit, size))
        await self._hold_up(self.before)
        page = await self._room.read(after, limit=limit, size=size)
        if self.late is not None:
            await self.late.wait()
        await self._hold_up(self.after)
        return page

    async def _hold_up(self, seconds: float) -> None:
        if seconds:
            await asyncio.sleep(seconds)
        if self.gate is not None:
            await self.gate.wait()
        if self.failing:
            raise StoreUnavailable("told to fail")


class Viewer(FakeMember):
    """A member that takes everything at once; its format is :class:`Words`."""

    def __init__(self, identity: Hashable = None) -> None:
        super().__init__(identity, WORDS)

    def follow(self, source: Source) -> None:
        super().follow(source)
        self.resume(source)

    def unfollow(self, source: Source) -> None:
        if source in self.sources:
            super().unfollow(source)


class Kept:
    """
    A room that keeps its messages, and all that a test asks of it.

    Attributes:
        keeper: What it keeps.
        membership: Its members.
        feed: What it knows of them.
        log: What it told its listener.
    """

    def __init__(
        self,
        runtime: Runtime,
        keeper: Keeper | None = None,
        *,
        compact: bool = False,
        space: int = 1000,
        overflow: Overflow | None = None,
        **how: Any,
    ) -> None:
        self.keeper = keeper or Keeper(compact=compact)
        self.log = RoomLog()
        self.membership: Membership[Member] = Membership()
        overflow = overflow or (Overflow.CONFLATE if compact else Overflow.CURSOR)
        self.feed: Feed[Member] = Feed(
            ROOM,
            self.keeper,
            self.membership,
            listener=self.log,
            on_fault=self.log.fault,
            runtime=runtime,
            compact=compact,
            overflow=overflow,
            **how,
        )
        actor = RoomActor(
            ROOM, self.membership, self.log, self.log.fault, overflow=overflow, feed=self.feed
        )
        mailbox = Mailbox[RoomMessage](space, overflow=Overflow.BLOCK)
        self.ref: ActorRef[RoomMessage] = runtime.spawn(actor, mailbox, name=ROOM)

    async def join(self, member: Member, **where: Any) -> JoinReply:
        """Join, and wait for the answer."""
        replay = Replay(**where) if where else None
        return await self.ref.ask(Join(member, replay), timeout=60)

    async def leave(self, member: Member) -> bool:
        """Leave, and wait for the answer."""
        return await self.ref.ask(Leave(member), timeout=60)

    async def publish(self, *data: object, **what: Any) -> list[Receipt]:
        """Keep each, have the room route it, and wait for the receipt."""
        return [await self.route(await self.keeper.append(each, **what)) for each in data]

    async def route(self, publication: Publication) -> Receipt:
        """Have the room route what is kept, and wait for the receipt."""
        return await self.ref.ask(Publish(publication), timeout=60)


class Reader:
    """
    A client that checks every word against what was published.

    Attributes:
        epoch: Of its place; empty as long as nothing is kept.
        offset: Its place; None before it has joined.
        begins: Where its membership begins.
        values: In a compacted room, the newest message of each key.
        ended: Whether it was told that the room has ended.
        gaps: Messages that it was told it will not get: first, last, reason.
        joins: What it was told of its joins: begins, recovered, reason.
    """

    def __init__(self, keeper: Keeper, *, compact: bool = False) -> None:
        self._keeper = keeper
        self._compact = compact
        self.epoch = ""
        self.offset: int | None = None
        self.begins = 0
        self.values: dict[str, str | None] = {}
        self.ended = False
        self.gaps: list[tuple[int, int, str]] = []
        self.joins: list[tuple[int, str, str]] = []
        self.got: list[str] = []

    @property
    def position(self) -> Position:
        """The place to come back to."""
        return Position(self.epoch, self.offset or 0)

    def take(self, word: str | bytes) -> None:
        """Check the next word."""
        word = str(word)
        if word.startswith("direct"):
            return
        self.got.append(word)
        if found := _JOINED.fullmatch(word):
            epoch, top, begins, recovered, reason = found.groups()
            assert int(begins) <= int(top), word
            if recovered != "True":
                self.values = {}
            self.epoch, self.offset, self.begins = epoch, int(begins), int(begins)
            self.ended = False
            self.joins.append((int(begins), recovered, reason))
        elif found := _GAP.fullmatch(word):
            self._gap(found[1], int(found[2]), int(found[3]), found[4])
        elif word.startswith("end "):
            assert not self.ended, word
            assert self.offset is not None
            if self._compact:
                assert int(word[4:]) >= self.offset, word
            else:
                assert int(word[4:]) == self.offset, word
            self.ended = True
        else:
            found = _MESSAGE.fullmatch(word)
            assert found is not None, word
            self._message(found[1], int(found[2]), found[3], None if found[4] == "-" else found[5])

    def _gap(self, epoch: str, first: int, last: int, reason: str) -> None:
        assert self.offset is not None
        self.gaps.append((first, last, reason))
        if reason == "epoch_changed":
            assert (first, last) == (0, 0)
            self.epoch, self.offset, self.begins = epoch, 0, 0
            self.values = {}
            self.ended = False
            return
        assert reason == "trimmed"
        assert epoch, self.got
        assert self.epoch in {epoch, ""}, self.got
        self.epoch = epoch
        if self._compact:  # it is not told of removals of keys that it never had
            assert last >= first > self.offset, self.got
            self.begins, self.values = self.offset, {}  # it may know keys that are no more
        else:
            assert last >= first == self.offset + 1, self.got
            self.offset = last

    def _message(self, epoch: str, offset: int, key: str, value: str | None) -> None:
        place = f"{epoch}:{offset} after {self.epoch}:{self.offset} in {self.got}"
        assert not self.ended, place
        assert self.offset is not None, place
        if self.epoch:
            assert epoch == self.epoch, place
        self.epoch = epoch
        if self._compact:
            assert offset > self.offset, place
        else:
            assert offset == self.offset + 1, place
        self.offset = offset
        published = self._keeper.kept[epoch][offset]
        assert (published.key or "") == key
        assert (None if published.removed else str(published.data)) == value
        self.values[key] = value
