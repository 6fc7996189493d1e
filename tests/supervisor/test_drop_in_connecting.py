"""The drop-in faces with stub sockets: connect and disconnect, as often and as oddly as one likes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest

from actors.testing import settle
from supervisor import (
    ConnectionRefused,
    JoinRefused,
    RoomPolicy,
    TargetFirstConnectionManager,
    UnsupportedSocket,
)
from tests.supervisor.conftest import Manage
from tests.supervisor.faces import EVERY_FACE, ROOM_FACES
from tests.supervisor.stubs import NoSender, TextOnly


async def test_connect_accepts(manage: Manage) -> None:
    """Once, whatever the stub makes of it."""
    manager = manage()
    mock, plain = AsyncMock(), MagicMock()

    await manager.connect(mock, "a")
    await manager.connect(mock, "b")
    await manager.connect(plain, "a")

    mock.accept.assert_awaited_once_with()
    plain.accept.assert_called_once_with()


@ROOM_FACES
async def test_connect_is_a_coroutine_function_to_mocks(face: type[Any]) -> None:
    """Tests replace a manager by a mock of its class."""
    mock = AsyncMock(spec=face)

    await mock.connect(TextOnly(), "a")
    await mock.broadcast("x")
    mock.disconnect(TextOnly())

    mock.connect.assert_awaited_once()
    mock.broadcast.assert_awaited_once()


@ROOM_FACES
@pytest.mark.parametrize("room", ["", "x" * 300, "a\x00", "$everyone", 7, ("a", 1)])
async def test_any_hashable_value_names_a_room(
    manage: Manage, face: type[Any], room: Hashable
) -> None:
    """As in a hand-written manager's dict; none is one of the rooms that are not the application's."""
    manager = manage(face)
    inside, outside = TextOnly(), TextOnly()
    await manager.connect(inside, room)
    await manager.connect(outside, "b")
    target_first = face is TargetFirstConnectionManager

    await manager.send_to_room(*((room, "x") if target_first else ("x", room)))

    assert (inside.sent, outside.sent) == (["x"], [])


async def test_a_socket_may_be_in_several_rooms(manage: Manage) -> None:
    """Each connect adds one; disconnect takes one out, the last one all."""
    manager = manage()
    websocket = TextOnly()
    for room in ("a", "b", "b", "c"):
        await manager.connect(websocket, room, "ann")

    assert sorted(manager.active_connections) == ["a", "b", "c"]
    manager.disconnect(websocket, "b", "ann")
    assert sorted(manager.active_connections) == ["a", "c"]
    assert list(manager.user_connections) == ["ann"]
    await manager.send_to_room("lost", "b")
    await manager.send_to_user("kept", "ann")
    manager.disconnect(websocket, "a", "ann")
    manager.disconnect(websocket, "c", "ann")

    assert manager.active_connections == {}
    assert manager.user_connections == {}
    assert not await manager.broadcast("lost")
    assert websocket.sent == ["kept"]


async def test_disconnect_without_a_room_takes_out_of_all(manage: Manage) -> None:
    """As managers do whose disconnect knows no room."""
    manager = manage()
    websocket = TextOnly()
    for room in ("a", "b"):
        await manager.connect(websocket, room)

    manager.disconnect(websocket)

    assert manager.active_connections == {}


@EVERY_FACE
async def test_disconnect_works_called_or_awaited_and_as_often_as_one_likes(
    manage: Manage, face: Callable[..., Any]
) -> None:
    """It never raises, and closes nothing."""
    manager = manage(face)
    websocket = AsyncMock()
    await manager.connect(websocket)

    manager.disconnect(websocket)
    assert await manager.disconnect(websocket) is None
    await manager.disconnect(websocket, "unknown", "nobody")
    manager.disconnect(TextOnly(), "unknown")
    manager.disconnect(None)
    manager.disconnect(object(), None, None)

    websocket.close.assert_not_called()
    assert not await manager.send_personal_message("x", websocket)


async def test_disconnect_from_a_room_that_it_is_not_in_changes_nothing(manage: Manage) -> None:
    """It stays where it is."""
    manager = manage()
    websocket = TextOnly()
    await manager.connect(websocket, "a")

    manager.disconnect(websocket, "b")
    manager.disconnect(websocket, "unknown", "nobody")

    assert await manager.send_to_room("x", "a")


@EVERY_FACE
async def test_a_stub_may_come_back(manage: Manage, face: Callable[..., Any]) -> None:
    """Tests connect, disconnect and connect the same object."""
    manager = manage(face)
    websocket = TextOnly()

    for number in range(3):
        await manager.connect(websocket)
        await manager.broadcast(str(number))
        manager.disconnect(websocket)
        await manager.broadcast("lost")

    assert websocket.sent == ["0", "1", "2"]


async def test_a_socket_may_change_its_user(manage: Manage) -> None:
    """The last one that was said counts; None says nothing."""
    manager = manage()
    websocket = TextOnly()
    await manager.connect(websocket, "a")
    assert manager.user_connections == {}

    await manager.connect(websocket, "a", "ann")
    await manager.connect(websocket, "b", None)
    assert list(manager.user_connections) == ["ann"]
    await manager.connect(websocket, "b", "bob")

    assert list(manager.user_connections) == ["bob"]
    assert not await manager.send_to_user("x", "ann")
    assert await manager.send_to_user("y", "bob")
    assert websocket.sent == ["y"]


async def test_a_stub_that_was_connected_by_a_helper_stays(manage: Manage) -> None:
    """A fixture's, or a setUp's, task ends before the test begins."""
    manager = manage()
    websocket = TextOnly()

    async def set_up() -> None:
        await manager.connect(websocket, "a")

    await asyncio.create_task(set_up())
    await settle()

    assert await manager.send_to_room("x", "a")
    assert websocket.sent == ["x"]


@pytest.fixture
async def connected(manage: Manage) -> AsyncIterator[tuple[Any, TextOnly]]:
    """Connect a stub, as users' fixtures do."""
    manager = manage()
    websocket = TextOnly()
    await manager.connect(websocket, "a")
    yield manager, websocket
    manager.disconnect(websocket, "a")


