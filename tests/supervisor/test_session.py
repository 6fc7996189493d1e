"""Sessions over an ASGI server in memory: entering, receiving, sending, leaving, and every fault."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import gc
import json
import uuid
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import msgpack
import pytest
from pydantic import BaseModel
from starlette.websockets import WebSocket, WebSocketDisconnect

from actors.testing import settle
from supervisor import (
    CloseCode,
    Connection,
    ConnectionRefused,
    Ending,
    InvalidMessage,
    InvalidRoomName,
    JoinRefused,
    MessageTooLarge,
    NotAMember,
    Session,
    SessionEnded,
    UnknownConnection,
    UnserialisableData,
    UnsupportedSocket,
)
from tests.supervisor.asgi import App, Endpoint, Peer, bare_app, fastapi_app, starlette_app
from tests.supervisor.conftest import Events, NewPeer, Supervise, named, nothing_left
from tests.supervisor.endpoints import endpoint, enter, for_ever, until_the_client_leaves

ALL_APPS = pytest.mark.parametrize(
    "app_of", [bare_app, starlette_app, fastapi_app], ids=["bare", "starlette", "fastapi"]
)


# Entering.


@ALL_APPS
async def test_entering_accepts_registers_and_joins(
    supervise: Supervise, peer: NewPeer, app_of: Callable[[Endpoint], App]
) -> None:
    """Inside the session the socket is accepted and found by room and by user."""
    supervisor = supervise()
    seen: list[tuple[object, object, object]] = []

    async def look(session: Session) -> None:
        seen.append((session.user, session.rooms, session.connected))
        assert supervisor.members("a") == {session.connection}
        await supervisor.send_to_user("ann", "hello")

    client = peer().open(app_of(endpoint(supervisor, look, rooms=["a", "b", "a"], user="ann")))
    await client.result()

    assert seen == [("ann", frozenset({"a", "b"}), True)]
    assert client.status == 101
    assert client.got == ["hello"]


async def test_a_session_describes_its_connection(supervise: Supervise, peer: NewPeer) -> None:
    """A connection knows its user, its client's address and its socket; its repr is short."""
    session = await enter(supervise(), peer(client=("198.51.100.4", 1)), user=7, rooms=["a"])

    connection = session.connection
    assert connection.user == 7
    assert connection.client == "198.51.100.4"
    assert isinstance(connection.websocket, WebSocket)
    assert repr(connection) == f"<Connection {connection.id} user=7 rooms=1 connected>"


async def test_a_socket_without_an_address_is_taken(supervise: Supervise, peer: NewPeer) -> None:
    """A server behind a Unix socket knows no address."""
    session = await enter(supervise(max_connections_per_ip=1), peer(client=None))

    assert session.connection.client is None


async def test_the_first_session_starts_the_supervisor(supervise: Supervise, peer: NewPeer) -> None:
    """No lifespan is needed."""
    supervisor = supervise(start=False)

    await enter(supervisor, peer(), rooms=["a"])

    assert await supervisor.publish("a", "x")


@pytest.mark.parametrize("name", ["", "x" * 256, "a\nb", "a\x00", "$everyone", "\ud800", 7, None])
async def test_a_malformed_room_name_is_refused(
    supervise: Supervise, peer: NewPeer, name: Any
) -> None:
    """session() raises InvalidRoomName, before anything is accepted."""
    supervisor = supervise()
    client = peer().open(bare_app(endpoint(supervisor, rooms=[name])))

    with pytest.raises(InvalidRoomName, match="room"):
        await client.result()

    assert client.events == []


async def test_rooms_as_one_string_is_a_mistake(supervise: Supervise, peer: NewPeer) -> None:
    """rooms="ab" would join "a" and "b"; the error shows what to write."""
    client = peer().open(bare_app(endpoint(supervise(), rooms="ab")))

    with pytest.raises(TypeError, match=r"rooms=\['ab'\]"):
        await client.result()


async def test_a_session_needs_a_real_websocket(supervise: Supervise) -> None:
    """A stub is for the drop-in faces; the error says what is needed."""
    with pytest.raises(UnsupportedSocket, match="FastAPI WebSocket, not object"):
        async with supervise().session(object()):  # type: ignore[arg-type]
            pass


async def test_a_socket_that_the_application_accepted_is_taken_as_it_is(
    supervise: Supervise, peer: NewPeer
) -> None:
    """session() accepts only what is not accepted yet."""
    supervisor = supervise()

    async def serve(websocket: WebSocket) -> None:
        await websocket.accept(subprotocol="mine")
        async with supervisor.session(websocket) as session:
            await session.send("hello")

    client = peer(subprotocols=["mine"]).open(bare_app(serve))
    await client.result()

    assert [event["type"] for event in client.events] == [
        "websocket.accept",
        "websocket.send",
        "websocket.close",
    ]
    assert client.subprotocol == "mine"


async def test_a_socket_that_the_application_closed_cannot_be_entered(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Entering raises WebSocketDisconnect, and registers nothing."""
    supervisor = supervise()

    async def serve(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()
        async with supervisor.session(websocket, rooms=["a"]):
            pass

    client = peer().open(bare_app(serve))

    with pytest.raises(WebSocketDisconnect):
        await client.result()

    assert supervisor.closed == []


async def test_a_client_that_left_before_the_accept_is_a_disconnect(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Entering raises WebSocketDisconnect; the limits have their place back."""
    supervisor = supervise(max_connections=1)
    early = peer()
    early.leave()
    early.open(bare_app(endpoint(supervisor)))

    with pytest.raises(WebSocketDisconnect):
        await early.result()
    await enter(supervisor, peer())


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("Unexpected ASGI message")])
async def test_an_accept_that_fails_is_a_disconnect(
    supervise: Supervise, peer: NewPeer, error: Exception
) -> None:
    """Whatever servers raise when the client has gone meanwhile, one except catches it."""
    client = peer()
    client.failing = error
    client.open(bare_app(endpoint(supervise())))

    with pytest.raises(WebSocketDisconnect):
        await client.result()


async def test_an_accept_that_hangs_ends_within_its_timeout(
    supervise: Supervise, peer: NewPeer
) -> None:
    """accept_timeout bounds it."""
    supervisor = supervise(accept_timeout=3.0)
    client = peer()
    client.stalled = True
    started = asyncio.get_running_loop().time()
    client.open(bare_app(endpoint(supervisor)))

    with pytest.raises(SessionEnded, match="accept took too long"):
        await client.result()

    assert asyncio.get_running_loop().time() - started == pytest.approx(3.0, abs=0.01)


