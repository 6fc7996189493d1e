"""How sessions end with their clients, when the body does something else; and that nothing is left of them."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect

from actors.testing import settle
from supervisor import Connection, NotAMember, Session, SessionEnded
from tests.supervisor.asgi import ALL_APPS, App, Endpoint, Peer, bare_app
from tests.supervisor.conftest import NewPeer, Supervise, nothing_left
from tests.supervisor.endpoints import endpoint, enter, for_ever, until_the_client_leaves


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
