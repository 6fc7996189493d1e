"""Limits, checked before a socket is accepted, with places held meanwhile."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pytest

from supervisor import ConnectionRefused, Settings
from supervisor.admission import Admission
from supervisor.connection import Connection
from supervisor.registry import Registry


def registered(registry: Registry, user: Hashable | None, client: str | None) -> Connection:
    """Return a connection that is in ``registry``."""
    connection = Connection("id", object(), user=user, client=client, opened_clock=0.0)
    connection.id = str(id(connection))
    connection.actor = object()  # type: ignore[assignment]  # only a key
    registry.add(connection)
    return connection


def admission(*registry: Registry, **limits: Any) -> Admission:
    """Return the admission of a node with those limits."""
    return Admission(Settings(**limits), *(registry or (Registry(),)))


def test_without_limits_everybody_has_a_place() -> None:
    """However many at once."""
    limits = admission()

    for _ in range(1000):
        limits.place("ann", "203.0.113.1").__enter__()


@pytest.mark.parametrize(
    ("limit", "status", "says"),
    [
        ("max_connections", 503, "node has its 2"),
        ("max_connections_per_user", 429, "user may have 2"),
        ("max_connections_per_ip", 429, "address may have 2"),
    ],
)
def test_held_places_count(limit: str, status: int, says: str) -> None:
    """Until they are given back."""
    limits = admission(**{limit: 2})

    with limits.place("ann", "203.0.113.1"):
        with limits.place("ann", "203.0.113.1"):
            with pytest.raises(ConnectionRefused, match=says) as refusal:
                limits.place("ann", "203.0.113.1").__enter__()
            assert (refusal.value.code, refusal.value.status) == (3504, status)
        with limits.place("ann", "203.0.113.1"):
            pass


def test_registered_connections_count() -> None:
    """Of the same user, or address, or all."""
    registry = Registry()
    for _ in range(2):
        registered(registry, "ann", "203.0.113.1")

    for limit in ("max_connections", "max_connections_per_user", "max_connections_per_ip"):
        with pytest.raises(ConnectionRefused):
            admission(registry, **{limit: 2}).place("ann", "203.0.113.1").__enter__()
    for limit in ("max_connections_per_user", "max_connections_per_ip"):
        with admission(registry, **{limit: 2}).place("bob", "203.0.113.2"):
            pass


def test_who_has_no_name_and_no_address_is_not_counted_by_them() -> None:
    """Anonymous users are not one user."""
    limits = admission(max_connections_per_user=1, max_connections_per_ip=1)

    with limits.place(None, None), limits.place(None, None), limits.place(None, None):
        pass


def test_a_place_is_given_back_whatever_happens_within() -> None:
    """An accept may fail, or be cancelled."""
    limits = admission(max_connections=1, max_connections_per_user=1, max_connections_per_ip=1)

    for _ in range(3):
        with pytest.raises(ZeroDivisionError), limits.place("ann", "203.0.113.1"):
            raise ZeroDivisionError

    with limits.place("ann", "203.0.113.1"):
        pass


def test_a_user_that_cannot_be_one_takes_no_place() -> None:
    """What does not hash is an error of the application."""
    limits = admission(max_connections=1)

    with pytest.raises(TypeError, match="unhashable"):
        limits.place(["ann"], None).__enter__()  # type: ignore[arg-type]

    with limits.place("ann", None):
        pass


def test_places_of_others_are_their_own() -> None:
    """Each user and each address is counted by itself, in any order of giving back."""
    limits = admission(max_connections_per_user=1, max_connections_per_ip=1)
    ann, bob = limits.place("ann", "203.0.113.1"), limits.place("bob", "203.0.113.2")
    ann.__enter__()
    bob.__enter__()

    ann.__exit__(None, None, None)

    with limits.place("ann", "203.0.113.1"), pytest.raises(ConnectionRefused):
        limits.place("bob", "203.0.113.3").__enter__()


def test_rooms_of_one_connection_are_limited() -> None:
    """3505 says so."""
    limits = admission(max_rooms_per_connection=2)

    limits.check_rooms(2)
    with pytest.raises(ConnectionRefused, match="2 rooms, not in 3") as refusal:
        limits.check_rooms(3)

    assert refusal.value.code == 3505
