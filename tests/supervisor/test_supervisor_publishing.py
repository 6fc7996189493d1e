"""What a supervisor publishes: who gets it, in which order, and what slow clients cost."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from actors.testing import settle
from supervisor import DropReason, Ending, InvalidRoomName, MailboxFull, MessageTooLarge, Receipt
from tests.supervisor.asgi import Peer
from tests.supervisor.conftest import Events, NewPeer, Supervise, done, named
from tests.supervisor.endpoints import enter


async def test_a_publication_reaches_the_members_of_its_room_only(
    supervise: Supervise, peer: NewPeer
) -> None:
    """The receipt counts them."""
    supervisor = supervise()
    clients = [peer() for _ in range(3)]
    for client, rooms in zip(clients, (["a"], ["a", "b"], ["b"]), strict=True):
        await enter(supervisor, client, rooms=rooms)

    receipt = await supervisor.publish("a", "x")
    await settle()

    assert receipt == Receipt(2)
    assert receipt
    assert receipt.recipients == 2
    assert [client.got for client in clients] == [["x"], ["x"], []]


async def test_a_room_without_members_takes_a_publication_too(supervise: Supervise) -> None:
    """The receipt is false: nobody took it."""
    supervisor = supervise()

    receipt = await supervisor.publish("nobody", "x")
    supervisor.publish_nowait("nobody", "x")

    assert receipt == Receipt()
    assert not receipt


@pytest.mark.parametrize("name", ["", "x" * 256, "a\nb", "$everyone", 7])
async def test_a_malformed_room_is_refused_everywhere(
    supervise: Supervise, peer: NewPeer, name: Any
) -> None:
    """By publish, join, leave and members alike."""
    supervisor = supervise()
    session = await enter(supervisor, peer())
    calls: list[Callable[[], Any]] = [
        lambda: supervisor.publish(name, "x"),
        lambda: supervisor.publish_nowait(name, "x"),
        lambda: supervisor.join(session, name),
        lambda: supervisor.leave(session, name),
        lambda: session.join(name),
        lambda: session.leave(name),
        lambda: supervisor.members(name),
    ]

    for call in calls:
        with pytest.raises(InvalidRoomName):
            await done(call())


@pytest.mark.parametrize("target", ["ann", ["ann"], 1, b"x"])
async def test_a_name_excludes_nobody(supervise: Supervise, target: object) -> None:
    """It is the mistake of one who thinks of users: everybody would get the message."""
    with pytest.raises(TypeError, match="sessions, connections or WebSockets"):
        await supervise().publish("a", "x", exclude=target)


async def test_exclude_takes_whatever_names_a_connection(
    supervise: Supervise, peer: NewPeer
) -> None:
    """A session, a connection, a WebSocket, or a collection of them; strangers are ignored."""
    supervisor = supervise()
    clients = [peer() for _ in range(4)]
    sessions = [await enter(supervisor, client, rooms=["a"], user="ann") for client in clients]
    first, second, third, _ = sessions
    excluded = [first, second.connection, third.connection.websocket, object()]

    assert (await supervisor.publish("a", "1", exclude=first)).recipients == 3
    assert (await supervisor.publish("a", "2", exclude=second.connection)).recipients == 3
    assert (await supervisor.publish("a", "3", exclude=third.connection.websocket)).recipients == 3
    assert (await supervisor.publish("a", "4", exclude=excluded)).recipients == 1
    assert (await supervisor.send_to_user("ann", "5", exclude=tuple(excluded))).recipients == 1
    assert (await supervisor.broadcast("6", exclude={first, second})).recipients == 2
    supervisor.publish_nowait("a", "7", exclude=sessions[:3])
    await settle()

    assert [client.got for client in clients] == [
        ["2", "3"],
        ["1", "3"],
        ["1", "2", "6"],
        ["1", "2", "3", "4", "5", "6", "7"],
    ]


async def test_a_user_is_whoever_the_application_says(supervise: Supervise, peer: NewPeer) -> None:
    """Any hashable; a number is not its text; all connections of the user get it."""
    supervisor = supervise()
    clients = {user: peer() for user in ("1", 1, ("org", 7))}
    for user, client in clients.items():
        await enter(supervisor, client, user=user)
    second_tab = peer()
    await enter(supervisor, second_tab, user=1)

    assert (await supervisor.send_to_user(1, "x")).recipients == 2
    assert (await supervisor.send_to_user("1", "y")).recipients == 1
    assert (await supervisor.send_to_user(("org", 7), "z")).recipients == 1
    assert not await supervisor.send_to_user("nobody", "x")
    await settle()

    assert [client.got for client in clients.values()] == [["y"], ["x"], ["z"]]
    assert second_tab.got == ["x"]


@pytest.mark.parametrize("user", ["ann", 7])
async def test_nobody_gets_into_a_users_room_by_its_name(
    supervise: Supervise, peer: NewPeer, user: object
) -> None:
    """Rooms are often named by whoever connects: what is sent to a user is for that user."""
    supervisor = supervise()
    mine, spys = peer(), peer()
    await enter(supervisor, mine, user=user)
    names = [f"user:{user}", f"user-{user}", str(user), "everyone"]
    await enter(supervisor, spys, user="spy", rooms=names)

    assert await supervisor.send_to_user(user, "secret") == Receipt(1)
    for name in names:
        assert await supervisor.publish(name, "public") == Receipt(1)
    await settle()

    assert mine.got == ["secret"]
    assert spys.got == ["public"] * 4


async def test_a_broadcast_reaches_everybody_once(supervise: Supervise, peer: NewPeer) -> None:
    """Whatever rooms they are in, or none."""
    supervisor = supervise()
    clients = [peer() for _ in range(3)]
    for client, rooms in zip(clients, ([], ["a"], ["a", "b"]), strict=True):
        await enter(supervisor, client, rooms=rooms)

    assert (await supervisor.broadcast("x")).recipients == 3
    await settle()

    assert [client.got for client in clients] == [["x"]] * 3


async def test_publications_keep_their_order_whoever_publishes(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Each publisher's messages come in the order of its calls, to idle and busy clients."""
    supervisor = supervise()
    clients = [peer(), peer()]
    for client in clients:
        await enter(supervisor, client, rooms=["a"])
    clients[1].stalled = True

    async def publish_many(name: str) -> None:
        for number in range(20):
            if number % 3:
                await supervisor.publish("a", {"name": name, "n": number})
            else:
                supervisor.publish_nowait("a", {"name": name, "n": number})

    await asyncio.gather(publish_many("x"), publish_many("y"))
    clients[1].resume()
    await settle()

    for client in clients:
        for name in ("x", "y"):
            numbers = [got["n"] for got in client.got_json if got["name"] == name]
            assert numbers == list(range(20))


