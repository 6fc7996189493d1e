"""The reading half: whoever waits for a message hears of the end at once, however it came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors.runtime import Runtime
from actors.testing import settle
from supervisor.transports.inbound import Inbound

END = {"type": "websocket.disconnect", "code": 3503, "reason": "kicked"}


class Server:
    """A server that tells its reader nothing of a close by the application, as granian does."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def receive(self) -> dict[str, Any]:
        return await self.inbox.get()


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    """Run the pump."""
    runtime = Runtime()
    yield runtime
    await runtime.aclose()


@pytest.fixture
def server() -> Server:
    """Return a server to read from."""
    return Server()


@pytest.fixture
def inbound(runtime: Runtime, server: Server) -> Inbound:
    """Return a reading half whose disconnects nobody is told of."""
    return Inbound(server.receive, runtime, lambda code, reason: None)


async def test_end_reaches_a_reader_that_waits(inbound: Inbound) -> None:
    """It gets the disconnect without a word of the server, and its task is not cancelled."""
    reader = asyncio.create_task(inbound.receive())
    await settle()

    inbound.end(3503, "kicked")

    assert await reader == END
    assert reader.cancelling() == 0
    assert await inbound.receive() == END


async def test_end_reaches_all_readers_that_wait(inbound: Inbound) -> None:
    """Several tasks may read, though only one gets a message."""
    readers = [asyncio.create_task(inbound.receive()) for _ in range(3)]
    await settle()

    inbound.end(3503, "kicked")

    assert await asyncio.gather(*readers) == [END] * 3


async def test_end_and_a_cancellation_at_once_cancel_the_reader(inbound: Inbound) -> None:
    """A cancellation of somebody else's is not taken for the end."""
    reader = asyncio.create_task(inbound.receive())
    await settle()

    inbound.end(3503, "kicked")
    reader.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reader
    assert reader.cancelled()


async def test_end_within_a_timeout_of_the_reader_is_no_timeout(inbound: Inbound) -> None:
    """asyncio.timeout() around the wait counts its own cancellation only."""

    async def read() -> object:
        async with asyncio.timeout(10):
            return await inbound.receive()

    reader = asyncio.create_task(read())
    await settle()

    inbound.end(3503, "kicked")

    assert await reader == END


async def test_timeout_of_a_reader_stays_a_timeout(inbound: Inbound, server: Server) -> None:
    """It loses no message, and the next call gets the next one."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await inbound.receive()
    server.inbox.put_nowait({"type": "websocket.receive", "text": "a"})

    assert (await inbound.receive())["text"] == "a"


async def test_message_that_comes_with_the_end_is_the_readers(
    inbound: Inbound, server: Server
) -> None:
    """A server that answers a cancelled read all the same is heard; no cancellation stays."""

    async def stubborn() -> dict[str, Any]:
        try:
            return await server.inbox.get()
        except asyncio.CancelledError:
            return {"type": "websocket.receive", "text": "late"}

    inbound._receive = stubborn
    reader = asyncio.create_task(inbound.receive())
    await settle()

    inbound.end(3503, "kicked")

    assert (await reader)["text"] == "late"
    assert reader.cancelling() == 0
    assert await inbound.receive() == END
