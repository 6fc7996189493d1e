"""Litestar's channels, with the memory backend: a queue and a task for each subscriber."""

from __future__ import annotations

import asyncio

from litestar import Litestar, WebSocket, websocket
from litestar.channels import ChannelsPlugin, Subscriber
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.exceptions import WebSocketDisconnect

from tests.benchmarks.peers.control import serve

channels = ChannelsPlugin(backend=MemoryChannelsBackend(), channels=["room"])
subscribers: set[Subscriber] = set()


@websocket("/ws")  # type: ignore[untyped-decorator]  # not in the project's environment
async def handler(socket: WebSocket) -> None:
    """Keep a client until it leaves; what is published is sent to it in the background."""
    await socket.accept()
    async with channels.start_subscription(["room"]) as subscriber:
        subscribers.add(subscriber)
        try:
            async with subscriber.run_in_background(socket.send_text, join=False):
                while True:
                    await socket.receive_text()
        except WebSocketDisconnect:
            pass
        finally:
            subscribers.discard(subscriber)


class Publisher:
    """The subscribers' queues have no bound; they are waited for, so they stay short."""

    async def one(self, text: str) -> None:
        await self.queued([text])

    async def queued(self, texts: list[str]) -> None:
        for text in texts:
            await channels.wait_published(text, "room")
        await asyncio.sleep(0)  # the plugin's own task hands them to the subscribers
        await asyncio.sleep(0)
        while any(subscriber.qsize for subscriber in subscribers):
            await asyncio.sleep(0)

    def members(self) -> int:
        return len(subscribers)


if __name__ == "__main__":
    serve(Litestar([handler], plugins=[channels], openapi_config=None), Publisher())
