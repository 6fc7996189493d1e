"""
Every fault of hand-written managers: each is shown on a naive one, and absent from ours.

Each scenario says what an application needs. It runs twice: against a manager as people write
it (:mod:`tests.supervisor.naive`), where it has to fail in the way that is named, and against
:class:`supervisor.ConnectionManager`, where it has to pass, with a server that finds no fault.

The numbers are those of the faults that were found in the application that this project comes
from. Three more of them (10 to 12: a blocking call on the event loop and a monitor per client, a
state that a poll loop does not know, a metric that nobody exports) are the application's own: no
manager can mend them. Of the ninth, the same holds for a poll loop that ignores the ``False`` of its
sends: it goes on until somebody cancels it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect

from actors.testing import settle
from supervisor import ConnectionManager
from tests.supervisor.asgi import ALL_APPS, App, Endpoint, Peer, bare_app
from tests.supervisor.conftest import nothing_left
from tests.supervisor.naive import NaiveConnectionManager

Manager = Any  # the two share no type, on purpose


class Stage:
    """A manager, the peers of a scenario, and what became of their endpoints."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.peers: list[Peer] = []

    async def connect(self, room: str = "a", user: str | None = None, **settings: Any) -> Peer:
        """Connect a client to an endpoint that holds it in ``room`` until it leaves."""

        async def serve(websocket: WebSocket) -> None:
            await self.manager.connect(websocket, room, user)
            try:
                while True:
                    await websocket.receive_text()
            except WebSocketDisconnect:
                self.manager.disconnect(websocket, room, user)

        return await self.open(serve, **settings)

    async def open(
        self,
        endpoint: Endpoint,
        *,
        app_of: Callable[[Endpoint], App] = bare_app,
        **settings: Any,
    ) -> Peer:
        """Connect a client to ``endpoint``; once that waits, set what is given of the client."""
        peer = Peer()
        self.peers.append(peer)
        await peer.enter(app_of(endpoint))
        for name, value in settings.items():
            setattr(peer, name, value)
        return peer

    async def end(self) -> None:
        """Have everybody leave, and wait for the endpoints."""
        for peer in self.peers:
            peer.resume()
            peer.vanish()
            if peer.running:
                await peer.end()


Scenario = Callable[[Stage], Awaitable[None]]


async def shown(scenario: Scenario, fails_with: type[BaseException], match: str) -> None:
    """Run ``scenario`` on the naive manager, which fails as it is said, and on ours, which passes."""
    naive = Stage(NaiveConnectionManager())
    with pytest.raises(fails_with, match=match):
        await scenario(naive)
    await naive.end()

    gauge = {"a": 0}

    def count(by: int) -> Callable[[object, Any], None]:
        def hook(_: object, room: Any) -> None:
            gauge[room] = gauge.get(room, 0) + by

        return hook

    ours = Stage(ConnectionManager(on_join=count(1), on_leave=count(-1)))
    await scenario(ours)
    await ours.end()
    await settle()
    assert [fault for peer in ours.peers for fault in peer.faults] == []
    assert set(gauge.values()) == {0}, "a gauge fed by the hooks is stuck"
    assert ours.manager.active_connections == {}
    assert ours.manager.user_connections == {}
    nodes = ours.manager.supervisor.nodes
    await ours.manager.supervisor.aclose()
    nothing_left(nodes)


# The mechanism: a send fails, and the flag that changes is not the one that people look at.


async def test_an_endpoint_whose_client_leaves_during_a_send_meets_a_disconnect() -> None:
    """Not 'WebSocket is not connected. Need to call "accept" first.' from its next receive."""

    async def scenario(stage: Stage) -> None:
        async def serve(websocket: WebSocket) -> None:
            await stage.manager.connect(websocket, "a")
            try:
                await asyncio.sleep(1)  # meanwhile the client leaves
                await stage.manager.send_personal_message("tick", websocket)
                await websocket.receive_text()
            except WebSocketDisconnect:
                stage.manager.disconnect(websocket, "a")

        client = await stage.open(serve)
        client.leave()
        await client.result()

    await shown(scenario, RuntimeError, "not connected")


async def test_an_endpoint_that_goes_on_sending_meets_a_disconnect_each_time() -> None:
    """Not 'Cannot call "send" once a close message has been sent.' from the second send on."""

    async def scenario(stage: Stage) -> None:
        async def serve(websocket: WebSocket) -> None:
            await stage.manager.connect(websocket, "a")
            await asyncio.sleep(1)  # meanwhile the client leaves
            for _ in range(3):
                try:
                    await websocket.send_text("tick")
                except WebSocketDisconnect:
                    pass
            stage.manager.disconnect(websocket, "a")

        client = await stage.open(serve)
        client.leave()
        await client.result()

    await shown(scenario, RuntimeError, "once a close message has been sent|close")


