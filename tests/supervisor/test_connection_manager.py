"""The drop-in faces with stub sockets: members, views, receipts, hooks, and every kind of stub."""

from __future__ import annotations

import asyncio
import enum
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from pydantic import BaseModel
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from actors.testing import settle
from supervisor import (
    Connection,
    ConnectionManager,
    ConnectionRefused,
    Drained,
    DropReason,
    FlatConnectionManager,
    JoinRefused,
    MessageTooLarge,
    Receipt,
    Supervisor,
    TargetFirstConnectionManager,
    UnserialisableData,
    UnsupportedSocket,
)
from tests.supervisor.asgi import App, Endpoint, bare_app, fastapi_app, starlette_app
from tests.supervisor.conftest import Events, Manage, NewPeer, named
from tests.supervisor.loops import OtherLoop
from tests.supervisor.stubs import (
    WORKING,
    BytesOnly,
    JsonOnly,
    MockWebSocket,
    NoSender,
    Raising,
    Slow,
    TextOnly,
    got,
)

EVERY_FACE = pytest.mark.parametrize(
    "face", [ConnectionManager, TargetFirstConnectionManager, FlatConnectionManager]
)
ROOM_FACES = pytest.mark.parametrize("face", [ConnectionManager, TargetFirstConnectionManager])
EVERY_STUB = pytest.mark.parametrize(
    "stub_of", WORKING, ids=[getattr(kind, "__name__", "") for kind in WORKING]
)
ALL_APPS = pytest.mark.parametrize(
    "app_of", [bare_app, starlette_app, fastapi_app], ids=["bare", "starlette", "fastapi"]
)


# What the tests of the hand-written manager say, word for word.


async def test_the_hand_written_managers_tests_pass_as_written(manage: Manage) -> None:
    """The three of them, on a loop."""
    manager = manage()

    websocket = MockWebSocket(state="DISCONNECTED")
    assert await manager.send_personal_message("test", websocket) == False  # noqa: E712 - as it was
    websocket = MockWebSocket(exception="close message has been sent")
    assert await manager.send_personal_message("test", websocket) == False  # noqa: E712 - as it was
    manager.active_connections["room1"] = {websocket}
    manager._cleanup_disconnected_websocket(websocket)
    assert "room1" not in manager.active_connections


def test_the_cleanup_test_passes_without_a_loop() -> None:
    """The third also in plain synchronous code."""
    manager = ConnectionManager()
    websocket = MockWebSocket()

    manager.active_connections["room1"] = {websocket}
    assert "room1" in manager.active_connections
    assert websocket in manager.active_connections["room1"]
    manager._cleanup_disconnected_websocket(websocket)

    assert "room1" not in manager.active_connections


@pytest.mark.parametrize(
    "websocket",
    [MockWebSocket(state="DISCONNECTED"), MockWebSocket(exception="close message has been sent")],
    ids=["state", "exception"],
)
async def test_a_connected_socket_that_is_dead_is_false_too(
    manage: Manage, websocket: MockWebSocket
) -> None:
    """And it is gone from all rooms after the send."""
    manager = manage()
    await manager.connect(websocket, "room1", "ann")

    assert await manager.send_personal_message("test", websocket) is False

    assert manager.active_connections == {}
    assert manager.user_connections == {}


# Making one.


@EVERY_FACE
def test_a_manager_is_made_without_a_loop(face: Callable[..., Any]) -> None:
    """As a module's global, and it runs at once: no lifespan is needed."""
    manager = face()

    assert isinstance(manager.supervisor, Supervisor)
    assert len(manager.active_connections) == 0
    assert not manager.active_connections


def test_a_manager_takes_settings_by_name_or_a_supervisor() -> None:
    """Settings and hooks belong to the supervisor that was passed."""
    supervisor = Supervisor()

    assert ConnectionManager(max_connections=7).supervisor.settings.max_connections == 7
    assert ConnectionManager(supervisor).supervisor is supervisor
    for more in ({"max_connections": 7}, {"on_join": print}, {"on_leave": print}):
        with pytest.raises(TypeError, match="belong to the supervisor"):
            ConnectionManager(supervisor, **more)


def test_two_managers_share_nothing() -> None:
    """Each has a supervisor of its own."""
    first, second = ConnectionManager(), ConnectionManager()

    first.active_connections["a"] = [TextOnly()]

    assert len(second.active_connections) == 0


# Members and their argument orders.


async def test_the_message_comes_first(manage: Manage) -> None:
    """Positional, as in the manager that it replaces."""
    manager = manage(ConnectionManager)
    websocket = TextOnly()

    await manager.connect(websocket, "room", "ann")
    assert await manager.send_personal_message("1", websocket) is True
    assert await manager.send_to_room("2", "room")
    assert await manager.send_to_user("3", "ann")
    assert await manager.broadcast("4")
    manager.disconnect(websocket, "room", "ann")

    assert websocket.sent == ["1", "2", "3", "4"]
    assert manager.active_connections == {}


async def test_the_target_comes_first(manage: Manage) -> None:
    """For rooms and users, in the face that says so."""
    manager = manage(TargetFirstConnectionManager)
    websocket = TextOnly()

    await manager.connect(websocket, "room", "ann")
    assert await manager.send_personal_message("1", websocket) is True
    assert await manager.send_to_room("room", "2")
    assert await manager.send_to_user("ann", "3")
    assert await manager.broadcast("4")
    manager.disconnect(websocket, "room", "ann")

    assert websocket.sent == ["1", "2", "3", "4"]


async def test_the_flat_face_has_no_rooms(manage: Manage) -> None:
    """The manager of FastAPI's tutorial."""
    manager = manage(FlatConnectionManager)
    websocket = TextOnly()

    await manager.connect(websocket)
    await manager.send_personal_message("1", websocket)
    await manager.broadcast("2")
    manager.disconnect(websocket)

    assert websocket.sent == ["1", "2"]
    assert manager.active_connections == []


