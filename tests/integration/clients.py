"""
Clients: the ``websockets`` one for those who behave, raw sockets for those who do not.

And one that knows frames alone, and forgives nothing that a server sends.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from tests.frames import PONG, TEXT, FrameReader, client_frame
from tests.integration.servers import Server

__all__ = [
    "FrameClient",
    "Numbers",
    "RawClient",
    "close_code",
    "gather_numbers",
    "visit",
    "visit_all",
]


@asynccontextmanager
async def visit(
    server: Server,
    path: str,
    *,
    subprotocols: Sequence[str] | None = None,
    origin: str | None = None,
    compression: str | None = None,
    **query: object,
) -> AsyncIterator[ClientConnection]:
    """Connect a client that behaves; leave politely."""
    async with connect(
        server.url(path, **query),
        subprotocols=subprotocols,  # type: ignore[arg-type]  # plain strings are fine
        additional_headers={"Origin": origin} if origin else None,
        compression=compression,
        ping_interval=None,
        max_size=None,
        close_timeout=1,
        proxy=None,
    ) as client:
        yield client


@asynccontextmanager
async def visit_all(server: Server, paths: Sequence[str]) -> AsyncIterator[list[ClientConnection]]:
    """Connect one client to each path, some at a time; all leave politely, at once."""
    gate = asyncio.Semaphore(20)
    async with AsyncExitStack() as stack:

        async def one(path: str) -> ClientConnection:
            async with gate:
                return await stack.enter_async_context(visit(server, path))

        clients = await asyncio.gather(*(one(path) for path in paths))
        yield clients
        await asyncio.gather(*(client.close() for client in clients))


async def close_code(client: ClientConnection, seconds: float = 5.0) -> int | None:
    """Read until the server closes; return the code it gives."""
    async with asyncio.timeout(seconds):
        try:
            while True:
                await client.recv()
        except ConnectionClosed:
            return client.close_code


class Numbers:
    """
    Checks the numbered messages that one client gets.

    Attributes:
        seen: The numbers, in the order of their arrival.
    """

    def __init__(self) -> None:
        self.seen: list[int] = []

    def add(self, message: str | bytes) -> None:
        """Note the number that ``message`` begins with."""
        self.seen.append(int(message.split(maxsplit=1)[0]))

    def add_steady(self, message: str | bytes) -> None:
        """Note it if the server's publisher sent it, and no other client."""
        if str(message).endswith(" steady"):
            self.add(message)

    @property
    def faults(self) -> list[tuple[int, int]]:
        """Neighbours that do not follow each other: out of order, twice, or with a gap."""
        return [
            (one, other)
            for one, other in zip(self.seen, self.seen[1:], strict=False)
            if other != one + 1
        ]


async def gather_numbers(client: ClientConnection, count: int, seconds: float) -> list[int]:
    """Return the numbers of the next ``count`` messages."""
    numbers = Numbers()
    async with asyncio.timeout(seconds):
        for _ in range(count):
            numbers.add(await client.recv())
    return numbers.seen


