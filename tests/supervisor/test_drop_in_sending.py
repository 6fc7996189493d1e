"""The drop-in faces with every kind of stub socket: who gets a message, and what becomes of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from pydantic import BaseModel
from starlette.websockets import WebSocketDisconnect, WebSocketState

from actors.testing import settle
from supervisor import (
    ConnectionRefused,
    Drained,
    DropReason,
    FlatConnectionManager,
    MessageTooLarge,
    Receipt,
    UnserialisableData,
)
from tests.supervisor.conftest import Manage
from tests.supervisor.faces import EVERY_FACE
from tests.supervisor.stubs import EVERY_STUB, BytesOnly, JsonOnly, Raising, Slow, TextOnly, got


@EVERY_STUB
@EVERY_FACE
async def test_whatever_can_send_gets_its_message_before_the_call_returns(
    manage: Manage, face: Callable[..., Any], stub_of: Callable[[], Any]
) -> None:
    """Users' tests look right after the await."""
    manager = manage(face)
    stub = stub_of()
    await manager.connect(stub)

    assert await manager.send_personal_message("1", stub) is True
    assert got(stub) == ["1"]
    receipt = await manager.broadcast("2")
    assert got(stub) == ["1", "2"]
    assert receipt == Receipt(1)


@EVERY_STUB
async def test_rooms_and_users_of_every_kind_of_stub(
    manage: Manage, stub_of: Callable[[], Any]
) -> None:
    """Also those that do not hash, or are equal to each other."""
    manager = manage()
    stubs = [stub_of() for _ in range(3)]
    for stub in stubs:
        await manager.connect(stub, "a", "ann")

    assert await manager.send_to_room("1", "a") == Receipt(3)
    assert await manager.send_to_user("2", "ann", exclude=stubs[0]) == Receipt(2)
    manager.disconnect(stubs[1], "a")
    assert await manager.broadcast("3") == Receipt(2)

    assert [got(stub) for stub in stubs] == [["1", "3"], ["1", "2"], ["1", "2", "3"]]
    assert stubs[0] in manager.active_connections["a"]
    assert stubs[1] not in manager.active_connections["a"]


class Model(BaseModel):
    """A pydantic model."""

    name: str


@pytest.mark.parametrize(
    ("data", "as_json", "as_text"),
    [
        ({"a": 1}, {"a": 1}, '{"a":1}'),
        ([1, "ü"], [1, "ü"], '[1,"ü"]'),
        (Model(name="x"), {"name": "x"}, '{"name":"x"}'),
        ("text", "text", "text"),
        (7, 7, "7"),
    ],
)
async def test_data_goes_by_the_method_that_a_stub_has(
    manage: Manage, data: object, as_json: object, as_text: str
) -> None:
    """send_json gets data, send_text gets text; one that has both gets each by its own."""
    manager = manage()
    stubs = [JsonOnly(), TextOnly(), AsyncMock()]
    for stub in stubs:
        await manager.connect(stub, "a")

    await manager.send_to_room(data, "a")

    assert got(stubs[0]) == [as_json]
    assert got(stubs[1]) == [as_text]
    if isinstance(data, str):
        stubs[2].send_text.assert_awaited_once_with(data)  # type: ignore[attr-defined]
    else:
        stubs[2].send_json.assert_awaited_once_with(as_json)  # type: ignore[attr-defined]


async def test_bytes_go_by_send_bytes(manage: Manage) -> None:
    """As they are."""
    manager = manage()
    stubs = [BytesOnly(), AsyncMock()]
    for stub in stubs:
        await manager.connect(stub, "a")

    await manager.send_to_room(b"\x00", "a")

    assert [got(stub) for stub in stubs] == [[b"\x00"], [b"\x00"]]


async def test_a_stub_that_cannot_take_this_kind_is_a_failed_recipient(manage: Manage) -> None:
    """Counted, and nobody else's trouble."""
    manager = manage()
    await manager.connect(BytesOnly(), "a")
    text = TextOnly()
    await manager.connect(text, "a")

    receipt = await manager.send_to_room("x", "a")

    assert receipt == Receipt(1, {DropReason.SEND_FAILED: 1})
    assert text.sent == ["x"]


@EVERY_FACE
async def test_a_slow_stub_holds_nobody_up(manage: Manage, face: Callable[..., Any]) -> None:
    """A fan-out waits 50 ms for sockets at most; the slow one gets all, in order, later."""
    manager = manage(face, send_timeout=60.0)
    slow, quick = Slow(10), TextOnly()
    for stub in (slow, quick):
        await manager.connect(stub)
    loop = asyncio.get_running_loop()
    started = loop.time()

    receipts = [await manager.broadcast(str(number)) for number in range(3)]

    assert loop.time() - started <= 3 * 0.05 + 0.001
    assert quick.sent == ["0", "1", "2"]
    assert receipts == [Receipt(2)] * 3
    assert slow.sent == []
    assert await manager.send_personal_message("3", slow) is True
    await asyncio.sleep(41)
    assert slow.sent == ["0", "1", "2", "3"]


