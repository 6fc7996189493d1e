"""What is promised of bounds: number, bytes, age and expiry."""

from __future__ import annotations

from actors.positions import NOWHERE
from supervisor.history.base import (
    Entry,
    History,
    Retention,
)
from supervisor.testing.histories.kit import (
    ALL,
    Clock,
    all_offsets,
    append_text,
    append_texts,
    append_to,
)

__all__ = ["PROMISES", "TIMED_PROMISES"]


async def _keeps_a_number(history: History) -> None:
    retention = Retention(records=5, size=None, age=None)

    await append_texts(history, "a", 5, retention)
    before = await history.state("a")
    await append_texts(history, "a", 200, retention)
    after = await history.state("a")

    assert (before.records, before.lost) == (5, 0), (
        f"nothing is lost while there is space: {before}"
    )
    assert await all_offsets(history, "a") == list(range(201, 206)), "the newest records are kept"
    assert (after.records, after.lost) == (5, 200), (
        f"lost is the newest that the bounds cost: {after}"
    )


async def _keeps_a_size(history: History) -> None:
    retention = Retention(records=None, size=100, age=None)

    for letter in "abcde":
        await append_text(history, "a", letter * 30, retention)
    three = await history.state("a")
    await append_to(history, "a", Entry("ü" * 45, key="four"), retention)
    mixed = await history.state("a")
    await append_text(history, "a", "x" * 1000, retention)
    large = await history.state("a")

    assert (three.records, three.size, three.lost) == (3, 90, 2), f"bytes are bounded: {three}"
    assert (mixed.records, mixed.size) == (1, 94), f"bytes of UTF-8, and of the key: {mixed}"
    assert (large.records, large.size, large.lost) == (1, 1000, 6), (
        f"the newest record is kept however large it is: {large}"
    )


async def _follows_the_last_retention(history: History) -> None:
    await append_texts(history, "a", 9, Retention(records=10))
    await append_texts(history, "a", 1, Retention(records=3))
    fewer = await history.state("a")
    await append_texts(history, "a", 4, Retention(records=10))
    more = await history.state("a")

    assert (fewer.records, fewer.lost) == (3, 7), f"the last retention counts: {fewer}"
    assert (more.records, more.lost) == (7, 7), f"and cannot bring back what is lost: {more}"


async def _keeps_an_age(history: History, clock: Clock) -> None:
    retention = Retention(age=10.0)
    for _ in range(4):
        await append_text(history, "a", "x", retention)
        clock.now += 4.0

    page = await history.read("a")
    clock.now += 100.0
    state = await history.state("a")
    await append_text(history, "a", "x", ALL)

    assert [r.offset for r in page.records] == [3, 4], f"records of 16 and 12 s go: {page.records}"
    assert (page.state.records, page.state.lost) == (2, 2), f"and are lost: {page.state}"
    assert (state.records, state.size, state.lost) == (0, 0, 4), f"time alone takes all: {state}"
    assert state.top.offset == 4, f"but the room counts on: {state}"
    assert await all_offsets(history, "a") == [5], "with the next offset; what went stays away"


async def _drops_what_has_expired(history: History, clock: Clock) -> None:
    for expires in (None, 10.0, 30.0, 10.0, None):
        entry = Entry("x", expires=None if expires is None else clock() + expires)
        await append_to(history, "a", entry, ALL)

    clock.now += 10.0
    page = await history.read("a")
    clock.now += 20.0
    state = await history.state("a")
    await append_to(history, "a", Entry("late", expires=clock() - 1.0), ALL)

    assert [r.offset for r in page.records] == [1, 3, 5], f"expired records go: {page.records}"
    assert (page.state.records, page.state.size) == (3, 3), f"and are not counted: {page.state}"
    assert (state.records, state.lost) == (2, 0), f"nor are they lost: {state}"
    assert state.top.offset == 5, f"they keep their offsets: {state}"
    assert await all_offsets(history, "a") == [1, 5], "what comes too late is not kept"
    assert (await history.state("a")).top.offset == 6, "but counted"
    reverse = await history.read("a", reverse=True, limit=1)
    assert [r.offset for r in reverse.records] == [5], f"{reverse}"
    assert reverse.more, f"expired records are no more of a page than of the room: {reverse}"


async def _forgets_rooms(history: History, clock: Clock) -> None:
    retention = Retention(age=10.0, meta_age=100.0)
    first = await append_text(history, "a", "1", retention)
    clock.now += 99.0
    kept = await history.state("a")
    second = await append_text(history, "a", "2", retention)
    clock.now += 100.0
    forgotten = await history.read("a")
    third = await append_text(history, "a", "3", retention)

    assert kept.top == first, f"a place is remembered longer than records: {kept}"
    assert second == (first.epoch, 2), f"and counted on from: {second}"
    assert forgotten.state.top == NOWHERE, f"in the end the room is unknown: {forgotten.state}"
    assert third.offset == 1, f"and begins anew: {third}"
    assert third.epoch != first.epoch, "with another epoch"


async def _keeps_its_order_when_the_clock_is_put_back(history: History, clock: Clock) -> None:
    retention = Retention(age=10.0)
    await append_text(history, "a", "1", retention)
    clock.now -= 3600.0
    await append_text(history, "a", "2", retention)
    await append_text(history, "a", "3", retention)
    page = await history.read("a")
    clock.now += 3620.0

    assert [r.offset for r in page.records] == [1, 2, 3], f"nothing goes for it: {page.records}"
    times = [r.time for r in page.records]
    assert times == sorted(times), f"times never decrease in a room: {times}"
    assert (await history.state("a")).lost == 3, "and ages go on"


PROMISES = (
    _keeps_a_number,
    _keeps_a_size,
    _follows_the_last_retention,
)

TIMED_PROMISES = (
    _keeps_an_age,
    _drops_what_has_expired,
    _forgets_rooms,
    _keeps_its_order_when_the_clock_is_put_back,
)
