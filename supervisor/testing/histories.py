"""What every history promises, as a suite: see :mod:`supervisor.testing`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from actors.positions import NOWHERE, Position
from supervisor.errors import AppendRefused, LogEnded, OffsetConflict
from supervisor.history.base import (
    IDEMPOTENCY_PERIOD,
    PAGE_BYTES,
    PAGE_RECORDS,
    Appended,
    Durability,
    Entry,
    History,
    Page,
    Record,
    Retention,
    RoomState,
)

__all__ = ["append_to", "check_history"]

REPLY_TIMEOUT = 5.0
"""Seconds after which an outcome that was not told is missed."""

_ALL = Retention(records=None, size=None, age=None)
_NEWEST = Retention(records=None, size=None, age=None, compact=True, tombstone_age=60.0)

_MakeHistory = Callable[[Callable[[], float]], History]


async def check_history(make_history: _MakeHistory, *, durable: bool = False) -> None:
    """
    Check the promises of :class:`supervisor.history.base.History`.

    Args:
        make_history: Returns a new, empty store that is not open; takes the clock that the store
            reads Unix time from. Called once a promise; each store is closed at the end.
        durable: Whether what it keeps survives that it is closed and opened again.

    Raises:
        AssertionError: If a promise is broken; its text says which.

    Waits on the real clock for replies only, and uses threads.
    """
    for check in (
        _counts_from_one,
        _knows_nothing_of_other_rooms,
        _reads_ranges,
        _reads_pages,
        _keeps_a_number,
        _keeps_a_size,
        _follows_the_last_retention,
        _keeps_the_newest_of_each_key,
        _bounds_tombstones_apart,
        _forgets_tombstones_for_their_bytes,
        _becomes_a_compacted_room,
        _appends_where_it_was_expected,
        _ends,
        _removes,
        _tells_once_and_in_order,
        _takes_appends_from_any_thread,
        _takes_appends_at_the_same_time,
        _serves_several_loops,
        _survives_cancellation,
        _can_be_opened_twice,
    ):
        async with _opened(make_history(_Clock())) as history:
            await check(history)
    for timed in (
        _keeps_what_was_appended,
        _keeps_an_age,
        _drops_what_has_expired,
        _remembers_which_keys_have_expired,
        _forgets_tombstones,
        _bounds_a_compacted_room,
        _keeps_values_when_others_expire,
        _appends_once,
        _forgets_rooms,
        _keeps_its_order_when_the_clock_is_put_back,
        *([_remembers] if durable else []),
    ):
        clock = _Clock()
        async with _opened(make_history(clock)) as history:
            await timed(history, clock)


async def append_to(
    history: History,
    room: str,
    entry: Entry,
    retention: Retention,
    *,
    durability: Durability = "written",
    idempotency_key: str | None = None,
    expect_offset: int | None = None,
) -> Appended:
    """
    Append, and wait until that is done; see :meth:`supervisor.history.base.History.append`.

    Cancelling undoes nothing.

    Raises:
        OffsetConflict, LogEnded, StoreFull, StoreUnavailable: As the history does.
        AssertionError: If nothing is told.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Appended] = loop.create_future()

    def settle(outcome: Appended | Exception) -> None:
        if done.done():
            return  # nobody waits any more
        if isinstance(outcome, Exception):
            done.set_exception(outcome)
        else:
            done.set_result(outcome)

    def then(outcome: Appended | Exception) -> None:
        with suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(settle, outcome)

    at_once = history.append(
        room,
        entry,
        retention,
        durability=durability,
        idempotency_key=idempotency_key,
        expect_offset=expect_offset,
        then=then,
    )
    if at_once is not None:
        return at_once
    answered, _ = await asyncio.wait([done], timeout=REPLY_TIMEOUT)
    assert answered, f"an append is told what became of it; not so within {REPLY_TIMEOUT} s"
    return done.result()


async def _counts_from_one(history: History) -> None:
    first = await _append(history, "a", "1")
    second = await _append(history, "a", "2", durability="memory")
    other = await _append(history, "b", "1")

    epoch = first.position.epoch
    assert 0 < len(epoch) <= 64, f"an epoch has 1 to 64 characters: {epoch!r}"
    assert ":" not in epoch, f"and no colon: {epoch!r}"
    assert first == Appended(Position(epoch, 1)), f"offsets count from 1: {first}"
    assert second == Appended(Position(epoch, 2)), f"an epoch's offsets have no hole: {second}"
    assert other.position.offset == 1, f"each room counts for itself: {other}"
    assert other.position.epoch != epoch, "each room has an epoch of its own"
    assert (await history.state("a")).top == (epoch, 2), "the top is the place of the newest record"
    assert await _offsets(history, "a") == [1, 2], "a read sees every append that was done"


