"""What it costs to keep a message in memory."""

from __future__ import annotations

import itertools

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from actors.positions import Position
from supervisor.history.base import Entry, Repeated, Retention
from supervisor.history.memory import MemoryHistory

pytestmark = pytest.mark.benchmark(group="history in memory, one append")

RING = 10_000
"""Records that a full room keeps."""

TEXT_100 = "x" * 100

KEYS: list[str | None] = [f"step:{number}" for number in range(100)]

ROOMS: dict[str, tuple[Retention, int, list[str | None]]] = {
    "not full": (Retention(), 0, [None]),
    "full": (Retention(records=RING), RING, [None]),
    "compacted": (Retention(compact=True), 0, KEYS),
}
"""What is kept, how much is there already, and the keys of what is appended, in turns."""


@pytest.mark.parametrize("room", ROOMS)
def test_append(benchmark: BenchmarkFixture, room: str) -> None:
    """As a publication does it."""
    retention, there, keys = ROOMS[room]
    history = MemoryHistory()
    entries = itertools.cycle([Entry(TEXT_100, key=key) for key in keys])

    def append() -> Position:
        return history.append("room", next(entries), retention, then=_nobody)

    for _ in range(there):
        append()
    before = append()
    appended = benchmark(append)

    assert appended.offset > before.offset
    assert not isinstance(appended, Repeated)


def _nobody(_: object) -> None:
    raise AssertionError("memory returns what became of an append")
