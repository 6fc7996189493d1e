"""Rooms that keep their messages, through sessions: joining, resuming, publishing, removing."""

from __future__ import annotations

import asyncio
import re
import threading
from pathlib import Path
from typing import Any

import msgpack
import pytest

from actors.testing import settle
from supervisor import (
    Drained,
    InvalidPublication,
    JoinReply,
    LogEnded,
    OffsetConflict,
    Position,
    RoomPolicy,
    StoreUnavailable,
    Supervisor,
)
from tests.supervisor.asgi import Peer, bare_app
from tests.supervisor.conftest import Events, NewPeer, Supervise, named
from tests.supervisor.endpoints import endpoint, enter

ROOMS = {
    "log:*": RoomPolicy.log(),
    "short:*": RoomPolicy.log(history_size=3),
    "strict:*": RoomPolicy.log(history_size=3, on_gap="close"),
    "news:*": RoomPolicy.log(on_join=2),
    "quiet:*": RoomPolicy.log(on_join="live"),
    "status:*": RoomPolicy.status(),
}


@pytest.fixture
def supervisor(supervise: Supervise) -> Supervisor:
    """Return a supervisor with rooms of every kind that keeps."""
    return supervise(rooms=ROOMS)


def said(client: Peer) -> list[Any]:
    """Return what a client with envelopes was told."""
    return (
        [
            msgpack.unpackb(message) if isinstance(message, bytes) else message
            for message in client.got
        ]
        if client.subprotocol == "envelope.msgpack"
        else client.got_json
    )


def data(client: Peer) -> list[Any]:
    """Return the data of the messages among it."""
    return [envelope["data"] for envelope in said(client) if "data" in envelope]


# Sessions.


@pytest.mark.parametrize("subprotocol", ["envelope.json", "envelope.msgpack"])
async def test_an_envelope_tells_of_the_join_and_of_every_place(
    supervisor: Supervisor, peer: NewPeer, subprotocol: str
) -> None:
    """First where it begins, then what is kept, then what comes."""
    receipt = await supervisor.publish("log:a", {"n": 1})
    assert receipt.position is not None
    epoch = receipt.position.epoch
    client = peer(subprotocols=[subprotocol])

    session = await enter(supervisor, client, rooms=["log:a"])
    await supervisor.publish("log:a", "two")
    await settle()

    assert client.subprotocol == subprotocol
    assert said(client) == [
        {"joined": {"room": "log:a", "epoch": epoch, "offset": 1, "begins": 0}},
        {"room": "log:a", "epoch": epoch, "offset": 1, "data": {"n": 1}},
        {"room": "log:a", "epoch": epoch, "offset": 2, "data": "two"},
    ]
    assert session.joined == {"log:a": JoinReply(True, Position(epoch, 1), 0)}


async def test_a_plain_client_gets_data_alone(supervisor: Supervisor, peer: NewPeer) -> None:
    """Nothing is added to a session that did not ask for it."""
    await supervisor.publish("log:a", "one")
    await supervisor.publish("log:a", b"two")
    client = peer()

    await enter(supervisor, client, rooms=["log:a"])
    await supervisor.publish("log:a", {"n": 3})
    await supervisor.end("log:a")
    await settle()

    assert client.got == ["one", b"two", '{"n":3}']


async def test_a_session_may_want_envelopes_itself(supervisor: Supervisor, peer: NewPeer) -> None:
    """Its own messages are in them, too."""
    client = peer()
    session = await enter(supervisor, client, rooms=["log:a"], envelope=True)

    await session.send("only you")
    await settle()

    assert said(client)[1:] == [{"data": "only you"}]


async def test_a_client_resumes_with_its_own_words(supervisor: Supervisor, peer: NewPeer) -> None:
    """EPOCH:OFFSET, as the envelope said it."""
    positions = [(await supervisor.publish("log:a", number)).position for number in range(4)]
    client = peer()

    session = await enter(
        supervisor, client, rooms=["log:a"], envelope=True, since=str(positions[1])
    )

    assert data(client) == [2, 3]
    assert session.joined["log:a"].recovered is True
    assert said(client)[0]["joined"]["recovered"] is True


