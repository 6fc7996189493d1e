"""
What a FastAPI endpoint can reach: a ready-made frame, written in a bare loop.

Nothing supervises anything here: it is the limit that a library on uvicorn is measured against.
Publications that queue up are joined, and written once for each socket.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from tests.benchmarks.peers.control import frame, serve


class OpenProtocol(WebSocketsSansIOProtocol):
    """uvicorn's class, which lets the endpoint have its transport."""

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions["ready_frame"] = self
        await super().run_asgi()

    def pause_writing(self) -> None:
        super().pause_writing()
        paused.add(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        paused.discard(self)

    def connection_lost(self, exc: Exception | None) -> None:
        paused.discard(self)
        super().connection_lost(exc)


protocols: dict[WebSocket, OpenProtocol] = {}
paused: set[OpenProtocol] = set()
app = FastAPI()


@app.websocket("/ws")
async def endpoint(websocket: WebSocket) -> None:
    """Keep a client until it leaves."""
    await websocket.accept()
    protocols[websocket] = websocket.scope["extensions"]["ready_frame"]
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        del protocols[websocket]


class Publisher:
    """Writes to every transport, and waits for those that are full before the next."""

    async def one(self, text: str) -> None:
        await self._write(frame(text))

    async def queued(self, texts: list[str]) -> None:
        await self._write(b"".join(map(frame, texts)))

    def members(self) -> int:
        return len(protocols)

    async def _write(self, data: bytes) -> None:
        for protocol in protocols.values():
            protocol.transport.write(data)
        while paused:
            await next(iter(paused)).writable.wait()


if __name__ == "__main__":
    serve(app, Publisher(), ws=OpenProtocol)
