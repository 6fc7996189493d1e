"""How what is kept gets to its room, whoever stops waiting: cancelled, late, full, from threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from actors.positions import Position
from actors.publications import Publication
from actors.testing import settle
from supervisor import RoomPolicy, Session, StoreUnavailable, Supervisor
from supervisor.errors import AppendRefused
from supervisor.history.memory import MemoryHistory
from supervisor.pending import Answers, Pending
from tests.supervisor.asgi import bare_app
from tests.supervisor.conftest import NewPeer, Supervise
from tests.supervisor.endpoints import endpoint, enter, until_the_client_leaves
from tests.supervisor.loops import OtherLoop

ROOMS = {"log:*": RoomPolicy.log()}


class LateHistory(MemoryHistory):
    """A history that tells of its appends when it is told to, as one does that writes to a disk."""

    def __init__(self) -> None:
        super().__init__()
        self.untold: list[tuple[Callable[[Position | Exception], None], Position | Exception]] = []
        self.late = True

    def append(self, *arguments: Any, then: Any, **options: Any) -> Any:
        if not self.late:
            return super().append(*arguments, then=then, **options)
        try:
            outcome: Any = super().append(*arguments, then=then, **options)
        except AppendRefused as refusal:
            outcome = refusal
        self.untold.append((then, outcome))
        return None

    def tell(self) -> None:
        """Tell of all, in another thread."""
        untold, self.untold = self.untold, []
        thread = threading.Thread(target=lambda: [then(outcome) for then, outcome in untold])
        thread.start()
        thread.join()


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> LateHistory:
    """Return the history that supervisors are made with."""
    late = LateHistory()
    monkeypatch.setattr("supervisor.stores.MemoryHistory", lambda: late)
    return late


async def made(supervise: Supervise, **settings: Any) -> Supervisor:
    """Return a supervisor whose history is late."""
    supervisor = supervise(rooms=ROOMS, **settings)
    await supervisor.open_stores()
    return supervisor


async def test_a_publisher_waits_until_its_message_is_kept(
    supervise: Supervise, peer: NewPeer, history: LateHistory
) -> None:
    """And no member gets it before."""
    supervisor, client = await made(supervise), peer()
    await enter(supervisor, client, rooms=["log:a"])
    publishing = asyncio.create_task(supervisor.publish("log:a", "x"))
    await settle()
    assert not publishing.done()
    assert client.got == []

    history.tell()
    receipt = await publishing

    assert receipt.accepted == 1
    assert client.got == ["x"]


async def test_what_a_cancelled_publisher_had_kept_is_routed(
    supervise: Supervise, peer: NewPeer, history: LateHistory
) -> None:
    """Cancelled while the store has it, nothing is undone."""
    supervisor, client = await made(supervise), peer()
    await enter(supervisor, client, rooms=["log:a"])
    publishing = asyncio.create_task(supervisor.publish("log:a", "x"))
    await settle()

    publishing.cancel()
    await settle()
    history.tell()
    await settle()

    assert publishing.cancelled()
    assert client.got == ["x"]


async def test_what_is_kept_in_the_moment_of_a_cancellation_is_routed(
    supervise: Supervise, peer: NewPeer, history: LateHistory
) -> None:
    """The answer has come, and the publisher has not run yet."""
    supervisor, client = await made(supervise), peer()
    await enter(supervisor, client, rooms=["log:a"])
    publishing = asyncio.create_task(supervisor.publish("log:a", "x"))
    await settle()
    history.tell()
    asyncio.get_running_loop().call_soon(publishing.cancel)  # right behind the answer

    await settle()

    assert publishing.cancelled()
    assert client.got == ["x"]


async def test_a_publisher_that_is_cancelled_without_space_has_its_message_read(
    supervise: Supervise, peer: NewPeer, history: LateHistory
) -> None:
    """It is kept, and all that the room lacks is to hear of it."""
    history.late = False
    supervisor, client = await made(supervise, room_mailbox_messages=1), peer()
    await enter(supervisor, client, rooms=["log:a"])
    publishing = [asyncio.create_task(supervisor.publish("log:a", f"{n}")) for n in range(3)]
    await asyncio.sleep(0)

    for each in publishing[1:]:
        each.cancel()
    await settle()

    assert [each.cancelled() for each in publishing] == [False, True, True]
    kept = [message.data for message in (await supervisor.read_history("log:a")).messages]
    assert client.got == kept


async def test_a_store_that_does_not_answer_is_not_waited_for(
    supervise: Supervise, peer: NewPeer, history: LateHistory
) -> None:
    """StoreUnavailable after publish_timeout; what it keeps after all is routed."""
    supervisor, client = await made(supervise, publish_timeout=1), peer()
    history.late = False
    await enter(supervisor, client, rooms=["log:a"])
    history.late = True

    with pytest.raises(StoreUnavailable, match="may be kept yet"):
        await supervisor.publish("log:a", "x")
    history.tell()
    await settle()

    assert client.got == ["x"]


async def test_a_message_that_was_kept_is_no_error_when_its_room_ends(
    peer: NewPeer, history: LateHistory
) -> None:
    """Who publishes it again would publish it twice."""
    history.late = False
    supervisor, client = Supervisor(rooms=ROOMS, room_mailbox_messages=1), peer()
    supervisor.start()
    await enter(supervisor, client, rooms=["log:a"])
    (node,) = supervisor.nodes
    publishing = [asyncio.create_task(supervisor.publish("log:a", f"{n}")) for n in range(2)]
    await asyncio.sleep(0)

    await node.runtime.aclose()

    receipts = await asyncio.gather(*publishing)
    assert [receipt.position.offset for receipt in receipts if receipt.position] == [1, 2]
    client.vanish()
    await client.end()
    await supervisor.aclose()


async def test_the_end_that_has_no_space_is_told(
    supervise: Supervise, peer: NewPeer, history: LateHistory
) -> None:
    """Of a log without messages, too, whose end has the offset 0."""
    history.late = False
    supervisor, client = await made(supervise, room_mailbox_messages=1, publish_timeout=1), peer()
    await enter(supervisor, client, rooms=["log:a"], envelope=True)
    (node,) = supervisor.nodes
    end = Publication.of_frame(None, supervisor.json, lambda _: None, room="log:a")
    end.position, end.ended = await history.end("log:a"), True

    node.delivery.deliver_nowait("log:a", end)
    node.delivery.deliver_nowait("log:a", end)
    await settle()

    assert client.got_json[1:] == [{"end": {"room": "log:a", "offset": 0}}]


@pytest.mark.real_time
async def test_what_had_no_space_on_the_way_to_a_loop_is_told_by_whatever_comes(
    supervise: Supervise,
    peer: NewPeer,
    other: OtherLoop,
    history: LateHistory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the room itself nothing may come for long."""
    history.late = False
    monkeypatch.setattr("supervisor.handover.HANDED_OVER", 1)
    supervisor, client = await made(supervise), peer()
    await enter_really(supervisor, client, ["log:a", "log:b"])

    def publish() -> None:
        supervisor.publish_nowait("log:b", "first")
        supervisor.publish_nowait("log:a", "second")

    thread = threading.Thread(target=publish)
    thread.start()
    thread.join()  # the loop stands still meanwhile
    await asyncio.sleep(0.1)

    assert sorted(client.got) == ["first", "second"]