@ROOM_FACES
async def test_every_argument_has_its_name(manage: Manage, face: Callable[..., Any]) -> None:
    """The names of the hand-written manager."""
    manager = manage(face)
    websocket = TextOnly()

    await manager.connect(websocket=websocket, room="room", user_id="ann")
    await manager.send_personal_message(message="1", websocket=websocket)
    await manager.send_to_room(message="2", room="room", exclude=None)
    await manager.send_to_user(message="3", user_id="ann", exclude=None)
    await manager.broadcast(message="4", exclude=None)
    manager.disconnect(websocket=websocket, room="room", user_id="ann")

    assert websocket.sent == ["1", "2", "3", "4"]


@EVERY_FACE
async def test_a_socket_alone_can_be_connected(manage: Manage, face: Callable[..., Any]) -> None:
    """Without room and user; personal messages and broadcasts reach it."""
    manager = manage(face)
    websocket = TextOnly()

    await manager.connect(websocket)
    await manager.send_personal_message("1", websocket)
    await manager.broadcast("2")

    assert websocket.sent == ["1", "2"]
    assert manager.supervisor.statistics().connections == 1


class Colour(enum.Enum):
    """A room."""

    RED = 1


@ROOM_FACES
@pytest.mark.parametrize("name", [7, 0, ("pipeline", 7), Colour.RED, "", "ü" * 300, "user:ann"])
async def test_rooms_and_users_may_be_anything_hashable(
    manage: Manage, face: Callable[..., Any], name: Any
) -> None:
    """Hand-written managers use whatever the path gives them."""
    joined: list[object] = []
    manager = manage(face, on_join=lambda _, room: joined.append(room))
    websocket, other = TextOnly(), TextOnly()
    await manager.connect(websocket, name, name)
    await manager.connect(other, "other", "other")

    by_room = (name, "1") if face is TargetFirstConnectionManager else ("1", name)
    by_user = (name, "2") if face is TargetFirstConnectionManager else ("2", name)
    assert await manager.send_to_room(*by_room) == Receipt(1)
    assert await manager.send_to_user(*by_user) == Receipt(1)

    assert websocket.sent == ["1", "2"]
    assert other.sent == []
    assert joined == [name, "other"]
    assert websocket in manager.active_connections[name]
    assert websocket in manager.user_connections[name]


async def test_a_number_is_not_its_text(manage: Manage) -> None:
    """As in a dictionary."""
    manager = manage()
    one, text = TextOnly(), TextOnly()
    await manager.connect(one, 1, 1)
    await manager.connect(text, "1", "1")

    await manager.send_to_room("room", 1)
    await manager.send_to_user("user", "1")

    assert one.sent == ["room"]
    assert text.sent == ["user"]


async def test_the_rooms_of_the_machine_cannot_be_joined(manage: Manage) -> None:
    """Whoever names a room like one of them gets a room of that name, and no more."""
    manager = manage()
    ann, spy = TextOnly(), TextOnly()
    await manager.connect(ann, "a", "ann")
    for room in ("$everyone", "$user:ann", "user:ann", ("user", "ann")):
        await manager.connect(spy, room)

    await manager.send_to_user("secret", "ann")
    await manager.broadcast("all")
    manager.disconnect(spy, "$everyone")
    await manager.broadcast("again")

    assert ann.sent == ["secret", "all", "again"]
    assert spy.sent == ["all", "again"]


# connect and disconnect.


async def test_connect_accepts(manage: Manage) -> None:
    """Once, whatever the stub makes of it."""
    manager = manage()
    mock, plain = AsyncMock(), MagicMock()

    await manager.connect(mock, "a")
    await manager.connect(mock, "b")
    await manager.connect(plain, "a")

    mock.accept.assert_awaited_once_with()
    plain.accept.assert_called_once_with()


@ROOM_FACES
async def test_connect_is_a_coroutine_function_to_mocks(face: type[Any]) -> None:
    """Tests replace a manager by a mock of its class."""
    mock = AsyncMock(spec=face)

    await mock.connect(TextOnly(), "a")
    await mock.broadcast("x")
    mock.disconnect(TextOnly())

    mock.connect.assert_awaited_once()
    mock.broadcast.assert_awaited_once()


async def test_a_socket_may_be_in_several_rooms(manage: Manage) -> None:
    """Each connect adds one; disconnect takes one out, the last one all."""
    manager = manage()
    websocket = TextOnly()
    for room in ("a", "b", "b", "c"):
        await manager.connect(websocket, room, "ann")

    assert sorted(manager.active_connections) == ["a", "b", "c"]
    manager.disconnect(websocket, "b", "ann")
    assert sorted(manager.active_connections) == ["a", "c"]
    assert list(manager.user_connections) == ["ann"]
    await manager.send_to_room("lost", "b")
    await manager.send_to_user("kept", "ann")
    manager.disconnect(websocket, "a", "ann")
    manager.disconnect(websocket, "c", "ann")

    assert manager.active_connections == {}
    assert manager.user_connections == {}
    assert not await manager.broadcast("lost")
    assert websocket.sent == ["kept"]


async def test_disconnect_without_a_room_takes_out_of_all(manage: Manage) -> None:
    """As managers do whose disconnect knows no room."""
    manager = manage()
    websocket = TextOnly()
    for room in ("a", "b"):
        await manager.connect(websocket, room)

    manager.disconnect(websocket)

    assert manager.active_connections == {}


@EVERY_FACE
async def test_disconnect_works_called_or_awaited_and_as_often_as_one_likes(
    manage: Manage, face: Callable[..., Any]
) -> None:
    """It never raises, and closes nothing."""
    manager = manage(face)
    websocket = AsyncMock()
    await manager.connect(websocket)

    manager.disconnect(websocket)
    assert await manager.disconnect(websocket) is None
    await manager.disconnect(websocket, "unknown", "nobody")
    manager.disconnect(TextOnly(), "unknown")
    manager.disconnect(None)
    manager.disconnect(object(), None, None)

    websocket.close.assert_not_called()
    assert not await manager.send_personal_message("x", websocket)


