"""
How alerts and important messages get into inboxes: for :mod:`supervisor.publishing`.

Who waits gets a receipt. Alerts that nobody waits for are bounded, and put one after the other: a
user gets those of a room in the order in which they were published.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

from actors.errors import MailboxFull
from actors.receipts import Receipt
from supervisor.errors import StoreUnavailable
from supervisor.publication_rules import check_append

if TYPE_CHECKING:
    from actors.publications import Publication
    from supervisor.important import Letters
    from supervisor.inbox.base import Inbox, InboxMessage, InboxUser
    from supervisor.node import Node
    from supervisor.room_policy import RoomPolicy

__all__ = ["Alerts"]

POSTED_ALERTS = 1_000
"""Alerts that nobody waits for and that may be on their way to the inboxes."""


class Alerts:
    """
    Publishes into inboxes; thread-safe.

    Args:
        inbox: Knows who is addressed by alert rooms.
        letters: Makes messages of inboxes.
        open_node: Returns the node of the running loop.
        nodes: Returns all nodes.
        on_refused: Called with the room and the error of what nobody waits for.
    """

    def __init__(
        self,
        inbox: Inbox,
        letters: Letters,
        *,
        open_node: Callable[[], Node],
        nodes: Callable[[], list[Node]],
        on_refused: Callable[[Hashable, Exception], None],
    ) -> None:
        self._inbox = inbox
        self._letters = letters
        self._open_node = open_node
        self._nodes = nodes
        self._on_refused = on_refused
        self._posting = threading.Lock()
        self._posts = 0  # alerts of publish_nowait under way
        self._posted: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Future[None]] = {}

    async def send(
        self,
        user: InboxUser,
        publication: Publication,
        *,
        lasts: float,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Put ``publication`` into the inbox of ``user``, where it lasts so many seconds."""
        check_append(idempotency_key, None)
        messages = self._letters.write(
            publication, [user], room=None, lasts=lasts, idempotency_key=idempotency_key
        )
        return await self._put(messages)

    async def publish(
        self, publication: Publication, policy: RoomPolicy, idempotency_key: str | None
    ) -> Receipt:
        """Put ``publication`` into the inbox of everybody who subscribed to its room."""
        room = publication.room
        assert isinstance(room, str)  # no other room has a policy
        assert policy.expires_after is not None  # alert rooms have one
        posted = self._posted.get((asyncio.get_running_loop(), room))
        if posted is not None:
            await asyncio.wait([posted])
        return await self._put_for_room(publication, room, policy.expires_after, idempotency_key)

    async def _put_for_room(
        self, publication: Publication, room: str, lasts: float, idempotency_key: str | None
    ) -> Receipt:
        messages = self._letters.write(
            publication,
            await self._inbox.subscribers(room),
            room=room,
            lasts=lasts,
            idempotency_key=idempotency_key,
        )
        return await self._put(messages)

    async def _put(self, messages: Sequence[InboxMessage]) -> Receipt:
        if not messages:
            return Receipt()
        kept = await self._open_node().inboxes.put(messages)
        return Receipt(len(kept.new) or len(messages), repeated=not kept.new)

    def publish_nowait(
        self, publication: Publication, policy: RoomPolicy, idempotency_key: str | None
    ) -> None:
        """
        Publish without waiting, from any thread; after what was posted to the room before.

        Raises:
            StoreUnavailable: If no event loop runs.
            MailboxFull: If too many are on their way.
        """
        nodes = self._nodes()
        node = next((node for node in nodes if node.delivery.local), nodes[0] if nodes else None)
        if node is None:
            raise StoreUnavailable(
                "no event loop runs yet that could take an alert: await publish() on one"
            )

        room, lasts = publication.room, policy.expires_after
        assert isinstance(room, str)  # no other room has a policy
        assert lasts is not None  # alert rooms have one
        with self._posting:
            if self._posts >= POSTED_ALERTS:
                raise MailboxFull(f"{POSTED_ALERTS} alerts wait for the inboxes; await publish()")
            self._posts += 1
        place = (node.loop, room)

        def post() -> None:
            before = self._posted.get(place)
            done = self._posted[place] = node.loop.create_future()

            async def alert() -> None:
                if before is not None:
                    await asyncio.wait([before])
                await self._put_for_room(publication, room, lasts, idempotency_key)

            def ended(error: BaseException | None) -> None:
                with self._posting:
                    self._posts -= 1
                done.set_result(None)
                if self._posted.get(place) is done:
                    del self._posted[place]
                if isinstance(error, Exception):  # nobody waits: it is counted and logged
                    self._on_refused(room, error)

            node.runtime.run(alert(), name="alert", on_done=ended)

        node.delivery.post(post)
