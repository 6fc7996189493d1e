"""Tests of :mod:`supervisor.endpoints`: how long an endpoint may outlive its client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors.exits import CloseCode, Ending, ExitReason
from actors.runtime import Runtime
from supervisor.connection import Connection
from supervisor.endpoints import Endpoints
from supervisor.settings import Settings

GONE = ExitReason(Ending.DISCONNECTED, CloseCode.NORMAL)


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    """A runtime, closed after the test."""
    runtime = Runtime()
    yield runtime
    await runtime.aclose()


def connection(*, supervised: bool) -> Connection:
    """Return a connection of nothing, whose endpoint alone matters here."""
    made = Connection("id", object(), user=None, client=None, opened_clock=0.0)
    made.supervised = supervised
    return made


async def park(endpoints: Endpoints, held: Connection) -> tuple[asyncio.Task[None], float]:
    """Start a parked endpoint."""
    task = asyncio.create_task(asyncio.sleep(3600))
    endpoints.watch(held, task)
    return task, asyncio.get_running_loop().time()


async def ended_after(task: asyncio.Task[None], start: float) -> float:
    """Return the seconds after which the endpoint was cancelled."""
    await asyncio.wait([task])
    assert task.cancelled()
    return asyncio.get_running_loop().time() - start


async def test_a_session_body_is_cancelled_after_the_disconnect_grace(runtime: Runtime) -> None:
    """The body of a session whose client has gone gets ``disconnect_grace``."""
    endpoints = Endpoints(runtime, Settings(disconnect_grace=5.0))
    held = connection(supervised=True)
    task, start = await park(endpoints, held)

    endpoints.client_gone(held, GONE)

    assert 5.0 <= await ended_after(task, start) < 5.2


async def test_other_endpoints_are_left_alone_until_the_server_stops(runtime: Runtime) -> None:
    """An endpoint of a drop-in face may go on after its client has gone, but not for ever."""
    endpoints = Endpoints(runtime, Settings(shutdown_grace=1.0))
    held = connection(supervised=False)
    task, start = await park(endpoints, held)
    endpoints.client_gone(held, GONE)
    await asyncio.sleep(60)

    endpoints.server_stops()

    assert 61.0 <= await ended_after(task, start) < 61.2


async def test_a_client_that_leaves_while_the_server_stops_changes_no_deadline(
    runtime: Runtime,
) -> None:
    """Once the server stops, the shorter grace holds, whenever the client is found gone."""
    endpoints = Endpoints(runtime, Settings(disconnect_grace=30.0, shutdown_grace=1.0))
    held = connection(supervised=True)
    task, start = await park(endpoints, held)

    endpoints.server_stops()
    endpoints.client_gone(held, GONE)

    assert 1.0 <= await ended_after(task, start) < 1.2