async def test_a_stub_that_was_connected_by_a_fixture_stays(
    connected: tuple[Any, TextOnly],
) -> None:
    """The same with pytest's own means."""
    manager, websocket = connected

    await manager.broadcast("x")

    assert websocket.sent == ["x"]


async def test_what_cannot_be_sent_to_cannot_be_connected(manage: Manage) -> None:
    """UnsupportedSocket names the methods of which one is needed; nothing stays of it."""
    manager = manage(max_connections=1)

    for socket in (NoSender(), object(), None, "socket"):
        with pytest.raises(UnsupportedSocket, match="send_text, send_json, send_bytes"):
            await manager.connect(socket, "a")
        assert await manager.send_personal_message("x", socket) is False

    assert manager.active_connections == {}
    await manager.connect(TextOnly(), "a")


async def test_an_accept_that_raises_registers_nothing(manage: Manage) -> None:
    """The error is the stub's own."""
    manager = manage(max_connections=1)
    websocket = AsyncMock()
    websocket.accept.side_effect = RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await manager.connect(websocket, "a")

    assert manager.active_connections == {}
    await manager.connect(TextOnly(), "a")


async def test_limits_refuse_stubs_too(manage: Manage) -> None:
    """The refused one is closed with the code, if it can be."""
    manager = manage(max_connections_per_user=1)
    first, second = AsyncMock(), AsyncMock()
    await manager.connect(first, "a", "ann")

    with pytest.raises(ConnectionRefused):
        await manager.connect(second, "a", "ann")

    second.accept.assert_not_called()
    second.close.assert_awaited_once_with(3504)
    assert list(manager.active_connections["a"]) == [first]


async def test_a_join_that_is_refused_leaves_no_half_connected_socket(manage: Manage) -> None:
    """A room may fill up while a socket is accepted."""
    manager = manage(max_connections_per_room=1)
    opened = asyncio.Event()
    slow = AsyncMock()
    slow.accept.side_effect = opened.wait
    connecting = asyncio.ensure_future(manager.connect(slow, "a"))
    await settle()
    await manager.connect(TextOnly(), "a")
    opened.set()

    with pytest.raises(JoinRefused):
        await connecting
    await settle()

    assert len(manager.active_connections["a"]) == 1
    assert manager.supervisor.statistics().connections == 1
    slow.close.assert_awaited_once_with(3505)


async def test_a_second_room_that_is_refused_costs_only_itself(manage: Manage) -> None:
    """The socket stays in its first."""
    manager = manage(max_rooms_per_connection=1)
    websocket = TextOnly()
    await manager.connect(websocket, "a")

    with pytest.raises(JoinRefused):
        await manager.connect(websocket, "b")

    assert await manager.send_to_room("x", "a")


@pytest.mark.real_time
async def test_the_first_connect_opens_the_stores(manage: Manage, tmp_path: Path) -> None:
    """As the first session does: nobody need have run the lifespan."""
    manager = manage(
        history=f"sqlite:///{tmp_path / 'feeds.db'}", rooms={"log:*": RoomPolicy.log()}
    )
    socket = TextOnly()

    await manager.connect(socket, "log:a")
    receipt = await manager.send_to_room("x", "log:a")

    assert receipt.position is not None
    await manager.supervisor.aclose()
