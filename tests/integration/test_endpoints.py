"""Endpoints as people write them: whatever they forget, nothing of their socket stays."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.clients import RawClient, close_code, gather_numbers, visit
from tests.integration.faces import on_both_faces
from tests.integration.servers import SEND_TIMEOUT, Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]


@pytest.mark.parametrize("path", ["/dropin/forgetful", "/starlette/forgetful"])
async def test_endpoint_that_forgets_disconnect_leaves_no_ghost(
    server: Server, path: str, room: str
) -> None:
    """The registry forgets the socket of an endpoint that never calls disconnect()."""
    async with visit(server, f"{path}/{room}"):
        await server.members("dropin", room, 1)

    await server.members("dropin", room, 0, seconds=1)


async def test_endpoint_that_returns_early_closes_1000(
    server: Server, face: str, room: str
) -> None:
    """An endpoint that returns closes its socket with 1000, after what it has sent."""
    async with visit(server, f"/{face}/room/{room}") as client:
        await client.send("hello")
        await client.send("return")

        assert await client.recv() == "hello"
        assert await close_code(client) == 1000

    assert await server.get(f"/members/{face}/{room}") == []


async def test_endpoint_that_raises_closes_1011_and_no_other(
    server: Server, face: str, room: str
) -> None:
    """An endpoint's exception closes its own socket with 1011; the room goes on."""
    server.expected = {"DeliberateError"}
    async with visit(server, f"/{face}/room/{room}") as other:
        async with visit(server, f"/{face}/room/{room}") as client:
            await client.send("raise")
            assert await close_code(client) == 1011

        await server.members(face, room, 1)
        await server.post(f"/publish/{face}/{room}", count=3)
        assert await gather_numbers(other, 3, 2) == [0, 1, 2]

    ((ending, code),) = {
        (one["ending"], one["code"])
        for one in await server.closed(face, room)
        if one["ending"] != "disconnected" and one["code"] != 1000
    }
    assert (ending, code) == ("handler_failed", 1011)


@on_both_faces
async def test_endpoint_that_never_receives_loses_its_client_in_two_seconds(
    server: Server, face: str, room: str
) -> None:
    """A client that leaves is noticed although its endpoint only waits for something else."""
    async with visit(server, f"/{face}/parked/{room}"):
        await server.members(face, room, 1)

    await server.members(face, room, 0, seconds=2)
    await server.post("/release")


@on_both_faces
async def test_client_that_vanishes_from_a_parked_endpoint_is_noticed(
    server: Server, face: str, room: str
) -> None:
    """So is one that is reset, without a close frame."""
    client = await RawClient.connect(server, f"/{face}/parked/{room}")
    await server.members(face, room, 1)

    client.abort()

    await server.members(face, room, 0, seconds=2)
    await server.post("/release")


@on_both_faces
async def test_endpoint_that_only_sends_ends_with_its_client(
    server: Server, face: str, room: str
) -> None:
    """An endpoint that sends for ever gets a WebSocketDisconnect when the client has gone."""
    async with visit(server, f"/{face}/feed/{room}") as client:
        assert await gather_numbers(client, 10, 5) == list(range(10))

    await server.members(face, room, 0, seconds=2)


@on_both_faces
async def test_endpoint_blocked_in_its_own_send_is_freed_at_the_deadline(
    server: Server, face: str, room: str
) -> None:
    """websocket.send_text() to a client that does not read raises a WebSocketDisconnect."""
    async with await RawClient.connect(server, f"/{face}/flood/{room}"):
        await server.members(face, room, 1)
        ended = len((await server.report())["ended"])

        await server.members(face, room, 0, seconds=SEND_TIMEOUT + 2)

        report = await server.eventually(
            server.report, lambda report: len(report["ended"]) > ended, "the send raises"
        )
        assert set(report["ended"][ended:]) == {"SessionEnded"}
        (closed,) = await server.closed(face, room)
        assert closed["ending"] == "send_timeout"
        if server.kind.reachable:  # the stalled socket is gone, though its client has it open
            await server.at_rest(SEND_TIMEOUT + 2)


async def test_endpoint_that_closes_the_socket_itself_decides_the_code(
    server: Server, face: str, room: str
) -> None:
    """A close by the endpoint reaches the client with its code, after what was sent."""
    async with visit(server, f"/{face}/room/{room}") as client:
        await client.send("hello")
        await client.send("close 4321")

        assert await client.recv() == "hello"
        assert await close_code(client) == 4321
        assert client.close_reason == "as you wish"


async def test_clients_that_vanish_during_the_accept_leave_nothing(
    server: Server, face: str, room: str
) -> None:
    """Half of them are gone before they are accepted; the others are served."""
    impatient = [await RawClient.begin(server, f"/{face}/slow-accept/{room}") for _ in range(10)]
    for index, client in enumerate(impatient):
        if index % 2:
            client.abort()
        else:
            client.close()

    async with visit(server, f"/{face}/slow-accept/{room}") as patient:
        assert await asyncio.wait_for(patient.recv(), 5) == "welcome"
        await server.members(face, room, 1)
