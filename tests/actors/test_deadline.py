"""Tests of deadlines that are set and met again and again."""

from __future__ import annotations

import asyncio

import pytest

from actors.deadline import Deadline
from actors.runtime import Runtime


@pytest.fixture
def missed() -> list[float]:
    """Return when a deadline was missed, in seconds from the start of the test."""
    return []


@pytest.fixture
def deadline(runtime: Runtime, missed: list[float]) -> Deadline:
    """Return a deadline that is not set."""
    start = runtime.clock()
    return Deadline(runtime, lambda: missed.append(runtime.clock() - start))


async def test_a_deadline_that_is_not_met_is_missed_once(
    deadline: Deadline, missed: list[float]
) -> None:
    """Never early, and late by less than a tick."""
    deadline.set(5)

    await asyncio.sleep(60)

    assert missed == [pytest.approx(5, abs=0.11)]
    assert missed[0] >= 5


async def test_a_deadline_that_is_met_is_not_missed(
    deadline: Deadline, missed: list[float]
) -> None:
    """Its timer rings in vain."""
    deadline.set(5)
    deadline.due = None

    await asyncio.sleep(60)

    assert missed == []


async def test_a_deadline_that_is_set_again_moves(deadline: Deadline, missed: list[float]) -> None:
    """Away, although its timer rings before; and nearer, before its timer would have rung."""
    deadline.set(5)
    await asyncio.sleep(4)
    deadline.set(5)
    await asyncio.sleep(4)
    assert missed == []

    deadline.set(0.5)
    await asyncio.sleep(60)

    assert missed == [pytest.approx(8.5, abs=0.11)]


async def test_a_cancelled_deadline_leaves_no_timer(
    runtime: Runtime, deadline: Deadline, missed: list[float]
) -> None:
    """Nothing that it would call is kept; it may be set again."""
    deadline.set(5)

    deadline.cancel()
    deadline.cancel()

    timers = [timer for bucket in runtime._wheel._buckets.values() for timer in bucket]
    assert [timer.pending for timer in timers] == [False]
    deadline.set(5)
    await asyncio.sleep(6)
    assert len(missed) == 1