@pytest.mark.parametrize(
    ("room", "arguments", "begins"),
    [
        ("log:a", {}, 0),
        ("log:a", {"tail": 1}, 3),
        ("log:a", {"tail": "2"}, 2),
        ("log:a", {"tail": "99"}, 0),
        ("log:a", {"tail": "0"}, 4),
        ("log:a", {"since": ":0"}, 0),
        ("log:a", {"tail": {"log:a": "1"}}, 3),
        ("log:a", {"since": "", "tail": ""}, 0),
        ("log:a", {"since": "", "tail": "1"}, 3),
        ("log:a", {"since": {"log:a": ""}, "tail": {"log:a": ""}}, 0),
        ("news:a", {}, 2),
        ("news:a", {"since": ""}, 2),
        ("quiet:a", {}, 4),
        ("short:a", {}, 1),
    ],
)
async def test_a_session_begins_where_it_says_or_else_the_policy(
    supervisor: Supervisor, peer: NewPeer, room: str, arguments: dict[str, Any], begins: int
) -> None:
    """An empty word of a client is none."""
    for number in range(1, 5):
        await supervisor.publish(room, number)
    client = peer()

    session = await enter(supervisor, client, rooms=[room], envelope=True, **arguments)

    assert session.joined[room].begins == begins
    assert data(client) == list(range(begins + 1, 5))


@pytest.mark.parametrize(
    "arguments",
    [
        {"since": "nonsense"},
        {"since": "e:"},
        {"since": "e:-1"},
        {"since": "e:1:2"},
        {"since": "e:٣"},
        {"since": "e:" + "9" * 30},
        {"since": "x" * 65 + ":1"},
        {"since": {"log:a": "nonsense"}},
        {"tail": "-1"},
        {"tail": "many"},
        {"tail": "1.5"},
        {"tail": {"log:a": "many"}},
        {"since": {"a": "e:1"}},  # of a room that is not joined
        {"tail": {"a": "1"}},
    ],
)
async def test_words_that_say_nothing_are_refused(
    supervisor: Supervisor, peer: NewPeer, arguments: dict[str, Any]
) -> None:
    """With 400 before the handshake, 3501 where that is not possible."""
    refused = peer().open(bare_app(endpoint(supervisor, rooms=["log:a"], **arguments)))
    await refused.end()
    closed = peer(denial=False).open(bare_app(endpoint(supervisor, rooms=["log:a"], **arguments)))
    await closed.end()

    assert refused.status == 400
    assert closed.closed is not None
    assert closed.closed[0] == 3501


@pytest.mark.parametrize("arguments", [{"since": "nonsense"}, {"tail": "many"}])
async def test_words_are_checked_where_nothing_is_kept_too(
    supervisor: Supervisor, peer: NewPeer, arguments: dict[str, Any]
) -> None:
    """So that a client's mistake shows before the room keeps anything."""
    refused = peer().open(bare_app(endpoint(supervisor, rooms=["event"], **arguments)))
    await refused.end()

    assert refused.status == 400


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"since": 5}, "since: a Position, .*, not 5$"),
        ({"since": ("e",)}, r"not \('e',\)$"),
        ({"since": b"e:1"}, "not b'e:1'$"),
        ({"since": ("e", True)}, r"not \('e', True\)$"),
        ({"since": {"a": ("e", 1)}}, "since: 'a' is none of the rooms that are joined: log:a$"),
        ({"tail": 1.5}, "tail: a number of messages, an int, not 1.5$"),
        ({"tail": True}, "not True$"),
        ({"tail": {"a": 1}}, "tail: 'a' is none of the rooms that are joined: log:a$"),
    ],
)
async def test_what_is_no_place_at_all_is_a_mistake(
    supervisor: Supervisor, peer: NewPeer, arguments: dict[str, Any], text: str
) -> None:
    """Of the application, no words of a client: the error says what there may be."""
    client = peer().open(bare_app(endpoint(supervisor, rooms=["log:a"], **arguments)))

    error = await client.end()

    assert isinstance(error, TypeError)
    assert re.search(text, str(error))


async def test_several_rooms_have_several_places(supervisor: Supervisor, peer: NewPeer) -> None:
    """By their names; one position for all is refused, and rooms that keep nothing do not count."""
    places = {}
    for room in ("log:a", "log:b"):
        for number in (1, 2, 3):
            places[room] = (await supervisor.publish(room, f"{room} {number}")).position
    client = peer()
    since = {"log:a": places["log:a"]._replace(offset=1), "log:b": f"{places['log:b']}"}  # type: ignore[union-attr]

    await enter(supervisor, client, rooms=["log:a", "log:b", "event"], envelope=True, since=since)
    refused = peer().open(
        bare_app(endpoint(supervisor, rooms=["log:a", "log:b"], since=str(places["log:a"])))
    )
    await refused.end()
    empty = peer()
    await enter(supervisor, empty, rooms=["log:a", "log:b"], since="")

    assert data(client) == ["log:a 2", "log:a 3"]
    assert refused.status == 400
    assert len(empty.got) == 6


