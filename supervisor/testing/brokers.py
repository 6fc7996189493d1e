"""What every broker promises, as a suite: see :mod:`supervisor.testing`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from actors.errors import MailboxFull
from actors.publications import Publication
from actors.receipts import Receipt
from actors.testing import TextEncoder
from supervisor.brokers.base import Broker

__all__ = ["BrokerNodeProbe", "check_broker"]

ARRIVAL_TIMEOUT = 5.0
"""Seconds after which a publication that has not arrived is missed."""

_TEXT = TextEncoder()


class BrokerNodeProbe:
    """
    A node that records what a broker hands to it; made on the loop to which it belongs.

    Attributes:
        delivered: Rooms and data, in the order in which they came.
        flushed: Data of publications whose publisher waits for idle sockets.
        publications: The very objects.
        full: While True, the node takes nothing.
        misuse: What the broker must not do.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.delivered: list[tuple[Hashable, object]] = []
        self.flushed: list[object] = []
        self.publications: list[Publication] = []
        self.full = False
        self.misuse: list[str] = []
        self._lock = threading.Lock()

    @property
    def local(self) -> bool:
        """Whether the caller runs on the probe's loop."""
        return asyncio._get_running_loop() is self.loop

    async def deliver(self, room: Hashable, publication: Publication, *, flush: bool) -> Receipt:
        """Record; see :class:`supervisor.brokers.base.BrokerNode`."""
        if not self.local:
            self.misuse.append("deliver() belongs to the node's own loop")
        await asyncio.sleep(0)  # a room may be busy
        self._take(room, publication, flush=flush)
        return Receipt(1)

    def deliver_nowait(self, room: Hashable, publication: Publication) -> None:
        """Record; see :class:`supervisor.brokers.base.BrokerNode`."""
        self._take(room, publication, flush=False)

    def deliver_from_afar(
        self, room: Hashable, publication: Publication, *, flush: bool
    ) -> Awaitable[Receipt]:
        """Record; see :class:`supervisor.brokers.base.BrokerNode`."""
        if self.local:
            self.misuse.append("deliver_from_afar() is for other loops")
        self._take(room, publication, flush=flush)
        return _Ready(Receipt(1))

    def _take(self, room: Hashable, publication: Publication, *, flush: bool) -> None:
        if self.full:
            raise MailboxFull("the probe is full")
        with self._lock:
            self.delivered.append((room, publication.data))
            self.publications.append(publication)
            if flush:
                self.flushed.append(publication.data)

    def of(self, room: Hashable) -> list[object]:
        """Return the data that came for ``room``, in order."""
        with self._lock:
            return [data for name, data in self.delivered if name == room]


async def check_broker(make_broker: Callable[[], Broker]) -> None:
    """
    Check the promises of :class:`supervisor.brokers.base.Broker`.

    Args:
        make_broker: Returns a new broker that no node is attached to. Called once a promise.

    Raises:
        AssertionError: If one is broken; its text says which.

    Waits on the real clock, and uses threads.
    """
    for check in (
        _reaches_every_node_once,
        _takes_what_nobody_hears,
        _attaches_and_detaches,
        _keeps_the_order_of_a_publisher,
        _hands_the_publication_over_as_it_is,
        _says_that_there_is_no_space,
        _reaches_nodes_of_other_loops,
        _can_be_used_from_any_thread,
        _can_be_changed_while_others_publish,
    ):
        await check(make_broker())


async def _reaches_every_node_once(broker: Broker) -> None:
    nodes = _attached(broker, 3)

    receipt = await broker.publish("a", _publication("1"))
    broker.publish_nowait("b", _publication("2"))
    await _arrived(nodes, "b", 1)

    for node in nodes:
        assert node.delivered == [("a", "1"), ("b", "2")], (
            f"every attached node gets each publication once, not {node.delivered}"
        )
        assert not node.misuse, node.misuse
    assert receipt == Receipt(3), f"the receipts of the nodes are added up, not {receipt}"


async def _takes_what_nobody_hears(broker: Broker) -> None:
    receipt = await broker.publish("a", _publication("1"))
    broker.publish_nowait("a", _publication("2"))

    assert receipt == Receipt(), f"without nodes nobody takes a publication, but: {receipt}"


async def _attaches_and_detaches(broker: Broker) -> None:
    stays, goes = _attached(broker, 2)
    broker.attach(stays)
    await broker.publish("a", _publication("both"))
    broker.detach(goes)
    broker.detach(goes)
    broker.detach(BrokerNodeProbe())
    await broker.publish("a", _publication("one"))
    broker.publish_nowait("a", _publication("one more"))
    broker.attach(goes)
    await broker.publish("a", _publication("both again"))
    await _arrived([stays], "a", 4)

    assert stays.of("a") == ["both", "one", "one more", "both again"], (
        f"attaching is idempotent, and detaching others does no harm: {stays.of('a')}"
    )
    assert goes.of("a") == ["both", "both again"], (
        f"a node that was detached is not called back until it is attached: {goes.of('a')}"
    )


