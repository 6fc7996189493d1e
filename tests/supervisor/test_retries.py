"""Work that may fail: how much of it runs at once, and when it is tried again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from actors.runtime import Runtime
from supervisor.retries import Retries


class Worker:
    """Work that takes time, and fails while it is told to."""

    def __init__(self, runtime: Runtime, at_once: int = 2) -> None:
        self.failing = False
        self.hanging = False
        self.begun: list[tuple[float, str]] = []
        self.done: list[str] = []
        self.told: list[str] = []
        self.busy = 0
        self.busiest = 0
        self.runtime = runtime
        self.retries = Retries(
            runtime,
            self.work,
            at_once=at_once,
            timeout=20.0,
            jitter=lambda: 0.5,
            on_failure=lambda error: self.told.append(f"{type(error).__name__} {error}".strip()),
            on_recovery=lambda: self.told.append("recovered"),
            on_done=self.done.append,
        )

    async def work(self, key: str) -> None:
        """Take a second."""
        self.begun.append((self.runtime.clock(), key))
        self.busy += 1
        self.busiest = max(self.busy, self.busiest)
        try:
            await asyncio.sleep(1e6 if self.hanging else 1)
            if self.failing:
                raise RuntimeError("broken")
        finally:
            self.busy -= 1


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    """Return what runs the jobs."""
    runtime = Runtime()
    yield runtime
    await runtime.aclose()


async def test_a_few_are_worked_for_at_once(runtime: Runtime) -> None:
    """In the order in which they were wanted."""
    worker = Worker(runtime)

    for key in "abcde":
        worker.retries.want(key)
    await asyncio.sleep(10)

    assert worker.done == list("abcde")
    assert worker.busiest == 2


async def test_a_key_is_worked_for_by_one(runtime: Runtime) -> None:
    """What is wanted meanwhile comes after it, and once."""
    worker = Worker(runtime)
    worker.retries.want("a")
    await asyncio.sleep(0.5)

    worker.retries.want("a")
    worker.retries.want("a")
    assert "a" in worker.retries
    await asyncio.sleep(10)

    assert [round(when) for when, _ in worker.begun] == [0, 1]
    assert "a" not in worker.retries


async def test_after_a_failure_one_tries(runtime: Runtime) -> None:
    """Later and later, up to a minute; then all go on. It is told of once."""
    worker = Worker(runtime, at_once=10)
    worker.failing = True
    for key in "abc":
        worker.retries.want(key)
    await asyncio.sleep(300)

    times = [when for when, _ in worker.begun[2:]]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps == pytest.approx([2, 3, 5, 9, 17, 33, 61, 61, 61], abs=0.2)
    assert {key for _, key in worker.begun[3:]} == set("abc")
    assert worker.told == ["RuntimeError broken"]
    worker.failing = False
    await asyncio.sleep(70)

    assert sorted(worker.done) == list("abc")
    assert worker.told == ["RuntimeError broken", "recovered"]
    assert worker.retries.failures == 0


async def test_what_takes_too_long_has_failed(runtime: Runtime) -> None:
    """And is tried again."""
    worker = Worker(runtime)
    worker.hanging = True
    worker.retries.want("a")
    await asyncio.sleep(20.1)
    assert worker.told == ["TimeoutError"]

    worker.hanging = False
    await asyncio.sleep(10)

    assert worker.done == ["a"]


async def test_an_end_waits_for_what_is_to_be_done(runtime: Runtime) -> None:
    """Nothing is done any more."""
    worker = Worker(runtime)
    for key in "abcde":
        worker.retries.want(key)

    await worker.retries.finish(10)

    assert worker.done == list("abcde")
    worker.retries.want("f")
    assert "f" not in worker.retries


@pytest.mark.parametrize("how", ["failing", "hanging"])
async def test_an_end_does_not_wait_for_ever(runtime: Runtime, how: str) -> None:
    """Not for what fails, nor for what hangs."""
    worker = Worker(runtime)
    setattr(worker, how, True)
    worker.retries.want("a")

    await worker.retries.finish(10)
    await asyncio.sleep(1)

    assert worker.done == []
    assert worker.busy == 0
    assert runtime.jobs == 0
