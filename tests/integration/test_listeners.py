"""Clients that only listen: their endpoint is plain ASGI, and ends early where the server allows."""

from __future__ import annotations

import asyncio

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.integration.clients import RawClient, close_code, gather_numbers, visit, visit_all
from tests.integration.conftest import Start
from tests.integration.servers import GRACE, SEND_TIMEOUT, Kind, Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


async def test_listeners_get_everything_in_order(server: Server, room: str) -> None:
    """A room of listeners is a room like every other."""
    async with visit_all(server, [f"/listen/{room}"] * 20) as listeners:
        await server.members("modern", room, 20)

        published = asyncio.create_task(server.post(f"/publish/modern/{room}", count=100))
        received = await asyncio.gather(*(gather_numbers(one, 100, 10) for one in listeners))

        assert all(numbers == list(range(100)) for numbers in received)
        assert (await published)["accepted"] == 2000


async def test_listener_costs_no_task_of_the_application(server: Server, room: str) -> None:
    """On the fast path the call of the application is over while its client listens."""
    if "supervised" not in server.kind.name:
        pytest.skip("only the fast path can keep a socket open without its endpoint")
    async with visit(server, f"/listen/{room}") as listener:
        await server.members("modern", room, 1)

        statistics = await server.statistics("modern")
        endpoints = await server.get("/endpoints/modern")

        assert (statistics["connections"], statistics["jobs"], endpoints) == (1, 0, 0)
        await asyncio.wait_for(await listener.ping(), 5)


async def test_what_a_listener_says_is_let_go(server: Server, room: str) -> None:
    """It may say as much as it likes, before and after it has joined, and still listens."""
    async with visit(server, f"/listen/{room}") as listener:
        for number in range(100):
            await listener.send(f"{number}" * 1000)
            await listener.send(b"\xff" * 1000)
        await server.members("modern", room, 1)

        await server.post(f"/publish/modern/{room}", count=1)

        assert await listener.recv() == "0 "
        await asyncio.wait_for(await listener.ping(), 5)


async def test_the_end_of_a_listener_is_noticed(server: Server, room: str) -> None:
    """Whether it leaves politely or is gone; nothing of it stays."""
    async with visit(server, f"/listen/{room}"):
        async with await RawClient.connect(server, f"/listen/{room}"):
            await server.members("modern", room, 2)
        await server.members("modern", room, 1)
    await server.members("modern", room, 0)

    closed = await server.closed("modern", room)

    assert {one["code"] for one in closed} <= {1000, 1005, 1006}  # hypercorn does not tell
    assert {one["ending"] for one in closed} == {"disconnected"}


async def test_stalled_listener_is_dropped(server: Server, room: str) -> None:
    """One that does not read is freed at its deadline, with its descriptor."""
    async with await RawClient.connect(server, f"/listen/{room}"):
        await server.members("modern", room, 1)

        await server.fill("modern", room, 100)
        await server.members("modern", room, 0, seconds=SEND_TIMEOUT + 2)

        (closed,) = await server.closed("modern", room)
        assert (closed["ending"], closed["code"]) == ("send_timeout", 3009)
        if server.kind.reachable:
            await server.at_rest()


async def test_listener_is_kicked(server: Server, room: str) -> None:
    """A listener has a user, and is closed with the code of whoever kicks it."""
    async with visit(server, f"/listen/{room}", user="ann") as listener:
        await server.members("modern", room, 1)
        assert await server.post("/send-to-user/modern/ann", text="you") == 1
        assert await listener.recv() == "you"

        assert await server.post(f"/kick/modern/{room}", user="ann") == 1

        assert await close_code(listener) == 3503


async def test_listener_is_refused_before_it_is_accepted(server: Server) -> None:
    """What the function for the rooms refuses is told by HTTP status."""
    with pytest.raises(InvalidStatus) as refused:
        async with visit(server, "/listen/closed"):
            pass

    assert refused.value.response.status_code == 403


async def test_listeners_do_not_hold_up_the_end_of_a_server(kind: Kind, start: Start) -> None:
    """They are told, and the server is gone in time, stalled ones or not."""
    server = start(kind)
    async with (
        visit(server, "/listen/a") as listener,
        await RawClient.connect(server, "/listen/stalled"),
    ):
        await server.members("modern", "a", 1)
        await server.members("modern", "stalled", 1)
        await server.fill("modern", "stalled", 10)

        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(listener.recv(), GRACE)

        assert closed.value.rcvd is None or closed.value.rcvd.code in {1001, 1012, 3001}
        assert await stopping < GRACE
    assert server.complaints() == []