async def _keeps_what_was_appended(history: History, clock: _Clock) -> None:
    entries = [
        Entry("text"),
        Entry("häß\U0001f600\x00\n"),
        Entry(b"\x00\xff bytes"),
        Entry(""),
        Entry(b""),
        Entry('{"n": 1}', encoded=True),
        Entry("x", key="k", expires=clock() + 3600.5),
        Entry("", key="ü", removed=True),
    ]
    for number, entry in enumerate(entries, 1):
        await append_to(history, "a/ü:1", entry, _ALL)
        clock.now += 0.25
        records = (await history.read("a/ü:1")).records
        assert len(records) == number, f"what was appended is there at once: {records}"

    page = await history.read("a/ü:1")
    state = page.state

    for number, (entry, record) in enumerate(zip(entries, page.records, strict=True)):
        expected = (
            number + 1,
            _Clock.now + number / 4,
            entry.payload,
            entry.encoded,
            entry.key,
            entry.removed,
            entry.expires,
        )
        assert tuple(record) == expected, f"a record is what was appended: {record}"
        assert type(record.payload) is type(entry.payload), f"text stays text: {record}"
        assert isinstance(record, Record), f"pages have Records: {record!r}"
        assert record.encoded is entry.encoded, f"flags are bool: {record}"
        assert record.removed is entry.removed, f"flags are bool: {record}"
    assert state.records == len(entries), f"the state counts the records: {state}"
    assert state.size == sum(entry.size for entry in entries), f"and their bytes: {state}"
    assert not page.more, "there are no more"


async def _knows_nothing_of_other_rooms(history: History) -> None:
    await _append(history, "a", "1")

    page = await history.read("b")
    state = await history.state("b")

    assert page == Page(), f"an unknown room has no records, and is nowhere: {page}"
    assert state == RoomState(NOWHERE), f"an unknown room is nowhere: {state}"
    assert not await history.remove("b"), "an unknown room cannot be removed"


async def _reads_ranges(history: History) -> None:
    await _append_many(history, "a", 9)

    for after, before, limit, forward, backward in (
        (0, None, 300, (range(1, 10), False), (range(9, 0, -1), False)),
        (3, None, 300, (range(4, 10), False), (range(9, 3, -1), False)),
        (3, 7, 300, (range(4, 7), False), (range(6, 3, -1), False)),
        (0, None, 4, (range(1, 5), True), (range(9, 5, -1), True)),
        (2, 8, 2, (range(3, 5), True), (range(7, 5, -1), True)),
        (2, 8, 5, (range(3, 8), False), (range(7, 2, -1), False)),
        (9, None, 300, (range(0), False), (range(0), False)),
        (99, None, 300, (range(0), False), (range(0), False)),
        (0, 1, 300, (range(0), False), (range(0), False)),
        (5, 6, 300, (range(0), False), (range(0), False)),
        (7, 3, 300, (range(0), False), (range(0), False)),
        (8, 99, 300, (range(9, 10), False), (range(9, 10), False)),
    ):
        for reverse, (offsets, more) in ((False, forward), (True, backward)):
            page = await history.read("a", after=after, before=before, limit=limit, reverse=reverse)
            asked = f"after={after}, before={before}, limit={limit}, reverse={reverse}"
            assert [r.offset for r in page.records] == list(offsets), f"{asked}: {page.records}"
            assert page.more is more, f"{asked}: whether the range has more is not {page.more}"
            assert page.state == await history.state("a"), f"{asked}: {page.state}"


async def _reads_pages(history: History) -> None:
    await _append_many(history, "many", PAGE_RECORDS + 5)
    for letter in "abcdef":
        await _append(history, "large", letter * 100)
    await _append(history, "huge", "x" * (PAGE_BYTES + 1))
    await _append(history, "huge", "y")

    page = await history.read("many", limit=10 * PAGE_RECORDS)
    rest = await history.read("many", after=page.records[-1].offset)
    bytes_250 = await history.read("large", size=250)
    bytes_300 = await history.read("large", size=300, reverse=True)
    one = await history.read("large", size=1, after=2)
    huge = await history.read("huge", size=100 * PAGE_BYTES)

    assert len(page.records) == PAGE_RECORDS, f"a page has at most {PAGE_RECORDS} records"
    assert page.more, "and says that there is more"
    assert len(rest.records) == 5, "and the next one goes on where it ended"
    assert [r.offset for r in bytes_250.records] == [1, 2], "a page has at most so many bytes"
    assert [r.offset for r in bytes_300.records] == [6, 5, 4], "and as many as fit"
    for full in (bytes_250, bytes_300, one, huge):
        assert full.more, "a page that is full by bytes says that there is more"
    assert [r.offset for r in one.records] == [3], "but it has always one record"
    assert [r.offset for r in huge.records] == [1], f"a page has at most {PAGE_BYTES} bytes"