# 1: the last member fails or leaves while it is sent to.


async def test_1_a_room_whose_last_member_fails_during_the_send() -> None:
    """send_to_room does not raise KeyError, and the room is gone."""

    async def scenario(stage: Stage) -> None:
        await stage.connect("a", failing=OSError("reset"))

        await stage.manager.send_to_room("x", "a")

        assert "a" not in stage.manager.active_connections

    await shown(scenario, KeyError, "a")


async def test_1_a_room_whose_last_member_leaves_during_the_send() -> None:
    """The same when it leaves properly while its send is under way."""

    async def scenario(stage: Stage) -> None:
        client = await stage.connect("a", stalled=True)
        sending = asyncio.ensure_future(stage.manager.send_to_room("x", "a"))
        await settle()

        client.leave()

        await sending

    await shown(scenario, KeyError, "a")


async def test_1_a_user_whose_last_socket_fails_during_the_send() -> None:
    """send_to_user does not raise KeyError either, and the user is gone."""

    async def scenario(stage: Stage) -> None:
        await stage.connect("a", "ann", failing=OSError("reset"))

        await stage.manager.send_to_user("x", "ann")

        assert "ann" not in stage.manager.user_connections

    await shown(scenario, KeyError, "ann")


# 2: the rooms change while a broadcast goes through them.


async def test_2_somebody_joins_during_a_broadcast() -> None:
    """It does not stop with 'dictionary changed size during iteration'."""

    async def scenario(stage: Stage) -> None:
        first = await stage.connect("a", stalled=True)
        second = await stage.connect("b")
        broadcasting = asyncio.ensure_future(stage.manager.broadcast("x"))
        await settle()

        await stage.connect("c")
        first.resume()
        await broadcasting

        await settle()
        assert first.got == second.got == ["x"]

    await shown(scenario, RuntimeError, "changed size during iteration")


async def test_2_a_room_of_which_the_only_member_is_dead_during_a_broadcast() -> None:
    """The other rooms get the message."""

    async def scenario(stage: Stage) -> None:
        await stage.connect("a", failing=OSError("reset"))
        others = [await stage.connect(room) for room in ("b", "c")]

        await stage.manager.broadcast("x")

        await settle()
        assert [other.got for other in others] == [["x"], ["x"]]

    await shown(scenario, RuntimeError, "changed size during iteration")


# 3: decisions by text and by client_state.

UNEXPECTED = (
    "Unexpected ASGI message 'websocket.send', after sending 'websocket.close' or response "
    "already completed."
)


@pytest.mark.parametrize("text", [UNEXPECTED, "another server's words", ""])
async def test_3_a_send_that_fails_in_unknown_words(text: str) -> None:
    """The socket does not stay registered, whatever the server says."""

    async def scenario(stage: Stage) -> None:
        client = await stage.connect("a", failing=RuntimeError(text))
        (websocket,) = stage.manager.active_connections["a"]

        assert await stage.manager.send_personal_message("x", websocket) is False

        assert "a" not in stage.manager.active_connections
        assert client.got == []

    await shown(scenario, AssertionError, "'a' not in")


async def test_3_a_socket_of_which_the_client_state_says_disconnected() -> None:
    """It does not stay registered, and is not written to."""

    async def scenario(stage: Stage) -> None:
        async def serve(websocket: WebSocket) -> None:
            await stage.manager.connect(websocket, "a")
            await websocket.receive()  # the raw event: Starlette sets client_state, nothing raises
            await asyncio.sleep(3600)

        client = await stage.open(serve)
        client.leave()
        await settle()

        await stage.manager.send_to_room("x", "a")

        assert "a" not in stage.manager.active_connections
        client.cancel()
        await client.end()

    await shown(scenario, AssertionError, "'a' not in")


# 4: what the endpoint does not catch.


@ALL_APPS
@pytest.mark.parametrize("message", ["[1]", b"\x00"], ids=["no object", "binary"])
async def test_4_an_endpoint_that_fails_of_a_message(
    app_of: Callable[[Endpoint], App], message: str | bytes
) -> None:
    """One message of a stranger makes no permanent ghost."""

    async def scenario(stage: Stage) -> None:
        async def serve(websocket: WebSocket) -> None:
            await stage.manager.connect(websocket, "a", "ann")
            try:
                while True:
                    data = json.loads(await websocket.receive_text())
                    await stage.manager.send_to_room(data.get("text"), "a")
            except WebSocketDisconnect:
                stage.manager.disconnect(websocket, "a", "ann")

        client = await stage.open(serve, app_of=app_of)
        client.say(message)
        assert isinstance(await client.end(), AttributeError | KeyError)  # it is not swallowed

        assert "a" not in stage.manager.active_connections
        assert "ann" not in stage.manager.user_connections

    await shown(scenario, AssertionError, "'a' not in")


