"""
Gives to the connections of a user what is in their box, when it is due, and hears what became of it.

The shell around :mod:`supervisor.redelivery`, which says what to give to whom and when to look again.
What a message looks like to a client, who comes and goes, and what the store is told of it all, others
decide; see :mod:`supervisor.inboxes`.

Everything here belongs to the loop of the node.
"""

from __future__ import annotations

from collections.abc import Callable
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
from supervisor.inbox.base import InboxMessage, InboxUser
from supervisor.redelivery import Giving

__all__ = ["AT_A_TURN", "Dispatcher"]

AT_A_TURN = 200
"""Boxes, or messages, that are looked at in one turn of the loop."""

LONGEST_NAP = 60.0
"""Seconds after which a box is looked at the latest: no timer stays behind for days."""


class Dispatcher:
    """
    Goes on with boxes.

    Args:
        runtime: Clock and timers of the node.
        frame: Returns a message as a connection gets it, and whether its client acknowledges; for
            one that does not, written is acknowledged.
        wall_clock: Returns Unix time in seconds.
        on_acknowledged: Called with the user and the id of a message that was written to a client
            which has no words to acknowledge it.
        on_advanced: Called with a box after each :meth:`go_on`.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        frame: Callable[[Connection, InboxMessage], tuple[Frame, bool]],
        wall_clock: Callable[[], float],
        on_acknowledged: Callable[[InboxUser, str], None],
        on_advanced: Callable[[Box], None],
    ) -> None:
        self._runtime = runtime
        self._frame = frame
        self._wall_clock = wall_clock
        self._on_acknowledged = on_acknowledged
        self._on_advanced = on_advanced
        self._soon: dict[Box, None] = {}  # to be looked at in the next turn of the loop

    def offer(self, box: Box, message: InboxMessage) -> None:
        """Have ``message``, which the store has, given when its turn comes; then :meth:`go_on`."""
        box.offer(message, self._runtime.clock() + message.expires - self._wall_clock())

    def go_on(self, box: Box) -> None:
        """Give what there is to give, note what the store is to be told, and see to the timer."""
        if box.giving:  # whoever is given something may come back from within
            return
        box.giving = True
        machine, now = box.machine, self._runtime.clock()
        try:
            box.news += machine.advance(now)
            self._tell_settled(box)
            while (giving := machine.take(now)) is not None:
                self._give(box, giving)
        finally:
            box.giving = False
        box.collect()
        self._tell_settled(box)
        self._set_timer(box, now)
        self._on_advanced(box)

    def go_on_soon(self, box: Box) -> None:
        """Go on in the next turn of the loop, when whoever calls has finished."""
        if not self._soon:
            self._runtime.loop.call_soon(self._next_turn)
        self._soon[box] = None

    def _next_turn(self) -> None:
        boxes = list(islice(self._soon, AT_A_TURN))
        for box in boxes:
            del self._soon[box]
        if self._soon:
            self._runtime.loop.call_soon(self._next_turn)
        for box in boxes:
            self.go_on(box)

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
        self.go_on(box)

    # ------------------------------------------------------------------------------- connections

    def _give(self, box: Box, giving: Giving[Connection]) -> None:
        connection, id, _ = giving
        machine = box.machine
        if connection.user != box.user:  # it has become another's, and is about to be said so
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
            on_settled=partial(self._written, box, connection, id, acknowledges),
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
        self, box: Box, connection: Connection, id: str, acknowledges: bool, delivered: bool
    ) -> None:
        if not delivered:  # a socket that lost something never takes anything again
            box.machine.gone(connection, self._runtime.clock())
            self.go_on_soon(box)
        elif acknowledges:
            box.machine.written(connection, id)
        else:
            self._on_acknowledged(box.user, id)

    def _has_space(self, box: Box, connection: Connection) -> None:
        box.machine.unblocked(connection)
        self.go_on_soon(box)

    def _tell_settled(self, box: Box) -> None:
        """Say which messages are settled to all clients whose formats have words for that."""
        if not box.news:
            return
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
