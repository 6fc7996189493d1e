"""The hooks of the drop-in faces."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.testing import settle
from supervisor import Connection
from tests.supervisor.conftest import Events, Manage, named
from tests.supervisor.stubs import Raising, TextOnly


async def test_hooks_fire_once_a_membership(manage: Manage) -> None:
    """For each room that a socket is in, however often it is said, and however it ends."""
    told: list[tuple[str, object, object]] = []
    manager = manage(
        on_join=lambda connection, room: told.append(("join", connection.user, room)),
        on_leave=lambda connection, room: told.append(("leave", connection.user, room)),
    )
    stub, dead = TextOnly(), Raising(RuntimeError("gone"))

    await manager.connect(stub, "a", "ann")
    await manager.connect(stub, "a", "ann")
    await manager.connect(stub, "b", "ann")
    await manager.connect(dead, "a", "bob")
    assert told == [("join", "ann", "a"), ("join", "ann", "b"), ("join", "bob", "a")]
    told.clear()

    await manager.send_to_room("x", "a")
    await manager.send_to_room("x", "a")
    manager._cleanup_disconnected_websocket(dead)
    manager.disconnect(dead, "a", "bob")
    manager.disconnect(stub, "a")
    manager.disconnect(stub, "a")
    manager.disconnect(stub)
    manager.disconnect(stub)
    await settle()

    assert told == [("leave", "bob", "a"), ("leave", "ann", "a"), ("leave", "ann", "b")]


async def test_a_socket_without_a_room_tells_nobody(manage: Manage) -> None:
    """The rooms that everybody is in are not the application's."""
    told: list[object] = []
    manager = manage(on_join=lambda *_: told.append(1), on_leave=lambda *_: told.append(1))
    stub = TextOnly()

    await manager.connect(stub, None, "ann")
    manager.disconnect(stub)
    await settle()

    assert told == []


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_hooks_that_raise_harm_nobody(manage: Manage, kind: str, events: Events) -> None:
    """They are logged, and each is called all the same."""
    calls: list[object] = []

    def fail(_: Connection, room: Any) -> None:
        calls.append(room)
        raise ZeroDivisionError("bug")

    async def fail_later(_: Connection, room: Any) -> None:
        fail(_, room)

    hook = fail if kind == "plain" else fail_later
    manager = manage(on_join=hook, on_leave=hook)
    stub = TextOnly()
    await manager.connect(stub, "a")
    assert await manager.send_to_room("x", "a")
    manager.disconnect(stub)
    await settle()

    assert calls == ["a", "a"]
    assert len(named(events, "hook.failed")) == 2


async def test_a_coroutine_hook_is_awaited(manage: Manage) -> None:
    """connect does not wait for it."""
    told: list[object] = []

    async def on_join(connection: Connection, room: object) -> None:
        await asyncio.sleep(1)
        told.append(room)

    manager = manage(on_join=on_join)
    await manager.connect(TextOnly(), "a")
    assert told == []
    await asyncio.sleep(1.1)

    assert told == ["a"]
