"""The way to another loop: begun at once, bounded, and undone by nobody's cancellation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from actors.errors import MailboxFull
from actors.messages import Message
from actors.publications import Publication
from actors.testing import settle
from supervisor import DropReason, Receipt
from supervisor.delivery import FarCall
from tests.supervisor.conftest import Events, named
from tests.supervisor.loops import OtherLoop
from tests.supervisor.stubs import TextOnly

pytestmark = pytest.mark.real_time


class Stuck(TextOnly):
    """Takes a message when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def send_text(self, message: str) -> None:
        await self.go_on.wait()
        await super().send_text(message)


class Poison(Message):
    """What no room understands."""


class Work:
    """Work for another loop, which says how far it came."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended = threading.Event()
        self.go_on = asyncio.Event()

    async def __call__(self) -> str:
        self.begun.set()
        await self.go_on.wait()
        self.ended.set()
        return "done"


def lost(late: bool) -> str:
    """Say what became of a call without an answer."""
    return "late" if late else "gone"


async def test_the_answer_comes_back(other: OtherLoop) -> None:
    """Awaiting a far call returns what the work returned."""
    work = Work()
    call = FarCall(work(), other.loop, timeout=5, lost=lost)
    other.loop.call_soon_threadsafe(work.go_on.set)

    assert await call == "done"


async def test_an_error_comes_back(other: OtherLoop) -> None:
    """As it was raised."""

    async def fail() -> str:
        raise ZeroDivisionError("bug")

    with pytest.raises(ZeroDivisionError):
        await FarCall(fail(), other.loop, timeout=5, lost=lost)


async def test_it_begins_without_being_awaited(other: OtherLoop) -> None:
    """And nothing complains if it never is."""
    work = Work()
    call = FarCall(work(), other.loop, timeout=5, lost=lost)
    del call

    assert await asyncio.to_thread(work.begun.wait, 5)
    other.loop.call_soon_threadsafe(work.go_on.set)
    assert await asyncio.to_thread(work.ended.wait, 5)


async def test_waiting_is_bounded(other: OtherLoop) -> None:
    """What comes later is done all the same."""
    work = Work()

    assert await FarCall(work(), other.loop, timeout=0.01, lost=lost) == "late"

    other.loop.call_soon_threadsafe(work.go_on.set)
    assert await asyncio.to_thread(work.ended.wait, 5)


async def test_cancelling_whoever_waits_undoes_nothing(other: OtherLoop) -> None:
    """The cancellation passes through as it is: frameworks know theirs by it."""
    work = Work()

    async def wait() -> str:
        return await FarCall(work(), other.loop, timeout=5, lost=lost)

    waiting = asyncio.ensure_future(wait())
    assert await asyncio.to_thread(work.begun.wait, 5)
    waiting.cancel("Cancelled by somebody's scope")

    with pytest.raises(asyncio.CancelledError, match="somebody's scope"):
        await waiting
    other.loop.call_soon_threadsafe(work.go_on.set)
    assert await asyncio.to_thread(work.ended.wait, 5)


async def test_a_loop_that_ends_cancels_nobody_here(other: OtherLoop) -> None:
    """Its tasks are cancelled, and the answer is that there is none."""
    work = Work()
    call = FarCall(work(), other.loop, timeout=5, lost=lost)
    await asyncio.to_thread(work.begun.wait, 5)

    other.stop()

    assert await call == "gone"


@pytest.mark.parametrize("close", [True, False], ids=["closed", "stopped"])
async def test_a_loop_that_has_ended_is_not_called(other: OtherLoop, close: bool) -> None:
    """Nor waited for."""
    other.stop(close=close)
    work = Work()

    assert await FarCall(work(), other.loop, timeout=5, lost=lost) == "gone"

    assert not work.begun.is_set()


async def test_a_publisher_that_is_cancelled_has_published(
    manage: Callable[..., Any], other: OtherLoop
) -> None:
    """Test clients cancel an endpoint while it says goodbye to those on other loops."""
    manager = manage()
    far, near = TextOnly(), TextOnly()
    await other.run(manager.connect(far, "a"))
    await manager.connect(near, "a")

    publishing = asyncio.ensure_future(manager.broadcast("goodbye"))
    await asyncio.sleep(0)
    publishing.cancel("by a scope")
    with pytest.raises(asyncio.CancelledError, match="by a scope"):
        await publishing

    async with asyncio.timeout(5):
        while not (far.sent and near.sent):  # noqa: ASYNC110 - another loop sets no event of ours
            await asyncio.sleep(0.001)


def publish_from_a_thread(manager: Any, room: str, count: int) -> None:
    """Publish numbers, while this loop cannot run."""

    def publish() -> None:
        for number in range(count):
            manager.supervisor.publish_nowait(room, number)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(publish).result()


async def test_what_a_thread_publishes_waits_for_space(manage: Callable[..., Any]) -> None:
    """In order, however much more than the room's mailbox holds it is."""
    manager = manage(room_mailbox_messages=1)
    stub = TextOnly()
    await manager.connect(stub, "a")

    publish_from_a_thread(manager, "a", 500)
    async with asyncio.timeout(5):
        while len(stub.sent) < 500:  # noqa: ASYNC110 - another thread sets no event of ours
            await asyncio.sleep(0.001)

    assert stub.sent == [str(number) for number in range(500)]
    assert not manager.supervisor.statistics().dropped