async def test_a_session_joins_later_with_a_place(supervisor: Supervisor, peer: NewPeer) -> None:
    """As when it is entered; the answer is noted."""
    place = None
    for number in (1, 2, 3):
        place = (await supervisor.publish("log:a", number)).position
    assert place is not None
    client = peer()
    session = await enter(supervisor, client, envelope=True)

    reply = await session.join("log:a", since=place._replace(offset=2))
    again = await session.join("log:a")

    assert (reply.recovered, reply.begins) == (True, 2)
    assert not again
    assert session.joined["log:a"] is reply
    await settle()
    assert data(client) == [3]


async def test_a_stalled_client_gets_all_when_it_reads_again(
    supervisor: Supervisor, peer: NewPeer
) -> None:
    """Its mailbox holds nothing of it meanwhile."""
    client = peer()
    session = await enter(supervisor, client, rooms=["log:a"], envelope=True)
    client.stalled = True

    for number in range(3000):
        await supervisor.publish("log:a", number)
    assert session.connection.actor.statistics().depth == 0
    client.resume()
    await asyncio.sleep(1)

    assert data(client) == list(range(3000))


async def test_a_client_that_missed_trimmed_messages_is_told(
    supervisor: Supervisor, peer: NewPeer, events: Events
) -> None:
    """By an envelope, and in its statistics; a strict room closes it with 3010. Operators, too."""
    clients = {room: peer() for room in ("short:a", "strict:a")}
    sessions = {}
    for room, client in clients.items():
        sessions[room] = await enter(supervisor, client, rooms=[room], envelope=True)
        client.stalled = True
        for number in range(3000):
            await supervisor.publish(room, number)

        client.resume()
        await asyncio.sleep(1)

    (gap,) = [word["gap"] for word in said(clients["short:a"]) if "gap" in word]
    assert gap.pop("epoch") == said(clients["short:a"])[-1]["epoch"]
    assert gap == {"room": "short:a", "from": 2, "to": 2997, "reason": "trimmed"}
    assert data(clients["short:a"]) == [0, 2997, 2998, 2999]
    assert clients["strict:a"].closed is not None
    assert clients["strict:a"].closed[0] == 3010
    missed = named(events, "connection.missed")
    assert [(event["room"], event["missed"]) for event in missed] == [
        ("short:a", 2996),
        ("strict:a", 2996),
    ]
    (caught_up,) = named(events, "connection.caught_up")
    assert (caught_up["room"], caught_up["missed"]) == ("short:a", 2996)
    assert caught_up["connection"] == sessions["short:a"].connection.id


# Status rooms.


async def test_a_status_room_brings_every_value_and_then_changes(
    supervisor: Supervisor, peer: NewPeer
) -> None:
    """Removed keys are removed for those who are told, and not there for who comes later."""
    for number in range(6):
        await supervisor.publish("status:a", number, key=f"k{number % 3}")
    client, later = peer(), peer()
    await enter(supervisor, client, rooms=["status:a"], envelope=True)

    await supervisor.publish("status:a", "new", key="k1")
    assert (await supervisor.remove_key("status:a", "k0")).position is not None
    await enter(supervisor, later, rooms=["status:a"])
    await settle()

    words = [(word["key"], word.get("data", "removed")) for word in said(client)[1:]]
    assert words == [("k0", 3), ("k1", 4), ("k2", 5), ("k1", "new"), ("k0", "removed")]
    assert later.got == ["5", "new"]


async def test_the_value_of_a_key_has_an_end(supervisor: Supervisor, peer: NewPeer) -> None:
    """ttl= says when; the envelope passes it on."""
    client = peer()
    await enter(supervisor, client, rooms=["status:a"], envelope=True)

    await supervisor.publish("status:a", 1, key="a", ttl=60)
    await supervisor.publish("status:a", 2, key="b")

    first, second = said(client)[1:]
    history = await supervisor.read_history("status:a")
    assert first["expires"] == history.messages[0].expires
    assert "expires" not in second


