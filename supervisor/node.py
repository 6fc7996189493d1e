"""
A node: one event loop, its connections and its rooms.

The node registers connections and reaps them: exactly once each, on whichever comes first, in
O(rooms of that connection). Actors never cross loops, so everything here belongs to the
node's loop unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from actors.actor import Actor
from actors.cell import Cell
from actors.connection import ConnectionActor, Patience
from actors.errors import MessageTooLarge, WrongLoop
from actors.exits import CloseCode, Ending, ExitReason
from actors.interfaces import Encoder
from actors.mailbox import Mailbox, MailboxStatistics
from actors.messages import Chunk, Frame
from actors.overflow import DropReason, Offer
from actors.receipts import FlushLatch
from actors.room import RoomActor
from actors.runtime import Runtime
from supervisor.admission import Admission
from supervisor.collector import freeze_what_is_loaded
from supervisor.connection import ClosedConnection, Connection, Socket
from supervisor.delivery import Delivery
from supervisor.endpoints import Endpoints
from supervisor.errors import ConnectionRefused
from supervisor.feeds import Feeds
from supervisor.hooks import HookCaller, Hooks
from supervisor.important import ImportantMessage, Letters
from supervisor.inboxes import Inboxes
from supervisor.liveness import watch_liveness
from supervisor.losses import Losses
from supervisor.neighbours import Neighbours
from supervisor.redelivery import RedeliveryRules
from supervisor.registry import Registry
from supervisor.room_names import user_room
from supervisor.rooms import Rooms
from supervisor.server_signals import served_by_uvicorn, when_uvicorn_stops
from supervisor.settings import Settings
from supervisor.telemetry.logging import event_logger
from supervisor.telemetry.quiet import Quiet
from supervisor.transports.inbound import Inbound

__all__ = ["Node", "shutting_down"]

LAST_MOMENT = 1.0
"""Seconds that rooms have for the leaves of connections that have ended, and what is cancelled to end."""

_FOR_EACH_MESSAGE = frozenset(
    {"publication.encode", "history.read", "inbox.frame", "hook on_offline"}
)
"""What may fail for each message, and is logged as refusals are."""


def shutting_down() -> ConnectionRefused:
    """Return the refusal of a connection that comes too late."""
    return ConnectionRefused(CloseCode.SHUTDOWN, "the server shuts down", 503)


class Node:
    """
    The machine of one event loop; made on that loop.

    Args:
        settings: What may be set.
        hooks: The application's.
        closed: Called with each reaped connection.
        feeds: What rooms are to keep, and where.
        letters: Makes what clients get of important messages.
        neighbours: The other nodes of the process.

    Attributes:
        registry: Who is connected.
        rooms: The rooms that anybody is in.
        delivery: The way for publications, from any thread.
        endpoints: Tasks of the application that hold connections open.
        inboxes: Important messages of users that are connected here.
        losses: Messages lost since the start, without those that registered connections count
            themselves.
        refusals: Connections refused since the start, by close code.
        written: Messages that sockets took which are done with.
        draining: Whether it takes no new connection.
        open: Connections whose sockets are not done with.
    """

    def __init__(
        self,
        settings: Settings,
        hooks: Hooks,
        closed: Callable[[ClosedConnection], None],
        *,
        feeds: Feeds,
        letters: Letters,
        neighbours: Neighbours,
    ) -> None:
        self.settings = settings
        self.runtime = Runtime(on_exit=self._actor_exited, on_fault=self._fault)
        self.loop = self.runtime.loop
        self.registry = Registry()
        self.losses = Losses()
        self.refusals: Counter[int] = Counter()
        self.written = 0
        self.draining = False
        self.open = 0
        self._quiet = Quiet(self.runtime.clock)
        self._hooks = HookCaller(hooks, self.runtime, self._fault)
        self.rooms = Rooms(
            self.runtime,
            settings,
            self.registry,
            self._hooks,
            feeds=feeds,
            on_member=self._member_changed,
            neighbours=neighbours,
            on_fault=self._fault,
            losses=self.losses,
        )
        self.delivery = Delivery(self.runtime, self.rooms, settings)
        self.endpoints = Endpoints(self.runtime, settings)
        self.inboxes = Inboxes(
            self.runtime,
            self.registry,
            feeds.inbox,
            frame=letters.frame,
            on_offline=lambda message: self._hooks.offline(ImportantMessage.of(message)),
            on_loss=self._alerts_lost,
            rules=RedeliveryRules(
                window=settings.inbox_window,
                ack_wait=settings.ack_wait,
                max_deliveries=settings.max_deliveries,
            ),
            capacity=settings.inbox_capacity,
            neighbours=neighbours,
        )
        self._admission = Admission(settings, self.registry)
        self._patience = Patience(
            settings.send_timeout, settings.close_timeout, settings.slow_grace
        )
        self._closed = closed
        self._all_closed: asyncio.Future[None] | None = None
        self._log = event_logger()
        self._forget_signals = when_uvicorn_stops(
            lambda: self.delivery.post(self.endpoints.server_stops)
        )
        if served_by_uvicorn():  # in tests, and in others' processes, it is for them to decide
            freeze_what_is_loaded()
        self._suspects: set[str] = set()  # ids of connections that the last sweep found gone
        self._sweep_later()

    @contextmanager
    def place(
        self, user: Hashable | None, client: str | None, rooms: Collection[Hashable]
    ) -> Iterator[None]:
        """
        Hold a place for a connection until it is registered, which is to happen within.

        Raises:
            ConnectionRefused: If the node drains, or a limit is reached.
        """
        self.check_open()
        self._admission.check_rooms(len(rooms))
        for name in rooms:
            if not self.rooms.has_place(name):
                raise ConnectionRefused(CloseCode.ROOM_LIMIT, f"room {name} is full", 429)
        with self._admission.place(user, client):
            yield

    def check_open(self) -> None:
        """
        Check that the node takes connections; it may have stopped to while one was accepted.

        Raises:
            ConnectionRefused: If it drains.
        """
        if self.draining:
            raise shutting_down()

    def refused(self, refusal: ConnectionRefused, user: Hashable | None) -> None:
        """Count a refusal; log the first of its kind, and then one a while with the count."""
        self.refusals[refusal.code] += 1
        if self._quiet.total(refusal.code) is not None:
            self._log.warning(
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
        if not self.delivery.local:
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
            secrets.token_hex(16),
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
            patience=self._patience,
        )
        self.registry.add(connection)
        self.open += 1
        mailbox: Mailbox[Chunk] = Mailbox(
            settings.mailbox_messages,
            settings.mailbox_bytes,
            settings.overflow,
            slow_share=settings.slow_share,
        )
        self.runtime.spawn(actor, mailbox, name=f"connection {connection.id}")
        watch_liveness(connection, self.runtime, settings, self.end)
        self._log.debug("connection.opened", connection=connection.id, user=user, client=client)
        return connection

    def register_again(self, connection: Connection, user: Hashable | None) -> None:
        """
        Register a connection that was released, and whose socket is still open.

        It keeps its id, and what waits for it; its life is remembered as another one.
        """
        connection.reason = None
        if connection.closed is not None:  # its mailbox, which goes on, has counted that
            self.losses.take_back(connection.closed.dropped_by_feed)
            connection.closed = None
        connection.user = user
        connection.opened_at = time.time()
        connection.opened_clock = self.runtime.clock()
        self.registry.add(connection)
        watch_liveness(connection, self.runtime, self.settings, self.end)
        self._log.debug("connection.opened", connection=connection.id, user=user, again=True)

    def assign_user(self, connection: Connection, user: Hashable) -> None:
        """Make ``connection`` that of ``user``, whosever it was before."""
        if connection.user == user:
            return
        if connection.user is not None:
            self.rooms.tell_leave(connection, user_room(connection.user))
        self.registry.assign_user(connection, user)
        self.rooms.join_nowait(connection, user_room(user), internal=True)

    async def send(self, connection: Connection, data: object) -> bool:
        """
        Send to one connection; wait a little, ``flush_timeout``, for an idle socket.

        Returns:
            Whether it was written, or waits: never whether it arrived.

        Raises:
            MessageTooLarge: If it is larger than ``mailbox_bytes``.
            UnserialisableData: If its wire format cannot express the data.
        """
        latch = FlushLatch()
        latch.add()
        frame = self.frame(connection, data)
        behind = connection.actor.behind(self.settings.flush_timeout)
        offer = connection.actor.deliver(Chunk((frame,), on_settled=latch.count_down))
        if not offer.taken:
            if offer in _UNCOUNTED:
                self.losses.count("direct", _UNCOUNTED[offer].value)
            return False
        if not behind:
            await latch.wait(self.settings.flush_timeout)
        return not latch.failed

    def frame(self, connection: Connection, data: object) -> Frame:
        """
        Return ``data`` as ``connection`` gets it.

        Raises:
            MessageTooLarge: If it is larger than ``mailbox_bytes``.
            UnserialisableData: If its wire format cannot express the data.
        """
        frame = connection.actor.encoder.encode(data)
        if frame.size > self.settings.mailbox_bytes:
            raise MessageTooLarge(
                f"the message has {frame.size} bytes; mailbox_bytes allows "
                f"{self.settings.mailbox_bytes}"
            )
        return frame

    def reap(self, connection: Connection, reason: ExitReason) -> None:
        """
        Deregister ``connection``: from every room, index and limit. Idempotent.

        Its actor may go on to flush and close the socket, or to write what the endpoint itself
        still sends; nobody else can reach it any more.
        """
        if connection.reason is not None:
            return
        connection.reason = reason
        closed = ClosedConnection.of(connection, reason, self.runtime.clock())
        connection.closed = closed
        losses = {"dropped": sum(closed.dropped.values()), "waiting": connection.waiting}
        (self._log.warning if reason.ending in _TROUBLE else self._log.info)(
            "connection.closed",
            connection=connection.id,
            user=connection.user,
            ending=reason.ending.value,
            code=int(reason.code),
            reason=reason.text,
            **{name: count for name, count in losses.items() if count},
        )
        for timer in connection.timers:
            timer.cancel()
        connection.timers.clear()
        self.registry.remove(connection)
        self.losses.add(closed.dropped_by_feed)
        self.rooms.leave_all(connection)
        self.inboxes.gone(connection)
        self._closed(closed)
        self._hooks.closed(closed)
        self.endpoints.client_gone(connection, reason)

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

    async def drain(self, timeout: float) -> None:
        """
        Close every connection with 3001, after what waits for it; take no new one.

        Returns when all are closed, or after ``timeout`` seconds.
        """
        self.draining = True
        connections = self.registry.snapshot()
        if connections:
            self._log.info("node.draining", connections=len(connections))
        reason = ExitReason(Ending.SHUTDOWN, CloseCode.SHUTDOWN, "shutdown")
        for connection in connections:
            self.end(connection, reason, flush=True)
        if self.open:
            if self._all_closed is None or self._all_closed.done():
                self._all_closed = self.loop.create_future()
            await asyncio.wait([self._all_closed], timeout=timeout)

    async def aclose(self, timeout: float) -> None:
        """
        Drain, let rooms, hooks and endpoints come to their ends, then stop what is left.

        Endpoints, too: the timers that limit them end with the runtime.
        """
        self._forget_signals()
        deadline = self.runtime.clock() + timeout
        self.endpoints.server_stops()
        await self.drain(timeout)
        await self.rooms.ended(min(LAST_MOMENT, max(0.0, deadline - self.runtime.clock())))
        self.rooms.clear()
        await self.inboxes.aclose(max(0.0, deadline - self.runtime.clock()))
        await self._hooks.finish(max(0.0, deadline - self.runtime.clock()))
        last = min(timeout, LAST_MOMENT)
        await self.endpoints.finish(max(0.0, deadline - self.runtime.clock()), last)
        await self.runtime.aclose(max(last, deadline - self.runtime.clock()))

    # What connection actors tell; see actors.interfaces.ConnectionListener.

    def connection_ended(self, actor: ConnectionActor, reason: ExitReason) -> None:
        """Reap it, and let its endpoint know."""
        connection = self.registry.bound_to(actor)
        self.reap(connection, reason)
        inbound = connection.inbound
        if inbound is not None:
            if inbound.told and reason.ending is Ending.DISCONNECTED:
                inbound.peer_ended()
            else:
                inbound.end(reason.code, reason.text)
        if reason.ending is Ending.DISCONNECTED and connection.transport.unsent:
            self._abort_later(connection, reason)

    def _abort_later(self, connection: Connection, reason: ExitReason) -> None:
        """
        Make the server drop a socket that it cannot close because the peer does not read.

        It would wait for ever, and with it, when it is told to stop, the process.
        """
        stopping = reason.code == CloseCode.SERVICE_RESTART
        settings = self.settings
        grace = settings.shutdown_grace if stopping else settings.close_timeout
        self.runtime.call_later(grace, connection.transport.abort)

    def connection_lagging(self, actor: ConnectionActor, reason: DropReason) -> None:
        """Log the begin of an episode."""
        connection = self.registry.bound_to(actor)
        self._log.warning(
            "mailbox.overflow",
            connection=connection.id,
            user=connection.user,
            policy=reason.value,
            waiting=len(actor.cell.mailbox),
        )

    def connection_slow(self, actor: ConnectionActor, mailbox: MailboxStatistics) -> None:
        """Log that it is slow: once an episode."""
        connection = self.registry.bound_to(actor)
        self._log.warning(
            "connection.slow",
            connection=connection.id,
            user=connection.user,
            waiting=mailbox.depth,
            bytes=mailbox.size,
        )

    def connection_caught_up(self, actor: ConnectionActor, dropped: int) -> None:
        """Log the end of an episode."""
        connection = self.registry.bound_to(actor)
        self._log.warning("mailbox.recovered", connection=connection.id, dropped=dropped)

    # What rooms and inboxes tell.

    def _member_changed(self, connection: Connection, room: Hashable, is_member: bool) -> None:
        """Let the inboxes know where a user can be given messages."""
        if connection.reason is not None:
            return
        if room == user_room(connection.user):
            if is_member:
                self.inboxes.connected(connection, connection.room_names)
        elif is_member:
            self.inboxes.joined(connection, room)
        else:
            self.inboxes.left(connection, room)

    def _alerts_lost(self, count: int, reason: str) -> None:
        self.losses.count("alert", reason, count)

    # What the runtime tells.

    def _actor_exited(self, cell: Cell[Any], reason: ExitReason) -> Actor[Any] | None:
        actor = cell.actor
        if isinstance(actor, ConnectionActor):
            self._connection_exited(actor, reason)
        elif isinstance(actor, RoomActor) and reason.ending is Ending.CRASHED:
            return self.rooms.crashed(cell, actor, reason)
        return None

    def _connection_exited(self, actor: ConnectionActor, reason: ExitReason) -> None:
        connection = self.registry.bound_to(actor)
        if reason.ending is Ending.CRASHED:
            self._log.error("connection.crashed", connection=connection.id, exc_info=reason.error)
            self.reap(connection, reason)
        connection.finished()
        if connection.closed is not None:
            self.losses.take_back(connection.closed.dropped_by_feed)
            connection.closed.settle(actor)
            self.losses.add(connection.closed.dropped_by_feed)
        self.written += actor.written
        self.open -= 1
        if not self.open and self._all_closed is not None and not self._all_closed.done():
            self._all_closed.set_result(None)
        self.registry.let_go(connection)

    def _fault(self, what: str, error: BaseException) -> None:
        event = "hook.failed" if what.startswith("hook ") else "node.fault"
        if what not in _FOR_EACH_MESSAGE:
            self._log.error(event, what=what, exc_info=error)
        elif (total := self._quiet.total(what)) is not None:
            self._log.error(event, what=what, total=total, exc_info=error)

    def _sweep_later(self) -> None:
        self.runtime.call_later(self.settings.sweep_interval, self._sweep)

    def _sweep(self) -> None:
        """
        Reap zombies: registered, but the server has dropped the socket unseen.

        Unseen means: since the last sweep. A socket that closes just now will be reported yet.
        """
        self._sweep_later()
        suspects, self._suspects = self._suspects, set()
        for connection in self.registry.snapshot():
            if not connection.transport.gone:
                continue
            if connection.id not in suspects:
                self._suspects.add(connection.id)
            else:
                self._log.warning("connection.zombie", connection=connection.id)
                self.end(
                    connection,
                    ExitReason(Ending.DISCONNECTED, CloseCode.ABNORMAL, "found gone by a sweep"),
                )


_UNCOUNTED = {
    Offer.CLOSED: DropReason.CLOSED,
    Offer.FULL: DropReason.NEWEST,
    Offer.TOO_LARGE: DropReason.TOO_LARGE,
}
"""Answers of connections that have not counted the loss."""

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