async def test_a_newer_message_of_a_key_replaces_one_that_waits(
    supervise: Supervise, peer: NewPeer
) -> None:
    """For the slow client only; a key counts within its room."""
    supervisor = supervise()
    quick, slow = peer(), peer()
    for client in (quick, slow):
        await enter(supervisor, client, rooms=["a", "b"])
    slow.stalled = True

    await supervisor.publish("a", "in flight")
    for number in range(3):
        await supervisor.publish("a", f"step {number}", key="step")
        await supervisor.publish("b", f"other {number}", key="step")
    slow.resume()
    await settle()

    assert len(quick.got) == 7
    assert slow.got == ["in flight", "step 2", "other 2"]


@pytest.mark.parametrize(
    ("policy", "got", "dropped"),
    [
        ("drop_oldest", ["0", "4", "5"], {"drop_oldest": 3}),
        ("drop_newest", ["0", "1", "2"], {"drop_newest": 3}),
    ],
)
async def test_a_slow_client_loses_by_policy_and_costs_nobody_anything(
    supervise: Supervise,
    peer: NewPeer,
    events: Events,
    policy: str,
    got: list[str],
    dropped: dict[str, int],
) -> None:
    """Each loss is counted; the episode is logged once at its begin and once at its end."""
    supervisor = supervise(mailbox_messages=2, overflow=policy)
    quick, slow = peer(), peer()
    await enter(supervisor, quick, rooms=["a"])
    await enter(supervisor, slow, rooms=["a"], user="ann")
    slow.stalled = True

    receipts = [await supervisor.publish("a", str(number)) for number in range(6)]
    assert supervisor.statistics().waiting == 2
    assert supervisor.statistics().dropped == dropped
    slow.resume()
    await settle()

    assert quick.got == [str(number) for number in range(6)]
    assert slow.got == got
    if policy == "drop_oldest":
        assert [receipt.evicted for receipt in receipts] == [0, 0, 0, 1, 1, 1]
        assert all(receipt.accepted == 2 for receipt in receipts)
    else:
        assert [receipt.dropped for receipt in receipts[3:]] == [{DropReason.NEWEST: 1}] * 3
    (overflow,) = named(events, "mailbox.overflow")
    assert (overflow["user"], overflow["policy"]) == ("ann", policy)
    (recovered,) = named(events, "mailbox.recovered")
    assert recovered["dropped"] == 3


async def test_the_policy_disconnect_closes_a_slow_client_with_3008(
    supervise: Supervise, peer: NewPeer
) -> None:
    """It is deregistered at once, and told to come back when it reads again."""
    supervisor = supervise(mailbox_messages=2, overflow="disconnect")
    slow = peer()
    await enter(supervisor, slow, rooms=["a"])
    slow.stalled = True

    receipts = [await supervisor.publish("a", str(number)) for number in range(5)]

    assert [receipt.accepted for receipt in receipts] == [1, 1, 1, 0, 0]
    assert receipts[3].dropped == {DropReason.OVERFLOW: 1}
    assert receipts[4] == Receipt()
    assert supervisor.members("a") == frozenset()
    slow.resume()
    assert await slow.end() is None
    assert slow.closed == (3008, "mailbox overflow")
    (closed,) = supervisor.closed
    assert closed.reason.ending is Ending.SLOW
    assert closed.peak_depth == 2


