"""A manager of the shape that AnsFlow has: rooms of sockets, a state check and a flag per send."""

from __future__ import annotations

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from starlette.websockets import WebSocketState

from tests.benchmarks.peers.control import serve


class ConnectionManager:
    """Who is in which room."""

    def __init__(self) -> None:
        self.active_connections: dict[str, set[WebSocket]] = {}

    async def connect(self, websocket: WebSocket, room: str) -> None:
        await websocket.accept()
        self.active_connections.setdefault(room, set()).add(websocket)

    def disconnect(self, websocket: WebSocket, room: str) -> None:
        members = self.active_connections.get(room, set())
        members.discard(websocket)
        if not members:
            self.active_connections.pop(room, None)

    async def send_personal_message(self, message: str, websocket: WebSocket) -> bool:
        try:
            if websocket.client_state is not WebSocketState.CONNECTED:
                return False
            await websocket.send_text(message)
        except (WebSocketDisconnect, RuntimeError):
            return False
        return True

    async def send_to_room(self, message: str, room: str) -> None:
        dead = [
            connection
            for connection in self.active_connections.get(room, set()).copy()
            if not await self.send_personal_message(message, connection)
        ]
        for connection in dead:
            self.disconnect(connection, room)


manager = ConnectionManager()
app = FastAPI()


@app.websocket("/ws")
async def endpoint(websocket: WebSocket) -> None:
    """Keep a client until it leaves."""
    await manager.connect(websocket, "room")
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        manager.disconnect(websocket, "room")


class Publisher:
    """Sends to the room; what is published meanwhile waits for it, so both modes are the same."""

    async def one(self, text: str) -> None:
        await manager.send_to_room(text, "room")

    async def queued(self, texts: list[str]) -> None:
        for text in texts:
            await manager.send_to_room(text, "room")

    def members(self) -> int:
        return len(manager.active_connections.get("room", ()))


if __name__ == "__main__":
    serve(app, Publisher())
