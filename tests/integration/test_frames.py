"""
What a client sees, frame by frame: valid whatever mixes, and ended as RFC 6455 has it.

The clients here check each frame with a reader that shares no code with the servers. On the fast
path everything has to be right; elsewhere the server's own class answers for some of it, and what
it is known to do otherwise is said in the tables.
"""

from __future__ import annotations

import asyncio
import zlib

import pytest

from tests.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    FrameReader,
    client_frame,
    close_payload,
)
from tests.integration.apps import MEDLEY
from tests.integration.clients import FrameClient, close_code, visit
from tests.integration.conftest import Start
from tests.integration.faces import on_both_faces
from tests.integration.servers import SEND_TIMEOUT, Kind, Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

FLOOD = 24 << 20
"""Bytes of pings, which a server that keeps their pongs would grow by."""

MEMORY = 8 << 20
"""Bytes by which a server may grow all the same."""


def fast(server: Server) -> bool:
    """Whether actors write ready-made frames there."""
    return server.kind.name.startswith("supervised")


# What mixes.


async def test_whatever_mixes_the_frames_are_valid(server: Server, room: str) -> None:
    """
    Three rooms, the endpoint's own sends, echoes and pongs, of all sizes; then a close between.

    Nothing is lost, every sender's order is kept, and nothing comes after the close frame.
    """
    rooms = [room, f"{room}-b", f"{room}-c"]
    async with await FrameClient.connect(server, f"/block/medley/{room}") as client:
        for name in rooms:
            await server.members("block", name, 1)

        async def publish(first: int, name: str) -> None:
            for size in MEDLEY:
                await server.post(f"/publish/block/{name}", count=2, size=size, first=first)
                first += 2

        publishing = [
            asyncio.create_task(publish(1000 * number, name)) for number, name in enumerate(rooms)
        ]
        for number in range(20):
            text = f"echo {number} ü€".encode()
            await client.send(
                client_frame(PING, b"%d" % number),
                client_frame(TEXT, text[:-2], final=False),
                client_frame(PING, b""),
                client_frame(CONTINUATION, text[-2:]),
            )
        expected = 1 + 3 * len(MEDLEY) + 3 * 2 * len(MEDLEY) + 20
        messages = await client.messages(expected, 20)
        await client.send(client_frame(PING, b"20"))
        reader = await client.read(lambda reader: reader.pongs[-1:] == [b"20"])
        await asyncio.gather(*publishing)

        assert messages[0] == "early"
        assert [len(m) for m in messages].count(0) == len(MEDLEY)
        words = [m.split(maxsplit=1)[0] for m in messages[1:] if isinstance(m, str) and m]
        for first, name in enumerate(rooms):
            numbers = [int(w) for w in words if w.isdigit() and int(w) // 1000 == first]
            if name == room:  # the endpoint's own are numbered from 0 as well
                numbers = [
                    int(m.split(maxsplit=1)[0])
                    for m in messages
                    if isinstance(m, str) and m[:1].isdigit() and int(m.split()[0]) < 1000
                    if "own" not in m[:10]
                ]
            assert numbers == [1000 * first + number for number in range(2 * len(MEDLEY))]
        own = [m for m in messages if "own" in str(m[:10])]
        assert [isinstance(m, str) for m in own] == [True, False] * len(MEDLEY)
        assert [int(m.split()[0]) for m in own] == [n for n in range(len(MEDLEY)) for _ in "12"]
        echoes = [m for m in messages if str(m).startswith("echo")]
        assert echoes == [f"echo {number} ü€" for number in range(20)]
        # Of pings to a full socket the last is answered (RFC 6455 §5.5.3), and all others are.
        numbered = [int(pong) for pong in reader.pongs if pong]
        assert numbered == sorted(set(numbered))
        assert fast(server) or numbered == list(range(21))

        await server.steady("block", room, 2000)
        await client.messages(expected + 50)
        await client.say("close 4001")
        reader = await client.read(lambda reader: reader.closed)
        if fast(server):  # uvicorn's own class sends a pong after its close frame
            await client.send(client_frame(PING, b"late"))
        await client.send(client_frame(CLOSE, close_payload(4001)))
        await client.until_ended()
        await server.stop_publishing("block", room)

        assert reader.close[0] == 4001
        assert reader.at_boundary
        numbers = [int(str(m).split()[0]) for m in reader.messages[expected:]]
        assert numbers == list(range(len(numbers)))


async def test_a_middleware_that_changes_what_is_sent_is_not_passed_by(
    server: Server, room: str
) -> None:
    """What a room sends goes through it too; the others in the room get it as it was."""
    async with (
        visit(server, f"/loud/modern/room/{room}") as loud,
        visit(server, f"/modern/room/{room}") as quiet,
    ):
        await server.members("modern", room, 2)

        await server.post(f"/publish/modern/{room}", count=1, size=5)
        await loud.send("hello")

        assert [await loud.recv(), await loud.recv()] == ["0 XXX", "HELLO"]
        assert await quiet.recv() == "0 xxx"
        await loud.send("close 4002")
        assert await close_code(loud) == 4002


async def test_a_socket_of_two_supervisors_hears_both(server: Server, room: str) -> None:
    """In the order of each, and its end is noticed by both."""
    async with await FrameClient.connect(server, f"/both/{room}") as client:
        await server.members("modern", room, 1)
        await server.members("dropin", room, 1)

        await asyncio.gather(
            server.post(f"/publish/modern/{room}", count=50, first=0, pause=0.001),
            server.post(f"/publish/dropin/{room}", count=50, first=1000, pause=0.001),
        )
        numbers = [int(str(message).split()[0]) for message in await client.messages(100)]

        assert [number for number in numbers if number < 1000] == list(range(50))
        assert [number for number in numbers if number >= 1000] == list(range(1000, 1050))
        await client.send(client_frame(CLOSE, close_payload(1000)))
        assert (await client.until_ended()).close[0] == 1000
    await server.members("modern", room, 0, seconds=2)
    await server.members("dropin", room, 0, seconds=2)


# How it ends.


@on_both_faces
async def test_what_a_client_says_before_it_closes_is_received(
    server: Server, face: str, room: str
) -> None:
    """Three messages and the close frame, in one segment."""
    async with visit(server, f"/{face}/room/{room}") as other:
        async with await FrameClient.connect(server, f"/{face}/room/{room}") as client:
            await server.members(face, room, 2)

            await client.send(
                *(client_frame(TEXT, b"say %d" % number) for number in range(3)),
                client_frame(CLOSE, close_payload(1000)),
            )
            reader = await client.until_ended()

            assert reader.close[0] == 1000
        assert [await other.recv() for _ in range(3)] == ["0", "1", "2"]
        await server.members(face, room, 1, seconds=2)


CLOSES = {
    "1000": close_payload(1000),
    "1001 with a reason": close_payload(1001, "going äway"),
    "3000": close_payload(3000),
    "4999": close_payload(4999, "x" * 123),
    "empty": b"",
}


async def test_a_close_is_answered_with_its_code(server: Server, room: str) -> None:
    """RFC 6455 §5.5.1; an empty one with an empty one."""
    for what, payload in CLOSES.items():
        async with await FrameClient.connect(server, f"/modern/room/{room}") as client:
            await client.send(client_frame(CLOSE, payload))
            reader = await client.until_ended()

            assert reader.closed, what
            code = int.from_bytes(payload[:2], "big") if payload else None
            assert reader.close[0] == code, what
            assert reader.at_boundary
    await server.members("modern", room, 0)


FAULTS = {
    "reserved opcode": (client_frame(3, b"x"), 1002),
    "reserved control opcode": (client_frame(11), 1002),
    "RSV1 without compression": (client_frame(TEXT, b"x", rsv=4), 1002),
    "unmasked": (client_frame(TEXT, b"hello", masked=False), 1002),
    "oversize control frame": (client_frame(PING, b"x" * 126), 1002),
    "fragmented ping": (client_frame(PING, b"x", final=False), 1002),
    "close code 999": (client_frame(CLOSE, close_payload(999)), 1002),
    "close code 1005": (client_frame(CLOSE, close_payload(1005)), 1002),
    "half a close code": (client_frame(CLOSE, b"\x03"), 1002),
    "continuation of nothing": (client_frame(CONTINUATION, b"x"), 1002),
    "no UTF-8": (client_frame(TEXT, b"\xff\xfe"), 1007),
    "no UTF-8 in fragments": (
        client_frame(TEXT, b"a", final=False) + client_frame(CONTINUATION, b"\xff"),
        1007,
    ),
    "no UTF-8, and a close": (
        client_frame(TEXT, b"\xff") + client_frame(CLOSE, close_payload(1000)),
        1007,
    ),
    "no UTF-8 in a close reason": (client_frame(CLOSE, close_payload(1000, b"\xff")), 1007),
    "larger than the server takes": (b"\x82\xff" + (1 << 40).to_bytes(8, "big") + b"mask", 1009),
}


async def test_what_a_client_must_not_send_ends_it_with_the_code_for_it(
    server: Server, room: str
) -> None:
    """
    On the fast path always, and without a line in the log; nothing else comes after it.

    uvicorn's own classes log a traceback for text that is no UTF-8, and websockets-sansio another
    one when a close frame comes with it. They, and the others, need not say why.
    """
    if not fast(server):
        server.expected = {*server.kind.garbage_noise, "InvalidState"}
    for fault, (frames, code) in FAULTS.items():
        async with await FrameClient.connect(server, f"/modern/room/{room}") as client:
            await server.members("modern", room, 1)
            await client.send(frames)
            try:
                reader = await client.until_ended(5 if fast(server) else 0.5)
            except TimeoutError:  # some wait for more
                reader = client.reader

            if fast(server):
                answered = {code, 1000} if "and a close" in fault else {code}
                assert reader.close[0] in answered, fault
                assert reader.order == [CLOSE], fault
            elif reader.closed:
                assert reader.close[0] in {None, 1000, 1002, 1003, 1005, 1006, 1007, 1009}, fault
        await server.members("modern", room, 0, seconds=2)


async def test_a_client_that_ends_its_half_is_let_go_at_once(server: Server, room: str) -> None:
    """Without a close frame; on the fast path no reader is needed to notice."""
    paths = [f"/modern/room/{room}"]
    if fast(server):
        paths += [f"/modern/parked/{room}", f"/dropin/parked/{room}"]
    for path in paths:
        face = path.split("/")[1]
        async with await FrameClient.connect(server, path) as client:
            await server.members(face, room, 1)
            client.end_input()

            await server.members(face, room, 0, seconds=0.5 if fast(server) else 2)
            await client.until_ended()
            assert client.reader.at_boundary
    await server.post("/release")


@on_both_faces
async def test_a_client_that_is_reset_in_the_middle_of_a_flood_leaves_nothing(
    server: Server, face: str, room: str
) -> None:
    """While messages wait for it, and its socket is full."""
    async with await FrameClient.connect(
        server, f"/{face}/room/{room}", receive_buffer=4096
    ) as client:
        await server.members(face, room, 1)
        filling = asyncio.create_task(server.fill(face, room, 60))
        await server.until_lagging(face)

        client.abort()

        await server.members(face, room, 0, seconds=SEND_TIMEOUT + 1.5)
        await filling


async def test_a_close_that_waits_behind_a_full_socket_comes_last(
    server: Server, room: str
) -> None:
    """Whoever reads on in time gets whole frames up to it."""
    async with await FrameClient.connect(
        server, f"/modern/room/{room}", receive_buffer=4096, user=room
    ) as client:
        await server.members("modern", room, 1)
        filling = asyncio.create_task(server.fill("modern", room, 60))
        await server.until_lagging("modern")
        assert await server.post(f"/kick/modern/{room}", user=room) == 1

        reader = await client.read(lambda reader: reader.closed)

        assert reader.close == (3503, "out with you")
        assert reader.at_boundary
        await client.send(client_frame(CLOSE, close_payload(3503)))
        await client.until_ended()
        await filling


async def test_a_client_that_closes_but_does_not_read_is_dropped(server: Server, room: str) -> None:
    """A close frame of its own, while one of ours waits behind what it does not read."""
    if not fast(server):
        pytest.skip("the server's own class waits for it as it likes")
    async with await FrameClient.connect(
        server, f"/modern/room/{room}", receive_buffer=4096, user=room
    ) as client:
        await server.members("modern", room, 1)
        await server.fill("modern", room, 1)  # more than the client takes, less than is too much
        await server.post(f"/kick/modern/{room}", user=room)
        await client.send(client_frame(CLOSE, close_payload(1001)))

        await server.at_rest(2 * SEND_TIMEOUT + 1.5)


# Pings.


async def test_pings_are_answered_in_the_middle_of_a_flood(server: Server, room: str) -> None:
    """In order, with its payload each; of several to a socket that is full, the last."""
    async with await FrameClient.connect(server, f"/block/room/{room}") as client:
        await server.members("block", room, 1)
        publishing = asyncio.create_task(
            server.post(f"/publish/block/{room}", count=200, size=10_000)
        )
        payloads = [b"%d" % number for number in range(50)]
        for payload in payloads:
            await client.send(client_frame(PING, payload))
            await asyncio.sleep(0)
        messages = await client.messages(200, 20)
        reader = await client.read(lambda reader: payloads[-1] in reader.pongs)

        assert [int(str(message).split()[0]) for message in messages] == list(range(200))
        assert reader.pongs == [payload for payload in payloads if payload in reader.pongs]
        assert fast(server) or reader.pongs == payloads
        await publishing


async def test_a_flood_of_pings_from_a_client_that_does_not_read_costs_no_memory(
    server: Server, room: str
) -> None:
    """On the fast path; the client is answered again when it reads again."""
    if not fast(server):
        pytest.skip("the server's own class keeps every pong")
    async with await FrameClient.connect(
        server, f"/modern/parked/{room}", receive_buffer=4096
    ) as client:
        await server.members("modern", room, 1)
        before = (await server.report())["memory"]
        burst = client_frame(PING, b"x" * 125) * 5000
        for _ in range(FLOOD // len(burst)):
            await client.send(burst)
        grown = (await server.report())["memory"] - before

        await client.send(client_frame(PING, b"there?"))
        await client.read(lambda reader: reader.order != [])
        await asyncio.sleep(0)
        await client.send(client_frame(PING, b"and now?"))
        reader = await client.read(lambda reader: b"and now?" in reader.pongs)

        assert grown < MEMORY
        assert len(reader.pongs) * 125 < FLOOD / 4
        assert reader.at_boundary
        await server.post("/release")
        await client.until_ended()


async def test_a_talkative_client_of_an_endpoint_that_never_reads_keeps_its_socket(
    kind: Kind, start: Start
) -> None:
    """Its pongs are read behind what it has said, up to the read-ahead; so is its end, at once."""
    if not kind.name.startswith("supervised"):
        pytest.skip("the server's own class stops reading after a message")
    server = start(kind, kind.pings)
    async with await FrameClient.connect(server, "/modern/parked/a") as client:
        await server.members("modern", "a", 1)
        await client.send(*(client_frame(TEXT, b"talk") for _ in range(10)))

        await client.read(lambda reader: len(reader.pings) >= 4)
        await server.members("modern", "a", 1, seconds=0)
        assert not client.ended
        await client.send(client_frame(CLOSE, close_payload(1000)))

        await server.members("modern", "a", 0, seconds=0.5)
        assert (await client.until_ended()).close[0] == 1000
    await server.post("/release")
    await asyncio.to_thread(server.stop)
    assert server.complaints() == []


# Compression.

OFFERS = {
    "none": (None, None),
    "plain": ("permessage-deflate", 12),
    "as browsers do": ("permessage-deflate; client_max_window_bits", 12),
    "9": ("permessage-deflate; server_max_window_bits=9; client_max_window_bits=9", 9),
    "15": ("permessage-deflate; server_max_window_bits=15; client_max_window_bits=15", 12),
    "8": ("permessage-deflate; server_max_window_bits=8", None),
}
"""What clients offer, and the window in which they have to be able to read what comes."""


async def test_clients_with_and_without_compression_get_equal_messages(
    kind: Kind, start: Start
) -> None:
    """Text and binary, small and large; the reference client says so too."""
    if not kind.name.startswith("supervised"):
        pytest.skip("the server's own class keeps a window for each socket")
    server = start(kind, "--ws-per-message-deflate true")
    clients: dict[str, FrameClient] = {}
    async with visit(server, "/modern/room/a", compression="deflate") as reference:
        for name, (offer, bits) in OFFERS.items():
            clients[name] = await FrameClient.connect(
                server, "/modern/medley/a", extensions=offer, window_bits=bits
            )
        try:
            own = 1 + 3 * len(MEDLEY)
            for client in clients.values():
                await client.messages(own, 10)
            await server.members("modern", "a", len(clients) + 1)
            sizes = [0, 125, 600, 70_000]
            for size in sizes:
                await server.post("/publish/modern/a", count=1, size=size)
                await server.post("/publish-bytes/modern/a", size=size)
            expected = [
                each
                for size in sizes
                for each in ("0 ".ljust(size, "x"), b"binary ".ljust(size, b"x"))
            ]

            assert [await reference.recv() for _ in expected] == expected
            first = None
            for name, client in clients.items():
                messages = await client.messages(own + len(expected))
                assert messages[own:] == expected, name
                first = first or messages[:own]
                assert messages[:own] == first, name
                packed = OFFERS[name][1] is not None
                assert ("permessage-deflate" in client.head) is packed, name
                assert client.reader.compressed[own:] == [
                    packed and size >= 600 for size in sizes for _ in "tb"
                ], name

            # What clients compress is read, as one message or in fragments.
            for name, client in clients.items():
                if OFFERS[name][1] is None:
                    continue
                packer = zlib.compressobj(wbits=-9)
                text = f"echo {name} ".ljust(5000, "ü")
                data = packer.compress(text.encode()) + packer.flush(zlib.Z_SYNC_FLUSH)
                await client.send(
                    client_frame(TEXT, data[:10], rsv=4, final=False),
                    client_frame(CONTINUATION, data[10:-4]),
                )
                assert (await client.messages(own + len(expected) + 1))[-1] == text
        finally:
            for client in clients.values():
                await client.send(client_frame(CLOSE, close_payload(1000)))
                await client.until_ended()
                client.socket.close()
    await server.members("modern", "a", 0)
    await asyncio.to_thread(server.stop)
    assert server.complaints() == []


# Sockets that no supervisor takes over.


async def test_without_a_supervisor_everything_is_as_the_server_has_it(server: Server) -> None:
    """Echoes of all sizes, refusals with their status, and ends; on the fast path as elsewhere."""
    if "uvicorn" not in server.kind.name and not fast(server):
        pytest.skip("what other servers do is their own matter")
    server.expected = {"DeliberateError"}
    async with await FrameClient.connect(server, "/plain/echo") as client:
        payloads = [b"", b"x", b"y" * 125, b"z" * 126, b"x" * 65_535, b"x" * 65_536]
        for payload in payloads:
            await client.send(client_frame(TEXT, payload), client_frame(BINARY, payload))
            await client.messages(len(client.reader.messages) + 2)
        assert client.reader.messages == [each for p in payloads for each in (p.decode(), p)]
        await client.send(client_frame(CLOSE, close_payload(4000, "enough")))
        assert (await client.until_ended()).close[0] == 4000
    await heard(server, "disconnect 4000 enough")

    async with await FrameClient.connect(server, "/plain/echo") as client:
        await client.say("close 4003")
        reader = await client.read(lambda reader: reader.closed)
        await client.send(client_frame(CLOSE, close_payload(4003)))
        await client.until_ended()
        assert (reader.order, reader.close[0]) == ([CLOSE], 4003)
    await heard(server, "after the close: RuntimeError")

    for path, status in (("deny", 418), ("reject", 403), ("crash", 500)):
        async with await FrameClient.connect(server, f"/plain/{path}") as client:
            assert client.status == status
            if path == "deny":
                assert "a teapot" in client.body.decode()

    if not fast(server) and server.kind.name != "uvicorn-sansio":
        return  # older ones leave a client connected whose endpoint has ended
    for command in ("raise", "return"):
        async with await FrameClient.connect(server, "/plain/echo") as client:
            await client.say(command)
            reader = await client.until_ended()
            assert reader.messages == []
            assert reader.close[0] in {None, 1000, 1006, 1011, 1012}


async def heard(server: Server, what: str) -> None:
    """Wait until an endpoint has noted that."""
    await server.eventually(lambda: ended(server), lambda found: what in found, what)


async def ended(server: Server) -> list[str]:
    """Return what endpoints have noted."""
    found: list[str] = (await server.report())["ended"]
    return found


def test_the_reader_of_these_tests_forgives_nothing() -> None:
    """Each kind of frame that a server must not send is objected to."""
    bad = [
        b"\x83\x00",
        b"\x91\x00",
        b"\xc1\x00",
        b"\x81\x81\x00\x00\x00\x00x",
        b"\x81\x7e\x00\x7dx",
        b"\x81\x7f" + (126).to_bytes(8, "big"),
        b"\x80\x00",
        b"\x01\x00\x81\x00",
        b"\x89\x7e\x00\x7e" + b"x" * 126,
        b"\x09\x00",
        b"\x88\x01x",
        b"\x88\x02\x03\xed",
        b"\x88\x00\x81\x00",
        b"\x81\x01\xff",
    ]
    for data in bad:
        reader = FrameReader()
        with pytest.raises(AssertionError):
            reader.feed(data)