async def test_disconnect_from_a_room_that_it_is_not_in_changes_nothing(manage: Manage) -> None:
    """It stays where it is."""
    manager = manage()
    websocket = TextOnly()
    await manager.connect(websocket, "a")

    manager.disconnect(websocket, "b")
    manager.disconnect(websocket, "unknown", "nobody")

    assert await manager.send_to_room("x", "a")


@EVERY_FACE
async def test_a_stub_may_come_back(manage: Manage, face: Callable[..., Any]) -> None:
    """Tests connect, disconnect and connect the same object."""
    manager = manage(face)
    websocket = TextOnly()

    for number in range(3):
        await manager.connect(websocket)
        await manager.broadcast(str(number))
        manager.disconnect(websocket)
        await manager.broadcast("lost")

    assert websocket.sent == ["0", "1", "2"]


async def test_a_socket_may_change_its_user(manage: Manage) -> None:
    """The last one that was said counts; None says nothing."""
    manager = manage()
    websocket = TextOnly()
    await manager.connect(websocket, "a")
    assert manager.user_connections == {}

    await manager.connect(websocket, "a", "ann")
    await manager.connect(websocket, "b", None)
    assert list(manager.user_connections) == ["ann"]
    await manager.connect(websocket, "b", "bob")

    assert list(manager.user_connections) == ["bob"]
    assert not await manager.send_to_user("x", "ann")
    assert await manager.send_to_user("y", "bob")
    assert websocket.sent == ["y"]


async def test_a_stub_that_was_connected_by_a_helper_stays(manage: Manage) -> None:
    """A fixture's, or a setUp's, task ends before the test begins."""
    manager = manage()
    websocket = TextOnly()

    async def set_up() -> None:
        await manager.connect(websocket, "a")

    await asyncio.create_task(set_up())
    await settle()

    assert await manager.send_to_room("x", "a")
    assert websocket.sent == ["x"]


@pytest.fixture
async def connected(manage: Manage) -> AsyncIterator[tuple[Any, TextOnly]]:
    """Connect a stub, as users' fixtures do."""
    manager = manage()
    websocket = TextOnly()
    await manager.connect(websocket, "a")
    yield manager, websocket
    manager.disconnect(websocket, "a")


async def test_a_stub_that_was_connected_by_a_fixture_stays(
    connected: tuple[Any, TextOnly],
) -> None:
    """The same with pytest's own means."""
    manager, websocket = connected

    await manager.broadcast("x")

    assert websocket.sent == ["x"]


async def test_what_cannot_be_sent_to_cannot_be_connected(manage: Manage) -> None:
    """UnsupportedSocket names the methods of which one is needed; nothing stays of it."""
    manager = manage(max_connections=1)

    for socket in (NoSender(), object(), None, "socket"):
        with pytest.raises(UnsupportedSocket, match="send_text, send_json, send_bytes"):
            await manager.connect(socket, "a")
        assert await manager.send_personal_message("x", socket) is False

    assert manager.active_connections == {}
    await manager.connect(TextOnly(), "a")


async def test_an_accept_that_raises_registers_nothing(manage: Manage) -> None:
    """The error is the stub's own."""
    manager = manage(max_connections=1)
    websocket = AsyncMock()
    websocket.accept.side_effect = RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await manager.connect(websocket, "a")

    assert manager.active_connections == {}
    await manager.connect(TextOnly(), "a")


async def test_limits_refuse_stubs_too(manage: Manage) -> None:
    """The refused one is closed with the code, if it can be."""
    manager = manage(max_connections_per_user=1)
    first, second = AsyncMock(), AsyncMock()
    await manager.connect(first, "a", "ann")

    with pytest.raises(ConnectionRefused):
        await manager.connect(second, "a", "ann")

    second.accept.assert_not_called()
    second.close.assert_awaited_once_with(3504)
    assert list(manager.active_connections["a"]) == [first]


async def test_a_join_that_is_refused_leaves_no_half_connected_socket(manage: Manage) -> None:
    """A room may fill up while a socket is accepted."""
    manager = manage(max_connections_per_room=1)
    opened = asyncio.Event()
    slow = AsyncMock()
    slow.accept.side_effect = opened.wait
    connecting = asyncio.ensure_future(manager.connect(slow, "a"))
    await settle()
    await manager.connect(TextOnly(), "a")
    opened.set()

    with pytest.raises(JoinRefused):
        await connecting
    await settle()

    assert len(manager.active_connections["a"]) == 1
    assert manager.supervisor.statistics().connections == 1
    slow.close.assert_awaited_once_with(3505)


async def test_a_second_room_that_is_refused_costs_only_itself(manage: Manage) -> None:
    """The socket stays in its first."""
    manager = manage(max_rooms_per_connection=1)
    websocket = TextOnly()
    await manager.connect(websocket, "a")

    with pytest.raises(JoinRefused):
        await manager.connect(websocket, "b")

    assert await manager.send_to_room("x", "a")


# Sending.


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


# Views.


async def test_the_views_are_live(manage: Manage) -> None:
    """A view that was taken once shows every change."""
    manager = manage()
    rooms, users = manager.active_connections, manager.user_connections
    assert rooms.get("a", set()) == set()
    first, second = TextOnly(), TextOnly()

    await manager.connect(first, "a", "ann")
    members = rooms["a"]
    assert members == {first}
    await manager.connect(second, "a", "ann")
    assert members == users["ann"] == {first, second}
    manager.disconnect(first)
    manager.disconnect(second)

    assert len(members) == 0
    assert not members
    assert rooms == users == {}


