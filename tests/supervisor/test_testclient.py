"""
Whole applications under Starlette's TestClient, as users test theirs.

Without ``with``, every socket and every request has a thread and an event loop of its own; with
it, all share one. Nothing may tell the difference.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from supervisor import (
    ConnectionManager,
    FlatConnectionManager,
    Supervisor,
    TargetFirstConnectionManager,
)

pytestmark = pytest.mark.real_time

Open = Callable[[FastAPI], AbstractContextManager[TestClient]]


@pytest.fixture(params=["one loop", "many loops"])
def opened(request: pytest.FixtureRequest) -> Open:
    """Return how to open a client: with ``with``, or without."""

    @contextlib.contextmanager
    def open_client(app: FastAPI) -> Iterator[TestClient]:
        if request.param == "one loop":
            with TestClient(app) as client:
                yield client
        else:
            yield TestClient(app)

    return open_client


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds; other threads make it."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.002)


def left_nothing(supervisor: Supervisor) -> bool:
    """Return whether nobody and nothing is connected any more."""
    statistics = supervisor.statistics()
    return statistics.connections == statistics.closing == statistics.rooms == 0


# The manager of FastAPI's tutorial.


def chat(manager: Any) -> FastAPI:
    """Return the tutorial's application."""
    app = FastAPI()

    @app.websocket("/ws/{client_id}")
    async def websocket_endpoint(websocket: WebSocket, client_id: int) -> None:
        await manager.connect(websocket)
        try:
            while True:
                data = await websocket.receive_text()
                await manager.send_personal_message(f"You wrote: {data}", websocket)
                await manager.broadcast(f"Client #{client_id} says: {data}")
        except WebSocketDisconnect:
            manager.disconnect(websocket)
            await manager.broadcast(f"Client #{client_id} left the chat")

    return app


@pytest.mark.parametrize(
    "face", [FlatConnectionManager, ConnectionManager, TargetFirstConnectionManager]
)
def test_the_tutorials_application(opened: Open, face: Callable[[], Any]) -> None:
    """Two clients talk, one leaves, the other is told."""
    manager = face()

    with opened(chat(manager)) as client, client.websocket_connect("/ws/1") as one:
        with client.websocket_connect("/ws/2") as two:
            one.send_text("hi")
            assert one.receive_text() == "You wrote: hi"
            assert one.receive_text() == two.receive_text() == "Client #1 says: hi"
            two.send_text("ho")
            assert two.receive_text() == "You wrote: ho"
            assert one.receive_text() == two.receive_text() == "Client #2 says: ho"
        assert one.receive_text() == "Client #2 left the chat"
        if face is FlatConnectionManager:
            assert len(manager.active_connections) == 1

    eventually(lambda: left_nothing(manager.supervisor))


# A manager with rooms and users, in an application with HTTP endpoints beside.


def notifications(manager: ConnectionManager) -> FastAPI:
    """Return an application as people have them: monitors, and endpoints that notify."""
    app = FastAPI()

    @app.websocket("/pipeline/{pipeline}")
    async def monitor(websocket: WebSocket, pipeline: str, user: str | None = None) -> None:
        room = f"pipeline_{pipeline}"
        await manager.connect(websocket, room, user)
        greeting = json.dumps({"type": "connected", "pipeline": pipeline})
        if not await manager.send_personal_message(greeting, websocket):
            return
        try:
            while True:
                message = json.loads(await websocket.receive_text())
                if message.get("type") == "ping":
                    await manager.send_personal_message('{"type":"pong"}', websocket)
        except WebSocketDisconnect:
            manager.disconnect(websocket, room, user)  # type: ignore[unused-awaitable]  # on purpose

    @app.post("/pipeline/{pipeline}/notify")
    async def notify(pipeline: str, body: dict[str, Any]) -> dict[str, int]:
        receipt = await manager.send_to_room(json.dumps(body), f"pipeline_{pipeline}")
        if not receipt:
            raise HTTPException(404, "nobody is there")
        return {"accepted": receipt.accepted}

    @app.post("/notify")
    async def notify_all(body: dict[str, Any]) -> dict[str, int]:
        return {"accepted": (await manager.broadcast(json.dumps(body))).accepted}

    @app.post("/users/{user}/notify")
    def notify_user(user: str, body: dict[str, Any]) -> dict[str, int]:
        return {"accepted": asyncio.run(manager.send_to_user(json.dumps(body), user)).accepted}

    @app.post("/pipeline/{pipeline}/log")
    def log(pipeline: str, body: dict[str, Any]) -> None:
        manager.supervisor.publish_nowait(f"pipeline_{pipeline}", body)

    @app.get("/stats")
    def stats() -> dict[str, Any]:
        return {
            "rooms": {room: len(found) for room, found in manager.active_connections.items()},
            "users": sorted(manager.user_connections),
        }

    return app


