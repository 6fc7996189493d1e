"""Who is not let in, and what they are told; a burst passes no limit."""

from __future__ import annotations

import asyncio

import pytest
from websockets.exceptions import InvalidStatus

from tests.integration.clients import RawClient, visit, visit_all
from tests.integration.servers import Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]


async def test_page_of_another_origin_is_refused(server: Server, room: str) -> None:
    """A session takes pages of its own origin, and clients without one."""
    path = f"/modern/room/{room}"

    assert await status_of(server, path, origin="https://elsewhere.example") == 403
    assert await status_of(server, path, origin=f"http://127.0.0.1:{server.port}") == 101
    assert await status_of(server, path) == 101

    assert (await server.statistics("modern"))["refused"]["3507"] > 0


async def test_drop_in_lets_every_origin_in(server: Server, room: str) -> None:
    """Hand-written managers look at no origin; the drop-in warns of that and does the same."""
    path = f"/dropin/room/{room}"

    assert await status_of(server, path, origin="https://elsewhere.example") == 101


async def test_burst_of_connects_does_not_pass_the_limit(server: Server, room: str) -> None:
    """Of 50 that come at once 10 are let in; the others are told to try again later."""
    most = 0

    async def come() -> int:
        nonlocal most
        try:
            async with visit(server, f"/limited/room/{room}") as client:
                await client.send("hello")
                await client.recv()
                most = max(most, (await server.statistics("limited"))["connections"])
                await all_have_tried.wait()
        except InvalidStatus as refused:
            return refused.response.status_code
        finally:
            tried.release()
        return 101

    tried = asyncio.Semaphore(0)
    all_have_tried = asyncio.Event()
    coming = [asyncio.create_task(come()) for _ in range(50)]
    for _ in range(40):
        await tried.acquire()
    await server.members("limited", room, 10)
    all_have_tried.set()
    statuses = sorted(await asyncio.gather(*coming))

    assert statuses == [101] * 10 + [503] * 40
    assert most <= 10
    await server.members("limited", room, 0)
    assert await status_of(server, f"/limited/room/{room}") == 101  # there is space again


async def test_user_with_too_many_connections_is_refused(server: Server, room: str) -> None:
    """The third connection of a user who may have two is refused; another user's is not."""
    path = f"/limited/room/{room}"
    async with visit(server, path, user="ann"), visit(server, path, user="ann"):
        assert await status_of(server, path, user="ann") == 429
        assert await status_of(server, path, user="bob") == 101
    await server.members("limited", room, 0)
    assert await status_of(server, path, user="ann") == 101


async def test_full_room_and_busy_address_are_refused(server: Server, room: str) -> None:
    """A room has three places here, an address four."""
    async with visit_all(server, [f"/cramped/room/{room}"] * 3):
        await server.members("cramped", room, 3)

        assert await status_of(server, f"/cramped/room/{room}") == 429
        async with visit(server, f"/cramped/room/{room}-2"):
            refused = await status_of(server, f"/cramped/room/{room}-3")
            assert refused == 429


async def test_clients_that_leave_before_they_are_refused_do_no_harm(
    server: Server, room: str
) -> None:
    """A refusal finds nobody to tell: that is no error, and nothing stays of it."""
    async with visit_all(server, [f"/limited/room/{room}"] * 10):
        for _ in range(20):
            client = await RawClient.begin(server, f"/limited/room/{room}")
            client.abort()
        await server.members("limited", room, 10)
    assert server.complaints() == []


async def status_of(
    server: Server, path: str, *, origin: str | None = None, user: str | None = None
) -> int:
    """Return the HTTP status with which a handshake is answered; 101 lets the client in."""
    try:
        async with visit(server, path, origin=origin, user=user):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code
