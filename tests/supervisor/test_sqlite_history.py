"""The history in a SQLite file: what is true of a room after stops and failures."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from actors.positions import Position
from supervisor.errors import OffsetConflict, StoreFull, StoreUnavailable
from supervisor.history.base import PAGE_BYTES, Durability, Entry, Repeated, Retention
from supervisor.history.sqlite import SqliteHistory
from supervisor.history.tables import SCHEMA
from supervisor.history.works import Append
from supervisor.history.writing import RoomWriter
from supervisor.policies import RoomPolicy
from supervisor.sqlite import LastStop
from supervisor.testing import append_to

pytestmark = pytest.mark.real_time

ALL = Retention(records=None, size=None, age=None)
NEWEST = Retention(records=None, size=None, age=None, compact=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file that is not there yet."""
    return tmp_path / "history.db"


async def append(
    history: SqliteHistory, room: str, payload: str = "x", durability: Durability = "written"
) -> Position:
    """Append to a room that keeps all."""
    return await append_to(history, room, Entry(payload), ALL, durability=durability)


async def payloads(history: SqliteHistory, room: str) -> list[str | bytes]:
    """Return the payloads of a room."""
    return [record.payload for record in (await history.read(room)).records]


def change(path: Path, statement: str) -> None:
    """Change a file that is not open."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


async def opened(path: Path, **options: Any) -> SqliteHistory:
    """Return an open history."""
    history = SqliteHistory(path, **options)
    await history.open()
    return history


# ------------------------------------------------------------------------------ after it stopped


async def rooms_after(path: Path, stop: LastStop, **options: Any) -> dict[str, bool]:
    """Return which rooms have kept their epochs when the file was left in that way."""
    first = await opened(path, **options)
    for _ in range(3):
        await append(first, "written")
        await append(first, "memory", durability="memory")
        await append(first, "ended", durability="memory")
    await first.end("ended")
    rooms = ("written", "memory", "ended")
    before = {room: (await first.state(room)).top for room in rooms}
    with closing(sqlite3.connect(path)) as connection:  # a copy is what a kill would leave
        copy = path.with_name("copy.db")
        with closing(sqlite3.connect(copy)) as target:
            connection.backup(target)
    await first.aclose()
    left = path if stop is LastStop.CLEAN else copy
    if stop is LastStop.CRASHED:
        change(left, "UPDATE stores SET boot = 'another'")
    second = await opened(left, **options)
    after = {room: (await second.state(room)).top for room in rooms}
    await second.aclose()
    assert all(after[room].offset == 3 for room in rooms)
    return {room: after[room] == before[room] for room in rooms}


async def test_epochs_are_kept_after_it_was_closed(path: Path) -> None:
    """All of them."""
    kept = await rooms_after(path, LastStop.CLEAN)

    assert kept == {"written": True, "memory": True, "ended": True}


async def test_unsure_rooms_get_another_epoch_after_a_kill(path: Path) -> None:
    """Those with appends that may have been told and lost; once a room has ended it has none."""
    kept = await rooms_after(path, LastStop.KILLED)

    assert kept == {"written": True, "memory": False, "ended": True}


async def test_every_room_gets_another_epoch_after_a_crash(path: Path) -> None:
    """When the machine lost power, the last commits may be gone; not what ended a room."""
    kept = await rooms_after(path, LastStop.CRASHED)

    assert kept == {"written": False, "memory": False, "ended": True}


async def test_full_synchronization_makes_a_crash_a_kill(path: Path) -> None:
    """With synchronous="full" no commit is lost."""
    kept = await rooms_after(path, LastStop.CRASHED, synchronous="full")

    assert kept == {"written": True, "memory": False, "ended": True}


# --------------------------------------------------------------------------- while the disk fails


class SmallDisk:
    """A history on a disk that is full, until it has space again: SQLite's own bound of pages."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.history = SqliteHistory(path, **options)

    async def _set_pages(self, count: int) -> None:
        connection: sqlite3.Connection = self.history._writer._connection  # type: ignore[union-attr]
        await asyncio.to_thread(
            lambda: connection.execute(f"PRAGMA max_page_count = {count}").fetchone()
        )

    async def fill(self) -> None:
        """Leave no space for another page."""
        await self._set_pages(1)

    async def clear(self) -> None:
        """Make space."""
        await self._set_pages(100_000)


LARGE = "x" * 100_000