async def _keeps_a_number(history: History) -> None:
    retention = Retention(records=5, size=None, age=None)

    await _append_many(history, "a", 5, retention)
    before = await history.state("a")
    await _append_many(history, "a", 200, retention)
    after = await history.state("a")

    assert (before.records, before.lost) == (5, 0), (
        f"nothing is lost while there is space: {before}"
    )
    assert await _offsets(history, "a") == list(range(201, 206)), "the newest records are kept"
    assert (after.records, after.lost) == (5, 200), (
        f"lost is the newest that the bounds cost: {after}"
    )


async def _keeps_a_size(history: History) -> None:
    retention = Retention(records=None, size=100, age=None)

    for letter in "abcde":
        await _append(history, "a", letter * 30, retention)
    three = await history.state("a")
    await append_to(history, "a", Entry("ü" * 45, key="four"), retention)
    mixed = await history.state("a")
    await _append(history, "a", "x" * 1000, retention)
    large = await history.state("a")

    assert (three.records, three.size, three.lost) == (3, 90, 2), f"bytes are bounded: {three}"
    assert (mixed.records, mixed.size) == (1, 94), f"bytes of UTF-8, and of the key: {mixed}"
    assert (large.records, large.size, large.lost) == (1, 1000, 6), (
        f"the newest record is kept however large it is: {large}"
    )


async def _keeps_an_age(history: History, clock: _Clock) -> None:
    retention = Retention(age=10.0)
    for _ in range(4):
        await _append(history, "a", "x", retention)
        clock.now += 4.0

    page = await history.read("a")
    clock.now += 100.0
    state = await history.state("a")
    await _append(history, "a", "x", _ALL)

    assert [r.offset for r in page.records] == [3, 4], f"records of 16 and 12 s go: {page.records}"
    assert (page.state.records, page.state.lost) == (2, 2), f"and are lost: {page.state}"
    assert (state.records, state.size, state.lost) == (0, 0, 4), f"time alone takes all: {state}"
    assert state.top.offset == 4, f"but the room counts on: {state}"
    assert await _offsets(history, "a") == [5], "with the next offset; what went stays away"


async def _follows_the_last_retention(history: History) -> None:
    await _append_many(history, "a", 9, Retention(records=10))
    await _append_many(history, "a", 1, Retention(records=3))
    fewer = await history.state("a")
    await _append_many(history, "a", 4, Retention(records=10))
    more = await history.state("a")

    assert (fewer.records, fewer.lost) == (3, 7), f"the last retention counts: {fewer}"
    assert (more.records, more.lost) == (7, 7), f"and cannot bring back what is lost: {more}"


async def _drops_what_has_expired(history: History, clock: _Clock) -> None:
    for expires in (None, 10.0, 30.0, 10.0, None):
        entry = Entry("x", expires=None if expires is None else clock() + expires)
        await append_to(history, "a", entry, _ALL)

    clock.now += 10.0
    page = await history.read("a")
    clock.now += 20.0
    state = await history.state("a")
    await append_to(history, "a", Entry("late", expires=clock() - 1.0), _ALL)

    assert [r.offset for r in page.records] == [1, 3, 5], f"expired records go: {page.records}"
    assert (page.state.records, page.state.size) == (3, 3), f"and are not counted: {page.state}"
    assert (state.records, state.lost) == (2, 0), f"nor are they lost: {state}"
    assert state.top.offset == 5, f"they keep their offsets: {state}"
    assert await _offsets(history, "a") == [1, 5], "what comes too late is not kept"
    assert (await history.state("a")).top.offset == 6, "but counted"
    reverse = await history.read("a", reverse=True, limit=1)
    assert [r.offset for r in reverse.records] == [5], f"{reverse}"
    assert reverse.more, f"expired records are no more of a page than of the room: {reverse}"