# 5: an early return.


@ALL_APPS
async def test_5_an_endpoint_that_returns_after_a_failed_greeting(
    app_of: Callable[[Endpoint], App],
) -> None:
    """It need not call disconnect."""

    async def scenario(stage: Stage) -> None:
        async def serve(websocket: WebSocket) -> None:
            await stage.manager.connect(websocket, "a")
            await asyncio.sleep(1)  # meanwhile the socket breaks
            if not await stage.manager.send_personal_message("welcome", websocket):
                return

        client = await stage.open(serve, app_of=app_of, failing=RuntimeError(UNEXPECTED))
        await client.end()

        assert "a" not in stage.manager.active_connections

    await shown(scenario, AssertionError, "'a' not in")


# 6: an end without a close.


@ALL_APPS
@pytest.mark.parametrize("error", [None, ValueError("bad id")], ids=["returns", "catches"])
async def test_6_an_endpoint_that_ends_without_close(
    app_of: Callable[[Endpoint], App], error: Exception | None
) -> None:
    """Its client is closed properly, and not left connected to nobody."""

    async def scenario(stage: Stage) -> None:
        async def serve(websocket: WebSocket) -> None:
            await stage.manager.connect(websocket, "a")
            try:
                if error is not None:
                    raise error
            except ValueError:
                return

        client = await stage.open(serve, app_of=app_of)
        await client.result()
        await settle()

        assert client.closed == (1000, "")

    await shown(scenario, AssertionError, "None == ")


@ALL_APPS
async def test_6_an_endpoint_that_raises(app_of: Callable[[Endpoint], App]) -> None:
    """Its client sees 1011."""

    async def scenario(stage: Stage) -> None:
        async def serve(websocket: WebSocket) -> None:
            await stage.manager.connect(websocket, "a")
            raise ZeroDivisionError("bug")

        client = await stage.open(serve, app_of=app_of)
        assert isinstance(await client.end(), ZeroDivisionError)
        await settle()

        assert client.closed == (1011, "")

    await shown(scenario, AssertionError, "None == ")


# 7: one after the other.


async def test_7_members_that_need_different_times() -> None:
    """A fan-out takes as long as the slowest, not as long as all together."""

    async def scenario(stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        clients = [await stage.connect("a", delay=delay) for delay in (1.0, *[0.2] * 5)]
        started = loop.time()

        await stage.manager.send_to_room("x", "a")
        while not all(client.got for client in clients):  # noqa: ASYNC110 - time is virtual
            await asyncio.sleep(0.01)

        assert loop.time() - started < 1.1

    await shown(scenario, AssertionError, "< 1.1")


# 8: one that does not read.


async def test_8_a_client_that_stops_reading() -> None:
    """A broadcast returns, everybody else has it, and the client is given up."""

    async def scenario(stage: Stage) -> None:
        stalled = await stage.connect("a", stalled=True)
        others = [await stage.connect(room) for room in ("a", "b", "c")]

        async with asyncio.timeout(500):
            for number in range(10):
                await stage.manager.broadcast(str(number))

        assert [other.got for other in others] == [[str(n) for n in range(10)]] * 3
        await asyncio.sleep(15)  # send_timeout, and a little
        assert len(stage.manager.active_connections["a"]) == 1
        assert stalled.got == []

    await shown(scenario, TimeoutError, "^$")


# 9: two tasks, one socket.


async def test_9_two_tasks_that_send_to_one_socket() -> None:
    """They never write at once, and the messages of each keep their order."""

    async def scenario(stage: Stage) -> None:
        client = await stage.connect("a", delay=0.1)
        (websocket,) = stage.manager.active_connections["a"]

        async def poll(name: str) -> None:
            for number in range(5):
                await stage.manager.send_personal_message(f"{name}{number}", websocket)

        await asyncio.gather(poll("x"), poll("y"))
        await asyncio.sleep(2)

        assert client.faults == []
        assert sorted(client.got) == [f"{name}{n}" for name in "xy" for n in range(5)]
        assert [message for message in client.got if "x" in str(message)] == [
            f"x{number}" for number in range(5)
        ]

    await shown(scenario, AssertionError, "two writers")


async def test_9_an_endpoint_that_is_cancelled() -> None:
    """A shutdown leaves nobody registered."""

    async def scenario(stage: Stage) -> None:
        client = await stage.connect("a", "ann")

        client.cancel()
        assert isinstance(await client.end(), asyncio.CancelledError)
        await settle()

        assert "a" not in stage.manager.active_connections
        assert "ann" not in stage.manager.user_connections
        assert client.closed is not None
        assert client.closed[0] == 1012

    await shown(scenario, AssertionError, "'a' not in")
