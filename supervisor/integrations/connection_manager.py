"""
Drop-in faces: the members of hand-written ``ConnectionManager`` classes, on a supervisor.

Three shapes, since two strings cannot be told apart by type:

* :class:`ConnectionManager`: rooms and users, the message first (AnsFlow's).
* :class:`TargetFirstConnectionManager`: the same, the room or user first, as most have it.
* :class:`FlatConnectionManager`: no rooms, ``active_connections`` is a list (FastAPI's tutorial).

Made at import time; no lifespan needed. Sends never raise for a dead socket, and an awaited
one gives idle sockets their message before it returns, so tests that assert right after it
keep passing, with their stubs.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable, Iterable
from typing import Any, TypeVar

from actors.exits import CloseCode, Ending, ExitReason
from actors.receipts import Receipt
from supervisor import sockets
from supervisor.connection import Connection
from supervisor.delivery import FAR_TIMEOUT, FarCall
from supervisor.errors import ConnectionRefused
from supervisor.integrations.loopless import Loopless
from supervisor.integrations.views import RoomsView, SocketListView
from supervisor.node import Node
from supervisor.origins import origin_allowed
from supervisor.room_names import EVERYONE, user_room
from supervisor.supervisor import Supervisor
from supervisor.telemetry.logging import event_logger

__all__ = ["ConnectionManager", "FlatConnectionManager", "TargetFirstConnectionManager"]

F = TypeVar("F", bound=Callable[..., Any])

HookFunction = Callable[[Connection, Any], Awaitable[None] | None]


def _coroutine_function(method: F) -> F:
    """
    Mark a function that returns a coroutine as one, for mocks with a specification.

    ``connect`` is no ``async def``, because it is *called* in the endpoint's task, but may be
    awaited in another: ``asyncio.wait_for`` makes one on Python 3.11.
    """
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(method)
    method._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]  # noqa: SLF001 - what that does there
    return method


class _Done:
    """What ``disconnect`` returns: nothing is left to wait for, but it may be awaited."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