@pytest.fixture
def gauge() -> dict[Any, int]:
    """Return a gauge per room, which the hooks of :func:`managed` move."""
    return {}


@pytest.fixture
def manager(gauge: dict[Any, int]) -> ConnectionManager:
    """Return a manager whose hooks count."""

    def count(room: Any, by: int) -> None:
        gauge[room] = gauge.get(room, 0) + by

    return ConnectionManager(
        on_join=lambda _, room: count(room, 1), on_leave=lambda _, room: count(room, -1)
    )


def test_monitors_are_greeted_answered_and_notified(
    opened: Open, manager: ConnectionManager, gauge: dict[Any, int]
) -> None:
    """From asynchronous and synchronous endpoints alike, which have other loops or none."""
    with opened(notifications(manager)) as client:
        with (
            client.websocket_connect("/pipeline/1?user=ann") as one,
            client.websocket_connect("/pipeline/2?user=ann") as two,
        ):
            assert one.receive_json() == {"type": "connected", "pipeline": "1"}
            assert two.receive_json() == {"type": "connected", "pipeline": "2"}
            one.send_json({"type": "ping"})
            assert one.receive_json() == {"type": "pong"}

            assert client.post("/pipeline/1/notify", json={"n": 1}).json() == {"accepted": 1}
            assert client.post("/notify", json={"n": 2}).json() == {"accepted": 2}
            assert client.post("/users/ann/notify", json={"n": 3}).json() == {"accepted": 2}
            assert client.post("/pipeline/2/log", json={"n": 4}).status_code == 200
            assert client.post("/pipeline/3/notify", json={"n": 5}).status_code == 404
            assert [one.receive_json()["n"] for _ in range(3)] == [1, 2, 3]
            assert [two.receive_json()["n"] for _ in range(3)] == [2, 3, 4]
            assert client.get("/stats").json() == {
                "rooms": {"pipeline_1": 1, "pipeline_2": 1},
                "users": ["ann"],
            }
            assert gauge == {"pipeline_1": 1, "pipeline_2": 1}

        eventually(lambda: client.get("/stats").json() == {"rooms": {}, "users": []})
        assert client.post("/notify", json={}).json() == {"accepted": 0}
    eventually(lambda: left_nothing(manager.supervisor))
    assert gauge == {"pipeline_1": 0, "pipeline_2": 0}


@pytest.mark.parametrize(
    "message", ["[1]", "no json", b"\x00"], ids=["no object", "no json", "binary"]
)
def test_an_endpoint_that_fails_leaves_no_ghost(
    opened: Open, manager: ConnectionManager, gauge: dict[Any, int], message: str | bytes
) -> None:
    """It closes with 1011, its gauge goes back."""

    def say(client: TestClient, message: str | bytes) -> None:
        with client.websocket_connect("/pipeline/1?user=ann") as one:
            one.receive_json()
            if isinstance(message, str):
                one.send_text(message)
            else:
                one.send_bytes(message)

    with opened(notifications(manager)) as client:
        with pytest.raises((AttributeError, ValueError, KeyError)):
            say(client, message)  # the client raises what the application raised

        eventually(lambda: client.get("/stats").json() == {"rooms": {}, "users": []})
    assert gauge == {"pipeline_1": 0}
    (closed,) = manager.supervisor.closed
    assert closed.reason.code == 1011


def test_many_notifications_arrive_in_order(opened: Open, manager: ConnectionManager) -> None:
    """Whatever thread and loop they come from."""
    with (
        opened(notifications(manager)) as client,
        client.websocket_connect("/pipeline/1") as one,
    ):
        one.receive_json()
        for number in range(0, 60, 3):
            client.post("/pipeline/1/notify", json={"n": number})
            client.post("/pipeline/1/log", json={"n": number + 1})
            client.post("/notify", json={"n": number + 2})

        assert [one.receive_json()["n"] for _ in range(60)] == list(range(60))


def test_one_client_after_the_other_leaves_nothing(
    opened: Open, manager: ConnectionManager, gauge: dict[Any, int]
) -> None:
    """Loops come and go with their sockets."""
    with opened(notifications(manager)) as client:
        for _ in range(20):
            with client.websocket_connect("/pipeline/1?user=ann") as one:
                one.receive_json()
        eventually(lambda: left_nothing(manager.supervisor))

    assert gauge == {"pipeline_1": 0}
    assert len(manager.supervisor.closed) == 20


# Sessions.


