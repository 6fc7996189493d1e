"""Important messages through sessions: who gets them, how they are acknowledged, and who is told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgpack
import pytest

from actors.testing import settle
from supervisor import (
    ImportantMessage,
    InvalidPublication,
    JoinRefused,
    MailboxFull,
    Position,
    Receipt,
    RoomPolicy,
    Supervisor,
)
from tests.supervisor.asgi import Peer
from tests.supervisor.conftest import NewPeer, Supervise
from tests.supervisor.endpoints import enter

ROOMS = {"alert:*": RoomPolicy.alert(expires_after=60.0), "log:*": RoomPolicy.log()}


@pytest.fixture
def offline() -> list[ImportantMessage]:
    """Return what the hook is told."""
    return []


@pytest.fixture
def supervisor(supervise: Supervise, offline: list[ImportantMessage]) -> Supervisor:
    """Return a supervisor whose users have inboxes."""
    return supervise(rooms=ROOMS, on_offline=offline.append)


async def device(supervisor: Supervisor, peer: NewPeer, **arguments: Any) -> Peer:
    """Return a client of ann with envelopes."""
    client = peer()
    await enter(supervisor, client, **{"user": "ann", "envelope": True, **arguments})
    await settle()
    return client


def letters(client: Peer) -> list[dict[str, Any]]:
    """Return the important messages among what a client was told."""
    return [said for said in client.got_json if "id" in said]


async def test_it_waits_for_a_user_who_is_away(
    supervisor: Supervisor, peer: NewPeer, offline: list[ImportantMessage]
) -> None:
    """The hook is told at once; the next connection gets it, with its id."""
    receipt = await supervisor.send_to_user("ann", {"run": 7}, important=True)
    (away,) = offline

    client = await device(supervisor, peer)

    assert receipt == Receipt(1)
    assert (away.user, away.data, away.room, away.deliveries) == ("ann", {"run": 7}, None, 0)
    (letter,) = letters(client)
    assert (letter["id"], letter["data"]) == (away.id, {"run": 7})
    assert letter["expires"] == away.expires
    assert [each.id for each in await supervisor.pending("ann")] == [away.id]


@pytest.mark.parametrize("several", [False, True], ids=["one id", "a list of ids"])
async def test_an_acknowledgement_settles_it_everywhere(
    supervisor: Supervisor,
    peer: NewPeer,
    several: bool,
) -> None:
    """From any device: it is pending no more, and every device is told."""
    one, two = await device(supervisor, peer), await device(supervisor, peer)
    await supervisor.send_to_user("ann", "x", important=True)
    await settle()
    (letter,) = letters(two)
    assert letters(one) == [letter]

    two.say(json.dumps({"ack": [letter["id"]] if several else letter["id"]}))
    await settle()

    assert await supervisor.pending("ann") == []
    for client in (one, two):
        assert client.got_json[-1] == {"settled": [letter["id"]]}
    later = await device(supervisor, peer)
    assert letters(later) == []


async def test_messagepack_acknowledges_too(supervisor: Supervisor, peer: NewPeer) -> None:
    """In envelopes of its own."""
    client = peer(subprotocols=["envelope.msgpack"])
    await enter(supervisor, client, user="ann")
    await supervisor.send_to_user("ann", {"n": 1}, important=True)
    await settle()
    letter = msgpack.unpackb(client.got[-1])

    client.say(msgpack.packb({"ack": letter["id"]}))
    await settle()

    assert letter["data"] == {"n": 1}
    assert await supervisor.pending("ann") == []


@pytest.mark.parametrize("words", ['{"ack": []}', ' { "ack" :["x"]}', "many"])
async def test_an_acknowledgement_never_reaches_the_application(
    supervisor: Supervisor, peer: NewPeer, words: str
) -> None:
    """Not one of nothing, nor one of thousands."""
    got: list[str | bytes] = []

    async def listen(session: Any) -> None:
        while True:
            got.append(await session.receive())

    client = peer()
    await enter(supervisor, client, listen, user="ann", envelope=True)

    client.say(json.dumps({"ack": ["x" * 30] * 5000}) if words == "many" else words)
    await settle()

    assert got == []


@pytest.mark.parametrize(
    "words", ['{"ack": 3}', '{"ack": "a", "b": 1}', '{"ack": [1]}', '["ack"]', '{"ack": ', "ack"]
)
async def test_what_is_no_acknowledgement_is_the_application_s(
    supervisor: Supervisor, peer: NewPeer, words: str
) -> None:
    """Whatever looks a little like one."""
    got: list[str | bytes] = []

    async def listen(session: Any) -> None:
        while True:
            got.append(await session.receive())

    client = peer()
    await enter(supervisor, client, listen, user="ann", envelope=True)

    client.say(words)
    await settle()

    assert got == [words]


async def test_an_acknowledgement_is_for_ones_own(supervisor: Supervisor, peer: NewPeer) -> None:
    """The ids of others do no harm, nor do ids of nothing."""
    await supervisor.send_to_user("bob", "x", important=True)
    (letter,) = await supervisor.pending("bob")
    client = await device(supervisor, peer)

    client.say(json.dumps({"ack": [letter.id, "nothing", "", "é" * 300]}))
    await settle()

    assert await supervisor.pending("bob") == [letter]


async def test_a_plain_client_acknowledges_by_taking_it(
    supervisor: Supervisor, peer: NewPeer
) -> None:
    """It gets the data alone; once that is written it is settled."""
    client = peer()
    await enter(supervisor, client, user="ann")

    await supervisor.send_to_user("ann", {"n": 1}, important=True)
    await settle()

    assert client.got == ['{"n":1}']
    assert await supervisor.pending("ann") == []


async def test_what_a_dying_client_did_not_take_goes_to_the_next(
    supervisor: Supervisor, peer: NewPeer
) -> None:
    """Taken from the mailbox, not written to the end: it is in the inbox again."""
    dying = peer()
    await enter(supervisor, dying, user="ann")
    dying.stalled = True
    await supervisor.send_to_user("ann", "x", important=True)
    await settle()
    assert len(await supervisor.pending("ann")) == 1

    dying.vanish()
    await settle()
    next_one = peer()
    await enter(supervisor, next_one, user="ann")
    await settle()

    assert next_one.got == ["x"]
    assert await supervisor.pending("ann") == []


async def test_an_alert_room_addresses_who_has_joined_it(
    supervisor: Supervisor, peer: NewPeer, offline: list[ImportantMessage]
) -> None:
    """Once, as a user, and then also when they are away; members get it with the room's name."""
    ann = await device(supervisor, peer, rooms=["alert:ops"])
    bob = await device(supervisor, peer, rooms=["alert:ops"], user="bob")
    carl = await device(supervisor, peer, user="carl")
    bob.vanish()
    await settle()

    receipt = await supervisor.publish("alert:ops", "fire")
    await settle()

    assert receipt == Receipt(2)
    assert [letter["room"] for letter in letters(ann)] == ["alert:ops"]
    assert [message.user for message in offline] == ["bob"]
    assert letters(carl) == []
    back = await device(supervisor, peer, rooms=["alert:ops"], user="bob")
    assert [letter["data"] for letter in letters(back)] == ["fire"]