async def test_a_rooms_view_reads_like_a_dictionary(manage: Manage) -> None:
    """len, in, iteration, get, keys, values, items, truth, copies, equality, repr."""
    manager = manage()
    rooms = manager.active_connections
    assert not rooms
    first, second = TextOnly(), TextOnly()
    await manager.connect(first, "a")
    await manager.connect(first, "b")
    await manager.connect(second, "b")

    assert rooms
    assert len(rooms) == 2
    assert "a" in rooms
    assert "c" not in rooms
    assert ["a"] not in rooms
    assert sorted(rooms) == sorted(rooms.keys()) == ["a", "b"]
    assert rooms["b"] == {first, second}
    assert rooms.get("b") == {first, second}
    assert rooms.get("c") is None
    assert rooms.get("c", set()) == set()
    assert sum(len(members) for members in rooms.values()) == 3
    assert dict(rooms) == {"a": {first}, "b": {first, second}} == rooms
    assert {room: len(members) for room, members in rooms.items()} == {"a": 1, "b": 2}
    assert repr(rooms).startswith("{'a': {<")
    with pytest.raises(KeyError):
        rooms["c"]


async def test_a_set_view_reads_like_a_set(manage: Manage) -> None:
    """len, in, iteration, truth, copies, comparisons, set operations."""
    manager = manage()
    first, second = TextOnly(), TextOnly()
    await manager.connect(first, "a")
    await manager.connect(second, "a")
    members = manager.active_connections["a"]

    assert len(members) == 2
    assert first in members
    assert TextOnly() not in members
    assert list(members) == [first, second]
    assert members == {first, second}
    assert {first, second} == members
    assert members != {first}
    assert members >= {first}
    assert members - {first} == {second}
    assert members | {1} == {first, second, 1}
    copied = members.copy()
    manager.disconnect(first)
    assert copied == {first, second}
    assert isinstance(copied, set)
    assert repr(members) == f"{{{second!r}}}"


async def test_a_room_may_change_while_one_iterates(manage: Manage) -> None:
    """No view raises 'changed size during iteration'."""
    manager = manage()
    stubs = [TextOnly() for _ in range(4)]
    for stub in stubs:
        await manager.connect(stub, "a")
        await manager.connect(stub, f"room of {id(stub)}")

    for _ in manager.active_connections:
        for stub in manager.active_connections.get("a", ()):
            manager.disconnect(stub)

    assert manager.active_connections == {}


async def test_a_room_may_empty_while_one_iterates_over_items(manage: Manage) -> None:
    """A health endpoint that looks at items() or values() meets no KeyError."""
    manager = manage()
    first, second = TextOnly(), TextOnly()
    await manager.connect(first, "a")
    await manager.connect(second, "b")

    items, values = (
        iter(manager.active_connections.items()),
        iter(manager.user_connections.values()),
    )
    assert next(items)[0] == "a"
    manager.disconnect(second)

    assert [(room, len(members)) for room, members in items] == [("b", 0)]
    assert list(values) == []


async def test_a_room_that_is_being_joined_is_not_there_yet(manage: Manage) -> None:
    """What iterating over the view names, the view has."""
    manager = manage()
    stub = TextOnly()
    await manager.connect(stub, "a")
    found = manager.supervisor.find(stub)
    assert found is not None
    found[1].room_names["b"] = None  # as while a busy room has not answered

    assert {room: len(manager.active_connections[room]) for room in manager.active_connections} == {
        "a": 1
    }


async def test_the_flat_view_reads_like_a_list(manage: Manage) -> None:
    """len, in, iteration, indices, slices, copies, equality, count, index, repr, truth."""
    manager = manage(FlatConnectionManager)
    sockets = manager.active_connections
    stubs = [TextOnly() for _ in range(3)]
    for stub in stubs:
        await manager.connect(stub)

    assert sockets
    assert len(sockets) == 3
    assert stubs[0] in sockets
    assert TextOnly() not in sockets
    assert list(sockets) == stubs
    assert sockets == stubs
    assert stubs == sockets
    assert sockets != stubs[:2]
    assert sockets == manager.active_connections
    assert sockets[0] is stubs[0]
    assert sockets[-1] is stubs[2]
    assert sockets[:] == stubs
    assert sockets[1:] == stubs[1:]
    assert sockets.copy() == stubs
    assert sockets.index(stubs[1]) == 1
    assert sockets.count(stubs[1]) == 1
    assert list(reversed(sockets)) == stubs[::-1]
    assert repr(sockets) == repr(stubs)
    with pytest.raises(IndexError):
        sockets[3]
    with pytest.raises(TypeError):
        hash(sockets)


async def test_the_flat_view_can_be_changed_like_a_list(manage: Manage) -> None:
    """append and remove, as the tutorial's manager has them, and clear."""
    manager = manage(FlatConnectionManager)
    first, second = TextOnly(), TextOnly()

    manager.active_connections.append(first)
    manager.active_connections.append(second)
    assert manager.active_connections == [first, second]
    await manager.broadcast("x")
    manager.active_connections.remove(first)
    manager.active_connections.remove(first)  # it may have gone by itself
    await manager.broadcast("y")
    manager.active_connections.clear()
    await manager.broadcast("z")

    assert (first.sent, second.sent) == (["x"], ["x", "y"])
    assert manager.active_connections == []


async def test_shutting_down_by_hand_works(manage: Manage) -> None:
    """Applications close each socket over a copy, and clear."""
    manager = manage()
    stubs = [AsyncMock() for _ in range(3)]
    for stub in stubs:
        await manager.connect(stub, "a", "ann")

    for room in list(manager.active_connections):
        for stub in manager.active_connections[room].copy():
            await stub.close()
    manager.active_connections.clear()

    assert manager.active_connections == {}
    assert manager.user_connections == {}
    for stub in stubs:
        stub.close.assert_awaited_once_with()