async def test_a_client_that_is_behind_is_not_waited_for(manage: Manage) -> None:
    """It costs 50 ms once or twice, and not each fan-out until it is given up."""
    manager = manage(send_timeout=60.0)
    for stub in (Slow(3600), TextOnly()):
        await manager.connect(stub, "a")
    loop = asyncio.get_running_loop()
    await manager.send_to_room("0", "a")
    started = loop.time()

    for number in range(100):
        await manager.send_to_room(str(number), "a")

    assert loop.time() - started < 0.1


async def test_a_stub_that_takes_a_moment_has_its_message_in_time(manage: Manage) -> None:
    """Up to flush_timeout, all together and not one after the other."""
    manager = manage()
    stubs = [Slow(0.04) for _ in range(10)]
    for stub in stubs:
        await manager.connect(stub, "a")

    await manager.send_to_room("x", "a")

    assert all(stub.sent == ["x"] for stub in stubs)


async def test_a_stub_that_never_takes_anything_is_given_up(manage: Manage) -> None:
    """After send_timeout; then it is gone, and its sends are false."""
    manager = manage(send_timeout=5.0)
    stuck = Slow(3600)
    await manager.connect(stuck, "a")

    await manager.send_to_room("x", "a")
    await asyncio.sleep(5.2)

    assert manager.active_connections == {}
    assert await manager.send_personal_message("y", stuck) is False


ERRORS = [
    RuntimeError('Cannot call "send" once a close message has been sent.'),
    RuntimeError("Unexpected ASGI message"),
    WebSocketDisconnect(1001),
    ConnectionResetError(),
    KeyError("whatever"),
]


@EVERY_FACE
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_a_stub_that_raises_is_gone_right_after_the_await(
    manage: Manage, face: Callable[..., Any], error: Exception
) -> None:
    """No fan-out raises for it, and the others have their message."""
    manager = manage(face)
    dead, alive = Raising(error), TextOnly()
    for stub in (dead, alive):
        await manager.connect(stub)

    receipt = await manager.broadcast("x")

    assert manager.supervisor.find(dead) is None
    if face is FlatConnectionManager:
        assert manager.active_connections == [alive]
    assert alive.sent == ["x"]
    assert receipt == Receipt(1, {DropReason.SEND_FAILED: 1})
    assert await manager.send_personal_message("y", dead) is False


async def test_a_plain_function_that_raises_is_gone_too(manage: Manage) -> None:
    """And so is a mock with a side effect."""
    manager = manage()
    mock = MagicMock()
    mock.send_text.side_effect = RuntimeError("gone")
    await manager.connect(mock, "a", "ann")

    assert not await manager.send_to_user("x", "ann")

    assert manager.active_connections == {}


async def test_the_last_member_that_raises_takes_the_room_along(manage: Manage) -> None:
    """An empty room, and an empty user, are absent."""
    manager = manage()
    await manager.connect(Raising(RuntimeError("gone")), "a", "ann")

    receipt = await manager.send_to_room("x", "a")

    assert not receipt
    assert receipt.recipients == 1
    assert "a" not in manager.active_connections
    assert "ann" not in manager.user_connections


@pytest.mark.parametrize("state", [WebSocketState.DISCONNECTED, "DISCONNECTED"])
@pytest.mark.parametrize("attribute", ["client_state", "application_state"])
async def test_a_stub_that_says_it_is_disconnected_is_not_written_to(
    manage: Manage, attribute: str, state: object
) -> None:
    """Whichever of the two flags says so."""
    manager = manage()
    stub = TextOnly()
    await manager.connect(stub, "a")
    setattr(stub, attribute, state)

    assert not await manager.send_to_room("x", "a")

    assert stub.sent == []
    assert manager.active_connections == {}


async def test_receipts_count_who_took_it_and_why_not(manage: Manage) -> None:
    """They are true when anybody did."""
    manager = manage(mailbox_messages=1, overflow="drop_newest", send_timeout=60.0)
    slow = Slow(10)
    for stub in (TextOnly(), slow, Raising(RuntimeError("gone"))):
        await manager.connect(stub, "a")

    receipts = [await manager.send_to_room(str(number), "a") for number in range(4)]

    assert receipts == [
        Receipt(2, {DropReason.SEND_FAILED: 1}),
        Receipt(2),
        Receipt(1, {DropReason.NEWEST: 1}),
        Receipt(1, {DropReason.NEWEST: 1}),
    ]
    assert all(receipts)
    assert not await manager.send_to_room("x", "nobody")
    await asyncio.sleep(21)
    assert slow.sent == ["0", "1"]


