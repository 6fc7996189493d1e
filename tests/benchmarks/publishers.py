"""
Who tells a server to publish: the server itself where it can be told, else the harness.

nats-server and nginx publish nothing by themselves. Their publishers run here, on the client's
core, as they would on another machine. Neither makes a publisher wait for slow subscribers, so
it is held back here when the receivers are behind: nothing is lost, and no buffer grows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from supervisor.cli.load import HttpPublisher, Receivers, payload
from tests.benchmarks.servers import ServerOfPeer

__all__ = ["BURST", "DEPTH", "CommandedPublisher", "NatsPublisher", "NchanPublisher", "Publisher"]

DEPTH, DEPTH_BYTES = 64, 256 * 1024
"""Publications, and their bytes, that wait together; as tests/benchmarks/peers/control.py."""

BURST = 10
"""Publications that come together in mode ``bursts``; as there."""

AT_ONCE = 8
"""Connections over which an HTTP publisher has several publications wait at the server."""


class Publisher(Protocol):
    """Publishes as it is told."""

    async def publish(self, mode: str, count: int, size: int, rate: float) -> None:
        """Publish ``count`` messages; see tests/benchmarks/peers/control.py for the words."""
        ...

    async def close(self) -> None:
        """Leave."""
        ...


class CommandedPublisher:
    """Tells the server."""

    def __init__(self, server: ServerOfPeer, patience: float) -> None:
        self._server = server
        self._patience = patience

    async def publish(self, mode: str, count: int, size: int, rate: float) -> None:
        command = f"publish {mode} {count} {size} {rate:g} 0"
        await self._server.ask(command, "published", self._patience)

    async def close(self) -> None: ...


class _Held:
    """A publisher of the harness: numbers, times, and never far ahead of the receivers."""

    def __init__(self, receivers: Receivers) -> None:
        self._receivers = receivers

    async def publish(self, mode: str, count: int, size: int, rate: float) -> None:
        """Publish ``count`` messages."""
        depth = max(1, min(DEPTH, DEPTH_BYTES // size)) if mode == "queued" else 1
        began = time.monotonic()
        for first in range(0, count, depth):
            if rate:
                await asyncio.sleep(max(0.0, began + first / rate - time.monotonic()))
            await self._room_for(first, 2 * depth if mode == "queued" else 4)
            await self._send(range(first, min(first + depth, count)), size)

    async def _room_for(self, published: int, ahead: int) -> None:
        while published - self._receivers.delivered / self._receivers.count > ahead:
            await _turn()

    async def _send(self, numbers: range, size: int) -> None:
        raise NotImplementedError


async def _turn() -> None:
    """Let the receivers read."""
    await asyncio.sleep(0)


class NatsPublisher(_Held):
    """Over NATS' own protocol; a PONG says that what was sent before it has been handed out."""

    def __init__(
        self, receivers: Receivers, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        super().__init__(receivers)
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, receivers: Receivers, port: int) -> NatsPublisher:
        """Connect to the server's port for clients."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()  # what the server says of itself
        writer.write(b'CONNECT {"verbose":false,"pedantic":false}\r\n')
        return cls(receivers, reader, writer)

    async def _send(self, numbers: range, size: int) -> None:
        for number in numbers:
            text = payload(number, time.monotonic_ns(), size)
            self._writer.write(f"PUB room {size}\r\n{text}\r\n".encode())
        self._writer.write(b"PING\r\n")
        while not (line := await self._reader.readline()).startswith(b"PONG"):
            if line.startswith(b"PING"):
                self._writer.write(b"PONG\r\n")
            elif not line.startswith(b"INFO"):
                raise ConnectionError(f"nats-server: {line.decode(errors='replace').strip()}")

    async def close(self) -> None:
        """Leave."""
        self._writer.close()


class NchanPublisher(_Held):
    """With HTTP requests; the answer says that the message has been taken."""

    def __init__(self, receivers: Receivers, connections: list[HttpPublisher]) -> None:
        super().__init__(receivers)
        self._connections = connections

    @classmethod
    async def open(cls, receivers: Receivers, port: int) -> NchanPublisher:
        """Connect as often as publications shall wait at the server together."""
        url = f"http://127.0.0.1:{port}/publish"
        return cls(receivers, [await HttpPublisher.open(url) for _ in range(AT_ONCE)])

    async def _send(self, numbers: range, size: int) -> None:
        waiting = iter(numbers)

        async def work(publish: Callable[[str], Awaitable[None]]) -> None:
            for number in waiting:
                await publish(payload(number, time.monotonic_ns(), size))

        workers = self._connections[: len(numbers)]
        await asyncio.gather(*(work(connection.publish) for connection in workers))

    async def close(self) -> None:
        """Leave."""
        for connection in self._connections:
            await connection.close()
