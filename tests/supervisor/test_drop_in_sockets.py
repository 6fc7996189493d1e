"""The drop-in faces with real WebSockets, over an ASGI server in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect

from actors.testing import settle
from supervisor import (
    ConnectionRefused,
    FlatConnectionManager,
    JoinRefused,
    TargetFirstConnectionManager,
)
from tests.supervisor.asgi import ALL_APPS, App, Endpoint, bare_app, fastapi_app, starlette_app
from tests.supervisor.conftest import Events, Manage, NewPeer, named
from tests.supervisor.faces import EVERY_FACE


def tutorial(manager: Any, room: Any = None) -> Endpoint:
    """Return the endpoint of FastAPI's tutorial."""

    async def serve(websocket: WebSocket) -> None:
        await manager.connect(websocket, *([] if room is None else [room]))
        try:
            while True:
                data = await websocket.receive_text()
                await manager.send_personal_message(f"You wrote: {data}", websocket)
                await manager.broadcast(f"Somebody says: {data}")
        except WebSocketDisconnect:
            manager.disconnect(websocket)
            await manager.broadcast("Somebody left the chat")

    return serve


@EVERY_FACE
@ALL_APPS
async def test_the_tutorials_chat_works(
    manage: Manage, peer: NewPeer, face: Callable[..., Any], app_of: Callable[[Endpoint], App]
) -> None:
    """Unchanged, but for the import."""
    manager = manage(face)
    app = app_of(tutorial(manager))
    ann, bob = peer(), peer()
    for client in (ann, bob):
        await client.enter(app)

    ann.say("hi")
    await asyncio.sleep(0.2)
    bob.leave()
    await bob.result()
    await settle()

    assert ann.got == ["You wrote: hi", "Somebody says: hi", "Somebody left the chat"]
    assert bob.got == ["Somebody says: hi"]


async def test_the_endpoint_may_write_after_disconnect(manage: Manage, peer: NewPeer) -> None:
    """disconnect() takes out of the manager and closes nothing: the endpoint closes by ending."""
    manager = manage()

    async def serve(websocket: WebSocket) -> None:
        await manager.connect(websocket, "a")
        manager.disconnect(websocket, "a")
        assert await manager.send_personal_message("lost", websocket) is False
        await websocket.send_text("goodbye")

    client = peer()
    await client.open(bare_app(serve)).result()
    await settle()

    assert client.got == ["goodbye"]
    assert client.closed == (1000, "")


@ALL_APPS
async def test_a_socket_may_connect_again_after_disconnect(
    manage: Manage, peer: NewPeer, app_of: Callable[[Endpoint], App]
) -> None:
    """Endpoints change rooms that way; nothing of the first time stays, and one close is sent."""
    told: list[tuple[str, object]] = []
    manager = manage(
        on_join=lambda _, room: told.append(("join", room)),
        on_leave=lambda _, room: told.append(("leave", room)),
    )

    async def serve(websocket: WebSocket) -> None:
        for room in ("a", "b", "c"):
            await manager.connect(websocket, room)
            await manager.send_to_room(f"in {room}", room)
            assert await websocket.receive_text() == room
            manager.disconnect(websocket, room)
        await manager.connect(websocket, "d")
        await manager.broadcast("end")

    client = peer()
    for message in ("a", "b", "c"):
        client.say(message)
    await client.open(app_of(serve)).result()
    await settle()

    assert client.got == ["in a", "in b", "in c", "end"]
    assert client.closed == (1000, "")
    assert told == [(what, room) for room in "abcd" for what in ("join", "leave")]
    assert manager.active_connections == {}


@ALL_APPS
async def test_an_endpoint_may_change_rooms_that_way_as_often_as_it_likes(
    manage: Manage, peer: NewPeer, app_of: Callable[[Endpoint], App]
) -> None:
    """Nothing piles up behind it, and its socket stays one connection."""
    manager = manage(max_connections=1)
    closing: list[int] = []

    async def serve(websocket: WebSocket) -> None:
        for number in range(2000):
            await manager.connect(websocket, number, f"user {number % 3}")
            if number % 500 == 0:
                await manager.send_to_room(f"room {number}", number)
                await manager.send_to_user(f"user {number % 3}", f"user {number % 3}")
            manager.disconnect(websocket, number)
        closing.append(manager.supervisor.statistics().closing)
        await manager.connect(websocket, "last")
        assert await websocket.receive_text() == "hello"

    client = peer()
    await client.enter(app_of(serve))
    assert await manager.send_to_room("in the last", "last")
    client.say("hello")
    await client.result()
    await settle()

    assert closing == [1]
    assert client.got == [
        message
        for number in (0, 500, 1000, 1500)
        for message in (f"room {number}", f"user {number % 3}")
    ] + ["in the last"]
    assert client.closed == (1000, "")


