"""The obvious actor: a bounded ``asyncio.Queue`` and a writer task for each socket."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from tests.benchmarks.peers.control import serve

queues: set[asyncio.Queue[str]] = set()
app = FastAPI()


@app.websocket("/ws")
async def endpoint(websocket: WebSocket) -> None:
    """Keep a client until it leaves; its task alone writes to it."""
    await websocket.accept()
    queue = asyncio.Queue[str](1024)

    async def write() -> None:
        while True:
            await websocket.send_text(await queue.get())
            queue.task_done()

    writer = asyncio.create_task(write())
    queues.add(queue)
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        pass
    finally:
        queues.discard(queue)
        writer.cancel()


class Publisher:
    """Puts into every queue; a full one makes the publisher wait, so nothing is lost."""

    async def one(self, text: str) -> None:
        await self.queued([text])
        for queue in list(queues):
            await queue.join()

    async def queued(self, texts: list[str]) -> None:
        for text in texts:
            for queue in list(queues):
                if queue.full():
                    await queue.put(text)
                else:
                    queue.put_nowait(text)

    def members(self) -> int:
        return len(queues)


if __name__ == "__main__":
    serve(app, Publisher())
