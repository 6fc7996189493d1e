"""The views of the drop-in faces: they read, and can be changed, like the dictionaries they replace."""

from __future__ import annotations

from unittest.mock import AsyncMock

import pytest

from supervisor import FlatConnectionManager, Receipt
from tests.supervisor.conftest import Manage
from tests.supervisor.stubs import NoSender, TextOnly


async def test_the_views_are_live(manage: Manage) -> None:
    """A view that was taken once shows every change."""
    manager = manage()
    rooms, users = manager.active_connections, manager.user_connections
    assert rooms.get("a", set()) == set()
    first, second = TextOnly(), TextOnly()

    await manager.connect(first, "a", "ann")
    members = rooms["a"]
    assert members == {first}
    await manager.connect(second, "a", "ann")
    assert members == users["ann"] == {first, second}
    manager.disconnect(first)
    manager.disconnect(second)

    assert len(members) == 0
    assert not members
    assert rooms == users == {}


async def test_a_rooms_view_reads_like_a_dictionary(manage: Manage) -> None:
    """len, in, iteration, get, keys, values, items, truth, copies, equality, repr."""
    manager = manage()
    rooms = manager.active_connections
    assert not rooms
    first, second = TextOnly(), TextOnly()
    await manager.connect(first, "a")
    await manager.connect(first, "b")
    await manager.connect(second, "b")

    assert rooms
    assert len(rooms) == 2
    assert "a" in rooms
    assert "c" not in rooms
    assert ["a"] not in rooms
    assert sorted(rooms) == sorted(rooms.keys()) == ["a", "b"]
    assert rooms["b"] == {first, second}
    assert rooms.get("b") == {first, second}
    assert rooms.get("c") is None
    assert rooms.get("c", set()) == set()
    assert sum(len(members) for members in rooms.values()) == 3
    assert dict(rooms) == {"a": {first}, "b": {first, second}} == rooms
    assert {room: len(members) for room, members in rooms.items()} == {"a": 1, "b": 2}
    assert repr(rooms).startswith("{'a': {<")
    with pytest.raises(KeyError):
        rooms["c"]


async def test_a_set_view_reads_like_a_set(manage: Manage) -> None:
    """len, in, iteration, truth, copies, comparisons, set operations."""
    manager = manage()
    first, second = TextOnly(), TextOnly()
    await manager.connect(first, "a")
    await manager.connect(second, "a")
    members = manager.active_connections["a"]

    assert len(members) == 2
    assert first in members
    assert TextOnly() not in members
    assert list(members) == [first, second]
    assert members == {first, second}
    assert {first, second} == members
    assert members != {first}
    assert members >= {first}
    assert members - {first} == {second}
    assert members | {1} == {first, second, 1}
    copied = members.copy()
    manager.disconnect(first)
    assert copied == {first, second}
    assert isinstance(copied, set)
    assert repr(members) == f"{{{second!r}}}"


async def test_a_room_may_change_while_one_iterates(manage: Manage) -> None:
    """No view raises 'changed size during iteration'."""
    manager = manage()
    stubs = [TextOnly() for _ in range(4)]
    for stub in stubs:
        await manager.connect(stub, "a")
        await manager.connect(stub, f"room of {id(stub)}")

    for _ in manager.active_connections:
        for stub in manager.active_connections.get("a", ()):
            manager.disconnect(stub)

    assert manager.active_connections == {}


async def test_a_room_may_empty_while_one_iterates_over_items(manage: Manage) -> None:
    """A health endpoint that looks at items() or values() meets no KeyError."""
    manager = manage()
    first, second = TextOnly(), TextOnly()
    await manager.connect(first, "a")
    await manager.connect(second, "b")

    items, values = (
        iter(manager.active_connections.items()),
        iter(manager.user_connections.values()),
    )
    assert next(items)[0] == "a"
    manager.disconnect(second)

    assert [(room, len(members)) for room, members in items] == [("b", 0)]
    assert list(values) == []


async def test_a_room_that_is_being_joined_is_not_there_yet(manage: Manage) -> None:
    """What iterating over the view names, the view has."""
    manager = manage()
    stub = TextOnly()
    await manager.connect(stub, "a")
    found = manager.supervisor.find(stub)
    assert found is not None
    found[1].room_names["b"] = None  # as while a busy room has not answered

    assert {room: len(manager.active_connections[room]) for room in manager.active_connections} == {
        "a": 1
    }


