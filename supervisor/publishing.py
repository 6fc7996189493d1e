"""
How a publication gets into a room: checked, encoded, kept if its room keeps messages, and handed to the broker.

Keeping comes first. Once a store has taken a message its publication cannot be undone, whoever stops
waiting: so the append and the hand-over belong together, and not to the publisher's task.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from actors.errors import MailboxFull, MessageTooLarge
from actors.overflow import DropReason
from actors.positions import Position
from actors.publications import Publication
from actors.receipts import Receipt
from supervisor.alerts import Alerts
from supervisor.errors import AppendRefused, InvalidPublication, StoreFull
from supervisor.feeds import decoded, entry_of
from supervisor.history.base import Repeated
from supervisor.losses import Losses
from supervisor.pending import Answers, Pending
from supervisor.publication_rules import check_append, check_publication
from supervisor.telemetry.logging import event_logger
from supervisor.telemetry.quiet import Quiet

if TYPE_CHECKING:
    from supervisor.brokers.base import Broker
    from supervisor.codecs.json import JsonCodec
    from supervisor.history.base import History
    from supervisor.important import Letters
    from supervisor.inbox.base import Inbox
    from supervisor.node import Node
    from supervisor.policies import RoomPolicies
    from supervisor.settings import Settings

__all__ = ["Publisher"]


FULL_PAUSE = 0.005
"""Seconds after which a publisher tries again that waits for space in the history."""


class Publisher:
    """
    Publishes into rooms; thread-safe.

    Args:
        settings: What may be set.
        policies: What rooms keep.
        broker: Takes what is to be routed.
        history: Keeps what is to be kept.
        inbox: Knows who is addressed by alert rooms.
        letters: Makes messages of inboxes.
        codec: Encodes; what it cannot express is refused.
        open_node: Returns the node of the running loop.
        nodes: Returns all nodes.

    Attributes:
        losses: Messages that no store took, and of which nobody waited to be told.
        alerts: Publishes what goes into inboxes.
    """

    def __init__(
        self,
        settings: Settings,
        policies: RoomPolicies,
        broker: Broker,
        *,
        history: History,
        inbox: Inbox,
        letters: Letters,
        codec: JsonCodec,
        open_node: Callable[[], Node],
        nodes: Callable[[], list[Node]],
    ) -> None:
        self.losses = Losses()
        self.alerts = Alerts(
            inbox, letters, open_node=open_node, nodes=nodes, on_refused=self._refused
        )
        self._settings = settings
        self._policies = policies
        self._broker = broker
        self._history = history
        self._codec = codec
        self._appended = Answers()
        self._quiet = Quiet()
        self._losing = threading.Lock()
        self._log = event_logger()

    def publication(
        self,
        room: Hashable,
        data: object,
        *,
        key: Hashable | None = None,
        exclude: frozenset[Hashable] = frozenset(),
        ttl: float | None = None,
    ) -> Publication:
        """
        Return the publication of ``data``.

        Raises:
            InvalidPublication: If the room takes no such thing.
            MessageTooLarge: If no mailbox could hold it.
            UnserialisableData: If it cannot be expressed as JSON.
        """
        policy = self._policies.resolve(room)
        check_publication(room, policy, key, exclude, ttl)
        if policy.feed == "event":
            publication = Publication(data, self._codec, room=room, key=key, exclude=exclude)
        else:  # the same for who is live and who reads it later: what JSON makes of it
            frame = self._codec.encode(data)
            publication = Publication.of_frame(frame, self._codec, decoded, room=room, key=key)
        self._check_size(publication)
        if policy.feed == "status":
            seconds = policy.key_ttl if ttl is None else ttl
            publication.expires = None if seconds is None else time.time() + seconds
        return publication

    def removal(self, room: str, key: str) -> Publication:
        """
        Return the publication that says that ``key`` has no value any more.

        Raises:
            InvalidPublication: If the room has no keys.
        """
        policy = self._policies.resolve(room)
        if policy.feed != "status":
            raise InvalidPublication(
                f"room {room!r} is of the class {policy.feed}; keys are removed from status rooms"
            )
        check_publication(room, policy, key, frozenset(), None)
        publication = Publication.of_frame(None, self._codec, lambda _: None, room=room, key=key)
        publication.removed = True
        return publication

    def _check_size(self, publication: Publication) -> None:
        allowed = self._settings.mailbox_bytes
        if publication.size > allowed:
            raise MessageTooLarge(
                f"the message has {publication.size} bytes; mailbox_bytes allows {allowed}"
            )

    async def publish(
        self,
        publication: Publication,
        *,
        flush: bool = False,
        idempotency_key: str | None = None,
        expect_offset: int | None = None,
    ) -> Receipt:
        """Publish, and return what became of it; see :meth:`supervisor.supervisor.Supervisor.publish`."""
        room = publication.room
        policy = self._policies.resolve(room)
        check_append(idempotency_key, expect_offset)
        if policy.feed == "alert":
            if expect_offset is not None:
                raise InvalidPublication(f"room {room!r} is of the class alert and has no offsets")
            return await self.alerts.publish(publication, policy, idempotency_key)
        if not policy.keeps:
            if idempotency_key is not None or expect_offset is not None:
                raise InvalidPublication(
                    f"room {room!r} keeps nothing, so idempotency_key and expect_offset mean "
                    "nothing there; rooms of the classes log and status keep"
                )
            return await self._broker.publish(room, publication, flush=flush)
        assert isinstance(room, str)  # no other room has a policy
        pending = Pending(
            asyncio.get_running_loop(),
            self._appended,
            lambda position: self._route(publication, position),
        )
        deadline = time.monotonic() + self._settings.publish_timeout
        position = await _when_space(
            lambda: self._history.append(
                room,
                entry_of(publication, self._codec),
                policy.retention,
                durability=policy.durability,
                idempotency_key=idempotency_key,
                expect_offset=expect_offset,
                then=pending.done,
            ),
            deadline,
        )
        if position is None:
            position = await pending.outcome(max(FULL_PAUSE, deadline - time.monotonic()))
        if isinstance(position, Repeated):
            return Receipt(position=Position(*position), repeated=True)
        publication.position = position
        receipt = await self._broker.publish(room, publication, flush=flush)
        receipt.position = position
        return receipt

    def publish_nowait(
        self, publication: Publication, *, idempotency_key: str | None = None
    ) -> None:
        """Publish without waiting, from any thread."""
        room = publication.room
        policy = self._policies.resolve(room)
        check_append(idempotency_key, None)
        if policy.feed == "alert":
            self.alerts.publish_nowait(publication, policy, idempotency_key)
            return
        if not policy.keeps:
            if idempotency_key is not None:
                raise InvalidPublication(f"room {room!r} keeps nothing, not even idempotency_key")
            self._broker.publish_nowait(room, publication)
            return

        assert isinstance(room, str)  # no other room has a policy

        def done(outcome: Position | Exception) -> None:
            if isinstance(outcome, Position):
                self._route(publication, outcome)
            else:
                self._refused(room, outcome)

        try:
            position = self._history.append(
                room,
                entry_of(publication, self._codec),
                policy.retention,
                durability=policy.durability,
                idempotency_key=idempotency_key,
                then=done,
            )
        except AppendRefused as refusal:
            self._refused(room, refusal)
        else:
            if position is not None:
                self._route(publication, position)

    def _route(self, publication: Publication, position: Position) -> None:
        """Hand over what is kept already; a room that has no space for it will read it."""
        if isinstance(position, Repeated):
            return
        publication.position = position
        try:
            self._broker.publish_nowait(publication.room, publication)
        except MailboxFull:
            total = self._quiet.total((publication.room, "behind"))
            if total is not None:
                self._log.debug("room.behind", room=publication.room, total=total)

    def _refused(self, room: Hashable, error: Exception) -> None:
        """Count what is not kept, and say so; in whatever thread the store says it."""
        with self._losing:
            self.losses.count(self._policies.resolve(room).feed, DropReason.NOT_KEPT.value)
        total = self._quiet.total((room, "refused"))
        if total is not None:
            self._log.error("history.refused", room=room, reason=str(error), total=total)

    async def end(self, room: str) -> Position:
        """Say that nothing more will come in ``room``; return its last place."""
        policy = self._policies.resolve(room)
        if policy.feed != "log":
            raise InvalidPublication(
                f"room {room!r} is of the class {policy.feed}; only log rooms end"
            )
        position = await self._history.end(room)
        publication = Publication.of_frame(None, self._codec, lambda _: None, room=room)
        publication.position = position
        publication.ended = True
        await self._broker.publish(room, publication)
        return position


async def _when_space(append: Callable[[], Position | None], deadline: float) -> Position | None:
    """Append; as long as too much waits for the store, wait until ``deadline`` for space."""
    while True:
        try:
            return append()
        except StoreFull:
            if time.monotonic() >= deadline:
                raise
            await asyncio.sleep(FULL_PAUSE)  # a commit or two: the publisher is held back
