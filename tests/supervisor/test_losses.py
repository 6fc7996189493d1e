"""What was lost, by the class of the room and the reason: once each, and readable at any time."""

from __future__ import annotations

import asyncio

from actors.exits import CloseCode, Ending, ExitReason
from actors.testing import settle
from supervisor import Connection, RoomPolicy
from supervisor.losses import Losses
from tests.supervisor.conftest import Events, NewPeer, Supervise, named
from tests.supervisor.endpoints import enter


def test_losses_are_added_and_taken_back() -> None:
    """What was taken back is not there with a zero."""
    losses = Losses()
    losses.count("log", "trimmed", 2)
    losses.add({"event": {"drop_oldest": 3}, "log": {"trimmed": 1}})

    losses.take_back({"event": {"drop_oldest": 3}})

    assert losses.by_feed() == {"log": {"trimmed": 3}}
    assert losses.by_reason() == {"trimmed": 3}


async def test_a_loss_is_the_same_one_wherever_it_is_read(
    supervise: Supervise, peer: NewPeer
) -> None:
    """At the connection while it lives, in the statistics before and after its end, and in the ring."""
    supervisor = supervise(mailbox_messages=2)
    client = peer(abortable=True)
    session = await enter(supervisor, client, rooms=["a"])
    client.stalled = True
    for _ in range(5):
        await supervisor.publish("a", "x")
    connection = session.connection

    assert connection.dropped == {"event": {"drop_oldest": 2}}
    assert supervisor.statistics().dropped_by_feed == {"event": {"drop_oldest": 2}}
    client.vanish()
    await client.end()
    await settle()

    expected = {"event": {"drop_oldest": 2, "send_failed": 3}}
    (closed,) = supervisor.closed
    assert closed.dropped_by_feed == connection.dropped == expected
    assert (closed.dropped, closed.lost) == ({"drop_oldest": 2}, 3)
    assert supervisor.statistics().dropped_by_feed == expected
    assert supervisor.statistics().dropped == {"drop_oldest": 2, "send_failed": 3}


async def test_what_a_reaped_connection_loses_later_is_counted(
    supervise: Supervise, peer: NewPeer
) -> None:
    """A released socket may go on to lose what its endpoint sends, until it is done with."""
    supervisor = supervise(mailbox_messages=1, send_timeout=60.0)
    client = peer()
    connection = (await enter(supervisor, client, rooms=["a"])).connection
    (node,) = supervisor.nodes
    client.stalled = True
    for _ in range(3):
        await supervisor.publish("a", "x")

    node.release(connection, ExitReason(Ending.LEFT, CloseCode.NORMAL))
    assert await node.send(connection, "late") is True
    assert supervisor.statistics().dropped == {"drop_oldest": 1}
    client.resume()
    await settle()
    connection.actor.close(ExitReason(Ending.LEFT, CloseCode.NORMAL))
    await connection.wait_closed()
    await settle()

    assert supervisor.statistics().dropped_by_feed == {"event": {"drop_oldest": 2}}
    (closed,) = supervisor.closed
    assert closed.dropped == {"drop_oldest": 2}


