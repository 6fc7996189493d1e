"""The load engine against real sockets: what it counts, and what it says of servers that fail."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, broadcast, serve

from supervisor.cli.load import (
    LoadError,
    Numbers,
    Receivers,
    ServerProcess,
    ServerRefused,
    open_publisher,
    payload,
)

pytestmark = pytest.mark.integration

Handler = Callable[[ServerConnection], Awaitable[None]]


class Chat:
    """
    A server that sends what it is sent to all, as a chat does.

    Attributes:
        prefix: What it puts before each message.
        lose: Numbers that the first client does not get.
        twice: Numbers that it gets twice.
        heard: What clients sent that is no payload.
    """

    def __init__(self) -> None:
        self.prefix = ""
        self.lose: set[int] = set()
        self.twice: set[int] = set()
        self.heard: list[str] = []
        self.clients: list[ServerConnection] = []
        self.url = ""

    async def handle(self, client: ServerConnection) -> None:
        """Serve one client."""
        self.clients.append(client)
        await client.send("welcome")
        async for message in client:
            assert isinstance(message, str)
            if not message.startswith("wsb:"):
                self.heard.append(message)
                continue
            number = int(message[4:12])
            text = self.prefix + message
            broadcast(self.clients[1:], text)
            if number not in self.lose:
                broadcast(self.clients[:1], text)
            if number in self.twice:
                broadcast(self.clients[:1], text)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Listen on a free port of 127.0.0.1."""
        async with serve(self.handle, "127.0.0.1", 0, compression=None) as server:
            self.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"
            yield


@pytest.fixture
async def chat() -> AsyncIterator[Chat]:
    """Return a running chat."""
    found = Chat()
    async with found.serve():
        yield found


async def publish(url: str, count: int, size: int = 128) -> None:
    """Publish so many messages, and leave when the server has them."""
    publisher = await open_publisher(url)
    numbers = Numbers()
    for _ in range(count):
        await publisher.publish(payload(numbers.take(), time.monotonic_ns(), size))
    await until(lambda: publisher.delivered >= count)
    await publisher.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait, five seconds at most."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for knows no events
            await asyncio.sleep(0.005)


@asynccontextmanager
async def connected(receivers: Receivers) -> AsyncIterator[Receivers]:
    """Connect, and close in the end."""
    await receivers.connect()
    try:
        yield receivers
    finally:
        await receivers.close()


@pytest.mark.parametrize("size", [34, 128, 70_000])
@pytest.mark.parametrize("latency", [True, False])
async def test_everything_is_counted(chat: Chat, size: int, latency: bool) -> None:
    """Each socket got each message once; with latencies if they are wanted."""
    async with connected(Receivers(chat.url, 20)) as receivers:
        receivers.begin(expect=30, latency=latency)
        await publish(chat.url, 30, size)
        arrived = await receivers.done(10)
        result = receivers.result()

    assert arrived
    assert result.complete
    assert (result.delivered, result.expected, result.lost) == (600, 600, 0)
    assert result.per_socket == (30,) * 20
    assert result.seconds > 0
    assert (result.latency is not None) is latency
    if result.latency is not None:
        assert result.latency.receipts == 600
        assert 0 < result.latency.p50 <= result.latency.p99 <= result.latency.longest < 10
        assert result.last_receiver is not None
        assert result.last_receiver.publications == 30
        assert result.last_receiver.median >= result.latency.p50 * 0.5


async def test_payloads_are_found_in_other_text(chat: Chat) -> None:
    """Whatever the server puts before them; what else it says is no delivery."""
    chat.prefix = json.dumps({"from": "somebody"}) + " says "
    async with connected(Receivers(chat.url, 3)) as receivers:
        receivers.begin(expect=5, latency=True)
        await publish(chat.url, 5)
        for client in chat.clients[:3]:  # the fourth was the publisher's
            await client.send('{"type": "ping"}')
        assert await receivers.done(5)
        await receivers.quiet(0.05, 2)
        result = receivers.result()

    assert result.delivered == 15
    assert result.other == 3
    assert result.complete


async def test_losses_and_repeats_are_told_apart(chat: Chat) -> None:
    """One message lost and another twice, at one socket of four."""
    chat.lose, chat.twice = {3}, {7, 8}
    async with connected(Receivers(chat.url, 4)) as receivers:
        receivers.begin(latency=True)
        await publish(chat.url, 10)
        receivers.expect(10)
        await receivers.done(5)
        result = receivers.result()

    assert sorted(result.per_socket) == [10, 10, 10, 11]
    assert (result.lost, result.surplus, result.gaps, result.repeats) == (0, 1, 1, 2)
    assert not result.complete


async def test_lost_messages_are_waited_for_and_reported(chat: Chat) -> None:
    """done() returns False when its time is over; the rest is known."""
    chat.lose = {0, 1}
    async with connected(Receivers(chat.url, 4)) as receivers:
        receivers.begin(expect=10)
        await publish(chat.url, 10)
        arrived = await receivers.done(0.2)
        result = receivers.result()

    assert not arrived
    assert (result.delivered, result.lost) == (38, 2)
    assert "2 of 40 messages were lost (5.00%)." in result.warnings()


