"""Clients that send what they should not: it ends their own socket, with a code, and no other."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from tests.integration.clients import RawClient, close_code, visit
from tests.integration.conftest import Start
from tests.integration.faces import FACES
from tests.integration.servers import MESSAGE_LIMIT, SEND_TIMEOUT, Kind, Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]

SERVERS_PATIENCE = 0.5
"""Seconds for which a client waits after the server's close frame; some servers wait longer."""


async def test_binary_message_where_text_is_expected_closes_1003(server: Server, room: str) -> None:
    """session.receive_text() takes no binary message; the close says why."""
    async with visit(server, f"/modern/text/{room}") as client:
        await client.send(b"\x00\xff")

        assert await close_code(client) == 1003
        assert client.close_reason == "expected text, got a binary message"


async def test_binary_message_to_receive_text_leaves_no_ghost(server: Server, room: str) -> None:
    """Starlette's receive_text() raises KeyError, which hand-written endpoints do not catch."""
    server.expected = {"KeyError", "AttributeError"}
    async with (
        visit(server, f"/dropin/text/{room}") as other,
        visit(server, f"/dropin/text/{room}") as client,
    ):
        await client.send(b"\x00\xff")
        assert await close_code(client) in {1003, 1011}

        await server.members("dropin", room, 1)
        await other.send("still here")
        assert await other.recv() == "still here"


@pytest.mark.parametrize("text", ["{", "", "[1,", "NaN,", "[" * 50_000])
async def test_invalid_json_closes_1007(server: Server, room: str, text: str) -> None:
    """session.receive_json() tells what is no JSON."""
    async with visit(server, f"/modern/json/{room}") as client:
        await client.send(text)

        assert await close_code(client) == 1007
        assert str(client.close_reason).startswith("no JSON")


async def test_invalid_json_to_receive_json_leaves_no_ghost(server: Server, room: str) -> None:
    """Starlette's receive_json() raises ValueError, which hand-written endpoints do not catch."""
    server.expected = {"JSONDecodeError"}
    async with visit(server, f"/dropin/json/{room}") as client:
        await client.send("[1]")
        assert json.loads(await client.recv()) == {"you said": [1]}
        await client.send("{")

        assert await close_code(client) == 1011
        await server.members("dropin", room, 0)


