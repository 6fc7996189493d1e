"""The drop-in faces: what they are made of, and the arguments of each."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from typing import Any

import pytest

from supervisor import (
    ConnectionManager,
    FlatConnectionManager,
    Receipt,
    Supervisor,
    TargetFirstConnectionManager,
)
from tests.supervisor.conftest import Manage
from tests.supervisor.faces import EVERY_FACE, ROOM_FACES
from tests.supervisor.stubs import MockWebSocket, TextOnly

# What the tests of the hand-written manager say, word for word.


async def test_the_hand_written_managers_tests_pass_as_written(manage: Manage) -> None:
    """The three of them, on a loop."""
    manager = manage()

    websocket = MockWebSocket(state="DISCONNECTED")
    assert await manager.send_personal_message("test", websocket) == False  # noqa: E712 - as it was
    websocket = MockWebSocket(exception="close message has been sent")
    assert await manager.send_personal_message("test", websocket) == False  # noqa: E712 - as it was
    manager.active_connections["room1"] = {websocket}
    manager._cleanup_disconnected_websocket(websocket)
    assert "room1" not in manager.active_connections


def test_the_cleanup_test_passes_without_a_loop() -> None:
    """The third also in plain synchronous code."""
    manager = ConnectionManager()
    websocket = MockWebSocket()

    manager.active_connections["room1"] = {websocket}
    assert "room1" in manager.active_connections
    assert websocket in manager.active_connections["room1"]
    manager._cleanup_disconnected_websocket(websocket)

    assert "room1" not in manager.active_connections


@pytest.mark.parametrize(
    "websocket",
    [MockWebSocket(state="DISCONNECTED"), MockWebSocket(exception="close message has been sent")],
    ids=["state", "exception"],
)
async def test_a_connected_socket_that_is_dead_is_false_too(
    manage: Manage, websocket: MockWebSocket
) -> None:
    """And it is gone from all rooms after the send."""
    manager = manage()
    await manager.connect(websocket, "room1", "ann")

    assert await manager.send_personal_message("test", websocket) is False

    assert manager.active_connections == {}
    assert manager.user_connections == {}


# Making one.


@EVERY_FACE
def test_a_manager_is_made_without_a_loop(face: Callable[..., Any]) -> None:
    """As a module's global, and it runs at once: no lifespan is needed."""
    manager = face()

    assert isinstance(manager.supervisor, Supervisor)
    assert len(manager.active_connections) == 0
    assert not manager.active_connections


def test_a_manager_takes_settings_by_name_or_a_supervisor() -> None:
    """Settings and hooks belong to the supervisor that was passed."""
    supervisor = Supervisor()

    assert ConnectionManager(max_connections=7).supervisor.settings.max_connections == 7
    assert ConnectionManager(supervisor).supervisor is supervisor
    for more in ({"max_connections": 7}, {"on_join": print}, {"on_leave": print}):
        with pytest.raises(TypeError, match="belong to the supervisor"):
            ConnectionManager(supervisor, **more)


def test_two_managers_share_nothing() -> None:
    """Each has a supervisor of its own."""
    first, second = ConnectionManager(), ConnectionManager()

    first.active_connections["a"] = [TextOnly()]

    assert len(second.active_connections) == 0


def test_messages_are_json_that_any_client_reads(manage: Manage) -> None:
    """Compact, and not ASCII only."""
    manager = ConnectionManager()

    assert json.loads(str(manager.supervisor.json.encode({"a": "ü"}).payload)) == {"a": "ü"}


def test_a_manager_stands_on_a_supervisor_only() -> None:
    """Who passes something else is told what it takes."""
    with pytest.raises(TypeError, match="stands on a Supervisor, not on 'x'"):
        ConnectionManager("x")  # type: ignore[arg-type]


# Members and their argument orders.


async def test_the_message_comes_first(manage: Manage) -> None:
    """Positional, as in the manager that it replaces."""
    manager = manage(ConnectionManager)
    websocket = TextOnly()

    await manager.connect(websocket, "room", "ann")
    assert await manager.send_personal_message("1", websocket) is True
    assert await manager.send_to_room("2", "room")
    assert await manager.send_to_user("3", "ann")
    assert await manager.broadcast("4")
    manager.disconnect(websocket, "room", "ann")

    assert websocket.sent == ["1", "2", "3", "4"]
    assert manager.active_connections == {}


