"""The supervisor: life, publications, kicks, rooms that crash, deadlines, several loops."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from actors.messages import Message
from actors.testing import settle
from supervisor import (
    ActorStopped,
    ClosedConnection,
    Connection,
    ConnectionRefused,
    Drained,
    DropReason,
    Ending,
    InvalidRoomName,
    JoinRefused,
    MailboxFull,
    MessageTooLarge,
    NotAMember,
    NotStarted,
    Receipt,
    Session,
    Settings,
    Supervisor,
    SupervisorState,
    UnknownConnection,
    WrongLoop,
)
from tests.supervisor.asgi import Peer, bare_app
from tests.supervisor.conftest import Events, NewPeer, Supervise, named, nothing_left
from tests.supervisor.endpoints import endpoint, enter, for_ever, until_the_client_leaves
from tests.supervisor.loops import OtherLoop

SENDS: dict[str, Callable[[Supervisor], Any]] = {
    "publish": lambda s: s.publish("a", "x"),
    "publish_nowait": lambda s: s.publish_nowait("a", "x"),
    "send_to_user": lambda s: s.send_to_user("ann", "x"),
    "broadcast": lambda s: s.broadcast("x"),
}
EVERY_SEND = pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)


async def done(result: Any) -> Any:
    """Wait for what was called, if it has to be waited for."""
    return await result if isinstance(result, Awaitable) else result


# Life.


def test_a_supervisor_is_made_without_a_loop() -> None:
    """At import time, as a module's global."""
    supervisor = Supervisor(max_connections=7)

    assert supervisor.state is SupervisorState.NEW
    assert supervisor.settings.max_connections == 7
    assert supervisor.healthy


def test_settings_come_as_an_object_or_by_name() -> None:
    """Not both, as nobody could say which wins."""
    settings = Settings(max_connections=7)

    assert Supervisor(settings).settings is settings
    with pytest.raises(TypeError, match="not both"):
        Supervisor(settings, max_connections=8)


@EVERY_SEND
async def test_sending_before_the_start_is_refused_by_name(
    supervise: Supervise, send: Callable[[Supervisor], Any]
) -> None:
    """NotStarted says how to start."""
    with pytest.raises(NotStarted, match="lifespan"):
        await done(send(supervise(start=False)))


@EVERY_SEND
async def test_sending_after_the_drain_is_refused_by_name(
    supervise: Supervise, send: Callable[[Supervisor], Any]
) -> None:
    """Drained, also after aclose()."""
    supervisor = supervise()
    await supervisor.drain()

    with pytest.raises(Drained):
        await done(send(supervisor))

    await supervisor.aclose()
    with pytest.raises(Drained):
        await done(send(supervisor))


async def test_connecting_after_the_drain_is_refused(supervise: Supervise, peer: NewPeer) -> None:
    """503, and 3001 for those who would see a close code."""
    supervisor = supervise()
    await supervisor.drain()
    client = peer().open(bare_app(endpoint(supervisor)))

    with pytest.raises(ConnectionRefused) as refusal:
        await client.result()

    assert (refusal.value.code, client.status) == (3001, 503)