async def _remembers_which_keys_have_expired(history: History, clock: _Clock) -> None:
    start = clock()
    for number in (1, 2):
        expires = None if number == 1 else start + 10.0
        for key in ("k", "ü", None):
            await append_to(history, "a", Entry(f"{number}", key=key, expires=expires), _NEWEST)
    clock.now += 10.0
    page = await history.read("a", after=3)
    back = await history.read("a", after=3, reverse=True, limit=1, size=0)
    await append_to(history, "a", Entry("3", key="ü"), _NEWEST)
    anew = await history.read("a", after=3)
    clock.now += 59.0
    still = await history.read("a")
    clock.now += 1.0
    gone = await history.read("a")

    assert page.records == [
        Record(offset, start, "", encoded=False, key=key, removed=True, expires=None)
        for offset, key in ((4, "k"), (5, "ü"))
    ], f"an expired value of a key becomes a tombstone, one without a key goes: {page.records}"
    assert page.state == replace(page.state, lost=0, records=3, size=4), (
        f"a tombstone counts for its key, and nothing is lost: {page.state}"
    )
    assert (back.records, back.more) == (page.records[1:], True), f"in pages, too: {back}"
    assert [(r.offset, r.payload) for r in anew.records] == [(4, ""), (7, "3")], (
        f"a new value takes the place of the tombstone: {anew.records}"
    )
    assert [r.offset for r in still.records] == [3, 4, 7], (
        f"it is remembered for its time from when it expired: {still.records}"
    )
    assert [r.offset for r in gone.records] == [3, 7], f"and then goes: {gone.records}"
    assert gone.state.lost == 4, f"a tombstone that was forgotten is lost: {gone.state}"

    await append_to(history, "b", Entry("1", key="k"), _NEWEST)
    await append_to(history, "b", Entry("2", key="k", expires=clock() - 3600.0), _NEWEST)
    clock.now += 59.0
    late = await history.read("b")
    await append_to(history, "b", Entry("", key="k", removed=True, expires=clock() + 1.0), _NEWEST)
    clock.now += 59.0
    explicit = await history.read("b")
    clock.now += 1.0
    assert [(r.offset, r.removed) for r in late.records] == [(2, True)], (
        f"what comes too late removes its key from then on: {late.records}"
    )
    assert [(r.offset, r.removed, r.expires) for r in explicit.records] == [(3, True, None)], (
        f"a tombstone itself does not expire: {explicit.records}"
    )
    assert (await history.state("b")).lost == 3, "but it is forgotten after its time"

    await append_to(history, "c", Entry("1", key="k", expires=clock() + 10.0), _NEWEST)
    await append_to(history, "c", Entry("2", key="l"), replace(_NEWEST, age=30.0))
    clock.now += 30.0
    assert (await history.state("c")).lost == 2, "a room's age takes tombstones, too"


async def _keeps_the_newest_of_each_key(history: History) -> None:
    for key, value in (("k", "1"), ("l", "2"), (None, "3"), ("k", "4"), (None, "5"), ("m", "6")):
        await append_to(history, "a", Entry(value, key=key), _NEWEST)
    newest = await history.read("a")
    await append_to(history, "a", Entry("7", key="l"), _NEWEST)
    await append_to(history, "a", Entry("", key="m", removed=True), _NEWEST)

    changes = await history.read("a", after=6)
    everything = await history.read("a")

    assert [(r.offset, r.key) for r in newest.records] == [
        (2, "l"),
        (3, None),
        (4, "k"),
        (5, None),
        (6, "m"),
    ], f"the newest of each key is kept, and all without one: {newest.records}"
    assert newest.state.lost == 0, f"what was replaced is not lost: {newest.state}"
    assert (newest.state.records, newest.state.size) == (5, 8), f"nor counted: {newest.state}"
    assert [(r.offset, r.payload, r.removed) for r in changes.records] == [
        (7, "7", False),
        (8, "", True),
    ], f"after an offset, there are the changes since: {changes.records}"
    assert [r.offset for r in everything.records] == [3, 4, 5, 7, 8], f"{everything.records}"


async def _forgets_tombstones(history: History, clock: _Clock) -> None:
    await append_to(history, "a", Entry("1", key="k"), _NEWEST)
    await append_to(history, "a", Entry("1", key="l"), _NEWEST)
    await append_to(history, "a", Entry("", key="k", removed=True), _NEWEST)
    clock.now += 30.0
    await append_to(history, "a", Entry("", key="l", removed=True), _NEWEST)
    await append_to(history, "a", Entry("1", key="m"), _NEWEST)
    clock.now += 30.0
    first = await history.read("a")
    clock.now += 30.0
    both = await history.read("a")
    await append_to(history, "a", Entry("2", key="k"), _NEWEST)

    assert [r.offset for r in first.records] == [4, 5], f"after its time it goes: {first.records}"
    assert first.state.lost == 3, f"a tombstone that was forgotten is lost: {first.state}"
    assert [r.offset for r in both.records] == [5], f"values stay: {both.records}"
    assert (both.state.lost, both.state.records) == (4, 1), f"{both.state}"
    assert await _offsets(history, "a") == [5, 6], "a key may come back"

    await append_to(history, "b", Entry("", key="k", removed=True), _NEWEST)
    await append_to(history, "b", Entry("1", key="k"), _NEWEST)
    clock.now += 90.0
    state = await history.state("b")
    assert (state.lost, state.records) == (0, 1), f"a replaced tombstone is not lost: {state}"


async def _bounds_a_compacted_room(history: History, clock: _Clock) -> None:
    retention = Retention(records=2, age=100.0, compact=True)
    for key in ("k", "l", "k", "m", "m", "m"):
        await append_to(history, "a", Entry("x", key=key), retention)
    state = await history.state("a")
    offsets = await _offsets(history, "a")
    clock.now += 100.0
    aged = await history.state("a")

    assert offsets == [3, 6], f"the newest keys are kept: {offsets}"
    assert (state.records, state.lost) == (2, 2), f"a key that the bounds cost is lost: {state}"
    assert (aged.records, aged.lost) == (0, 6), f"a compacted room has an age, too: {aged}"


