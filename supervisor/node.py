"""
A node: one event loop, its connections and its rooms.

The node spawns connection and room actors, restarts rooms that crash, and reaps connections:
exactly once each, on whichever comes first, in O(rooms of that connection). Actors never
cross loops, so everything here belongs to the node's loop unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from actors.actor import Actor
from actors.connection import ConnectionActor, ConnectionState
from actors.errors import MailboxFull, RoomFull, WrongLoop
from actors.exits import CloseCode, Ending, ExitReason
from actors.interfaces import Encoder
from actors.mailbox import Mailbox
from actors.membership import Membership
from actors.messages import Chunk, Join, Leave, Publication, Publish, RoomMessage
from actors.overflow import DropReason, Offer, Overflow
from actors.receipts import FlushLatch, Receipt
from actors.ref import ActorRef
from actors.room import RoomActor
from actors.runtime import Cell, Runtime
from supervisor.admission import Admission
from supervisor.errors import ConnectionRefused, JoinRefused, NotAMember
from supervisor.hooks import Hooks
from supervisor.liveness import watch_liveness
from supervisor.registry import ClosedConnection, Connection, Registry, Socket
from supervisor.restart import RestartWindow
from supervisor.server_signals import when_uvicorn_stops
from supervisor.settings import Settings
from supervisor.telemetry.logging import event_logger
from supervisor.transports.inbound import Inbound

__all__ = ["EVERYONE", "Node", "user_room"]

EVERYONE = "$everyone"
"""The room that every connection is in: a broadcast is a publication there."""

REFUSAL_LOG_PERIOD = 10.0
"""Seconds between two log lines about refusals for the same reason."""

HANDED_OVER = 10_000
"""Publications of other threads that may wait for a node's loop."""


def user_room(user: Hashable) -> Hashable:
    """Return the room that every connection of ``user`` is in."""
    return f"user:{user}" if isinstance(user, str) else ("user", user)


@dataclass(slots=True)
class Room:
    """What the node keeps of a room while it has members, whatever becomes of its actor."""

    ref: ActorRef[RoomMessage]
    membership: Membership[ConnectionActor]
    crashes: RestartWindow


