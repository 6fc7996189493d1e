"""What Python reaches: the handshake by hand, and ``transport.write`` in a loop on uvloop."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re

from tests.benchmarks.peers.control import frame, listen, run, take_commands

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455

transports: set[asyncio.WriteTransport] = set()
paused: set[asyncio.BaseTransport] = set()


class Socket(asyncio.Protocol):
    """Answers the handshake and ignores whatever follows."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport) or hasattr(transport, "write")
        self.transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self.received = b""

    def data_received(self, data: bytes) -> None:
        if self.transport in transports:
            if data[0] & 0x0F == 8:
                self.transport.close()
            return
        self.received += data
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", self.received)
        if key is None or b"\r\n\r\n" not in self.received:
            return
        accept = base64.b64encode(hashlib.sha1(key[1] + GUID).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        transports.add(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        transports.discard(self.transport)
        paused.discard(self.transport)
        resumed.set()

    def pause_writing(self) -> None:
        paused.add(self.transport)

    def resume_writing(self) -> None:
        paused.discard(self.transport)
        resumed.set()


resumed = asyncio.Event()


class Publisher:
    """Writes to every transport, and waits for those that are full before the next."""

    async def one(self, text: str) -> None:
        await self._write(frame(text))

    async def queued(self, texts: list[str]) -> None:
        await self._write(b"".join(map(frame, texts)))

    def members(self) -> int:
        return len(transports)

    async def _write(self, data: bytes) -> None:
        for transport in transports:
            transport.write(data)
        while paused:
            resumed.clear()
            await resumed.wait()


async def main() -> None:
    """Serve until told otherwise."""
    listener = listen()
    await asyncio.get_running_loop().create_server(Socket, sock=listener)
    await take_commands(listener, Publisher())


if __name__ == "__main__":
    run(main)