class _Face:
    """
    What the faces share.

    Args:
        supervisor: To stand on; a new one by default, made from ``arguments``.
        on_join: Called with connection and room, exactly once a membership.
        on_leave: Called with connection and room, exactly once a membership.
        arguments: Settings of the new supervisor, by name.

    Attributes:
        supervisor: The supervisor behind it, for all the rest.
    """

    def __init__(
        self,
        supervisor: Supervisor | None = None,
        *,
        on_join: HookFunction | None = None,
        on_leave: HookFunction | None = None,
        **arguments: Any,
    ) -> None:
        if supervisor is None:
            supervisor = Supervisor(on_join=on_join, on_leave=on_leave, **arguments)
        elif not isinstance(supervisor, Supervisor):
            raise TypeError(f"a manager stands on a Supervisor, not on {supervisor!r}")
        elif on_join or on_leave or arguments:
            raise TypeError("hooks and settings belong to the supervisor that was passed")
        self.supervisor = supervisor
        self.supervisor.start()
        self._origin_warned = False
        self._unknown_warned = False
        self._loopless = Loopless(supervisor)

    def disconnect(
        self, websocket: Any, room: Hashable | None = None, user_id: Hashable | None = None
    ) -> Awaitable[None]:
        """
        Take a socket out of ``room``, or out of everything; it is not closed.

        Works when called and may be awaited; never raises; idempotent. Out of its last room
        means out of everything. Its endpoint may still write to it, and closes it by ending.
        """
        del user_id  # the supervisor knows whose socket it is
        self._remove(websocket, room)
        return _Done()

    async def send_personal_message(self, message: object, websocket: Any) -> bool:
        """
        Send to one socket.

        Returns:
            Whether it was written or waits to be; False for a dead or unknown socket. One that
            was never passed to ``connect`` is also worth a warning, once.
        """
        self._loopless.adopt()
        found = self.supervisor.find(websocket)
        if found is None:
            self._warn_if_never_connected(websocket)
            return False
        node, connection = found
        if node.delivery.local:
            return await node.send(connection, message)
        return await FarCall(
            node.send(connection, message),
            node.loop,
            timeout=node.settings.flush_timeout + FAR_TIMEOUT,
            lost=lambda late: late,  # it may still be on its way
        )

    async def broadcast(self, message: object, *, exclude: object = None) -> Receipt:
        """Send to every socket, once each; returns a receipt, true if at least one took it."""
        return await self._fan_out(EVERYONE, message, exclude)

    def _cleanup_disconnected_websocket(self, websocket: Any) -> None:
        """Take a dead socket out of everything; hand-written managers' tests call it."""
        self._loopless.forget(websocket, None)
        found = self.supervisor.find(websocket)
        if found is not None:
            node, connection = found
            if node.loop.is_closed():
                self._loopless.leave(node, connection, None)
                return
            reason = ExitReason(Ending.DISCONNECTED, CloseCode.ABNORMAL, "cleaned up")
            node.delivery.post(lambda: node.release(connection, reason))

    async def _connect(
        self,
        websocket: Any,
        room: Hashable | None,
        user_id: Hashable | None,
        endpoint: asyncio.Task[Any] | None,
    ) -> None:
        self._loopless.adopt()
        found = self.supervisor.find(websocket)
        if found is None:
            await self._connect_new(websocket, room, user_id, endpoint)
            return
        node, connection = found
        node.check_loop()
        if user_id is not None:
            node.assign_user(connection, user_id)
        if room is not None:
            await node.rooms.join(connection, room)

    async def _connect_new(
        self,
        websocket: Any,
        room: Hashable | None,
        user_id: Hashable | None,
        endpoint: asyncio.Task[Any] | None,
    ) -> None:
        node, connection = await self._accept(websocket, room, user_id, endpoint)
        try:
            await self.supervisor.open_stores()
            await node.rooms.join_internal(connection)
            if room is not None:
                await node.rooms.join(connection, room)
        except BaseException as error:
            node.end(connection, sockets.close_reason(error), flush=True)
            raise

    async def _accept(
        self,
        websocket: Any,
        room: Hashable | None,
        user_id: Hashable | None,
        endpoint: asyncio.Task[Any] | None,
    ) -> tuple[Node, Connection]:
        if sockets.is_websocket(websocket):
            sockets.end_quietly(websocket)
        supervisor = self.supervisor
        node = await sockets.node_for(websocket, supervisor.open_node)
        try:
            self._check_origin(websocket)
            rooms = [] if room is None else [room]
            with node.place(user_id, sockets.client_address(websocket), rooms):
                await sockets.accept(
                    websocket, subprotocol=None, timeout=node.settings.accept_timeout
                )
                node.check_open()
                connection = sockets.adopt(
                    node,
                    websocket,
                    supervisor.json,
                    user=user_id,
                    endpoint=endpoint,
                    watch_end=True,
                )
        except ConnectionRefused as refusal:
            node.refused(refusal, user_id)
            await sockets.refuse(websocket, refusal)
            raise
        return node, connection

    async def _fan_out(self, room: Hashable, message: object, exclude: object) -> Receipt:
        self._loopless.adopt()
        return await self.supervisor.publish_to(room, message, exclude=exclude, flush=True)

    def _check_origin(self, websocket: Any) -> None:
        allowed = self.supervisor.settings.allowed_origins
        if allowed is None:
            if not self._origin_warned:
                self._origin_warned = True
                event_logger().warning(
                    "origin.unchecked",
                    hint="pages of any site may connect; set allowed_origins to say which",
                )
            return
        if not sockets.is_websocket(websocket):
            return
        origin = websocket.headers.get("origin")
        if not origin_allowed(origin, websocket.headers.get("host"), allowed):
            raise ConnectionRefused(
                CloseCode.PERMISSION_DENIED, f"pages of {origin} may not connect"
            )

    def _warn_if_never_connected(self, websocket: Any) -> None:
        if self._unknown_warned or not sockets.is_websocket(websocket):
            return
        if not sockets.was_adopted(websocket):
            self._unknown_warned = True
            event_logger().warning(
                "socket.unknown",
                hint="a message was sent to a socket that connect() never had; it was not sent",
            )

    # What the views ask.

    def _all_sockets(self) -> list[Any]:
        known = [
            connection.websocket
            for node in self.supervisor.nodes
            for connection in node.registry.snapshot()
        ]
        assigned = (socket for sockets_ in self._loopless.assigned.values() for socket in sockets_)
        return _distinct([*known, *assigned])

    def _rooms(self) -> list[Hashable]:
        rooms = dict.fromkeys(
            room
            for node in self.supervisor.nodes
            for connection in node.registry.snapshot()
            for room in list(connection.room_names)
            if node.rooms.has_joined(connection, room)
        )
        return list(rooms | dict.fromkeys(self._loopless.assigned))

    def _sockets_of_room(self, room: Hashable) -> list[Any]:
        known = [
            connection.websocket
            for node in self.supervisor.nodes
            for connection in node.rooms.members(room)
        ]
        return _distinct([*known, *self._loopless.assigned.get(room, ())])

    def _users(self) -> list[Hashable]:
        return list(
            dict.fromkeys(user for node in self.supervisor.nodes for user in node.registry.users())
        )

    def _sockets_of_user(self, user: Hashable) -> list[Any]:
        return _distinct(
            [
                connection.websocket
                for node in self.supervisor.nodes
                for connection in node.registry.of_user(user)
            ]
        )

    def _remove(self, websocket: Any, room: Hashable | None) -> None:
        self._loopless.forget(websocket, room)
        found = self.supervisor.find(websocket)
        if found is not None:
            node, connection = found
            if node.loop.is_closed():
                self._loopless.leave(node, connection, room)
            else:
                node.delivery.post(lambda: _leave(node, connection, room))

    def _assign(self, room: Hashable, members: Iterable[Any]) -> None:
        """Make ``members`` the members of ``room``: at the next call on a loop, seen at once."""
        members = list(members)
        for other in self._sockets_of_room(room):
            if not any(other is member for member in members):
                self._remove(other, room)
        self._loopless.put(room, members)