async def test_the_flat_view_reads_like_a_list(manage: Manage) -> None:
    """len, in, iteration, indices, slices, copies, equality, count, index, repr, truth."""
    manager = manage(FlatConnectionManager)
    sockets = manager.active_connections
    stubs = [TextOnly() for _ in range(3)]
    for stub in stubs:
        await manager.connect(stub)

    assert sockets
    assert len(sockets) == 3
    assert stubs[0] in sockets
    assert TextOnly() not in sockets
    assert list(sockets) == stubs
    assert sockets == stubs
    assert stubs == sockets
    assert sockets != stubs[:2]
    assert sockets == manager.active_connections
    assert sockets[0] is stubs[0]
    assert sockets[-1] is stubs[2]
    assert sockets[:] == stubs
    assert sockets[1:] == stubs[1:]
    assert sockets.copy() == stubs
    assert sockets.index(stubs[1]) == 1
    assert sockets.count(stubs[1]) == 1
    assert list(reversed(sockets)) == stubs[::-1]
    assert repr(sockets) == repr(stubs)
    with pytest.raises(IndexError):
        sockets[3]
    with pytest.raises(TypeError):
        hash(sockets)


async def test_the_flat_view_can_be_changed_like_a_list(manage: Manage) -> None:
    """append and remove, as the tutorial's manager has them, and clear."""
    manager = manage(FlatConnectionManager)
    first, second = TextOnly(), TextOnly()

    manager.active_connections.append(first)
    manager.active_connections.append(second)
    assert manager.active_connections == [first, second]
    await manager.broadcast("x")
    manager.active_connections.remove(first)
    manager.active_connections.remove(first)  # it may have gone by itself
    await manager.broadcast("y")
    manager.active_connections.clear()
    await manager.broadcast("z")

    assert (first.sent, second.sent) == (["x"], ["x", "y"])
    assert manager.active_connections == []


async def test_shutting_down_by_hand_works(manage: Manage) -> None:
    """Applications close each socket over a copy, and clear."""
    manager = manage()
    stubs = [AsyncMock() for _ in range(3)]
    for stub in stubs:
        await manager.connect(stub, "a", "ann")

    for room in list(manager.active_connections):
        for stub in manager.active_connections[room].copy():
            await stub.close()
    manager.active_connections.clear()

    assert manager.active_connections == {}
    assert manager.user_connections == {}
    for stub in stubs:
        stub.close.assert_awaited_once_with()


async def test_a_room_can_be_assigned(manage: Manage) -> None:
    """Tests of hand-written managers do; whoever is not in it any more has left."""
    told: list[tuple[str, object]] = []
    manager = manage(
        on_join=lambda connection, room: told.append(("join", connection.websocket)),
        on_leave=lambda connection, room: told.append(("leave", connection.websocket)),
    )
    first, second, third = TextOnly(), TextOnly(), TextOnly()
    await manager.connect(first, "a")

    manager.active_connections["a"] = {first, second}
    assert manager.active_connections["a"] == {first, second}
    await manager.send_to_room("1", "a")
    manager.active_connections["a"] = [second, third]
    await manager.send_to_room("2", "a")
    manager.active_connections["a"] = set()
    assert "a" not in manager.active_connections
    await manager.send_to_room("3", "a")

    assert [stub.sent for stub in (first, second, third)] == [["1"], ["1", "2"], ["2"]]
    assert told[:3] == [("join", first), ("join", second), ("leave", first)]
    assert len(told) == 6


async def test_all_rooms_can_be_assigned(manage: Manage) -> None:
    """Tests reset a manager that way."""
    manager = manage()
    first, second = TextOnly(), TextOnly()
    await manager.connect(first, "a")
    await manager.connect(first, "b")

    manager.active_connections = {"b": {second}}

    assert manager.active_connections == {"b": {second}}
    assert await manager.broadcast("x") == Receipt(1)
    assert second.sent == ["x"]
    manager.active_connections = {}
    assert manager.active_connections == {}
    assert not await manager.broadcast("y")


async def test_users_cannot_be_assigned(manage: Manage) -> None:
    """The error says what changes them."""
    with pytest.raises(TypeError, match=r"connect\(\)"):
        manage().user_connections["ann"] = {TextOnly()}


async def test_an_assigned_socket_is_like_a_connected_one(manage: Manage) -> None:
    """Sends, cleanup and disconnect find it; one that cannot be sent to is only looked at."""
    manager = manage()
    stub, mute = TextOnly(), NoSender()
    manager.active_connections["a"] = [stub, mute]

    assert await manager.send_personal_message("1", stub)
    assert not await manager.send_personal_message("1", mute)
    assert await manager.send_to_room("2", "a") == Receipt(1)
    assert len(manager.active_connections["a"]) == 2
    manager._cleanup_disconnected_websocket(mute)
    manager.disconnect(stub, "a")

    assert stub.sent == ["1", "2"]
    assert manager.active_connections == {}
