"""``websockets.broadcast()``, the fast way of that library, and its own drain between bursts."""

from __future__ import annotations

from websockets.asyncio.server import ServerConnection, broadcast, serve

from tests.benchmarks.peers.control import listen, run, take_commands

connections: set[ServerConnection] = set()


async def handler(connection: ServerConnection) -> None:
    """Keep a client until it leaves."""
    connections.add(connection)
    try:
        await connection.wait_closed()
    finally:
        connections.discard(connection)


class Publisher:
    """broadcast() itself never waits; the connections whose buffers are full are waited for."""

    async def one(self, text: str) -> None:
        await self.queued([text])

    async def queued(self, texts: list[str]) -> None:
        for text in texts:
            broadcast(connections, text)
        for connection in list(connections):
            if connection.paused:
                await connection.drain()

    def members(self) -> int:
        return len(connections)


async def main() -> None:
    """Serve until told otherwise."""
    listener = listen()
    async with serve(handler, sock=listener, compression=None, ping_interval=None):
        await take_commands(listener, Publisher())


if __name__ == "__main__":
    run(main)
