"""
wsupervisor with a room that keeps its messages, and one beside it that does not.

usage: python -m tests.benchmarks.peers.keeping
           [--history URL] [--durability WORD] [--filled COUNT] [--size BYTES]

Clients join both rooms: ``/ws`` at the newest message, ``/ws?begin=start`` at the oldest one. The room
that keeps has COUNT messages from the beginning. It takes three more commands:

* ``keeping COUNT SIZE`` -> ``keeping EVENT LOG EVENT LOG``: seconds of the process that COUNT publications
  to each room took, in turns, each time as many as may wait together; then the same of two rooms in
  which nobody is.
* ``publishers COUNT SECONDS SIZE`` -> ``publishers PUBLICATIONS SECONDS``: so many publishers, each of
  which waits until its message is kept and routed before it publishes the next.
* ``appends SECONDS SIZE`` -> ``appends COUNT SECONDS``: appends to a store of the same kind that nobody
  else uses, in two batches of :data:`BATCH` at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from fastapi import FastAPI, WebSocket

from supervisor import RoomPolicy, Supervisor
from supervisor.history.base import Entry, History
from supervisor.history.memory import MemoryHistory
from supervisor.history.sqlite import SqliteHistory
from supervisor.integrations.uvicorn import SupervisedProtocol
from supervisor.testing import append_to
from tests.benchmarks.peers.control import DEPTH, payload, serve

KEEPS, PASSES = "room", "event"
NOBODY = {KEEPS: "room without members", PASSES: "event without members"}

SQLITE = "sqlite:///"

LINES = 100_000
"""Messages that the room keeps at most."""

BATCH = 1_000
"""Appends that wait together in a store."""


class Publisher:
    """Publishes to the room that keeps."""

    def __init__(self, supervisor: Supervisor, history: History, policy: RoomPolicy) -> None:
        self._supervisor = supervisor
        self._history = history
        self._policy = policy

    async def one(self, text: str) -> None:
        await self._supervisor.publish(KEEPS, text)

    async def queued(self, texts: list[str], room: str = KEEPS) -> None:
        for text in texts[:-1]:
            self._supervisor.publish_nowait(room, text)
        await self._supervisor.publish(room, texts[-1])

    def members(self) -> int:
        return len(self._supervisor.members(KEEPS))

    async def keeping(self, count: int, size: int) -> str:
        """Answer ``keeping``."""
        spent = dict.fromkeys([PASSES, KEEPS, NOBODY[PASSES], NOBODY[KEEPS]], 0.0)
        for first in range(0, count, DEPTH):
            texts = [payload(number, size) for number in range(first, first + DEPTH)]
            for room in list(spent) if first // DEPTH % 2 else reversed(spent):
                began = time.process_time()
                await self.queued(texts, room)
                spent[room] += time.process_time() - began
                await asyncio.sleep(0)  # the loop serves its sockets
        return " ".join(f"{seconds:.6f}" for seconds in spent.values())

    async def publishers(self, publishers: int, seconds: float, size: int) -> str:
        """Answer ``publishers``."""
        text = payload(0, size)
        began = time.monotonic()
        end = began + seconds

        async def publish() -> int:
            count = 0
            while time.monotonic() < end:
                await self._supervisor.publish(KEEPS, text)
                count += 1
                if not count % 16:
                    await asyncio.sleep(0)  # in memory it never waits, and sockets want a turn
            return count

        counts = await asyncio.gather(*(publish() for _ in range(publishers)))
        return f"{sum(counts)} {time.monotonic() - began:.6f}"

    async def appends(self, seconds: float, size: int) -> str:
        """Answer ``appends``."""
        history, retention = self._history, self._policy.retention
        durability = self._policy.durability
        entry = Entry(payload(0, size))
        await history.open()
        began = time.monotonic()
        end = began + seconds

        async def append() -> int:
            count = 0
            while time.monotonic() < end:
                for _ in range(BATCH - 1):
                    history.append(KEEPS, entry, retention, durability=durability, then=_ignore)
                await append_to(history, KEEPS, entry, retention, durability=durability)
                await asyncio.sleep(0)  # in memory nothing else suspends
                count += BATCH
            return count

        counts = await asyncio.gather(append(), append())
        elapsed = time.monotonic() - began
        await history.aclose()
        return f"{sum(counts)} {elapsed:.6f}"

    async def fill(self, count: int, size: int) -> None:
        """Let the room have ``count`` messages."""
        for first in range(0, count, BATCH):
            numbers = range(first, min(first + BATCH, count))
            await self.queued([payload(number, size) for number in numbers])


def _ignore(_: object) -> None: ...


def fastapi_app(supervisor: Supervisor) -> FastAPI:
    """Return an application whose endpoint lets clients begin where they ask to."""
    app = FastAPI(lifespan=supervisor.lifespan)

    @app.websocket("/ws")
    async def endpoint(websocket: WebSocket) -> None:
        from_start = websocket.query_params.get("begin") == "start"
        rooms = [KEEPS] if from_start else [KEEPS, PASSES]
        tail = LINES if from_start else None
        async with supervisor.session(websocket, rooms=rooms, tail=tail) as session:
            async for _ in session:
                pass

    return app


def main() -> None:
    """Serve until told otherwise."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--history", default="memory://")
    parser.add_argument("--durability", default="written")
    parser.add_argument("--filled", type=int, default=0)
    parser.add_argument("--size", type=int, default=100)
    arguments = parser.parse_args()
    policy = RoomPolicy.log(on_join="live", history_size=2 * LINES, durability=arguments.durability)
    history: History = MemoryHistory()
    if arguments.history.startswith(SQLITE):
        path = Path(arguments.history.removeprefix(SQLITE))
        for each in path.parent.glob(f"{path.name}*"):  # what an earlier server has left
            each.unlink()
        history = SqliteHistory(path.with_name(f"{path.name}.alone"))
    passes = RoomPolicy.event(overflow="block")
    rooms = {KEEPS: policy, NOBODY[KEEPS]: policy, PASSES: passes, NOBODY[PASSES]: passes}
    supervisor = Supervisor(history=arguments.history, rooms=rooms)
    publisher = Publisher(supervisor, history, policy)
    serve(
        fastapi_app(supervisor),
        publisher,
        ws=SupervisedProtocol,
        prepare=lambda: publisher.fill(arguments.filled, arguments.size),
        commands={
            "keeping": lambda count, size: publisher.keeping(int(count), int(size)),
            "publishers": lambda count, seconds, size: publisher.publishers(
                int(count), float(seconds), int(size)
            ),
            "appends": lambda seconds, size: publisher.appends(float(seconds), int(size)),
        },
    )


if __name__ == "__main__":
    main()