async def _bounds_tombstones_apart(history: History) -> None:
    retention = Retention(records=3, size=None, age=None, compact=True)
    await append_to(history, "a", Entry("1", key="value"), retention)
    await append_to(history, "a", Entry("2"), retention)
    for number in range(5):
        await append_to(history, "a", Entry("x", key=f"{number}"), retention)
        await append_to(history, "a", Entry("", key=f"{number}", removed=True), retention)
    page = await history.read("a")
    await append_to(history, "a", Entry("3", key="3"), retention)
    await append_to(history, "a", Entry("4"), retention)
    full = await history.read("a")

    assert [r.offset for r in page.records[:2]] == [1, 2], (
        f"tombstones cost no valid value, with or without a key: {page.records}"
    )
    assert [(r.offset, r.removed) for r in page.records[2:]] == [
        (8, True),
        (10, True),
        (12, True),
    ], f"of tombstones, as many are remembered as of values, the newest: {page.records}"
    assert (page.state.records, page.state.size, page.state.lost) == (5, 10, 6), (
        f"all that is kept is counted, and tombstones that were forgotten are lost: {page.state}"
    )
    assert [r.offset for r in full.records] == [2, 8, 12, 13, 14], (
        f"values cost values, and no tombstones: {full.records}"
    )
    assert full.state == replace(full.state, records=5, lost=6), (
        f"lost is the newest that the bounds cost, be it followed by older ones: {full.state}"
    )


async def _forgets_tombstones_for_their_bytes(history: History) -> None:
    retention = Retention(records=None, size=40, age=None, compact=True)
    await append_to(history, "a", Entry("x" * 15, key="value"), retention)
    for key in ("1", "2", "3"):
        await append_to(history, "a", Entry("", key=key * 5, removed=True), retention)
    before = await history.state("a")
    await append_to(history, "a", Entry("x" * 8), retention)
    fewer = await history.read("a")
    await append_to(history, "a", Entry("x" * 21), retention)
    none = await history.read("a")
    await append_to(history, "a", Entry("", key="4", removed=True), retention)
    await append_to(history, "a", Entry("", key="5" * 50, removed=True), retention)
    large = await history.read("a")
    await append_to(history, "b", Entry("", key="4" * 50, removed=True), retention)

    assert (before.records, before.size, before.lost) == (4, 35, 0), f"{before}"
    assert [r.offset for r in fewer.records] == [1, 3, 4, 5], (
        f"when there are too many bytes, the oldest tombstone goes first: {fewer.records}"
    )
    assert (fewer.state.size, fewer.state.lost) == (38, 2), f"and is lost: {fewer.state}"
    assert [r.offset for r in none.records] == [5, 6], (
        f"and when there are no more of them, the oldest value: {none.records}"
    )
    assert (none.state.size, none.state.lost) == (29, 4), f"which is lost, too: {none.state}"
    assert [r.offset for r in large.records] == [5, 6], (
        f"a tombstone costs no valid value, however large it is: {large.records}"
    )
    assert (large.state.size, large.state.lost) == (29, 8), f"it is lost itself: {large.state}"
    assert await _offsets(history, "b") == [1], "but one record is kept"


async def _keeps_values_when_others_expire(history: History, clock: _Clock) -> None:
    retention = Retention(records=3, size=None, age=None, compact=True)
    await append_to(history, "a", Entry("x", key="value"), retention)
    for turn in range(3):
        for key in ("k", "l"):
            entry = Entry("x", key=f"{key}{turn}", expires=clock() + 10.0)
            await append_to(history, "a", entry, retention)
        clock.now += 10.0
    expired = await history.read("a")
    await append_to(history, "a", Entry("x", key="other"), retention)
    after = await history.read("a")

    assert expired.records, "tombstones of values that have expired cost no valid value"
    assert expired.records[0].offset == 1, (
        f"tombstones of values that have expired cost no valid value: {expired.records}"
    )
    assert [r.offset for r in after.records] == [1, 5, 6, 7, 8], (
        f"and are as many as of keys that were removed: {after.records}"
    )
    assert (after.state.records, after.state.lost) == (5, 4), f"{after.state}"


async def _becomes_a_compacted_room(history: History) -> None:
    for key in ("k", "l", None, "k", "l"):
        await append_to(history, "a", Entry("x", key=key), _ALL)
    log = await _offsets(history, "a")
    await append_to(history, "a", Entry("x", key="l"), _NEWEST)
    compacted = await _offsets(history, "a")
    await append_to(history, "a", Entry("x", key="l"), _ALL)

    assert log == [1, 2, 3, 4, 5], f"a log keeps all records of a key: {log}"
    assert compacted == [3, 4, 6], f"once compacted, the newest of each key: {compacted}"
    assert await _offsets(history, "a") == [3, 4, 6, 7], "and then all again"
    assert (await history.state("a")).lost == 0, "what was replaced is not lost"


