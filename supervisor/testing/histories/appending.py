"""What is promised of appends: places, answers, ends; and of whoever appends from wherever."""

from __future__ import annotations

import asyncio
from typing import Any

from actors.positions import NOWHERE, Position
from supervisor.errors import LogEnded, OffsetConflict
from supervisor.history.base import (
    IDEMPOTENCY_PERIOD,
    Entry,
    History,
    Page,
    Repeated,
    Retention,
    RoomState,
)
from supervisor.testing.histories.kit import (
    ALL,
    NEWEST,
    Clock,
    Outcomes,
    all_offsets,
    all_records,
    append_text,
    append_texts,
    append_to,
    expect_conflict,
)

__all__ = ["DURABLE_PROMISES", "PROMISES", "TIMED_PROMISES"]


async def _counts_from_one(history: History) -> None:
    first = await append_text(history, "a", "1")
    second = await append_text(history, "a", "2", durability="memory")
    other = await append_text(history, "b", "1")

    epoch = first.epoch
    assert 0 < len(epoch) <= 64, f"an epoch has 1 to 64 characters: {epoch!r}"
    assert ":" not in epoch, f"and no colon: {epoch!r}"
    assert first == Position(epoch, 1), f"offsets count from 1: {first}"
    assert second == Position(epoch, 2), f"an epoch's offsets have no hole: {second}"
    assert not isinstance(second, Repeated), f"the same text is no repetition: {second}"
    assert other.offset == 1, f"each room counts for itself: {other}"
    assert other.epoch != epoch, "each room has an epoch of its own"
    assert (await history.state("a")).top == (epoch, 2), "the top is the place of the newest record"
    assert await all_offsets(history, "a") == [1, 2], "a read sees every append that was done"


async def _knows_nothing_of_other_rooms(history: History) -> None:
    await append_text(history, "a", "1")

    page = await history.read("b")
    state = await history.state("b")

    assert page == Page(), f"an unknown room has no records, and is nowhere: {page}"
    assert state == RoomState(NOWHERE), f"an unknown room is nowhere: {state}"
    assert not await history.remove("b"), "an unknown room cannot be removed"


async def _appends_where_it_was_expected(history: History) -> None:
    await expect_conflict(history, "a", 1, NOWHERE)
    known = await history.state("a")
    first = await append_text(history, "a", "1", expect_offset=0)
    second = await append_text(history, "a", "2", expect_offset=1)
    for expected in (0, 1, 3):
        await expect_conflict(history, "a", expected, second)
    await expect_conflict(history, "a", 1, second, idempotency_key="refused")
    third = await append_text(history, "a", "3", idempotency_key="refused")

    assert known.top == NOWHERE, f"a refused append leaves the room unknown: {known}"
    assert first.offset == 1, "nothing is at offset 0"
    assert third == Position(first.epoch, 3), (
        f"a refused append is none: its key may be used, its offset is the next one's: {third}"
    )
    assert not isinstance(third, Repeated), f"nor is it repeated: {third}"
    assert await all_offsets(history, "a") == [1, 2, 3], "a refused append is not kept"
    outcomes = Outcomes()
    for expected in (2, 3):
        outcomes.of_append(history, "a", Entry("4"), ALL, expect_offset=expected)
    await outcomes.told(2)
    conflict, fourth = outcomes
    assert isinstance(conflict, OffsetConflict), f"append() tells conflicts: {conflict}"
    assert isinstance(fourth, Position), f"and what was expected rightly: {fourth}"
    assert fourth.offset == 4, f"append() takes what it is told: {fourth}"
    results = await asyncio.gather(
        *(append_text(history, "a", "x", expect_offset=4) for _ in range(5)), return_exceptions=True
    )
    conflicts = [result for result in results if isinstance(result, OffsetConflict)]
    assert len(conflicts) == 4, f"of those that expect the same offset one succeeds: {results}"


async def _ends(history: History) -> None:
    first = await append_text(history, "a", "1")
    end = await history.end("a")
    again = await history.end("a")
    empty = await history.end("b")
    state = await history.state("a")
    outcomes = Outcomes()
    outcomes.of_append(history, "a", Entry("2"), ALL)
    await outcomes.told(1)

    assert end == again == first, f"the end is at the top, and can be said twice: {end}"
    assert (state.ended, state.top) == (True, end), f"the state says that it has ended: {state}"
    assert empty.offset == 0, f"a room without records can end: {empty}"
    assert empty.epoch, f"and has an epoch then: {empty}"
    assert (await history.state("b")).top == empty, "and is known then"
    assert (await history.state("b")).ended, "a room without records can end"
    for room in ("a", "b"):
        try:
            await append_text(history, room, "2")
        except LogEnded:
            continue
        raise AssertionError("append() to a room that has ended raises LogEnded")
    assert isinstance(outcomes[0], LogEnded), f"append() tells LogEnded: {outcomes}"
    assert await all_offsets(history, "a") == [1], "its records can be read"