async def test_the_lifespan_starts_and_stops_as_often_as_asked(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Applications are started again in tests and by reloaders."""
    supervisor = supervise(start=False)

    states: list[SupervisorState] = []

    for _ in range(2):
        async with supervisor.lifespan(object()):
            states.append(supervisor.state)
            client = peer()
            await enter(supervisor, client, rooms=["a"])
            assert await supervisor.publish("a", "x")
        states.append(supervisor.state)
        assert client.closed == (3001, "shutdown")
        assert client.got == ["x"]
    assert states == [SupervisorState.RUNNING, SupervisorState.STOPPED] * 2


async def test_the_lifespan_stops_after_an_exception_too(supervise: Supervise) -> None:
    """The application's own start-up may fail."""
    supervisor = supervise(start=False)

    with pytest.raises(ZeroDivisionError):
        async with supervisor.lifespan(object()):
            raise ZeroDivisionError

    assert supervisor.state is SupervisorState.STOPPED


async def test_a_drain_closes_all_with_3001_after_what_waits(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Nothing that was accepted is lost, and every endpoint ends."""
    supervisor = supervise()
    clients = [peer() for _ in range(5)]
    for client in clients:
        await enter(supervisor, client, rooms=["a"])
        client.stalled = True
    for number in range(3):
        await supervisor.publish("a", str(number))

    draining = asyncio.ensure_future(supervisor.drain())
    await settle()
    assert not draining.done()
    for client in clients:
        client.resume()
    await draining

    for client in clients:
        assert client.got == ["0", "1", "2"]
        assert client.closed == (3001, "shutdown")
        assert await client.end() is None
    assert supervisor.state is SupervisorState.DRAINING
    assert {closed.reason.ending for closed in supervisor.closed} == {Ending.SHUTDOWN}


async def test_a_drain_ends_bodies_that_sleep(supervise: Supervise, peer: NewPeer) -> None:
    """They have shutdown_grace seconds; outside, that is a WebSocketDisconnect."""
    supervisor = supervise(shutdown_grace=0.5, disconnect_grace=100.0)
    client = peer()
    await enter(supervisor, client, for_ever)
    started = asyncio.get_running_loop().time()

    await supervisor.drain()
    error = await client.end()

    assert isinstance(error, WebSocketDisconnect)
    assert error.code == 3001
    assert asyncio.get_running_loop().time() - started == pytest.approx(0.5, abs=0.2)


async def test_a_drain_takes_no_longer_than_its_timeout(
    supervise: Supervise, peer: NewPeer
) -> None:
    """A client that does not read holds it up until then; aclose() aborts it."""
    supervisor = supervise(close_timeout=60.0, send_timeout=60.0)
    client = peer(abortable=True)
    await enter(supervisor, client, rooms=["a"])
    client.stalled = True
    await supervisor.publish("a", "x")
    loop = asyncio.get_running_loop()
    started = loop.time()

    await supervisor.drain(timeout=2.0)
    assert loop.time() - started == pytest.approx(2.0, abs=0.01)
    assert not client.aborted

    await supervisor.aclose(timeout=3.0)
    assert loop.time() - started == pytest.approx(5.0, abs=0.2)
    assert client.aborted
    assert await client.end() is None


async def test_drains_at_once_end_together(supervise: Supervise, peer: NewPeer) -> None:
    """A signal handler's drain and the lifespan's do not disturb each other."""
    supervisor = supervise(close_timeout=60.0, send_timeout=60.0)
    client = peer()
    await enter(supervisor, client, rooms=["a"])
    client.stalled = True
    await supervisor.publish("a", "x")

    drains = [asyncio.ensure_future(supervisor.drain()) for _ in range(3)]
    await asyncio.sleep(1)
    client.resume()
    await settle()

    assert all(drain.done() for drain in drains)
    await asyncio.gather(*drains)


async def test_a_socket_that_is_being_accepted_does_not_survive_a_drain(
    supervise: Supervise, peer: NewPeer
) -> None:
    """It had its place before; it is closed like the others."""
    supervisor = supervise()
    client = peer()
    client.stalled = True
    await client.enter(bare_app(endpoint(supervisor, rooms=["a"])))

    await supervisor.drain()
    client.resume()
    await settle()

    assert supervisor.statistics().connections == 0
    assert isinstance(await client.end(), WebSocketDisconnect)


async def test_a_drained_supervisor_may_be_started_again(
    supervise: Supervise, peer: NewPeer
) -> None:
    """A drain that was called off."""
    supervisor = supervise()
    await enter(supervisor, peer())
    await supervisor.drain()

    supervisor.start()

    await enter(supervisor, peer(), rooms=["a"])
    assert await supervisor.publish("a", "x")


async def test_aclose_is_idempotent(supervise: Supervise, peer: NewPeer) -> None:
    """Also twice at once; and without any node."""
    supervisor = supervise()
    await supervisor.aclose()
    supervisor.start()
    await enter(supervisor, peer())

    await asyncio.gather(supervisor.aclose(), supervisor.aclose())
    await supervisor.aclose()

    assert supervisor.state is SupervisorState.STOPPED
    assert supervisor.nodes == []


# Publishing.


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


# Joining, leaving, kicking.


async def test_join_and_leave_take_whatever_names_a_connection(
    supervise: Supervise, peer: NewPeer
) -> None:
    """A session, a connection or its WebSocket."""
    supervisor = supervise()
    session = await enter(supervisor, peer())
    connection = session.connection

    for target in (session, connection, connection.websocket):
        assert (await supervisor.join(target, "a")).joined
        assert not (await supervisor.join(target, "a")).joined
        assert supervisor.members("a") == {connection}
        await supervisor.leave(target, "a")
        assert supervisor.members("a") == frozenset()
    with pytest.raises(NotAMember):
        await supervisor.leave(session, "a")


async def test_who_is_not_connected_cannot_join(supervise: Supervise, peer: NewPeer) -> None:
    """UnknownConnection, before and after."""
    supervisor = supervise()
    client = peer()
    session = await enter(supervisor, client)
    client.leave()
    await client.result()

    for target in (session, session.connection, object(), "ann", None):
        with pytest.raises(UnknownConnection):
            await supervisor.join(target, "a")
        with pytest.raises(UnknownConnection):
            await supervisor.leave(target, "a")
        assert await supervisor.kick(target) == 0


async def test_joins_at_once_are_one_membership(supervise: Supervise, peer: NewPeer) -> None:
    """Exactly one of them was the first."""
    joined: list[object] = []
    supervisor = supervise(on_join=lambda connection, room: joined.append(room))
    client = peer()
    session = await enter(supervisor, client)

    answers = await asyncio.gather(*(supervisor.join(session, "a") for _ in range(5)))
    await supervisor.publish("a", "x")
    await settle()

    assert sorted(answer.joined for answer in answers) == [False] * 4 + [True]
    assert joined == ["a"]
    assert client.got == ["x"]


@pytest.mark.parametrize("how", ["session", "connection", "websocket", "user"])
async def test_a_kick_closes_and_drops_what_waits(
    supervise: Supervise, peer: NewPeer, how: str
) -> None:
    """3503 and its reason; it returns at once, with the number of connections."""
    supervisor = supervise()
    clients = [peer(), peer(), peer()]
    users = ["ann", "ann", "bob"]
    sessions = [
        await enter(supervisor, client, rooms=["a"], user=user)
        for client, user in zip(clients, users, strict=True)
    ]
    for client in clients:
        client.stalled = True
    for _ in range(3):
        await supervisor.publish("a", "x")
    target = {
        "session": sessions[0],
        "connection": sessions[0].connection,
        "websocket": sessions[0].connection.websocket,
        "user": "ann",
    }[how]
    gone = 2 if how == "user" else 1

    assert await supervisor.kick(target, reason="spam") == gone
    assert len(supervisor.members("a")) == 3 - gone
    for client in clients:
        client.resume()
    await settle()

    for client in clients[:gone]:
        assert client.closed == (3503, "spam")
        assert client.got == ["x"]  # was under way
        assert await client.end() is None
    assert clients[2].closed is None
    assert supervisor.closed[0].lost == 2
    assert supervisor.closed[0].reason.ending is Ending.KICKED


async def test_a_kick_has_a_code_that_can_travel(supervise: Supervise, peer: NewPeer) -> None:
    """Any that RFC 6455 lets a server send."""
    supervisor = supervise()
    client = peer()
    session = await enter(supervisor, client)

    for code in (0, 999, 1005, 1006, 1015, 2999, 5000):
        with pytest.raises(ValueError, match=f"not {code}"):
            await supervisor.kick(session, code)
    assert session.connected

    assert await supervisor.kick(session, 1008) == 1
    await settle()
    assert client.closed == (1008, "kicked")


async def test_a_kick_of_nobody_is_counted_as_such(supervise: Supervise) -> None:
    """Unknown users, unhashable targets."""
    supervisor = supervise()

    assert await supervisor.kick("nobody") == 0
    assert await supervisor.kick(["ann"]) == 0


async def test_a_kicked_body_that_sleeps_is_cancelled(supervise: Supervise, peer: NewPeer) -> None:
    """After the same grace as when its client leaves, with the kick's code outside."""
    supervisor = supervise(disconnect_grace=2.0)
    client = peer()
    session = await enter(supervisor, client, for_ever)
    started = asyncio.get_running_loop().time()

    await supervisor.kick(session, 4009, "out")
    error = await client.end()

    assert isinstance(error, WebSocketDisconnect)
    assert (error.code, error.reason) == (4009, "out")
    assert asyncio.get_running_loop().time() - started == pytest.approx(2.0, abs=0.2)


# Looking.


async def test_statistics_add_up(supervise: Supervise, peer: NewPeer) -> None:
    """Connections, users, rooms, what waits, what was written."""
    supervisor = supervise()
    clients = [peer() for _ in range(3)]
    for client, user in zip(clients, ("ann", "ann", None), strict=True):
        await enter(supervisor, client, rooms=["a"], user=user)
    clients[0].stalled = True

    for _ in range(3):
        await supervisor.publish("a", "12345")
    await settle()
    statistics = supervisor.statistics()

    assert (statistics.nodes, statistics.connections, statistics.closing) == (1, 3, 0)
    assert statistics.users == 1
    assert statistics.rooms == 3  # a, ann's, everyone's
    assert (statistics.waiting, statistics.waiting_bytes) == (2, 10)
    assert statistics.written == 6
    assert statistics.jobs >= 1  # the write that waits
    assert (statistics.dropped, statistics.refused) == ({}, {})


async def test_the_ring_forgets_the_oldest(supervise: Supervise, peer: NewPeer) -> None:
    """closed_ring bounds it."""
    supervisor = supervise(closed_ring=2)
    for code in (4001, 4002, 4003):
        client = peer()
        await enter(supervisor, client)
        client.leave(code)
        await client.result()

    assert [closed.reason.code for closed in supervisor.closed] == [4002, 4003]


async def test_what_a_closing_socket_loses_is_counted(supervise: Supervise, peer: NewPeer) -> None:
    """In the ring once the socket is done with, and in the statistics."""
    supervisor = supervise()
    client = peer(abortable=True)
    await enter(supervisor, client, rooms=["a"])
    client.stalled = True
    for _ in range(4):
        await supervisor.publish("a", "x")

    client.vanish()
    await client.end()
    await settle()

    (closed,) = supervisor.closed
    assert (closed.written, closed.lost) == (0, 4)
    assert supervisor.statistics().dropped == {"send_failed": 4}


# Hooks.


async def test_hooks_are_called_once_each_in_order(supervise: Supervise, peer: NewPeer) -> None:
    """Join, leave and close; with the application's rooms only."""
    told: list[tuple[object, ...]] = []

    def on_close(closed: ClosedConnection) -> None:
        told.append(("close", closed.id, closed.reason.code))

    supervisor = supervise(
        on_join=lambda connection, room: told.append(("join", connection.id, room)),
        on_leave=lambda connection, room: told.append(("leave", connection.id, room)),
        on_close=on_close,
    )
    client = peer()
    session = await enter(supervisor, client, rooms=["a", "b"], user="ann")
    number = session.connection.id
    await session.leave("b")
    await session.join("c")
    client.leave(4001)
    await client.result()
    await settle()

    assert told[:4] == [
        ("join", number, "a"),
        ("join", number, "b"),
        ("leave", number, "b"),
        ("join", number, "c"),
    ]
    assert sorted(map(str, told[4:6])) == sorted(
        map(str, [("leave", number, "a"), ("leave", number, "c")])
    )
    assert told[6:] == [("close", number, 4001)]


async def test_coroutine_hooks_are_awaited(supervise: Supervise, peer: NewPeer) -> None:
    """As jobs of their own, which hold nobody up."""
    told: list[str] = []

    async def on_join(connection: Connection, room: object) -> None:
        await asyncio.sleep(1)
        told.append(f"join {room}")

    async def on_close(closed: ClosedConnection) -> None:
        await asyncio.sleep(1)
        told.append("close")

    supervisor = supervise(on_join=on_join, on_close=on_close)
    client = peer()
    await enter(supervisor, client, rooms=["a"])
    client.leave()
    await client.result()
    assert told == []
    await asyncio.sleep(1.1)

    assert sorted(told) == ["close", "join a"]


async def test_what_a_plain_hook_returns_is_its_own(
    supervise: Supervise, peer: NewPeer, events: Events
) -> None:
    """Lambdas return something."""
    supervisor = supervise(on_join=lambda *_: 7, on_leave=lambda *_: "x", on_close=lambda _: [])
    client = peer()
    await enter(supervisor, client, rooms=["a"])
    client.leave()
    await client.result()
    await settle()

    assert named(events, "hook.failed") == []


async def test_coroutine_hooks_end_before_the_supervisor_does(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Whoever notes down who left, does so for those who left at the shutdown too."""
    told: list[str] = []

    async def on_leave(connection: Connection, room: object) -> None:
        await asyncio.sleep(1)
        told.append(f"{connection.user} left {room}")

    async def on_close(closed: ClosedConnection) -> None:
        await asyncio.sleep(2)
        told.append(f"{closed.user} closed")

    supervisor = supervise(on_leave=on_leave, on_close=on_close)
    await enter(supervisor, peer(), rooms=["a"], user="ann")

    await supervisor.aclose()

    assert told == ["ann left a", "ann closed"]


async def test_a_coroutine_hook_that_never_ends_is_cancelled_in_the_end(
    supervise: Supervise, peer: NewPeer
) -> None:
    """After the drain's timeout."""
    cancelled: list[bool] = []

    async def on_close(closed: ClosedConnection) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    supervisor = supervise(on_close=on_close)
    await enter(supervisor, peer())
    started = asyncio.get_running_loop().time()

    await supervisor.aclose(timeout=3.0)

    assert asyncio.get_running_loop().time() - started == pytest.approx(3.0, abs=0.2)
    assert cancelled == [True]


async def test_a_hook_that_raises_harms_nobody(
    supervise: Supervise, peer: NewPeer, events: Events
) -> None:
    """It is logged as hook.failed, whether plain or a coroutine."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError("bug")

    async def fail_later(*_: object) -> None:
        raise ZeroDivisionError("bug")

    supervisor = supervise(on_join=fail, on_leave=fail_later, on_close=fail)
    client = peer()
    await enter(supervisor, client, rooms=["a"])
    assert await supervisor.publish("a", "x")
    client.leave()
    assert await client.end() is None
    await settle()

    assert [event["what"] for event in named(events, "hook.failed")] == [
        "hook on_join",
        "hook on_close",
        "hook on_leave",
    ]


async def test_a_hook_may_use_the_supervisor(supervise: Supervise, peer: NewPeer) -> None:
    """Announcing who came and who left is what hooks are for."""
    supervisor: Supervisor

    def on_join(connection: Connection, room: Any) -> None:
        supervisor.publish_nowait(room, f"{connection.user} came", exclude=connection)

    def on_leave(connection: Connection, room: Any) -> None:
        supervisor.publish_nowait(room, f"{connection.user} left")

    supervisor = supervise(on_join=on_join, on_leave=on_leave)
    clients = {user: peer() for user in ("ann", "bob")}
    for user, client in clients.items():
        await enter(supervisor, client, rooms=["a"], user=user)
        await settle()
    clients["bob"].leave()
    await clients["bob"].result()
    await settle()

    assert clients["ann"].got == ["bob came", "bob left"]


async def test_a_hook_may_kick_whoever_joins(supervise: Supervise, peer: NewPeer) -> None:
    """The join is refused then, and nothing of it stays."""
    supervisor: Supervisor

    async def kick(connection: Connection) -> None:
        await supervisor.kick(connection, 4008, "banned")

    supervisor = supervise(on_join=lambda connection, room: kick(connection))
    client = peer()
    client.open(bare_app(endpoint(supervisor, rooms=["a"])))
    await client.end()

    assert client.closed == (4008, "banned")
    assert supervisor.members("a") == frozenset()


# Rooms that crash.


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


# Deadlines.


async def test_a_silent_client_is_closed_after_the_idle_timeout(
    supervise: Supervise, peer: NewPeer
) -> None:
    """3502; any message starts the time anew, what the server sends does not."""
    supervisor = supervise(idle_timeout=10.0)
    client = peer()
    await enter(supervisor, client, rooms=["a"])
    loop = asyncio.get_running_loop()
    for _ in range(3):
        await asyncio.sleep(8)
        client.say("still here")
        await supervisor.publish("a", "x")
    started = loop.time()

    assert await client.end() is None

    assert client.closed == (3502, "no message for 10 s")
    assert loop.time() - started == pytest.approx(10.0, abs=0.2)
    assert supervisor.closed[0].reason.ending is Ending.IDLE


async def test_a_client_whose_endpoint_never_reads_is_not_idle_while_it_talks(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Somebody reads for the endpoint."""
    supervisor = supervise(idle_timeout=10.0)
    client = peer()
    session = await enter(supervisor, client, for_ever)

    for _ in range(5):
        await asyncio.sleep(8)
        client.say("x")

    assert session.connected


async def test_a_client_that_left_unseen_behind_unread_messages_is_closed_as_idle(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Nobody reads any more, so nothing else would ever end it."""
    supervisor = supervise(idle_timeout=10.0, disconnect_grace=1.0)
    client = peer()
    await enter(supervisor, client, for_ever)
    for _ in range(40):
        client.say("x")
    client.leave()

    assert isinstance(await client.end(), WebSocketDisconnect)

    assert supervisor.closed[0].reason.ending is Ending.IDLE


async def test_a_connection_lives_no_longer_than_allowed(
    supervise: Supervise, peer: NewPeer
) -> None:
    """3005, which invites to come back; a tenth earlier or later, so that not all come at once."""
    supervisor = supervise(max_lifetime=100.0)
    clients = [peer() for _ in range(20)]
    for client in clients:
        await enter(supervisor, client)
    for client in clients:
        assert await client.end() is None

    durations = [closed.duration for closed in supervisor.closed]
    assert {client.closed for client in clients} == {(3005, "lifetime reached")}
    assert {closed.reason.ending for closed in supervisor.closed} == {Ending.LIFETIME}
    assert 90 <= min(durations) <= max(durations) <= 110.2
    assert max(durations) - min(durations) > 1


async def test_a_sweep_finds_zombies(supervise: Supervise, peer: NewPeer, events: Events) -> None:
    """Registered, but the server has dropped the socket and nobody was told."""
    supervisor = supervise(sweep_interval=30.0, disconnect_grace=1.0)
    zombie, healthy = peer(abortable=True), peer(abortable=True)
    await enter(supervisor, zombie, for_ever, rooms=["a"])
    await enter(supervisor, healthy, rooms=["a"])

    zombie.vanish(unseen=True)
    await asyncio.sleep(61)  # a socket that closes at the first sweep may be reported yet
    assert len(supervisor.members("a")) == 1
    await asyncio.sleep(2)

    assert isinstance(await zombie.end(), WebSocketDisconnect)
    assert len(named(events, "connection.zombie")) == 1
    assert supervisor.closed[0].reason.ending is Ending.DISCONNECTED
    assert healthy.running


# Several loops and threads.


class FarClient:
    """A client that is connected on another loop."""

    def __init__(self, supervisor: Supervisor, other: OtherLoop, **arguments: Any) -> None:
        self._supervisor = supervisor
        self._other = other
        self._arguments = arguments
        self.peer: Peer
        self.session: Session

    async def connect(self) -> None:
        """Enter a session there."""
        await self._other.run(self._connect())

    async def _connect(self) -> None:
        self.peer = Peer()
        self.session = await enter(self._supervisor, self.peer, **self._arguments)

    async def leave(self) -> None:
        """Leave, and wait for the endpoint's end."""
        await self._other.run(self._leave())

    async def _leave(self) -> None:
        self.peer.leave()
        await self.peer.end()


async def got_all(client: Peer, count: int) -> list[str | bytes]:
    """Return what a client on any loop got, once there is enough of it."""
    async with asyncio.timeout(5):
        while len(client.got) < count:  # noqa: ASYNC110 - another loop cannot set our events
            await asyncio.sleep(0.005)
    return client.got


@pytest.mark.real_time
async def test_publications_reach_the_members_on_every_loop(
    supervise: Supervise, peer: NewPeer, other: OtherLoop
) -> None:
    """Receipts add up; looking works from anywhere."""
    supervisor = supervise()
    near, far = peer(), FarClient(supervisor, other, rooms=["a"], user="ann")
    session = await enter(supervisor, near, rooms=["a"], user="ann")
    await far.connect()

    assert await supervisor.publish("a", "1") == Receipt(2)
    assert await supervisor.send_to_user("ann", "2") == Receipt(2)
    assert await supervisor.broadcast("3", exclude=far.session) == Receipt(1)
    assert await other.run(supervisor.broadcast("4", exclude=session)) == Receipt(1)
    assert supervisor.members("a") == {session.connection, far.session.connection}
    assert supervisor.statistics().nodes == 2
    assert supervisor.statistics().users == 1

    assert await got_all(near, 3) == ["1", "2", "3"]
    assert await got_all(far.peer, 3) == ["1", "2", "4"]
    await far.leave()


@pytest.mark.real_time
async def test_one_publishers_messages_keep_their_order_on_every_loop(
    supervise: Supervise, peer: NewPeer, other: OtherLoop
) -> None:
    """Awaited or not."""
    supervisor = supervise()
    near, far = peer(), FarClient(supervisor, other, rooms=["a"])
    await enter(supervisor, near, rooms=["a"])
    await far.connect()

    for number in range(0, 100, 2):
        supervisor.publish_nowait("a", str(number))
        await supervisor.publish("a", str(number + 1))

    expected = [str(number) for number in range(100)]
    assert await got_all(near, 100) == expected
    assert await got_all(far.peer, 100) == expected
    await far.leave()


@pytest.mark.real_time
async def test_threads_publish_without_a_loop(supervise: Supervise, peer: NewPeer) -> None:
    """All arrives, each thread's messages in order."""
    supervisor = supervise()
    client = peer()
    await enter(supervisor, client, rooms=["a"])

    def publish(name: int) -> None:
        for number in range(50):
            supervisor.publish_nowait("a", {"name": name, "n": number})

    with ThreadPoolExecutor(8) as threads:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(threads, publish, n) for n in range(8)))

    await got_all(client, 400)
    for name in range(8):
        assert [got["n"] for got in client.got_json if got["name"] == name] == list(range(50))


@pytest.mark.real_time
async def test_the_way_to_a_loop_is_bounded(
    supervise: Supervise, peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that outruns the loop gets MailboxFull; later there is space again."""
    monkeypatch.setattr("supervisor.delivery.HANDED_OVER", 5)
    supervisor = supervise()
    client = peer()
    await enter(supervisor, client, rooms=["a"])

    def publish_six() -> None:
        for number in range(6):
            supervisor.publish_nowait("a", str(number))

    with ThreadPoolExecutor(1) as thread, pytest.raises(MailboxFull, match="5 publications"):
        thread.submit(publish_six).result()  # this loop cannot run meanwhile
    await got_all(client, 5)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(supervisor.publish_nowait, "a", "later").result()

    assert await got_all(client, 6) == ["0", "1", "2", "3", "4", "later"]


@pytest.mark.real_time
async def test_a_kick_reaches_every_loop(
    supervise: Supervise, peer: NewPeer, other: OtherLoop
) -> None:
    """From any of them."""
    supervisor = supervise()
    near, far = peer(), FarClient(supervisor, other, user="ann")
    await enter(supervisor, near, user="ann")
    await far.connect()

    assert await supervisor.kick("ann") == 2
    await far.leave()

    assert far.peer.closed == (3503, "kicked")
    assert await near.end() is None


@pytest.mark.real_time
async def test_what_belongs_to_a_loop_says_so(
    supervise: Supervise, peer: NewPeer, other: OtherLoop
) -> None:
    """join, leave and sends of a session raise WrongLoop elsewhere; the session lives on."""
    supervisor = supervise()
    far = FarClient(supervisor, other, rooms=["a"])
    await far.connect()
    session = far.session

    for call in (
        supervisor.join(session, "b"),
        supervisor.leave(session, "a"),
        session.join("b"),
        session.leave("a"),
        session.send("x"),
        session.close(),
        session.receive(),
    ):
        with pytest.raises(WrongLoop):
            await call

    assert session.connected
    assert session.rooms == {"a"}
    await far.leave()


@pytest.mark.real_time
@pytest.mark.parametrize("close", [True, False])
async def test_a_loop_that_ended_takes_nobody_with_it(
    supervise: Supervise, peer: NewPeer, other: OtherLoop, close: bool, tasks_may_stay: None
) -> None:
    """Its sockets are gone; publishing, kicking and closing go on elsewhere."""
    supervisor = supervise()
    near, far = peer(), FarClient(supervisor, other, rooms=["a"], user="ann")
    await far.connect()
    await enter(supervisor, near, rooms=["a"], user="ann")
    other.stop(close=close)

    assert (await supervisor.publish("a", "1")).accepted == 1
    supervisor.publish_nowait("a", "2")
    assert await supervisor.send_to_user("ann", "3")
    await supervisor.kick(far.session)
    await supervisor.aclose()

    assert near.got == ["1", "2", "3"]
    assert near.closed == (3001, "shutdown")
    del far


@pytest.mark.real_time
async def test_closing_reaches_every_loop(
    supervise: Supervise, peer: NewPeer, other: OtherLoop
) -> None:
    """All sockets are closed, all nodes left empty."""
    supervisor = supervise()
    near, far = peer(), FarClient(supervisor, other)
    await enter(supervisor, near)
    await far.connect()
    nodes = supervisor.nodes

    await supervisor.aclose()

    assert near.closed == far.peer.closed == (3001, "shutdown")
    await far.leave()
    nothing_left(nodes)


# Everything at once.


async def test_a_refresh_storm_leaves_nothing(supervise: Supervise, peer: NewPeer) -> None:
    """Clients come, leave, stall and vanish under a steady publish; all is in order and gone."""
    supervisor = supervise(mailbox_messages=8, send_timeout=2.0)
    publishing = True

    async def publish() -> None:
        number = 0
        while publishing:
            await supervisor.publish("a", str(number))
            number += 1
            await asyncio.sleep(0.01)

    publisher = asyncio.ensure_future(publish())
    clients: list[Peer] = []
    for number in range(60):
        client = peer(abortable=bool(number % 2))
        clients.append(client)
        await client.enter(bare_app(endpoint(supervisor, until_the_client_leaves, rooms=["a"])))
        await asyncio.sleep(0.03)
        if number % 5 == 1:
            clients[number // 2].stalled = True
        if number % 5 == 2:
            clients[number // 2].leave()
        if number % 5 == 3:
            clients[number // 2].vanish()
        if number % 5 == 4:
            clients[number // 2].failing = OSError("reset")
    for client in clients:
        client.resume()
        client.leave()
    publishing = False
    await publisher
    for client in clients:
        error = await client.end()
        assert error is None or isinstance(error, WebSocketDisconnect)
    await settle()

    for client in clients:
        numbers = [int(message) for message in client.got]
        assert numbers == sorted(set(numbers))
    nothing_left(supervisor.nodes)


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


@pytest.mark.real_time
async def test_who_leaves_an_alert_room_on_one_loop_stays_addressed_by_another(
    supervise: Supervise, peer: NewPeer, other: OtherLoop
) -> None:
    """As long as the user is in the room with any connection of the process."""
    supervisor = supervise(rooms={"alert:*": {"class": "alert"}})
    far = FarClient(supervisor, other, rooms=["alert:ops"], user="ann")
    session = await enter(supervisor, peer(), rooms=["alert:ops"], user="ann")
    await far.connect()

    await session.leave("alert:ops")
    receipt = await supervisor.publish("alert:ops", "fire")

    assert receipt.accepted == 1
    assert await got_all(far.peer, 1) == ["fire"]
    await far.leave()
