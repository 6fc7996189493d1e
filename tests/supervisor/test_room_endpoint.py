"""The endpoint for clients that only listen, over an ASGI server in memory."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.websockets import WebSocket

from actors.testing import settle
from supervisor import CloseCode, ConnectionRefused, InvalidRoomName
from supervisor.integrations.asgi import RoomEndpoint
from tests.supervisor.conftest import NewPeer, Supervise, nothing_left


async def test_a_client_listens_in_its_rooms(supervise: Supervise, peer: NewPeer) -> None:
    """It gets what is published there, and nothing of it stays when it goes."""
    supervisor = supervise()
    client = await peer().enter(RoomEndpoint(supervisor, rooms=["a", "b"]))

    await supervisor.publish("a", "one")
    await supervisor.publish("b", "two")
    await supervisor.publish("c", "three")
    client.say("hello?")
    client.leave()
    await client.result()

    assert client.got == ["one", "two"]
    nothing_left(list(supervisor.nodes))


async def test_rooms_and_user_come_from_the_request(supervise: Supervise, peer: NewPeer) -> None:
    """Both may be functions of the WebSocket, coroutine functions too."""
    supervisor = supervise()

    async def rooms(websocket: WebSocket) -> list[str]:
        return [websocket.headers["x-room"]]

    endpoint = RoomEndpoint(
        supervisor, rooms=rooms, user=lambda websocket: websocket.headers["x-user"]
    )
    client = await peer(headers=[("x-room", "a"), ("x-user", "ann")]).enter(endpoint)

    (member,) = supervisor.members("a")
    assert member.user == "ann"
    client.leave()
    await client.result()


async def test_a_refusal_is_told(supervise: Supervise, peer: NewPeer) -> None:
    """What the function refuses is told by HTTP status, and is no error of the endpoint."""

    def rooms(websocket: WebSocket) -> list[str]:
        raise ConnectionRefused(CloseCode.CONNECTION_LIMIT, "not today", 429)

    client = peer().open(RoomEndpoint(supervise(), rooms=rooms))
    await client.result()

    assert client.status == 429


async def test_a_limit_refuses_a_listener(supervise: Supervise, peer: NewPeer) -> None:
    """Limits hold for listeners as for sessions."""
    supervisor = supervise(max_connections=1)
    endpoint = RoomEndpoint(supervisor, rooms=["a"])
    first = await peer().enter(endpoint)
    second = peer().open(endpoint)
    await second.result()

    assert second.status == 503
    first.leave()
    await first.result()


async def test_a_name_that_no_room_can_have_refuses_a_listener(
    supervise: Supervise, peer: NewPeer
) -> None:
    """A client may have chosen it; a room that is not named by text is an error of the endpoint."""
    supervisor = supervise()

    client = peer().open(RoomEndpoint(supervisor, rooms=lambda _: ["x" * 300]))
    await client.result()
    mistaken = peer().open(RoomEndpoint(supervisor, rooms=[7]))  # type: ignore[list-item]
    with pytest.raises(InvalidRoomName):
        await mistaken.result()

    assert client.status == 400


async def test_a_client_that_is_gone_before_it_is_in_is_no_error(
    supervise: Supervise, peer: NewPeer
) -> None:
    """An endpoint whose client has left meanwhile just ends."""
    client = peer()
    client.leave()
    client.open(RoomEndpoint(supervise(), rooms=["a"]))

    await client.result()


async def test_an_unexpected_error_is_the_endpoints(supervise: Supervise, peer: NewPeer) -> None:
    """What the application's function raises is for the server to report."""

    def rooms(websocket: WebSocket) -> list[str]:
        raise LookupError("no database")

    client = peer().open(RoomEndpoint(supervise(), rooms=rooms))

    assert isinstance(await client.end(), LookupError)


async def test_http_is_told_to_upgrade(supervise: Supervise) -> None:
    """A browser that opens the address is told what it is for."""
    events: list[Any] = []

    async def send(event: Any) -> None:
        events.append(event)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    await RoomEndpoint(supervise(), rooms=["a"])(scope, receive, send)

    assert events[0]["status"] == 426
    assert (b"upgrade", b"websocket") in events[0]["headers"]


def test_a_room_is_not_taken_for_a_sequence() -> None:
    """``rooms="a"`` is a mistake that would join the rooms of its letters."""
    with pytest.raises(TypeError, match=r"rooms=\['lobby'\]"):
        RoomEndpoint(None, rooms="lobby")  # type: ignore[arg-type]


async def test_what_is_published_to_a_listener_that_stalls_waits(
    supervise: Supervise, peer: NewPeer
) -> None:
    """A listener has a mailbox like everybody else."""
    supervisor = supervise()
    client = await peer().enter(RoomEndpoint(supervisor, rooms=["a"]))
    client.stalled = True
    for number in range(3):
        supervisor.publish_nowait("a", f"{number}")
    await settle()
    assert client.got == []

    client.resume()
    await settle()

    assert client.got == ["0", "1", "2"]
    client.leave()
    await client.result()