async def _removes(history: History) -> None:
    first = await append_text(history, "a", "1", idempotency_key="one")
    await append_text(history, "b", "1")
    await history.end("a")

    removed = await history.remove("a")
    again = await history.remove("a")
    gone = await history.read("a")
    anew = await append_text(history, "a", "2", idempotency_key="one")

    assert (removed, again) == (True, False), "remove() says whether there was such a room"
    assert gone == Page(), f"what was removed is unknown: {gone}"
    assert (anew.offset, isinstance(anew, Repeated)) == (1, False), f"it begins anew: {anew}"
    assert anew.epoch != first.epoch, "with another epoch"
    assert [r.payload for r in (await history.read("a")).records] == ["2"], "without old records"
    assert await all_offsets(history, "b") == [1], "others are left alone"


async def _tells_once_and_in_order(history: History) -> None:
    outcomes = {room: Outcomes() for room in "abc"}
    for number in range(100):
        for room, told in outcomes.items():
            durability: Any = "memory" if (number + ord(room)) % 3 else "written"
            told.of_append(history, room, Entry(str(number)), ALL, durability=durability)
    for room, told in outcomes.items():
        await told.told(100)
        offsets = [outcome.offset for outcome in told if isinstance(outcome, Position)]
        assert offsets == list(range(1, 101)), (
            f"each append is told once, in the order of the room: {offsets}"
        )
        payloads = [r.payload for r in (await history.read(room)).records]
        assert payloads == [str(number) for number in range(100)], f"kept in that order: {payloads}"


async def _takes_appends_from_any_thread(history: History) -> None:
    outcomes = [Outcomes() for _ in range(4)]

    def append(name: int) -> None:
        for number in range(50):
            entry = Entry(f"{name} {number}")
            outcomes[name].of_append(history, "a", entry, ALL)

    await asyncio.gather(*(asyncio.to_thread(append, name) for name in range(4)))
    for told in outcomes:
        await told.told(50)
    records = await all_records(history, "a")

    assert [r.offset for r in records] == list(range(1, 201)), "offsets have no hole"
    for name, told in enumerate(outcomes):
        mine = [r for r in records if str(r.payload).startswith(f"{name} ")]
        assert [r.payload for r in mine] == [f"{name} {number}" for number in range(50)], (
            "each thread's appends keep their order"
        )
        assert [r.offset for r in mine] == [
            outcome.offset for outcome in told if isinstance(outcome, Position)
        ], "and each was told its own place"


async def _takes_appends_at_the_same_time(history: History) -> None:
    appended = await asyncio.gather(
        *(append_text(history, "ab"[number % 2], str(number)) for number in range(200))
    )

    for which, room in enumerate("ab"):
        places = {a.offset: number for number, a in enumerate(appended) if number % 2 == which}
        assert sorted(places) == list(range(1, 101)), f"offsets have no hole: {sorted(places)}"
        for record in await all_records(history, room):
            assert record.payload == str(places[record.offset]), f"each has its own: {record}"


async def _serves_several_loops(history: History) -> None:
    def work(name: int) -> list[int]:
        async def append() -> list[int]:
            appended = [await append_text(history, "a", str(name)) for _ in range(20)]
            assert (await history.read("a", limit=1)).records, "another loop reads, too"
            return [a.offset for a in appended]

        return asyncio.run(append())

    offsets = await asyncio.gather(*(asyncio.to_thread(work, name) for name in range(3)))

    flat = sorted(offset for of_one in offsets for offset in of_one)
    assert flat == list(range(1, 61)), f"several loops may use one store: {flat}"


async def _survives_cancellation(history: History) -> None:
    for number in range(20):
        task = asyncio.ensure_future(append_text(history, "a", str(number)))
        reading = asyncio.ensure_future(history.read("a"))
        await asyncio.sleep(0)
        task.cancel()
        reading.cancel()
        await asyncio.gather(task, reading, return_exceptions=True)
    last = await append_text(history, "a", "last")
    offsets = await all_offsets(history, "a")

    assert offsets == list(range(1, last.offset + 1)), (
        f"a cancelled wait undoes nothing, and leaves no hole: {offsets}"
    )