async def test_an_older_announcement_takes_no_newer_one_s_place(
    supervise: Supervise, peer: NewPeer, history: LateHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads may overtake each other between the store and a way to the loop that is full."""
    history.late = False
    monkeypatch.setattr("supervisor.handover.HANDED_OVER", 2)
    supervisor, client = await made(supervise), peer()
    await enter_really(supervisor, client, ["log:a"])
    append = history.append

    def overtaken(*arguments: Any, **options: Any) -> Any:
        appended = append(*arguments, **options)
        if appended.offset == 3:  # who has it is switched off before it can say so
            newer = threading.Thread(target=supervisor.publish_nowait, args=("log:a", "4"))
            newer.start()
            newer.join()
        return appended

    monkeypatch.setattr(history, "append", overtaken)

    def publish() -> None:
        for number in (1, 2, 3):
            supervisor.publish_nowait("log:a", str(number))

    thread = threading.Thread(target=publish)
    thread.start()
    thread.join()  # the loop stands still meanwhile
    await asyncio.sleep(0.1)

    assert client.got == ["1", "2", "3", "4"]


async def enter_really(supervisor: Supervisor, client: Any, rooms: list[str]) -> None:
    """Enter on the real clock."""
    joined = asyncio.Event()

    async def tell(session: Session) -> None:
        joined.set()
        await until_the_client_leaves(session)

    client.open(bare_app(endpoint(supervisor, tell, rooms=rooms)))
    await asyncio.wait_for(joined.wait(), 5)


async def test_an_answer_in_the_same_thread_wakes_who_waits() -> None:
    """A store may tell of an append in the loop's own thread, later."""
    abandoned: list[Position] = []
    loop = asyncio.get_running_loop()
    pending = Pending(loop, Answers(), abandoned.append)
    waiting = asyncio.create_task(pending.outcome(1))
    await settle()
    appended = await MemoryHistory().end("a")

    pending.done(appended)

    assert await waiting == appended
    assert abandoned == []
