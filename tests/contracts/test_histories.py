"""Every history keeps the promises of the port; and the suite that says so finds who does not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.positions import Position
from supervisor.errors import AppendRefused
from supervisor.history.base import Entry, History, Page, Record, Retention, RoomState
from supervisor.history.memory import MemoryHistory
from supervisor.history.sqlite import SqliteHistory
from supervisor.testing import check_history

pytestmark = pytest.mark.real_time

Clock = Callable[[], float]


async def test_the_memory_keeps_its_promises() -> None:
    """All of them; while the process lives, it remembers, too."""
    await check_history(lambda clock: MemoryHistory(clock=clock), durable=True)


async def test_a_history_may_tell_what_it_could_return() -> None:
    """Also before an append returns."""
    await check_history(lambda clock: Telling(clock=clock), durable=True)


async def test_the_file_keeps_its_promises(tmp_path: Path) -> None:
    """All of them, and remembers."""
    numbers = itertools.count()

    def make_history(clock: Clock) -> History:
        return SqliteHistory(tmp_path / f"{next(numbers)}.db", clock=clock)

    await check_history(make_history, durable=True)


class Keeping(MemoryHistory):
    """Keeps something else than it is told."""

    def __init__(self, *, clock: Clock, **kept: Any) -> None:
        super().__init__(clock=clock)
        self._kept = kept

    def append(self, room: str, entry: Entry, retention: Retention, **options: Any) -> Position:
        return super().append(room, entry, replace(retention, **self._kept), **options)


class Skipping(MemoryHistory):
    """Leaves an offset out now and then."""

    def append(self, room: str, *args: Any, **options: Any) -> Position:
        appended = super().append(room, *args, **options)
        if appended.offset % 7 == 1:
            self._rooms[room].top += 1
        return appended


class OneEpoch(MemoryHistory):
    """Calls every sequence the same."""

    def _make(self, *args: Any) -> Any:
        room = super()._make(*args)
        room.epoch = "always"
        return room


class SameEpoch(MemoryHistory):
    """Calls the sequences of a room the same."""

    def _make(self, name: str, *args: Any) -> Any:
        room = super()._make(name, *args)
        room.epoch = name
        return room


class Deaf(MemoryHistory):
    """Ignores some of what it is asked."""

    def __init__(self, *, clock: Clock, ignored: str) -> None:
        super().__init__(clock=clock)
        self._ignored = ignored

    def append(self, *args: Any, **options: Any) -> Position:
        options.pop(self._ignored, None)
        return super().append(*args, **options)

    async def read(self, room: str, **options: Any) -> Page:
        options.pop(self._ignored, None)
        return await super().read(room, **options)


class Lying(MemoryHistory):
    """Says something else of where a room stands."""

    def __init__(self, *, clock: Clock, **said: Any) -> None:
        super().__init__(clock=clock)
        self._said = said

    async def state(self, room: str) -> RoomState:
        return replace(await super().state(room), **self._said)

    async def read(self, room: str, **options: Any) -> Page:
        page = await super().read(room, **options)
        return replace(page, state=replace(page.state, **self._said))


class Late(MemoryHistory):
    """Shows the newest record later."""

    async def read(self, room: str, **options: Any) -> Page:
        page = await super().read(room, **options)
        return replace(page, records=page.records[:-1])


class Traceless(MemoryHistory):
    """Shows tombstones at the moment of the append only: not those of values that have expired."""

    async def read(self, room: str, **options: Any) -> Page:
        page = await super().read(room, **options)
        if room not in self._rooms or not self._rooms[room].retention.compact:
            return page
        now = self._clock()
        records = [record for record in page.records if not record.removed or record.time == now]
        return replace(page, records=records)


class Crowding(MemoryHistory):
    """Counts tombstones among the values."""

    def append(self, room: str, *args: Any, **options: Any) -> Position:
        appended = super().append(room, *args, **options)
        kept = self._rooms[room]
        while kept.retention.compact and kept.count > kept.most:
            kept._lose(kept.head, kept.offsets[kept.head])
        return appended


class Hoarding(MemoryHistory):
    """Does not bound the number of tombstones."""

    def append(self, room: str, entry: Entry, retention: Retention, **options: Any) -> Position:
        if entry.removed:
            retention = replace(retention, records=None)
        return super().append(room, entry, retention, **options)


class Weighing(MemoryHistory):
    """Loses for their bytes what is oldest, be it a value or a tombstone."""

    def append(self, room: str, entry: Entry, retention: Retention, **options: Any) -> Position:
        unbounded = replace(retention, size=None) if retention.compact else retention
        appended = super().append(room, entry, unbounded, **options)
        kept = self._rooms[room]
        while retention.compact and retention.size and kept.size > retention.size:
            kept._lose(kept.head, kept.offsets[kept.head])
        return appended


class Flattening(MemoryHistory):
    """Makes text of everything."""

    async def read(self, room: str, **options: Any) -> Page:
        page = await super().read(room, **options)
        records = [Record(*record)._replace(payload=str(record.payload)) for record in page.records]
        return replace(page, records=records)


class Telling(MemoryHistory):
    """Tells of appends, rather than to return what became of them."""

    def append(self, *args: Any, then: Any, **options: Any) -> Any:
        try:
            outcome: Any = super().append(*args, then=then, **options)
        except AppendRefused as refusal:
            outcome = refusal
        then(outcome)


class Silent(Telling):
    """Does not tell."""

    def append(self, *args: Any, then: Any, **options: Any) -> Any:
        super().append(*args, then=lambda outcome: None, **options)


class Stammering(MemoryHistory):
    """Tells what it has returned."""

    def append(self, *args: Any, then: Any, **options: Any) -> Position:
        appended = super().append(*args, then=then, **options)
        then(appended)
        return appended


class Endless(MemoryHistory):
    """Does not end."""

    async def end(self, room: str) -> Position:
        position = await super().end(room)
        self._rooms[room].ended = False
        return position


class Clinging(MemoryHistory):
    """Removes nothing."""

    async def remove(self, room: str) -> bool:
        return (await self.state(room)).top.epoch != ""


class Amnesiac(MemoryHistory):
    """Forgets all when it is closed."""

    async def aclose(self) -> None:
        self._rooms.clear()
        self._round.clear()


@pytest.mark.parametrize(
    ("make_history", "says"),
    [
        (Skipping, "have no hole"),
        (OneEpoch, "an epoch of its own"),
        (SameEpoch, "another epoch"),
        (Late, "a read sees"),
        (Traceless, "becomes a tombstone"),
        (Crowding, "cost no valid value"),
        (Hoarding, "as many are remembered"),
        (Weighing, "oldest tombstone goes first"),
        (Flattening, "what was appended"),
        (lambda clock: Keeping(clock=clock, records=None), "newest records are kept"),
        (lambda clock: Keeping(clock=clock, size=None), "bytes are bounded"),
        (lambda clock: Keeping(clock=clock, age=None), "16 and 12 s go"),
        (lambda clock: Keeping(clock=clock, compact=False), "newest of each key"),
        (lambda clock: Keeping(clock=clock, tombstone_age=1e9), "and then goes"),
        (lambda clock: Keeping(clock=clock, meta_age=1e9), "in the end the room is unknown"),
        (lambda clock: Deaf(clock=clock, ignored="idempotency_key"), "is a repetition"),
        (lambda clock: Deaf(clock=clock, ignored="expect_offset"), "is an OffsetConflict"),
        (lambda clock: Deaf(clock=clock, ignored="limit"), "limit=4"),
        (lambda clock: Deaf(clock=clock, ignored="size"), "so many bytes"),
        (lambda clock: Deaf(clock=clock, ignored="reverse"), "reverse=True"),
        (lambda clock: Lying(clock=clock, lost=0), "lost is the newest"),
        (lambda clock: Lying(clock=clock, records=1), "an unknown room"),
        (Silent, "is told what became of it"),
        (Stammering, "were to be told"),
        (Endless, "says that it has ended"),
        (Clinging, "there was such a room|unknown"),
        (Amnesiac, "opened again"),
    ],
)
async def test_the_suite_finds_a_history_that_breaks_a_promise(
    make_history: Any, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says which."""
    monkeypatch.setattr("supervisor.testing.histories.kit.REPLY_TIMEOUT", 0.2)

    with pytest.raises(AssertionError, match=says):
        await check_history(lambda clock: make_history(clock=clock), durable=True)