async def test_one_that_drops_a_message_and_then_fails_is_counted_once(manage: Manage) -> None:
    """The counts of a receipt add up to its recipients."""
    manager = manage(mailbox_messages=1, overflow="drop_newest", flush_timeout=60.0)
    failing = Raising(RuntimeError("gone"))

    async def fail_later(message: str) -> None:
        await asyncio.sleep(1)
        raise RuntimeError("gone")

    failing.send_text = fail_later  # type: ignore[method-assign]
    await manager.connect(failing, "a")

    first = asyncio.create_task(manager.send_to_room("0", "a"))
    await settle()  # it is on its way; the others would travel with it
    others = await asyncio.gather(*(manager.send_to_room(str(n), "a") for n in range(1, 3)))
    receipts = [await first, *others]

    assert receipts == [
        Receipt(0, {DropReason.SEND_FAILED: 1}),
        Receipt(0, {DropReason.SEND_FAILED: 1}),
        Receipt(0, {DropReason.NEWEST: 1}),
    ]


@EVERY_FACE
async def test_exclude_leaves_out(manage: Manage, face: Callable[..., Any]) -> None:
    """A socket, or several; also those that nobody knows."""
    manager = manage(face)
    stubs = [TextOnly() for _ in range(3)]
    for stub in stubs:
        await manager.connect(stub)

    await manager.broadcast("1", exclude=stubs[0])
    await manager.broadcast("2", exclude=stubs[:2])
    await manager.broadcast("3", exclude={stubs[1], TextOnly()})
    await manager.broadcast("4", exclude=TextOnly())

    assert [stub.sent for stub in stubs] == [["3", "4"], ["1", "4"], ["1", "2", "3", "4"]]


async def test_each_socket_gets_its_messages_in_order(manage: Manage) -> None:
    """Personal, room, user and broadcast, from many tasks at once."""
    manager = manage(send_timeout=60.0)
    stubs = [TextOnly(), Slow(0.01)]
    for stub in stubs:
        await manager.connect(stub, "a", "ann")

    async def talk(name: str) -> None:
        for number in range(5):
            await manager.send_to_room(f"{name}{number}-room", "a")
            await manager.send_to_user(f"{name}{number}-user", "ann")
            await manager.broadcast(f"{name}{number}-all")

    await asyncio.gather(talk("x"), talk("y"))
    await asyncio.sleep(1)

    for stub in stubs:
        for name in ("x", "y"):
            assert [message for message in stub.sent if message[0] == name] == [
                f"{name}{number}-{kind}" for number in range(5) for kind in ("room", "user", "all")
            ]


@EVERY_FACE
async def test_what_cannot_be_sent_is_refused_by_name(
    manage: Manage, face: Callable[..., Any]
) -> None:
    """The data's fault is the caller's, and nobody's socket suffers."""
    manager = manage(face, mailbox_bytes=10)
    stub = TextOnly()
    await manager.connect(stub)

    for send in (manager.broadcast, lambda data: manager.send_personal_message(data, stub)):
        with pytest.raises(UnserialisableData):
            await send(object())
        with pytest.raises(MessageTooLarge):
            await send("x" * 11)

    assert await manager.send_personal_message("x", stub)


async def test_after_the_end_connects_are_refused_and_fan_outs_named(manage: Manage) -> None:
    """A personal message is false: there is nobody."""
    manager = manage()
    stub = TextOnly()
    await manager.connect(stub, "a")
    await manager.supervisor.aclose()

    with pytest.raises(Drained):
        await manager.broadcast("x")
    with pytest.raises(ConnectionRefused):
        await manager.connect(TextOnly(), "a")
    assert await manager.send_personal_message("x", stub) is False
    manager.disconnect(stub)
    assert manager.active_connections == {}


async def test_the_supervisor_behind_it_does_all_the_rest(manage: Manage) -> None:
    """Kicks, statistics, members, the ring."""
    manager = manage()
    stub = AsyncMock()
    await manager.connect(stub, "a", "ann")

    (connection,) = manager.supervisor.members("a")
    assert connection.websocket is stub
    assert await manager.supervisor.kick("ann", 4000) == 1
    await settle()

    stub.close.assert_awaited_once_with(4000)
    assert manager.supervisor.closed[0].reason.code == 4000


async def test_a_close_that_takes_no_code_is_called_without(manage: Manage) -> None:
    """Stubs' close() often takes nothing."""
    manager = manage()
    stub = TextOnly()
    closed: list[bool] = []

    async def close() -> None:
        closed.append(True)

    stub.close = close  # type: ignore[attr-defined]
    await manager.connect(stub, "a")

    await manager.supervisor.kick(stub)
    await settle()

    assert closed == [True]
