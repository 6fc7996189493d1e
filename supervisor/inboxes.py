"""
The inboxes of one node: brings what is pending in the store to the users who are connected here.

The shell around :mod:`supervisor.redelivery`: one machine for each user who is here, which says what
to give to whom. This module fetches messages from the store, hands them to connections, and tells
the store what became of them. What a message looks like to a client, who subscribed to a room, and
what is done for users who are away, others decide.

Everything here belongs to the loop of the node.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice

from actors.interfaces import Encoder
from actors.messages import Chunk, Frame
from actors.notices import Settled
from actors.overflow import Offer
from actors.receipts import FlushLatch
from actors.runtime import Runtime
from supervisor.boxes import Box
from supervisor.connection import Connection
from supervisor.errors import Drained, StoreUnavailable
from supervisor.inbox.base import EXPIRED_AT_ONCE, Inbox, InboxMessage, InboxUser, Kept, has_inbox
from supervisor.neighbours import Alone, Neighbours
from supervisor.redelivery import NO_ROOMS, Giving, Redelivery, RedeliveryRules
from supervisor.registry import Registry
from supervisor.retries import Retries
from supervisor.telemetry.logging import event_logger

__all__ = ["Inboxes"]

STORE_TIMEOUT = 40.0
"""Seconds that the store may take; it has a shorter deadline of its own."""

AT_ONCE = 64
"""Users for whom the store is asked at a time."""

PAGE = 64
"""Messages that are fetched at a time."""

UNSAVED = 1_000
"""Acknowledgements of one user, of messages not held here, that may wait for the store."""

ID_LENGTH = 200
"""Characters of an id at most; a longer one was not made here."""

AWAY = 10_000
"""Users who are away for whom a store that has failed is to be told something, at most."""

HANDED_OVER = 200
"""Messages, or users, that are looked at in one turn of the loop."""

LONGEST_NAP = 60.0
"""Seconds after which is looked at the latest: no timer stays behind for days."""


class Inboxes:
    """
    The inboxes of the users of one node.

    Args:
        runtime: Clock, timers and jobs of the node.
        registry: Who is connected to the node.
        store: Keeps the messages; opened and closed by whoever made it.
        frame: Returns a message as a connection gets it, and whether its client acknowledges; for
            one that does not, written is acknowledged.
        on_offline: Called with a message that no connection of its user may be given when it is
            put, and with each that is given up as a dead letter. Must not wait.
        on_loss: Called with a number of messages and why they were dropped: ``expired``, or
            ``capacity``. Must not wait, nor raise.
        rules: How often and how fast is delivered.
        capacity: Pending messages that a user may have.
        neighbours: The other nodes of the process.
        jitter: Returns a random number from 0 to 1.
        wall_clock: Returns Unix time in seconds.
        sweep_interval: Seconds between two looks for expired messages.
    """

    def __init__(
        self,
        runtime: Runtime,
        registry: Registry,
        store: Inbox,
        *,
        frame: Callable[[Connection, InboxMessage], tuple[Frame, bool]],
        on_offline: Callable[[InboxMessage], None],
        on_loss: Callable[[int, str], None],
        rules: RedeliveryRules,
        capacity: int = 1_000,
        neighbours: Neighbours | None = None,
        jitter: Callable[[], float] = random.random,
        wall_clock: Callable[[], float] = time.time,
        sweep_interval: float = 30.0,
    ) -> None:
        self._runtime = runtime
        self._registry = registry
        self._store = store
        self._frame = frame
        self._on_offline = on_offline
        self._on_loss = on_loss
        self._rules = rules
        self._capacity = capacity
        self._neighbours = neighbours or Alone()
        self._jitter = jitter
        self._wall_clock = wall_clock
        self._sweep_interval = sweep_interval
        self._boxes: dict[InboxUser, Box] = {}
        self._box_of: dict[Connection, Box] = {}
        self._soon: dict[Box, None] = {}  # boxes to be looked at in the next turn
        self._handing_over = asyncio.Lock()  # first come, first served: the order of the commits
        self._losses: Counter[str] = Counter()  # since the last sweep
        self._closed = False
        self._log = event_logger()
        self._work: Retries[InboxUser | _Sweep] = Retries(
            runtime,
            self._work_for,
            at_once=AT_ONCE,
            timeout=STORE_TIMEOUT,
            jitter=jitter,
            on_failure=lambda error: self._log.error("inbox.store_failed", exc_info=error),
            on_recovery=lambda: self._log.warning("inbox.store_recovered"),
            on_done=self._worked,
        )
        self._sweep_timer = runtime.call_later(sweep_interval, self._sweep_now)

    def __len__(self) -> int:
        """Users who are here, or for whom the store is to be told something yet."""
        return len(self._boxes)

    @property
    def healthy(self) -> bool:
        """Whether the store answers, and keeps what it promises."""
        return not self._work.failures and self._store.healthy

    # Who comes and goes.

    def connected(self, connection: Connection, rooms: Iterable[Hashable] = ()) -> None:
        """
        Give to ``connection`` what its user has pending; it is in ``rooms`` already.

        Idempotent. One that has become another user's keeps its rooms, and gets nothing more of
        whose it was. One whose user is None, or nobody who can have an inbox, is ignored.
        """
        user = connection.user
        known = self._box_of.get(connection)
        if known is not None:
            if known.user == user:
                return
            rooms = known.machine.rooms_of(connection).union(rooms)
            self.gone(connection)
        if self._closed or connection.reason is not None:  # nobody would say that it has gone
            return
        if not has_inbox(user):
            return
        box = self._box(user)
        self._box_of[connection] = box
        machine = box.machine
        if not machine.receivers:
            machine.skipped = NO_ROOMS
            box.unread = True
        machine.connected(connection)
        for room in rooms:
            self._may_have(box, connection, room)
        self._go_on(box)

    def joined(self, connection: Connection, room: Hashable) -> None:
        """Give to ``connection`` what is for members of ``room``, too."""
        box = self._box_of.get(connection)
        if box is not None:
            self._may_have(box, connection, room)
            self._go_on(box)

    def left(self, connection: Connection, room: Hashable) -> None:
        """Give to ``connection`` no more of what is for members of ``room``. Idempotent."""
        box = self._box_of.get(connection)
        if box is not None:
            box.machine.left(connection, room)
            self._go_on(box)

    def gone(self, connection: Connection) -> None:
        """Give to others what ``connection`` did not acknowledge. Idempotent."""
        box = self._box_of.pop(connection, None)
        if box is not None:
            box.machine.gone(connection, self._runtime.clock())
            self._go_on(box)

    # What happens to messages.

    async def put(self, messages: Sequence[InboxMessage]) -> Kept:
        """
        Keep ``messages``; give them to those who are here, and tell of those whom nothing reaches.

        Returns once they are kept, and offered to connections. Cancelling undoes nothing.

        Raises:
            Drained: If it was closed.
            StoreFull, StoreUnavailable: If they were not kept, or took too long to be sure.
        """
        if self._closed:
            raise Drained("the inboxes of this node are closed")
        kept: list[Kept] = []
        done: asyncio.Future[BaseException | None] = self._runtime.loop.create_future()

        async def put() -> None:
            kept.append(await self._store.put(messages, capacity=self._capacity))
            await self._hand_over(messages, kept[0])

        def ended(error: BaseException | None) -> None:
            if isinstance(error, Exception) and (kept or done.done()):
                self._runtime.fault("inbox.put", error)
            if not done.done():
                done.set_result(error)

        self._runtime.run(put(), name="inbox put", on_done=ended)
        try:
            async with asyncio.timeout(STORE_TIMEOUT):
                error = await done
        except TimeoutError:
            if kept:
                return kept[0]
            raise StoreUnavailable(
                f"the inbox did not answer within {STORE_TIMEOUT:g} s; it may have kept the messages"
            ) from None
        if kept:
            return kept[0]
        assert error is not None
        if isinstance(error, asyncio.CancelledError):
            raise Drained("the node stopped before the messages were kept") from error
        raise error

    def arrived(self, messages: Sequence[InboxMessage]) -> None:
        """Give ``messages``, which the store has kept, to those who are here."""
        boxes: dict[Box, None] = {}
        for message in messages:
            box = self._boxes.get(message.user)
            if box is None:
                continue
            boxes[box] = None
            if box.unread or box.reading or box.full:
                box.unread = True  # it comes in its place when the store is asked
            else:
                self._offer(box, message)
        for box in boxes:
            self._go_on(box)

    def acknowledge(self, connection: Connection, ids: Iterable[str]) -> None:
        """The client of ``connection`` has acknowledged; what is not pending does no harm."""
        user = connection.user
        credible = [id for id in ids if len(id) <= ID_LENGTH]
        if credible and has_inbox(user):
            self._acknowledge(user, credible)

    def delivered(self, user: InboxUser, counts: Mapping[str, int]) -> None:
        """Another node says that these were delivered so often, and the store knows it."""
        box = self._boxes.get(user)
        if box is None:
            return
        for id, deliveries in counts.items():
            if id in box.machine:
                box.machine.delivered_elsewhere(id, deliveries)
            elif box.reading:  # what is being read may be older
                box.count(id, deliveries)
        self._go_on(box)

    def settled(self, user: InboxUser, ids: Collection[str]) -> None:
        """Another node says that these are settled: give them to nobody."""
        box = self._boxes.get(user)
        if box is not None:
            self._forget(box, ids)
            self._go_on(box)

    async def aclose(self, timeout: float = 5.0) -> None:
        """
        Tell the store what it is to be told, for at most ``timeout`` seconds; take nothing more.

        What it was not told is delivered again when its user comes back. Idempotent.
        """
        self._closed = True
        self._sweep_timer.cancel()
        self._soon.clear()
        for box in list(self._boxes.values()):
            if box.timer is not None:
                box.timer.cancel()
            for connection in list(box.machine.receivers):
                box.machine.gone(connection, self._runtime.clock())
            self._go_on(box)
        self._box_of.clear()
        await self._work.finish(timeout)
        if unsaved := sum(len(box.settled) for box in self._boxes.values()):
            self._log.warning("inbox.unsaved", acknowledgements=unsaved)
        self._boxes.clear()

    # ------------------------------------------------------------------------ boxes and machines

    def _box(self, user: InboxUser) -> Box:
        box = self._boxes.get(user)
        if box is None:
            box = self._boxes[user] = Box(user, Redelivery(self._rules, self._jitter))
        return box

    def _may_have(self, box: Box, connection: Connection, room: Hashable) -> None:
        """Let ``connection`` have what is for ``room``, and ask for what was passed over."""
        box.machine.joined(connection, room)
        if room in box.machine.skipped:
            box.machine.skipped -= {room}
            box.unread = True

    def _offer(self, box: Box, message: InboxMessage) -> None:
        if message.id in box.settled or message.id in box.worn_out:
            return
        expires = self._runtime.clock() + message.expires - self._wall_clock()
        deliveries = max(message.deliveries, box.delivered.get(message.id, 0))
        if box.machine.offer(message.id, room=message.room, expires=expires, deliveries=deliveries):
            box.hold(message)

    def _go_on(self, box: Box) -> None:
        """Give what there is to give; then see to the timer, the store, and the end of the box."""
        if box.giving:  # whoever is given something may come back from within
            return
        box.giving = True
        machine, now = box.machine, self._runtime.clock()
        try:
            box.news += machine.advance(now)
            if box.news:
                self._tell_settled(box)
            while (giving := machine.take(now)) is not None:
                self._give(box, giving)
        finally:
            box.giving = False
        for id, deliveries in machine.counted.items():
            box.count(id, deliveries)
        machine.counted.clear()
        if machine.dead:
            box.worn_out.update(dict.fromkeys(machine.dead))
            box.news += machine.dead
            machine.dead.clear()
            self._tell_settled(box)
        box.let_go()
        self._set_timer(box, now)
        if self._work.failures and len(self._boxes) > len(self._box_of) + AWAY:
            self._let_go(box)
        if box.user in self._work:
            return  # it looks again when it has ended
        if not box.unsaved and not machine.receivers:
            self._drop(box)
        elif box.unsaved or box.wants_messages:
            self._work.want(box.user)

    def _tell_settled(self, box: Box) -> None:
        """Say which messages are settled to all clients whose formats have words for that."""
        notice, box.news = Settled(tuple(box.news)), []
        chunks: dict[Encoder, Chunk | None] = {}
        for connection in list(box.machine.receivers):
            encoder = connection.actor.encoder
            if encoder not in chunks:
                frame = encoder.notice(notice)
                chunks[encoder] = None if frame is None else Chunk((frame,), feed="alert")
            chunk = chunks[encoder]
            if chunk is not None:
                connection.actor.deliver(chunk)

    def _go_on_soon(self, box: Box) -> None:
        """Go on in the next turn of the loop, when whoever calls has finished."""
        if not self._soon:
            self._runtime.loop.call_soon(self._next_turn)
        self._soon[box] = None

    def _next_turn(self) -> None:
        boxes = list(islice(self._soon, HANDED_OVER))
        for box in boxes:
            del self._soon[box]
        if self._soon:
            self._runtime.loop.call_soon(self._next_turn)
        for box in boxes:
            self._go_on(box)

    def _set_timer(self, box: Box, now: float) -> None:
        due = box.machine.next_due()
        if due is None:
            return  # a timer that rings for nothing costs less than one for each message
        if box.timer is not None:
            if box.rings <= due:
                return
            box.timer.cancel()
        delay = min(max(0.0, due - now), LONGEST_NAP)
        box.rings = now + delay
        box.timer = self._runtime.call_later(delay, partial(self._rang, box))

    def _rang(self, box: Box) -> None:
        box.timer = None
        self._go_on(box)

    def _let_go(self, box: Box) -> None:
        """Forget what the store should be told of a user who is away: it is delivered again."""
        if not box.machine.receivers and box.unsaved:
            if box.settled:
                self._losses["unsaved"] += len(box.settled)
            box.settled.clear()
            box.delivered.clear()
            box.worn_out.clear()
            self._work.forget(box.user)

    def _drop(self, box: Box) -> None:
        if self._boxes.get(box.user) is box:
            del self._boxes[box.user]
        if box.timer is not None:
            box.timer.cancel()

    # ------------------------------------------------------------------------------- connections

    def _give(self, box: Box, giving: Giving[Connection]) -> None:
        connection, id, _ = giving
        machine, user = box.machine, box.user
        if connection.user != user:  # it has become another's, and is about to be said so
            machine.refused(giving)
            return
        try:
            frame, acknowledges = self._frame(connection, box.messages[id])
        except Exception as error:  # noqa: BLE001 - one message must not cost the others
            self._runtime.fault("inbox.frame", error)
            machine.written(connection, id)  # as if nobody acknowledged it: it is dead in the end
            return
        chunk = Chunk(
            (frame,),
            pinned=True,
            feed="alert",
            on_settled=partial(self._written, user, connection, id, acknowledges),
        )
        offer = connection.actor.deliver(chunk)
        if offer in {Offer.FULL, Offer.TOO_LARGE}:  # what no mailbox would hold needs none, later
            machine.refused(giving)
            latch = _Space(partial(self._has_space, box, connection))
            if not connection.actor.when_flushed(latch):
                self._runtime.call_later(1.0, partial(self._has_space, box, connection))
            return
        if not offer.taken:
            machine.gone(connection, self._runtime.clock())

    def _written(
        self,
        user: InboxUser,
        connection: Connection,
        id: str,
        acknowledges: bool,
        delivered: bool,
    ) -> None:
        if delivered and not acknowledges:
            self._acknowledge(user, [id])
            return
        box = self._boxes.get(user)
        if box is None:
            return
        if delivered:
            box.machine.written(connection, id)
        else:  # a socket that lost something never takes anything again
            box.machine.gone(connection, self._runtime.clock())
            self._go_on_soon(box)

    def _has_space(self, box: Box, connection: Connection) -> None:
        box.machine.unblocked(connection)
        self._go_on_soon(box)

    def _acknowledge(self, user: InboxUser, ids: Sequence[str]) -> None:
        if self._closed and user not in self._boxes:
            return
        box = self._box(user)
        for id in ids:
            if id in box.messages or len(box.settled) < UNSAVED:
                box.settled[id] = None
        self._forget(box, ids)
        self._go_on_soon(box)

    def _forget(self, box: Box, ids: Iterable[str]) -> None:
        for id in ids:
            box.worn_out.pop(id, None)
            box.delivered.pop(id, None)
        box.news += box.machine.settle(ids)

    # ---------------------------------------------------------------------------------- the store

    async def _hand_over(self, messages: Sequence[InboxMessage], kept: Kept) -> None:
        """Bring what was put to those who are here and to the neighbours; yield now and then."""
        evicted = kept.evicted
        if evicted:
            self._losses["evicted"] += len(evicted)
            self._on_loss(len(evicted), "capacity")
            self._settle_everywhere(evicted)
        gone = {message.id for message in evicted}
        new = {m.id: m for m in messages if m.id in kept.new and m.id not in gone}
        async with self._handing_over:
            rest = iter(new.values())
            while some := list(islice(rest, HANDED_OVER)):
                self.arrived(some)
                self._neighbours.arrived(some)
                for message in some:
                    if not self._reaches_anybody(message):
                        self._tell_offline(message)
                if len(some) == HANDED_OVER:
                    await asyncio.sleep(0)

    def _reaches_anybody(self, message: InboxMessage) -> bool:
        """Whether a connection, here or at a neighbour, may be given ``message`` now, or soon."""
        user, room = message.user, message.room
        if room is None:
            return self._registry.count_of_user(user) > 0 or self._neighbours.connected(user)
        if any(room in connection.room_names for connection in self._registry.of_user(user)):
            return True
        return self._neighbours.in_room(user, room)

    def _tell_offline(self, message: InboxMessage) -> None:
        try:
            self._on_offline(message)
        except Exception as error:  # noqa: BLE001 - an application's hook must not stop the machine
            self._runtime.fault("inbox.on_offline", error)

    def _settle_everywhere(self, messages: Iterable[InboxMessage]) -> None:
        by_user: dict[InboxUser, list[str]] = {}
        for message in messages:
            by_user.setdefault(message.user, []).append(message.id)
        for user, ids in by_user.items():
            self.settled(user, ids)
            self._neighbours.settled(user, ids)

    async def _work_for(self, key: InboxUser | _Sweep) -> None:
        if isinstance(key, _Sweep):
            await self._sweep()
            return
        box = self._boxes.get(key)
        while box is not None:
            if box.unsaved:
                await self._save(box)
            elif box.wants_messages:
                await self._read(box)
            else:
                return

    def _worked(self, key: InboxUser | _Sweep) -> None:
        box = None if isinstance(key, _Sweep) else self._boxes.get(key)
        if box is not None:
            self._go_on(box)

    async def _save(self, box: Box) -> None:
        settled, dead, delivered = await box.save(self._store)
        if delivered:  # not before: who has read the old count hears of it, who reads finds it
            self._neighbours.delivered(box.user, delivered)
        if settled:
            self._neighbours.settled(box.user, settled)
        if dead:
            self._losses["dead"] += len(dead)
        for message in dead:
            self._tell_offline(message)

    async def _read(self, box: Box) -> None:
        """Ask for what is pending, from the oldest on, until there is enough or no more."""
        box.unread, box.reading = False, True  # what arrives from now on is to be asked for again
        after: str | None = None
        try:
            while True:
                page = await self._store.pending(
                    box.user, now=self._wall_clock(), after=after, limit=PAGE
                )
                for message in page:
                    if box.full:
                        box.unread = True
                        break
                    self._offer(box, message)
                self._go_on(box)
                if box.unread or len(page) < PAGE:
                    return
                after = page[-1].id
        except BaseException:
            box.unread = True
            raise
        finally:
            box.reading = False

    def _sweep_now(self) -> None:
        self._sweep_timer = self._runtime.call_later(self._sweep_interval, self._sweep_now)
        self._work.want(_SWEEP)

    async def _sweep(self) -> None:
        """Drop what has expired, for users who are not here, too."""
        more = True
        while more:
            expired = await self._store.expire(now=self._wall_clock())
            more = len(expired) >= EXPIRED_AT_ONCE
            if expired:
                self._losses["expired"] += len(expired)
                self._on_loss(len(expired), "expired")
                self._settle_everywhere(expired)
        if self._losses:
            self._log.warning("inbox.lost", **self._losses)
            self._losses.clear()


class _Sweep:
    """The key of the work that is for no user."""


_SWEEP = _Sweep()


class _Space(FlushLatch):
    """Tells when a mailbox has space again."""

    __slots__ = ("_then",)

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__()
        self._then = then

    def count_down(self, delivered: bool) -> None:
        """Tell; from within the connection's actor, so nothing may be delivered yet."""
        super().count_down(delivered)
        self._then()
