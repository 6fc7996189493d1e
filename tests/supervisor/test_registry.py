"""Who is connected: every index finds a connection, and forgets it."""

from __future__ import annotations

from collections.abc import Hashable
from types import SimpleNamespace
from typing import Any

import pytest

from actors.connection import ConnectionState
from actors.exits import Ending, ExitReason
from supervisor.connection import Connection
from supervisor.registry import Registry
from tests.supervisor.stubs import Unhashable


class ActorOfTest:
    """As much of an actor as the registry looks at."""

    def __init__(self) -> None:
        self.state = ConnectionState.OPEN


def connection(
    identity: str = "1",
    websocket: object | None = None,
    *,
    user: Hashable | None = None,
    client: str | None = None,
) -> Connection:
    """Return a connection that is not registered."""
    socket = object() if websocket is None else websocket
    made = Connection(identity, socket, user=user, client=client, opened_clock=0.0)
    made.actor = ActorOfTest()  # type: ignore[assignment]  # all that is looked at
    return made


def end(connection: Connection) -> None:
    """Make ``connection`` one whose socket is done with."""
    connection.reason = ExitReason(Ending.LEFT)
    connection.actor.state = ConnectionState.CLOSED


def test_a_registered_connection_is_found_by_everything() -> None:
    """Id, socket, user, actor; and counted by user and address."""
    registry = Registry()
    ann = connection("1", user="ann", client="203.0.113.1")
    registry.add(ann)

    assert registry.get("1") is ann
    assert registry.of_socket(ann.websocket) is ann
    assert registry.of_user("ann") == [ann]
    assert registry.of_actor(ann.actor) is ann
    assert registry.bound_to(ann.actor) is ann
    assert registry.users() == ["ann"]
    assert registry.count_of_user("ann") == 1
    assert registry.count_of_client("203.0.113.1") == 1
    assert registry.snapshot() == [ann]
    assert len(registry) == 1


def test_a_removed_connection_is_found_by_its_actor_only() -> None:
    """Until that is done with too."""
    registry = Registry()
    ann, bob = (
        connection("1", user="ann", client="203.0.113.1"),
        connection("2", user="ann", client="203.0.113.1"),
    )
    for each in (ann, bob):
        registry.add(each)

    registry.remove(ann)

    assert registry.get("1") is None
    assert registry.of_socket(ann.websocket) is None
    assert registry.of_user("ann") == [bob]
    assert registry.count_of_client("203.0.113.1") == 1
    assert registry.of_actor(ann.actor) is ann
    registry.remove(bob)
    assert registry.users() == []
    assert registry.count_of_user("ann") == registry.count_of_client("203.0.113.1") == 0
    assert registry._by_client == {}


def test_looking_for_strangers_finds_nobody() -> None:
    """Whatever is looked for."""
    registry = Registry()
    registry.add(connection())

    assert registry.get("2") is None
    assert registry.of_socket(object()) is None
    assert registry.of_socket(None) is None
    assert registry.of_user("nobody") == []
    assert registry.of_actor(ActorOfTest()) is None  # type: ignore[arg-type]
    assert registry.count_of_user("nobody") == registry.count_of_client("192.0.2.1") == 0


def test_sockets_are_told_apart_by_identity() -> None:
    """Stubs may be equal to each other, and not hash."""
    registry = Registry()
    sockets = [Unhashable(), Unhashable()]
    connections = [connection(str(n), socket) for n, socket in enumerate(sockets)]
    for each in connections:
        registry.add(each)

    assert [registry.of_socket(socket) for socket in sockets] == connections
    assert registry.of_socket(Unhashable()) is None


def test_a_connection_changes_its_user() -> None:
    """And belongs to nobody else then, or to nobody."""
    registry = Registry()
    one = connection(user="ann")
    registry.add(one)

    registry.assign_user(one, "bob")
    assert registry.users() == ["bob"]
    assert one.user == "bob"
    registry.assign_user(one, None)

    assert registry.users() == []
    assert registry.count_of_user("bob") == 0


def test_what_is_let_go_has_no_references_left() -> None:
    """The socket is dropped, and the reading half stopped, once."""
    registry = Registry()
    stopped: list[bool] = []
    one = connection()
    inbound: Any = SimpleNamespace(stop=lambda: stopped.append(True))
    one.inbound = inbound
    registry.add(one)
    registry.remove(one)
    end(one)

    registry.let_go(one)
    registry.let_go(one)

    assert one.websocket is None
    assert registry.of_actor(one.actor) is None
    assert stopped == [True]


@pytest.mark.parametrize("holds", ["socket", "room", "registration"])
def test_what_is_still_needed_is_not_let_go(holds: str) -> None:
    """A socket that flushes, a room that has not processed the leave, a live connection."""
    registry = Registry()
    one = connection()
    registry.add(one)
    end(one)
    if holds == "socket":
        one.actor.state = ConnectionState.CLOSING
    elif holds == "room":
        one.memberships = 1
    else:
        one.reason = None

    registry.let_go(one)

    assert one.websocket is not None
    assert registry.of_actor(one.actor) is one


def test_a_snapshot_does_not_change() -> None:
    """Whoever walks over it may remove."""
    registry = Registry()
    for number in range(3):
        registry.add(connection(str(number)))

    for each in registry.snapshot():
        registry.remove(each)

    assert len(registry) == 0
