"""Many senders to one socket: what each of them sends arrives whole, once, and in its order."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest
from websockets.asyncio.client import ClientConnection

from tests.integration.clients import Numbers, gather_numbers, visit, visit_all
from tests.integration.servers import Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]

VOICES, VERSES = 4, 100


async def test_endpoint_and_room_send_to_one_socket_without_disorder(
    server: Server, face: str, room: str
) -> None:
    """
    Several tasks of the endpoint use websocket.send_text() while the room publishes.

    Concurrent sends to one socket break frames on bare servers, or raise.
    """
    async with visit(server, f"/{face}/chorus/{room}", voices=VOICES, verses=VERSES) as client:
        publishing = asyncio.create_task(
            server.post(f"/publish/{face}/{room}", count=VERSES, pause=0.001)
        )
        streams = await listen(client, (VOICES + 1) * VERSES)
        assert (await publishing)["lost"] == 0

    first = streams.pop("").seen[0]  # the room's; it may have begun before the client came
    assert first == 0
    assert sorted(streams) == [f"voice-{index}" for index in range(VOICES)]
    assert all(stream.seen == list(range(VERSES)) for stream in streams.values())


async def test_publications_of_several_rooms_keep_their_order(
    server: Server, face: str, room: str
) -> None:
    """A client of three rooms gets what each of them publishes, complete and in order."""
    names = [f"{room}-{letter}" for letter in "abc"]
    async with visit(server, f"/{face}/room/{names[0]}") as client:
        for name in names[1:]:
            await client.send(f"join {name}")
        for name in names:
            await server.members(face, name, 1)

        await asyncio.gather(
            *(server.post(f"/publish/{face}/{name}", count=50, pause=0.001) for name in names)
        )
        numbers = await gather_numbers(client, 150, 5)

    assert sorted(numbers) == sorted([*range(50)] * 3)
    positions: dict[int, int] = defaultdict(int)
    for number in numbers:
        positions[number] += 1
        assert number == 0 or positions[number] <= positions[number - 1]


async def test_clients_that_talk_to_each_other_keep_their_order(
    server: Server, face: str, room: str
) -> None:
    """What one client says reaches all others in its order, and not itself."""
    async with visit_all(server, [f"/{face}/room/{room}"] * 5) as clients:
        await server.members(face, room, 5)

        for number in range(50):
            for index, client in enumerate(clients):
                await client.send(f"say {number} client-{index}")
        heard = await asyncio.gather(*(listen(client, 200) for client in clients))

    for index, streams in enumerate(heard):
        others = {f"client-{other}" for other in range(5) if other != index}
        assert set(streams) == others
        assert all(stream.seen == list(range(50)) for stream in streams.values())


async def test_burst_reaches_clients_that_read(server: Server, face: str, room: str) -> None:
    """As many messages at once as a mailbox holds reach everybody, in order."""
    async with visit_all(server, [f"/{face}/room/{room}"] * 5) as clients:
        await server.members(face, room, 5)

        receipt = await server.post(f"/publish/{face}/{room}", count=1000)
        received = await asyncio.gather(*(gather_numbers(client, 1000, 10) for client in clients))

    assert receipt == {"accepted": 5000, "lost": 0}
    assert all(numbers == list(range(1000)) for numbers in received)


async def listen(client: ClientConnection, count: int) -> dict[str, Numbers]:
    """Return the numbers of the next ``count`` messages, by what follows the number."""
    streams: dict[str, Numbers] = defaultdict(Numbers)
    async with asyncio.timeout(10):
        for _ in range(count):
            message = str(await client.recv())
            streams[message.partition(" ")[2]].add(message)
    return streams