async def test_who_watches_another_page_is_told_of(
    supervisor: Supervisor, peer: NewPeer, offline: list[ImportantMessage]
) -> None:
    """An addressee who is connected, but not in the room: mail is all that reaches them now."""
    watching = await device(supervisor, peer, rooms=["alert:ops"])
    watching.vanish()
    await settle()
    elsewhere = await device(supervisor, peer, rooms=["chat"])

    await supervisor.publish("alert:ops", "fire")
    await settle()

    assert letters(elsewhere) == []
    assert [(message.user, message.deliveries) for message in offline] == [("ann", 0)]
    again = await device(supervisor, peer, rooms=["alert:ops"])
    assert [letter["id"] for letter in letters(again)] == [offline[0].id]
    assert len(offline) == 1


async def test_leaving_an_alert_room_is_meant(supervisor: Supervisor, peer: NewPeer) -> None:
    """Who leaves is not addressed any more, unless another device of theirs is in it."""
    sessions = [
        await enter(supervisor, peer(), user="ann", envelope=True, rooms=["alert:ops"])
        for _ in range(2)
    ]

    await sessions[0].leave("alert:ops")
    await settle()
    with_one = await supervisor.publish("alert:ops", "a")
    await sessions[1].leave("alert:ops")
    await settle()
    with_none = await supervisor.publish("alert:ops", "b")

    assert (with_one, with_none) == (Receipt(1), Receipt())