def feeds(supervisor: Supervisor, *, lifespan: bool = True) -> FastAPI:
    """Return an application that uses the supervisor itself."""
    app = FastAPI(lifespan=supervisor.lifespan if lifespan else None)

    @app.websocket("/ws/{room}")
    async def endpoint(websocket: WebSocket, room: str, user: str | None = None) -> None:
        async with supervisor.session(websocket, rooms=[room], user=user) as session:
            async for message in session:
                await supervisor.publish(room, message, exclude=session)
                await session.send({"you said": message})

    @app.websocket("/ticker")
    async def ticker(websocket: WebSocket) -> None:
        async with supervisor.session(websocket) as session:
            while True:
                await session.send("tick")
                await asyncio.sleep(0.005)

    @app.websocket("/failing")
    async def failing(websocket: WebSocket) -> None:
        async with supervisor.session(websocket):
            raise ZeroDivisionError("bug")

    @app.post("/publish/{room}")
    async def publish(room: str, text: str) -> int:
        return (await supervisor.publish(room, text)).accepted

    @app.post("/publish-from-a-thread/{room}")
    def publish_nowait(room: str, text: str) -> None:
        supervisor.publish_nowait(room, text)

    @app.post("/kick/{user}")
    async def kick(user: str) -> int:
        return await supervisor.kick(user, reason="out")

    return app


def test_sessions_talk_and_are_published_to(opened: Open) -> None:
    """From their endpoints, from requests, from threads."""
    supervisor = Supervisor()

    with (
        opened(feeds(supervisor)) as client,
        client.websocket_connect("/ws/a?user=ann") as ann,
        client.websocket_connect("/ws/a?user=bob") as bob,
    ):
        ann.send_text("hi")
        assert ann.receive_json() == {"you said": "hi"}
        assert bob.receive_text() == "hi"
        assert client.post("/publish/a?text=all").json() == 2
        assert ann.receive_text() == bob.receive_text() == "all"
        client.post("/publish-from-a-thread/a?text=thread")
        assert ann.receive_text() == bob.receive_text() == "thread"

        assert client.post("/kick/bob").json() == 1
        with pytest.raises(WebSocketDisconnect) as closed:
            bob.receive_text()
        assert (closed.value.code, closed.value.reason) == (3503, "out")
        assert client.post("/publish/a?text=left").json() == 1
        assert ann.receive_text() == "left"


def test_a_session_that_only_sends_ends_with_its_client(opened: Open) -> None:
    """Without a traceback, as its WebSocketDisconnect is nobody's fault."""
    supervisor = Supervisor()

    with opened(feeds(supervisor)) as client:
        with client.websocket_connect("/ticker") as ticker:
            for _ in range(3):
                assert ticker.receive_text() == "tick"

        eventually(lambda: left_nothing(supervisor))


def test_a_failing_session_closes_with_1011(opened: Open) -> None:
    """And the error is the application's."""
    supervisor = Supervisor()

    def connect(client: TestClient) -> None:
        with client.websocket_connect("/failing"):
            pass

    with opened(feeds(supervisor)) as client, pytest.raises(ZeroDivisionError):
        connect(client)

    (closed,) = supervisor.closed
    assert closed.reason.code == 1011


def test_a_refusal_is_an_http_answer(opened: Open) -> None:
    """429 with the reason, for a user with too many connections; 403 for a strange page."""
    supervisor = Supervisor(max_connections_per_user=1)

    with (
        opened(feeds(supervisor)) as client,
        contextlib.ExitStack() as stack,
    ):
        stack.enter_context(client.websocket_connect("/ws/a?user=ann"))
        if len(supervisor.nodes) == 1 and client.portal is not None:  # limits are per loop
            with (
                pytest.raises(WebSocketDenialResponse) as refusal,
                client.websocket_connect("/ws/a?user=ann"),
            ):
                pass
            assert refusal.value.status_code == 429
            assert refusal.value.text == "a user may have 1 connections\n"
        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect("/ws/a", headers={"Origin": "https://evil.example"}),
        ):
            pass


def test_the_lifespan_may_come_twice() -> None:
    """The same application in two tests; shutting down closes who is still there."""
    supervisor = Supervisor()
    app = feeds(supervisor)

    for _ in range(2):
        with TestClient(app) as client, client.websocket_connect("/ws/a") as socket:
            assert client.post("/publish/a?text=x").json() == 1
            assert socket.receive_text() == "x"
        assert supervisor.nodes == []


def test_an_application_may_do_without_a_lifespan(opened: Open) -> None:
    """The first session starts the supervisor."""
    supervisor = Supervisor()

    with (
        opened(feeds(supervisor, lifespan=False)) as client,
        client.websocket_connect("/ws/a") as socket,
    ):
        assert client.post("/publish/a?text=x").json() == 1
        assert socket.receive_text() == "x"
