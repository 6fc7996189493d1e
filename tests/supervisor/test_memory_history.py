"""The history in memory: that it never waits, and that nothing in it grows without bound."""

from __future__ import annotations

import gc
from collections.abc import Coroutine
from typing import Any

import pytest

from supervisor.errors import OffsetConflict
from supervisor.history.base import Entry, Retention
from supervisor.history.memory import MemoryHistory
from supervisor.policies import RoomPolicy
from supervisor.testing import append_to

ALL = Retention(records=None, size=None, age=None)


class Clock:
    """Unix time that passes when it is told to."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return what a coroutine returns that must not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as result:
        return result.value
    raise AssertionError("it has suspended")


def nobody(_: object) -> None:
    """Be told, of what should be known at once."""
    raise AssertionError("memory returns what became of an append")


def test_the_garbage_collector_lets_go_of_records() -> None:
    """Otherwise each full collection would stop the process for all that is kept."""
    history = MemoryHistory()
    gc.collect()
    before = len(gc.get_objects())
    for number in range(1_000):
        history.append("a", Entry(f"message {number}"), ALL, then=nobody)
    gc.collect()

    assert len(gc.get_objects()) - before < 100


def test_nothing_suspends() -> None:
    """Every operation is done when it is called, so that no other task comes between."""
    history = MemoryHistory()

    at_once(history.open())
    appended = history.append("a", Entry("x"), ALL, then=nobody)
    page = at_once(history.read("a"))

    assert at_once(history.state("a")) == page.state
    assert page.state.top == appended
    assert at_once(history.end("a")) == appended
    assert at_once(history.remove("a"))
    at_once(history.aclose())


def test_what_is_known_at_once_is_not_told() -> None:
    """An append returns its place, and calls nobody."""
    history = MemoryHistory()
    told: list[object] = []

    first = history.append("a", Entry("x"), ALL, then=told.append)
    with pytest.raises(OffsetConflict):
        history.append("a", Entry("x"), ALL, expect_offset=0, then=told.append)

    assert first.offset == 1
    assert told == []


async def test_forgotten_rooms_go_while_others_are_used() -> None:
    """Appends to one room look after the others, faster than new ones can come."""
    clock = Clock()
    history = MemoryHistory(clock=clock)
    short = Retention(age=10.0, meta_age=100.0)
    most = 0
    for number in range(5_000):
        clock.now += 1.0
        await append_to(history, f"{number}", Entry("x"), short, idempotency_key="one")
        most = max(most, len(history._rooms), len(history._round))

    assert most < 400

    clock.now += 100.0
    for _ in range(500):
        await append_to(history, "used", Entry("x"), short)
    assert list(history._rooms) == ["used"]


async def test_rooms_that_were_removed_leave_nothing() -> None:
    """Neither among the rooms nor in the round."""
    history = MemoryHistory()
    for number in range(1_000):
        await append_to(history, f"{number}", Entry("x"), ALL)
        await history.remove(f"{number}")

    assert len(history._rooms) == 0
    assert len(history._round) <= 64


@pytest.mark.parametrize(
    "entry",
    [
        Entry("x"),
        Entry("x", key="k"),
        Entry("", key="k", removed=True),
        Entry("x", expires=Clock.now + 1e6),
        Entry("x", key="k", expires=Clock.now + 1e6),
    ],
)
@pytest.mark.parametrize("compact", [False, True])
async def test_a_full_room_does_not_grow(entry: Entry, compact: bool) -> None:
    """Whatever is appended to it: nothing that belongs to records outlives them for long."""
    history = MemoryHistory(clock=Clock())
    retention = Retention(records=10, compact=compact)
    for _ in range(2_000):
        await append_to(history, "a", entry, retention)

    room = history._rooms["a"]
    for kept in (
        room.payloads,
        room.offsets,
        room.times,
        room.flags,
        room.sizes,
        room.named,
        room.expiries,
        room.tombstones,
        room.buried,
    ):
        assert len(kept) < 200
    assert len(room.keys) <= 10


async def test_removed_keys_do_not_push_out_a_value() -> None:
    """A value that is published once outlives any number of others that come and go."""
    history = MemoryHistory(clock=Clock())
    retention = RoomPolicy.status(history_size=5).retention
    await append_to(history, "a", Entry("1.0", key="version"), retention)
    for number in range(8):
        await append_to(history, "a", Entry("x", key=f"run{number}"), retention)
        await append_to(history, "a", Entry("", key=f"run{number}", removed=True), retention)

    page = await history.read("a")
    assert [(r.key, r.payload) for r in page.records if not r.removed] == [("version", "1.0")]
    assert [r.key for r in page.records if r.removed] == [f"run{n}" for n in range(3, 8)]
    assert page.state.lost == 7  # the tombstone of run2


@pytest.mark.parametrize("expires", [False, True])
async def test_short_lived_keys_come_and_go_at_the_same_cost(expires: bool) -> None:
    """Within the default bounds, however many: nothing that belongs to them stays."""
    clock = Clock()
    history = MemoryHistory(clock=clock)
    retention = RoomPolicy.status().retention
    await append_to(history, "a", Entry("1.0", key="version"), retention)
    for number in range(10_001):
        until = clock() + 1.0 if expires else None
        await append_to(history, "a", Entry("x", key=f"{number}", expires=until), retention)
        if expires:
            clock.now += 1.0 / 64
        else:
            await append_to(history, "a", Entry("", key=f"{number}", removed=True), retention)
    clock.now += 1.0
    await append_to(history, "a", Entry("2.0", key="other"), retention)

    page = await history.read("a", limit=1)
    assert [r.key for r in page.records] == ["version"]
    assert (page.state.records, page.state.lost) == (10_002, 2 if expires else 3)
    room = history._rooms["a"]
    assert room.tombs == 10_000
    for kept in (room.payloads, room.named, room.tombstones, room.buried):
        assert len(kept) < 31_000


async def test_the_oldest_value_is_found_behind_tombstones() -> None:
    """Without a look at each of them each time; also once the room was a log in between."""
    history = MemoryHistory(clock=Clock())
    retention = Retention(records=3, compact=True)
    for number in range(3):
        await append_to(history, "a", Entry("", key=f"gone{number}", removed=True), retention)
    for number in range(5):
        await append_to(history, "a", Entry("x", key=f"{number}"), retention)
    room = history._rooms["a"]

    assert room.oldest == 6
    await append_to(history, "a", Entry("log"), Retention(records=8))
    assert room.oldest == room.tombs == 0
    state = await history.state("a")
    assert (state.records, state.lost) == (7, 5)


@pytest.mark.parametrize(
    "retention", [Retention(records=1_000), Retention(records=None, size=20_000, age=None)]
)
async def test_a_full_log_is_nearly_full(retention: Retention) -> None:
    """It loses several records at once, never keeps too many, and says what it has lost."""
    history = MemoryHistory(clock=Clock())
    for number in range(1, 5_001):
        await append_to(history, "a", Entry("x" * 20), retention)
        state = await history.state("a")
        if number <= 1_000:
            assert (state.records, state.lost) == (number, 0)
        assert min(number, 990) <= state.records <= 1_000
        assert state.size == 20 * state.records
        assert state.lost == number - state.records

    page = await history.read("a", limit=1)
    assert [record.offset for record in page.records] == [page.state.lost + 1]


async def test_a_room_that_kept_nothing_is_used_again() -> None:
    """Also when its newest record came too late to be kept, and the others had to go."""
    clock = Clock()
    history = MemoryHistory(clock=clock)
    await append_to(history, "a", Entry("1"), ALL)
    await append_to(history, "a", Entry("late", expires=clock() - 1.0), Retention(records=0))
    await append_to(history, "a", Entry("3"), ALL)

    assert [record.payload for record in (await history.read("a")).records] == ["3"]


async def test_idempotency_keys_are_forgotten() -> None:
    """Those that are too old, also in rooms that are only read."""
    clock = Clock()
    history = MemoryHistory(clock=clock)
    for number in range(100):
        await append_to(history, "a", Entry("x"), ALL, idempotency_key=f"{number}")
    clock.now += 300.0
    await history.state("a")

    assert not history._rooms["a"].recent
