"""Links the nodes of one process: with one node, a plain call; nothing is copied or queued twice."""

from __future__ import annotations

import threading
from collections.abc import Hashable

from actors.publications import Publication
from actors.receipts import Receipt
from supervisor.brokers.base import BrokerNode

__all__ = ["MemoryBroker"]


class MemoryBroker:
    """Hands publications to every node of the process; see :class:`supervisor.brokers.base.Broker`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nodes: tuple[BrokerNode, ...] = ()  # replaced, never changed: read without lock

    def attach(self, node: BrokerNode) -> None:
        """Call ``node`` back from now on."""
        with self._lock:
            if node not in self._nodes:
                self._nodes += (node,)

    def detach(self, node: BrokerNode) -> None:
        """Call ``node`` back no more."""
        with self._lock:
            self._nodes = tuple(other for other in self._nodes if other is not node)

    async def publish(
        self, room: Hashable, publication: Publication, *, flush: bool = False
    ) -> Receipt:
        """Publish to all nodes and add up their receipts."""
        nodes = self._nodes
        if len(nodes) == 1 and nodes[0].local:
            return await nodes[0].deliver(room, publication, flush=flush)
        afar = [
            node.deliver_from_afar(room, publication, flush=flush)
            for node in nodes
            if not node.local
        ]
        receipt = Receipt()
        for node in nodes:
            if node.local:
                receipt += await node.deliver(room, publication, flush=flush)
        for answer in afar:
            receipt += await answer
        return receipt

    def publish_nowait(self, room: Hashable, publication: Publication) -> None:
        """Publish to all nodes without waiting."""
        for node in self._nodes:
            node.deliver_nowait(room, publication)
