"""
The port between a supervisor and a broker.

A supervisor publishes to the broker; the broker calls every attached node back, that of the
publisher included, exactly once each. Rooms know nothing of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Hashable
from typing import Protocol

from actors.publications import Publication
from actors.receipts import Receipt

__all__ = ["Broker", "BrokerNode"]


class BrokerNode(Protocol):
    """What a broker calls back."""

    @property
    def local(self) -> bool:
        """Whether the caller runs on the node's own event loop."""
        ...

    async def deliver(self, room: Hashable, publication: Publication, *, flush: bool) -> Receipt:
        """
        Hand ``publication`` to the room; on the node's loop only.

        Waits for space in the room, and with ``flush`` for idle sockets; both bounded.
        """
        ...

    def deliver_nowait(self, room: Hashable, publication: Publication) -> None:
        """
        Hand ``publication`` to the room without waiting; from any thread.

        Raises:
            MailboxFull: If too much waits already.
        """
        ...

    def deliver_from_afar(
        self, room: Hashable, publication: Publication, *, flush: bool
    ) -> Awaitable[Receipt]:
        """
        As :meth:`deliver`, from another event loop; begun within the call.

        Waiting is bounded, and whoever stops waiting undoes nothing. What goes wrong there is
        said by the receipt.
        """
        ...


class Broker(Protocol):
    """
    Links nodes. Thread-safe: nodes of several event loops use one broker.

    Promises: at most once to each node that was attached before the call and is attached
    after it; publications of one publisher to one room arrive in the order of the calls.
    """

    def attach(self, node: BrokerNode) -> None:
        """Call ``node`` back from now on. Idempotent."""
        ...

    def detach(self, node: BrokerNode) -> None:
        """Call ``node`` back no more. Idempotent."""
        ...

    async def publish(
        self, room: Hashable, publication: Publication, *, flush: bool = False
    ) -> Receipt:
        """
        Publish, and return what became of it at the nodes of this process.

        Raises:
            MailboxFull: If the publisher's own node had no space in time.
        """
        ...

    def publish_nowait(self, room: Hashable, publication: Publication) -> None:
        """
        Publish without waiting; from any thread.

        Raises:
            MailboxFull: If a node of this process can take no more.
        """
        ...