async def test_a_connection_that_is_registered_again_is_not_counted_twice(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Its mailbox goes on with its counts, through both of its lives."""
    supervisor = supervise(mailbox_messages=1, send_timeout=60.0)
    client = peer()
    connection = (await enter(supervisor, client, rooms=["a"])).connection
    (node,) = supervisor.nodes
    client.stalled = True
    for _ in range(3):
        await supervisor.publish("a", "x")

    for _ in range(2):
        node.release(connection, ExitReason(Ending.LEFT, CloseCode.NORMAL))
        assert supervisor.statistics().dropped == {"drop_oldest": 1}
        node.register_again(connection, None)
        assert supervisor.statistics().dropped == {"drop_oldest": 1}

    client.resume()


async def test_what_cannot_be_sent_to_one_connection_is_counted_as_direct(
    supervise: Supervise, peer: NewPeer
) -> None:
    """send() says false, and the statistics say why."""
    supervisor = supervise()
    client = peer()
    connection: Connection = (await enter(supervisor, client)).connection
    (node,) = supervisor.nodes
    client.leave()
    await client.result()

    assert await node.send(connection, "late") is False

    assert supervisor.statistics().dropped_by_feed == {"direct": {"closed": 1}}


async def test_a_room_without_space_is_logged_at_the_begin_and_the_end(
    supervise: Supervise, peer: NewPeer, events: Events
) -> None:
    """However many messages that costs; the end has their number."""
    supervisor = supervise(rooms={"news": RoomPolicy.status()})
    await enter(supervisor, peer())
    (node,) = supervisor.nodes

    for _ in range(100):
        node.rooms.had_no_space("a")
        node.rooms.had_no_space("news")
        await asyncio.sleep(0.3)
    await asyncio.sleep(21)

    assert [event["room"] for event in named(events, "room.full")] == ["a", "news"]
    recovered = {event["room"]: event["dropped"] for event in named(events, "room.recovered")}
    assert recovered == {"a": 100, "news": 100}
    assert supervisor.statistics().dropped_by_feed == {
        "event": {"room_full": 100},
        "status": {"room_full": 100},
    }


async def test_a_client_that_is_slow_is_logged_once_an_episode(
    supervise: Supervise, peer: NewPeer, events: Events
) -> None:
    """With what waited for it then; the end of the episode has what it has lost."""
    supervisor = supervise(mailbox_messages=8, slow_share=0.5, slow_grace=2.0, send_timeout=60.0)
    slow = peer()
    await enter(supervisor, slow, rooms=["a"], user="ann")
    slow.stalled = True
    for _ in range(7):
        await supervisor.publish("a", "xyz")

    await asyncio.sleep(2.2)
    for _ in range(3):
        await supervisor.publish("a", "xyz")
    slow.resume()
    await settle()

    (told,) = named(events, "connection.slow")
    assert (told["user"], told["waiting"], told["bytes"]) == ("ann", 6, 18)
    (recovered,) = named(events, "mailbox.recovered")
    assert recovered["dropped"] == 5
    assert supervisor.statistics().dropped == {"drop_oldest": 5}


async def test_what_a_store_refuses_is_counted_and_logged_once_a_while(
    supervise: Supervise, events: Events
) -> None:
    """Nobody waits for publish_nowait(), so nobody else hears of it."""
    supervisor = supervise(rooms={"l:*": RoomPolicy.log()})
    await supervisor.end("l:1")

    for _ in range(3):
        supervisor.publish_nowait("l:1", "late")
    await settle()

    assert supervisor.statistics().dropped_by_feed == {"log": {"not_kept": 3}}
    (refused,) = named(events, "history.refused")
    assert (refused["room"], refused["total"]) == ("l:1", 1)


async def test_members_that_are_behind_are_counted(supervise: Supervise, peer: NewPeer) -> None:
    """One for each membership, until its member has caught up."""
    supervisor = supervise(rooms={"l:*": RoomPolicy.log()})
    quick, slow = peer(), peer()
    await enter(supervisor, quick, rooms=["l:1", "l:2"])
    await enter(supervisor, slow, rooms=["l:1", "l:2"])
    slow.stalled = True
    for _ in range(3):
        await supervisor.publish("l:1", "x")
        await supervisor.publish("l:2", "x")

    assert supervisor.statistics().behind == 2
    slow.resume()
    await settle()

    assert supervisor.statistics().behind == 0
    assert supervisor.statistics().dropped == {}


async def test_what_fails_for_each_message_is_logged_once_a_while(
    supervise: Supervise, peer: NewPeer, events: Events
) -> None:
    """The first, and then one in ten seconds with the number so far."""
    supervisor = supervise()
    await enter(supervisor, peer())
    (node,) = supervisor.nodes

    for _ in range(30):
        node.runtime.fault("history.read", OSError("gone"))
        node.runtime.fault("timer", OSError("gone"))
        await asyncio.sleep(1)

    faults = named(events, "node.fault")
    assert [event["total"] for event in faults if event["what"] == "history.read"] == [1, 11, 21]
    assert len([event for event in faults if event["what"] == "timer"]) == 30