class _RoomFace(_Face):
    """The faces with rooms and users."""

    @_coroutine_function
    def connect(
        self, websocket: Any, room: Hashable | None = None, user_id: Hashable | None = None
    ) -> Coroutine[Any, Any, None]:
        """
        Accept a socket, register it and join ``room``; for a registered one, only join.

        Whatever ends first takes it out again: ``disconnect``, the endpoint, the client, a
        failed send.

        Raises:
            ConnectionRefused: If a limit forbids it; the client was told.
            WebSocketDisconnect: If the client has gone meanwhile.
            UnsupportedSocket: If there is no way to send to it.
        """
        return self._connect(websocket, room, user_id, sockets.endpoint_task())

    @property
    def active_connections(self) -> RoomsView:
        """Room → sockets, live."""
        return RoomsView(self._rooms, self._sockets_of_room, self._assign)

    @active_connections.setter
    def active_connections(self, rooms: dict[Hashable, Iterable[Any]]) -> None:
        """Let tests set rooms; whoever is in no room of ``rooms`` leaves."""
        for room in self._rooms():
            if room not in rooms:
                self._assign(room, ())
        for room, members in rooms.items():
            self._assign(room, members)

    @property
    def user_connections(self) -> RoomsView:
        """User → sockets, live."""
        return RoomsView(self._users, self._sockets_of_user)


class ConnectionManager(_RoomFace):
    """Rooms and users, the message first: AnsFlow's manager. Made as its base class says."""

    async def send_to_room(
        self, message: object, room: Hashable, *, exclude: object = None
    ) -> Receipt:
        """Send to every socket in ``room``; returns a receipt, true if at least one took it."""
        return await self._fan_out(room, message, exclude)

    async def send_to_user(
        self, message: object, user_id: Hashable, *, exclude: object = None
    ) -> Receipt:
        """Send to every socket of a user; returns a receipt, true if at least one took it."""
        return await self._fan_out(user_room(user_id), message, exclude)


class TargetFirstConnectionManager(_RoomFace):
    """Rooms and users, the target first: the commoner order. Made as its base class says."""

    async def send_to_room(
        self, room: Hashable, message: object, *, exclude: object = None
    ) -> Receipt:
        """Send to every socket in ``room``; returns a receipt, true if at least one took it."""
        return await self._fan_out(room, message, exclude)

    async def send_to_user(
        self, user_id: Hashable, message: object, *, exclude: object = None
    ) -> Receipt:
        """Send to every socket of a user; returns a receipt, true if at least one took it."""
        return await self._fan_out(user_room(user_id), message, exclude)


class FlatConnectionManager(_Face):
    """No rooms: the manager of FastAPI's tutorial. Made as its base class says."""

    @_coroutine_function
    def connect(self, websocket: Any) -> Coroutine[Any, Any, None]:
        """
        Accept a socket and register it.

        Raises:
            ConnectionRefused: If a limit forbids it; the client was told.
            WebSocketDisconnect: If the client has gone meanwhile.
            UnsupportedSocket: If there is no way to send to it.
        """
        return self._connect(websocket, None, None, sockets.endpoint_task())

    @property
    def active_connections(self) -> SocketListView:
        """All sockets, live."""
        return SocketListView(
            self._all_sockets,
            self._loopless.append,
            self.disconnect,
        )


def _leave(node: Node, connection: Connection, room: Hashable | None) -> None:
    if connection.reason is not None:
        return
    if room is not None and room in connection.room_names:
        node.rooms.leave(connection, room)
    elif room is not None and connection.room_names:
        return
    if room is None or not connection.room_names:
        node.release(connection, ExitReason(Ending.LEFT, CloseCode.NORMAL))


def _distinct(sockets_: list[Any]) -> list[Any]:
    """Return each socket once; a connection may have let go of its own."""
    return list({id(socket): socket for socket in sockets_ if socket is not None}.values())
