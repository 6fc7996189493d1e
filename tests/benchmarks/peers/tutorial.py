"""The manager of FastAPI's tutorial: a list of sockets, and a loop that sends to each in turn."""

from __future__ import annotations

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from tests.benchmarks.peers.control import serve


class ConnectionManager:
    """Everybody who is connected."""

    def __init__(self) -> None:
        self.active_connections: list[WebSocket] = []

    async def connect(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self.active_connections.append(websocket)

    def disconnect(self, websocket: WebSocket) -> None:
        self.active_connections.remove(websocket)

    async def broadcast(self, message: str) -> None:
        for connection in self.active_connections:
            await connection.send_text(message)


manager = ConnectionManager()
app = FastAPI()


@app.websocket("/ws")
async def endpoint(websocket: WebSocket) -> None:
    """Keep a client until it leaves."""
    await manager.connect(websocket)
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        manager.disconnect(websocket)


class Publisher:
    """Broadcasts; what is published meanwhile waits for it, so both modes are the same."""

    async def one(self, text: str) -> None:
        await manager.broadcast(text)

    async def queued(self, texts: list[str]) -> None:
        for text in texts:
            await manager.broadcast(text)

    def members(self) -> int:
        return len(manager.active_connections)


if __name__ == "__main__":
    serve(app, Publisher())