async def test_a_session_is_entered_once(supervise: Supervise, peer: NewPeer) -> None:
    """A second `async with` on the same session says what is wrong, and harms nothing."""
    supervisor = supervise()
    session = await enter(supervisor, peer(), rooms=["a"])

    with pytest.raises(RuntimeError, match="entered"):
        async with session:
            pass

    assert supervisor.members("a") == {session.connection}


async def test_a_socket_has_one_session(supervise: Supervise, peer: NewPeer) -> None:
    """A second session on a socket would read and write beside the first."""
    supervisor = supervise()
    client = peer()
    session = await enter(supervisor, client, rooms=["a"])

    with pytest.raises(RuntimeError, match="registered"):
        async with supervisor.session(session.connection.websocket):
            pass

    await supervisor.publish("a", "x")
    assert client.got == ["x"]
    assert supervisor.statistics().connections == 1


@pytest.mark.parametrize(
    "use",
    [
        lambda s: s.receive(),
        lambda s: s.send("x"),
        lambda s: s.close(),
        lambda s: s.join("a"),
        lambda s: s.leave("a"),
    ],
    ids=["receive", "send", "close", "join", "leave"],
)
async def test_a_session_that_was_not_entered_says_so(
    supervise: Supervise, peer: NewPeer, use: Callable[[Session], Awaitable[object]]
) -> None:
    """Every use raises UnknownConnection and names the cure."""
    supervisor = supervise()
    client = peer()
    session = supervisor.session(WebSocket(client.scope, client.receive, client.send))

    with pytest.raises(UnknownConnection, match="async with"):
        await use(session)


# Refusals.


def with_origin(origin: str, **more: Any) -> dict[str, Any]:
    """Return the arguments of a peer whose page is of ``origin``."""
    return {"headers": [("Origin", origin)], **more}


@ALL_APPS
async def test_a_page_of_another_site_is_refused_before_the_accept(
    supervise: Supervise, peer: NewPeer, app_of: Callable[[Endpoint], App]
) -> None:
    """Same origin is the default; an endpoint that catches nothing ends without a traceback."""
    supervisor = supervise()
    client = peer(**with_origin("https://evil.example"))
    client.open(app_of(endpoint(supervisor)))

    error = await client.end()

    assert client.status == 403
    assert not client.accepted
    if app_of is bare_app:  # nobody is there to catch it
        assert isinstance(error, ConnectionRefused)
        assert error.code == CloseCode.PERMISSION_DENIED
        assert "allowed_origins" in error.reason
    else:
        assert error is None


@pytest.mark.parametrize(
    ("allowed", "origin"),
    [
        (None, "http://testserver"),
        (None, "https://testserver:443"),
        (["*"], "https://anyone.example"),
        (["https://app.example"], "https://app.example"),
        (["https://*.example"], "https://app.example"),
    ],
)
async def test_an_allowed_page_may_connect(
    supervise: Supervise, peer: NewPeer, allowed: list[str] | None, origin: str
) -> None:
    """Its own origin always, others where allowed_origins names them."""
    host = "testserver:443" if origin.endswith(":443") else "testserver"

    await enter(supervise(allowed_origins=allowed), peer(**with_origin(origin, host=host)))


async def test_a_full_node_refuses_with_503(supervise: Supervise, peer: NewPeer) -> None:
    """max_connections; the body says why, and when to come back; the place is free again later."""
    supervisor = supervise(max_connections=1)
    first = peer()
    await enter(supervisor, first)
    second = peer().open(bare_app(endpoint(supervisor)))

    with pytest.raises(ConnectionRefused) as refusal:
        await second.result()
    assert refusal.value.code == CloseCode.CONNECTION_LIMIT
    assert refusal.value.status == second.status == 503
    headers, body = second.answer
    assert "retry-after" in headers
    assert body == f"{refusal.value.reason}\n"

    first.leave()
    await settle()
    await enter(supervisor, peer())


@pytest.mark.parametrize(
    ("limit", "same"),
    [("max_connections_per_user", "user"), ("max_connections_per_ip", "client")],
)
async def test_a_user_and_an_address_have_limits(
    supervise: Supervise, peer: NewPeer, limit: str, same: str
) -> None:
    """One more of the same is refused with 429; somebody else is not."""
    supervisor = supervise(**{limit: 2})

    def client(number: int) -> tuple[Peer, dict[str, Any]]:
        address = ("203.0.113.1" if same == "client" else f"203.0.113.{number}", 1)
        return peer(client=address), {"user": "ann" if same == "user" else f"user{number}"}

    for number in (1, 2):
        one, arguments = client(number)
        await enter(supervisor, one, **arguments)
    third, arguments = client(3)
    third.open(bare_app(endpoint(supervisor, **arguments)))

    with pytest.raises(ConnectionRefused):
        await third.result()

    assert third.status == 429
    await enter(supervisor, peer(client=("192.0.2.9", 1)), user="bob")
    assert supervisor.statistics().refused == {3504: 1}


async def test_limits_hold_for_sockets_that_are_being_accepted(
    supervise: Supervise, peer: NewPeer
) -> None:
    """A burst cannot pass a limit together while its accepts are under way."""
    supervisor = supervise(max_connections=2, max_connections_per_user=2)
    burst = [peer() for _ in range(5)]
    for client in burst:
        client.stalled = True
        await client.enter(bare_app(endpoint(supervisor, user="ann")))
    for client in burst:
        client.resume()
    await settle()

    assert sum(client.accepted for client in burst) == 2
    assert supervisor.statistics().connections == 2
    for client in burst:
        if not client.accepted:
            assert isinstance(await client.end(), ConnectionRefused)


async def test_a_failed_accept_gives_its_place_back(supervise: Supervise, peer: NewPeer) -> None:
    """Also when the endpoint is cancelled, and when the user cannot be one."""
    supervisor = supervise(max_connections=1, accept_timeout=1.0)
    cancelled = peer()
    cancelled.stalled = True
    await cancelled.enter(bare_app(endpoint(supervisor)))
    cancelled.cancel()
    await cancelled.end()
    slow = peer()
    slow.stalled = True
    assert isinstance(await slow.open(bare_app(endpoint(supervisor))).end(), SessionEnded)
    unhashable = peer().open(bare_app(endpoint(supervisor, user=["ann"])))
    assert isinstance(await unhashable.end(), TypeError)

    await enter(supervisor, peer())


async def test_too_many_rooms_are_refused(supervise: Supervise, peer: NewPeer) -> None:
    """max_rooms_per_connection counts the rooms that a session begins with."""
    client = peer().open(
        bare_app(endpoint(supervise(max_rooms_per_connection=2), rooms=["a", "b", "c"]))
    )

    with pytest.raises(ConnectionRefused, match="2 rooms"):
        await client.result()

    assert not client.accepted