# Publishing.


@pytest.mark.parametrize(
    ("room", "arguments", "text"),
    [
        ("log:a", {"key": "k"}, "every message counts"),
        ("log:a", {"exclude": object()}, None),
        ("log:a", {"ttl": 5}, "ttl is for the keys"),
        ("status:a", {}, "value of a key"),
        ("status:a", {"key": 7}, "value of a key"),
        ("status:a", {"key": "\ud800"}, "UTF-8"),
        ("status:a", {"key": "k", "ttl": 0}, "above 0"),
        ("status:a", {"key": "k", "ttl": float("nan")}, "above 0"),
        ("event", {"ttl": 5}, "ttl is for the keys"),
        ("event", {"idempotency_key": "i"}, "keeps nothing"),
        ("event", {"expect_offset": 0}, "keeps nothing"),
    ],
)
async def test_what_a_class_has_no_use_for_is_refused(
    supervisor: Supervisor, room: str, arguments: dict[str, Any], text: str | None
) -> None:
    """Before anything is kept; who is excluded and not here excludes nobody."""
    if text is None:
        await supervisor.publish(room, "x", **arguments)
        return

    with pytest.raises(InvalidPublication, match=text):
        await supervisor.publish(room, "x", **arguments)

    assert (await supervisor.read_history(room)).messages == []


async def test_excluding_a_member_of_a_log_is_refused(
    supervisor: Supervisor, peer: NewPeer
) -> None:
    """It is kept for all."""
    session = await enter(supervisor, peer(), rooms=["log:a"])

    with pytest.raises(InvalidPublication, match="keeps its messages for all"):
        await supervisor.publish("log:a", "x", exclude=session)


@pytest.mark.parametrize("room", ["event", "status:a"])
async def test_only_logs_end_and_only_status_rooms_have_keys(
    supervisor: Supervisor, room: str
) -> None:
    """The error says of which class the room is."""
    with pytest.raises(InvalidPublication, match="only log rooms end"):
        await supervisor.end(room)
    with pytest.raises(InvalidPublication, match="keys are removed from status rooms"):
        await supervisor.remove_key("log:a", "k")


async def test_the_same_idempotency_key_publishes_once(
    supervisor: Supervisor, peer: NewPeer
) -> None:
    """The repetition says so, and where the first one stands."""
    client = peer()
    await enter(supervisor, client, rooms=["log:a"])

    first = await supervisor.publish("log:a", "x", idempotency_key="i")
    again = await supervisor.publish("log:a", "x", idempotency_key="i")
    supervisor.publish_nowait("log:a", "x", idempotency_key="i")
    await settle()

    assert (first.repeated, again.repeated) == (False, True)
    assert again.position == first.position
    assert client.got == ["x"]


async def test_an_expected_offset_is_checked(supervisor: Supervisor) -> None:
    """Somewhere else nothing happens, and the error says where the room is."""
    await supervisor.publish("log:a", 1, expect_offset=0)

    with pytest.raises(OffsetConflict) as conflict:
        await supervisor.publish("log:a", 2, expect_offset=0)

    assert conflict.value.current.offset == 1
    assert (await supervisor.publish("log:a", 2, expect_offset=1)).position is not None
    assert len((await supervisor.read_history("log:a")).messages) == 2


async def test_a_log_ends_for_everybody(supervisor: Supervisor, peer: NewPeer) -> None:
    """Live and later; publishing is over, ending again is not an error."""
    live, later = peer(), peer()
    await enter(supervisor, live, rooms=["log:a"], envelope=True)
    await supervisor.publish("log:a", 1)

    place = await supervisor.end("log:a")
    assert await supervisor.end("log:a") == place
    await enter(supervisor, later, rooms=["log:a"], envelope=True)

    for client in (live, later):
        assert [word for word in said(client) if "end" in word] == [
            {"end": {"room": "log:a", "offset": 1}}
        ]
        assert said(client)[-1] == {"end": {"room": "log:a", "offset": 1}}
    with pytest.raises(LogEnded):
        await supervisor.publish("log:a", 2)