class RawClient:
    """
    A socket that reads only when it is told to, and may do whatever clients must not.

    Its receive buffer is as small as the kernel allows, so that it stalls soon.
    """

    def __init__(self, peer: socket.socket, protocol: ClientProtocol) -> None:
        self.socket = peer
        self.protocol = protocol

    @classmethod
    async def begin(cls, server: Server, path: str, **query: object) -> Self:
        """Send the request of the handshake, and do not wait for its answer."""
        peer = socket.socket()
        peer.setblocking(False)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        protocol = ClientProtocol(parse_uri(server.url(path, **query)), max_size=None)
        client = cls(peer, protocol)
        try:
            await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", server.port))
            protocol.send_request(protocol.connect())
            await client.flush()
        except BaseException:
            peer.close()
            raise
        return client

    @classmethod
    async def connect(cls, server: Server, path: str, **query: object) -> Self:
        """Do the handshake, and read nothing more than that."""
        client = await cls.begin(server, path, **query)
        try:
            async with asyncio.timeout(10):
                while client.protocol.state is State.CONNECTING:
                    if not await client._read():
                        raise ConnectionResetError("the server closed during the handshake")
            if client.protocol.handshake_exc is not None:
                raise client.protocol.handshake_exc
        except BaseException:
            client.close()
            raise
        return client

    async def send(self, text: str) -> None:
        """Send a text frame."""
        self.protocol.send_text(text.encode())
        await self.flush()

    async def send_bytes(self, anything: bytes) -> None:
        """Send bytes that need not be a frame."""
        await asyncio.get_running_loop().sock_sendall(self.socket, anything)

    async def flush(self) -> None:
        """Send what the protocol has to say."""
        for part in self.protocol.data_to_send():
            if part:
                await self.send_bytes(part)

    async def messages(
        self, seconds: float, *, count: int | None = None, pause: float = 0.0
    ) -> list[str]:
        """Read text messages until there are ``count``, or until the server ends it; or slowly."""
        found: list[str] = []
        parts: list[bytes] = []
        async with asyncio.timeout(seconds):
            while True:
                for event in self.protocol.events_received():
                    if isinstance(event, Frame) and event.opcode in {Opcode.TEXT, Opcode.CONT}:
                        parts.append(bytes(event.data))
                        if event.fin:
                            found.append(b"".join(parts).decode())
                            parts.clear()
                if count is not None and len(found) >= count:
                    return found
                if pause:
                    await asyncio.sleep(pause)
                if not await self._read():
                    return found

    async def until_closed(self, seconds: float) -> None:
        """Read until the server ends it, or give it up after ``seconds``."""
        try:
            await self.messages(seconds)
        except TimeoutError:
            pass

    @property
    def close_code(self) -> int | None:
        """The code of the close frame that came, if one came."""
        received = self.protocol.close_rcvd
        return None if received is None else received.code

    def abort(self) -> None:
        """Leave without a word, as a crashed browser does: the kernel sends a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """Leave without a close frame."""
        self.socket.close()

    async def _read(self) -> bool:
        """Read a little; return False at the end."""
        try:
            data = await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16)
        except ConnectionError:
            return False
        if not data:
            return False
        self.protocol.receive_data(data)
        try:
            await self.flush()
        except OSError:  # the peer has closed both ways
            pass
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.socket.close()


class FrameClient:
    """
    A client made of frames, whose reader objects to whatever a server must not send.

    Attributes:
        status: HTTP status of the answer to its handshake.
        head: That answer, in lower case.
        body: What came with it, if it was a refusal.
        reader: What it made of what came; pings it answers by itself.
        ended: Whether the server has ended the connection.
    """

    def __init__(self, peer: socket.socket) -> None:
        self.socket = peer
        self.status = 0
        self.head = ""
        self.body = b""
        self.reader = FrameReader()
        self.ended = False

    @classmethod
    async def connect(
        cls,
        server: Server,
        path: str,
        *,
        extensions: str | None = None,
        window_bits: int | None = None,
        receive_buffer: int | None = None,
        **query: object,
    ) -> Self:
        """
        Do the handshake.

        Args:
            server: Whose client it is.
            path: Where to.
            extensions: What it offers.
            window_bits: Size of the window in which it reads what is compressed.
            receive_buffer: Bytes that the kernel keeps for it; what the system thinks best.
            **query: The rest of the address.
        """
        peer = socket.socket()
        peer.setblocking(False)
        if receive_buffer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client = cls(peer)
        client.reader.window_bits = window_bits
        offer = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
        target = server.url(path, **query).removeprefix(f"ws://127.0.0.1:{server.port}")
        try:
            async with asyncio.timeout(10):
                await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", server.port))
                await client.send(
                    f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
                    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                    f"Sec-WebSocket-Version: 13\r\n{offer}\r\n".encode()
                )
                await client._read_head()
        except BaseException:
            peer.close()
            raise
        return client

    async def _read_head(self) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            more = await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16)
            if not more:
                raise ConnectionResetError("the server closed during the handshake")
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        self.head = head.decode().lower()
        self.status = int(self.head.split(" ", 2)[1])
        if self.status == 101:
            self.reader.feed(rest)
            return
        length = re.search(r"(?m)^content-length: *(\d+)", self.head)
        while length is not None and len(rest) < int(length[1]):
            rest += await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16)
        self.body = rest

    async def send(self, *frames: bytes) -> None:
        """Send all of it in one go."""
        await asyncio.get_running_loop().sock_sendall(self.socket, b"".join(frames))

    async def say(self, text: str) -> None:
        """Send a text message."""
        await self.send(client_frame(TEXT, text.encode()))

    async def read(self, until: Callable[[FrameReader], bool], seconds: float = 5.0) -> FrameReader:
        """Read until that is so, or the server has ended the connection."""
        async with asyncio.timeout(seconds):
            while not until(self.reader) and not self.ended:
                answered = len(self.reader.pings)
                try:
                    data = await asyncio.get_running_loop().sock_recv(self.socket, 1 << 18)
                except ConnectionError:
                    data = b""
                self.ended = not data
                self.reader.feed(data)
                for ping in self.reader.pings[answered:]:
                    await self.send(client_frame(PONG, ping))
        return self.reader

    async def messages(self, count: int, seconds: float = 5.0) -> list[str | bytes]:
        """Read until there are so many messages, or the connection has ended; return them all."""
        reader = await self.read(lambda reader: len(reader.messages) >= count, seconds)
        return reader.messages

    async def until_ended(self, seconds: float = 5.0) -> FrameReader:
        """Read until the server has ended the connection."""
        return await self.read(lambda _: False, seconds)

    def end_input(self) -> None:
        """End its own half, and read on."""
        self.socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """Leave without a word: the kernel sends a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.socket.close()
