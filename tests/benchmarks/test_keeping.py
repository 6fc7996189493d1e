"""How much more it costs to publish to a room that keeps its messages than to one that does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import MutableMapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture
from starlette.websockets import WebSocket

from supervisor import RoomPolicy, Supervisor

KEEPS, PASSES = "log:room", "room"

TOGETHER = 64
"""Publications that wait together."""

TEXT_100 = "x" * 100


class DifferenceClock:
    """Goes forward while one thing is done, and back while the other is: only the difference counts."""

    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        """Return the time."""
        return self.now


CLOCK = DifferenceClock()

pytestmark = pytest.mark.benchmark(
    group="a publication that is kept in memory, less one that is not", timer=CLOCK.read
)


class NullClient:
    """
    A WebSocket whose client reads everything.

    Attributes:
        messages: How many it was sent.
    """

    def __init__(self) -> None:
        self.messages = 0
        self._told = False

    def websocket(self) -> WebSocket:
        """Return what an endpoint is given."""
        scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}
        return WebSocket(scope, self._receive, self._send)

    async def _receive(self) -> MutableMapping[str, Any]:
        if self._told:
            await asyncio.get_running_loop().create_future()
        self._told = True
        return {"type": "websocket.connect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.messages += message["type"] == "websocket.send"


@pytest.mark.parametrize("members", [1, 10])
@pytest.mark.parametrize("together", [1, TOGETHER])
def test_keeping_beside_passing_on(
    benchmark: BenchmarkFixture, members: int, together: int
) -> None:
    """In turns, to the same members."""
    supervisor = Supervisor(rooms={KEEPS: RoomPolicy.log(on_join="live")})
    clients = [NullClient() for _ in range(members)]
    published = 0

    async def publish(room: str) -> float:
        began = time.perf_counter()
        for _ in range(together - 1):
            supervisor.publish_nowait(room, TEXT_100)
        await supervisor.publish(room, TEXT_100)
        return time.perf_counter() - began

    async def connect(stack: AsyncExitStack) -> None:
        await stack.enter_async_context(supervisor.lifespan(None))
        for client in clients:
            session = supervisor.session(client.websocket(), rooms=[KEEPS, PASSES])
            await stack.enter_async_context(session)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = AsyncExitStack()
        runner.run(connect(stack))

        def compare() -> None:
            nonlocal published
            rooms = (PASSES, KEEPS) if published % 4 else (KEEPS, PASSES)
            for room in rooms:
                spent = runner.run(publish(room)) / together
                CLOCK.now += spent if room == KEEPS else -spent
                published += together

        benchmark.pedantic(compare, rounds=500, warmup_rounds=50)  # type: ignore[no-untyped-call]
        kept = runner.run(supervisor.read_history(KEEPS))
        runner.run(stack.aclose())

    assert {client.messages for client in clients} == {published}
    assert kept.position.offset == published // 2
