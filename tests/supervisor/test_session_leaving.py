"""How sessions end by their endpoint: codes, exceptions, and what is flushed before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from starlette.websockets import WebSocketDisconnect

from actors.testing import settle
from supervisor import ConnectionRefused, Ending, Session
from tests.supervisor.asgi import ALL_APPS, App, Endpoint, bare_app
from tests.supervisor.conftest import Events, NewPeer, Supervise, named
from tests.supervisor.endpoints import endpoint, enter, until_the_client_leaves


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