async def test_a_room_can_be_assigned(manage: Manage) -> None:
    """Tests of hand-written managers do; whoever is not in it any more has left."""
    told: list[tuple[str, object]] = []
    manager = manage(
        on_join=lambda connection, room: told.append(("join", connection.websocket)),
        on_leave=lambda connection, room: told.append(("leave", connection.websocket)),
    )
    first, second, third = TextOnly(), TextOnly(), TextOnly()
    await manager.connect(first, "a")

    manager.active_connections["a"] = {first, second}
    assert manager.active_connections["a"] == {first, second}
    await manager.send_to_room("1", "a")
    manager.active_connections["a"] = [second, third]
    await manager.send_to_room("2", "a")
    manager.active_connections["a"] = set()
    assert "a" not in manager.active_connections
    await manager.send_to_room("3", "a")

    assert [stub.sent for stub in (first, second, third)] == [["1"], ["1", "2"], ["2"]]
    assert told[:3] == [("join", first), ("join", second), ("leave", first)]
    assert len(told) == 6


async def test_all_rooms_can_be_assigned(manage: Manage) -> None:
    """Tests reset a manager that way."""
    manager = manage()
    first, second = TextOnly(), TextOnly()
    await manager.connect(first, "a")
    await manager.connect(first, "b")

    manager.active_connections = {"b": {second}}

    assert manager.active_connections == {"b": {second}}
    assert await manager.broadcast("x") == Receipt(1)
    assert second.sent == ["x"]
    manager.active_connections = {}
    assert manager.active_connections == {}
    assert not await manager.broadcast("y")


async def test_users_cannot_be_assigned(manage: Manage) -> None:
    """The error says what changes them."""
    with pytest.raises(TypeError, match=r"connect\(\)"):
        manage().user_connections["ann"] = {TextOnly()}


async def test_an_assigned_socket_is_like_a_connected_one(manage: Manage) -> None:
    """Sends, cleanup and disconnect find it; one that cannot be sent to is only looked at."""
    manager = manage()
    stub, mute = TextOnly(), NoSender()
    manager.active_connections["a"] = [stub, mute]

    assert await manager.send_personal_message("1", stub)
    assert not await manager.send_personal_message("1", mute)
    assert await manager.send_to_room("2", "a") == Receipt(1)
    assert len(manager.active_connections["a"]) == 2
    manager._cleanup_disconnected_websocket(mute)
    manager.disconnect(stub, "a")

    assert stub.sent == ["1", "2"]
    assert manager.active_connections == {}


# Hooks.


async def test_hooks_fire_once_a_membership(manage: Manage) -> None:
    """For each room that a socket is in, however often it is said, and however it ends."""
    told: list[tuple[str, object, object]] = []
    manager = manage(
        on_join=lambda connection, room: told.append(("join", connection.user, room)),
        on_leave=lambda connection, room: told.append(("leave", connection.user, room)),
    )
    stub, dead = TextOnly(), Raising(RuntimeError("gone"))

    await manager.connect(stub, "a", "ann")
    await manager.connect(stub, "a", "ann")
    await manager.connect(stub, "b", "ann")
    await manager.connect(dead, "a", "bob")
    assert told == [("join", "ann", "a"), ("join", "ann", "b"), ("join", "bob", "a")]
    told.clear()

    await manager.send_to_room("x", "a")
    await manager.send_to_room("x", "a")
    manager._cleanup_disconnected_websocket(dead)
    manager.disconnect(dead, "a", "bob")
    manager.disconnect(stub, "a")
    manager.disconnect(stub, "a")
    manager.disconnect(stub)
    manager.disconnect(stub)
    await settle()

    assert told == [("leave", "bob", "a"), ("leave", "ann", "a"), ("leave", "ann", "b")]


async def test_a_socket_without_a_room_tells_nobody(manage: Manage) -> None:
    """The rooms that everybody is in are not the application's."""
    told: list[object] = []
    manager = manage(on_join=lambda *_: told.append(1), on_leave=lambda *_: told.append(1))
    stub = TextOnly()

    await manager.connect(stub, None, "ann")
    manager.disconnect(stub)
    await settle()

    assert told == []


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_hooks_that_raise_harm_nobody(manage: Manage, kind: str, events: Events) -> None:
    """They are logged, and each is called all the same."""
    calls: list[object] = []

    def fail(_: Connection, room: Any) -> None:
        calls.append(room)
        raise ZeroDivisionError("bug")

    async def fail_later(_: Connection, room: Any) -> None:
        fail(_, room)

    hook = fail if kind == "plain" else fail_later
    manager = manage(on_join=hook, on_leave=hook)
    stub = TextOnly()
    await manager.connect(stub, "a")
    assert await manager.send_to_room("x", "a")
    manager.disconnect(stub)
    await settle()

    assert calls == ["a", "a"]
    assert len(named(events, "hook.failed")) == 2


async def test_a_coroutine_hook_is_awaited(manage: Manage) -> None:
    """connect does not wait for it."""
    told: list[object] = []

    async def on_join(connection: Connection, room: object) -> None:
        await asyncio.sleep(1)
        told.append(room)

    manager = manage(on_join=on_join)
    await manager.connect(TextOnly(), "a")
    assert told == []
    await asyncio.sleep(1.1)

    assert told == ["a"]


# Real WebSockets, over an ASGI server in memory.


def tutorial(manager: Any, room: Any = None) -> Endpoint:
    """Return the endpoint of FastAPI's tutorial."""

    async def serve(websocket: WebSocket) -> None:
        await manager.connect(websocket, *([] if room is None else [room]))
        try:
            while True:
                data = await websocket.receive_text()
                await manager.send_personal_message(f"You wrote: {data}", websocket)
                await manager.broadcast(f"Somebody says: {data}")
        except WebSocketDisconnect:
            manager.disconnect(websocket)
            await manager.broadcast("Somebody left the chat")

    return serve


@EVERY_FACE
@ALL_APPS
async def test_the_tutorials_chat_works(
    manage: Manage, peer: NewPeer, face: Callable[..., Any], app_of: Callable[[Endpoint], App]
) -> None:
    """Unchanged, but for the import."""
    manager = manage(face)
    app = app_of(tutorial(manager))
    ann, bob = peer(), peer()
    for client in (ann, bob):
        await client.enter(app)

    ann.say("hi")
    await asyncio.sleep(0.2)
    bob.leave()
    await bob.result()
    await settle()

    assert ann.got == ["You wrote: hi", "Somebody says: hi", "Somebody left the chat"]
    assert bob.got == ["Somebody says: hi"]