@pytest.mark.parametrize("space", [1, 100_000])
async def test_who_publishes_in_a_thread_and_then_waits_gets_both_in_order(
    manage: Callable[..., Any], space: int
) -> None:
    """However many of the first there are, and whether or not the room has space for them."""
    manager = manage(room_mailbox_messages=space)
    stub = TextOnly()
    await manager.connect(stub, "a")
    loop = asyncio.get_running_loop()

    def publish() -> None:
        for number in range(600):
            manager.supervisor.publish_nowait("a", number, key="k")
        final = manager.supervisor.publish("a", "final", key="k")
        asyncio.run_coroutine_threadsafe(final, loop).result()

    await asyncio.to_thread(publish)

    assert stub.sent[-1] == "final"


async def test_one_fault_on_the_way_to_rooms_costs_nothing_else(
    manage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever raises, such as a log that cannot be written."""
    manager = manage()
    stub = TextOnly()
    await manager.connect(stub, "a")
    (node,) = manager.supervisor.nodes
    told = node.delivery.tell
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))

    def fail(room: Any, publication: Any) -> None:
        told(room, publication)
        if publication.data == 1:
            raise BrokenPipeError

    monkeypatch.setattr(node.delivery, "tell", fail)
    publish_from_a_thread(manager, "a", 5)
    await settle()
    publish_from_a_thread(manager, "a", 1)
    async with asyncio.timeout(5):
        while len(stub.sent) < 6:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)

    assert stub.sent == ["0", "1", "2", "3", "4", "0"]
    assert len(faults) == 1


async def test_a_room_that_stays_full_is_counted_and_logged(
    manage: Callable[..., Any], events: Events
) -> None:
    """What a thread publishes waits as long as a publisher that is awaited; other rooms go on."""
    manager = manage(
        room_mailbox_messages=1,
        mailbox_messages=1,
        overflow="block",
        block_timeout=1.0,
        publish_timeout=0.1,
    )
    stuck, well = Stuck(), TextOnly()
    await manager.connect(stuck, "a")
    await manager.connect(well, "b")

    publish_from_a_thread(manager, "a", 10)
    publish_from_a_thread(manager, "b", 10)
    async with asyncio.timeout(5):
        while len(well.sent) < 10 or not dropped(manager):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
    stuck.go_on.set()
    async with asyncio.timeout(5):
        while len(stuck.sent) + dropped(manager) < 10:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)

    assert stuck.sent == sorted(stuck.sent, key=int)
    assert dropped(manager) >= 1
    assert [event["room"] for event in named(events, "room.full")] == ["a"]


def dropped(manager: Any) -> int:
    """Return how many messages rooms had no space for."""
    counts: dict[str, int] = manager.supervisor.statistics().dropped
    return counts.get("room_full", 0)


async def test_what_waits_for_rooms_counts_for_the_way_to_the_loop(
    manage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that publishes for ever to a room that is stuck is refused in the end."""
    monkeypatch.setattr("supervisor.handover.HANDED_OVER", 20)
    manager = manage(
        room_mailbox_messages=1, mailbox_messages=1, overflow="block", block_timeout=1.0
    )
    stuck = Stuck()
    await manager.connect(stuck, "a")

    publish_from_a_thread(manager, "a", 15)
    await settle()
    with pytest.raises(MailboxFull, match="20 publications wait"):
        publish_from_a_thread(manager, "a", 15)
    stuck.go_on.set()
    async with asyncio.timeout(5):
        while len(stuck.sent) < 20:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)


async def test_a_room_that_was_given_up_says_so_to_publishers_on_other_loops(
    manage: Callable[..., Any], other: OtherLoop
) -> None:
    """By the receipt: one error must not hide what other loops took."""
    manager = manage(restart_intensity=0)
    near, far = TextOnly(), TextOnly()
    await manager.connect(near, "a")
    await other.run(manager.connect(far, "a"))
    (node,) = [node for node in manager.supervisor.nodes if node.loop is other.loop]

    async def publish_behind_a_poison() -> Receipt:
        room = node.rooms.get("a")
        assert room is not None
        room.ref.tell(Poison())
        publication = Publication("x", manager.supervisor.json)
        receipt: Receipt = await node.delivery._deliver_here("a", publication, flush=False)
        return receipt

    assert await other.run(publish_behind_a_poison()) == Receipt(0, {DropReason.ROOM_FAILED: 1})
    assert await manager.send_to_room("y", "a") == Receipt(1)


async def test_publishing_to_loops_that_have_ended_uses_nothing_up(
    manage: Callable[..., Any], other: OtherLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way to them is not counted as full."""
    monkeypatch.setattr("supervisor.handover.HANDED_OVER", 3)
    manager = manage()
    await other.run(manager.connect(TextOnly(), "a"))
    other.stop()

    for _ in range(10):
        manager.supervisor.publish_nowait("a", "x")


async def test_a_loop_that_ends_before_it_takes_over_uses_nothing_up(
    manage: Callable[..., Any], other: OtherLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what it was told of nor what comes later fills the way to it."""
    monkeypatch.setattr("supervisor.handover.HANDED_OVER", 3)
    manager = manage()
    await other.run(manager.connect(TextOnly(), "a"))

    other.stop(close=False)
    manager.supervisor.publish_nowait("a", "x")
    other.loop.close()

    for _ in range(10):
        manager.supervisor.publish_nowait("a", "x")


async def test_a_personal_message_reaches_another_loop(
    manage: Callable[..., Any], other: OtherLoop
) -> None:
    """True as from here; once that loop has ended, a stub is served from here."""
    manager = manage()
    far = TextOnly()
    await other.run(manager.connect(far, "a"))

    assert await manager.send_personal_message("1", far) is True
    assert far.sent == ["1"]
    other.stop()
    assert await manager.send_personal_message("2", far) is True
    assert far.sent == ["1", "2"]
