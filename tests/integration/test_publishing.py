"""Publishing and what goes with it, over the wire: rooms, users, threads, kicks, MessagePack."""

from __future__ import annotations

import json

import msgpack
import pytest

from tests.integration.clients import close_code, gather_numbers, visit
from tests.integration.servers import Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]


async def test_sync_endpoint_publishes_from_its_thread(
    server: Server, face: str, room: str
) -> None:
    """publish_nowait() works where there is no event loop, and keeps the order."""
    async with visit(server, f"/{face}/room/{room}") as client:
        await server.members(face, room, 1)
        await server.post(f"/publish-nowait/{face}/{room}", count=200)

        assert await gather_numbers(client, 200, 5) == list(range(200))


async def test_kicked_user_sees_the_code_on_every_socket(
    server: Server, face: str, room: str
) -> None:
    """A kick by user closes all sockets of that user, and no other."""
    path = f"/{face}/room/{room}"
    async with (
        visit(server, path, user=f"{room}-ann") as first,
        visit(server, path, user=f"{room}-ann") as second,
        visit(server, path, user=f"{room}-bob") as other,
    ):
        await server.members(face, room, 3)

        assert await server.post(f"/kick/{face}/{room}", user=f"{room}-ann") == 2

        assert await close_code(first) == 3503
        assert await close_code(second) == 3503
        assert second.close_reason == "out with you"
        (left,) = await server.members(face, room, 1)
        assert left["user"] == f"{room}-bob"
        await other.send("still here")
        assert await other.recv() == "still here"


async def test_kicked_connection_sees_the_code(server: Server, face: str, room: str) -> None:
    """A kick by connection closes that one only."""
    path = f"/{face}/room/{room}"
    async with visit(server, path, user=room) as first, visit(server, path, user=room) as second:
        await first.send("id")
        identity = await first.recv()

        assert await server.post(f"/kick/{face}/{room}", connection=identity) == 1

        assert await close_code(first) == 3503
        await second.send("still here")
        assert await second.recv() == "still here"


async def test_rooms_are_joined_and_left_over_the_wire(
    server: Server, face: str, room: str
) -> None:
    """A client gets what is published to a room from its join to its leave."""
    async with visit(server, f"/{face}/room/{room}") as client:
        assert (await server.post(f"/publish/{face}/{room}-b"))["accepted"] == 0
        await client.send(f"join {room}-b")
        (member,) = await server.members(face, f"{room}-b", 1)
        assert member["rooms"] == [room, f"{room}-b"]
        assert (await server.post(f"/publish/{face}/{room}-b", first=1))["accepted"] == 1
        await client.send(f"leave {room}-b")
        await server.members(face, f"{room}-b", 0)
        assert (await server.post(f"/publish/{face}/{room}-b", first=2))["accepted"] == 0
        assert (await server.post(f"/publish/{face}/{room}", first=3))["accepted"] == 1

        assert await gather_numbers(client, 2, 2) == [1, 3]


async def test_user_and_everybody_are_reached(server: Server, face: str, room: str) -> None:
    """send_to_user() reaches the user's sockets, broadcast() all there are."""
    path = f"/{face}/room/{room}"
    async with (
        visit(server, path, user=f"{room}-ann") as ann,
        visit(server, path, user=f"{room}-bob") as bob,
        visit(server, path) as nobody,
    ):
        await server.members(face, room, 3)

        assert await server.post(f"/send-to-user/{face}/{room}-ann", text="1 for ann") == 1
        assert await server.post(f"/broadcast/{face}", text="2 for all") == 3

        assert [await ann.recv(), await ann.recv()] == ["1 for ann", "2 for all"]
        assert await bob.recv() == "2 for all"
        assert await nobody.recv() == "2 for all"


async def test_views_of_the_drop_in_show_who_is_there(server: Server, room: str) -> None:
    """active_connections and user_connections follow the sockets."""
    async with visit(server, f"/dropin/room/{room}", user=f"{room}-ann") as client:
        await client.send("hello")
        await client.recv()
        report = await server.report()
        assert report["active_connections"] == {room: 1}
        assert report["user_connections"] == {f"{room}-ann": 1}
    await server.members("dropin", room, 0)

    report = await server.report()
    assert report["active_connections"] == {}
    assert report["user_connections"] == {}


async def test_client_that_offers_msgpack_gets_it(server: Server, room: str) -> None:
    """One publication reaches each client in the format that it asked for, both ways."""
    path = f"/modern/json/{room}"
    data = {"step": 1, "lines": ["a", "ü"], "done": None}
    async with (
        visit(server, path, subprotocols=["msgpack"]) as binary,
        visit(server, path) as text,
    ):
        await server.members("modern", room, 2)
        assert binary.subprotocol == "msgpack"
        assert text.subprotocol is None

        await server.post(f"/publish-json/modern/{room}", text=json.dumps(data))
        assert msgpack.unpackb(await binary.recv()) == data
        assert json.loads(await text.recv()) == data

        await binary.send(msgpack.packb([1, 2]))
        assert msgpack.unpackb(await binary.recv()) == {"you said": [1, 2]}
        await text.send("[1, 2]")
        assert json.loads(await text.recv()) == {"you said": [1, 2]}

        await binary.send(b"\xc1")  # the one byte that MessagePack never uses
        assert await close_code(binary) == 1007


async def test_publication_without_recipients_is_no_error(
    server: Server, face: str, room: str
) -> None:
    """Publishing to a room in which nobody is says so, and makes no room."""
    receipt = await server.post(f"/publish/{face}/{room}", count=10)

    assert receipt == {"accepted": 0, "lost": 0}
    assert (await server.statistics(face))["rooms"] == 0


async def test_clients_with_compression_are_served(server: Server, face: str, room: str) -> None:
    """A client that negotiated permessage-deflate gets the same messages as one that did not."""
    async with (
        visit(server, f"/{face}/room/{room}", compression="deflate") as compressed,
        visit(server, f"/{face}/room/{room}") as bare,
    ):
        await server.members(face, room, 2)

        await server.post(f"/publish/{face}/{room}", count=50, size=1000)

        received = (
            await gather_numbers(compressed, 50, 5),
            await gather_numbers(bare, 50, 5),
        )
        assert received == (list(range(50)), list(range(50)))