async def _appends_once(history: History, clock: _Clock) -> None:
    first = await _append(history, "a", "1", idempotency_key="one")
    await _append(history, "a", "2")
    second = await _append(history, "a", "1", idempotency_key="one")
    assert second.repeated, f"the same key is a repetition: {second}"
    again = await _append(history, "a", "1", idempotency_key="one", expect_offset=7)
    elsewhere = await _append(history, "b", "1", idempotency_key="one")
    outcomes = _Outcomes()
    outcomes.of_append(history, "a", Entry("1"), _ALL, idempotency_key="one")
    await outcomes.told(1)
    twice = await asyncio.gather(
        *(_append(history, "c", "1", idempotency_key="one") for _ in range(3))
    )
    await history.end("b")
    ended = await _append(history, "b", "1", idempotency_key="one")
    clock.now += IDEMPOTENCY_PERIOD
    later = await _append(history, "a", "1", idempotency_key="one")

    assert not first.repeated, f"the first is no repetition: {first}"
    assert again == Appended(first.position, repeated=True), (
        f"a repetition has the place of the first one, wherever it was expected: {again}"
    )
    assert not elsewhere.repeated, f"a key is one room's: {elsewhere}"
    assert outcomes == [again], f"append() knows repetitions, too: {outcomes}"
    assert [a.position.offset for a in twice] == [1, 1, 1], f"at the same time, too: {twice}"
    assert [a.repeated for a in twice].count(False) == 1, f"at the same time, too: {twice}"
    assert ended.repeated, "a repetition is one after the room has ended, too"
    assert later == Appended(Position(first.position.epoch, 3)), f"a key is forgotten: {later}"


async def _appends_where_it_was_expected(history: History) -> None:
    await _expect_conflict(history, "a", 1, NOWHERE)
    known = await history.state("a")
    first = await _append(history, "a", "1", expect_offset=0)
    second = await _append(history, "a", "2", expect_offset=1)
    for expected in (0, 1, 3):
        await _expect_conflict(history, "a", expected, second.position)
    await _expect_conflict(history, "a", 1, second.position, idempotency_key="refused")
    third = await _append(history, "a", "3", idempotency_key="refused")

    assert known.top == NOWHERE, f"a refused append leaves the room unknown: {known}"
    assert first.position.offset == 1, "nothing is at offset 0"
    assert third == Appended(Position(first.position.epoch, 3)), (
        f"a refused append is none: its key may be used, its offset is the next one's: {third}"
    )
    assert await _offsets(history, "a") == [1, 2, 3], "a refused append is not kept"
    outcomes = _Outcomes()
    for expected in (2, 3):
        outcomes.of_append(history, "a", Entry("4"), _ALL, expect_offset=expected)
    await outcomes.told(2)
    conflict, fourth = outcomes
    assert isinstance(conflict, OffsetConflict), f"append() tells conflicts: {conflict}"
    assert isinstance(fourth, Appended), f"and what was expected rightly: {fourth}"
    assert fourth.position.offset == 4, f"append() takes what it is told: {fourth}"
    results = await asyncio.gather(
        *(_append(history, "a", "x", expect_offset=4) for _ in range(5)), return_exceptions=True
    )
    conflicts = [result for result in results if isinstance(result, OffsetConflict)]
    assert len(conflicts) == 4, f"of those that expect the same offset one succeeds: {results}"


async def _ends(history: History) -> None:
    first = await _append(history, "a", "1")
    end = await history.end("a")
    again = await history.end("a")
    empty = await history.end("b")
    state = await history.state("a")
    outcomes = _Outcomes()
    outcomes.of_append(history, "a", Entry("2"), _ALL)
    await outcomes.told(1)

    assert end == again == first.position, f"the end is at the top, and can be said twice: {end}"
    assert (state.ended, state.top) == (True, end), f"the state says that it has ended: {state}"
    assert empty.offset == 0, f"a room without records can end: {empty}"
    assert empty.epoch, f"and has an epoch then: {empty}"
    assert (await history.state("b")).top == empty, "and is known then"
    assert (await history.state("b")).ended, "a room without records can end"
    for room in ("a", "b"):
        try:
            await _append(history, room, "2")
        except LogEnded:
            continue
        raise AssertionError("append() to a room that has ended raises LogEnded")
    assert isinstance(outcomes[0], LogEnded), f"append() tells LogEnded: {outcomes}"
    assert await _offsets(history, "a") == [1], "its records can be read"


