"""
The rooms of a node: a table of room actors, which come with the first member and go with the last.

Room actors own the membership; this table starts them, restarts those that crash with the same
members, and passes joins and leaves on to them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from actors.actor import Actor
from actors.cell import Cell
from actors.connection import ConnectionActor
from actors.errors import ActorStopped, HistoryIncomplete, MailboxClosed, RoomFull
from actors.exits import CloseCode, Ending, ExitReason
from actors.feed import Feed
from actors.interfaces import FaultReporter
from actors.mailbox import Mailbox
from actors.membership import Membership
from actors.messages import Join, Leave, Look, RoomMessage
from actors.overflow import DropReason, Overflow
from actors.publications import Publication
from actors.ref import ActorRef
from actors.replay import JoinReply, Replay
from actors.room import RoomActor
from actors.runtime import Runtime
from supervisor.connection import Connection
from supervisor.errors import JoinRefused, NotAMember, StoreUnavailable
from supervisor.feeds import Feeds
from supervisor.hooks import HookCaller
from supervisor.losses import Losses
from supervisor.neighbours import Neighbours
from supervisor.policies import RoomPolicy
from supervisor.registry import Registry
from supervisor.restart import RestartWindow
from supervisor.room_names import EVERYONE, user_room
from supervisor.settings import Settings
from supervisor.subscriptions import Subscriptions
from supervisor.telemetry.logging import event_logger
from supervisor.telemetry.quiet import LOG_PERIOD

__all__ = ["Room", "Rooms"]


FAILED_ROOMS = 100
"""Rooms remembered as given up, at most."""


@dataclass(slots=True)
class Room:
    """What is kept of a room while it has members, whatever becomes of its actor."""

    ref: ActorRef[RoomMessage]
    membership: Membership[ConnectionActor]
    crashes: RestartWindow
    policy: RoomPolicy
    feed: Feed[ConnectionActor] | None

    @property
    def brake(self) -> float:
        """Longest time in seconds that a publisher is held back while most members are behind."""
        return self.policy.brake

    def mostly_behind(self) -> bool:
        """Whether at least half of the members have not taken everything."""
        membership = self.membership
        busy = sum(not member.ready for member in membership.live())
        return 2 * (busy + membership.behind) >= len(membership) > 0

    def announce(self, publication: Publication) -> None:
        """Say that ``publication`` is kept, when the mailbox has no space to say it."""
        if self.feed is not None:
            self.feed.announce(publication)


class Rooms:
    """
    Rooms by name; the listener of their actors.

    Attributes:
        failed: Rooms that were given up, the newest last.
        losses: Counts messages lost on their way to a member; shared with the node.
    """

    def __init__(
        self,
        runtime: Runtime,
        settings: Settings,
        registry: Registry,
        hooks: HookCaller,
        *,
        feeds: Feeds,
        on_member: Callable[[Connection, Hashable, bool], None],
        neighbours: Neighbours,
        on_fault: FaultReporter,
        losses: Losses,
    ) -> None:
        self._feeds = feeds
        self._subscriptions = Subscriptions(feeds.inbox, registry, neighbours, runtime)
        self._on_member = on_member  # told of a user's connection, and whether it is in it now
        self.failed: deque[Hashable] = deque(maxlen=FAILED_ROOMS)
        self.losses = losses
        self._full: dict[Hashable, int] = {}  # rooms without space, and how many that cost each
        self._runtime = runtime
        self._settings = settings
        self._registry = registry
        self._hooks = hooks
        self._on_fault = on_fault
        self._rooms: dict[Hashable, Room] = {}
        self._all_ended: asyncio.Future[None] | None = None  # of who waits for the last room
        self._log = event_logger()

    def __len__(self) -> int:
        return len(self._rooms)

    def get(self, name: Hashable) -> Room | None:
        """Return the room, if anybody is in it."""
        return self._rooms.get(name)

    @property
    def behind(self) -> int:
        """Memberships that are behind now; may be asked from any thread."""
        return sum(room.membership.behind for room in list(self._rooms.values()))

    def had_no_space(self, name: Hashable) -> None:
        """
        Count a publication that nobody waits for, and that the room had no space for.

        Logged once an episode, and at its end with the number: when no more was lost for a while.
        """
        feed = self._feeds.policies.resolve(name).feed
        self.losses.count(feed, DropReason.ROOM_FULL.value)
        if name in self._full:
            self._full[name] += 1
            return
        self._full[name] = 1
        self._log.warning("room.full", room=name)
        self._look_whether_full(name, 0)

    def _look_whether_full(self, name: Hashable, before: int) -> None:
        lost = self._full[name]
        if lost > before:
            self._runtime.call_later(LOG_PERIOD, lambda: self._look_whether_full(name, lost))
        else:
            del self._full[name]
            self._log.warning("room.recovered", room=name, dropped=lost)

    def has_place(self, name: Hashable) -> bool:
        """Whether one more connection may be in the room."""
        limit = self._settings.max_connections_per_room
        room = self._rooms.get(name)
        return limit is None or room is None or len(room.membership) < limit

    def members(self, name: Hashable) -> list[Connection]:
        """Return who is in the room; may be called from any thread."""
        room = self._rooms.get(name)
        if room is None:
            return []
        members = (self._registry.of_actor(actor) for actor in room.membership.snapshot())
        return [
            member
            for member in members
            if member is not None and member.reason is None and name in member.room_names
        ]

    def has_joined(self, connection: Connection, name: Hashable) -> bool:
        """Whether the room has taken it in, which it asks for first; from any thread."""
        room = self._rooms.get(name)
        return room is not None and connection.actor in room.membership

    async def join(
        self, connection: Connection, name: Hashable, replay: Replay | None = None
    ) -> JoinReply:
        """
        Make ``connection`` a member, which begins where ``replay`` says, or else the room's policy.

        The answer is true if it was none before.

        Raises:
            JoinRefused: If a limit is reached, or the connection has ended meanwhile, or the room
                was given up.
        """
        names = connection.room_names
        if name in names:
            return JoinReply(False)
        limit = self._settings.max_rooms_per_connection
        if len(names) >= limit:
            raise JoinRefused(CloseCode.ROOM_LIMIT, f"a connection may be in {limit} rooms")
        names[name] = None
        subscribed = False
        try:
            if self._feeds.policies.resolve(name).feed == "alert":
                subscribed = await self._subscriptions.add(connection, name)
            return await self._ask_to_join(connection, name, replay, internal=False)
        except BaseException as error:
            names.pop(name, None)
            self.tell_leave(connection, name)  # it waits behind the join, if that waits
            if isinstance(error, RoomFull):
                if subscribed:
                    self._subscriptions.remove(connection, name)
                raise JoinRefused(CloseCode.ROOM_LIMIT, str(error)) from error
            if isinstance(error, StoreUnavailable | HistoryIncomplete):
                raise JoinRefused(CloseCode.ROOM_FAILED, f"room {name} cannot be read") from error
            raise

    async def join_internal(self, connection: Connection) -> None:
        """
        Join the rooms that every connection is in: everyone's, and its user's.

        Raises:
            JoinRefused: If the connection has ended meanwhile, or a room was given up.
        """
        await self._ask_to_join(connection, EVERYONE, internal=True)
        if connection.user is not None:
            await self._ask_to_join(connection, user_room(connection.user), internal=True)

    async def _ask_to_join(
        self,
        connection: Connection,
        name: Hashable,
        replay: Replay | None = None,
        *,
        internal: bool,
    ) -> JoinReply:
        reply = None
        if connection.reason is None:
            try:
                reply = await self._open(name, internal=internal).ref.ask(
                    Join(connection.actor, replay),
                    timeout=self._settings.publish_timeout,
                    at_once=True,
                )
            except (ActorStopped, MailboxClosed) as error:
                raise JoinRefused(CloseCode.ROOM_FAILED, f"room {name} failed") from error
        if reply is None or connection.reason is not None:
            self.tell_leave(connection, name)  # perhaps its leaves came before the join
            code = CloseCode.ABNORMAL if connection.reason is None else connection.reason.code
            raise JoinRefused(code, "the connection has ended")
        return reply

    def join_nowait(
        self, connection: Connection, name: Hashable, *, internal: bool = False
    ) -> None:
        """As :meth:`join`, without waiting for a room that is busy, and without limits."""
        if not internal:
            connection.room_names[name] = None
        self._open(name, internal=internal).ref.tell(Join(connection.actor), at_once=True)

    def leave(self, connection: Connection, name: Hashable) -> None:
        """
        End the membership of ``connection``: no later publication reaches it.

        Raises:
            NotAMember: If it is in no such room.
        """
        if name not in connection.room_names:
            raise NotAMember(f"connection {connection.id} is not in room {name!r}")
        del connection.room_names[name]
        self.tell_leave(connection, name)
        if self._feeds.policies.resolve(name).feed == "alert":
            self._subscriptions.remove(connection, name)

    def leave_all(self, connection: Connection) -> None:
        """End every membership of a connection that was reaped."""
        for name in connection.room_names:
            self.tell_leave(connection, name)
        connection.room_names.clear()
        self.tell_leave(connection, EVERYONE)
        if connection.user is not None:
            self.tell_leave(connection, user_room(connection.user))

    def tell_leave(self, connection: Connection, name: Hashable) -> None:
        """Tell the room, if there is one, that ``connection`` leaves; harmless if it is not in it."""
        room = self._rooms.get(name)
        if room is not None:
            room.ref.tell(Leave(connection.actor), at_once=True)

    def look_again(self, name: Hashable) -> None:
        """Have the room, if there is one, find out what it keeps now."""
        room = self._rooms.get(name)
        if room is not None:
            room.ref.tell(Look(), at_once=True)

    def crashed(
        self, cell: Cell[Any], actor: RoomActor[Any], reason: ExitReason
    ) -> Actor[Any] | None:
        """Return the successor of a room actor that crashed; None when it crashes too often."""
        room = self._rooms.get(actor.name)
        if room is None or room.ref is not cell.ref:
            return None
        self._log.error(
            "room.crashed", room=actor.name, members=len(room.membership), exc_info=reason.error
        )
        if room.crashes.allows(self._runtime.clock()):
            return actor.successor()
        self._give_up(actor.name, room)
        return None

    def _give_up(self, name: Hashable, room: Room) -> None:
        """Close the members of a room that crashes again and again: they come back to a new one."""
        self._forget(name)
        self.failed.append(name)
        self._log.critical("room.failed", room=name, members=len(room.membership))
        reason = ExitReason(Ending.ROOM_FAILED, CloseCode.ROOM_FAILED, f"room {name} failed")
        for actor in room.membership.snapshot():
            if room.feed is not None:
                room.feed.leave(actor)
            room.membership.leave(actor)
            self.member_left(name, actor)
            actor.close(reason)

    async def ended(self, timeout: float) -> None:
        """
        Return when there is no room any more, or after ``timeout`` seconds.

        The leaves of connections that were reaped wait behind what was published before.
        """
        if self._rooms:
            if self._all_ended is None or self._all_ended.done():
                self._all_ended = self._runtime.loop.create_future()
            await asyncio.wait([self._all_ended], timeout=timeout)

    def clear(self) -> None:
        """End what memberships are left, of rooms that wait for something: all connections have ended."""
        for name, room in list(self._rooms.items()):
            self._forget(name)
            for member in room.membership.snapshot():
                room.membership.leave(member)
                self.member_left(name, member)

    def _forget(self, name: Hashable) -> bool:
        known = self._rooms.pop(name, None) is not None
        if not self._rooms and self._all_ended is not None and not self._all_ended.done():
            self._all_ended.set_result(None)
        return known

    def _open(self, name: Hashable, *, internal: bool) -> Room:
        """Return the room, with an actor to talk to; made when there is none."""
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = self._make(name, internal=internal)
        return room

    def _make(self, name: Hashable, *, internal: bool) -> Room:
        settings = self._settings
        policy = self._feeds.policies.resolve(name)
        membership: Membership[ConnectionActor] = Membership()
        feed = None
        if policy.keeps:
            feed = self._feeds.open(
                name,
                policy,
                membership,
                listener=self,
                on_fault=self._on_fault,
                runtime=self._runtime,
            )
        actor = RoomActor(
            name,
            membership,
            self,
            self._on_fault,
            capacity=None if internal else settings.max_connections_per_room,
            block_timeout=policy.block_timeout or settings.block_timeout,
            overflow=policy.overflow,
            label=policy.feed,
            feed=feed,
        )
        mailbox = Mailbox[RoomMessage](
            settings.room_mailbox_messages, settings.room_mailbox_bytes, Overflow.BLOCK
        )
        ref = self._runtime.spawn(actor, mailbox, name=f"room {name}")
        window = RestartWindow(settings.restart_intensity, settings.restart_period)
        return Room(ref, membership, window, policy, feed)

    # What room actors tell; see actors.interfaces.RoomListener.

    def member_joined(self, room: Hashable, actor: ConnectionActor) -> None:
        """Count the membership, and call the application's hook for its own rooms."""
        connection = self._registry.of_actor(actor)
        if connection is None:  # it ended while the join waited; its leave waits behind it
            return
        connection.memberships += 1
        if connection.user is not None:
            self._on_member(connection, room, True)
        if not self._hooks.follow_rooms or room not in connection.room_names:
            return
        if connection.hooked_rooms is None:
            connection.hooked_rooms = set()
        if room not in connection.hooked_rooms:
            connection.hooked_rooms.add(room)
            self._hooks.joined(connection, room)

    def member_left(self, room: Hashable, actor: ConnectionActor) -> None:
        """Undo what :meth:`member_joined` did."""
        connection = self._registry.of_actor(actor)
        if connection is None:
            return
        connection.memberships -= 1
        if connection.user is not None:
            self._on_member(connection, room, False)
        if connection.hooked_rooms is not None and room in connection.hooked_rooms:
            connection.hooked_rooms.discard(room)
            self._hooks.left(connection, room)
        self._registry.let_go(connection)

    def member_missed(self, room: Hashable, actor: ConnectionActor, count: int) -> None:
        """Log the begin of an episode."""
        connection = self._registry.of_actor(actor)
        if connection is not None:
            self._log.warning(
                "connection.missed",
                connection=connection.id,
                user=connection.user,
                room=room,
                missed=count,
            )

    def member_caught_up(self, room: Hashable, actor: ConnectionActor, missed: int) -> None:
        """Log the end of an episode."""
        connection = self._registry.of_actor(actor)
        if connection is not None:
            self._log.warning(
                "connection.caught_up", connection=connection.id, room=room, missed=missed
            )

    def room_empty(self, room: Hashable) -> bool:
        """Let the actor of an empty room go."""
        return self._forget(room)

    def room_dropped(self, room: Hashable, reason: DropReason, count: int, feed: str) -> None:
        """Count a loss that no connection has counted."""
        if reason not in _COUNTED_BY_CONNECTION:
            self.losses.count(feed, reason.value, count)


_COUNTED_BY_CONNECTION = frozenset(
    {DropReason.OLDEST, DropReason.NEWEST, DropReason.OVERFLOW, DropReason.SEND_FAILED}
)
"""Losses that the statistics of the connection have already."""