async def test_who_leaves_and_joins_again_is_addressed(
    supervisor: Supervisor, peer: NewPeer
) -> None:
    """However fast: the leave does not undo the join that comes after it."""
    session = await enter(supervisor, peer(), user="ann", envelope=True, rooms=["alert:ops"])

    await session.leave("alert:ops")
    await session.join("alert:ops")
    await settle()

    assert await supervisor.publish("alert:ops", "fire") == Receipt(1)


async def test_an_alert_room_is_for_users(supervisor: Supervisor, peer: NewPeer) -> None:
    """A session without one is refused, with 3507 and the reason."""
    client = peer()
    session = await enter(supervisor, client)

    with pytest.raises(JoinRefused, match="user="):
        await session.join("alert:ops")


async def test_an_idempotency_key_sends_once(supervisor: Supervisor) -> None:
    """To each user and room; the repetition says so."""
    first = await supervisor.send_to_user("ann", "x", important=True, idempotency_key="k")
    again = await supervisor.send_to_user("ann", "x", important=True, idempotency_key="k")
    other = await supervisor.send_to_user("bob", "x", important=True, idempotency_key="k")

    assert [first.repeated, again.repeated, other.repeated] == [False, True, False]
    assert [first.accepted, again.accepted, other.accepted] == [1, 1, 1]  # it is in the inbox
    assert len(await supervisor.pending("ann")) == 1


async def test_one_and_one_are_two_users(supervisor: Supervisor) -> None:
    """A number and its digits have an inbox each."""
    await supervisor.send_to_user(1, "number", important=True)
    await supervisor.send_to_user("1", "digits", important=True)

    assert [each.data for each in await supervisor.pending(1)] == ["number"]
    assert [each.data for each in await supervisor.pending("1")] == ["digits"]


async def test_the_server_can_acknowledge(supervisor: Supervisor, peer: NewPeer) -> None:
    """As a REST endpoint would; devices are told."""
    client = await device(supervisor, peer)
    await supervisor.send_to_user("ann", "x", important=True)
    await settle()
    (letter,) = letters(client)

    settled = await supervisor.acknowledge("ann", letter["id"], "nothing")
    await settle()

    assert settled == [letter["id"]]
    assert client.got_json[-1] == {"settled": [letter["id"]]}


async def test_what_expires_is_taken_down(supervisor: Supervisor, peer: NewPeer) -> None:
    """Clients that have it are told that it needs no acknowledgement any more."""
    client = await device(supervisor, peer)
    await supervisor.send_to_user("ann", "x", important=True, expires_after=5.0)

    await asyncio.sleep(10.0)

    (letter,) = letters(client)
    assert client.got_json[-1] == {"settled": [letter["id"]]}


async def test_what_nobody_acknowledges_is_given_up(supervise: Supervise, peer: NewPeer) -> None:
    """After so many deliveries: a dead letter, which the hook is told of."""
    told: list[ImportantMessage] = []
    supervisor = supervise(on_offline=told.append, max_deliveries=2, ack_wait=1.0)
    client = await device(supervisor, peer)
    await supervisor.send_to_user("ann", "x", important=True)

    await asyncio.sleep(20.0)

    assert [letter["data"] for letter in letters(client)] == ["x", "x"]
    assert client.got_json[-1] == {"settled": [letters(client)[0]["id"]]}
    assert [(message.data, message.deliveries) for message in told] == [("x", 2)]
    assert [letter.id for letter in await supervisor.dead_letters()] == [told[0].id]
    assert await supervisor.pending("ann") == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"important": True, "exclude": object()}, "exclude= is not for important=True"),
        ({"important": True, "expires_after": 0}, "expires_after is a finite .* above 0, not 0"),
        (
            {"important": True, "expires_after": float("inf")},
            "expires_after is a finite number of seconds above 0, not inf",
        ),
        ({"important": True, "expires_after": "5"}, "expires_after is a finite .*, not '5'"),
        ({"important": True, "idempotency_key": 5}, "idempotency_key is a str .*, not int 5$"),
        ({"expires_after": 5.0}, "important=True"),
        ({"idempotency_key": "k"}, "important=True"),
    ],
)
async def test_arguments_that_do_not_belong_together_are_refused(
    supervisor: Supervisor, arguments: dict[str, Any], told: str
) -> None:
    """Before anything is sent; the error names the argument."""
    with pytest.raises(InvalidPublication, match=told):
        await supervisor.send_to_user("ann", "x", **arguments)