@ALL_APPS
async def test_a_socket_may_be_in_two_managers(
    manage: Manage, peer: NewPeer, app_of: Callable[[Endpoint], App]
) -> None:
    """One for the chat and one for the notifications: each sends, in order, and both let go."""
    chat, alerts = manage(), manage(TargetFirstConnectionManager)

    async def serve(websocket: WebSocket) -> None:
        await chat.connect(websocket, "a")
        await alerts.connect(websocket, "a")
        await chat.send_to_room("1", "a")
        await alerts.send_to_room("a", "2")
        await chat.broadcast("3")
        assert await websocket.receive_text() == "hello"
        alerts.disconnect(websocket)
        assert not await alerts.broadcast("lost")
        await chat.broadcast("4")
        await alerts.connect(websocket, "b")
        await alerts.broadcast("5")
        await websocket.send_text("6")

    client = peer()
    client.say("hello")
    await client.open(app_of(serve)).result()
    await settle()

    assert client.got == [str(number) for number in range(1, 7)]
    assert client.closed == (1000, "")
    assert chat.active_connections == alerts.active_connections == {}


@ALL_APPS
async def test_a_client_of_two_managers_leaves_both(
    manage: Manage, peer: NewPeer, app_of: Callable[[Endpoint], App]
) -> None:
    """Also an endpoint that never says so."""
    managers = [manage(), manage()]

    async def serve(websocket: WebSocket) -> None:
        for manager in managers:
            await manager.connect(websocket, "a")
        while True:
            await websocket.receive_text()

    client = peer()
    await client.enter(app_of(serve))
    client.leave()
    assert isinstance(await client.end(), WebSocketDisconnect)
    await settle()

    for manager in managers:
        assert manager.active_connections == {}
        assert len(manager.supervisor.closed) == 1


async def test_a_socket_that_was_closed_cannot_connect_again(manage: Manage, peer: NewPeer) -> None:
    """It is a WebSocketDisconnect, and nobody is registered."""
    manager = manage()

    async def serve(websocket: WebSocket) -> None:
        await manager.connect(websocket, "a", "ann")
        await manager.supervisor.kick("ann")
        await manager.connect(websocket, "b")

    client = peer()
    client.open(bare_app(serve))

    assert isinstance(await client.end(), WebSocketDisconnect)
    assert manager.active_connections == {}
    assert client.closed == (3503, "kicked")


async def test_connecting_with_a_timeout_does_not_end_the_connection(
    manage: Manage, peer: NewPeer
) -> None:
    """asyncio.wait_for runs it in a task of its own on older Pythons."""
    manager = manage()

    async def serve(websocket: WebSocket) -> None:
        await asyncio.wait_for(manager.connect(websocket, "a"), 5)
        await asyncio.sleep(1)
        assert await manager.send_to_room("x", "a")
        try:
            await websocket.receive_text()
        except WebSocketDisconnect:
            manager.disconnect(websocket)

    for app_of in (bare_app, starlette_app, fastapi_app):
        client = peer()
        await client.enter(app_of(serve))
        await asyncio.sleep(2)
        assert client.got == ["x"]
        client.leave()
        await client.result()


async def test_an_endpoint_that_connected_with_a_timeout_leaves_nothing(
    manage: Manage, peer: NewPeer
) -> None:
    """Also one that forgets to disconnect."""
    manager = manage()

    async def serve(websocket: WebSocket) -> None:
        await asyncio.wait_for(manager.connect(websocket, "a"), 5)

    for app_of in (starlette_app, fastapi_app):
        client = peer()
        await client.open(app_of(serve)).result()
        await settle()

        assert manager.active_connections == {}
        assert client.closed == (1000, "")


