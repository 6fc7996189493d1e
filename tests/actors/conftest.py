"""A runtime for each test, what it reports, and a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from actors.exits import ExitReason
from actors.runtime import Runtime
from actors.testing import FakeTransport
from tests.actors.recording import ConnectionLog

Exits = list[tuple[str, ExitReason]]
Faults = list[tuple[str, BaseException]]


@pytest.fixture
def exits() -> Exits:
    """Return what the runtime reported as ended so far: names and reasons, in order."""
    return []


@pytest.fixture
def faults() -> Faults:
    """Return what the runtime reported as failed; a test that expects a fault takes it out."""
    return []


@pytest.fixture
async def runtime(exits: Exits, faults: Faults) -> AsyncIterator[Runtime]:
    """Run actors; nothing may be left of them, and no fault unseen."""
    runtime = Runtime(
        on_exit=lambda cell, reason: exits.append((cell.name, reason)),
        on_fault=lambda what, error: faults.append((what, error)),
    )
    yield runtime
    await runtime.aclose()
    assert runtime.actors == 0
    assert runtime.jobs == 0
    assert faults == []


@pytest.fixture
def transport() -> FakeTransport:
    """Return a socket that takes everything."""
    return FakeTransport()


@pytest.fixture
def log() -> ConnectionLog:
    """Return a listener of connections."""
    return ConnectionLog()
