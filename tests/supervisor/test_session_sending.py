"""What a session sends, how long that waits, and what is refused."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import json
import uuid

import pytest
from pydantic import BaseModel
from starlette.websockets import WebSocketDisconnect

from actors.testing import settle
from supervisor import CloseCode, Ending, MessageTooLarge, Session, UnserialisableData
from tests.supervisor.asgi import bare_app
from tests.supervisor.conftest import NewPeer, Supervise
from tests.supervisor.endpoints import endpoint, enter


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