async def test_a_full_room_refuses(supervise: Supervise, peer: NewPeer) -> None:
    """max_connections_per_room; other rooms have places."""
    supervisor = supervise(max_connections_per_room=1)
    await enter(supervisor, peer(), rooms=["a"])
    second = peer().open(bare_app(endpoint(supervisor, rooms=["b", "a"])))

    with pytest.raises(ConnectionRefused, match="room a"):
        await second.result()

    assert second.status == 429
    await enter(supervisor, peer(), rooms=["b"])


async def test_a_room_that_filled_up_meanwhile_refuses_after_the_accept(
    supervise: Supervise, peer: NewPeer
) -> None:
    """The late one is closed with 3505, is in no room, and leaves nothing behind."""
    supervisor = supervise(max_connections_per_room=1)
    clients = [peer(), peer()]
    for client in clients:
        client.stalled = True
        await client.enter(bare_app(endpoint(supervisor, rooms=["b", "a"])))
    for client in clients:
        client.resume()
        await settle()

    error = await clients[1].end()

    assert isinstance(error, JoinRefused)
    assert clients[1].closed == (CloseCode.ROOM_LIMIT, error.reason)
    assert len(supervisor.members("a")) == len(supervisor.members("b")) == 1
    assert supervisor.statistics().connections == 1


