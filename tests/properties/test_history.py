"""Both histories do what a simple model of a room does, whatever is done to them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from actors.positions import Position
from supervisor.errors import LogEnded, OffsetConflict
from supervisor.history.base import (
    IDEMPOTENCY_PERIOD,
    Durability,
    Entry,
    History,
    Page,
    Record,
    Repeated,
    Retention,
    RoomState,
)
from supervisor.history.memory import MemoryHistory
from supervisor.history.sqlite import SqliteHistory
from supervisor.testing import append_to

T = TypeVar("T")

ROOMS = st.sampled_from(["a", "b"])
DURABILITIES: st.SearchStrategy[Durability] = st.sampled_from(["memory", "written"])
PAYLOADS = st.one_of(
    st.text(max_size=20), st.binary(max_size=20), st.sampled_from(["x" * 60, "\x00", "ü\u2028"])
)
RETENTIONS = st.builds(
    Retention,
    records=st.sampled_from([None, 0, 1, 3, 8]),
    size=st.sampled_from([None, 0, 50, 200]),
    age=st.sampled_from([None, 30.0, 500.0]),
    compact=st.booleans(),
    tombstone_age=st.sampled_from([20.0, 100.0]),
    meta_age=st.sampled_from([400.0, 10_000.0]),
)
SECONDS = st.sampled_from([0.5, 10.0, 25.0, 200.0, 400.0])


class ModelRoom:
    """A list of records, looked through from the beginning each time."""

    def __init__(self, now: float) -> None:
        self.records: list[Record] = []
        self.top = 0
        self.lost = 0
        self.ended = False
        self.touched = now
        self.retention = Retention()
        self.epoch: str | None = None
        self.keys: dict[str, tuple[float, int]] = {}
        self.gone: dict[int, float] = {}  # by offset: since when a key has no value

    def append(self, entry: Entry, retention: Retention, now: float) -> None:
        self.touched = max(now, self.touched)
        if retention.compact is not self.retention.compact:
            self.gone.clear()
        self.retention = retention
        self.top += 1
        self.records.append(
            Record(
                self.top,
                self.touched,
                entry.payload,
                entry.encoded,
                entry.key,
                entry.removed,
                entry.expires,
            )
        )
        self.trim(self.touched)
        self.keep_bounds()

    def trim(self, now: float) -> None:
        kept = self.retention
        if kept.compact:
            newest = {r.key: r.offset for r in self.records if r.key is not None}
            self.records = [r for r in self.records if r.key is None or newest[r.key] == r.offset]
            self.records = [self.buried(r, now) for r in self.records]
        for record in list(self.records):
            if kept.compact and record.removed and record.key is not None:
                if self.gone[record.offset] + kept.tombstone_age <= now:
                    self.records.remove(record)
                    self.lost = max(self.lost, record.offset)
            elif record.expires is not None and record.expires <= now:
                self.records.remove(record)
        while kept.age is not None and self.records and self.records[0].time + kept.age <= now:
            self.lose(self.records[:1])

    def keep_bounds(self) -> None:
        """Lose what is too much; time alone does not make more of anything but of tombstones."""
        kept = self.retention
        if kept.records is not None:
            values, tombstones = self.kinds()
            self.lose(values[: max(len(values) - kept.records, 0)])
            self.lose(tombstones[: max(len(tombstones) - kept.records, 0)])
        while kept.size is not None and len(self.records) > 1 and self.size > kept.size:
            values, tombstones = self.kinds()
            self.lose((tombstones or values)[:1])

    def kinds(self) -> tuple[list[Record], list[Record]]:
        """Return the records that are no tombstones, and those that are."""
        tombstones = [
            r for r in self.records if self.retention.compact and r.removed and r.key is not None
        ]
        return [r for r in self.records if r not in tombstones], tombstones

    def lose(self, records: list[Record]) -> None:
        for record in records:
            self.records.remove(record)
            self.lost = max(self.lost, record.offset)

    def buried(self, record: Record, now: float) -> Record:
        """Return what a compacted room keeps of a record."""
        if record.key is None:
            return record
        if record.removed:
            self.gone.setdefault(record.offset, record.time)
            return record._replace(expires=None)
        if record.expires is not None and record.expires <= now:
            self.gone[record.offset] = max(record.expires, record.time)
            return record._replace(payload="", encoded=False, removed=True, expires=None)
        return record

    @property
    def size(self) -> int:
        return sum(Entry(r.payload, key=r.key).size for r in self.records)


class HistoryMachine(RuleBasedStateMachine):
    """Does to a history and to the model the same."""

    history: History
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_700_000_000.0
        self.model: dict[str, ModelRoom] = {}
        self.epochs: set[str] = set()

    def clock(self) -> float:
        return self.now

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.history = self.make_history()
        self.run(self.history.open())

    def make_history(self) -> History:
        raise NotImplementedError

    def teardown(self) -> None:
        self.run(self.history.aclose())
        self.loop.close()

    def room(self, name: str) -> ModelRoom | None:
        room = self.model.get(name)
        if room is not None:
            if room.touched + room.retention.meta_age <= self.now:
                del self.model[name]
                return None
            room.trim(self.now)
        return room

    @rule(
        name=ROOMS,
        payload=PAYLOADS,
        encoded=st.booleans(),
        key=st.sampled_from([None, "k", "l", "ü"]),
        removed=st.booleans(),
        expires=st.sampled_from([None, None, -1.0, 15.0, 60.0]),
        retention=RETENTIONS,
        durability=DURABILITIES,
        idempotency_key=st.sampled_from([None, None, "1", "2"]),
        expect=st.sampled_from([None, None, None, 0, -1]),
    )
    def append(
        self,
        name: str,
        payload: str | bytes,
        encoded: bool,
        key: str | None,
        removed: bool,
        expires: float | None,
        retention: Retention,
        durability: Durability,
        idempotency_key: str | None,
        expect: int | None,
    ) -> None:
        entry = Entry(
            payload, encoded, key, removed, None if expires is None else self.now + expires
        )
        room = self.room(name)
        top = room.top if room else 0
        expect_offset = None if expect is None else top + expect if top else 0
        outcome: Position | Exception
        try:
            outcome = self.run(
                append_to(
                    self.history,
                    name,
                    entry,
                    retention,
                    durability=durability,
                    idempotency_key=idempotency_key,
                    expect_offset=expect_offset,
                )
            )
        except (LogEnded, OffsetConflict) as error:
            outcome = error

        seen = room.keys.get(idempotency_key or "") if room else None
        if room and seen and seen[0] + IDEMPOTENCY_PERIOD > self.now:
            assert outcome == (room.epoch, seen[1])
            assert isinstance(outcome, Repeated)
        elif room and room.ended:
            assert isinstance(outcome, LogEnded)
        elif expect_offset is not None and expect_offset != top:
            assert isinstance(outcome, OffsetConflict)
            assert outcome.current.offset == top
        else:
            assert isinstance(outcome, Position)
            if room is None:
                room = self.model[name] = ModelRoom(self.now)
            self.check_epoch(room, outcome.epoch)
            room.append(entry, retention, self.now)
            assert not isinstance(outcome, Repeated)
            assert outcome.offset == room.top
            if idempotency_key is not None:
                room.keys[idempotency_key] = (self.now, room.top)

    def check_epoch(self, room: ModelRoom, epoch: str) -> None:
        if room.epoch is None:
            assert epoch not in self.epochs
            room.epoch = epoch
            self.epochs.add(epoch)
        assert epoch == room.epoch

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=ROOMS)
    def end(self, name: str) -> None:
        position = self.run(self.history.end(name))

        room = self.room(name)
        if room is None:
            room = self.model[name] = ModelRoom(self.now)
        self.check_epoch(room, position.epoch)
        assert position.offset == room.top
        room.ended = True

    @rule(name=ROOMS)
    def remove(self, name: str) -> None:
        removed = self.run(self.history.remove(name))

        assert removed is (self.room(name) is not None)
        self.model.pop(name, None)

    @rule(
        name=ROOMS,
        after=st.integers(0, 12),
        before=st.one_of(st.none(), st.integers(0, 14)),
        limit=st.integers(1, 5),
        size=st.integers(1, 150),
        reverse=st.booleans(),
    )
    def read(
        self, name: str, after: int, before: int | None, limit: int, size: int, reverse: bool
    ) -> None:
        page = self.run(
            self.history.read(
                name, after=after, before=before, limit=limit, size=size, reverse=reverse
            )
        )

        room = self.room(name)
        if room is None:
            assert page == Page()
            return
        self.check_state(room, page.state)
        expected = [
            r for r in room.records if after < r.offset and (before is None or r.offset < before)
        ]
        if reverse:
            expected.reverse()
        fitting: list[Record] = []
        for record in expected[:limit]:
            size -= Entry(record.payload, key=record.key).size
            if size < 0 and fitting:
                break
            fitting.append(record)
        assert page.records == fitting
        assert page.more is (len(fitting) < len(expected))

    @rule(name=ROOMS)
    def read_all(self, name: str) -> None:
        page = self.run(self.history.read(name))

        room = self.room(name)
        assert page.records == (room.records if room else [])
        assert self.run(self.history.state(name)) == page.state
        if room is not None:
            self.check_state(room, page.state)

    def check_state(self, room: ModelRoom, state: RoomState) -> None:
        self.check_epoch(room, state.top.epoch)
        assert state == RoomState(state.top, room.lost, room.ended, len(room.records), room.size)
        assert state.top.offset == room.top

    @precondition(lambda self: self.model)
    @rule()
    def reopen(self) -> None:
        self.run(self.history.aclose())
        self.run(self.history.open())


class MemoryMachine(HistoryMachine):
    def make_history(self) -> History:
        return MemoryHistory(clock=self.clock)


class SqliteMachine(HistoryMachine):
    def make_history(self) -> History:
        self.directory = tempfile.TemporaryDirectory()
        return SqliteHistory(Path(self.directory.name) / "history.db", clock=self.clock)

    def teardown(self) -> None:
        super().teardown()
        self.directory.cleanup()


TestMemory = MemoryMachine.TestCase
TestSqlite = SqliteMachine.TestCase
