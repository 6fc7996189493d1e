"""What is promised of rooms that keep the newest record of each key."""

from __future__ import annotations

from dataclasses import replace

from supervisor.history.base import (
    Entry,
    History,
    Record,
    Retention,
)
from supervisor.testing.histories.kit import (
    ALL,
    NEWEST,
    Clock,
    all_offsets,
    append_to,
)

__all__ = ["PROMISES", "TIMED_PROMISES"]


async def _keeps_the_newest_of_each_key(history: History) -> None:
    for key, value in (("k", "1"), ("l", "2"), (None, "3"), ("k", "4"), (None, "5"), ("m", "6")):
        await append_to(history, "a", Entry(value, key=key), NEWEST)
    newest = await history.read("a")
    await append_to(history, "a", Entry("7", key="l"), NEWEST)
    await append_to(history, "a", Entry("", key="m", removed=True), NEWEST)

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
    assert await all_offsets(history, "b") == [1], "but one record is kept"


async def _becomes_a_compacted_room(history: History) -> None:
    for key in ("k", "l", None, "k", "l"):
        await append_to(history, "a", Entry("x", key=key), ALL)
    log = await all_offsets(history, "a")
    await append_to(history, "a", Entry("x", key="l"), NEWEST)
    compacted = await all_offsets(history, "a")
    await append_to(history, "a", Entry("x", key="l"), ALL)

    assert log == [1, 2, 3, 4, 5], f"a log keeps all records of a key: {log}"
    assert compacted == [3, 4, 6], f"once compacted, the newest of each key: {compacted}"
    assert await all_offsets(history, "a") == [3, 4, 6, 7], "and then all again"
    assert (await history.state("a")).lost == 0, "what was replaced is not lost"


async def _remembers_which_keys_have_expired(history: History, clock: Clock) -> None:
    start = clock()
    for number in (1, 2):
        expires = None if number == 1 else start + 10.0
        for key in ("k", "ü", None):
            await append_to(history, "a", Entry(f"{number}", key=key, expires=expires), NEWEST)
    clock.now += 10.0
    page = await history.read("a", after=3)
    back = await history.read("a", after=3, reverse=True, limit=1, size=0)
    await append_to(history, "a", Entry("3", key="ü"), NEWEST)
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

    await append_to(history, "b", Entry("1", key="k"), NEWEST)
    await append_to(history, "b", Entry("2", key="k", expires=clock() - 3600.0), NEWEST)
    clock.now += 59.0
    late = await history.read("b")
    await append_to(history, "b", Entry("", key="k", removed=True, expires=clock() + 1.0), NEWEST)
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

    await append_to(history, "c", Entry("1", key="k", expires=clock() + 10.0), NEWEST)
    await append_to(history, "c", Entry("2", key="l"), replace(NEWEST, age=30.0))
    clock.now += 30.0
    assert (await history.state("c")).lost == 2, "a room's age takes tombstones, too"


async def _forgets_tombstones(history: History, clock: Clock) -> None:
    await append_to(history, "a", Entry("1", key="k"), NEWEST)
    await append_to(history, "a", Entry("1", key="l"), NEWEST)
    await append_to(history, "a", Entry("", key="k", removed=True), NEWEST)
    clock.now += 30.0
    await append_to(history, "a", Entry("", key="l", removed=True), NEWEST)
    await append_to(history, "a", Entry("1", key="m"), NEWEST)
    clock.now += 30.0
    first = await history.read("a")
    clock.now += 30.0
    both = await history.read("a")
    await append_to(history, "a", Entry("2", key="k"), NEWEST)

    assert [r.offset for r in first.records] == [4, 5], f"after its time it goes: {first.records}"
    assert first.state.lost == 3, f"a tombstone that was forgotten is lost: {first.state}"
    assert [r.offset for r in both.records] == [5], f"values stay: {both.records}"
    assert (both.state.lost, both.state.records) == (4, 1), f"{both.state}"
    assert await all_offsets(history, "a") == [5, 6], "a key may come back"

    await append_to(history, "b", Entry("", key="k", removed=True), NEWEST)
    await append_to(history, "b", Entry("1", key="k"), NEWEST)
    clock.now += 90.0
    state = await history.state("b")
    assert (state.lost, state.records) == (0, 1), f"a replaced tombstone is not lost: {state}"


async def _bounds_a_compacted_room(history: History, clock: Clock) -> None:
    retention = Retention(records=2, age=100.0, compact=True)
    for key in ("k", "l", "k", "m", "m", "m"):
        await append_to(history, "a", Entry("x", key=key), retention)
    state = await history.state("a")
    offsets = await all_offsets(history, "a")
    clock.now += 100.0
    aged = await history.state("a")

    assert offsets == [3, 6], f"the newest keys are kept: {offsets}"
    assert (state.records, state.lost) == (2, 2), f"a key that the bounds cost is lost: {state}"
    assert (aged.records, aged.lost) == (0, 6), f"a compacted room has an age, too: {aged}"


async def _keeps_values_when_others_expire(history: History, clock: Clock) -> None:
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


PROMISES = (
    _keeps_the_newest_of_each_key,
    _bounds_tombstones_apart,
    _forgets_tombstones_for_their_bytes,
    _becomes_a_compacted_room,
)

TIMED_PROMISES = (
    _remembers_which_keys_have_expired,
    _forgets_tombstones,
    _bounds_a_compacted_room,
    _keeps_values_when_others_expire,
)