async def test_appends_to_a_full_disk_are_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room is as it was, can be read, and goes on once there is space."""
    monkeypatch.setattr("supervisor.sqlite.writer.RETRY_AFTER", 0.05)
    disk = SmallDisk(path)
    history = disk.history
    await history.open()
    first = await append(history, "a", "1")
    await disk.fill()

    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="disk is full: make space"):
            await append(history, "a", LARGE)
    assert not history.healthy
    assert (await history.state("a")).top == first
    assert await payloads(history, "a") == ["1"]
    await disk.clear()
    await asyncio.sleep(0.06)
    second = await append(history, "a", "2")

    assert second == (first.epoch, 2)
    assert history.healthy
    await history.aclose()


async def test_what_was_told_and_not_written_costs_the_epoch(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may have seen the record that is not there; also once it is opened again."""
    monkeypatch.setattr("supervisor.sqlite.writer.RETRY_AFTER", 0.05)
    disk = SmallDisk(path)
    history = disk.history
    await history.open()
    first = await append(history, "a", "1", "memory")
    await append(history, "b", "1", "memory")
    # A commit that fails: it is refused by a constraint that is looked at last.
    writer = history._writer
    assert writer is not None
    apply = writer.apply

    def fail_at_commit(works: Any, now: int) -> None:
        apply(works, now)
        execute = writer._connection.execute
        execute("PRAGMA defer_foreign_keys = ON")
        execute("INSERT INTO children VALUES (1)")

    def prepare() -> None:
        execute = writer._connection.execute
        execute("PRAGMA foreign_keys = ON")
        execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        execute("CREATE TABLE children (id INTEGER REFERENCES parents (id))")

    await asyncio.to_thread(prepare)
    monkeypatch.setattr(writer, "apply", fail_at_commit)
    told: list[Any] = []
    done = threading.Event()
    history.append("a", Entry("2"), ALL, durability="memory", then=told.append)
    history.append("b", Entry("2"), ALL, then=lambda outcome: done.set())
    await asyncio.to_thread(done.wait)
    monkeypatch.undo()
    monkeypatch.setattr("supervisor.sqlite.writer.RETRY_AFTER", 0.0)

    assert told == [(first.epoch, 2)]
    renamed = await history.state("a")
    assert renamed.top.offset == 1
    assert renamed.top.epoch != first.epoch
    assert (await history.read("a")).state == renamed
    await asyncio.sleep(1.0)
    again = await append(history, "a", "3")
    assert again == (renamed.top.epoch, 2)
    await history.aclose()
    await history.open()
    assert (await history.state("a")).top == again
    await history.aclose()


