"""What a connection costs from its beginning to its end, and each message between."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from actors.connection import ConnectionState
from actors.exits import CloseCode, Ending, ExitReason
from actors.messages import Chunk, Frame
from actors.overflow import Offer
from actors.runtime import Runtime
from tests.benchmarks.null import NullTransport, connect

pytestmark = pytest.mark.benchmark(group="connections")

LEFT = ExitReason(Ending.LEFT, CloseCode.NORMAL, "bye")
CHUNK = Chunk((Frame("x" * 128),))


async def test_spawn_and_reap(benchmark: BenchmarkFixture, runtime: Runtime) -> None:
    """Nothing of the actor is left, and its socket is closed."""
    number = 0

    def spawn_and_reap() -> tuple[ConnectionState, bool]:
        nonlocal number
        number += 1
        transport = NullTransport()
        actor = connect(runtime, transport, number)
        actor.close(LEFT)
        return actor.state, transport.ended

    ended = benchmark(spawn_and_reap)

    assert ended == (ConnectionState.CLOSED, True)
    assert runtime.actors == 0


async def test_deliver_to_an_idle_connection(benchmark: BenchmarkFixture, runtime: Runtime) -> None:
    """It is written within the call."""
    transport = NullTransport()
    actor = connect(runtime, transport, 1)

    offer = benchmark(actor.deliver, CHUNK)

    assert offer is Offer.ACCEPTED
    assert transport.messages == actor.written > 0