async def test_history_is_read_in_pages(supervisor: Supervisor) -> None:
    """In both directions, with what was published, and where the room stands."""
    for value in ("text", b"bytes", {"json": 1}, None):
        await supervisor.publish("log:a", value)

    page = await supervisor.read_history("log:a", after=1, limit=2)
    newest = await supervisor.read_history("log:a", reverse=True, limit=1)
    nothing = await supervisor.read_history("log:unknown")

    assert [(each.offset, each.data) for each in page.messages] == [(2, b"bytes"), (3, {"json": 1})]
    assert page.more
    assert (page.position.offset, page.lost, page.ended) == (4, 0, False)
    assert [(each.offset, each.data) for each in newest.messages] == [(4, None)]
    assert (nothing.messages, nothing.position.offset) == ([], 0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"limit": 0}, "^limit is an int from 1 to 300, not 0$"),
        ({"limit": 301}, "^limit .*, not 301$"),
        ({"limit": True}, "^limit .*, not True$"),
        ({"after": -1}, r"^after is an int from 0 to 2\*\*63 - 1, not -1$"),
        ({"after": "3"}, "^after .*, not '3'$"),
        ({"after": 1 << 63}, "^after .*, not 9223372036854775808$"),
        ({"before": -1}, "^before is an int .*, not -1$"),
    ],
)
async def test_what_is_read_has_bounds(
    supervisor: Supervisor, arguments: dict[str, Any], text: str
) -> None:
    """The error names the argument."""
    with pytest.raises(ValueError, match=text):
        await supervisor.read_history("log:a", **arguments)


async def test_a_removed_history_is_another_epoch(supervisor: Supervisor, peer: NewPeer) -> None:
    """Members are told when something is published; who comes meanwhile gets nothing of the old."""
    client, meanwhile = peer(), peer()
    await enter(supervisor, client, rooms=["log:a"], envelope=True)
    await supervisor.publish("log:a", "old")

    assert await supervisor.remove_history("log:a") is True
    assert await supervisor.remove_history("log:a") is False
    await enter(supervisor, meanwhile, rooms=["log:a"], envelope=True)
    receipt = await supervisor.publish("log:a", "new")
    await settle()

    assert receipt.position is not None
    assert data(client) == ["old", "new"]
    (gap,) = [word["gap"] for word in said(client) if "gap" in word]
    assert gap == {"room": "log:a", "epoch": "", "from": 0, "to": 0, "reason": "epoch_changed"}
    assert data(meanwhile) == ["new"]


