"""The policy ``block`` on real servers: nobody loses anything, and who stands still is closed."""

from __future__ import annotations

import asyncio

import pytest

from tests.frames import CLOSE, client_frame, close_payload
from tests.integration.clients import FrameClient, gather_numbers, visit
from tests.integration.servers import LARGE, Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

MEMORY = 12 << 20
"""Bytes by which the server may grow."""

BLOCK_TIMEOUT = 1.0
"""Seconds without space after which the application under test has a client closed."""


async def test_a_slow_reader_holds_the_room_back_and_nobody_loses_anything(
    server: Server, room: str
) -> None:
    """Of 19 MiB, which no mailbox could hold, everybody gets everything; memory stays flat."""
    path, count = f"/block/room/{room}", 300
    async with (
        await FrameClient.connect(server, path, receive_buffer=4096) as slow,
        visit(server, path) as first,
        visit(server, path) as second,
    ):
        await server.members("block", room, 3)
        before = (await server.report())["memory"]
        publishing = asyncio.create_task(
            server.post(f"/publish/block/{room}", count=count, size=LARGE)
        )
        fast = [asyncio.create_task(gather_numbers(each, count, 40)) for each in (first, second)]
        most = before
        for number in range(0, count, 10):
            await slow.messages(number + 10, 10)
            await asyncio.sleep(0.02)
            if number % 50 == 0:
                most = max(most, (await server.report())["memory"])

        numbers = [int(str(message).split()[0]) for message in slow.reader.messages]
        assert numbers == list(range(count))
        assert [await each for each in fast] == [list(range(count))] * 2
        assert await publishing == {"accepted": 3 * count, "lost": 0}
        assert most - before < MEMORY
        await slow.send(client_frame(CLOSE, close_payload(1000)))
        await slow.until_ended()
    await server.members("block", room, 0)
    assert {one["ending"] for one in await server.closed("block", room)} == {"disconnected"}


async def test_a_reader_that_stands_still_is_closed_and_the_publisher_goes_on(
    server: Server, room: str
) -> None:
    """With 3008, after block_timeout; the others lose nothing by it."""
    path, count = f"/block/room/{room}", 150
    async with (
        await FrameClient.connect(server, path, receive_buffer=4096) as stalled,
        visit(server, path) as reader,
    ):
        await server.members("block", room, 2)
        publishing = asyncio.create_task(
            server.post(f"/publish/block/{room}", count=count, size=LARGE)
        )

        assert await gather_numbers(reader, count, 20) == list(range(count))

        receipt = await publishing
        (closed,) = await server.closed("block", room)
        assert (closed["ending"], closed["code"]) == ("slow", 3008)
        assert closed["duration"] >= BLOCK_TIMEOUT
        assert receipt["lost"] == 1
        assert receipt["accepted"] > count
        await server.members("block", room, 1, seconds=0.5)
        stalled.abort()
