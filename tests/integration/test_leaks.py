"""Nothing stays of a connection that has ended: no object, no descriptor, no task."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.clients import RawClient, visit
from tests.integration.faces import FACES
from tests.integration.servers import Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

CONNECTIONS = 500


async def test_connections_leave_no_object_behind(server: Server, room: str) -> None:
    """500 connections, polite and abrupt ones, leave as many live objects as there were."""
    await come_and_go(server, room, 20)  # what is made once is made now
    await server.at_rest()
    before = await server.get("/objects")

    await come_and_go(server, room, CONNECTIONS)

    await server.at_rest()
    await server.eventually(
        lambda: server.get("/objects"),
        lambda now: all(now[name] <= before[name] for name in now),
        f"as many objects as before, {before}",
    )


async def come_and_go(server: Server, room: str, count: int) -> None:
    """Connect and leave ``count`` times, some at a time, in four ways, on both faces."""
    gate = asyncio.Semaphore(20)

    async def one(index: int) -> None:
        path = f"/{FACES[index // 4 % 2]}/room/{room}"
        async with gate:
            if index % 4 == 0:
                client = await RawClient.connect(server, path)
                client.abort()
            elif index % 4 == 1:
                async with visit(server, path, user="somebody") as visitor:
                    await visitor.send("return")
            elif index % 4 == 2:
                async with visit(server, path) as visitor:
                    await visitor.send("say hello")
            else:
                client = await RawClient.begin(server, path)
                client.close()

    await asyncio.gather(*(one(index) for index in range(count)))


async def test_what_is_loaded_is_out_of_the_collectors_sight(server: Server) -> None:
    """Under uvicorn, whose process is a server's alone; elsewhere the process decides itself."""
    frozen = (await server.report())["frozen"]

    assert (frozen > 10_000) is ("uvicorn" in server.kind.command)