async def test_the_target_comes_first(manage: Manage) -> None:
    """For rooms and users, in the face that says so."""
    manager = manage(TargetFirstConnectionManager)
    websocket = TextOnly()

    await manager.connect(websocket, "room", "ann")
    assert await manager.send_personal_message("1", websocket) is True
    assert await manager.send_to_room("room", "2")
    assert await manager.send_to_user("ann", "3")
    assert await manager.broadcast("4")
    manager.disconnect(websocket, "room", "ann")

    assert websocket.sent == ["1", "2", "3", "4"]


async def test_the_flat_face_has_no_rooms(manage: Manage) -> None:
    """The manager of FastAPI's tutorial."""
    manager = manage(FlatConnectionManager)
    websocket = TextOnly()

    await manager.connect(websocket)
    await manager.send_personal_message("1", websocket)
    await manager.broadcast("2")
    manager.disconnect(websocket)

    assert websocket.sent == ["1", "2"]
    assert manager.active_connections == []


@ROOM_FACES
async def test_every_argument_has_its_name(manage: Manage, face: Callable[..., Any]) -> None:
    """The names of the hand-written manager."""
    manager = manage(face)
    websocket = TextOnly()

    await manager.connect(websocket=websocket, room="room", user_id="ann")
    await manager.send_personal_message(message="1", websocket=websocket)
    await manager.send_to_room(message="2", room="room", exclude=None)
    await manager.send_to_user(message="3", user_id="ann", exclude=None)
    await manager.broadcast(message="4", exclude=None)
    manager.disconnect(websocket=websocket, room="room", user_id="ann")

    assert websocket.sent == ["1", "2", "3", "4"]


@EVERY_FACE
async def test_a_socket_alone_can_be_connected(manage: Manage, face: Callable[..., Any]) -> None:
    """Without room and user; personal messages and broadcasts reach it."""
    manager = manage(face)
    websocket = TextOnly()

    await manager.connect(websocket)
    await manager.send_personal_message("1", websocket)
    await manager.broadcast("2")

    assert websocket.sent == ["1", "2"]
    assert manager.supervisor.statistics().connections == 1


class Colour(enum.Enum):
    """A room."""

    RED = 1


@ROOM_FACES
@pytest.mark.parametrize("name", [7, 0, ("pipeline", 7), Colour.RED, "", "ü" * 300, "user:ann"])
async def test_rooms_and_users_may_be_anything_hashable(
    manage: Manage, face: Callable[..., Any], name: Any
) -> None:
    """Hand-written managers use whatever the path gives them."""
    joined: list[object] = []
    manager = manage(face, on_join=lambda _, room: joined.append(room))
    websocket, other = TextOnly(), TextOnly()
    await manager.connect(websocket, name, name)
    await manager.connect(other, "other", "other")

    by_room = (name, "1") if face is TargetFirstConnectionManager else ("1", name)
    by_user = (name, "2") if face is TargetFirstConnectionManager else ("2", name)
    assert await manager.send_to_room(*by_room) == Receipt(1)
    assert await manager.send_to_user(*by_user) == Receipt(1)

    assert websocket.sent == ["1", "2"]
    assert other.sent == []
    assert joined == [name, "other"]
    assert websocket in manager.active_connections[name]
    assert websocket in manager.user_connections[name]


async def test_a_number_is_not_its_text(manage: Manage) -> None:
    """As in a dictionary."""
    manager = manage()
    one, text = TextOnly(), TextOnly()
    await manager.connect(one, 1, 1)
    await manager.connect(text, "1", "1")

    await manager.send_to_room("room", 1)
    await manager.send_to_user("user", "1")

    assert one.sent == ["room"]
    assert text.sent == ["user"]


async def test_the_rooms_of_the_machine_cannot_be_joined(manage: Manage) -> None:
    """Whoever names a room like one of them gets a room of that name, and no more."""
    manager = manage()
    ann, spy = TextOnly(), TextOnly()
    await manager.connect(ann, "a", "ann")
    for room in ("$everyone", "$user:ann", "user:ann", ("user", "ann")):
        await manager.connect(spy, room)

    await manager.send_to_user("secret", "ann")
    await manager.broadcast("all")
    manager.disconnect(spy, "$everyone")
    await manager.broadcast("again")

    assert ann.sent == ["secret", "all", "again"]
    assert spy.sent == ["all", "again"]