async def _keeps_the_order_of_a_publisher(broker: Broker) -> None:
    nodes = _attached(broker, 2)

    for number in range(0, 60, 3):
        await broker.publish("a", _publication(number))
        broker.publish_nowait("a", _publication(number + 1))
        await broker.publish("b", _publication("other"))
        await broker.publish("a", _publication(number + 2), flush=True)
    await _arrived(nodes, "a", 60)

    for node in nodes:
        assert node.of("a") == list(range(60)), (
            f"publications of one publisher to one room arrive in order: {node.of('a')}"
        )


async def _hands_the_publication_over_as_it_is(broker: Broker) -> None:
    (node,) = _attached(broker, 1)
    publication = _publication({"n": 1})
    frame = publication.frame(_TEXT)
    room = ("any", "hashable")

    await broker.publish(room, publication, flush=True)
    await broker.publish("b", _publication("2"))

    assert node.delivered == [(room, {"n": 1}), ("b", "2")], node.delivered
    assert node.flushed == [{"n": 1}], "whether to flush is for the node to know"
    assert node.publications[0].frame(_TEXT) is frame, (
        "within a process a publication is encoded once"
    )


async def _says_that_there_is_no_space(broker: Broker) -> None:
    (node,) = _attached(broker, 1)
    node.full = True

    for publish in (_publish, _publish_nowait):
        try:
            await publish(broker, "a", "x")
        except MailboxFull:
            continue
        raise AssertionError(f"{publish.__name__[1:]}() to a full node raises MailboxFull")
    node.full = False
    await broker.publish("a", _publication("y"))

    assert node.of("a") == ["y"], f"what was refused is not delivered later: {node.of('a')}"


async def _reaches_nodes_of_other_loops(broker: Broker) -> None:
    (here,) = _attached(broker, 1)
    with _other_loop() as loop:
        there = await _run_on(loop, _make_probe())
        broker.attach(there)

        receipt = await broker.publish("a", _publication("1"))
        broker.publish_nowait("a", _publication("2"))
        await _run_on(loop, _publish(broker, "a", "3"))
        await _run_on(loop, _publish_nowait(broker, "a", "4"))
        await _arrived([here, there], "a", 4)

    assert receipt == Receipt(2), f"a receipt counts the nodes of other loops too: {receipt}"
    for node in (here, there):
        assert node.of("a") == ["1", "2", "3", "4"], (
            f"publishers on any loop reach the nodes of all: {node.of('a')}"
        )
        assert not node.misuse, node.misuse


async def _can_be_used_from_any_thread(broker: Broker) -> None:
    nodes = _attached(broker, 2)

    def publish(name: int) -> None:
        for number in range(50):
            broker.publish_nowait("a", _publication(f"{name} {number}"))

    await asyncio.gather(*(asyncio.to_thread(publish, name) for name in range(4)))
    await _arrived(nodes, "a", 200)

    for node in nodes:
        assert len(node.of("a")) == len(set(node.of("a"))) == 200, (
            "what several threads publish arrives once each"
        )
        for name in range(4):
            of_one = [data for data in node.of("a") if str(data).startswith(f"{name} ")]
            assert of_one == [f"{name} {number}" for number in range(50)], (
                "each thread's publications arrive in order"
            )


async def _can_be_changed_while_others_publish(broker: Broker) -> None:
    (stays,) = _attached(broker, 1)
    comes_and_goes = BrokerNodeProbe()
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            broker.attach(comes_and_goes)
            broker.detach(comes_and_goes)

    changing = asyncio.ensure_future(asyncio.to_thread(change))
    try:
        for number in range(200):
            await broker.publish("a", _publication(number))
    finally:
        done.set()
        await changing
    await _arrived([stays], "a", 200)

    assert stays.of("a") == list(range(200)), "nodes that come and go cost the others nothing"
    got = comes_and_goes.of("a")
    assert len(got) == len(set(got)), "nobody gets a publication twice"


async def _publish(broker: Broker, room: Hashable, data: object) -> None:
    await broker.publish(room, _publication(data))


async def _publish_nowait(broker: Broker, room: Hashable, data: object) -> None:
    broker.publish_nowait(room, _publication(data))


async def _make_probe() -> BrokerNodeProbe:
    return BrokerNodeProbe()


def _publication(data: object) -> Publication:
    return Publication(data, _TEXT)


def _attached(broker: Broker, count: int) -> list[BrokerNodeProbe]:
    nodes = [BrokerNodeProbe() for _ in range(count)]
    for node in nodes:
        broker.attach(node)
    return nodes


async def _arrived(nodes: list[BrokerNodeProbe], room: Hashable, count: int) -> None:
    """Wait until each node has ``count`` publications of ``room``, and a little for too many."""
    deadline = asyncio.get_running_loop().time() + ARRIVAL_TIMEOUT
    while any(len(node.of(room)) < count for node in nodes):
        if asyncio.get_running_loop().time() > deadline:
            arrived = [len(node.of(room)) for node in nodes]
            raise AssertionError(f"{count} publications were to arrive at each node, not {arrived}")
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.001)


@contextmanager
def _other_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="another loop")
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _run_on(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> Any:
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


class _Ready:
    """A receipt that may be awaited, or not."""

    __slots__ = ("_receipt",)

    def __init__(self, receipt: Receipt) -> None:
        self._receipt = receipt

    def __await__(self) -> Generator[Any, None, Receipt]:
        return self._receipt
        yield
