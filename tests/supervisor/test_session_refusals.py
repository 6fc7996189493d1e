"""Sessions that are refused: by origin, by limits, before the accept and after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect

from actors.testing import settle
from supervisor import CloseCode, ConnectionRefused, InvalidRoomName, JoinRefused, SessionEnded
from tests.supervisor.asgi import ALL_APPS, App, Endpoint, Peer, bare_app, starlette_app
from tests.supervisor.conftest import Events, NewPeer, Supervise, named
from tests.supervisor.endpoints import endpoint, enter


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


async def test_a_user_has_to_be_hashable(supervise: Supervise, peer: NewPeer) -> None:
    """Connections are found by it: the error says so, and the socket is not accepted."""
    error = await peer().open(bare_app(endpoint(supervise(), user=["ann"]))).end()

    assert isinstance(error, TypeError)
    assert str(error) == "user is hashable, such as a str or an int, not ['ann']"


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
    unhashable = peer().open(bare_app(endpoint(supervisor, user=("ann", []))))
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


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "1 to 255 characters, not 0"),
        ("x" * 300, "1 to 255 characters, not 300"),
        ("a\nb", "no control characters"),
        ("a\x00", "no control characters"),
        ("\ud800", "no control characters"),
        ("$everyone", "reserved"),
    ],
)
async def test_a_name_that_no_room_can_have_is_refused(
    supervise: Supervise, peer: NewPeer, events: Events, name: str, says: str
) -> None:
    """A client may have chosen it: 400 with the reason, and no error of the endpoint; it is logged."""
    supervisor = supervise()
    client = peer().open(starlette_app(endpoint(supervisor, rooms=["a", name])))

    assert await client.end() is None
    assert (client.status, client.accepted) == (400, False)
    assert says in client.answer[1]
    (refused,) = named(events, "connection.refused")
    assert (refused["code"], refused["reason"]) == (3501, client.answer[1].strip())
    assert supervisor.members("a") == frozenset()


async def test_a_page_of_another_site_is_not_told_what_a_room_may_be_called(
    supervise: Supervise, peer: NewPeer
) -> None:
    """Its origin is what it is refused for."""
    client = peer(**with_origin("https://evil.example"))
    client.open(bare_app(endpoint(supervise(), rooms=["x" * 300])))

    await client.end()

    assert client.status == 403


@pytest.mark.parametrize("name", ["$" + "\N{GRINNING FACE}" * 200, "\x01" * 40])
async def test_the_reason_of_a_refusal_after_the_accept_fits_a_close_frame(
    supervise: Supervise, peer: NewPeer, name: str
) -> None:
    """3501, with at most 123 bytes of the reason: no server sends more."""
    supervisor = supervise()

    async def serve(websocket: WebSocket) -> None:
        await websocket.accept()
        async with supervisor.session(websocket, rooms=[name]):
            pass

    client = peer().open(bare_app(serve))
    await client.end()

    assert client.closed is not None
    code, reason = client.closed
    assert code == 3501
    assert reason.startswith("a room name" if name[0] != "$" else "room names")
    assert len(reason.encode()) <= 123


@pytest.mark.parametrize("name", ["", "x" * 256, "a\n", "$a"])
async def test_a_later_join_of_such_a_room_raises(
    supervise: Supervise, peer: NewPeer, name: str
) -> None:
    """The endpoint can catch InvalidRoomName and answer; the session goes on."""
    supervisor = supervise()
    session = await enter(supervisor, peer())

    with pytest.raises(InvalidRoomName):
        await session.join(name)
    with pytest.raises(InvalidRoomName):
        await supervisor.join(session, name)

    assert await session.join("a")


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