async def test_it_says_when_it_begins_to_fail_and_when_it_works_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once each, however often it is tried in between."""
    monkeypatch.setattr("supervisor.sqlite.writer.RETRY_AFTER", 30.0)  # not while pages are set
    said: list[StoreUnavailable | None] = []
    disk = SmallDisk(path, on_health=said.append)
    await disk.history.open()
    await append(disk.history, "a", "1")

    await disk.fill()
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await append(disk.history, "a", LARGE)
    failing = list(said)
    await disk.clear()
    disk.history._file._writer._retry_at = 0.0
    for number in range(3):
        await append(disk.history, "a", str(number))
    await disk.history.aclose()

    assert ["disk is full" in str(each) for each in failing] == [True]
    assert said == [*failing, None]


async def test_rooms_go_on_in_memory_if_that_was_asked_for(path: Path) -> None:
    """With another epoch and without their past; nothing is lost from then on, and it is said."""
    said: list[tuple[str, Exception]] = []
    disk = SmallDisk(
        path, on_failure="memory", on_fallback=lambda text, error: said.append((text, error))
    )
    history = disk.history
    await history.open()
    first = await append(history, "a", "1")
    await append(history, "b", "1")
    await disk.fill()

    second = await append(history, "a", LARGE)
    third = await append(history, "a", "3")
    with pytest.raises(OffsetConflict):
        await append_to(history, "a", Entry("4"), ALL, expect_offset=1)
    end = await history.end("c")

    assert second.offset == 1
    assert second.epoch != first.epoch
    assert third == (second.epoch, 2)
    assert await payloads(history, "a") == [LARGE, "3"]
    assert (await history.state("a")).top == third
    assert await payloads(history, "b") == ["1"]
    assert (await history.state("c")).top == end
    with pytest.raises(StoreUnavailable, match="disk is full"):
        await history.remove("b")
    assert not history.healthy
    ((text, error),) = said
    assert "go on in memory" in text
    assert "disk is full" in text
    assert isinstance(error, StoreUnavailable)
    await history.aclose()


async def test_it_is_whole_again_when_it_was_opened_anew(path: Path) -> None:
    """What was in memory is gone, under its epoch; what was on disk is there, under its own."""
    disk = SmallDisk(path, on_failure="memory")
    history = disk.history
    await history.open()
    first = await append(history, "a", "1")
    await disk.fill()
    in_memory = await append(history, "a", LARGE)
    await history.aclose()
    await history.open()

    second = await append(history, "a", "2")

    assert history.healthy
    assert second == (first.epoch, 2)
    assert second.epoch != in_memory.epoch
    assert await payloads(history, "a") == ["1", "2"]
    await history.aclose()


async def test_appends_keep_their_order_when_rooms_go_on_in_memory(path: Path) -> None:
    """Those that waited when the disk failed are the first in memory, in their order."""
    disk = SmallDisk(path, on_failure="memory")
    history = disk.history
    await history.open()
    await append(history, "a", "first")
    await disk.fill()
    told: list[Any] = []
    done = threading.Event()
    for number in range(50):
        entry = Entry(f"{number} " + "x" * 10_000)
        history.append("a", entry, ALL, then=told.append)
    history.append("a", Entry("last"), ALL, then=lambda outcome: done.set())
    await asyncio.to_thread(done.wait)
    kept = [str(payload).split()[0] for payload in await payloads(history, "a")]
    kept += [
        str(record.payload).split()[0]
        for record in (await history.read("a", after=len(kept))).records
    ]

    assert kept == [*map(str, range(50)), "last"][-len(kept) :]
    assert all(isinstance(outcome, Position) for outcome in told)
    await history.aclose()


@pytest.mark.parametrize("on_failure", ["refuse", "memory"])
async def test_a_file_that_cannot_be_opened_is_no_case_for_memory(
    path: Path, on_failure: Any
) -> None:
    """open() raises; whoever starts can still do something about it."""
    path.write_bytes(b"no database " * 1000)  # noqa: ASYNC240 - nothing else runs on this loop

    with pytest.raises(StoreUnavailable, match="no SQLite database"):
        await SqliteHistory(path, on_failure=on_failure).open()


async def test_it_is_to_be_opened_first(path: Path) -> None:
    """Nothing works before, nor after it was closed."""
    history = SqliteHistory(path)
    uses: list[Callable[[], Any]] = [
        lambda: append(history, "a"),
        lambda: history.read("a"),
        lambda: history.state("a"),
        lambda: history.end("a"),
        lambda: history.remove("a"),
    ]

    for use in uses:
        with pytest.raises(StoreUnavailable, match="is not open"):
            await use()


async def test_too_many_appends_are_refused(path: Path) -> None:
    """Both ways to append raise StoreFull; what was taken is written."""
    history = await opened(path, capacity_bytes=1_000)
    told: list[Any] = []
    refused = 0
    for _ in range(1_000):
        try:
            history.append("a", Entry("x" * 400), ALL, then=told.append)
        except StoreFull:
            refused += 1
    await history.aclose()

    assert refused
    assert len(told) == 1_000 - refused
    await history.open()
    assert (await history.state("a")).top.offset == len(told)
    await history.aclose()


# ------------------------------------------------------------------------------------- the tables


async def test_text_is_kept_to_the_letter(path: Path) -> None:
    """Whatever text or bytes may contain, in payloads, keys and names."""
    texts = ["", "\x00a\x00", '"\\\n\r\t\u2028', "ü\U0001f600", "'); DROP TABLE", "\x7f\x80\uffff"]
    history = await opened(path)
    for text in texts:
        for payload in (text, text.encode()):
            await append_to(
                history, text, Entry(payload, key=text), ALL, idempotency_key=text + "1"
            )
            await history.remove(text)
            await append_to(history, text, Entry(payload, key=text), NEWEST, idempotency_key=text)
            repeated = await append_to(history, text, Entry(""), ALL, idempotency_key=text)
            (record,) = (await history.read(text)).records

            assert isinstance(repeated, Repeated)
            assert record.payload == payload
            assert record.key == text
            await history.remove(text)
    await history.aclose()


async def test_what_cannot_be_kept_is_refused(path: Path) -> None:
    """Text that is none, and times that are none; the append raises, and the store goes on."""
    history = await opened(path)
    bad = "\ud800"
    appends: list[Callable[[], Any]] = [
        lambda: append_to(history, bad, Entry("x"), ALL),
        lambda: append_to(history, "a", Entry(bad), ALL),
        lambda: append_to(history, "a", Entry("x", key=bad), ALL),
        lambda: append_to(history, "a", Entry("x"), ALL, idempotency_key=bad),
        lambda: append_to(history, "a", Entry("x", expires=float("nan")), ALL),
    ]
    for refused in appends:
        outcomes = await asyncio.gather(refused(), append(history, "b"), return_exceptions=True)
        assert isinstance(outcomes[0], ValueError)
        assert isinstance(outcomes[1], Position)
    uses: list[Callable[[str], Any]] = [history.end, history.remove, history.state, history.read]
    for use in uses:
        with pytest.raises(UnicodeEncodeError):
            await use(bad)

    assert history.healthy
    await history.aclose()


async def test_times_have_no_bounds(path: Path) -> None:
    """An expiry or an age that never comes is none."""
    history = await opened(path)
    forever = Retention(age=float("inf"), tombstone_age=1e300, meta_age=float("inf"), compact=True)
    for expires in (float("inf"), 1e300, -1e9, float("-inf")):
        await append_to(history, "a", Entry("", key=str(expires), expires=expires), forever)
        await append_to(history, "a", Entry("", key="k", removed=True), forever)

    records = (await history.read("a")).records
    assert [record.removed for record in records] == [False, False, True, True, True]
    await history.aclose()


async def test_a_large_record_costs_other_pages_nothing(path: Path) -> None:
    """A page has one record that is larger than a page; the next one has others."""
    history = await opened(path)
    for payload in ("small", "x" * (3 * PAGE_BYTES), "small"):
        await append(history, "a", payload)
    pages = [await history.read("a", after=after) for after in range(3)]

    assert [[r.offset for r in page.records] for page in pages] == [[1], [2], [3]]
    assert [page.more for page in pages] == [True, True, False]
    await history.aclose()


async def test_old_rooms_leave_the_file(path: Path) -> None:
    """Rooms that nobody uses any more go, and so do their records, while others are used."""
    now = 1_700_000_000.0
    history = await opened(path, clock=lambda: now)
    short = Retention(age=10.0, meta_age=20.0)
    for number in range(200):
        await append_to(history, f"old {number}", Entry("x"), short, idempotency_key="one")
    for _ in range(30):
        now += 5.0
        await append(history, "used")
        now += 300.0
    await history.aclose()

    with closing(sqlite3.connect(path)) as connection:
        rows = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("history_rooms", "history_records", "history_repeats")
        ]
    assert rows == [1, 30, 0]


async def test_expired_values_leave_the_file(path: Path) -> None:
    """Their keys stay as tombstones, which go, too, while other rooms are used."""
    now = 1_700_000_000.0
    history = await opened(path, clock=lambda: now)
    await append_to(history, "a", Entry("x" * 1000, key="ü", expires=now + 10.0), NEWEST)
    await append_to(history, "a", Entry(b"y" * 1000, key="k\0", expires=now + 20.0), NEWEST)

    def rows() -> list[Any]:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute(
                "SELECT offset, key, payload, r.size, l.size FROM history_records r"
                " JOIN history_rooms l ON l.id = room WHERE l.name = 'a'"
            ).fetchall()

    now += 10.0
    await append(history, "used")
    one = rows()
    now += 10.0
    lazily = await history.state("a")
    await append(history, "used")
    both = rows()
    now += NEWEST.tombstone_age
    await append(history, "used")

    assert [row[:4] for row in one] == [(1, "ü", "", 2), (2, "k\0", b"y" * 1000, 1002)]
    assert both == [(1, "ü", "", 2, 4), (2, "k\0", "", 2, 4)]
    assert lazily.size == 4
    assert rows() == []
    assert (await history.state("a")).lost == 2
    await history.aclose()


async def test_removed_keys_do_not_push_out_a_value(path: Path) -> None:
    """A value that is published once outlives any number of others; many in a group, and reopened."""
    retention = RoomPolicy.status(history_size=5).retention
    history = await opened(path)
    entries = [Entry("1.0", key="version")]
    for number in range(8):
        entries.append(Entry("x", key=f"run{number}"))
        entries.append(Entry("", key=f"run{number}", removed=True))
    for room in ("one", "many"):
        appends = [append_to(history, room, entry, retention) for entry in entries]
        if room == "many":
            await asyncio.gather(*appends)
        else:
            for append in appends:
                await append
    await history.aclose()
    await history.open()
    await append_to(history, "one", Entry("", key="run8", removed=True), retention)

    for room, first, lost in (("one", 4, 9), ("many", 3, 7)):
        page = await history.read(room)
        assert [(r.key, r.payload) for r in page.records if not r.removed] == [("version", "1.0")]
        keys = [r.key for r in page.records if r.removed]
        assert keys == [f"run{number}" for number in range(first, first + 5)]
        assert page.state.lost == lost
    await history.aclose()


@pytest.mark.parametrize("expires", [None, 1_700_000_000.0])
async def test_short_lived_keys_come_and_go_at_the_same_cost(
    path: Path, expires: float | None
) -> None:
    """Within the default bounds, however many."""
    history = await opened(path, clock=lambda: 1_700_000_000.0, capacity=30_000)
    retention = RoomPolicy.status().retention
    await append_to(history, "a", Entry("1.0", key="version"), retention)
    for number in range(10_001):
        entries = [Entry("x", key=f"{number}", expires=expires)]
        if expires is None:
            entries.append(Entry("", key=f"{number}", removed=True))
        for entry in entries:
            history.append("a", entry, retention, then=lambda outcome: None)
    await append_to(history, "a", Entry("2.0", key="other"), retention)

    page = await history.read("a", limit=1)
    assert [r.key for r in page.records] == ["version"]
    assert (page.state.records, page.state.lost) == (10_002, 3 if expires is None else 2)
    await history.aclose()


@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize("bounds", [(2_000, None), (None, 20_000)])
def test_an_append_to_a_full_room_looks_at_few_records(
    removed: bool, bounds: tuple[int | None, int | None]
) -> None:
    """Counted in steps of SQLite's machine: neither for the key nor for what goes does it scan."""
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    retention = Retention(*bounds, age=None, compact=True)
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in SCHEMA:
            connection.execute(statement)
        writer = RoomWriter(connection, {})

        def append(key: str, *, removed: bool) -> None:
            entry = Entry("" if removed else "x", key=key, removed=removed)
            work = Append(
                "a",
                entry,
                retention,
                durability="written",
                idempotency_key=None,
                expect_offset=None,
            )
            writer.apply([work], 10**15)
            assert isinstance(work.outcome, Position)

        for number in range(2_000):
            append(f"gone{number}", removed=True)
        for number in range(2_000):
            append(f"{number}", removed=False)
        append("first", removed=removed)  # may look for the oldest value
        connection.set_progress_handler(step, 1)
        append("next", removed=removed)

    assert 0 < steps < 6_000