async def test_the_endpoint_may_write_after_disconnect(manage: Manage, peer: NewPeer) -> None:
    """disconnect() takes out of the manager and closes nothing: the endpoint closes by ending."""
    manager = manage()

    async def serve(websocket: WebSocket) -> None:
        await manager.connect(websocket, "a")
        manager.disconnect(websocket, "a")
        assert await manager.send_personal_message("lost", websocket) is False
        await websocket.send_text("goodbye")

    client = peer()
    await client.open(bare_app(serve)).result()
    await settle()

    assert client.got == ["goodbye"]
    assert client.closed == (1000, "")


@ALL_APPS
async def test_a_socket_may_connect_again_after_disconnect(
    manage: Manage, peer: NewPeer, app_of: Callable[[Endpoint], App]
) -> None:
    """Endpoints change rooms that way; nothing of the first time stays, and one close is sent."""
    told: list[tuple[str, object]] = []
    manager = manage(
        on_join=lambda _, room: told.append(("join", room)),
        on_leave=lambda _, room: told.append(("leave", room)),
    )

    async def serve(websocket: WebSocket) -> None:
        for room in ("a", "b", "c"):
            await manager.connect(websocket, room)
            await manager.send_to_room(f"in {room}", room)
            assert await websocket.receive_text() == room
            manager.disconnect(websocket, room)
        await manager.connect(websocket, "d")
        await manager.broadcast("end")

    client = peer()
    for message in ("a", "b", "c"):
        client.say(message)
    await client.open(app_of(serve)).result()
    await settle()

    assert client.got == ["in a", "in b", "in c", "end"]
    assert client.closed == (1000, "")
    assert told == [(what, room) for room in "abcd" for what in ("join", "leave")]
    assert manager.active_connections == {}


@ALL_APPS
async def test_an_endpoint_may_change_rooms_that_way_as_often_as_it_likes(
    manage: Manage, peer: NewPeer, app_of: Callable[[Endpoint], App]
) -> None:
    """Nothing piles up behind it, and its socket stays one connection."""
    manager = manage(max_connections=1)
    closing: list[int] = []

    async def serve(websocket: WebSocket) -> None:
        for number in range(2000):
            await manager.connect(websocket, number, f"user {number % 3}")
            if number % 500 == 0:
                await manager.send_to_room(f"room {number}", number)
                await manager.send_to_user(f"user {number % 3}", f"user {number % 3}")
            manager.disconnect(websocket, number)
        closing.append(manager.supervisor.statistics().closing)
        await manager.connect(websocket, "last")
        assert await websocket.receive_text() == "hello"

    client = peer()
    await client.enter(app_of(serve))
    assert await manager.send_to_room("in the last", "last")
    client.say("hello")
    await client.result()
    await settle()

    assert closing == [1]
    assert client.got == [
        message
        for number in (0, 500, 1000, 1500)
        for message in (f"room {number}", f"user {number % 3}")
    ] + ["in the last"]
    assert client.closed == (1000, "")


@ALL_APPS
async def test_a_socket_may_be_in_two_managers(
    manage: Manage, peer: NewPeer, app_of: Callable[[Endpoint], App]
) -> None:
    """One for the chat and one for the notifications: each sends, in order, and both let go."""
    chat, alerts = manage(), manage(TargetFirstConnectionManager)

    async def serve(websocket: WebSocket) -> None:
        await chat.connect(websocket, "a")
        await alerts.connect(websocket, "a")
        await chat.send_to_room("1", "a")
        await alerts.send_to_room("a", "2")
        await chat.broadcast("3")
        assert await websocket.receive_text() == "hello"
        alerts.disconnect(websocket)
        assert not await alerts.broadcast("lost")
        await chat.broadcast("4")
        await alerts.connect(websocket, "b")
        await alerts.broadcast("5")
        await websocket.send_text("6")

    client = peer()
    client.say("hello")
    await client.open(app_of(serve)).result()
    await settle()

    assert client.got == [str(number) for number in range(1, 7)]
    assert client.closed == (1000, "")
    assert chat.active_connections == alerts.active_connections == {}


@ALL_APPS
async def test_a_client_of_two_managers_leaves_both(
    manage: Manage, peer: NewPeer, app_of: Callable[[Endpoint], App]
) -> None:
    """Also an endpoint that never says so."""
    managers = [manage(), manage()]

    async def serve(websocket: WebSocket) -> None:
        for manager in managers:
            await manager.connect(websocket, "a")
        while True:
            await websocket.receive_text()

    client = peer()
    await client.enter(app_of(serve))
    client.leave()
    assert isinstance(await client.end(), WebSocketDisconnect)
    await settle()

    for manager in managers:
        assert manager.active_connections == {}
        assert len(manager.supervisor.closed) == 1


async def test_a_socket_that_was_closed_cannot_connect_again(manage: Manage, peer: NewPeer) -> None:
    """It is a WebSocketDisconnect, and nobody is registered."""
    manager = manage()

    async def serve(websocket: WebSocket) -> None:
        await manager.connect(websocket, "a", "ann")
        await manager.supervisor.kick("ann")
        await manager.connect(websocket, "b")

    client = peer()
    client.open(bare_app(serve))

    assert isinstance(await client.end(), WebSocketDisconnect)
    assert manager.active_connections == {}
    assert client.closed == (3503, "kicked")


