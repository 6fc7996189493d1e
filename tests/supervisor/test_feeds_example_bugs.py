"""What the pipeline example found in rooms that keep their messages."""

from __future__ import annotations

import pytest
from fastapi import FastAPI, WebSocket
from starlette.testclient import TestClient

from supervisor import RoomPolicy, Supervisor

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("rooms", [["status:1", "log:1"], ["log:1", "status:1"]])
def test_member_of_two_rooms_reads_on_in_both(rooms: list[str]) -> None:
    """When a socket that held back takes more, a room that has no more keeps no other from going on."""
    supervisor = Supervisor(rooms={"log:*": RoomPolicy.log(), "status:*": RoomPolicy.status()})
    app = FastAPI(lifespan=supervisor.lifespan)

    @app.post("/publish")
    async def publish() -> None:
        for number in range(4):
            await supervisor.publish("status:1", {"state": number}, key=f"step:{number % 2}")
            await supervisor.publish("log:1", f"line {number}")

    @app.websocket("/ws")
    async def follow(websocket: WebSocket) -> None:
        async with supervisor.session(websocket, rooms=rooms, envelope=True) as session:
            async for _ in session:
                pass

    with TestClient(app, base_url="http://127.0.0.1") as client:
        client.post("/publish")
        with client.websocket_connect("/ws") as socket:  # whose every write takes a while
            messages = [socket.receive_json() for _ in range(8)]

    found = {
        room: [each["offset"] for each in messages if each.get("room") == room] for room in rooms
    }
    assert found == {"status:1": [3, 4], "log:1": [1, 2, 3, 4]}