async def test_what_is_counted_agrees_with_the_file(path: Path) -> None:
    """Values, tombstones and bytes, whatever comes in a group and goes by time in between."""
    chance = random.Random(1)
    now = 1_700_000_000.0
    history = await opened(path, clock=lambda: now)
    kept = [
        Retention(4, 60, 50.0, compact=True, tombstone_age=30.0),
        Retention(2, None, None, compact=True, tombstone_age=5.0),
        Retention(8, 80, None),
    ]
    counted = (
        "SELECT l.records, l.tombstones, l.size, count(offset),"
        " coalesce(sum(flags & 8 <> 0), 0), coalesce(sum(r.size), 0), most, compact"
        " FROM history_rooms l LEFT JOIN history_records r ON r.room = l.id GROUP BY l.id"
    )
    for _ in range(150):
        retention = chance.choices(kept, [6, 3, 1])[0]
        entries = [
            Entry(
                "x" * chance.randrange(9),
                key=chance.choice([None, "a", "b", "c", "d", "e", "f", "g"]),
                removed=chance.random() < 0.5,
                expires=chance.choice([None, now - 1.0, now + 5.0]),
            )
            for _ in range(chance.randrange(1, 9))
        ]
        await asyncio.gather(*(append_to(history, "a", entry, retention) for entry in entries))
        now += chance.choice([0.0, 0.0, 3.0, 10.0])
        with closing(sqlite3.connect(path)) as connection:
            ((*said, records, tombstones, size, most, compact),) = connection.execute(counted)
        assert said == [records, tombstones, size]
        assert records - tombstones <= most
        assert tombstones <= (most if compact else 0)
    await history.aclose()


async def test_keys_are_kept_to_the_letter(path: Path) -> None:
    """Keys that differ after a NUL character are two."""
    history = await opened(path)
    for turn in range(2):
        for key in ("a", "a\x00", "a\x00b", "", "\x00"):
            await append_to(history, "a", Entry(f"{turn} {key}", key=key), NEWEST)
    records = (await history.read("a")).records

    assert [record.key for record in records] == ["a", "a\x00", "a\x00b", "", "\x00"]
    assert {str(record.payload)[0] for record in records} == {"1"}
    await history.aclose()


async def test_more_rooms_than_are_cached_are_used(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offsets go on where they were."""
    monkeypatch.setattr("supervisor.history.writing.ROOMS", 10)
    history = await opened(path)
    for turn in range(1, 4):
        appended = await asyncio.gather(*(append(history, f"{number}") for number in range(35)))
        assert {a.offset for a in appended} == {turn}
    await history.aclose()