@pytest.mark.parametrize("app_of", [fastapi_app])
async def test_connecting_in_a_task_of_ones_own_lasts_as_long_as_the_endpoint(
    manage: Manage, peer: NewPeer, app_of: Callable[[Endpoint], App]
) -> None:
    """FastAPI tells when an endpoint ends, so whoever calls connect may end before."""
    manager = manage()

    async def serve(websocket: WebSocket) -> None:
        async def set_up() -> None:
            await manager.connect(websocket, "a")

        await asyncio.create_task(set_up())
        await asyncio.sleep(1)
        assert await manager.send_to_room("x", "a")

    client = peer()
    await client.open(app_of(serve)).result()
    await settle()

    assert client.got == ["x"]
    assert client.closed == (1000, "")
    assert manager.active_connections == {}


@ALL_APPS
async def test_a_refused_socket_is_told_before_the_accept(
    manage: Manage, peer: NewPeer, app_of: Callable[[Endpoint], App]
) -> None:
    """An endpoint that does not catch it ends without a traceback."""
    manager = manage(max_connections_per_room=1)
    first, second = peer(), peer()
    await first.enter(app_of(tutorial(manager, "a")))
    second.open(app_of(tutorial(manager, "a")))

    error = await second.end()

    assert error is None or (app_of is bare_app and isinstance(error, ConnectionRefused))
    assert second.status == 429
    assert not second.accepted


async def test_a_real_socket_that_a_full_room_refused_late_is_closed(
    manage: Manage, peer: NewPeer
) -> None:
    """With the refusal's code."""
    manager = manage(max_connections_per_room=1)
    clients = [peer(), peer()]
    for client in clients:
        client.stalled = True
        await client.enter(bare_app(tutorial(manager, "a")))
    for client in clients:
        client.resume()
        await settle()

    assert isinstance(await clients[1].end(), JoinRefused)
    assert clients[1].closed is not None
    assert clients[1].closed[0] == 3505
    assert manager.supervisor.statistics().connections == 1


async def test_origins_are_not_checked_unless_asked_for(
    manage: Manage, peer: NewPeer, events: Events
) -> None:
    """Front ends of hand-written managers live on other ports; one event says so."""
    manager = manage()
    for _ in range(3):
        client = peer(headers=[("Origin", "http://localhost:3000")])
        await client.enter(bare_app(tutorial(manager)))
        assert client.accepted

    (event,) = named(events, "origin.unchecked")
    assert event["log_level"] == "warning"
    assert "allowed_origins" in event["hint"]


async def test_origins_are_checked_where_they_are_given(
    manage: Manage, peer: NewPeer, events: Events
) -> None:
    """403 before the accept."""
    manager = manage(allowed_origins=["http://localhost:3000"])
    ours = peer(headers=[("Origin", "http://localhost:3000")])
    theirs = peer(headers=[("Origin", "http://evil.example")])
    for client in (ours, theirs):
        await client.enter(bare_app(tutorial(manager)))

    assert ours.accepted
    assert theirs.status == 403
    assert named(events, "origin.unchecked") == []


async def test_the_manager_and_the_endpoint_send_in_order(manage: Manage, peer: NewPeer) -> None:
    """websocket.send_text keeps its place among the manager's sends."""
    manager = manage()

    async def serve(websocket: WebSocket) -> None:
        await manager.connect(websocket, "a")
        await manager.send_to_room("1", "a")
        await websocket.send_text("2")
        await manager.send_personal_message("3", websocket)
        await websocket.send_json({"n": 4})
        await manager.broadcast({"n": 5})

    client = peer()
    await client.open(bare_app(serve)).result()
    await settle()

    assert client.got[:3] == ["1", "2", "3"]
    assert client.got_json[3:] == [{"n": 4}, {"n": 5}]


async def test_a_real_socket_can_be_assigned_to_a_view(manage: Manage, peer: NewPeer) -> None:
    """Hand-written code appends accepted sockets itself."""
    manager = manage(FlatConnectionManager)

    async def serve(websocket: WebSocket) -> None:
        await websocket.accept()
        manager.active_connections.append(websocket)
        await manager.broadcast("x")
        try:
            await websocket.receive_text()
        except WebSocketDisconnect:
            manager.active_connections.remove(websocket)

    client = peer()
    await client.enter(bare_app(serve))
    await settle()
    assert client.got == ["x"]
    client.leave()
    await client.result()

    assert manager.active_connections == []