async def test_the_policy_block_waits_for_a_slow_client_and_then_closes_it(
    supervise: Supervise, peer: NewPeer, events: Events
) -> None:
    """What it did not get is in the receipt, in the statistics, and in the log."""
    supervisor = supervise(mailbox_messages=2, overflow="block", block_timeout=3.0)
    slow = peer()
    await enter(supervisor, slow, rooms=["a"])
    slow.stalled = True
    began = asyncio.get_running_loop().time()

    receipts = [await supervisor.publish("a", str(number)) for number in range(4)]

    assert [receipt.accepted for receipt in receipts] == [1, 1, 1, 0]
    assert asyncio.get_running_loop().time() - began == pytest.approx(3.0, abs=0.2)
    assert receipts[3].dropped == {DropReason.OVERFLOW: 1}
    (overflow,) = named(events, "mailbox.overflow")
    assert overflow["policy"] == "disconnect"
    (closing,) = named(events, "connection.closed")
    assert (closing["code"], closing["dropped"], closing["waiting"]) == (3008, 1, 2)
    slow.resume()
    assert await slow.end() is None
    assert supervisor.statistics().dropped == {"disconnect": 1, "send_failed": 2}
    assert supervisor.statistics().written == 1


async def test_what_sockets_took_stays_counted_when_they_are_gone(
    supervise: Supervise, peer: NewPeer
) -> None:
    """The statistics never go back, whoever leaves."""
    supervisor = supervise()
    for _ in range(2):
        client = peer()
        await enter(supervisor, client, rooms=["a"])
        await supervisor.publish("a", "x")
        client.leave()
        await client.result()
    await settle()

    assert supervisor.statistics().written == 2


async def test_a_connection_leaves_nothing_to_the_garbage_collector(supervise: Supervise) -> None:
    """What thousands of clients leave behind is freed as they leave, and not in one pause."""
    supervisor = supervise()
    actors: list[weakref.ref[object]] = []
    gc.disable()
    try:
        for _ in range(3):
            client = Peer()
            session = await enter(supervisor, client, rooms=["a", "b"], user="ann")
            actors.append(weakref.ref(session.connection.actor))
            await supervisor.publish("a", "x")
            del session
            client.leave()
            await client.result()
            del client
        await settle()

        assert [actor() for actor in actors] == [None] * 3
    finally:
        gc.enable()


async def test_publish_nowait_refuses_when_the_room_is_full(
    supervise: Supervise, peer: NewPeer
) -> None:
    """MailboxFull says that publish() waits; nothing that was accepted is lost."""
    supervisor = supervise(room_mailbox_messages=3)
    client = peer()
    await enter(supervisor, client, rooms=["a"])

    for number in range(3):
        supervisor.publish_nowait("a", str(number))
    with pytest.raises(MailboxFull, match=r"await publish\(\)"):
        supervisor.publish_nowait("a", "3")
    await supervisor.publish("a", "4")
    await settle()

    assert client.got == ["0", "1", "2", "4"]


async def test_publish_waits_for_space_in_turn(supervise: Supervise, peer: NewPeer) -> None:
    """A burst of publishers is served in order."""
    supervisor = supervise(room_mailbox_messages=1)
    client = peer()
    await enter(supervisor, client, rooms=["a"])

    receipts = await asyncio.gather(*(supervisor.publish("a", str(n)) for n in range(50)))
    await settle()

    assert all(receipts)
    assert client.got == [str(n) for n in range(50)]


async def test_what_can_never_fit_into_the_room_is_refused_by_name(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Whether the publisher waits or not; what just fits is taken."""
    supervisor = supervise(mailbox_bytes=10, room_mailbox_bytes=10)
    await enter(supervisor, peer(), rooms=["a"])

    with pytest.raises(MessageTooLarge, match="10"):
        await supervisor.publish("a", "x" * 11)
    with pytest.raises(MessageTooLarge, match="10"):
        supervisor.publish_nowait("a", "x" * 11)
    assert await supervisor.publish("a", "x" * 10)


async def test_a_publisher_never_waits_for_a_socket(supervise: Supervise, peer: NewPeer) -> None:
    """However many clients do not read."""
    supervisor = supervise()
    for _ in range(10):
        client = peer()
        await enter(supervisor, client, rooms=["a"])
        client.stalled = True
    started = asyncio.get_running_loop().time()

    for _ in range(100):
        await supervisor.publish("a", "x")

    assert asyncio.get_running_loop().time() - started < 0.01


async def test_who_publishes_without_waiting_does_not_overtake_who_waits(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Space in a room is for those who wait for it: a flood starves nobody."""
    supervisor = supervise(room_mailbox_messages=1)
    client = peer()
    await enter(supervisor, client, rooms=["a"])
    refused: list[MailboxFull] = []

    def flood() -> None:
        try:
            supervisor.publish_nowait("a", "third")
        except MailboxFull as error:
            refused.append(error)

    waiting = asyncio.create_task(supervisor.publish("a", "second"))
    supervisor.publish_nowait("a", "first")
    asyncio.get_running_loop().call_soon(flood)  # when "first" has gone, and "second" is not in
    await waiting

    assert client.got == ["first", "second"]
    assert len(refused) == 1