async def _can_be_opened_twice(history: History) -> None:
    await history.open()
    await append_text(history, "a", "1")
    await history.open()

    assert await all_offsets(history, "a") == [1], "opening is idempotent"
    assert history.healthy, "a store that does what it promises is healthy"
    await history.aclose()
    await history.aclose()
    await history.open()
    again = await append_text(history, "a", "2")
    assert again.offset in {1, 2}, f"a closed store may be opened again: {again}"


async def _appends_once(history: History, clock: Clock) -> None:
    first = await append_text(history, "a", "1", idempotency_key="one")
    await append_text(history, "a", "2")
    second = await append_text(history, "a", "1", idempotency_key="one")
    assert isinstance(second, Repeated), f"the same key is a repetition: {second}"
    again = await append_text(history, "a", "1", idempotency_key="one", expect_offset=7)
    elsewhere = await append_text(history, "b", "1", idempotency_key="one")
    outcomes = Outcomes()
    outcomes.of_append(history, "a", Entry("1"), ALL, idempotency_key="one")
    await outcomes.told(1)
    twice = await asyncio.gather(
        *(append_text(history, "c", "1", idempotency_key="one") for _ in range(3))
    )
    await history.end("b")
    ended = await append_text(history, "b", "1", idempotency_key="one")
    clock.now += IDEMPOTENCY_PERIOD
    later = await append_text(history, "a", "1", idempotency_key="one")

    assert not isinstance(first, Repeated), f"the first is no repetition: {first}"
    assert isinstance(again, Repeated), f"wherever it was expected: {again}"
    assert again == first, f"a repetition has the place of the first one: {again}"
    assert not isinstance(elsewhere, Repeated), f"a key is one room's: {elsewhere}"
    assert outcomes == [first], f"append() knows repetitions, too: {outcomes}"
    assert isinstance(outcomes[0], Repeated), f"append() knows repetitions, too: {outcomes}"
    assert [a.offset for a in twice] == [1, 1, 1], f"at the same time, too: {twice}"
    assert sum(isinstance(a, Repeated) for a in twice) == 2, f"at the same time, too: {twice}"
    assert isinstance(ended, Repeated), "a repetition is one after the room has ended, too"
    assert later == Position(first.epoch, 3), f"a key is forgotten: {later}"
    assert not isinstance(later, Repeated), f"a key is forgotten: {later}"


async def _remembers(history: History, clock: Clock) -> None:
    retention = Retention(records=3, age=None)
    first = await append_text(history, "a", "1", retention, idempotency_key="one")
    await append_texts(history, "a", 4, retention)
    await append_to(history, "c", Entry("1", key="k"), NEWEST, durability="memory")
    await append_to(history, "c", Entry("", key="l", removed=True), NEWEST)
    end = await history.end("b")
    await history.remove("never")
    rooms = ("a", "b", "c")
    before = [await history.read(room) for room in rooms]

    await history.aclose()
    await history.open()
    after = [await history.read(room) for room in rooms]
    repeated = await append_text(history, "a", "1", retention, idempotency_key="one")
    await append_text(history, "a", "6", retention)
    await append_to(history, "c", Entry("2", key="k"), NEWEST)

    assert after == before, f"what was kept is there after it was opened again: {after}"
    assert after[1].state == RoomState(end, ended=True), f"ends, too: {after[1].state}"
    assert repeated == first, f"idempotency keys, too: {repeated}"
    assert isinstance(repeated, Repeated), f"idempotency keys, too: {repeated}"
    assert await all_offsets(history, "a") == [4, 5, 6], "and it goes on as before"
    assert (await history.state("a")).lost == 3, "bounds, too"
    assert await all_offsets(history, "c") == [2, 3], "keys, too"
    clock.now += 60.0
    state = await history.state("c")
    assert (state.lost, state.records) == (2, 1), f"tombstones, too: {state}"


PROMISES = (
    _counts_from_one,
    _knows_nothing_of_other_rooms,
    _appends_where_it_was_expected,
    _ends,
    _removes,
    _tells_once_and_in_order,
    _takes_appends_from_any_thread,
    _takes_appends_at_the_same_time,
    _serves_several_loops,
    _survives_cancellation,
    _can_be_opened_twice,
)

TIMED_PROMISES = (_appends_once,)

DURABLE_PROMISES = (_remembers,)
