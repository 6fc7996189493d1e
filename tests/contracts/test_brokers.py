"""Every broker keeps the promises of the port; and the suite that says so finds who does not."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import pytest

from actors.errors import MailboxFull
from actors.publications import Publication
from actors.receipts import Receipt
from actors.testing import TextEncoder
from supervisor.brokers.base import Broker, BrokerNode
from supervisor.brokers.memory import MemoryBroker
from supervisor.testing import check_broker

pytestmark = pytest.mark.real_time


@pytest.mark.parametrize("make_broker", [MemoryBroker])
async def test_the_broker_keeps_its_promises(make_broker: Callable[[], Broker]) -> None:
    """All of them."""
    await check_broker(make_broker)


class Forgetful(MemoryBroker):
    """Does not call the publisher's own node back."""

    async def publish(
        self, room: Hashable, publication: Publication, *, flush: bool = False
    ) -> Receipt:
        first, *_ = self._nodes or (None,)
        if first is not None:
            self.detach(first)
        try:
            return await super().publish(room, publication, flush=flush)
        finally:
            if first is not None:
                self.attach(first)


class Stammering(MemoryBroker):
    """Says everything twice."""

    def publish_nowait(self, room: Hashable, publication: Publication) -> None:
        for _ in range(2):
            super().publish_nowait(room, publication)


class Shuffling(MemoryBroker):
    """Holds each second publication back until the next."""

    def __init__(self) -> None:
        super().__init__()
        self._held: tuple[Hashable, Publication] | None = None

    def publish_nowait(self, room: Hashable, publication: Publication) -> None:
        if self._held is None and self._nodes:
            self._held = (room, publication)
            return
        super().publish_nowait(room, publication)
        if self._held is not None:
            held, self._held = self._held, None
            super().publish_nowait(*held)


class Silent(MemoryBroker):
    """Does not say that there is no space."""

    def publish_nowait(self, room: Hashable, publication: Publication) -> None:
        try:
            super().publish_nowait(room, publication)
        except MailboxFull:
            pass


class Eager(MemoryBroker):
    """Attaches a node as often as it is told to."""

    def attach(self, node: BrokerNode) -> None:
        self._nodes += (node,)


class Clinging(MemoryBroker):
    """Never lets a node go."""

    def detach(self, node: BrokerNode) -> None:
        pass


class Recoding(MemoryBroker):
    """Encodes a publication anew."""

    async def publish(
        self, room: Hashable, publication: Publication, *, flush: bool = False
    ) -> Receipt:
        copied = Publication(publication.data, TextEncoder())
        return await super().publish(room, copied, flush=flush)


class Trespassing(MemoryBroker):
    """Calls every node as if it were on this loop."""

    async def publish(
        self, room: Hashable, publication: Publication, *, flush: bool = False
    ) -> Receipt:
        receipts: list[Any] = [
            await node.deliver(room, publication, flush=flush) for node in self._nodes
        ]
        return sum(receipts, start=Receipt())


class Boasting(MemoryBroker):
    """Says that everybody took it."""

    async def publish(
        self, room: Hashable, publication: Publication, *, flush: bool = False
    ) -> Receipt:
        await super().publish(room, publication, flush=flush)
        return Receipt(3)


@pytest.mark.parametrize(
    ("make_broker", "says"),
    [
        (Forgetful, "every attached node"),
        (Stammering, "every attached node|once"),
        (Shuffling, "were to arrive"),
        (Silent, "raises MailboxFull"),
        (Eager, "attaching is idempotent"),
        (Clinging, "not called back"),
        (Recoding, "encoded once"),
        (Trespassing, "own loop"),
        (Boasting, "nobody takes"),
    ],
)
async def test_the_suite_finds_a_broker_that_breaks_a_promise(
    make_broker: Callable[[], Broker], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says which."""
    monkeypatch.setattr("supervisor.testing.brokers.ARRIVAL_TIMEOUT", 0.2)

    with pytest.raises(AssertionError, match=says):
        await check_broker(make_broker)