async def test_threads_publish_in_an_order(supervisor: Supervisor, peer: NewPeer) -> None:
    """Every member sees the one order of the store, complete."""
    clients = [peer(), peer()]
    for client in clients:
        await enter(supervisor, client, rooms=["log:a"], envelope=True)

    def publish(name: str) -> None:
        for number in range(200):
            supervisor.publish_nowait("log:a", f"{name}{number}")

    threads = [threading.Thread(target=publish, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    await asyncio.sleep(1)

    for client in clients:
        assert [word["offset"] for word in said(client)[1:]] == list(range(1, 801))
    assert data(clients[0]) == data(clients[1])


async def test_a_client_that_goes_while_its_join_reads_leaves_nothing(
    supervisor: Supervisor, peer: NewPeer
) -> None:
    """Neither a member nor a job."""
    for number in range(1000):
        await supervisor.publish("log:a", number)
    client = peer()
    client.stalled = True
    client.open(bare_app(endpoint(supervisor, rooms=["log:a"])))
    await settle()

    client.vanish()
    await client.end()

    assert supervisor.members("log:a") == frozenset()


async def test_data_is_the_same_for_all_formats_live_and_later(
    supervisor: Supervisor, peer: NewPeer
) -> None:
    """What JSON makes of it when it is published, whatever the application does with it then."""
    live, behind, later = (peer(subprotocols=["envelope.msgpack"]) for _ in range(3))
    await enter(supervisor, live, rooms=["log:a"])
    await enter(supervisor, behind, rooms=["log:a"])
    behind.stalled = True
    reused: dict[Any, Any] = {"n": 0, 1: b"bytes"}

    for number in range(3):
        reused["n"] = number
        await supervisor.publish("log:a", reused)
    reused.clear()
    behind.resume()
    await settle()
    await enter(supervisor, later, rooms=["log:a"])
    await settle()

    for client in (live, behind, later):
        assert data(client) == [{"n": number, "1": "bytes"} for number in range(3)]


async def test_who_only_heard_of_a_gap_resumes_after_it(
    supervisor: Supervisor, peer: NewPeer
) -> None:
    """It names the epoch, which a client of a room that was empty has from nowhere else."""
    client, again = (peer(subprotocols=["envelope.msgpack"]) for _ in range(2))
    await enter(supervisor, client, rooms=["log:a"])
    await supervisor.publish("log:a", {"value": 2**64})
    await settle()
    (gap,) = [word["gap"] for word in said(client) if "gap" in word]
    await enter(supervisor, again, rooms=["log:a"], since=f"{gap['epoch']}:{gap['to']}")

    assert said(again)[0]["joined"]["recovered"] is True


@pytest.mark.parametrize("joins", ["before", "after"])
async def test_a_message_without_words_in_a_format_is_a_gap(
    supervisor: Supervisor, peer: NewPeer, joins: str
) -> None:
    """MessagePack has no integers of 65 bits: its clients are told, and JSON's get it."""
    clients = {name: peer(subprotocols=[f"envelope.{name}"]) for name in ("json", "msgpack")}
    if joins == "before":
        for client in clients.values():
            await enter(supervisor, client, rooms=["log:a"])
    for value in (1, 2**64, 3):
        await supervisor.publish("log:a", {"value": value})
    if joins == "after":
        for client in clients.values():
            await enter(supervisor, client, rooms=["log:a"])
    await settle()

    assert data(clients["json"]) == [{"value": value} for value in (1, 2**64, 3)]
    epoch = said(clients["json"])[-1]["epoch"]
    gap = {"gap": {"room": "log:a", "epoch": epoch, "from": 2, "to": 2, "reason": "unencodable"}}
    told = [each for each in said(clients["msgpack"]) if "joined" not in each]
    assert told[1] == gap
    assert data(clients["msgpack"]) == [{"value": 1}, {"value": 3}]


@pytest.mark.parametrize("ttl", [0, -1.0, float("inf"), float("nan")])
async def test_a_value_is_valid_for_a_time(supervisor: Supervisor, ttl: float) -> None:
    """A number of seconds above 0, and no infinity, which JSON has no words for."""
    with pytest.raises(InvalidPublication, match="ttl"):
        await supervisor.publish("status:a", 1, key="k", ttl=ttl)


async def test_a_supervisor_that_has_closed_opens_nothing(supervisor: Supervisor) -> None:
    """Nobody would close it again, and its file would be locked for ever."""
    await supervisor.publish("log:a", "x")
    await supervisor.aclose()

    with pytest.raises(Drained):
        await supervisor.read_history("log:a")
    with pytest.raises(Drained):
        await supervisor.pending("ann")


@pytest.mark.parametrize(
    "arguments",
    [
        {"expect_offset": "1"},
        {"expect_offset": -1},
        {"expect_offset": True},
        {"idempotency_key": ""},
        {"idempotency_key": 7},
        {"idempotency_key": "x" * 256},
        {"ttl": "3"},
    ],
)
async def test_what_can_mean_nothing_is_refused(
    supervisor: Supervisor, arguments: dict[str, Any]
) -> None:
    """An empty key, of a header that was not there, would swallow all lines but the first."""
    with pytest.raises(InvalidPublication, match=next(iter(arguments))):
        await supervisor.publish("log:a", "x", **arguments)


@pytest.mark.parametrize("setting", ["history", "inbox"])
async def test_a_store_that_cannot_be_opened_is_named(
    supervise: Supervise, tmp_path: Path, setting: str
) -> None:
    """By the setting that says where it is."""
    supervisor = supervise(**{setting: f"sqlite:///{tmp_path}/nowhere/feeds.db"})

    with pytest.raises(StoreUnavailable, match=f"setting {setting}: .*nowhere does not exist"):
        await supervisor.publish("a", "x")


@pytest.mark.parametrize("overflow", ["block", "cursor"])
async def test_what_no_mailbox_would_hold_is_read(
    supervise: Supervise, peer: NewPeer, overflow: str
) -> None:
    """Bytes are a third longer in JSON: a busy client gets them all the same, in order."""
    supervisor = supervise(rooms={"log:*": RoomPolicy.log(overflow=overflow)}, mailbox_bytes=10_000)
    client = peer(subprotocols=["envelope.json"])
    await enter(supervisor, client, rooms=["log:a"])
    client.stalled = True

    for number in range(5):
        await supervisor.publish("log:a", bytes([number]) * (9_000 if number % 2 else 10))
    client.resume()
    await settle()

    offsets = [said["offset"] for said in client.got_json if "base64" in said]
    assert offsets == [1, 2, 3, 4, 5]
