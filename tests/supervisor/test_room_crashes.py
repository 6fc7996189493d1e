"""Rooms that crash: what survives it, and when they are given up."""

from __future__ import annotations

import asyncio

import pytest

from actors.messages import Message
from actors.testing import settle
from supervisor import ActorStopped, Ending, JoinRefused, Receipt, Supervisor
from tests.supervisor.conftest import Events, NewPeer, Supervise, named
from tests.supervisor.endpoints import enter


class Poison(Message):
    """What no room actor understands."""


def poison(supervisor: Supervisor, name: str) -> None:
    """Crash the actor of a room of the running loop."""
    (node,) = supervisor.nodes
    room = node.rooms.get(name)
    assert room is not None
    room.ref.tell(Poison())  # type: ignore[arg-type]  # that is the point


async def test_a_crash_of_a_room_loses_no_member_and_no_message(
    supervise: Supervise, peer: NewPeer, events: Events
) -> None:
    """Its successor has the same members, and the messages that waited; hooks are not told."""
    told: list[object] = []
    supervisor = supervise(
        on_join=lambda *_: told.append("join"), on_leave=lambda *_: told.append("leave")
    )
    clients = [peer() for _ in range(3)]
    for client in clients:
        await enter(supervisor, client, rooms=["a"])

    supervisor.publish_nowait("a", "before")
    poison(supervisor, "a")
    supervisor.publish_nowait("a", "behind")
    receipt = await supervisor.publish("a", "after")
    await settle()

    assert receipt == Receipt(3)
    assert [client.got for client in clients] == [["before", "behind", "after"]] * 3
    assert told == ["join"] * 3
    assert supervisor.healthy
    (event,) = named(events, "room.crashed")
    assert (event["room"], event["members"]) == ("a", 3)


async def test_a_room_that_crashes_too_often_is_given_up(
    supervise: Supervise, peer: NewPeer, events: Events
) -> None:
    """Its members are closed with 3004, health turns red, and a new room takes who comes back."""
    left: list[object] = []
    supervisor = supervise(on_leave=lambda connection, room: left.append(room))
    member, stranger = peer(), peer()
    await enter(supervisor, member, rooms=["a", "b"])
    await enter(supervisor, stranger, rooms=["b"])

    for _ in range(5):
        poison(supervisor, "a")
        await settle()
    assert supervisor.healthy
    assert len(supervisor.members("a")) == 1
    poison(supervisor, "a")
    await settle()

    assert not supervisor.healthy
    assert member.closed == (3004, "room a failed")
    assert await member.end() is None
    assert stranger.closed is None
    assert sorted(map(str, left)) == ["a", "b"]
    assert len(named(events, "room.failed")) == 1
    assert supervisor.closed[0].reason.ending is Ending.ROOM_FAILED
    back = peer()
    await enter(supervisor, back, rooms=["a"])
    assert await supervisor.publish("a", "x")


async def test_crashes_far_apart_are_bad_luck(supervise: Supervise, peer: NewPeer) -> None:
    """The window is restart_period seconds."""
    supervisor = supervise(restart_intensity=1, restart_period=10.0)
    await enter(supervisor, peer(), rooms=["a"])

    for _ in range(5):
        poison(supervisor, "a")
        await asyncio.sleep(6)
        poison_free = supervisor.healthy
        await asyncio.sleep(6)
        assert poison_free

    assert len(supervisor.members("a")) == 1


async def test_who_waits_for_a_receipt_of_a_room_that_is_given_up_is_told(
    supervise: Supervise, peer: NewPeer
) -> None:
    """ActorStopped, not silence."""
    supervisor = supervise(restart_intensity=0)
    await enter(supervisor, peer(), rooms=["a"])

    poison(supervisor, "a")

    with pytest.raises(ActorStopped):
        await supervisor.publish("a", "x")


async def test_who_waits_to_join_a_room_that_is_given_up_is_told(
    supervise: Supervise, peer: NewPeer
) -> None:
    """A WebSocketDisconnect; it is not in the room then, and may join the next of that name."""
    supervisor = supervise(restart_intensity=0)
    await enter(supervisor, peer(), rooms=["a"])
    session = await enter(supervisor, peer())

    poison(supervisor, "a")
    with pytest.raises(JoinRefused) as refusal:
        await session.join("a")

    assert refusal.value.code == 3004
    assert session.rooms == frozenset()
    assert await session.join("a")
    assert supervisor.members("a") == {session.connection}