async def test_without_denial_responses_a_refusal_is_a_403(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Servers make a 403 of a close before the accept."""
    client = peer(denial=False).open(bare_app(endpoint(supervise(max_connections=1))))
    other = peer(denial=False)
    await settle()
    other.open(bare_app(endpoint_of_full_node := endpoint(supervise(max_connections=1))))
    await settle()
    third = peer(denial=False).open(bare_app(endpoint_of_full_node))

    assert isinstance(await third.end(), ConnectionRefused)

    assert third.status == 403
    assert client.accepted


async def test_a_socket_accepted_before_its_refusal_is_closed(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Then the client sees the close code."""
    supervisor = supervise(max_connections_per_user=1)
    await enter(supervisor, peer(), user="ann")

    async def serve(websocket: WebSocket) -> None:
        await websocket.accept()
        async with supervisor.session(websocket, user="ann"):
            pass

    client = peer().open(bare_app(serve))

    assert isinstance(await client.end(), ConnectionRefused)
    assert client.closed == (3504, "a user may have 1 connections")


async def test_a_client_that_left_is_refused_all_the_same(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Telling the client fails; the endpoint learns of the refusal, not of that."""
    client = peer(**with_origin("https://evil.example"))
    client.failing = OSError("gone")
    client.open(bare_app(endpoint(supervise())))

    assert isinstance(await client.end(), ConnectionRefused)


async def test_refusals_are_logged_once_an_episode(
    supervise: Supervise, peer: NewPeer, events: Events
) -> None:
    """The first of its kind, and then one in ten seconds with the count."""
    supervisor = supervise(max_connections=1)
    await enter(supervisor, peer())

    for seconds in (0, 1, 1, 9):
        await asyncio.sleep(seconds)
        await peer().open(bare_app(endpoint(supervisor, user="ann"))).end()

    refused = named(events, "connection.refused")
    assert [(event["total"], event["user"], event["code"]) for event in refused] == [
        (1, "ann", 3504),
        (4, "ann", 3504),
    ]
    assert supervisor.statistics().refused == {3504: 4}


async def test_one_except_catches_every_refusal(supervise: Supervise, peer: NewPeer) -> None:
    """ConnectionRefused is a WebSocketDisconnect, and so is JoinRefused."""
    assert issubclass(ConnectionRefused, WebSocketDisconnect)
    assert issubclass(JoinRefused, ConnectionRefused)
    supervisor = supervise(max_connections=1)
    await enter(supervisor, peer())
    caught: list[WebSocketDisconnect] = []

    async def serve(websocket: WebSocket) -> None:
        try:
            async with supervisor.session(websocket):
                pass
        except WebSocketDisconnect as error:
            caught.append(error)

    await peer().open(starlette_app(serve)).result()

    assert [error.code for error in caught] == [3504]
    assert str(caught[0]) == "this node has its 1 connections (close code 3504)"


# Receiving.


async def test_iterating_yields_text_and_bytes_until_the_client_leaves(
    supervise: Supervise, peer: NewPeer
) -> None:
    """str for a text frame, bytes for a binary one; what came before the end is not lost."""
    got: list[str | bytes] = []

    async def collect(session: Session) -> None:
        await asyncio.sleep(1)  # the client has said all, and left
        got.extend([message async for message in session])

    client = peer().open(bare_app(endpoint(supervise(), collect)))
    for message in ("a", b"b", "", b"", "ü"):
        client.say(message)
    await settle()
    client.leave()
    await client.result()

    assert got == ["a", b"b", "", b"", "ü"]


async def test_receive_raises_with_the_clients_code(supervise: Supervise, peer: NewPeer) -> None:
    """The disconnect carries what the client said, as often as it is asked for."""
    codes: list[tuple[int, str]] = []

    async def receive_twice(session: Session) -> None:
        for _ in range(2):
            try:
                await session.receive()
            except WebSocketDisconnect as error:
                codes.append((error.code, error.reason))

    client = await peer().enter(bare_app(endpoint(supervise(), receive_twice)))
    client.leave(4001, "bye")
    await client.result()

    assert codes == [(4001, "bye"), (4001, "bye")]


async def test_a_leave_is_remembered_with_the_clients_code(
    supervise: Supervise, peer: NewPeer
) -> None:
    """The ring of closed connections says who, why and for how long."""
    supervisor = supervise()
    client = peer()
    session = await enter(supervisor, client, rooms=["a"], user="ann")
    await supervisor.publish("a", "x")
    await asyncio.sleep(5)
    client.leave(4001, "bye")
    await client.result()

    (closed,) = supervisor.closed
    assert closed.id == session.connection.id
    assert (closed.user, closed.client) == ("ann", "203.0.113.7")
    assert closed.rooms == {"a"}
    assert (closed.reason.ending, closed.reason.code, closed.reason.text) == (
        Ending.DISCONNECTED,
        4001,
        "bye",
    )
    assert closed.duration == pytest.approx(5, abs=0.01)
    assert (closed.written, closed.lost, closed.dropped) == (1, 0, {})
    assert (closed.peak_depth, closed.peak_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("receive", "message", "code", "says"),
    [
        (Session.receive_text, b"\x00", 1003, "expected text"),
        (Session.receive_bytes, "text", 1003, "expected binary"),
        (Session.receive_json, "{", 1007, "no JSON"),
        (Session.receive_json, "", 1007, "no JSON"),
        (Session.receive_json, "[" * 100_000, 1007, "no JSON"),
        (Session.receive_json, b"{}", 1003, "expected text"),
        (Session.receive, "x" * 101, 1009, "100 bytes"),
        (Session.receive, b"x" * 101, 1009, "100 bytes"),
        (Session.receive, "ü" * 51, 1009, "100 bytes"),
        (Session.receive, "\U0001f600" * 26, 1009, "100 bytes"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or repr(value)[:12],
)
async def test_what_an_endpoint_did_not_expect_closes_with_a_code(
    supervise: Supervise,
    peer: NewPeer,
    receive: Callable[[Session], Awaitable[object]],
    message: str | bytes,
    code: int,
    says: str,
) -> None:
    """Each kind of bad message has its close code; the endpoint gets an InvalidMessage."""
    limit = 100 if code == 1009 else 1 << 20
    supervisor = supervise(max_message_bytes=limit)
    client = peer()
    client.say(message)
    client.open(bare_app(endpoint(supervisor, receive)))

    with pytest.raises(InvalidMessage, match=says) as error:
        await client.result()

    assert isinstance(error.value, WebSocketDisconnect)
    assert error.value.code == code
    assert client.closed is not None
    assert client.closed[0] == code
    assert says in client.closed[1]
    assert supervisor.closed[0].reason.ending is Ending.PROTOCOL


async def test_a_close_reason_is_cut_to_what_a_frame_carries(
    supervise: Supervise, peer: NewPeer
) -> None:
    """123 bytes, at a character's border."""
    client = peer()
    session = await enter(supervise(), client)

    await session.close(4000, "ü" * 100)

    assert client.closed == (4000, "ü" * 61)


async def test_messages_up_to_the_limit_pass(supervise: Supervise, peer: NewPeer) -> None:
    """max_message_bytes counts UTF-8 bytes, and is itself allowed."""
    messages: list[str | bytes] = ["x" * 8, b"x" * 8, "ü" * 4, "\U0001f600" * 2]
    got: list[str | bytes] = []

    async def receive_all(session: Session) -> None:
        got.extend([await session.receive() for _ in messages])

    client = peer()
    for message in messages:
        client.say(message)
    await client.open(bare_app(endpoint(supervise(max_message_bytes=8), receive_all))).result()

    assert got == messages


async def test_iteration_raises_for_a_message_over_the_limit(
    supervise: Supervise, peer: NewPeer
) -> None:
    """It ends silently only when the client leaves."""
    client = peer()
    client.say("xx")
    client.open(bare_app(endpoint(supervise(max_message_bytes=1))))

    with pytest.raises(InvalidMessage):
        await client.result()


async def test_receive_json_decodes(supervise: Supervise, peer: NewPeer) -> None:
    """Any JSON value, not only objects."""
    got: list[object] = []

    async def receive_three(session: Session) -> None:
        got.extend([await session.receive_json() for _ in range(3)])

    client = peer()
    for text in ('{"a": 1}', "[1]", "null"):
        client.say(text)
    await client.open(bare_app(endpoint(supervise(), receive_three))).result()

    assert got == [{"a": 1}, [1], None]


async def test_cancelling_receive_loses_no_message(supervise: Supervise, peer: NewPeer) -> None:
    """A receive with a timeout leaves the next message to the next one."""
    got: list[str | bytes] = []

    async def poll(session: Session) -> None:
        while len(got) < 3:
            try:
                async with asyncio.timeout(0.3):
                    got.append(await session.receive())
            except TimeoutError:
                pass

    client = await peer().enter(bare_app(endpoint(supervise(), poll)))
    for message in ("a", "b", "c"):
        await asyncio.sleep(2)
        client.say(message)
    await client.result()

    assert got == ["a", "b", "c"]


# MessagePack.


async def test_msgpack_is_chosen_where_the_client_offers_it(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Data travels as MessagePack then, both ways; str and bytes stay what they are."""
    supervisor = supervise()
    client = peer(subprotocols=["other", "msgpack"])
    client.say(msgpack.packb({"q": 1}))
    got: list[object] = []

    async def talk(session: Session) -> None:
        got.append(await session.receive_json())
        await session.send({"a": 1})
        await supervisor.publish("a", [1, 2])
        await session.send("text")
        await session.send(b"bytes")

    await client.open(bare_app(endpoint(supervisor, talk, rooms=["a"]))).result()

    assert client.subprotocol == "msgpack"
    assert got == [{"q": 1}]
    assert [msgpack.unpackb(message) for message in client.got[:2]] == [{"a": 1}, [1, 2]]
    assert client.got[2:] == ["text", b"bytes"]


async def test_no_subprotocol_is_chosen_for_others(supervise: Supervise, peer: NewPeer) -> None:
    """A client that offered something else gets JSON, and no subprotocol."""
    client = peer(subprotocols=["other"])
    session = await enter(supervise(), client)

    await session.send({"a": 1})
    await settle()

    assert client.subprotocol is None
    assert client.got == ['{"a":1}']


@pytest.mark.parametrize(("message", "code"), [("{}", 1003), (b"\xc1", 1007), (b"\x01\x02", 1007)])
async def test_what_is_no_msgpack_closes_with_a_code(
    supervise: Supervise, peer: NewPeer, message: str | bytes, code: int
) -> None:
    """Text, malformed bytes, and more than one value."""
    client = peer(subprotocols=["msgpack"])
    client.say(message)
    client.open(bare_app(endpoint(supervise(), Session.receive_json)))

    with pytest.raises(InvalidMessage):
        await client.result()

    assert client.closed is not None
    assert client.closed[0] == code


# Sending.


class Model(BaseModel):
    """A pydantic model."""

    name: str


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: int


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("text", "text"),
        (b"bytes", b"bytes"),
        ({"a": [1, None, True]}, '{"a":[1,null,true]}'),
        (None, "null"),
        (Model(name="ü"), '{"name":"ü"}'),
        ([Point(1)], '[{"x":1}]'),
        (datetime.date(2026, 1, 2), '"2026-01-02"'),
        ({"id": uuid.UUID(int=1)}, '{"id":"00000000-0000-0000-0000-000000000001"}'),
    ],
)
async def test_data_becomes_one_frame(
    supervise: Supervise, peer: NewPeer, data: object, message: str | bytes
) -> None:
    """str is text, bytes binary, anything else JSON: personal and published alike."""
    supervisor = supervise()
    client = peer()
    session = await enter(supervisor, client, rooms=["a"])

    await session.send(data)
    await supervisor.publish("a", data)

    assert client.got == [message, message]


@pytest.mark.parametrize(
    "data", [object(), {"a": object()}, float("nan"), {1, object()}, {(1, 2): 3}, "\ud800"]
)
async def test_data_that_is_no_json_is_refused_by_name(
    supervise: Supervise, peer: NewPeer, data: object
) -> None:
    """UnserialisableData, from send and publish; the session and the room live on."""
    supervisor = supervise()
    client = peer()
    session = await enter(supervisor, client, rooms=["a"])

    with pytest.raises(UnserialisableData):
        await session.send(data)
    with pytest.raises(UnserialisableData):
        await supervisor.publish("a", data)
    with pytest.raises(UnserialisableData):
        supervisor.publish_nowait("a", data)

    assert await supervisor.publish("a", "still here")
    await settle()
    assert client.got == ["still here"]


async def test_a_cycle_is_refused_by_name(supervise: Supervise, peer: NewPeer) -> None:
    """Data that contains itself cannot be JSON."""
    cycle: list[object] = []
    cycle.append(cycle)

    session = await enter(supervise(), peer())

    with pytest.raises(UnserialisableData):
        await session.send(cycle)


async def test_half_a_character_within_json_travels_escaped(
    supervise: Supervise, peer: NewPeer
) -> None:
    """JSON can say what UTF-8 cannot, so a client cannot poison a room with an escape."""
    supervisor = supervise()
    client = peer()
    session = await enter(supervisor, client, rooms=["a"])
    poison = json.loads(r'{"text": "\ud800", "more": "ü"}')

    await session.send(poison)
    await supervisor.publish("a", poison)
    await settle()

    assert client.got_json == [poison, poison]
    for message in client.got:
        assert isinstance(message, str)
        message.encode()


async def test_a_message_over_the_byte_bound_is_refused_by_name(
    supervise: Supervise, peer: NewPeer
) -> None:
    """MessageTooLarge says how large and what is allowed; the session lives on."""
    supervisor = supervise(mailbox_bytes=100)
    client = peer()
    session = await enter(supervisor, client, rooms=["a"])

    with pytest.raises(MessageTooLarge, match=r"101 bytes.*100"):
        await session.send("x" * 101)
    with pytest.raises(MessageTooLarge, match=r"102 bytes.*100"):
        await supervisor.publish("a", "ü" * 51)
    with pytest.raises(MessageTooLarge):
        supervisor.publish_nowait("a", "x" * 101)

    await session.send("x" * 100)
    await settle()
    assert client.got == ["x" * 100]


async def test_the_endpoints_own_frames_may_be_larger_than_the_mailbox(
    supervise: Supervise, peer: NewPeer
) -> None:
    """What worked without a supervisor goes on to work: it waits until nothing else does."""
    supervisor = supervise(mailbox_bytes=100)
    client = peer()
    session = await enter(supervisor, client, rooms=["a"])
    client.stalled = True
    await supervisor.publish("a", "first")

    sending = asyncio.ensure_future(session.connection.websocket.send_text("x" * 1000))
    await settle()
    assert not sending.done()
    client.resume()
    await sending

    assert client.got == ["first", "x" * 1000]


async def test_sending_keeps_its_place_among_publications(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Personal, published and the endpoint's own frames come in the order of the calls."""
    supervisor = supervise()
    client = peer()
    session = await enter(supervisor, client, rooms=["a"])
    websocket = session.connection.websocket

    await supervisor.publish("a", "1")
    await session.send("2")
    await websocket.send_text("3")
    await supervisor.publish("a", "4")
    await websocket.send_json({"n": 5})
    await websocket.send_bytes(b"6")

    assert client.got == ["1", "2", "3", "4", '{"n":5}', b"6"]


async def test_send_waits_while_the_client_is_behind(supervise: Supervise, peer: NewPeer) -> None:
    """Nothing of an endpoint's own is dropped: a slow client holds its endpoint back."""
    supervisor = supervise(mailbox_messages=2)
    client = peer()
    sent: list[int] = []

    async def send_five(session: Session) -> None:
        client.stalled = True
        for number in range(5):
            await session.send(str(number))
            sent.append(number)

    await client.enter(bare_app(endpoint(supervisor, send_five)))

    assert sent == [0, 1, 2]  # one under way, two wait
    client.resume()
    await client.result()
    assert client.got == ["0", "1", "2", "3", "4"]


async def test_a_send_that_waits_raises_when_the_client_leaves(
    supervise: Supervise, peer: NewPeer
) -> None:
    """It does not wait for ever."""
    client = peer()

    async def send_on(session: Session) -> None:
        client.stalled = True
        while True:
            await session.send("x")

    await client.enter(bare_app(endpoint(supervise(mailbox_messages=1), send_on)))
    client.leave(4002)

    with pytest.raises(WebSocketDisconnect):
        await client.result()


async def test_a_send_that_waits_raises_when_the_client_does_not_read(
    supervise: Supervise, peer: NewPeer
) -> None:
    """send_timeout bounds the wait; the socket is given up."""
    supervisor = supervise(mailbox_messages=1, send_timeout=5.0)
    client = peer(abortable=True)

    async def send_on(session: Session) -> None:
        client.stalled = True
        while True:
            await session.send("x")

    client.open(bare_app(endpoint(supervisor, send_on)))
    started = asyncio.get_running_loop().time()

    with pytest.raises(WebSocketDisconnect):
        await client.result()

    assert asyncio.get_running_loop().time() - started < 5.2
    assert client.aborted
    (closed,) = supervisor.closed
    assert closed.reason.ending is Ending.SEND_TIMEOUT
    assert closed.lost == 2


async def test_cancelling_a_send_that_waits_sends_nothing(
    supervise: Supervise, peer: NewPeer
) -> None:
    """All or nothing."""
    client = peer()

    async def give_up(session: Session) -> None:
        client.stalled = True
        await session.send("1")
        await session.send("2")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await session.send("3")
        client.resume()
        await session.send("4")

    await client.open(bare_app(endpoint(supervise(mailbox_messages=1), give_up))).result()

    assert client.got == ["1", "2", "4"]


@pytest.mark.parametrize(
    ("error", "ending", "code"),
    [
        (OSError("broken pipe"), Ending.DISCONNECTED, CloseCode.ABNORMAL),
        (RuntimeError("whatever"), Ending.SEND_FAILED, CloseCode.WRITE_ERROR),
        (KeyError(1), Ending.SEND_FAILED, CloseCode.WRITE_ERROR),
    ],
)
async def test_a_failed_write_ends_the_session_whatever_its_text(
    supervise: Supervise, peer: NewPeer, error: Exception, ending: Ending, code: int
) -> None:
    """The next send is a WebSocketDisconnect, nothing else is sent; a gone client is no trouble."""
    supervisor = supervise()
    client = peer()
    raised: list[WebSocketDisconnect] = []

    async def send_three(session: Session) -> None:
        client.failing = error
        await session.send("1")  # accepted: it waits for its turn
        await settle()
        for _ in range(2):
            with pytest.raises(WebSocketDisconnect) as caught:
                await session.send("2")
            raised.append(caught.value)
        with pytest.raises(WebSocketDisconnect):
            await session.receive()

    await client.open(bare_app(endpoint(supervisor, send_three))).result()

    assert [each.code for each in raised] == [code, code]
    assert client.got == []
    (closed,) = supervisor.closed
    assert closed.reason.ending is ending
    assert closed.lost == 1


# Leaving.


async def test_leaving_flushes_and_closes_with_1000(supervise: Supervise, peer: NewPeer) -> None:
    """What was sent before the end arrives before the close."""
    client = peer()

    async def send_ten(session: Session) -> None:
        for number in range(10):
            await session.send(str(number))

    await client.open(bare_app(endpoint(supervise(), send_ten))).result()

    assert client.got == [str(number) for number in range(10)]
    assert client.closed == (1000, "")


@ALL_APPS
async def test_an_exception_closes_its_socket_with_1011_and_no_other(
    supervise: Supervise, peer: NewPeer, app_of: Callable[[Endpoint], App], events: Events
) -> None:
    """It goes on to the framework; everybody else stays."""
    supervisor = supervise()
    other = peer()
    await enter(supervisor, other, rooms=["a"])

    async def fail(session: Session) -> None:
        await session.send("before")
        raise ZeroDivisionError("bug")

    client = peer().open(app_of(endpoint(supervisor, fail, rooms=["a"])))

    with pytest.raises(ZeroDivisionError):
        await client.result()

    assert client.got == ["before"]
    assert client.closed == (1011, "")
    assert await supervisor.publish("a", "x")
    assert other.got == ["x"]
    (closed,) = supervisor.closed
    assert closed.reason.ending is Ending.HANDLER_FAILED
    assert closed.reason.text == "ZeroDivisionError: bug"
    (event,) = named(events, "connection.closed")
    assert (event["log_level"], event["ending"], event["code"]) == (
        "warning",
        "handler_failed",
        1011,
    )


@pytest.mark.parametrize(
    ("error", "closes"),
    [
        (WebSocketDisconnect(1001), (1000, "")),
        (ConnectionRefused(4003, "no"), (4003, "no")),
    ],
)
async def test_a_disconnect_raised_by_the_body_is_a_normal_end(
    supervise: Supervise, peer: NewPeer, error: WebSocketDisconnect, closes: tuple[int, str]
) -> None:
    """1000, or the code of a refusal."""

    async def give_up(session: Session) -> None:
        raise error

    client = peer().open(bare_app(endpoint(supervise(), give_up)))

    assert await client.end() is error
    assert client.closed == closes


async def test_a_cancelled_endpoint_closes_with_1012(supervise: Supervise, peer: NewPeer) -> None:
    """Servers cancel when they stop; the client may come back."""
    supervisor = supervise()
    client = await peer().enter(bare_app(endpoint(supervisor)))

    client.cancel()

    assert isinstance(await client.end(), asyncio.CancelledError)
    assert client.closed == (1012, "endpoint cancelled")
    assert supervisor.closed[0].reason.ending is Ending.SHUTDOWN


async def test_close_sends_the_code_after_what_waits(supervise: Supervise, peer: NewPeer) -> None:
    """close() flushes; a second one changes nothing."""
    supervisor = supervise()
    client = peer()

    async def say_goodbye(session: Session) -> None:
        await session.send("last words")
        await session.close(4000, "done")
        assert not session.connected
        await session.close(4001, "again")
        with pytest.raises(WebSocketDisconnect) as error:
            await session.send("too late")
        assert error.value.code == 4000

    await client.open(bare_app(endpoint(supervisor, say_goodbye))).result()

    assert client.got == ["last words"]
    assert client.closed == (4000, "done")
    assert supervisor.closed[0].reason.ending is Ending.LEFT


@pytest.mark.parametrize("code", [0, 999, 1005, 1006, 1015, 2999, 5000])
async def test_a_code_that_cannot_travel_is_refused(
    supervise: Supervise, peer: NewPeer, code: int
) -> None:
    """RFC 6455 reserves them; the session lives on."""
    session = await enter(supervise(), peer())

    with pytest.raises(ValueError, match=f"close code.*not {code}"):
        await session.close(code)

    assert session.connected


async def test_leaving_takes_no_longer_than_the_close_deadline(
    supervise: Supervise, peer: NewPeer
) -> None:
    """A client that does not read is aborted; meanwhile nobody can reach it any more."""
    supervisor = supervise(close_timeout=4.0)
    client = peer(abortable=True)

    async def send_and_go(session: Session) -> None:
        client.stalled = True
        await session.send("x")

    loop = asyncio.get_running_loop()
    started = loop.time()
    client.open(bare_app(endpoint(supervisor, send_and_go, rooms=["a"])))
    await settle()
    assert supervisor.members("a") == frozenset()
    assert supervisor.statistics().closing == 1
    await client.result()

    assert loop.time() - started == pytest.approx(4.0, abs=0.2)
    assert client.aborted
    assert supervisor.statistics().closing == 0


async def test_a_socket_that_cannot_be_dropped_keeps_its_endpoint(
    supervise: Supervise, peer: NewPeer
) -> None:
    """A server such as granian would never free what it holds if the endpoint ended sooner."""
    supervisor = supervise(send_timeout=2.0, close_timeout=4.0)
    client = peer(abortable=False)

    async def send(session: Session) -> None:
        client.stalled = True
        await session.send("x")
        await until_the_client_leaves(session)

    await client.enter(bare_app(endpoint(supervisor, send, rooms=["a"])))
    await asyncio.sleep(60)
    assert supervisor.members("a") == frozenset()
    assert supervisor.statistics().closing == 0
    assert client.running

    client.vanish()
    assert await client.end() is None


async def test_a_body_that_iterates_ends_with_its_client(
    supervise: Supervise, peer: NewPeer
) -> None:
    """At once, and without an exception."""
    client = peer()
    await enter(supervise(), client)
    started = asyncio.get_running_loop().time()

    client.leave()

    assert await client.end() is None
    assert asyncio.get_running_loop().time() - started < 0.01


async def test_a_body_that_sends_ends_with_its_client(supervise: Supervise, peer: NewPeer) -> None:
    """The next send raises WebSocketDisconnect with the client's code."""

    async def tick(session: Session) -> None:
        while True:
            await session.send("tick")
            await asyncio.sleep(0.5)

    client = await peer().enter(bare_app(endpoint(supervise(), tick)))
    await asyncio.sleep(10)
    client.leave(4001)

    error = await client.end()

    assert isinstance(error, WebSocketDisconnect)
    assert error.code == 4001


async def test_the_endpoints_own_text_that_cannot_travel_is_its_error(
    supervise: Supervise, peer: NewPeer
) -> None:
    """UnicodeEncodeError, as from the server; the socket lives on."""
    client = peer()
    session = await enter(supervise(), client)

    with pytest.raises(UnicodeEncodeError):
        await session.connection.websocket.send_text("\ud800")

    await session.connection.websocket.send_text("ü")
    assert client.got == ["ü"]


@ALL_APPS
async def test_a_body_that_sleeps_is_cancelled_a_grace_after_its_client_left(
    supervise: Supervise, peer: NewPeer, app_of: Callable[[Endpoint], App]
) -> None:
    """Outside that is a WebSocketDisconnect; the task itself is not cancelled."""
    supervisor = supervise(disconnect_grace=2.0)
    outside: list[tuple[BaseException, int]] = []

    async def serve(websocket: WebSocket) -> None:
        try:
            async with supervisor.session(websocket, rooms=["a"]):
                await asyncio.sleep(3600)
        except WebSocketDisconnect as error:
            task = asyncio.current_task()
            assert task is not None
            outside.append((error, task.cancelling()))
            await asyncio.sleep(1)  # it may go on

    client = await peer().enter(app_of(serve))
    started = asyncio.get_running_loop().time()
    client.leave(4001, "bye")
    await asyncio.sleep(1.5)  # the pump sees it within a second
    assert supervisor.members("a") == frozenset()
    await client.result()

    assert asyncio.get_running_loop().time() - started < 1.0 + 2.0 + 1.0 + 0.3
    ((error, cancelling),) = outside
    assert isinstance(error, SessionEnded)
    assert (error.code, error.reason, cancelling) == (4001, "bye", 0)


async def test_a_body_that_ends_within_the_grace_is_not_cancelled(
    supervise: Supervise, peer: NewPeer
) -> None:
    """It may clean up."""
    cleaned: list[bool] = []

    async def clean_up(session: Session) -> None:
        await until_the_client_leaves(session)
        await asyncio.sleep(4.5)
        cleaned.append(True)

    client = await peer().enter(bare_app(endpoint(supervise(disconnect_grace=5.0), clean_up)))
    client.leave()

    assert await client.end() is None
    assert cleaned == [True]


async def test_a_restarting_server_gives_a_body_less_time(
    supervise: Supervise, peer: NewPeer
) -> None:
    """A disconnect with 1012 is the server's: shutdown_grace counts."""
    supervisor = supervise(disconnect_grace=100.0, shutdown_grace=1.0)
    client = await peer().enter(bare_app(endpoint(supervisor, for_ever)))
    await asyncio.sleep(5)
    started = asyncio.get_running_loop().time()

    client.leave(1012)

    assert isinstance(await client.end(), WebSocketDisconnect)
    assert asyncio.get_running_loop().time() - started < 1.3


@pytest.mark.parametrize(
    ("code", "grace"), [(1001, 20.0), (1012, 3.0)], ids=["the client closes", "the server stops"]
)
async def test_a_socket_that_the_server_cannot_close_is_dropped(
    supervise: Supervise, peer: NewPeer, code: int, grace: float
) -> None:
    """A server waits for ever for a client that reads nothing of what it still holds for it."""
    supervisor = supervise(close_timeout=20.0, shutdown_grace=3.0)
    client = peer(abortable=True)
    await enter(supervisor, client)
    client.unread = 1000

    client.leave(code)
    await client.end()
    await asyncio.sleep(grace - 0.1)
    assert not client.aborted
    await asyncio.sleep(0.3)

    assert client.aborted


async def test_a_socket_that_the_server_can_close_is_left_to_it(
    supervise: Supervise, peer: NewPeer
) -> None:
    """A client that leaves is not cut off while the server answers its close frame."""
    client = peer(abortable=True)
    await enter(supervise(), client)

    client.leave()
    await client.end()
    await asyncio.sleep(60)

    assert not client.aborted


async def test_a_body_with_a_task_group_ends_as_a_disconnect_too(
    supervise: Supervise, peer: NewPeer
) -> None:
    """The cancellation passes through structured concurrency."""

    async def serve(session: Session) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(3600))
            group.create_task(asyncio.sleep(3600))

    client = await peer().enter(bare_app(endpoint(supervise(), serve)))
    client.leave()

    assert isinstance(await client.end(), WebSocketDisconnect)


async def test_an_error_while_the_body_is_cancelled_is_seen(
    supervise: Supervise, peer: NewPeer
) -> None:
    """A bug in the clean-up is no disconnect."""

    async def fail_late(session: Session) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise ZeroDivisionError("bug")

    client = await peer().enter(bare_app(endpoint(supervise(), fail_late)))
    client.leave()

    assert isinstance(await client.end(), ZeroDivisionError)


@pytest.mark.parametrize("steps", range(12))
async def test_cancelling_anywhere_leaves_nothing_behind(
    supervise: Supervise, peer: NewPeer, steps: int
) -> None:
    """Whichever await the cancellation meets: no member, no place, no task, and a close."""
    supervisor = supervise(max_connections=1)
    client = peer()

    async def busy(session: Session) -> None:
        await session.send("x")
        await supervisor.publish("a", "y")
        await session.join("b")
        await session.leave("b")
        await until_the_client_leaves(session)

    client.open(bare_app(endpoint(supervisor, busy, rooms=["a", "c"], user="ann")))
    for _ in range(steps):
        await asyncio.sleep(0)
    client.cancel()

    assert isinstance(await client.end(), asyncio.CancelledError)
    await settle()
    nothing_left(supervisor.nodes)
    assert client.closed is not None or not client.accepted or steps < 3
    await enter(supervisor, peer())


@pytest.mark.parametrize("steps", range(12))
async def test_a_client_that_leaves_at_any_moment_leaves_nothing_behind(
    supervise: Supervise, peer: NewPeer, steps: int
) -> None:
    """Whatever the endpoint is doing meanwhile, it meets a WebSocketDisconnect or its end."""
    supervisor = supervise(max_connections=1)
    client = peer()

    async def busy(session: Session) -> None:
        await session.send("x")
        await supervisor.publish("a", "y")
        await session.join("b")
        await session.leave("b")
        await until_the_client_leaves(session)

    client.open(bare_app(endpoint(supervisor, busy, rooms=["a", "c"], user="ann")))
    for _ in range(steps):
        await asyncio.sleep(0)
    client.leave()

    error = await client.end()
    assert error is None or isinstance(error, WebSocketDisconnect | NotAMember)
    await settle()
    nothing_left(supervisor.nodes)
    await enter(supervisor, peer())


async def test_what_is_remembered_of_a_failure_is_its_text(
    supervise: Supervise, peer: NewPeer
) -> None:
    """The exception itself would keep alive whatever is in the frames that it passed through."""
    supervisor = supervise()
    client = await peer().enter(bare_app(endpoint(supervisor, rooms=["a"])))
    client.failing = OSError("broken pipe")

    await supervisor.publish("a", "lost")
    await client.end()

    (closed,) = supervisor.closed
    assert (closed.reason.text, closed.reason.error) == ("broken pipe", None)


async def test_nothing_refers_to_a_socket_that_has_gone(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Neither the WebSocket nor the Connection stays in memory; the ring keeps facts only."""
    supervisor = supervise()
    references: list[weakref.ref[Any]] = []

    async def serve(websocket: WebSocket) -> None:
        references.append(weakref.ref(websocket))
        async with supervisor.session(websocket, rooms=["a"], user="ann") as session:
            references.append(weakref.ref(session))
            await until_the_client_leaves(session)

    client = await peer().enter(bare_app(serve))
    connection = next(iter(supervisor.members("a")))
    await supervisor.publish("a", "x")
    client.leave()
    await client.result()
    await settle()

    gc.collect()
    assert connection.websocket is None
    assert [reference() for reference in references] == [None, None]
    identity = id(connection)
    del connection
    gc.collect()
    assert not [o for o in gc.get_objects() if isinstance(o, Connection) and id(o) == identity]
    assert len(supervisor.closed) == 1


@pytest.mark.parametrize("how", ["the body raises", "a send raises"])
async def test_an_error_that_is_remembered_keeps_no_socket_in_memory(
    supervise: Supervise, how: str
) -> None:
    """A traceback has frames, and frames have everything: the ring keeps the words."""
    supervisor = supervise()
    references: list[weakref.ref[Any]] = []

    async def serve(websocket: WebSocket) -> None:
        references.append(weakref.ref(websocket))
        async with supervisor.session(websocket, rooms=["a"]) as session:
            references.append(weakref.ref(session))
            await asyncio.sleep(1)
            if how == "the body raises":
                raise ZeroDivisionError("bug")
            await session.receive()

    client = Peer()
    await client.enter(bare_app(serve))
    if how == "a send raises":
        client.failing = KeyError("broken")
        await supervisor.publish("a", "x")
    await client.end()
    del client
    await settle()
    gc.collect()

    (closed,) = supervisor.closed
    assert closed.reason.error is None
    assert any(word in closed.reason.text for word in ("bug", "broken"))
    assert [reference() for reference in references] == [None, None]


# Rooms.


async def test_join_and_leave(supervise: Supervise, peer: NewPeer) -> None:
    """join() says whether that was new; after leave() no publication comes."""
    supervisor = supervise()
    client = peer()
    session = await enter(supervisor, client)

    assert (await session.join("a")).joined
    assert not (await session.join("a")).joined
    assert session.rooms == {"a"}
    await supervisor.publish("a", "1")
    await session.leave("a")
    await supervisor.publish("a", "2")

    assert session.rooms == frozenset()
    assert client.got == ["1"]


async def test_leaving_a_room_that_one_is_not_in_is_refused(
    supervise: Supervise, peer: NewPeer
) -> None:
    """NotAMember names the room."""
    session = await enter(supervise(), peer())

    with pytest.raises(NotAMember, match="'a'"):
        await session.leave("a")


async def test_joining_too_many_rooms_is_refused(supervise: Supervise, peer: NewPeer) -> None:
    """JoinRefused says what is allowed; the session stays where it is."""
    session = await enter(supervise(max_rooms_per_connection=1), peer(), rooms=["a"])

    with pytest.raises(JoinRefused, match="1 rooms"):
        await session.join("b")

    assert session.rooms == {"a"}
    assert session.connected


async def test_joining_a_full_room_is_refused(supervise: Supervise, peer: NewPeer) -> None:
    """JoinRefused; caught, it costs the session nothing."""
    supervisor = supervise(max_connections_per_room=1)
    await enter(supervisor, peer(), rooms=["a"])
    session = await enter(supervisor, peer())

    with pytest.raises(JoinRefused, match="'a'"):
        await session.join("a")

    assert session.rooms == frozenset()
    assert len(supervisor.members("a")) == 1
    assert session.connected


async def test_joining_after_the_client_left_is_a_disconnect(
    supervise: Supervise, peer: NewPeer
) -> None:
    """No ghost joins a room."""
    supervisor = supervise()

    async def join_late(session: Session) -> None:
        await until_the_client_leaves(session)
        await session.join("a")

    client = await peer().enter(bare_app(endpoint(supervisor, join_late)))
    client.leave()

    assert isinstance(await client.end(), WebSocketDisconnect)
    assert supervisor.members("a") == frozenset()


# The endpoint's own WebSocket.


async def test_the_endpoints_own_websocket_stays_usable(
    supervise: Supervise, peer: NewPeer
) -> None:
    """It reads and writes through the session, and closes in order."""
    got: list[str] = []

    async def use_it(session: Session) -> None:
        websocket = session.connection.websocket
        got.append(await websocket.receive_text())
        await websocket.send_text("own")
        await session.send("session's")
        await websocket.close(4005, "own close")

    client = peer()
    client.say("hello")
    await client.open(bare_app(endpoint(supervise(), use_it))).result()

    assert got == ["hello"]
    assert client.got == ["own", "session's"]
    assert client.closed == (4005, "own close")


async def test_the_endpoints_own_sends_after_the_end_are_disconnects(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Not RuntimeErrors of some text, and nothing reaches the server."""

    async def go_on(session: Session) -> None:
        websocket = session.connection.websocket
        await session.close()
        for _ in range(2):
            with pytest.raises(WebSocketDisconnect):
                await websocket.send_text("x")
        with pytest.raises(WebSocketDisconnect):
            await websocket.receive_text()

    await peer().open(bare_app(endpoint(supervise(), go_on))).result()
