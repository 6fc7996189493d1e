"""The tail of a room: a pure machine."""

from __future__ import annotations

import pytest

from actors.positions import Position
from actors.publications import Publication
from actors.tail import TAIL_BYTES, TAIL_MESSAGES, CompactTail, LogTail, up_to
from tests.actors.recording import TEXT

PLENTY = 1 << 30


def publication(offset: int, size: int = 1, key: str | None = None) -> Publication:
    """Return a message in its place."""
    made = Publication("x" * size, TEXT, key=key)
    made.position = Position("e", offset)
    return made


def offsets(publications: list[Publication]) -> list[int]:
    """Return where they stand."""
    return [each.position.offset for each in publications]


def test_a_log_tail_has_what_came_after_its_start() -> None:
    """In order, from any offset that it covers."""
    tail = LogTail(10)
    for offset in range(11, 21):
        tail.extend([publication(offset)])

    assert offsets(tail.after(10, limit=99, size=PLENTY)) == list(range(11, 21))
    assert offsets(tail.after(15, limit=3, size=PLENTY)) == [16, 17, 18]
    assert offsets(tail.after(20, limit=3, size=PLENTY)) == []


def test_a_log_tail_is_bounded_in_messages() -> None:
    """The oldest go; the start says which."""
    tail = LogTail(0)
    for offset in range(1, 10 * TAIL_MESSAGES):
        tail.extend([publication(offset)])

        held = offset - tail.start
        assert held <= TAIL_MESSAGES
        assert held == offset or held >= TAIL_MESSAGES * 15 // 16

    first = tail.after(tail.start, limit=1, size=PLENTY)
    assert offsets(first) == [tail.start + 1]


def test_a_log_tail_is_bounded_in_bytes() -> None:
    """But has one message however large that is."""
    tail = LogTail(0)
    for offset in range(1, 40):
        tail.extend([publication(offset, TAIL_BYTES // 4)])
        held = tail.after(tail.start, limit=99, size=PLENTY)
        assert sum(each.size for each in held) <= TAIL_BYTES
        assert len(held) >= min(offset, 3)

    tail.extend([publication(40, 3 * TAIL_BYTES)])

    assert tail.start == 39
    assert offsets(tail.after(39, limit=1, size=1)) == [40]


def test_a_compact_tail_has_the_newest_of_every_key() -> None:
    """In the order of those; what was replaced is gone."""
    tail = CompactTail(0)
    for offset, key in enumerate("abcab", 1):
        tail.extend([publication(offset, key=key)])

    assert offsets(tail.after(0, limit=99, size=PLENTY)) == [3, 4, 5]
    assert offsets(tail.after(3, limit=99, size=PLENTY)) == [4, 5]
    assert offsets(tail.after(0, limit=2, size=PLENTY)) == [3, 4]
    assert tail.start == 0


def test_a_compact_tail_keeps_what_has_no_key() -> None:
    """As a log does."""
    tail = CompactTail(0)
    for offset in (1, 2, 3):
        tail.extend([publication(offset)])

    assert offsets(tail.after(0, limit=99, size=PLENTY)) == [1, 2, 3]


@pytest.mark.parametrize("size", [1, TAIL_BYTES // 8])
def test_a_compact_tail_is_bounded(size: int) -> None:
    """In keys and in bytes; the start says from where on it has everything."""
    tail = CompactTail(0)
    for offset in range(1, 3 * TAIL_MESSAGES):
        tail.extend([publication(offset, size, key=f"{offset}")])

    held = tail.after(tail.start, limit=1 << 20, size=PLENTY)

    assert offsets(held) == list(range(tail.start + 1, 3 * TAIL_MESSAGES))
    assert len(held) == min(TAIL_MESSAGES, TAIL_BYTES // size)


def test_replacing_a_key_costs_a_compact_tail_nothing() -> None:
    """Neither a place nor bytes: a room with few keys is always covered from its start."""
    tail = CompactTail(0)
    for offset in range(1, 5000):
        tail.extend([publication(offset, 1000, key=f"{offset % 3}")])

    assert tail.start == 0
    assert offsets(tail.after(0, limit=99, size=PLENTY)) == [4997, 4998, 4999]


def test_one_message_is_taken_however_large_it_is() -> None:
    """What follows has to fit."""
    three = [publication(1, 100), publication(2, 10), publication(3, 10)]

    assert offsets(up_to(three, 1)) == [1]
    assert offsets(up_to(three, 110)) == [1, 2]
    assert offsets(up_to(three, PLENTY)) == [1, 2, 3]
    assert up_to([], 1) == []
