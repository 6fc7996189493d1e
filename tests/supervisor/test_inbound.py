"""The reading half: whoever waits for a message hears of the end at once, however it came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors.runtime import Runtime
from actors.testing import settle
from supervisor.transports.inbound import PUMP_MESSAGES, Inbound

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


# The pump reads while the endpoint does not.


def message(number: int) -> dict[str, Any]:
    """Return the event of a text message."""
    return {"type": "websocket.receive", "text": str(number)}


GONE = {"type": "websocket.disconnect", "code": 1001, "reason": "bye"}


async def test_an_unread_socket_is_read_after_a_while(runtime: Runtime, server: Server) -> None:
    """The disconnect of a client is seen although its endpoint never reads."""
    gone: list[tuple[int, str]] = []
    inbound = Inbound(server.receive, runtime, lambda code, reason: gone.append((code, reason)))

    server.inbox.put_nowait(GONE)
    await asyncio.sleep(0.9)
    assert gone == []
    await asyncio.sleep(0.3)

    assert gone == [(1001, "bye")]
    assert runtime.jobs == 0
    assert await inbound.receive() == GONE
    assert await inbound.receive() == GONE
    assert len(gone) == 1


async def test_a_reader_that_sees_the_disconnect_tells_it(runtime: Runtime, server: Server) -> None:
    """Once; a disconnect without code or reason has the usual ones."""
    gone: list[tuple[int, str]] = []
    inbound = Inbound(server.receive, runtime, lambda code, reason: gone.append((code, reason)))
    server.inbox.put_nowait({"type": "websocket.disconnect"})

    await inbound.receive()
    await inbound.receive()

    assert gone == [(1005, "")]


async def test_the_pump_keeps_messages_for_the_endpoint(inbound: Inbound, server: Server) -> None:
    """In order, those before it, during it and after it."""
    for number in range(3):
        server.inbox.put_nowait(message(number))
    await asyncio.sleep(1.5)
    assert server.inbox.empty()
    server.inbox.put_nowait(message(3))
    await settle()
    server.inbox.put_nowait(GONE)
    await settle()

    received = [await inbound.receive() for _ in range(6)]

    assert received == [*(message(number) for number in range(4)), GONE, GONE]
    assert inbound.messages == 4


async def test_a_reader_that_finds_the_pump_waiting_gets_the_next_message(
    inbound: Inbound, server: Server
) -> None:
    """Nobody else ever waits for the server beside the pump."""
    await asyncio.sleep(2)
    reader = asyncio.create_task(inbound.receive())
    await settle()
    assert not reader.done()

    server.inbox.put_nowait(message(1))

    assert await reader == message(1)


async def test_cancelling_a_reader_that_waits_for_the_pump_loses_nothing(
    inbound: Inbound, server: Server
) -> None:
    """The message is there for the next one."""
    await asyncio.sleep(2)
    reader = asyncio.create_task(inbound.receive())
    await settle()
    reader.cancel()
    server.inbox.put_nowait(message(1))
    await settle()

    assert reader.cancelled()
    assert await inbound.receive() == message(1)


async def test_the_pump_keeps_only_a_few(inbound: Inbound, server: Server) -> None:
    """A client whose endpoint does not read is held back; reading lets the pump go on."""
    for number in range(40):
        server.inbox.put_nowait(message(number))
    await asyncio.sleep(60)
    assert server.inbox.qsize() == 40 - PUMP_MESSAGES

    first = await inbound.receive()
    await asyncio.sleep(1.2)
    assert server.inbox.qsize() == 40 - PUMP_MESSAGES - 1
    rest = [await inbound.receive() for _ in range(39)]

    assert [first, *rest] == [message(number) for number in range(40)]


async def test_an_endpoint_that_reads_now_and_then_misses_nothing(
    inbound: Inbound, server: Server
) -> None:
    """With pauses shorter and longer than the pump's, and timeouts on the reads."""
    received: list[object] = []

    async def client() -> None:
        for number in range(60):
            server.inbox.put_nowait(message(number))
            await asyncio.sleep((number * 7 % 23) / 10)
        server.inbox.put_nowait(GONE)

    async def endpoint() -> None:
        turn = 0
        while not received or received[-1] != GONE:
            turn += 1
            await asyncio.sleep((turn * 5 % 31) / 10 if turn % 4 == 0 else 0)
            try:
                async with asyncio.timeout(0.05 * (turn % 7)):
                    received.append(await inbound.receive())
            except TimeoutError:
                pass

    await asyncio.gather(client(), endpoint())

    assert received == [*(message(number) for number in range(60)), GONE]


async def test_the_time_of_the_last_message_is_known(
    inbound: Inbound, server: Server, runtime: Runtime
) -> None:
    """Whoever read it; an idle timeout looks at it."""
    began = inbound.last_message
    await asyncio.sleep(5)  # the pump has begun
    server.inbox.put_nowait(message(1))
    await settle()
    pumped = inbound.last_message
    await inbound.receive()

    assert began == 0.0 or began < pumped
    assert pumped == pytest.approx(runtime.clock(), abs=0.001)


async def test_a_server_that_fails_the_pump_has_ended_the_connection(
    runtime: Runtime,
) -> None:
    """1006, with what it raised."""
    gone: list[tuple[int, str]] = []

    async def fail() -> Any:
        raise RuntimeError("broken")

    inbound = Inbound(fail, runtime, lambda code, reason: gone.append((code, reason)))
    await asyncio.sleep(1.5)

    assert gone == [(1006, "broken")]
    assert (await inbound.receive())["type"] == "websocket.disconnect"


async def test_what_came_before_the_end_is_still_received(inbound: Inbound, server: Server) -> None:
    """Then the end, as it was said here."""
    server.inbox.put_nowait(message(1))
    await asyncio.sleep(1.5)

    inbound.end(3503, "kicked")

    assert await inbound.receive() == message(1)
    assert await inbound.receive() == END


async def test_stop_ends_the_pump(inbound: Inbound, runtime: Runtime) -> None:
    """Whoever waits for it goes to the server itself then."""
    await asyncio.sleep(1.5)
    assert runtime.jobs == 1

    inbound.stop()
    await settle()

    assert runtime.jobs == 0


async def test_no_pump_begins_after_the_end(inbound: Inbound, runtime: Runtime) -> None:
    """Nor does any watch go on."""
    inbound.end(3503, "kicked")

    await asyncio.sleep(5)

    assert runtime.jobs == 0
