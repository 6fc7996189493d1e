"""Deadlines of a connection: how long it may live, and be silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from actors.exits import Ending, ExitReason
from actors.runtime import Runtime
from supervisor import Settings
from supervisor.connection import Connection
from supervisor.liveness import watch_liveness


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    """Return what has the timer wheel."""
    runtime = Runtime()
    yield runtime
    await runtime.aclose()


class Watched:
    """A connection whose deadlines are watched, and when and why it was ended."""

    def __init__(self, runtime: Runtime, jitter: float = 0.5, **settings: Any) -> None:
        self.runtime = runtime
        self.began = runtime.clock()
        self.ended: list[tuple[float, ExitReason]] = []
        self.connection = Connection(
            "id", object(), user=None, client=None, opened_clock=self.began
        )
        inbound: Any = SimpleNamespace(last_message=self.began)
        self.connection.inbound = inbound
        watch_liveness(
            self.connection, runtime, Settings(**settings), self._end, jitter=lambda: jitter
        )

    def hear(self) -> None:
        """Have a message come."""
        assert self.connection.inbound is not None
        self.connection.inbound.last_message = self.runtime.clock()

    def _end(self, connection: Connection, reason: ExitReason) -> None:
        assert connection is self.connection
        self.ended.append((round(self.runtime.clock() - self.began, 3), reason))


async def test_without_limits_nothing_is_watched(runtime: Runtime) -> None:
    """No timer at all."""
    watched = Watched(runtime)

    assert watched.connection.timers == []


@pytest.mark.parametrize(("jitter", "after"), [(0.0, 90.0), (0.5, 100.0), (1.0, 110.0)])
async def test_a_lifetime_varies_by_a_tenth(runtime: Runtime, jitter: float, after: float) -> None:
    """Clients that came together do not come back together."""
    watched = Watched(runtime, jitter, max_lifetime=100.0)

    await asyncio.sleep(after - 0.2)
    assert watched.ended == []
    await asyncio.sleep(0.4)

    ((when, reason),) = watched.ended
    assert when == pytest.approx(after, abs=0.11)
    assert (reason.ending, reason.code) == (Ending.LIFETIME, 3005)


async def test_silence_is_measured_from_the_last_message(runtime: Runtime) -> None:
    """However many come."""
    watched = Watched(runtime, idle_timeout=10.0)
    for _ in range(5):
        await asyncio.sleep(7)
        watched.hear()
    assert watched.ended == []

    await asyncio.sleep(11)

    ((when, reason),) = watched.ended
    assert when == pytest.approx(45.0, abs=0.11)
    assert (reason.ending, reason.code, reason.text) == (
        Ending.IDLE,
        3502,
        "no message for 10 s",
    )


async def test_messages_do_not_touch_the_timers(runtime: Runtime) -> None:
    """One deadline is set at a time, whatever comes."""
    watched = Watched(runtime, idle_timeout=10.0, max_lifetime=1000.0)

    for _ in range(100):
        await asyncio.sleep(1)
        watched.hear()
        assert len(watched.connection.timers) <= 3

    assert sum(timer.pending for timer in watched.connection.timers) == 2


async def test_a_reaped_connection_has_no_deadlines(runtime: Runtime) -> None:
    """Whoever reaps it cancels them."""
    watched = Watched(runtime, idle_timeout=10.0, max_lifetime=20.0)

    for timer in watched.connection.timers:
        timer.cancel()
    await asyncio.sleep(60)

    assert watched.ended == []


async def test_a_stub_is_never_idle(runtime: Runtime) -> None:
    """It has no reading half."""
    connection = Connection("id", object(), user=None, client=None, opened_clock=0.0)

    watch_liveness(connection, runtime, Settings(idle_timeout=1.0), lambda *_: pytest.fail("ended"))

    assert connection.timers == []