async def _removes(history: History) -> None:
    first = await _append(history, "a", "1", idempotency_key="one")
    await _append(history, "b", "1")
    await history.end("a")

    removed = await history.remove("a")
    again = await history.remove("a")
    gone = await history.read("a")
    anew = await _append(history, "a", "2", idempotency_key="one")

    assert (removed, again) == (True, False), "remove() says whether there was such a room"
    assert gone == Page(), f"what was removed is unknown: {gone}"
    assert (anew.position.offset, anew.repeated) == (1, False), f"it begins anew: {anew}"
    assert anew.position.epoch != first.position.epoch, "with another epoch"
    assert [r.payload for r in (await history.read("a")).records] == ["2"], "without old records"
    assert await _offsets(history, "b") == [1], "others are left alone"


async def _forgets_rooms(history: History, clock: _Clock) -> None:
    retention = Retention(age=10.0, meta_age=100.0)
    first = await _append(history, "a", "1", retention)
    clock.now += 99.0
    kept = await history.state("a")
    second = await _append(history, "a", "2", retention)
    clock.now += 100.0
    forgotten = await history.read("a")
    third = await _append(history, "a", "3", retention)

    assert kept.top == first.position, f"a place is remembered longer than records: {kept}"
    assert second.position == (first.position.epoch, 2), f"and counted on from: {second}"
    assert forgotten.state.top == NOWHERE, f"in the end the room is unknown: {forgotten.state}"
    assert third.position.offset == 1, f"and begins anew: {third}"
    assert third.position.epoch != first.position.epoch, "with another epoch"


async def _keeps_its_order_when_the_clock_is_put_back(history: History, clock: _Clock) -> None:
    retention = Retention(age=10.0)
    await _append(history, "a", "1", retention)
    clock.now -= 3600.0
    await _append(history, "a", "2", retention)
    await _append(history, "a", "3", retention)
    page = await history.read("a")
    clock.now += 3620.0

    assert [r.offset for r in page.records] == [1, 2, 3], f"nothing goes for it: {page.records}"
    times = [r.time for r in page.records]
    assert times == sorted(times), f"times never decrease in a room: {times}"
    assert (await history.state("a")).lost == 3, "and ages go on"


async def _tells_once_and_in_order(history: History) -> None:
    outcomes = {room: _Outcomes() for room in "abc"}
    for number in range(100):
        for room, told in outcomes.items():
            durability: Any = "memory" if (number + ord(room)) % 3 else "written"
            told.of_append(history, room, Entry(str(number)), _ALL, durability=durability)
    for room, told in outcomes.items():
        await told.told(100)
        offsets = [outcome.position.offset for outcome in told if isinstance(outcome, Appended)]
        assert offsets == list(range(1, 101)), (
            f"each append is told once, in the order of the room: {offsets}"
        )
        payloads = [r.payload for r in (await history.read(room)).records]
        assert payloads == [str(number) for number in range(100)], f"kept in that order: {payloads}"


async def _takes_appends_from_any_thread(history: History) -> None:
    outcomes = [_Outcomes() for _ in range(4)]

    def append(name: int) -> None:
        for number in range(50):
            entry = Entry(f"{name} {number}")
            outcomes[name].of_append(history, "a", entry, _ALL)

    await asyncio.gather(*(asyncio.to_thread(append, name) for name in range(4)))
    for told in outcomes:
        await told.told(50)
    records = await _records(history, "a")

    assert [r.offset for r in records] == list(range(1, 201)), "offsets have no hole"
    for name, told in enumerate(outcomes):
        mine = [r for r in records if str(r.payload).startswith(f"{name} ")]
        assert [r.payload for r in mine] == [f"{name} {number}" for number in range(50)], (
            "each thread's appends keep their order"
        )
        assert [r.offset for r in mine] == [
            outcome.position.offset for outcome in told if isinstance(outcome, Appended)
        ], "and each was told its own place"


async def _takes_appends_at_the_same_time(history: History) -> None:
    appended = await asyncio.gather(
        *(_append(history, "ab"[number % 2], str(number)) for number in range(200))
    )

    for which, room in enumerate("ab"):
        places = {
            a.position.offset: number for number, a in enumerate(appended) if number % 2 == which
        }
        assert sorted(places) == list(range(1, 101)), f"offsets have no hole: {sorted(places)}"
        for record in await _records(history, room):
            assert record.payload == str(places[record.offset]), f"each has its own: {record}"


async def _serves_several_loops(history: History) -> None:
    def work(name: int) -> list[int]:
        async def append() -> list[int]:
            appended = [await _append(history, "a", str(name)) for _ in range(20)]
            assert (await history.read("a", limit=1)).records, "another loop reads, too"
            return [a.position.offset for a in appended]

        return asyncio.run(append())

    offsets = await asyncio.gather(*(asyncio.to_thread(work, name) for name in range(3)))

    flat = sorted(offset for of_one in offsets for offset in of_one)
    assert flat == list(range(1, 61)), f"several loops may use one store: {flat}"


