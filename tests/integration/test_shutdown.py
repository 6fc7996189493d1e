"""SIGTERM with open sockets: the process is gone within the grace time, and says nothing."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.integration.clients import RawClient, close_code, visit_all
from tests.integration.faces import FACES
from tests.integration.servers import GRACE, Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(40)]


async def test_server_with_open_sockets_stops_in_time(fresh_server: Server) -> None:
    """Clients that receive and clients of parked endpoints are told, and do not hold it up."""
    server = fresh_server
    paths = [f"/{face}/{kind}/a" for face in FACES for kind in ("room", "parked")]
    paths += ["/modern/feed/a", "/dropin/feed/a", "/dropin/forgetful/a"]
    async with visit_all(server, paths) as clients:
        await server.members("modern", "a", 3)
        await server.members("dropin", "a", 4)

        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        codes = await asyncio.gather(*(close_code(client, GRACE) for client in clients))

        assert await stopping < GRACE
        assert all(code in {None, 1001, 1006, 1012, 3001} for code in codes), codes
    assert server.complaints() == []


async def test_server_with_orphaned_endpoints_stops_in_time(fresh_server: Server) -> None:
    """Endpoints that wait for something else, long after their clients went, are cancelled."""
    server = fresh_server
    async with visit_all(server, [f"/{face}/parked/a" for face in FACES]):
        for face in FACES:
            client = await RawClient.connect(server, f"/{face}/parked/a")
            await server.members(face, "a", 2)
            client.abort()
    for face in FACES:
        await server.members(face, "a", 0)

    assert await asyncio.to_thread(server.stop) < GRACE

    assert server.complaints() == []


async def test_server_with_stalled_clients_stops_in_time(fresh_server: Server) -> None:
    """Clients that read nothing do not hold it up, with and without a send under way."""
    server = fresh_server
    async with AsyncExitStack() as stack:
        for face in FACES:
            for count in (44, 46, 48):  # about as much as the kernel takes
                path = f"/{face}/room/{count}"
                await stack.enter_async_context(await RawClient.connect(server, path))
                await server.members(face, f"{count}", 1)
                await server.fill(face, f"{count}", count)
        for face in FACES:
            for path in (f"/{face}/room/full", f"/{face}/flood/flood"):
                await stack.enter_async_context(await RawClient.connect(server, path))
            await server.members(face, "full", 1)
        filling = [asyncio.create_task(server.fill(face, "full", 60)) for face in FACES]
        for face in FACES:
            await server.until_lagging(face)

        assert await asyncio.to_thread(server.stop) < GRACE
        await asyncio.gather(*filling, return_exceptions=True)
    assert server.complaints() == []