@pytest.mark.parametrize("limit", [0, -1, 2.5, "x", None, True, 1 << 63])
async def test_a_list_of_messages_has_bounds(supervisor: Supervisor, limit: Any) -> None:
    """Whatever the store would make of the number."""
    for listed in (supervisor.pending("ann", limit=limit), supervisor.dead_letters(limit=limit)):
        with pytest.raises(ValueError, match=r"^limit is an int from 1 to 2\*\*63 - 1, not "):
            await listed


@pytest.mark.parametrize("id", [5, None, b"id", ["id"]])
async def test_an_id_is_text(supervisor: Supervisor, id: Any) -> None:
    """Of one that is not, no store hears."""
    with pytest.raises(TypeError, match=r"^the id of an important message is a str, not "):
        await supervisor.acknowledge("ann", "nothing", id)


async def test_a_flag_is_not_the_user_one(supervisor: Supervisor, peer: NewPeer) -> None:
    """Which Python takes for 1: it is given nothing, and can acknowledge nothing."""
    await supervisor.send_to_user(1, "x", important=True)
    client = await device(supervisor, peer, user=True)
    (letter,) = await supervisor.pending(1)

    client.say(json.dumps({"ack": letter.id}))
    await settle()

    assert letters(client) == []
    assert await supervisor.pending(1) == [letter]


async def test_an_inbox_is_that_of_somebody_with_a_name(supervisor: Supervisor) -> None:
    """Whatever else a user may be, what waits on disk needs a str or an int."""
    for user in (("a", 1), True, None, 1.5):
        with pytest.raises(InvalidPublication, match="str or an int"):
            await supervisor.send_to_user(user, "x", important=True)


async def test_alerts_have_no_position(supervisor: Supervisor, peer: NewPeer) -> None:
    """A place to resume from counts for rooms that have one."""
    await supervisor.publish("log:a", "one")
    client = await device(supervisor, peer, rooms=["alert:ops", "log:a"], since=Position("", 0))

    assert [said["data"] for said in client.got_json if "data" in said] == ["one"]


async def test_alerts_keep_their_order(supervisor: Supervisor, peer: NewPeer) -> None:
    """Of one publisher, whether it waited for them or not."""
    client = await device(supervisor, peer, rooms=["alert:ops"])

    supervisor.publish_nowait("alert:ops", "a")
    supervisor.publish_nowait("alert:ops", "b")
    await supervisor.publish("alert:ops", "c")
    supervisor.publish_nowait("alert:ops", "d")
    await settle()

    assert [letter["data"] for letter in letters(client)] == ["a", "b", "c", "d"]


async def test_alerts_that_nobody_waits_for_are_bounded(
    supervisor: Supervisor, peer: NewPeer
) -> None:
    """One who floods is told; what was taken arrives."""
    await device(supervisor, peer, rooms=["alert:ops"])

    for number in range(1000):
        supervisor.publish_nowait("alert:ops", number)
    with pytest.raises(MailboxFull, match="await publish"):
        supervisor.publish_nowait("alert:ops", "one more")
    await settle()

    assert len(await supervisor.pending("ann", limit=2000)) == 1000


async def test_a_refused_join_addresses_nobody(supervise: Supervise, peer: NewPeer) -> None:
    """Unless the user is in the room with another connection, or was before."""
    supervisor = supervise(rooms=ROOMS, max_connections_per_room=1)
    await enter(supervisor, peer(), user="bob", rooms=["alert:ops"])
    session = await enter(supervisor, peer(), user="ann")

    with pytest.raises(JoinRefused):
        await session.join("alert:ops")
    await settle()

    assert await supervisor.publish("alert:ops", "x") == Receipt(1)


async def test_publish_nowait_alerts_from_a_thread(supervisor: Supervisor, peer: NewPeer) -> None:
    """Through the loop of a node."""
    client = await device(supervisor, peer, rooms=["alert:ops"])

    supervisor.publish_nowait("alert:ops", "fire")
    await settle()

    assert [letter["data"] for letter in letters(client)] == ["fire"]
