"""What keeps a core awake costs nobody anything, and ends."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.benchmarks.awake import awake

pytestmark = pytest.mark.real_time


async def test_it_gets_only_time_that_nobody_wants_and_ends() -> None:
    """By the scheduler's own class for that."""
    async with awake() as spinning, asyncio.timeout(10):
        while os.sched_getscheduler(spinning.pid) != os.SCHED_IDLE:  # noqa: ASYNC110 - it says nothing
            await asyncio.sleep(0.01)

    assert spinning.returncode is not None
