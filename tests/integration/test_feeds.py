"""Rooms that keep their messages, on real servers: replays, stalled viewers, bounded memory."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any

import pytest

from actors.room import BATCH_BYTES
from tests.integration.clients import FrameClient, RawClient, gather_numbers, visit
from tests.integration.servers import Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

LINES = 100_000
"""Lines of a long log."""

VIEWER = 6 << 10
"""Bytes that a stalled viewer costs at most: its place. What is left of the write that filled its
socket is shared; but asyncio before Python 3.12 copies it, up to a batch for each of them."""

LINE = 2 << 10
"""Bytes of a line that stalls who does not read."""


def fast_path(server: Server) -> None:
    """Skip the test where the server writes for us."""
    if not server.kind.name.startswith("supervised"):
        pytest.skip("says nothing about other servers: they keep what is unsent themselves")


async def publish(server: Server, room: str, count: int, *, first: int = 0, **how: Any) -> None:
    """Publish numbered lines, a part at a time."""
    for begin in range(first, first + count, 20_000):
        part = min(20_000, first + count - begin)
        await server.post(f"/publish/feeds/{room}", count=part, first=begin, **how)


async def test_a_long_log_is_replayed_while_others_are_live(server: Server, room: str) -> None:
    """100,000 lines to who joins, and all that is published meanwhile, in order and once."""
    room = f"log-{room}"
    await publish(server, room, LINES)
    async with (
        visit(server, f"/feeds/kept/{room}", tail=0) as live,
        visit(server, f"/feeds/kept/{room}") as joining,
    ):
        await server.members("feeds", room, 2)
        publishing = asyncio.create_task(publish(server, room, 2_000, first=LINES))

        replayed, seen = await asyncio.gather(
            gather_numbers(joining, LINES + 2_000, 50), gather_numbers(live, 2_000, 50)
        )

        await publishing
    assert replayed == list(range(LINES + 2_000))
    assert seen == list(range(LINES, LINES + 2_000))
    await server.post(f"/forget/feeds/{room}")


async def test_a_flood_from_a_thread_arrives_whole(server: Server, room: str) -> None:
    """It waits for space in its room, three times what that holds: in order, and once."""
    room, count = f"log-{room}", 30_000
    async with visit(server, f"/feeds/kept/{room}") as client:
        await server.members("feeds", room, 1)
        publishing = asyncio.create_task(server.post(f"/publish-nowait/feeds/{room}", count=count))

        assert await gather_numbers(client, count, 50) == list(range(count))
        await publishing
    await server.post(f"/forget/feeds/{room}")


async def test_a_stalled_viewer_catches_up_without_gap_or_duplicate(
    server: Server, room: str
) -> None:
    """10 MB that it did not read, and the reader beside it got at once."""
    room, count = f"log-{room}", 5_000
    path = f"/feeds/kept/{room}"
    async with await RawClient.connect(server, path) as stalled, visit(server, path) as reader:
        await server.members("feeds", room, 2)
        reading = asyncio.create_task(gather_numbers(reader, count, 40))
        await publish(server, room, count, size=LINE)
        assert await reading == list(range(count))

        boxes = await server.get(f"/mailboxes/feeds/{room}")
        messages = await stalled.messages(40, count=count)

        assert [int(message.split()[0]) for message in messages] == list(range(count))
        assert max(box["peak"] for box in boxes) == 0
        assert await server.closed("feeds", room) == []
    await server.post(f"/forget/feeds/{room}")


@pytest.mark.parametrize("way", ["publish", "publish-queued"])
async def test_a_thousand_stalled_viewers_cost_little_each(
    server: Server, room: str, way: str
) -> None:
    """A place, and what is left of one write: not what they did not read, 20 MiB each."""
    fast_path(server)
    room = f"ring-{room}"
    path, lines = f"/{way}/feeds/{room}", {"count": 10_000, "size": LINE}
    await server.post(path, **lines)  # the ring is full, and no news
    copied = server.kind.name.endswith("asyncio") and sys.version_info < (3, 12)
    async with AsyncExitStack() as stack:
        for _ in range(1000):
            client = await RawClient.connect(server, f"/feeds/kept/{room}", tail=0)
            await stack.enter_async_context(client)
        await server.members("feeds", room, 1000, seconds=20)
        before = (await server.report())["memory"]

        await server.post(path, first=10_000, **lines)

        grown = (await server.report())["memory"] - before
        boxes = await server.get(f"/mailboxes/feeds/{room}")
        assert max(box["peak"] for box in boxes) == 0
        print(
            f"{grown / 1000:.0f} bytes for each of 1,000 stalled viewers: {way}, {server.kind.name}"
        )
        assert grown / 1000 < VIEWER + (BATCH_BYTES if copied else 0)
    await server.members("feeds", room, 0, seconds=20)
    await server.post(f"/forget/feeds/{room}")


async def test_a_slow_reader_of_many_changes_has_the_right_values(
    server: Server, room: str
) -> None:
    """10,000 a second of 50 keys: never older after newer, and never more than 50 wait."""
    room, keys, count = f"status-{room}", 50, 15_000
    path = f"/feeds/kept/{room}"
    async with await FrameClient.connect(server, path, receive_buffer=4096) as slow:
        await server.members("feeds", room, 1)
        publishing = asyncio.create_task(
            server.post(f"/publish-keys/feeds/{room}", keys=keys, count=count, rate=10_000)
        )
        values: dict[int, int] = {}
        read = 0
        while len(values) < keys or min(values.values()) < count - keys:
            messages = await slow.messages(read + 1, 20)
            for message in messages[read:]:
                number = json.loads(message)["n"]
                assert number > values.get(number % keys, -1)
                values[number % keys] = number
            read = len(messages)
            await asyncio.sleep(0.005)

        took = await publishing
        (box,) = await server.get(f"/mailboxes/feeds/{room}")
        assert values == {number % keys: number for number in range(count - keys, count)}
        assert box["peak"] <= keys
        assert took < 10
        slow.abort()
    await server.members("feeds", room, 0)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("pause", [None, 0.01], ids=["stalled", "slow"])
async def test_a_gibibyte_of_log_passes_by_a_viewer_while_memory_stays_flat(
    server: Server, room: str, pause: float | None
) -> None:
    """A ring of 4 MiB: what the viewer missed it is told of, and all of it adds up."""
    fast_path(server)
    room, size = f"ring-{room}", 64 << 10
    count = (1 << 30) // size
    path = f"/feeds/kept/{room}"
    async with await RawClient.connect(server, path) as viewer:
        viewer_path = await server.members("feeds", room, 1)
        assert len(viewer_path) == 1
        before = most = (await server.report())["memory"]
        publishing = asyncio.create_task(publish_in_parts(server, room, count, size))
        got: list[int] = []
        while not publishing.done():
            if pause is not None:
                got += [int(each.split()[0]) for each in await viewer.messages(20, count=5)]
            most = max(most, (await server.report())["memory"])
            await asyncio.sleep(pause or 0.05)
        await publishing
        while not got or got[-1] != count - 1:
            got += [int(each.split()[0]) for each in await viewer.messages(20, count=1)]

        (member,) = await server.get(f"/mailboxes/feeds/{room}")
        print(f"{(most - before) >> 20} MiB more for 1 GiB; {len(got)} of {count} lines came")
        assert got == sorted(set(got))
        assert len(got) + member["trimmed"] == count
        assert member["trimmed"] > 0
        assert most - before < 48 << 20
    await server.members("feeds", room, 0)
    await server.post(f"/forget/feeds/{room}")


async def publish_in_parts(server: Server, room: str, count: int, size: int) -> None:
    """Publish as fast as the server can, so that it still answers others."""
    for first in range(0, count, 256):
        await server.post(f"/publish/feeds/{room}", count=256, first=first, size=size)
