"""The drop-in faces in several loops and threads, and between loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from unittest.mock import AsyncMock

import pytest

from supervisor import ConnectionManager, FlatConnectionManager, Receipt
from tests.supervisor.conftest import Manage
from tests.supervisor.faces import EVERY_FACE
from tests.supervisor.loops import OtherLoop
from tests.supervisor.stubs import TextOnly, got


@pytest.mark.parametrize("runner", ["asyncio.run", "run_until_complete"])
def test_a_manager_serves_one_loop_after_the_other(runner: str) -> None:
    """A module's global lives through many tests, each with a loop of its own."""
    manager = ConnectionManager()

    async def scenario() -> None:
        stub = TextOnly()
        await manager.connect(stub, "a")
        await manager.send_to_room("x", "a")
        assert stub.sent == ["x"]
        assert len(manager.active_connections["a"]) == 1
        await manager.supervisor.aclose()
        manager.supervisor.start()

    def run(work: Coroutine[Any, Any, None]) -> None:
        if runner == "asyncio.run":
            asyncio.run(work)
        else:
            loop = asyncio.new_event_loop()
            loop.run_until_complete(work)
            loop.close()

    for _ in range(3):
        run(scenario())


@EVERY_FACE
def test_each_call_may_have_a_loop_of_its_own(face: Callable[..., Any]) -> None:
    """Synchronous tests call asyncio.run() each time; hooks are told once all the same."""
    told: list[tuple[str, object]] = []
    manager = face(
        on_join=lambda _, room: told.append(("join", room)),
        on_leave=lambda _, room: told.append(("leave", room)),
    )
    first, second = TextOnly(), AsyncMock()

    if face is FlatConnectionManager:
        asyncio.run(manager.connect(first))
    else:
        asyncio.run(manager.connect(first, "a", "ann"))
    asyncio.run(manager.connect(second))
    assert asyncio.run(manager.broadcast("1")) == Receipt(2)
    assert asyncio.run(manager.send_personal_message("2", first)) is True
    if face is ConnectionManager:
        assert asyncio.run(manager.send_to_room("3", "a")) == Receipt(1)
        assert asyncio.run(manager.send_to_user("4", "ann")) == Receipt(1)
        assert list(manager.active_connections) == ["a"]
    manager.disconnect(second)
    assert asyncio.run(manager.broadcast("5")) == Receipt(1)
    manager.disconnect(first)
    assert len(manager.active_connections) == 0
    assert asyncio.run(manager.broadcast("6")) == Receipt()

    assert first.sent == ["1", "2", *(["3", "4"] if face is ConnectionManager else []), "5"]
    assert got(second) == ["1"]
    assert len(manager.active_connections) == 0
    if face is not FlatConnectionManager:
        assert told == [("join", "a"), ("leave", "a")]


def test_rooms_may_be_left_between_loops() -> None:
    """The views know at once, the hooks at the next call on a loop."""
    told: list[tuple[str, object]] = []
    manager = ConnectionManager(
        on_join=lambda _, room: told.append(("join", room)),
        on_leave=lambda _, room: told.append(("leave", room)),
    )
    first, second = TextOnly(), TextOnly()
    for room in ("a", "b"):
        asyncio.run(manager.connect(first, room, "ann"))
    asyncio.run(manager.connect(second, "b"))

    for room in ("a", "unknown"):
        manager.disconnect(first, room, "ann")  # type: ignore[unused-awaitable]  # on purpose
    assert {room: len(members) for room, members in manager.active_connections.items()} == {"b": 2}
    manager._cleanup_disconnected_websocket(second)
    manager.active_connections["c"] = {first}
    assert sorted(manager.active_connections) == ["b", "c"]
    assert list(manager.user_connections) == ["ann"]

    assert asyncio.run(manager.send_to_user("x", "ann")) == Receipt(1)
    assert sorted(told, key=str) == [
        ("join", "a"),
        ("join", "b"),
        ("join", "b"),
        ("join", "c"),
        ("leave", "a"),
        ("leave", "b"),
    ]
    assert (first.sent, second.sent) == (["x"], [])


@pytest.mark.parametrize("then", ["run_until_complete", "asyncio.run"])
def test_calls_may_share_a_loop_that_stops_between_them(then: str) -> None:
    """As unittest's helpers do."""
    manager = ConnectionManager()
    websocket = TextOnly()
    loop = asyncio.new_event_loop()

    loop.run_until_complete(manager.connect(websocket, "a"))
    assert loop.run_until_complete(manager.send_to_room("1", "a")) == Receipt(1)
    if then == "asyncio.run":
        loop.run_until_complete(manager.supervisor.aclose())
        loop.close()
        manager.supervisor.start()
        asyncio.run(manager.connect(websocket, "a"))
        assert asyncio.run(manager.send_to_room("2", "a")) == Receipt(1)
    else:
        assert loop.run_until_complete(manager.broadcast("2")) == Receipt(1)
        loop.run_until_complete(manager.supervisor.aclose())
        loop.close()

    assert websocket.sent == ["1", "2"]


@pytest.mark.real_time
async def test_assigning_a_socket_of_another_loop_joins_it_there(
    manage: Manage, other: OtherLoop
) -> None:
    """It is written to on its own loop only."""
    manager = manage()
    far = TextOnly()
    await other.run(manager.connect(far, "a"))

    manager.active_connections["b"] = [far]
    await manager.send_personal_message("x", object())
    async with asyncio.timeout(5):
        while not await manager.send_to_room("y", "b"):  # noqa: ASYNC110 - another loop's turn
            await asyncio.sleep(0.001)

    assert far.sent == ["y"]
    assert manager.active_connections == {"a": {far}, "b": {far}}


@pytest.mark.real_time
async def test_threads_may_look_and_disconnect(manage: Manage) -> None:
    """Synchronous endpoints run in threads."""
    manager = manage()
    stub = TextOnly()
    await manager.connect(stub, "a", "ann")

    def look() -> tuple[int, bool, list[object]]:
        members = manager.active_connections["a"]
        return len(members), stub in members, list(manager.user_connections)

    assert await asyncio.to_thread(look) == (1, True, ["ann"])
    await asyncio.to_thread(manager.disconnect, stub)
    async with asyncio.timeout(5):
        while manager.active_connections:  # noqa: ASYNC110 - the thread's call is on its way
            await asyncio.sleep(0.001)