async def _survives_cancellation(history: History) -> None:
    for number in range(20):
        task = asyncio.ensure_future(_append(history, "a", str(number)))
        reading = asyncio.ensure_future(history.read("a"))
        await asyncio.sleep(0)
        task.cancel()
        reading.cancel()
        await asyncio.gather(task, reading, return_exceptions=True)
    last = await _append(history, "a", "last")
    offsets = await _offsets(history, "a")

    assert offsets == list(range(1, last.position.offset + 1)), (
        f"a cancelled wait undoes nothing, and leaves no hole: {offsets}"
    )


async def _can_be_opened_twice(history: History) -> None:
    await history.open()
    await _append(history, "a", "1")
    await history.open()

    assert await _offsets(history, "a") == [1], "opening is idempotent"
    assert history.healthy, "a store that does what it promises is healthy"
    await history.aclose()
    await history.aclose()
    await history.open()
    again = await _append(history, "a", "2")
    assert again.position.offset in {1, 2}, f"a closed store may be opened again: {again}"


async def _remembers(history: History, clock: _Clock) -> None:
    retention = Retention(records=3, age=None)
    first = await _append(history, "a", "1", retention, idempotency_key="one")
    await _append_many(history, "a", 4, retention)
    await append_to(history, "c", Entry("1", key="k"), _NEWEST, durability="memory")
    await append_to(history, "c", Entry("", key="l", removed=True), _NEWEST)
    end = await history.end("b")
    await history.remove("never")
    rooms = ("a", "b", "c")
    before = [await history.read(room) for room in rooms]

    await history.aclose()
    await history.open()
    after = [await history.read(room) for room in rooms]
    repeated = await _append(history, "a", "1", retention, idempotency_key="one")
    await _append(history, "a", "6", retention)
    await append_to(history, "c", Entry("2", key="k"), _NEWEST)

    assert after == before, f"what was kept is there after it was opened again: {after}"
    assert after[1].state == RoomState(end, ended=True), f"ends, too: {after[1].state}"
    assert repeated == Appended(first.position, repeated=True), f"idempotency keys, too: {repeated}"
    assert await _offsets(history, "a") == [4, 5, 6], "and it goes on as before"
    assert (await history.state("a")).lost == 3, "bounds, too"
    assert await _offsets(history, "c") == [2, 3], "keys, too"
    clock.now += 60.0
    state = await history.state("c")
    assert (state.lost, state.records) == (2, 1), f"tombstones, too: {state}"


class _Clock:
    """Unix time that passes when it is told to."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class _Outcomes(list[Appended | Exception]):
    """What appends were told; in whatever thread."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def of_append(self, history: History, *args: Any, **options: Any) -> None:
        """Append, and note the outcome: at once or later."""
        try:
            at_once = history.append(*args, **options, then=self.take)
        except AppendRefused as refusal:
            self.take(refusal)
        else:
            if at_once is not None:
                self.take(at_once)

    def take(self, outcome: Appended | Exception) -> None:
        """Be told."""
        with self._lock:
            self.append(outcome)

    async def told(self, count: int) -> None:
        """Wait until there are ``count``, and a little for too many."""
        deadline = asyncio.get_running_loop().time() + REPLY_TIMEOUT
        while len(self) < count:
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"{count} appends were to be told, not {len(self)}")
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        assert len(self) == count, f"{count} appends were to be told, not {len(self)}"


@asynccontextmanager
async def _opened(history: History) -> AsyncIterator[History]:
    await history.open()
    try:
        yield history
    finally:
        await history.aclose()


async def _append(
    history: History, room: str, payload: str, retention: Retention = _ALL, **options: Any
) -> Appended:
    return await append_to(history, room, Entry(payload), retention, **options)


async def _append_many(
    history: History, room: str, count: int, retention: Retention = _ALL
) -> None:
    for number in range(count):
        await _append(history, room, str(number), retention, durability="memory")


async def _expect_conflict(
    history: History, room: str, expected: int, current: Position, **options: Any
) -> None:
    try:
        await _append(history, room, "x", expect_offset=expected, **options)
    except OffsetConflict as error:
        told = error.current
    else:
        raise AssertionError(f"expecting {expected} at {current.offset} is an OffsetConflict")
    assert told == current, f"a conflict says where the room is: {told}"


async def _records(history: History, room: str) -> list[Record]:
    """Return all records of a room."""
    records: list[Record] = []
    page = Page(more=True)
    while page.more:
        page = await history.read(room, after=records[-1].offset if records else 0)
        records += page.records
    return records


async def _offsets(history: History, room: str) -> list[int]:
    return [record.offset for record in await _records(history, room)]
