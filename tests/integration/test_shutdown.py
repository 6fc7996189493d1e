"""SIGTERM with open sockets: the process is gone within the grace time, and says nothing."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.clients import RawClient, close_code, visit, visit_all
from tests.integration.servers import GRACE, Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(40)]


async def test_server_with_open_sockets_stops_in_time(fresh_server: Server) -> None:
    """Clients that receive and clients of parked endpoints are told, and do not hold it up."""
    server = fresh_server
    paths = [f"/{face}/{kind}/a" for face in ("modern", "dropin") for kind in ("room", "parked")]
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
    for face in ("modern", "dropin"):
        async with visit(server, f"/{face}/parked/a"):
            await server.members(face, "a", 1)
        client = await RawClient.connect(server, f"/{face}/parked/b")
        await server.members(face, "b", 1)
        client.abort()
        await server.members(face, "a", 0)
        await server.members(face, "b", 0)

    assert await asyncio.to_thread(server.stop) < GRACE

    assert server.complaints() == []


async def test_server_with_stalled_clients_stops_in_time(fresh_server: Server) -> None:
    """Clients that read nothing do not hold it up: neither with nor without a send under way."""
    server = fresh_server
    stalled = [
        await RawClient.connect(server, f"/{face}/{kind}/{room}")
        for face in ("modern", "dropin")
        for kind, room in (("room", "full"), ("room", "nearly-full"), ("flood", "flood"))
    ]
    for face in ("modern", "dropin"):
        for room, count in (("full", 80), ("nearly-full", 46)):
            await server.members(face, room, 1)
            await server.post(f"/publish/{face}/{room}", count=count, size=64 << 10, pause=0.001)

    took = await asyncio.to_thread(server.stop)

    for client in stalled:
        client.close()
    assert took < GRACE
    assert server.complaints() == []
