"""
Refresh storms: clients connect, leave and reload without a pause while the server publishes.

This is a page with many viewers who press reload, close the lid, lose the network: the case
in which hand-written managers raise "dictionary changed size during iteration", 'Cannot call
"send" once a close message has been sent', and keep ghosts.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.integration.clients import Numbers, RawClient, visit, visit_all
from tests.integration.faces import FACES
from tests.integration.servers import GRACE, Kind, Server

pytestmark = pytest.mark.integration

CLIENTS = 200
RATE = 40.0
"""Publications in a second."""

LONG, SHORT = 20.0, 3.0
"""Seconds: on the server that most people have, and on each other."""


@pytest.mark.timeout(60)
async def test_refresh_storm_leaves_nothing_behind(server: Server, kind: Kind, room: str) -> None:
    """Nobody gets a message twice, late or not at all, and at the end nobody is there."""
    seconds = LONG if kind.name == "uvicorn-default-uvloop" else SHORT
    storm = Storm(server, [f"/{face}/room/{room}" for face in FACES], seconds)
    async with visit_all(server, storm.paths) as witnesses:
        await asyncio.gather(*(server.steady(face, room, RATE) for face in FACES))

        await asyncio.gather(*(storm.visitor(random.Random(seed)) for seed in range(CLIENTS)))

        for face, witness in zip(FACES, witnesses, strict=True):
            published = await server.stop_publishing(face, room)
            await server.members(face, room, 1)
            numbers = Numbers()
            async with asyncio.timeout(5):
                while len(numbers.seen) < published:
                    numbers.add_steady(await witness.recv())
            assert numbers.seen == list(range(published))  # complete, whatever the others did
            assert published > 5 * seconds  # steady enough, also on a machine that is busy
    assert storm.faults == []
    assert storm.left.total() > CLIENTS
    assert set(storm.left) == set(Storm.WAYS)  # every way to leave was taken
    assert storm.received > CLIENTS * seconds
    await server.at_rest()
    assert server.complaints() == []


@pytest.mark.timeout(40)
async def test_server_in_a_refresh_storm_stops_in_time(fresh_server: Server) -> None:
    """Clients that keep coming, and publishers that keep publishing, hold up no SIGTERM."""
    server = fresh_server
    storm = Storm(server, [f"/{face}/room/a" for face in FACES], 60)
    await asyncio.gather(*(server.steady(face, "a", RATE) for face in FACES))
    visitors = [asyncio.create_task(storm.visitor(random.Random(seed))) for seed in range(50)]
    await asyncio.sleep(1)

    took = await asyncio.to_thread(server.stop)

    storm.stop()
    await asyncio.gather(*visitors)
    assert took < GRACE
    assert server.complaints() == []


class Storm:
    """
    Visitors of rooms.

    Attributes:
        paths: Where they go; each goes to all of them.
        left: How often they left in each way.
        faults: Messages that were not the successor of the one before, and what else went wrong.
        received: Messages that they got.
    """

    WAYS = ("politely", "cut", "reset", "unread", "in the handshake")

    def __init__(self, server: Server, paths: list[str], seconds: float) -> None:
        self._server = server
        self.paths = paths
        self._end = asyncio.get_running_loop().time() + seconds
        self.left: Counter[str] = Counter()
        self.faults: list[object] = []
        self.received = 0

    def stop(self) -> None:
        """Let nobody come any more."""
        self._end = 0.0

    async def visitor(self, chance: random.Random) -> None:
        """Visit a room again and again, until the storm ends."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(chance.uniform(0, 0.5))
        while loop.time() < self._end:
            way, path = chance.choice(self.WAYS), chance.choice(self.paths)
            stay = min(chance.uniform(0.05, 1.2), max(0.0, self._end - loop.time()))
            try:
                if way == "in the handshake":
                    client = await RawClient.begin(self._server, path)
                    client.abort()
                elif way == "unread":
                    stalled = await RawClient.connect(self._server, path)
                    await asyncio.sleep(stay)
                    stalled.close()
                else:
                    await self._visit(path, way, stay, chance)
            except Exception as error:
                self.faults.append(error)
            self.left[way] += 1

    async def _visit(self, path: str, way: str, stay: float, chance: random.Random) -> None:
        numbers = Numbers()
        async with visit(self._server, path) as client:
            if chance.random() < 0.2:
                await client.send("say hello")  # to the others
            try:
                async with asyncio.timeout(stay):
                    while True:
                        numbers.add_steady(await client.recv())
                        self.received += 1
            except TimeoutError:
                pass
            except ConnectionClosed as error:
                self.faults.append(error)
            if way != "politely":
                _cut(client, reset=way == "reset")
        self.faults.extend(numbers.faults)


def _cut(client: ClientConnection, *, reset: bool) -> None:
    """Leave as a browser does that crashes, or whose machine loses the network."""
    if reset:
        peer: socket.socket = client.transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.transport.abort()
