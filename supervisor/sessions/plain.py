"""
Plain sessions: what the application sends is what the client gets.

``str`` is a text frame unchanged, ``bytes`` a binary one, other data is JSON text, or
MessagePack binary for a client that offered the subprotocol ``msgpack``. No envelope is added.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Hashable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from actors.exits import CloseCode, Ending, ExitReason
from actors.messages import Chunk
from actors.replay import JoinReply
from supervisor import sockets
from supervisor.errors import (
    ConnectionRefused,
    InvalidMessage,
    SessionEnded,
    UnknownConnection,
    UnsupportedSocket,
)
from supervisor.origins import origin_allowed
from supervisor.room_names import room_name, text_name
from supervisor.sessions.begin import Since, Tail, begin_in, check_names

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from supervisor.connection import Connection
    from supervisor.node import Node
    from supervisor.supervisor import Supervisor

__all__ = ["Session"]


class Session:
    """
    One socket, for as long as its endpoint lasts: ``async with supervisor.session(...)``.

    Entering refuses, or accepts, registers and joins. Leaving flushes and closes: with 1000,
    after an exception with 1011; nothing of it stays. When the client goes, :meth:`receive`
    raises, iteration ends, :meth:`send` raises, and a body that does none of these is
    cancelled after ``disconnect_grace`` seconds; outside, that is a ``WebSocketDisconnect`` too (:class:`~supervisor.errors.SessionEnded`).

    Made by :meth:`supervisor.supervisor.Supervisor.session`. Belongs to the loop on which it was
    entered: elsewhere its methods raise :class:`~actors.errors.WrongLoop`.

    Attributes:
        joined: Where each room stood when the session joined it, and where the client begins there.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        websocket: WebSocket,
        *,
        rooms: Sequence[str],
        user: Hashable | None,
        since: Since | Mapping[str, Since] | None = None,
        tail: Tail | Mapping[str, Tail] | None = None,
        envelope: bool = False,
    ) -> None:
        if not isinstance(user, Hashable):  # found by it among the connections
            raise TypeError(f"user is hashable, such as a str or an int, not {repr(user)[:80]}")
        self._supervisor = supervisor
        self._formats = supervisor.formats
        self._websocket = websocket
        self._since = since
        self._tail = tail
        self._envelope = envelope
        self.joined: dict[str, JoinReply] = {}
        self._wanted = list(dict.fromkeys(text_name(room) for room in rooms))
        self._user = user
        self._entered_node: Node | None = None
        self._connection: Connection | None = None
        self._detached = False

    @property
    def connection(self) -> Connection:
        """
        The registered connection.

        Raises:
            UnknownConnection: Before the session was entered.
        """
        if self._connection is None:
            raise _not_entered()
        return self._connection

    @property
    def _node(self) -> Node:
        if self._entered_node is None:
            raise _not_entered()
        return self._entered_node

    @property
    def user(self) -> Hashable | None:
        """Whoever the endpoint said the socket belongs to."""
        return self._user

    @property
    def rooms(self) -> frozenset[Hashable]:
        """Rooms that it is in now."""
        return self.connection.rooms

    @property
    def connected(self) -> bool:
        """Whether it can still be sent to."""
        return self.connection.connected

    async def __aenter__(self) -> Self:
        """
        Refuse the socket, or accept and register it and join its rooms.

        Raises:
            ConnectionRefused: If the origin, or a limit, forbids it, or its words say nothing, or name
                no room; the client was told.
            WebSocketDisconnect: If the client has gone meanwhile.
            UnsupportedSocket: If it is no Starlette WebSocket.
            RuntimeError: If the session was entered before, or something else has the socket.
        """
        if self._entered_node is not None:
            raise RuntimeError("a session is entered once; this one was entered before")
        websocket = self._websocket
        if not sockets.is_websocket(websocket):
            raise UnsupportedSocket(
                f"a session needs a Starlette or FastAPI WebSocket, not {type(websocket).__name__}"
            )
        sockets.end_quietly(websocket)
        node = await sockets.node_for(websocket, self._supervisor.open_node)
        self._entered_node = node
        try:
            self._check_origin(node)
            check_names(self._wanted)
            begins = begin_in(self._wanted, self._supervisor.policies, self._since, self._tail)
            node.check_open()
            await self._supervisor.open_stores()
            with node.place(self._user, sockets.client_address(websocket), self._wanted):
                subprotocol, encoder = self._formats.choose(
                    websocket.scope.get("subprotocols") or (), envelope=self._envelope
                )
                await sockets.accept(
                    websocket, subprotocol=subprotocol, timeout=node.settings.accept_timeout
                )
                node.check_open()
                connection = self._connection = sockets.adopt(
                    node,
                    websocket,
                    encoder,
                    user=self._user,
                    endpoint=asyncio.current_task(),
                    watch_end=False,
                )
        except ConnectionRefused as refusal:
            node.refused(refusal, self._user)
            await sockets.refuse(websocket, refusal)
            raise
        connection.supervised = True
        try:
            await node.rooms.join_internal(connection)
            for room in self._wanted:
                self.joined[room] = await node.rooms.join(connection, room, begins.get(room))
        except BaseException as error:
            if await sockets.leave_endpoint(node, connection, error):
                raise self._disconnect() from None
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Flush and close, within the close deadline; a detached socket stays open."""
        if self._detached:
            return
        if await sockets.leave_endpoint(self._node, self.connection, error):
            raise self._disconnect() from None  # `error` cancelled the endpoint for that

    def __aiter__(self) -> Self:
        """Iterate over the client's messages, until it goes."""
        return self

    async def __anext__(self) -> str | bytes:
        """Return the next message, as :meth:`receive`; the end of the client ends the iteration."""
        try:
            return await self.receive()
        except InvalidMessage:
            raise
        except SessionEnded:
            raise StopAsyncIteration from None

    async def receive(self) -> str | bytes:
        """
        Return the next message: ``str`` of a text frame, ``bytes`` of a binary one.

        Cancelling loses no message.

        Raises:
            WebSocketDisconnect: When the client has gone, or the session was closed.
            InvalidMessage: If the message is larger than ``max_message_bytes``; the socket was
                closed with 1009.
        """
        self._node.check_loop()
        inbound = self.connection.inbound
        assert inbound is not None  # a session has a WebSocket
        encoder = self.connection.actor.encoder
        while True:
            event = await inbound.receive()
            if event["type"] == "websocket.disconnect":
                raise self._disconnect(event)
            text: str | None = event.get("text")
            message: str | bytes = event["bytes"] if text is None else text
            acknowledged = self._formats.acknowledged(encoder, message)
            if acknowledged is None:
                break
            self._node.inboxes.acknowledge(self.connection, acknowledged)
        limit = self._node.settings.max_message_bytes
        if len(message) > limit or (text is not None and _utf8_longer_than(text, limit)):
            raise self._invalid(CloseCode.MESSAGE_TOO_BIG, f"a message may have {limit} bytes")
        return message

    async def receive_text(self) -> str:
        """
        Return the next message, which is to be text.

        Raises:
            InvalidMessage: If it is binary; the socket was closed with 1003.
            WebSocketDisconnect: As :meth:`receive`.
        """
        message = await self.receive()
        if isinstance(message, bytes):
            raise self._invalid(CloseCode.UNSUPPORTED_DATA, "expected text, got a binary message")
        return message

    async def receive_bytes(self) -> bytes:
        """
        Return the next message, which is to be binary.

        Raises:
            InvalidMessage: If it is text; the socket was closed with 1003.
            WebSocketDisconnect: As :meth:`receive`.
        """
        message = await self.receive()
        if isinstance(message, str):
            raise self._invalid(CloseCode.UNSUPPORTED_DATA, "expected binary, got a text message")
        return message

    async def receive_json(self) -> Any:
        """
        Return the data of the next message: JSON text, or MessagePack where that was agreed on.

        Raises:
            InvalidMessage: If it is neither; the socket was closed with 1007 or 1003.
            WebSocketDisconnect: As :meth:`receive`.
        """
        if self._formats.is_binary(self.connection.actor.encoder):
            packed = await self.receive_bytes()
            try:
                return self._formats.msgpack.decode(packed)
            except ValueError as error:
                raise self._invalid(CloseCode.INVALID_PAYLOAD, str(error)) from None
        text = await self.receive_text()
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._invalid(CloseCode.INVALID_PAYLOAD, f"no JSON: {error}") from None

    async def send(self, data: object) -> None:
        """
        Send to this client alone, in order with what its rooms send.

        Never dropped: waits while the mailbox is full, which is the backpressure on an
        endpoint that produces faster than its client reads. Cancelling sends nothing, or all.

        Raises:
            WebSocketDisconnect: If the client has gone, also while it waited.
            MessageTooLarge: If it is larger than ``mailbox_bytes``.
            UnserialisableData: If the wire format cannot express the data.
        """
        self._node.check_loop()
        frame = self._node.frame(self.connection, data)
        if not self.connection.connected:
            raise self._disconnect()
        await sockets.send(self.connection, Chunk((frame,), pinned=True), written=False)

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """
        Flush and close, within the close deadline. Idempotent.

        Raises:
            ValueError: If ``code`` cannot travel in a close frame.
        """
        sockets.check_close_code(code)
        self._node.check_loop()
        self._node.end(self.connection, ExitReason(Ending.LEFT, code, reason), flush=True)
        await self.connection.wait_closed()

    async def join(
        self, room: str, *, since: Since | None = None, tail: Tail | None = None
    ) -> JoinReply:
        """
        Join ``room``; the answer is true if it was in it not before.

        Args:
            room: Its name.
            since: Where to begin; see :meth:`supervisor.supervisor.Supervisor.session`.
            tail: Where to begin; see there.

        Raises:
            JoinRefused: If a limit is reached, or the client has gone.
            InvalidRoomName: If it cannot be the name of a room.
            ConnectionRefused: With 3501, if ``since`` or ``tail`` are words that say nothing.
        """
        self._node.check_loop()
        name = room_name(room)
        begin = begin_in([name], self._supervisor.policies, since, tail)
        reply = await self._node.rooms.join(self.connection, name, begin.get(name))
        if reply:
            self.joined[name] = reply
        return reply

    async def leave(self, room: str) -> None:
        """
        Leave ``room``.

        Raises:
            NotAMember: If it is not in it.
        """
        self._node.check_loop()
        self._node.rooms.leave(self.connection, room_name(room))

    def detach(self) -> bool:
        """
        Leave the socket to its actor, for an endpoint that only listens for the client.

        Where this returns True the endpoint is to return: the socket stays open and in its rooms,
        and costs no task. What the client sends is read and let go, but for acknowledgements.

        Returns:
            Whether that is possible: not for a server that lets nobody but endpoints write.
        """
        node, connection = self._node, self.connection
        encoder = connection.actor.encoder

        def heard(message: str | bytes) -> None:
            node.inboxes.acknowledge(connection, self._formats.acknowledged(encoder, message) or ())

        acknowledges = self._formats.is_envelope(encoder)
        self._detached = sockets.detach(node, connection, heard if acknowledges else None)
        return self._detached

    def _check_origin(self, node: Node) -> None:
        headers = self._websocket.headers
        allowed = node.settings.allowed_origins
        origin = headers.get("origin")
        if not origin_allowed(origin, headers.get("host"), allowed):
            raise ConnectionRefused(
                CloseCode.PERMISSION_DENIED,
                f"pages of {origin} may not connect; allowed_origins names those that may",
            )

    def _invalid(self, code: int, reason: str) -> InvalidMessage:
        self._node.end(self.connection, ExitReason(Ending.PROTOCOL, code, reason))
        return InvalidMessage(code, reason)

    def _disconnect(self, event: Any = None) -> SessionEnded:
        reason = self.connection.reason
        if event is None and reason is not None:
            return SessionEnded(int(reason.code), reason.text)
        if event is None:
            return SessionEnded(CloseCode.ABNORMAL)
        return SessionEnded(event.get("code", CloseCode.NO_STATUS), event.get("reason"))


def _not_entered() -> UnknownConnection:
    return UnknownConnection("the session was not entered: use `async with`")


def _utf8_longer_than(text: str, limit: int) -> bool:
    """Whether ``text`` has more bytes than ``limit``; looks only where that is possible."""
    return len(text) * 4 > limit and len(text.encode("utf-8", "surrogatepass")) > limit