class Node:
    """
    The machine of one event loop; made on that loop.

    Args:
        settings: What may be set.
        hooks: The application's.
        closed: Called with each reaped connection.
    """

    def __init__(
        self, settings: Settings, hooks: Hooks, closed: Callable[[ClosedConnection], None]
    ) -> None:
        self.settings = settings
        self.runtime = Runtime(on_exit=self._actor_exited, on_fault=self._fault)
        self.loop = self.runtime.loop
        self.registry = Registry()
        self.admission = Admission(settings, self.registry)
        self.rooms: dict[Hashable, Room] = {}
        self.failed_rooms: deque[Hashable] = deque(maxlen=100)
        self.dropped: Counter[str] = Counter()
        self.refusals: Counter[int] = Counter()
        self._refusals_logged: dict[int, float] = {}
        self.draining = False
        self.log = event_logger()
        self._hooks = hooks
        self._closed = closed
        self._actors: dict[ConnectionActor, Connection] = {}
        self._endpoints: dict[Connection, None] = {}  # that have not ended
        self.open = 0  # connection actors that have not stopped
        self._all_closed: asyncio.Future[None] | None = None
        self._handed_over = 0
        self._handing_over = threading.Lock()
        self._sweep_later()
        self._forget_signals = when_uvicorn_stops(lambda: self._post(self.server_stops))

    # Connections.

    @contextmanager
    def place(
        self, user: Hashable | None, client: str | None, rooms: Collection[Hashable]
    ) -> Iterator[None]:
        """
        Hold a place for a connection until it is registered, which is to happen within.

        Raises:
            ConnectionRefused: If the node drains, or a limit is reached.
        """
        if self.draining:
            raise ConnectionRefused(CloseCode.SHUTDOWN, "the server shuts down", 503)
        self.admission.check_rooms(len(rooms))
        limit = self.settings.max_connections_per_room
        for name in rooms:
            room = self.rooms.get(name)
            if limit is not None and room is not None and len(room.membership) >= limit:
                raise ConnectionRefused(
                    CloseCode.ROOM_LIMIT, f"room {name} has its {limit} connections", 429
                )
        with self.admission.place(user, client):
            yield

    def refused(self, refusal: ConnectionRefused, user: Hashable | None) -> None:
        """Count a refusal; log the first of its kind, and then one a while with the count."""
        self.refusals[refusal.code] += 1
        quiet_until = self._refusals_logged.get(refusal.code, float("-inf")) + REFUSAL_LOG_PERIOD
        if self.runtime.clock() >= quiet_until:
            self._refusals_logged[refusal.code] = self.runtime.clock()
            self.log.warning(
                "connection.refused",
                user=user,
                code=int(refusal.code),
                reason=refusal.reason,
                total=self.refusals[refusal.code],
            )

    def check_loop(self) -> None:
        """
        Check that the caller runs on this node's loop.

        Raises:
            WrongLoop: If not.
        """
        if not self.local:
            raise WrongLoop(
                "the connection belongs to another event loop; from other loops and threads use "
                "publish_nowait(), send_to_user() or kick()"
            )

    def register(
        self,
        websocket: Any,
        transport: Socket,
        encoder: Encoder,
        *,
        user: Hashable | None,
        client: str | None,
        inbound: Inbound | None = None,
    ) -> Connection:
        """Start the actor of an accepted socket and register it; it is in no room yet."""
        settings = self.settings
        connection = Connection(
            uuid.uuid4().hex,
            websocket,
            user=user,
            client=client,
            opened_clock=self.runtime.clock(),
        )
        connection.inbound = inbound
        connection.transport = transport
        actor = connection.actor = ConnectionActor(
            connection.id,
            transport,
            encoder,
            self,
            send_timeout=settings.send_timeout,
            close_timeout=settings.close_timeout,
        )
        self._actors[actor] = connection
        self.open += 1
        self.registry.add(connection)
        self.runtime.spawn(
            actor,
            Mailbox[Chunk](
                settings.mailbox_messages, settings.mailbox_bytes, settings.overflow
            ),
            name=f"connection {connection.id}",
        )
        watch_liveness(connection, self.runtime, settings, self.end)
        self.log.debug("connection.opened", connection=connection.id, user=user, client=client)
        return connection

    async def join(self, connection: Connection, room: Hashable) -> bool:
        """
        Make ``connection`` a member of ``room``; return whether it was none before.

        Raises:
            JoinRefused: If a limit is reached, or the connection has ended meanwhile.
        """
        return await self._join(connection, room, internal=False)

    async def join_internal(self, connection: Connection) -> None:
        """Join the rooms that every connection is in: everyone's, and its user's."""
        await self._join(connection, EVERYONE, internal=True)
        if connection.user is not None:
            await self._join(connection, user_room(connection.user), internal=True)

    async def _join(self, connection: Connection, name: Hashable, *, internal: bool) -> bool:
        names = connection.room_names
        if not internal:
            limit = self.settings.max_rooms_per_connection
            if name not in names and len(names) >= limit:
                raise JoinRefused(
                    CloseCode.ROOM_LIMIT, f"a connection may be in {limit} rooms"
                )
        new = not internal and name not in names
        if new:
            names.add(name)
        try:
            if connection.reason is not None:
                raise JoinRefused(connection.reason.code, "the connection has ended")
            joined = await self.room(name, internal=internal).ref.ask(
                Join(connection.actor), timeout=self.settings.publish_timeout, at_once=True
            )
            if connection.reason is not None:  # it ended while the room was busy
                raise JoinRefused(connection.reason.code, "the connection has ended")
        except BaseException as error:
            if new or internal:
                names.discard(name)
                self._tell_leave(connection, name)  # it waits behind the join, if that waits
            if isinstance(error, RoomFull):
                raise JoinRefused(CloseCode.ROOM_LIMIT, str(error)) from error
            raise
        return joined or new

    def join_nowait(self, connection: Connection, room: Hashable) -> None:
        """As :meth:`join`, without waiting for a room that is busy, and without limits."""
        connection.room_names.add(room)
        self.room(room).ref.tell(Join(connection.actor), at_once=True)

    def assign_user(self, connection: Connection, user: Hashable) -> None:
        """Make ``connection`` that of ``user``, whosever it was before."""
        if connection.user == user:
            return
        if connection.user is not None:
            self._tell_leave(connection, user_room(connection.user))
        self.registry.assign_user(connection, user)
        self.room(user_room(user), internal=True).ref.tell(
            Join(connection.actor), at_once=True
        )

    async def send(self, connection: Connection, data: object) -> bool:
        """
        Send to one connection; wait a little, ``flush_timeout``, for an idle socket.

        Returns:
            Whether it was written, or waits: never whether it arrived.

        Raises:
            UnserialisableData: If its wire format cannot express the data.
        """
        latch = FlushLatch()
        latch.add()
        frame = connection.actor.encoder.encode(data)
        offer = connection.actor.deliver(Chunk((frame,), on_settled=latch.count_down))
        if not offer.taken:
            return False
        await latch.wait(self.settings.flush_timeout)
        return not latch.failed

    def leave(self, connection: Connection, room: Hashable) -> None:
        """
        End the membership of ``connection`` in ``room``: no later publication reaches it.

        Raises:
            NotAMember: If it is in no such room.
        """
        if room not in connection.room_names:
            raise NotAMember(f"connection {connection.id} is not in room {room!r}")
        connection.room_names.discard(room)
        if connection.user is None or room != user_room(connection.user):
            self._tell_leave(connection, room)

    def reap(self, connection: Connection, reason: ExitReason) -> None:
        """
        Deregister ``connection``: from every room, index and limit. Idempotent.

        Its actor may go on to flush and close the socket, or to write what the endpoint itself
        still sends; nobody else can reach it any more.
        """
        if connection.reason is not None:
            return
        connection.reason = reason
        (self.log.warning if reason.ending in _TROUBLE else self.log.info)(
            "connection.closed",
            connection=connection.id,
            user=connection.user,
            ending=reason.ending.value,
            code=int(reason.code),
            reason=reason.text,
        )
        for timer in connection.timers:
            timer.cancel()
        connection.timers.clear()
        self.registry.remove(connection)
        for room in connection.room_names:
            self._tell_leave(connection, room)
        self._tell_leave(connection, EVERYONE)
        if connection.user is not None:
            self._tell_leave(connection, user_room(connection.user))
        self._remember(connection, reason)
        connection.room_names.clear()
        self._limit_endpoint(connection, reason)

    def end(self, connection: Connection, reason: ExitReason, *, flush: bool = False) -> None:
        """Reap ``connection`` and close its socket, in the background. Idempotent."""
        connection.actor.close(reason, flush=flush)
        self.reap(connection, reason)

    def release(self, connection: Connection, reason: ExitReason) -> None:
        """
        Reap ``connection`` and leave its socket to its endpoint, which may still use it.

        A socket without an endpoint, as in tests with stubs, is let go as it is.
        """
        self.reap(connection, reason)
        if connection.inbound is None:
            connection.actor.close(reason, flush=True, silent=True)

    def endpoint_ended(self, connection: Connection) -> bool:
        """
        Take note that the endpoint of ``connection`` has ended; the caller closes the socket.

        Returns:
            Whether the endpoint was cancelled because its client had gone.
        """
        self._endpoints.pop(connection, None)
        if connection.grace is not None:
            connection.grace.cancel()
        task, connection.endpoint = connection.endpoint, None
        if not connection.cancelled or task is None:
            return False
        connection.cancelled = False
        task.uncancel()
        return True

    def _limit_endpoint(self, connection: Connection, reason: ExitReason) -> None:
        """Give the endpoint of a reaped connection a little time to end by itself."""
        stopping = reason.ending is Ending.SHUTDOWN or reason.code == CloseCode.SERVICE_RESTART
        if stopping:
            self._cancel_endpoint_in(connection, self.settings.shutdown_grace)
        elif connection.supervised:
            self._cancel_endpoint_in(connection, self.settings.disconnect_grace)

    def _cancel_endpoint_in(self, connection: Connection, grace: float) -> None:
        task = connection.endpoint
        if task is None:
            return

        def cancel() -> None:
            if connection.endpoint is task and not task.done():
                connection.cancelled = True
                task.cancel()

        if connection.grace is not None:
            connection.grace.cancel()
        connection.grace = self.runtime.call_later(grace, cancel)

    def watch_endpoint(self, connection: Connection, task: asyncio.Task[Any] | None) -> None:
        """Remember the endpoint of ``connection`` until :meth:`endpoint_ended`."""
        if task is not None:
            connection.endpoint = task
            self._endpoints[connection] = None

    def server_stops(self) -> None:
        """Give every endpoint, those whose clients have gone too, a little time to end."""
        for connection in list(self._endpoints):
            self._cancel_endpoint_in(connection, self.settings.shutdown_grace)

    def room(self, name: Hashable, *, internal: bool = False) -> Room:
        """Return the room, with an actor to talk to; made when there is none."""
        room = self.rooms.get(name)
        if room is None:
            membership: Membership[ConnectionActor] = Membership()
            room = Room(
                self._spawn_room(name, membership, internal=internal),
                membership,
                RestartWindow(self.settings.restart_intensity, self.settings.restart_period),
            )
            self.rooms[name] = room
        return room

    def members(self, room: Hashable) -> list[Connection]:
        """Return who is in ``room``; may be called from any thread."""
        found = self.rooms.get(room)
        if found is None:
            return []
        members = (self._actors.get(actor) for actor in found.membership.snapshot())
        return [
            member
            for member in members
            if member is not None and member.reason is None and room in member.room_names
        ]

    # Publications; this is what a broker calls back.

    @property
    def local(self) -> bool:
        """Whether the caller runs on this node's loop."""
        return asyncio._get_running_loop() is self.loop

    async def deliver(
        self, room: Hashable, publication: Publication, *, flush: bool
    ) -> Receipt:
        """See :class:`supervisor.brokers.base.BrokerNode`."""
        found = self.rooms.get(room)
        if found is None:
            return Receipt()
        latch = FlushLatch() if flush else None
        receipt = await found.ref.ask(
            Publish(publication, latch), timeout=self.settings.publish_timeout
        )
        if latch is not None:
            await latch.wait(self.settings.flush_timeout)
            receipt = receipt.lost(latch.failed, DropReason.SEND_FAILED)
        return receipt

    def deliver_nowait(self, room: Hashable, publication: Publication) -> None:
        """See :class:`supervisor.brokers.base.BrokerNode`."""
        if self.local:
            self._tell_publish(room, publication)
            return
        with self._handing_over:
            if self._handed_over >= HANDED_OVER:
                raise MailboxFull(f"{HANDED_OVER} publications wait for the loop of the node")
            self._handed_over += 1
        self._post(lambda: self._handed(room, publication))

    async def deliver_from_afar(
        self, room: Hashable, publication: Publication, *, flush: bool
    ) -> Receipt:
        """See :class:`supervisor.brokers.base.BrokerNode`."""
        if room not in self.rooms or not self.loop.is_running():
            return Receipt()
        there = asyncio.run_coroutine_threadsafe(
            self.deliver(room, publication, flush=flush), self.loop
        )
        try:
            return await asyncio.wait_for(
                asyncio.wrap_future(there), self.settings.flush_timeout + 1.0
            )
        except (MailboxFull, TimeoutError):
            self.dropped[DropReason.ROOM_FULL.value] += 1
            self.log.warning("room.full", room=room)
            return Receipt(0, {DropReason.ROOM_FULL: 1})

    def post(self, call: Callable[[], None]) -> None:
        """Run ``call`` on the node's loop, from any thread: at once if that is here."""
        if self.local:
            call()
        else:
            self._post(call)

    def _post(self, call: Callable[[], None]) -> None:
        try:
            self.loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop was closed; with it went its sockets
            self.log.debug("node.gone")

    def _handed(self, room: Hashable, publication: Publication) -> None:
        with self._handing_over:
            self._handed_over -= 1
        try:
            self._tell_publish(room, publication)
        except MailboxFull:
            self.dropped[DropReason.ROOM_FULL.value] += 1
            self.log.warning("room.full", room=room)

    def _tell_publish(self, room: Hashable, publication: Publication) -> None:
        found = self.rooms.get(room)
        if found is not None and found.ref.tell(Publish(publication)) is Offer.FULL:
            raise MailboxFull(
                f"room {room!r} holds its {self.settings.room_mailbox_messages} messages; await "
                "publish() to wait for space"
            )

    # What actors tell: connections.

    def connection_ended(self, actor: ConnectionActor, reason: ExitReason) -> None:
        """See :class:`actors.interfaces.ConnectionListener`."""
        connection = self._actors[actor]
        self.reap(connection, reason)
        if connection.inbound is not None:
            connection.inbound.end(reason.code, reason.text)

    def connection_lagging(self, actor: ConnectionActor, reason: DropReason) -> None:
        """See :class:`actors.interfaces.ConnectionListener`."""
        connection = self._actors[actor]
        self.log.warning(
            "mailbox.overflow",
            connection=connection.id,
            user=connection.user,
            policy=reason.value,
            waiting=len(actor.cell.mailbox),
        )

    def connection_caught_up(self, actor: ConnectionActor, dropped: int) -> None:
        """See :class:`actors.interfaces.ConnectionListener`."""
        self.log.warning(
            "mailbox.recovered", connection=self._actors[actor].id, dropped=dropped
        )

    # What actors tell: rooms.

    def member_joined(self, room: Hashable, actor: ConnectionActor) -> None:
        """See :class:`actors.interfaces.RoomListener`."""
        connection = self._actors.get(actor)
        if connection is None:  # it ended while the join waited; its leave waits behind it
            return
        connection.memberships += 1
        if room in connection.room_names:
            connection.hooked_rooms.add(room)
            self._call_hook("on_join", self._hooks.on_join, connection, room)

    def member_left(self, room: Hashable, actor: ConnectionActor) -> None:
        """See :class:`actors.interfaces.RoomListener`."""
        connection = self._actors.get(actor)
        if connection is None:
            return
        connection.memberships -= 1
        if room in connection.hooked_rooms:
            connection.hooked_rooms.discard(room)
            self._call_hook("on_leave", self._hooks.on_leave, connection, room)
        self._let_go(connection)

    def room_empty(self, room: Hashable) -> bool:
        """See :class:`actors.interfaces.RoomListener`."""
        return self.rooms.pop(room, None) is not None

    def room_dropped(self, room: Hashable, reason: DropReason, count: int) -> None:
        """See :class:`actors.interfaces.RoomListener`."""
        if reason not in _COUNTED_BY_CONNECTION:
            self.dropped[reason.value] += count

    def _tell_leave(self, connection: Connection, room: Hashable) -> None:
        found = self.rooms.get(room)
        if found is not None:
            found.ref.tell(Leave(connection.actor), at_once=True)

    def _spawn_room(
        self, name: Hashable, membership: Membership[ConnectionActor], *, internal: bool
    ) -> ActorRef[RoomMessage]:
        settings = self.settings
        return self.runtime.spawn(
            self._room_actor(name, membership, internal=internal),
            Mailbox[RoomMessage](
                settings.room_mailbox_messages, settings.room_mailbox_bytes, Overflow.REFUSE
            ),
            name=f"room {name!r}",
        )

    def _room_actor(
        self, name: Hashable, membership: Membership[ConnectionActor], *, internal: bool
    ) -> RoomActor[ConnectionActor]:
        capacity = None if internal else self.settings.max_connections_per_room
        return RoomActor(name, membership, self, self._fault, capacity=capacity)

    # What the runtime tells.

    def _actor_exited(self, cell: Cell[Any], reason: ExitReason) -> Actor[Any] | None:
        actor = cell.actor
        if isinstance(actor, ConnectionActor):
            self._connection_exited(actor, reason)
            return None
        if not isinstance(actor, RoomActor) or reason.ending is not Ending.CRASHED:
            return None
        room = self.rooms.get(actor.name)
        if room is None or room.ref is not cell.ref:
            return None
        self.log.error(
            "room.crashed", room=actor.name, members=len(room.membership), exc_info=reason.error
        )
        if room.crashes.allows(self.runtime.clock()):
            return actor.successor()
        self._fail_room(actor.name, room)
        return None

    def _fail_room(self, name: Hashable, room: Room) -> None:
        """Give a room up that crashes again and again: its members come back to a new one."""
        del self.rooms[name]
        self.failed_rooms.append(name)
        self.log.critical("room.failed", room=name, members=len(room.membership))
        reason = ExitReason(
            Ending.ROOM_FAILED, CloseCode.ROOM_FAILED, f"room {name} failed"
        )
        for actor in room.membership.snapshot():
            room.membership.leave(actor)
            actor.close(reason)
            self.member_left(name, actor)

    def _connection_exited(self, actor: ConnectionActor, reason: ExitReason) -> None:
        connection = self._actors[actor]
        if reason.ending is Ending.CRASHED:
            self.log.error("connection.crashed", connection=connection.id, exc_info=reason.error)
            self.reap(connection, reason)
        connection.finished()
        if actor.lost:
            self.dropped[DropReason.SEND_FAILED.value] += actor.lost
        self.open -= 1
        if not self.open and self._all_closed is not None and not self._all_closed.done():
            self._all_closed.set_result(None)
        self._let_go(connection)

    def _let_go(self, connection: Connection) -> None:
        """Drop the last references once the socket is done with and no room has it."""
        if (
            connection.actor.state is ConnectionState.CLOSED
            and connection.reason is not None
            and not connection.memberships
            and self._actors.pop(connection.actor, None) is not None
        ):
            if connection.inbound is not None:
                connection.inbound.stop()
            connection.websocket = None

    def _remember(self, connection: Connection, reason: ExitReason) -> None:
        actor = connection.actor
        statistics = actor.statistics()
        dropped = {why.value: count for why, count in statistics.dropped.items()}
        self.dropped.update(dropped)
        closed = ClosedConnection(
            id=connection.id,
            user=connection.user,
            client=connection.client,
            rooms=connection.rooms,
            reason=reason,
            opened_at=connection.opened_at,
            duration=self.runtime.clock() - connection.opened_clock,
            written=actor.written,
            lost=actor.lost,
            dropped=dropped,
            peak_depth=statistics.peak_depth,
            peak_bytes=statistics.peak_size,
        )
        self._closed(closed)
        self._call_hook("on_close", self._hooks.on_close, closed)

    def _call_hook(
        self, name: str, hook: Callable[..., Awaitable[None] | None] | None, *arguments: object
    ) -> None:
        if hook is None:
            return
        try:
            pending = hook(*arguments)
        except Exception as error:  # noqa: BLE001 - an application's hook must not stop the machine
            self._fault(f"hook {name}", error)
        else:
            if pending is not None:
                self.runtime.run(pending, name=f"hook {name}")

    def _fault(self, what: str, error: BaseException) -> None:
        event = "hook.failed" if what.startswith("hook ") else "node.fault"
        self.log.error(event, what=what, exc_info=error)

    def _sweep_later(self) -> None:
        self.runtime.call_later(self.settings.sweep_interval, self._sweep)

    def _sweep(self) -> None:
        """Reap zombies: registered, but the server has dropped the socket unseen."""
        for connection in self.registry:
            if connection.transport.gone:
                self.log.warning("connection.zombie", connection=connection.id)
                self.end(
                    connection,
                    ExitReason(Ending.DISCONNECTED, CloseCode.ABNORMAL, "found gone by a sweep"),
                )
        self._sweep_later()

    # The end.

    async def drain(self, timeout: float) -> None:
        """
        Close every connection with 3001, after what waits for it; take no new one.

        Returns when all are closed, or after ``timeout`` seconds.
        """
        self.draining = True
        connections = self.registry.snapshot()
        if connections:
            self.log.info("node.draining", connections=len(connections))
        reason = ExitReason(Ending.SHUTDOWN, CloseCode.SHUTDOWN, "shutdown")
        for connection in connections:
            self.end(connection, reason, flush=True)
        if self.open:
            self._all_closed = self.loop.create_future()
            await asyncio.wait([self._all_closed], timeout=timeout)

    async def aclose(self, timeout: float) -> None:
        """Drain, then stop every actor and job; what still resists is aborted."""
        self._forget_signals()
        await self.drain(timeout)
        await self.runtime.aclose(timeout)


_TROUBLE = frozenset(
    {
        Ending.SEND_FAILED,
        Ending.SEND_TIMEOUT,
        Ending.SLOW,
        Ending.HANDLER_FAILED,
        Ending.ROOM_FAILED,
        Ending.CRASHED,
    }
)
"""Endings that operators want to see."""

_COUNTED_BY_CONNECTION = frozenset(
    {DropReason.OLDEST, DropReason.NEWEST, DropReason.OVERFLOW, DropReason.SEND_FAILED}
)
"""Losses that the statistics of the connection have already."""
