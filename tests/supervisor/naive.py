"""
A hand-written connection manager with the usual faults, to show that the tests see them.

It behaves as the managers do that the drop-in faces replace: rooms and users in sets, a serial
loop for every fan-out, decisions by ``client_state`` and by the texts of exceptions.
"""

from __future__ import annotations

from typing import Any

from starlette.websockets import WebSocketDisconnect, WebSocketState

__all__ = ["NaiveConnectionManager"]

KNOWN_TEXTS = ("close message has been sent", "WebSocket is disconnected")


class NaiveConnectionManager:
    """Rooms and users, the message first."""

    def __init__(self) -> None:
        self.active_connections: dict[str, set[Any]] = {}
        self.user_connections: dict[str, set[Any]] = {}

    async def connect(self, websocket: Any, room: str, user_id: str | None = None) -> None:
        """Accept and remember."""
        await websocket.accept()
        self.active_connections.setdefault(room, set()).add(websocket)
        if user_id is not None:
            self.user_connections.setdefault(user_id, set()).add(websocket)

    def disconnect(self, websocket: Any, room: str, user_id: str | None = None) -> None:
        """Forget."""
        _discard(self.active_connections, room, websocket)
        if user_id is not None:
            _discard(self.user_connections, user_id, websocket)

    async def send_personal_message(self, message: str, websocket: Any) -> bool:
        """Send to one socket; False if that failed."""
        if websocket.client_state is WebSocketState.DISCONNECTED:
            return False
        try:
            await websocket.send_text(message)
        except WebSocketDisconnect:
            self._cleanup_disconnected_websocket(websocket)
            return False
        except RuntimeError as error:
            if any(text in str(error) for text in KNOWN_TEXTS):
                self._cleanup_disconnected_websocket(websocket)
            return False
        return True

    async def send_to_room(self, message: str, room: str) -> None:
        """Send to each in a room, one after the other."""
        await self._send_to(self.active_connections, room, message)

    async def send_to_user(self, message: str, user_id: str) -> None:
        """Send to each socket of a user, one after the other."""
        await self._send_to(self.user_connections, user_id, message)

    async def broadcast(self, message: str) -> None:
        """Send to everybody, room by room."""
        for room in self.active_connections:
            for websocket in self.active_connections[room].copy():
                await self.send_personal_message(message, websocket)

    async def _send_to(self, sockets: dict[str, set[Any]], key: str, message: str) -> None:
        if key not in sockets:
            return
        gone = set()
        for websocket in sockets[key].copy():
            if not await self.send_personal_message(message, websocket):
                gone.add(websocket)
        sockets[key] -= gone

    def _cleanup_disconnected_websocket(self, websocket: Any) -> None:
        for sockets in (self.active_connections, self.user_connections):
            for key in list(sockets):
                _discard(sockets, key, websocket)


def _discard(sockets: dict[str, set[Any]], key: str, websocket: Any) -> None:
    if key in sockets:
        sockets[key].discard(websocket)
        if not sockets[key]:
            del sockets[key]
