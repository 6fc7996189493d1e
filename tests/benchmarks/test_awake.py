"""What keeps a core awake costs nobody anything, and ends."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.benchmarks.awake import awake

pytestmark = pytest.mark.real_time


def children() -> set[int]:
    """Return the processes that this one has started and not waited for."""
    task = Path(f"/proc/self/task/{os.getpid()}/children")
    return {int(number) for number in task.read_text().split()}


async def test_it_gets_only_time_that_nobody_wants_and_ends() -> None:
    """By the scheduler's own class for that."""
    before = children()
    async with awake():
        (spinning,) = children() - before
        async with asyncio.timeout(10):
            while os.sched_getscheduler(spinning) != os.SCHED_IDLE:  # noqa: ASYNC110 - it says nothing
                await asyncio.sleep(0.01)

    assert children() == before
