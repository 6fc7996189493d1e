"""Sessions over an ASGI server in memory: entering, rooms, and the endpoint's own WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect

from supervisor import (
    InvalidRoomName,
    JoinRefused,
    NotAMember,
    Session,
    SessionEnded,
    UnknownConnection,
    UnsupportedSocket,
)
from tests.supervisor.asgi import ALL_APPS, App, Endpoint, bare_app
from tests.supervisor.conftest import NewPeer, Supervise
from tests.supervisor.endpoints import endpoint, enter, until_the_client_leaves

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


@pytest.mark.parametrize("name", [7, None, b"a", ["a"]])
async def test_a_room_that_is_not_named_by_text_is_a_mistake(
    supervise: Supervise, peer: NewPeer, name: Any
) -> None:
    """No client can bring that about: session() raises InvalidRoomName, and nothing is accepted."""
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
