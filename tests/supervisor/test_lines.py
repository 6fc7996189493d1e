"""Lines of a log: records that are made when somebody asks for one."""

from __future__ import annotations

import pytest

from supervisor.history.base import Entry, Record, Retention
from supervisor.history.lines import Lines
from supervisor.history.room import Room

ALL = Retention(records=None, size=None, age=None)


def records(*payloads: str, encoded: bool = False) -> list[Record]:
    """Return what lines from offset 7 on are as records."""
    return [
        Record(7 + number, 0.5 + number, payload, encoded, None, False, None)
        for number, payload in enumerate(payloads)
    ]


@pytest.mark.parametrize("encoded", [True, False])
def test_lines_are_records(encoded: bool) -> None:
    """One by one, in parts and all together."""
    lines = Lines(range(7, 10), [0.5, 1.5, 2.5], ["a", "b", "c"], encoded=encoded)
    expected = records("a", "b", "c", encoded=encoded)

    assert list(lines) == expected
    assert lines == expected
    assert expected == lines
    assert lines[1:] == expected[1:]
    assert (lines[0], lines[-1]) == (expected[0], expected[-1])
    assert len(lines) == 3
    assert repr(lines) == repr(expected)
    assert lines != expected[1:]
    assert lines != "abc"


def page(room: Room, **asked: int) -> object:
    """Return the records of a page."""
    return room.page(asked.get("after", 0), None, asked.get("limit", 300), 1_000, reverse=False)[0]


def test_a_log_is_read_as_lines() -> None:
    """By all that is asked for, also when the oldest have gone."""
    room = Room("log", ALL, 0.0)
    for number in range(10):
        room.append(Entry(str(number)), Retention(records=8, size=None, age=None), float(number))

    found = page(room, limit=3)
    rest = page(room, after=8)

    assert isinstance(found, Lines)
    assert [(line.offset, line.time, line.payload) for line in found] == [
        (3, 2.0, "2"),
        (4, 3.0, "3"),
        (5, 4.0, "4"),
    ]
    assert isinstance(rest, Lines)
    assert list(rest.offsets) == [9, 10]


@pytest.mark.parametrize(
    "odd",
    [Entry("x", encoded=True), Entry("", key="k", removed=True), Entry("x", expires=5.0)],
    ids=["encoded", "removed", "expires"],
)
def test_what_is_no_line_is_read_as_records(odd: Entry) -> None:
    """And so is what stands beside it."""
    room = Room("mixed", ALL, 0.0)
    room.append(Entry("plain"), ALL, 0.0)
    room.append(odd, ALL, 0.0)

    assert page(room) == [
        Record(1, 0.0, "plain", False, None, False, None),
        Record(2, 0.0, odd.payload, odd.encoded, odd.key, odd.removed, odd.expires),
    ]
    assert not isinstance(page(room), Lines)


def test_a_hole_is_passed_over() -> None:
    """When something between two lines has expired, and nothing with an expiry is left."""
    room = Room("holes", ALL, 0.0)
    room.append(Entry("a"), ALL, 0.0)
    room.append(Entry("b", expires=1.0), ALL, 0.0)
    room.append(Entry("c"), ALL, 0.0)
    room.trim(2.0)

    assert page(room) == [
        Record(1, 0.0, "a", False, None, False, None),
        Record(3, 0.0, "c", False, None, False, None),
    ]


def test_a_page_of_lines_is_cut_by_bytes() -> None:
    """And has always one."""
    room = Room("log", ALL, 0.0)
    for _ in range(5):
        room.append(Entry("x" * 100), ALL, 0.0)

    cut = {size: room.page(0, None, 300, size, reverse=False) for size in (50, 100, 250, 500)}

    assert {size: (len(lines), more) for size, (lines, more) in cut.items()} == {
        50: (1, True),
        100: (1, True),
        250: (2, True),
        500: (5, False),
    }
    assert all(isinstance(lines, Lines) for lines, _ in cut.values())


@pytest.mark.parametrize(
    "kept",
    [
        Retention(records=400, size=None, age=None),
        Retention(records=None, size=4_000, age=None),
        Retention(records=None, size=None, age=400.0),
    ],
    ids=["number", "bytes", "age"],
)
def test_lines_that_go_together_are_the_oldest(kept: Retention) -> None:
    """Many at once, as when a room is to keep less, or was silent for long."""
    room = Room("log", ALL, 0.0)
    for number in range(999):
        room.append(Entry("0123456789"), ALL, float(number))
    room.append(Entry("0123456789"), kept, 999.0)

    first = room.page(0, None, 1, 1_000, reverse=False)[0][0].offset
    state = room.state()

    assert 595 <= first <= 605
    assert (state.lost, state.records, state.size) == (first - 1, 1_001 - first, 10 * state.records)