async def test_connecting_with_a_timeout_does_not_end_the_connection(
    manage: Manage, peer: NewPeer
) -> None:
    """asyncio.wait_for runs it in a task of its own on older Pythons."""
    manager = manage()

    async def serve(websocket: WebSocket) -> None:
        await asyncio.wait_for(manager.connect(websocket, "a"), 5)
        await asyncio.sleep(1)
        assert await manager.send_to_room("x", "a")
        try:
            await websocket.receive_text()
        except WebSocketDisconnect:
            manager.disconnect(websocket)

    for app_of in (bare_app, starlette_app, fastapi_app):
        client = peer()
        await client.enter(app_of(serve))
        await asyncio.sleep(2)
        assert client.got == ["x"]
        client.leave()
        await client.result()


async def test_an_endpoint_that_connected_with_a_timeout_leaves_nothing(
    manage: Manage, peer: NewPeer
) -> None:
    """Also one that forgets to disconnect."""
    manager = manage()

    async def serve(websocket: WebSocket) -> None:
        await asyncio.wait_for(manager.connect(websocket, "a"), 5)

    for app_of in (starlette_app, fastapi_app):
        client = peer()
        await client.open(app_of(serve)).result()
        await settle()

        assert manager.active_connections == {}
        assert client.closed == (1000, "")


@pytest.mark.parametrize("app_of", [fastapi_app])
async def test_connecting_in_a_task_of_ones_own_lasts_as_long_as_the_endpoint(
    manage: Manage, peer: NewPeer, app_of: Callable[[Endpoint], App]
) -> None:
    """FastAPI tells when an endpoint ends, so whoever calls connect may end before."""
    manager = manage()

    async def serve(websocket: WebSocket) -> None:
        async def set_up() -> None:
            await manager.connect(websocket, "a")

        await asyncio.create_task(set_up())
        await asyncio.sleep(1)
        assert await manager.send_to_room("x", "a")

    client = peer()
    await client.open(app_of(serve)).result()
    await settle()

    assert client.got == ["x"]
    assert client.closed == (1000, "")
    assert manager.active_connections == {}


@ALL_APPS
async def test_a_refused_socket_is_told_before_the_accept(
    manage: Manage, peer: NewPeer, app_of: Callable[[Endpoint], App]
) -> None:
    """An endpoint that does not catch it ends without a traceback."""
    manager = manage(max_connections_per_room=1)
    first, second = peer(), peer()
    await first.enter(app_of(tutorial(manager, "a")))
    second.open(app_of(tutorial(manager, "a")))

    error = await second.end()

    assert error is None or (app_of is bare_app and isinstance(error, ConnectionRefused))
    assert second.status == 429
    assert not second.accepted


async def test_a_real_socket_that_a_full_room_refused_late_is_closed(
    manage: Manage, peer: NewPeer
) -> None:
    """With the refusal's code."""
    manager = manage(max_connections_per_room=1)
    clients = [peer(), peer()]
    for client in clients:
        client.stalled = True
        await client.enter(bare_app(tutorial(manager, "a")))
    for client in clients:
        client.resume()
        await settle()

    assert isinstance(await clients[1].end(), JoinRefused)
    assert clients[1].closed is not None
    assert clients[1].closed[0] == 3505
    assert manager.supervisor.statistics().connections == 1


async def test_origins_are_not_checked_unless_asked_for(
    manage: Manage, peer: NewPeer, events: Events
) -> None:
    """Front ends of hand-written managers live on other ports; one event says so."""
    manager = manage()
    for _ in range(3):
        client = peer(headers=[("Origin", "http://localhost:3000")])
        await client.enter(bare_app(tutorial(manager)))
        assert client.accepted

    (event,) = named(events, "origin.unchecked")
    assert event["log_level"] == "warning"
    assert "allowed_origins" in event["hint"]


async def test_origins_are_checked_where_they_are_given(
    manage: Manage, peer: NewPeer, events: Events
) -> None:
    """403 before the accept."""
    manager = manage(allowed_origins=["http://localhost:3000"])
    ours = peer(headers=[("Origin", "http://localhost:3000")])
    theirs = peer(headers=[("Origin", "http://evil.example")])
    for client in (ours, theirs):
        await client.enter(bare_app(tutorial(manager)))

    assert ours.accepted
    assert theirs.status == 403
    assert named(events, "origin.unchecked") == []


async def test_the_manager_and_the_endpoint_send_in_order(manage: Manage, peer: NewPeer) -> None:
    """websocket.send_text keeps its place among the manager's sends."""
    manager = manage()

    async def serve(websocket: WebSocket) -> None:
        await manager.connect(websocket, "a")
        await manager.send_to_room("1", "a")
        await websocket.send_text("2")
        await manager.send_personal_message("3", websocket)
        await websocket.send_json({"n": 4})
        await manager.broadcast({"n": 5})

    client = peer()
    await client.open(bare_app(serve)).result()
    await settle()

    assert client.got[:3] == ["1", "2", "3"]
    assert client.got_json[3:] == [{"n": 4}, {"n": 5}]


async def test_a_real_socket_can_be_assigned_to_a_view(manage: Manage, peer: NewPeer) -> None:
    """Hand-written code appends accepted sockets itself."""
    manager = manage(FlatConnectionManager)

    async def serve(websocket: WebSocket) -> None:
        await websocket.accept()
        manager.active_connections.append(websocket)
        await manager.broadcast("x")
        try:
            await websocket.receive_text()
        except WebSocketDisconnect:
            manager.active_connections.remove(websocket)

    client = peer()
    await client.enter(bare_app(serve))
    await settle()
    assert client.got == ["x"]
    client.leave()
    await client.result()

    assert manager.active_connections == []


# Loops and threads.


@pytest.mark.parametrize("runner", ["asyncio.run", "run_until_complete"])
def test_a_manager_serves_one_loop_after_the_other(runner: str) -> None:
    """A module's global lives through many tests, each with a loop of its own."""
    manager = ConnectionManager()

    async def scenario() -> None:
        stub = TextOnly()
        await manager.connect(stub, "a")
        await manager.send_to_room("x", "a")
        assert stub.sent == ["x"]
        assert len(manager.active_connections["a"]) == 1
        await manager.supervisor.aclose()
        manager.supervisor.start()

    def run(work: Coroutine[Any, Any, None]) -> None:
        if runner == "asyncio.run":
            asyncio.run(work)
        else:
            loop = asyncio.new_event_loop()
            loop.run_until_complete(work)
            loop.close()

    for _ in range(3):
        run(scenario())