@pytest.mark.parametrize("extra", [1, 100_000])
async def test_message_over_the_limit_of_a_session_closes_1009(
    server: Server, room: str, extra: int
) -> None:
    """A message may have max_message_bytes, and not one byte more; text counts as UTF-8."""
    async with visit(server, f"/modern/room/{room}") as client:
        await client.send("ü" * (MESSAGE_LIMIT // 2))
        assert await client.recv() == "ü" * (MESSAGE_LIMIT // 2)
        await client.send("ü" * (MESSAGE_LIMIT // 2) + "x" * extra)

        assert await close_code(client) == 1009
    (closed,) = await server.closed("modern", room)
    assert (closed["ending"], closed["code"]) == ("protocol", 1009)


async def test_message_over_the_limit_of_the_server_leaves_no_ghost(
    server: Server, face: str, room: str
) -> None:
    """The server closes the socket by itself, and the registry hears of it."""
    async with await RawClient.connect(server, f"/{face}/room/{room}") as client:
        await server.members(face, room, 1)
        try:
            await client.send("hush ".ljust(server.kind.frame_limit + 1))
        except ConnectionError:  # it does not wait for the end of it
            pass

        await client.until_closed(SERVERS_PATIENCE)

        if client.close_code is not None:  # not every server says why
            assert client.close_code in {1005, 1009}
    # uvicorn's class for the old websockets API leaves the socket half closed for 20 seconds.
    # Whatever is sent to it meanwhile meets its deadline.
    await server.post(f"/publish/{face}/{room}", count=1)
    await server.members(face, room, 0, seconds=SEND_TIMEOUT + 1)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" * 1000,
        b"\x81\x05hello",  # a client has to mask its frames
        b"\x83\x80\x00\x00\x00\x00",  # an opcode that does not exist
        b"\x88\x81\x00\x00\x00\x00\x00",  # a close frame with half a code
        b"\x81\x82\x00\x00\x00\x00\xff\xfe",  # no UTF-8
    ],
    ids=["http", "noise", "unmasked", "opcode", "half-code", "no-utf8"],
)
async def test_garbage_after_the_handshake_ends_that_socket(
    server: Server, room: str, garbage: bytes
) -> None:
    """Bytes that are no frames end the connection, on both faces, and say nothing in the log."""
    server.expected = set(server.kind.garbage_noise)
    for face in ("modern", "dropin"):
        async with await RawClient.connect(server, f"/{face}/room/{room}") as client:
            await server.members(face, room, 1)
            await client.send_bytes(garbage)
            await client.until_closed(SERVERS_PATIENCE)
        await server.members(face, room, 0, seconds=2)
    async with visit(server, f"/modern/room/{room}") as other:
        await other.send("still here")
        assert await other.recv() == "still here"


async def test_half_a_frame_and_then_nothing_waits_for_the_rest(
    server: Server, face: str, room: str
) -> None:
    """A frame that never ends holds nothing up but its own endpoint."""
    async with await RawClient.connect(server, f"/{face}/room/{room}") as client:
        await server.members(face, room, 1)
        await client.send_bytes(b"\x81\xfe")

        await server.post(f"/publish/{face}/{room}", count=1)
        assert await client.messages(2, count=1) == ["0 "]
        client.abort()
        await server.members(face, room, 0, seconds=2)


async def test_killed_client_is_noticed(server: Server, room: str) -> None:
    """The kernel ends the sockets of a process that is killed, without a close frame."""
    program = (
        "import sys, time; from websockets.sync.client import connect\n"
        "clients = [connect(url, proxy=None) for url in sys.argv[1:]]; print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    urls = [server.url(f"/{face}/room/{room}") for face in ("modern", "dropin")]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *urls, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    await server.members("modern", room, 1)
    await server.members("dropin", room, 1)

    process.kill()
    await process.wait()

    await server.members("modern", room, 0, seconds=1)
    await server.members("dropin", room, 0, seconds=1)


async def test_client_that_answers_no_ping_is_dropped(kind: Kind, start: Start) -> None:
    """A peer that is gone without a word, as after a power cut, is found by the server's pings."""
    if not kind.pings:
        pytest.skip(f"{kind.name} does not look whether its pings are answered")
    server = start(kind, kind.pings)
    async with (
        visit(server, "/modern/room/a") as alive,
        await RawClient.connect(server, "/modern/room/a"),
        await RawClient.connect(server, "/dropin/room/a"),
    ):
        await server.members("modern", "a", 2)
        await server.members("dropin", "a", 1)

        await asyncio.sleep(1.5)
        for face in FACES:
            await server.post(
                f"/publish/{face}/a", count=1
            )  # which a half closed socket needs, see above
        await server.members("dropin", "a", 0, seconds=SEND_TIMEOUT + 1)
        await server.members("modern", "a", 1, seconds=1)
        assert await alive.recv() == "0 "
        await alive.send("still here")
        assert await alive.recv() == "still here"
    await asyncio.to_thread(server.stop)
    assert server.complaints() == []


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("join " + "x" * 256, "InvalidRoomName"),
        ("join a\x00b", "InvalidRoomName"),
        ("join ", "InvalidRoomName"),
        ("leave nowhere", "NotAMember"),
    ],
    ids=["too long", "control character", "empty", "not a member"],
)
async def test_room_that_cannot_be_ends_the_session(
    server: Server, room: str, command: str, error: str
) -> None:
    """What the endpoint does not catch is its error: 1011, and nothing stays."""
    server.expected = {error}
    async with visit(server, f"/modern/room/{room}") as client:
        await client.send(command)

        assert await close_code(client) == 1011
