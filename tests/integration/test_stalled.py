"""
Clients that stop reading: a closed lid, a debugger's breakpoint, a phone in a tunnel.

They cost the others nothing, the server a bounded amount of memory, and are freed at their
deadline.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.integration.clients import (
    RawClient,
    close_code,
    gather_numbers,
    visit,
    visit_all,
)
from tests.integration.faces import on_both_faces
from tests.integration.servers import LARGE, SEND_TIMEOUT, Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

MEMORY = 12 << 20
"""Bytes by which the server may grow for stalled clients, and whatever else it does."""

HUGE = 1_000_000
"""Bytes of a message that no socket takes at once."""

SLACK = 1.5
"""Seconds by which a loaded machine may miss a deadline."""


@on_both_faces
async def test_client_that_never_reads_costs_the_others_nothing(
    server: Server, face: str, room: str
) -> None:
    """200 readers get everything in order, while one in their room reads nothing at all."""
    path = f"/{face}/room/{room}"
    async with await RawClient.connect(server, path) as stalled:
        await stalled.send(f"join {room}-fill")
        await server.members(face, f"{room}-fill", 1)
        async with visit_all(server, [path] * (server.kind.crowd // 2)) as readers:
            filling = asyncio.create_task(server.fill(face, f"{room}-fill", 100))
            await server.until_lagging(face)
            publishing = asyncio.create_task(server.post(f"/publish/{face}/{room}", count=200))
            received = await asyncio.gather(
                *(gather_numbers(reader, 200, SEND_TIMEOUT + 10) for reader in readers)
            )
            assert all(numbers == list(range(200)) for numbers in received)

            await server.members(face, room, len(readers), seconds=SEND_TIMEOUT + SLACK)
            (closed,) = await server.closed(face, f"{room}-fill")
            assert (closed["ending"], closed["code"]) == ("send_timeout", 3009)
            await filling
            await publishing
        if server.kind.reachable:  # its descriptor is free, though it keeps its own end open
            await server.at_rest()


async def test_clients_that_never_read_cost_a_bounded_amount_of_memory(
    server: Server, face: str, room: str
) -> None:
    """Of 25 MiB that 20 clients do not read the server keeps a megabyte, once for all."""
    async with AsyncExitStack() as stack:
        for _ in range(20):
            client = await RawClient.connect(server, f"/{face}/room/{room}")
            await stack.enter_async_context(client)
        await server.members(face, room, 20)
        before = (await server.report())["memory"]
        most = before

        filling = asyncio.create_task(server.fill(face, room, 400))
        while not filling.done():
            most = max(most, (await server.report())["memory"])
            await asyncio.sleep(0.05)

        assert (await filling)["lost"] >= 0
        assert most - before < MEMORY
        assert all(one["peak_bytes"] <= 1 << 20 for one in await server.closed(face, room))


@on_both_faces
async def test_stalled_client_is_freed_at_its_deadline_and_not_before(
    server: Server, face: str, room: str
) -> None:
    """It is given send_timeout from the moment at which its socket takes nothing more."""
    async with await RawClient.connect(server, f"/{face}/room/{room}"):
        await server.members(face, room, 1)

        filling = asyncio.create_task(server.fill(face, room, 100))
        await server.members(face, room, 0, seconds=SEND_TIMEOUT + SLACK)

        await filling
        (closed,) = await server.closed(face, room)
        assert closed["ending"] == "send_timeout"
        assert SEND_TIMEOUT <= closed["duration"] <= SEND_TIMEOUT + SLACK
        if server.kind.reachable:
            await server.at_rest(SLACK)


@on_both_faces
async def test_client_that_reads_again_in_time_is_kept(
    server: Server, face: str, room: str
) -> None:
    """One that stalls for less than the deadline loses nothing that its mailbox can hold."""
    async with await RawClient.connect(server, f"/{face}/room/{room}") as slow:
        await server.members(face, room, 1)

        count = server.kind.held
        filling = asyncio.create_task(server.fill(face, room, count))
        await server.until_lagging(face)
        await asyncio.sleep(SEND_TIMEOUT / 2)
        messages = await slow.messages(10, count=count)

        assert [int(message.split()[0]) for message in messages] == list(range(count))
        assert await filling == {"accepted": count, "lost": 0}
        await server.members(face, room, 1)
        assert await server.closed(face, room) == []


@on_both_faces
async def test_client_that_reads_a_large_message_slowly_is_kept(
    server: Server, face: str, room: str
) -> None:
    """It takes several times as long as a socket may stand still."""
    if not server.kind.reachable:
        pytest.skip("what this server has sent cannot be seen")
    async with await RawClient.connect(server, f"/{face}/room/{room}") as slow:
        await server.members(face, room, 1)
        publishing = asyncio.create_task(server.post(f"/publish/{face}/{room}", size=HUGE))

        began = asyncio.get_running_loop().time()
        (message,) = await slow.messages(30, count=1, pause=SEND_TIMEOUT / 40)

        assert asyncio.get_running_loop().time() - began > 2 * SEND_TIMEOUT
        assert len(message) == HUGE
        await publishing
        await server.members(face, room, 1)
        assert await server.closed(face, room) == []


async def test_full_mailbox_that_drops_the_oldest(server: Server, room: str) -> None:
    """The client gets what was under way, and then the newest messages."""
    numbers = await overflow(server, "drop_oldest", room)

    assert numbers[-40:] == list(range(260, 300))


async def test_full_mailbox_that_drops_the_newest(server: Server, room: str) -> None:
    """The client gets what came before its mailbox was full, and not the newest."""
    numbers = await overflow(server, "drop_newest", room)

    assert numbers[:50] == list(range(50))
    assert 299 not in numbers


async def test_full_mailbox_that_disconnects(server: Server, room: str) -> None:
    """The client gets what was under way, and then close code 3008: come back."""
    async with await RawClient.connect(server, f"/disconnect/room/{room}") as stalled:
        await server.members("disconnect", room, 1)
        await server.post(f"/publish/disconnect/{room}", count=300, size=LARGE)
        await server.members("disconnect", room, 0, seconds=0.5)  # at once, not at a deadline

        messages = await stalled.messages(5)

        numbers = [int(message.split()[0]) for message in messages]
        assert numbers == list(range(len(numbers)))
        assert stalled.close_code == 3008
        (closed,) = await server.closed("disconnect", room)
        assert (closed["ending"], closed["code"]) == ("slow", 3008)


@on_both_faces
async def test_stalled_client_can_be_kicked(server: Server, face: str, room: str) -> None:
    """A kick frees a socket that takes nothing, within the deadline of a close."""
    async with await RawClient.connect(server, f"/{face}/room/{room}", user=room):
        await server.members(face, room, 1)
        filling = asyncio.create_task(server.fill(face, room, 80))
        await server.until_lagging(face)

        assert await server.post(f"/kick/{face}/{room}", user=room) == 1

        await server.members(face, room, 0, seconds=0.5)
        await filling
        if server.kind.reachable:
            await server.at_rest(2 * SEND_TIMEOUT + SLACK)


@on_both_faces
async def test_endpoint_that_ends_while_its_client_stalls_ends_in_time(
    server: Server, face: str, room: str
) -> None:
    """Leaving flushes and closes within close_timeout, and then gives the socket up."""
    async with await RawClient.connect(server, f"/{face}/room/{room}") as stalled:
        await server.members(face, room, 1)
        filling = asyncio.create_task(server.fill(face, room, 80))
        await server.until_lagging(face)

        await stalled.send("return")

        await server.members(face, room, 0, seconds=0.5)
        await filling
        if server.kind.reachable:
            await server.at_rest(2 * SEND_TIMEOUT + SLACK)


@on_both_faces
async def test_stalled_client_does_not_hold_up_a_broadcast(
    server: Server, face: str, room: str
) -> None:
    """What goes to everybody, and to a user with several sockets, passes by the stalled one."""
    async with (
        await RawClient.connect(server, f"/{face}/room/{room}", user=room) as stalled,
        visit(server, f"/{face}/room/{room}", user=room) as reader,
    ):
        await server.members(face, room, 2)
        await stalled.send(f"join {room}-fill")
        await server.members(face, f"{room}-fill", 1)
        filling = asyncio.create_task(server.fill(face, f"{room}-fill", 80))
        await server.until_lagging(face)

        await asyncio.wait_for(server.post(f"/broadcast/{face}", text="1 for all"), 0.5)
        await asyncio.wait_for(server.post(f"/send-to-user/{face}/{room}", text="2 for one"), 0.5)

        assert await gather_numbers(reader, 2, 1) == [1, 2]
        await reader.send("return")
        assert await close_code(reader) == 1000
        await filling


async def overflow(server: Server, policy: str, room: str) -> list[int]:
    """
    Publish a burst of 300 messages to a client that stalls; it reads, and gets one more.

    Returns:
        The numbers that it got of the 300.
    """
    async with await RawClient.connect(server, f"/{policy}/room/{room}") as stalled:
        await server.members(policy, room, 1)
        await server.post(f"/publish/{policy}/{room}", count=300, size=LARGE)
        await stalled.send("last")  # its echo is never dropped

        messages: list[str] = []
        while not messages or messages[-1] != "last":
            messages += await stalled.messages(5, count=1)
        await server.post(f"/publish/{policy}/{room}", count=1, first=300)
        assert await stalled.messages(5, count=1) == ["300 "]
    await server.members(policy, room, 0)
    numbers = [int(message.split()[0]) for message in messages[:-1]]
    assert numbers == sorted(set(numbers))
    (closed,) = await server.closed(policy, room)
    assert closed["dropped"] == {policy: 300 - len(numbers)}
    return numbers