@EVERY_FACE
def test_each_call_may_have_a_loop_of_its_own(face: Callable[..., Any]) -> None:
    """Synchronous tests call asyncio.run() each time; hooks are told once all the same."""
    told: list[tuple[str, object]] = []
    manager = face(
        on_join=lambda _, room: told.append(("join", room)),
        on_leave=lambda _, room: told.append(("leave", room)),
    )
    first, second = TextOnly(), AsyncMock()

    if face is FlatConnectionManager:
        asyncio.run(manager.connect(first))
    else:
        asyncio.run(manager.connect(first, "a", "ann"))
    asyncio.run(manager.connect(second))
    assert asyncio.run(manager.broadcast("1")) == Receipt(2)
    assert asyncio.run(manager.send_personal_message("2", first)) is True
    if face is ConnectionManager:
        assert asyncio.run(manager.send_to_room("3", "a")) == Receipt(1)
        assert asyncio.run(manager.send_to_user("4", "ann")) == Receipt(1)
        assert list(manager.active_connections) == ["a"]
    manager.disconnect(second)
    assert asyncio.run(manager.broadcast("5")) == Receipt(1)
    manager.disconnect(first)
    assert len(manager.active_connections) == 0
    assert asyncio.run(manager.broadcast("6")) == Receipt()

    assert first.sent == ["1", "2", *(["3", "4"] if face is ConnectionManager else []), "5"]
    assert got(second) == ["1"]
    assert len(manager.active_connections) == 0
    if face is not FlatConnectionManager:
        assert told == [("join", "a"), ("leave", "a")]


def test_rooms_may_be_left_between_loops() -> None:
    """The views know at once, the hooks at the next call on a loop."""
    told: list[tuple[str, object]] = []
    manager = ConnectionManager(
        on_join=lambda _, room: told.append(("join", room)),
        on_leave=lambda _, room: told.append(("leave", room)),
    )
    first, second = TextOnly(), TextOnly()
    for room in ("a", "b"):
        asyncio.run(manager.connect(first, room, "ann"))
    asyncio.run(manager.connect(second, "b"))

    for room in ("a", "unknown"):
        manager.disconnect(first, room, "ann")  # type: ignore[unused-awaitable]  # on purpose
    assert {room: len(members) for room, members in manager.active_connections.items()} == {"b": 2}
    manager._cleanup_disconnected_websocket(second)
    manager.active_connections["c"] = {first}
    assert sorted(manager.active_connections) == ["b", "c"]
    assert list(manager.user_connections) == ["ann"]

    assert asyncio.run(manager.send_to_user("x", "ann")) == Receipt(1)
    assert sorted(told, key=str) == [
        ("join", "a"),
        ("join", "b"),
        ("join", "b"),
        ("join", "c"),
        ("leave", "a"),
        ("leave", "b"),
    ]
    assert (first.sent, second.sent) == (["x"], [])


@pytest.mark.parametrize("then", ["run_until_complete", "asyncio.run"])
def test_calls_may_share_a_loop_that_stops_between_them(then: str) -> None:
    """As unittest's helpers do."""
    manager = ConnectionManager()
    websocket = TextOnly()
    loop = asyncio.new_event_loop()

    loop.run_until_complete(manager.connect(websocket, "a"))
    assert loop.run_until_complete(manager.send_to_room("1", "a")) == Receipt(1)
    if then == "asyncio.run":
        loop.run_until_complete(manager.supervisor.aclose())
        loop.close()
        manager.supervisor.start()
        asyncio.run(manager.connect(websocket, "a"))
        assert asyncio.run(manager.send_to_room("2", "a")) == Receipt(1)
    else:
        assert loop.run_until_complete(manager.broadcast("2")) == Receipt(1)
        loop.run_until_complete(manager.supervisor.aclose())
        loop.close()

    assert websocket.sent == ["1", "2"]


@pytest.mark.real_time
async def test_assigning_a_socket_of_another_loop_joins_it_there(
    manage: Manage, other: OtherLoop
) -> None:
    """It is written to on its own loop only."""
    manager = manage()
    far = TextOnly()
    await other.run(manager.connect(far, "a"))

    manager.active_connections["b"] = [far]
    await manager.send_personal_message("x", object())
    async with asyncio.timeout(5):
        while not await manager.send_to_room("y", "b"):  # noqa: ASYNC110 - another loop's turn
            await asyncio.sleep(0.001)

    assert far.sent == ["y"]
    assert manager.active_connections == {"a": {far}, "b": {far}}


@pytest.mark.real_time
async def test_threads_may_look_and_disconnect(manage: Manage) -> None:
    """Synchronous endpoints run in threads."""
    manager = manage()
    stub = TextOnly()
    await manager.connect(stub, "a", "ann")

    def look() -> tuple[int, bool, list[object]]:
        members = manager.active_connections["a"]
        return len(members), stub in members, list(manager.user_connections)

    assert await asyncio.to_thread(look) == (1, True, ["ann"])
    await asyncio.to_thread(manager.disconnect, stub)
    async with asyncio.timeout(5):
        while manager.active_connections:  # noqa: ASYNC110 - the thread's call is on its way
            await asyncio.sleep(0.001)


def test_messages_are_json_that_any_client_reads(manage: Manage) -> None:
    """Compact, and not ASCII only."""
    manager = ConnectionManager()

    assert json.loads(str(manager.supervisor.json.encode({"a": "ü"}).payload)) == {"a": "ü"}


def test_a_manager_stands_on_a_supervisor_only() -> None:
    """Who passes something else is told what it takes."""
    with pytest.raises(TypeError, match="stands on a Supervisor, not on 'x'"):
        ConnectionManager("x")  # type: ignore[arg-type]
