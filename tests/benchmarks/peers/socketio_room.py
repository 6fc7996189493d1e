"""python-socketio: an event emitted to a room, over the WebSocket transport."""

from __future__ import annotations

import asyncio

import socketio

from tests.benchmarks.peers.control import serve

sio = socketio.AsyncServer(
    async_mode="asgi",
    transports=["websocket"],
    ping_interval=3600,
    http_compression=False,
    logger=False,
    engineio_logger=False,
)
app = socketio.ASGIApp(sio)
members: set[str] = set()


@sio.event  # type: ignore[untyped-decorator]  # not in the project's environment
async def connect(sid: str, _: object) -> None:
    """Put the client into the room."""
    await sio.enter_room(sid, "room")
    members.add(sid)


@sio.event  # type: ignore[untyped-decorator]  # not in the project's environment
async def disconnect(sid: str, _: object = None) -> None:
    """Forget the client; its room does so by itself."""
    members.discard(sid)


class Publisher:
    """emit() fills a queue without bound for each client; they are waited for, so they stay short."""

    async def one(self, text: str) -> None:
        await self.queued([text])

    async def queued(self, texts: list[str]) -> None:
        for text in texts:
            await sio.emit("m", text, room="room")
        while any(not client.queue.empty() for client in sio.eio.sockets.values()):
            await asyncio.sleep(0)

    def members(self) -> int:
        return len(members)


if __name__ == "__main__":
    serve(app, Publisher())