async def test_each_client_says_hello(chat: Chat) -> None:
    """The same, or what a function says for its index."""
    async with connected(Receivers(chat.url, 3, hello=lambda index: f"join {index}")):
        await until(lambda: len(chat.heard) == 3)

    assert sorted(chat.heard) == ["join 0", "join 1", "join 2"]


async def test_a_run_forgets_the_one_before(chat: Chat) -> None:
    """Counts, numbers and times begin anew."""
    async with connected(Receivers(chat.url, 3)) as receivers:
        for count in (7, 4):
            receivers.begin(expect=count, latency=True)
            await publish(chat.url, count)
            assert await receivers.done(5)
            result = receivers.result()
            assert result.delivered == 3 * count
            assert result.complete


async def test_a_stalled_receiver_is_not_waited_for(chat: Chat) -> None:
    """It gets nothing until it reads again; then it gets all."""
    async with connected(Receivers(chat.url, 3)) as receivers:
        receivers.pause_reading(0)
        receivers.begin(expect=5)
        await publish(chat.url, 5)
        assert await receivers.done(5)
        stalled = receivers.result()

        receivers.resume_reading(0)
        assert await receivers.done(5)
        resumed = receivers.result()

    assert (stalled.sockets, stalled.per_socket[0], stalled.lost) == (2, 0, 0)
    assert (resumed.sockets, resumed.per_socket, resumed.lost) == (3, (5, 5, 5), 0)


async def test_connections_that_end_are_reported(chat: Chat) -> None:
    """With their close codes; nobody waits for them."""
    async with connected(Receivers(chat.url, 3)) as receivers:
        receivers.begin(expect=5)
        await publish(chat.url, 4)
        await chat.clients[0].close(4001)
        chat.clients[1].transport.abort()
        await chat.clients[2].close(1000)
        arrived = await receivers.done(5)
        result = receivers.result()

    assert not arrived
    assert result.close_codes == {4001: 1, 1006: 1, 1000: 1}
    assert (result.closed, result.lost) == (3, 3)


async def test_pings_are_answered(chat: Chat) -> None:
    """With what they carry."""
    async with connected(Receivers(chat.url, 1)):
        pong = await chat.clients[0].ping(b"are you there")

        assert await asyncio.wait_for(pong, 5) > 0


async def test_goodbye_is_said(chat: Chat) -> None:
    """Each closes with 1000, and no task or socket is left."""
    async with connected(Receivers(chat.url, 5)) as receivers:
        pass

    assert [client.close_code for client in chat.clients] == [1000] * 5
    assert receivers.connected == 0


async def test_a_refusal_names_the_status() -> None:
    """And leaves no socket open."""
    refuse = lambda client, request: client.respond(403, "no")  # noqa: E731
    async with serve(
        lambda client: client.wait_closed(), "127.0.0.1", 0, process_request=refuse
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        receivers = Receivers(f"ws://127.0.0.1:{port}/", 5)

        with pytest.raises(ServerRefused, match="403 Forbidden") as caught:
            await receivers.connect()

    assert caught.value.status == 403
    assert receivers.connected == 0


async def test_a_server_that_is_not_there_is_said_not_to_be() -> None:
    """With its address."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        url = f"ws://127.0.0.1:{nobody.getsockname()[1]}/"

        with pytest.raises(LoadError, match="Is the server running"):
            await Receivers(url, 5).connect()
        with pytest.raises(LoadError, match="cannot connect"):
            await open_publisher(url.replace("ws", "http"))


async def test_a_server_that_says_nothing_is_given_up() -> None:
    """After the time for connecting, with how far it came."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        receivers = Receivers(f"ws://127.0.0.1:{silent.getsockname()[1]}/", 3, connect_timeout=0.2)

        with pytest.raises(LoadError, match="0 of 3 sockets were connected within"):
            await receivers.connect()


async def test_a_server_that_hangs_up_is_an_error() -> None:
    """During the handshake."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]

        with pytest.raises(LoadError, match=r"ended the connection during the handshake|cannot"):
            await Receivers(f"ws://127.0.0.1:{port}/", 1).connect()


@pytest.mark.parametrize("chunked", [True, False])
async def test_publications_can_be_posted(chunked: bool) -> None:
    """Over one connection, however the server writes its answers; a refusal is an error."""
    bodies: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                bodies.append(await reader.readexactly(length))
                status = b"200 OK" if len(bodies) < 3 else b"429 Too Many Requests"
                writer.write(
                    b"HTTP/1.1 "
                    + status
                    + b"\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
                    if chunked
                    else b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nok"
                )
        except asyncio.IncompleteReadError:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        publisher = await open_publisher(f"http://127.0.0.1:{port}/publish")
        await publisher.publish("one")
        await publisher.publish("two")
        with pytest.raises(LoadError, match="answered 429"):
            await publisher.publish("three")
        await publisher.close()

    assert bodies == [b"one", b"two", b"three"]


async def test_this_process_is_found_by_its_port(chat: Chat) -> None:
    """With the time that it uses, and its memory."""
    port = int(chat.url.rstrip("/").rpartition(":")[2])
    found = ServerProcess.listening(port)
    assert found is not None

    before = found.cpu_seconds()
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass

    assert found.cpu_seconds() - before >= 0.03
    assert 5_000 < found.rss_kib() < 5_000_000
