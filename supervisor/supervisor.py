"""
The supervisor: one object for an application, whatever loops and threads it runs in.

It belongs to no loop and can be made at import time. Each event loop that connects a socket
gets a :class:`~supervisor.node.Node` on first use; the broker links the nodes.

All that applications call is on this one class, so it is long; what is behind it is elsewhere:
finding, ending and draining in :mod:`supervisor.nodes`, publishing in :mod:`supervisor.publishing`.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from actors.exits import CloseCode, Ending, ExitReason
from actors.positions import Position
from actors.publications import Publication
from actors.receipts import Receipt
from actors.replay import JoinReply
from supervisor.bounds import check_number
from supervisor.brokers.memory import MemoryBroker
from supervisor.codecs.formats import Formats
from supervisor.connection import ClosedConnection, Connection
from supervisor.errors import InvalidPublication
from supervisor.feeds import Feeds
from supervisor.history.base import PAGE_RECORDS
from supervisor.history_slice import HistorySlice, check_bounds
from supervisor.hooks import Hooks
from supervisor.important import ImportantMessage, Letters, check_ids, inbox_user
from supervisor.nodes import Nodes
from supervisor.policies import RoomPolicies
from supervisor.publishing import Publisher
from supervisor.room_names import EVERYONE, room_name, user_room
from supervisor.server_check import warn_about_server
from supervisor.sessions.begin import Since, Tail, begin_in
from supervisor.sessions.plain import Session
from supervisor.settings import Settings
from supervisor.sockets import check_close_code
from supervisor.state import SupervisorState, check_running
from supervisor.statistics import Statistics, statistics_of
from supervisor.stores import Stores

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from supervisor.node import Node

__all__ = ["Supervisor"]

_NOBODY: frozenset[Hashable] = frozenset()


class Supervisor:
    """
    Supervises the WebSocket connections of an application.

    Args:
        settings: What may be set; without it, ``arguments``, environment and file say.
        on_join: Called with connection and room, once a membership.
        on_leave: Called with connection and room, once a membership.
        on_close: Called with a :class:`~supervisor.registry.ClosedConnection`, once a connection.
        on_offline: Called with an :class:`~supervisor.important.ImportantMessage` that no connection
            of its user may be given when it is sent, and with one that was given up.
        arguments: Settings by name.

    Attributes:
        settings: As they are in force.
        state: Where it is in its life.

    Raises:
        SettingsError: If a setting is unknown or impossible.

    Every method that publishes or sends takes as ``data``: ``str`` for a text frame, ``bytes`` for
    a binary one, anything else for JSON text (MessagePack for a client that asked for it). It is
    encoded for a second wire format when a member needs that: do not change it afterwards. In rooms
    that keep their messages it is what JSON makes of it, for all.
    ``exclude`` is a session, connection or WebSocket, or a collection of them.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        on_join: Callable[[Connection, Any], Awaitable[None] | None] | None = None,
        on_leave: Callable[[Connection, Any], Awaitable[None] | None] | None = None,
        on_close: Callable[[ClosedConnection], Awaitable[None] | None] | None = None,
        on_offline: Callable[[ImportantMessage], Awaitable[None] | None] | None = None,
        **arguments: Any,
    ) -> None:
        if settings is not None and arguments:
            raise TypeError("pass a Settings object or settings by name, not both")
        if settings is not None and not isinstance(settings, Settings):
            raise TypeError(
                f"settings is a Settings object, not {type(settings).__name__}; settings are given "
                "by name: Supervisor(history=..., rooms=...)"
            )
        self.settings = settings if settings is not None else Settings(**arguments)
        self.state = SupervisorState.NEW
        self.formats = Formats()
        self.json = self.formats.json
        self._stores = Stores(self.settings, lambda: check_running(self.state))
        broker = MemoryBroker()
        letters = Letters(self.formats)
        policies = RoomPolicies(self.settings.rooms)
        self._feeds = Feeds(policies, self._stores.history, self._stores.inbox, self.json)
        self._nodes = Nodes(
            self.settings,
            Hooks(on_join, on_leave, on_close, on_offline),
            self._feeds,
            letters,
            broker,
        )
        self._publisher = Publisher(
            self.settings,
            policies,
            broker,
            history=self._stores.history,
            inbox=self._stores.inbox,
            letters=letters,
            codec=self.json,
            open_node=self.open_node,
            nodes=lambda: self.nodes,
        )

    # Life.

    def start(self) -> None:
        """
        Take connections and publications from now on; needs no loop. Idempotent.

        The first session starts it too.
        """
        if self.state is not SupervisorState.RUNNING:
            self.state = SupervisorState.RUNNING
            for node in self._nodes:
                node.draining = False
            warn_about_server()

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """Start, and at the end drain and stop: ``FastAPI(lifespan=supervisor.lifespan)``."""
        self.start()
        try:
            await self._stores.open()
            yield
        finally:
            await self.aclose()

    async def drain(self, timeout: float | None = None) -> None:
        """
        Take no new connection, and close all with 3001 after what waits for them.

        Args:
            timeout: Longest wait, in seconds; ``drain_timeout`` by default.
        """
        if self.state is SupervisorState.RUNNING:
            self.state = SupervisorState.DRAINING
        seconds = self.settings.drain_timeout if timeout is None else timeout
        await self._nodes.drain(seconds)

    async def aclose(self, timeout: float | None = None) -> None:
        """
        Drain, and stop every actor and job. Idempotent; :meth:`start` begins anew.

        Endpoints that do not end are cancelled: after ``shutdown_grace``, or when the time is over.

        Args:
            timeout: Longest wait, in seconds; ``drain_timeout`` by default. What resists being
                cancelled may take some seconds more.
        """
        if self.state is SupervisorState.RUNNING:
            self.state = SupervisorState.DRAINING
        seconds = self.settings.drain_timeout if timeout is None else timeout
        await self._nodes.aclose(seconds)
        await self._stores.aclose()
        self.state = SupervisorState.STOPPED

    # Connections.

    def session(
        self,
        websocket: WebSocket,
        *,
        rooms: Sequence[str] = (),
        user: Hashable | None = None,
        since: Since | Mapping[str, Since] | None = None,
        tail: Tail | Mapping[str, Tail] | None = None,
        envelope: bool = False,
    ) -> Session:
        """
        Return a session to enter: ``async with supervisor.session(websocket, rooms=["a"])``.

        ``rooms``, ``since`` and ``tail`` may be a client's own words, such as ``{room}`` of the path or
        ``websocket.query_params.get("since")``: they are checked when the session is entered, which
        refuses a client with HTTP 400, or with 3501 where it was accepted before.

        Args:
            websocket: Not accepted yet, unless the application wants to do that itself.
            rooms: To join. A name has 1 to 255 characters, no control characters, and no ``$`` first.
            user: Whoever it belongs to: ``send_to_user`` and ``kick`` find it by this.
            since: The client has everything up to this position, and gets what came after it: a
                position, ``"EPOCH:OFFSET"``, or one of these for each room, by its name, which is one of
                ``rooms``. Without it the client begins where the policy of the room says.
            tail: The client begins with so many of the newest messages of each log room; does not
                count where there is a ``since``.
            envelope: Whether messages are in envelopes, which say room and position; see
                :mod:`supervisor.codecs.envelope`. A client gets them, too, when it offers
                the subprotocol ``envelope.json`` or ``envelope.msgpack``.

        Raises:
            InvalidRoomName: If a room is named by anything but a ``str``.
        """
        if isinstance(rooms, str):
            raise TypeError(f"rooms is a sequence of names: rooms=[{rooms!r}]")
        return Session(
            self,
            websocket,
            rooms=rooms,
            user=user,
            since=since,
            tail=tail,
            envelope=envelope,
        )

    async def join(
        self, target: object, room: str, *, since: Since | None = None, tail: Tail | None = None
    ) -> JoinReply:
        """
        Make a connection a member of ``room``; the answer is true if it was none before.

        Args:
            target: A session, connection or WebSocket of the running loop.
            room: Its name.
            since: Where to begin; see :meth:`session`.
            tail: Where to begin; see :meth:`session`.

        Returns:
            Where the room stands, and where the member begins in it.

        Raises:
            JoinRefused: If a limit is reached.
            InvalidRoomName: If there can be no such room.
            UnknownConnection: If it is not connected.
            WrongLoop: If it belongs to another loop.
        """
        node, connection = self._nodes.find_here(target)
        name = room_name(room)
        await self.open_stores()
        begin = begin_in([name], self.policies, since, tail)
        return await node.rooms.join(connection, name, begin.get(name))

    async def leave(self, target: object, room: str) -> None:
        """
        End the membership of a connection in ``room``.

        Raises:
            NotAMember: If it is not in it.
            UnknownConnection: If it is not connected.
            WrongLoop: If it belongs to another loop.
        """
        node, connection = self._nodes.find_here(target)
        node.rooms.leave(connection, room_name(room))

    async def kick(
        self,
        target: object,
        code: int = CloseCode.FORCE_DISCONNECT,
        reason: str = "kicked",
    ) -> int:
        """
        Close a connection, or all connections of a user.

        What waits for them is dropped. From any loop; does not wait for the closing.

        Args:
            target: A session, connection or WebSocket, or a user.
            code: Close code.
            reason: For people; at most 123 bytes of it travel.

        Returns:
            How many connections that was.

        Raises:
            ValueError: If ``code`` cannot travel in a close frame.
        """
        check_close_code(code)
        return self._nodes.end(target, ExitReason(Ending.KICKED, code, reason))

    def members(self, room: str) -> frozenset[Connection]:
        """Return who is in ``room``, in this process; from any thread."""
        return self._nodes.members(room_name(room))

    # Publications.

    async def publish(
        self,
        room: str,
        data: object,
        *,
        key: Hashable | None = None,
        exclude: object = None,
        ttl: float | None = None,
        idempotency_key: str | None = None,
        expect_offset: int | None = None,
    ) -> Receipt:
        """
        Publish to ``room``: everybody who is in it when its turn comes gets it, in order.

        Waits for space in the room's mailbox, and for its turn; never for a socket, unless the
        room's policy says so. In a room that keeps its messages it first waits until this one is
        kept, as ``durability`` says; then nothing undoes it, not even cancelling.

        Args:
            room: A room without members takes it too: the receipt says that nobody did.
            data: See the class.
            key: In an event room: while a message waits for a slow client, a newer one of the same
                key replaces it. In a status room: whose newest value this is; a ``str``.
            exclude: Who does not get it; in event rooms only.
            ttl: Seconds that the value of a key is valid; in status rooms only. ``key_ttl`` of the
                room's policy by default.
            idempotency_key: The same key within 5 minutes publishes once; in rooms that keep.
            expect_offset: Offset that the room must be at, or nothing happens; in rooms that keep.

        Returns:
            How many took it, how many not, and why; and its position, in a room that keeps.

        Raises:
            MailboxFull: If the room had no space within ``publish_timeout``.
            MessageTooLarge: If it is larger than a connection's mailbox.
            UnserialisableData: If it cannot be expressed as JSON.
            InvalidRoomName: If there can be no such room.
            InvalidPublication: If a room of that class has no use for an argument, or lacks one.
            OffsetConflict: If the room is not at ``expect_offset``; it says where it is.
            LogEnded: If the room has ended.
            StoreUnavailable: If it cannot be kept.
            NotStarted, Drained: If the supervisor does not run.
            TimeoutError: If its turn in an event room did not come within ``publish_timeout``, because
                the room waits for members (the overflow ``block``); it is on its way.
            ActorStopped: If the room crashed on it, or was given up before its turn.
        """
        publication = self._publication(room_name(room), data, key, exclude, ttl)
        if not self._stores.opened:
            await self._stores.open()
        return await self._publisher.publish(
            publication, idempotency_key=idempotency_key, expect_offset=expect_offset
        )

    def publish_nowait(
        self,
        room: str,
        data: object,
        *,
        key: Hashable | None = None,
        exclude: object = None,
        ttl: float | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """
        Publish to ``room`` without waiting; from any thread, with or without a loop.

        In a room that keeps its messages this is kept first, in the background: what goes wrong
        there is logged as ``history.refused``. From another thread than that of the room's loop, the
        publication waits for space there, up to ``publish_timeout``; one that finds none is logged as
        ``room.full``.

        Raises:
            MailboxFull: If the room can take no more, or, from another thread, 10,000 wait already.
            StoreFull: If too much waits to be kept.
            StoreUnavailable: If the history is not open: the application's lifespan opens it, and
                so does the first session.
            MessageTooLarge, UnserialisableData, InvalidRoomName, InvalidPublication, NotStarted,
                Drained: As :meth:`publish`.
        """
        publication = self._publication(room_name(room), data, key, exclude, ttl)
        self._publisher.publish_nowait(publication, idempotency_key=idempotency_key)

    async def remove_key(self, room: str, key: str) -> Receipt:
        """
        Say that ``key`` has no value any more in a status room; as :meth:`publish`.

        Clients with envelopes are told. Without, there are no words for it: they see it when they
        join anew.
        """
        check_running(self.state)
        await self.open_stores()
        return await self._publisher.publish(self._publisher.removal(room_name(room), key))

    async def end(self, room: str) -> Position:
        """
        Say that nothing more will be published to a log room; return its last place. Idempotent.

        Members with envelopes are told, those too that join later. Publishing raises ``LogEnded``
        from then on.

        Raises:
            InvalidPublication: If it is no log room.
            StoreUnavailable: If that cannot be kept.
            InvalidRoomName, NotStarted, Drained: As :meth:`publish`.
        """
        check_running(self.state)
        await self.open_stores()
        return await self._publisher.end(room_name(room))

    async def send_to_user(
        self,
        user: Hashable,
        data: object,
        *,
        exclude: object = None,
        important: bool = False,
        expires_after: float | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """
        Publish to every connection of ``user``; as :meth:`publish`.

        An important message is put into the inbox of the user before this returns, and is given to
        the user's connections, now or when there is one, until one of them acknowledges it.

        Args:
            user: Who; a ``str`` or an ``int`` for an important message.
            data: See the class.
            exclude: Who does not get it; not for important messages.
            important: Whether it has to arrive.
            expires_after: Seconds until an important message is given up; the setting
                ``important_expires`` by default.
            idempotency_key: Of several important messages to the user with this key, only the
                first is sent.

        Returns:
            How many connections took it; of an important message, 1: the inbox.

        Raises:
            InvalidPublication: If an argument does not belong here.
            StoreUnavailable: If an important message cannot be kept.
        """
        if not important:
            if expires_after is not None or idempotency_key is not None:
                raise InvalidPublication(
                    "expires_after and idempotency_key are for important messages: important=True"
                )
            return await self.publish_to(user_room(user), data, exclude=exclude)
        if exclude is not None:
            raise InvalidPublication(
                "exclude= is not for important=True: that is for all connections of its user"
            )
        if expires_after is not None and not (
            isinstance(expires_after, int | float) and 0 < expires_after < math.inf
        ):
            raise InvalidPublication(
                f"expires_after is a finite number of seconds above 0, not {expires_after!r}"
            )
        owner = inbox_user(user)
        publication = self._publication(user_room(user), data, None, None, None)
        await self.open_stores()
        return await self._publisher.alerts.send(
            owner,
            publication,
            lasts=self.settings.important_expires if expires_after is None else expires_after,
            idempotency_key=idempotency_key,
        )

    async def acknowledge(self, user: Hashable, *ids: str) -> list[str]:
        """
        Settle important messages of ``user``, as if a client of theirs had acknowledged them.

        Args:
            user: Whose they are.
            ids: Of the messages.

        Returns:
            Which of them were pending.

        Raises:
            StoreUnavailable: If the inbox cannot be written.
            InvalidPublication: If ``user`` cannot have an inbox.
            TypeError: If an id is no ``str``.
        """
        owner = inbox_user(user)
        check_ids(ids)
        await self.open_stores()
        settled = await self._stores.inbox.acknowledge(owner, ids)
        for node in self._nodes:
            node.delivery.post(partial(node.inboxes.settled, owner, settled))
        return settled

    async def pending(self, user: Hashable, *, limit: int = 100) -> list[ImportantMessage]:
        """
        Return the important messages of ``user`` that nobody has acknowledged, oldest first.

        Args:
            user: Whose they are.
            limit: Most messages; from 1.

        Raises:
            ValueError: If ``limit`` is out of its bounds.
            StoreUnavailable: If the inbox cannot be read.
            InvalidPublication: If ``user`` cannot have an inbox.
        """
        owner = inbox_user(user)
        check_number("limit", limit, 1)
        await self.open_stores()
        found = await self._stores.inbox.pending(owner, now=time.time(), limit=limit)
        return [ImportantMessage.of(message) for message in found]

    async def dead_letters(self, *, limit: int = 100) -> list[ImportantMessage]:
        """
        Return important messages that were given up, the newest first; 1,000 of them are kept.

        Args:
            limit: Most messages; from 1.

        Raises:
            ValueError: If ``limit`` is out of its bounds.
            StoreUnavailable: If the inbox cannot be read.
        """
        check_number("limit", limit, 1)
        await self.open_stores()
        return [ImportantMessage.of(each) for each in await self._stores.inbox.dead(limit=limit)]

    async def broadcast(self, data: object, *, exclude: object = None) -> Receipt:
        """Publish to every connection; as :meth:`publish`."""
        return await self.publish_to(EVERYONE, data, exclude=exclude)

    async def publish_to(
        self,
        room: Hashable,
        data: object,
        *,
        key: Hashable | None = None,
        exclude: object = None,
        flush: bool = False,
    ) -> Receipt:
        """
        Publish to a room under any name, internal ones too; what the faces are built on.

        Args:
            room: As the node knows it; not checked.
            data: See the class.
            key: See :meth:`publish`.
            exclude: Who does not get it.
            flush: Whether to wait, ``flush_timeout`` at most, until idle sockets have it.
        """
        publication = self._publication(room, data, key, exclude, None)
        return await self._publisher.publish(publication, flush=flush)

    # What rooms keep.

    async def read_history(
        self,
        room: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = PAGE_RECORDS,
        reverse: bool = False,
    ) -> HistorySlice:
        """
        Return messages that ``room`` keeps, with ``after < offset < before``; a page of them.

        Args:
            room: Its name; one that nothing is known of keeps nothing.
            after: Offset.
            before: Offset; None: to the newest.
            limit: Most messages, 1 to 300; fewer are returned of large ones.
            reverse: Newest first.

        Raises:
            ValueError: If a number is out of its bounds.
            StoreUnavailable: If the history cannot be read.
            InvalidRoomName: If there can be no such room.
        """
        check_bounds(after, before, limit)
        await self.open_stores()
        page = await self._stores.history.read(
            room_name(room), after=after, before=before, limit=limit, reverse=reverse
        )
        return HistorySlice.of(page)

    async def remove_history(self, room: str) -> bool:
        """
        Forget what ``room`` keeps; return whether there was anything.

        Members are told of a gap. What is published afterwards has another epoch.

        Raises:
            StoreUnavailable: If the history cannot be written.
            InvalidRoomName: If there can be no such room.
        """
        await self.open_stores()
        name = room_name(room)
        removed = await self._stores.history.remove(name)
        for node in self._nodes:
            node.delivery.post(partial(node.rooms.look_again, name))
        return removed

    # Looking.

    @property
    def nodes(self) -> list[Node]:
        """The nodes of this process; from any thread."""
        return list(self._nodes)

    @property
    def closed(self) -> list[ClosedConnection]:
        """The last closed connections, the newest last."""
        return list(self._nodes.closed)

    @property
    def healthy(self) -> bool:
        """False once a room has crashed more often than ``restart_intensity`` allows."""
        return not any(node.rooms.failed for node in self._nodes)

    @property
    def ready(self) -> bool:
        """Whether it runs, and its stores keep what they promise: for a readiness check."""
        return self.state is SupervisorState.RUNNING and self._stores.healthy

    @property
    def policies(self) -> RoomPolicies:
        """
        What rooms keep and give up, by pattern of their names; ``print`` shows the class of each.

        ``supervisor.policies.resolve("log:build-7")`` returns the
        :class:`~supervisor.room_policy.RoomPolicy` that a room of this name has, or would have, and
        ``.feed`` of that is its class.
        """
        return self._feeds.policies

    async def open_stores(self) -> None:
        """
        Open the history, if that was not done: the lifespan does, and the first session. Idempotent.

        Raises:
            StoreUnavailable: If it cannot be used.
            NotStarted, Drained: If the supervisor does not run, so that nobody would close it.
        """
        await self._stores.open()

    def statistics(self) -> Statistics:
        """Return a snapshot; from any thread."""
        return statistics_of(self.nodes, self._publisher.losses)

    def find(self, target: object) -> tuple[Node, Connection] | None:
        """Return the registered connection of a session, connection or WebSocket, and its node."""
        return self._nodes.find(target)

    def open_node(self) -> Node:
        """
        Return the node of the running loop, made on first use; the first one starts all.

        Raises:
            Drained: If there is none, and nobody would close it any more.
        """
        node = self._nodes.here()
        if node is None:
            if self.state is SupervisorState.NEW:
                self.start()
            check_running(self.state)
            node = self._nodes.open(
                draining=lambda: self.state is not SupervisorState.RUNNING,
            )
        return node

    def _publication(
        self,
        room: Hashable,
        data: object,
        key: Hashable | None,
        exclude: object,
        ttl: float | None,
    ) -> Publication:
        check_running(self.state)
        excluded = _NOBODY if exclude is None else self._nodes.ids_of(exclude)
        return self._publisher.publication(room, data, key=key, exclude=excluded, ttl=ttl)
