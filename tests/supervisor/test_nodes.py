"""A supervisor in several loops and threads."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from supervisor import MailboxFull, Receipt, Session, Supervisor, WrongLoop
from tests.supervisor.asgi import Peer
from tests.supervisor.conftest import NewPeer, Supervise, nothing_left
from tests.supervisor.endpoints import enter
from tests.supervisor.loops import OtherLoop


class FarClient:
    """A client that is connected on another loop."""

    def __init__(self, supervisor: Supervisor, other: OtherLoop, **arguments: Any) -> None:
        self._supervisor = supervisor
        self._other = other
        self._arguments = arguments
        self.peer: Peer
        self.session: Session

    async def connect(self) -> None:
        """Enter a session there."""
        await self._other.run(self._connect())

    async def _connect(self) -> None:
        self.peer = Peer()
        self.session = await enter(self._supervisor, self.peer, **self._arguments)

    async def leave(self) -> None:
        """Leave, and wait for the endpoint's end."""
        await self._other.run(self._leave())

    async def _leave(self) -> None:
        self.peer.leave()
        await self.peer.end()


async def got_all(client: Peer, count: int) -> list[str | bytes]:
    """Return what a client on any loop got, once there is enough of it."""
    async with asyncio.timeout(5):
        while len(client.got) < count:  # noqa: ASYNC110 - another loop cannot set our events
            await asyncio.sleep(0.005)
    return client.got


@pytest.mark.real_time
async def test_publications_reach_the_members_on_every_loop(
    supervise: Supervise, peer: NewPeer, other: OtherLoop
) -> None:
    """Receipts add up; looking works from anywhere."""
    supervisor = supervise()
    near, far = peer(), FarClient(supervisor, other, rooms=["a"], user="ann")
    session = await enter(supervisor, near, rooms=["a"], user="ann")
    await far.connect()

    assert await supervisor.publish("a", "1") == Receipt(2)
    assert await supervisor.send_to_user("ann", "2") == Receipt(2)
    assert await supervisor.broadcast("3", exclude=far.session) == Receipt(1)
    assert await other.run(supervisor.broadcast("4", exclude=session)) == Receipt(1)
    assert supervisor.members("a") == {session.connection, far.session.connection}
    assert supervisor.statistics().nodes == 2
    assert supervisor.statistics().users == 1

    assert await got_all(near, 3) == ["1", "2", "3"]
    assert await got_all(far.peer, 3) == ["1", "2", "4"]
    await far.leave()


@pytest.mark.real_time
async def test_one_publishers_messages_keep_their_order_on_every_loop(
    supervise: Supervise, peer: NewPeer, other: OtherLoop
) -> None:
    """Awaited or not."""
    supervisor = supervise()
    near, far = peer(), FarClient(supervisor, other, rooms=["a"])
    await enter(supervisor, near, rooms=["a"])
    await far.connect()

    for number in range(0, 100, 2):
        supervisor.publish_nowait("a", str(number))
        await supervisor.publish("a", str(number + 1))

    expected = [str(number) for number in range(100)]
    assert await got_all(near, 100) == expected
    assert await got_all(far.peer, 100) == expected
    await far.leave()


@pytest.mark.real_time
async def test_threads_publish_without_a_loop(supervise: Supervise, peer: NewPeer) -> None:
    """All arrives, each thread's messages in order."""
    supervisor = supervise()
    client = peer()
    await enter(supervisor, client, rooms=["a"])

    def publish(name: int) -> None:
        for number in range(50):
            supervisor.publish_nowait("a", {"name": name, "n": number})

    with ThreadPoolExecutor(8) as threads:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(threads, publish, n) for n in range(8)))

    await got_all(client, 400)
    for name in range(8):
        assert [got["n"] for got in client.got_json if got["name"] == name] == list(range(50))


@pytest.mark.real_time
async def test_the_way_to_a_loop_is_bounded(
    supervise: Supervise, peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that outruns the loop gets MailboxFull; later there is space again."""
    monkeypatch.setattr("supervisor.handover.HANDED_OVER", 5)
    supervisor = supervise()
    client = peer()
    await enter(supervisor, client, rooms=["a"])

    def publish_six() -> None:
        for number in range(6):
            supervisor.publish_nowait("a", str(number))

    with ThreadPoolExecutor(1) as thread, pytest.raises(MailboxFull, match="5 publications"):
        thread.submit(publish_six).result()  # this loop cannot run meanwhile
    await got_all(client, 5)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(supervisor.publish_nowait, "a", "later").result()

    assert await got_all(client, 6) == ["0", "1", "2", "3", "4", "later"]


@pytest.mark.real_time
async def test_a_kick_reaches_every_loop(
    supervise: Supervise, peer: NewPeer, other: OtherLoop
) -> None:
    """From any of them."""
    supervisor = supervise()
    near, far = peer(), FarClient(supervisor, other, user="ann")
    await enter(supervisor, near, user="ann")
    await far.connect()

    assert await supervisor.kick("ann") == 2
    await far.leave()

    assert far.peer.closed == (3503, "kicked")
    assert await near.end() is None


@pytest.mark.real_time
async def test_what_belongs_to_a_loop_says_so(
    supervise: Supervise, peer: NewPeer, other: OtherLoop
) -> None:
    """join, leave and sends of a session raise WrongLoop elsewhere; the session lives on."""
    supervisor = supervise()
    far = FarClient(supervisor, other, rooms=["a"])
    await far.connect()
    session = far.session

    for call in (
        supervisor.join(session, "b"),
        supervisor.leave(session, "a"),
        session.join("b"),
        session.leave("a"),
        session.send("x"),
        session.close(),
        session.receive(),
    ):
        with pytest.raises(WrongLoop):
            await call

    assert session.connected
    assert session.rooms == {"a"}
    await far.leave()


@pytest.mark.real_time
@pytest.mark.parametrize("close", [True, False])
async def test_a_loop_that_ended_takes_nobody_with_it(
    supervise: Supervise, peer: NewPeer, other: OtherLoop, close: bool, tasks_may_stay: None
) -> None:
    """Its sockets are gone; publishing, kicking and closing go on elsewhere."""
    supervisor = supervise()
    near, far = peer(), FarClient(supervisor, other, rooms=["a"], user="ann")
    await far.connect()
    await enter(supervisor, near, rooms=["a"], user="ann")
    other.stop(close=close)

    assert (await supervisor.publish("a", "1")).accepted == 1
    supervisor.publish_nowait("a", "2")
    assert await supervisor.send_to_user("ann", "3")
    await supervisor.kick(far.session)
    await supervisor.aclose()

    assert near.got == ["1", "2", "3"]
    assert near.closed == (3001, "shutdown")
    del far


@pytest.mark.real_time
async def test_closing_reaches_every_loop(
    supervise: Supervise, peer: NewPeer, other: OtherLoop
) -> None:
    """All sockets are closed, all nodes left empty."""
    supervisor = supervise()
    near, far = peer(), FarClient(supervisor, other)
    await enter(supervisor, near)
    await far.connect()
    nodes = supervisor.nodes

    await supervisor.aclose()

    assert near.closed == far.peer.closed == (3001, "shutdown")
    await far.leave()
    nothing_left(nodes)


@pytest.mark.real_time
async def test_who_leaves_an_alert_room_on_one_loop_stays_addressed_by_another(
    supervise: Supervise, peer: NewPeer, other: OtherLoop
) -> None:
    """As long as the user is in the room with any connection of the process."""
    supervisor = supervise(rooms={"alert:*": {"class": "alert"}})
    far = FarClient(supervisor, other, rooms=["alert:ops"], user="ann")
    session = await enter(supervisor, peer(), rooms=["alert:ops"], user="ann")
    await far.connect()

    await session.leave("alert:ops")
    receipt = await supervisor.publish("alert:ops", "fire")

    assert receipt.accepted == 1
    assert await got_all(far.peer, 1) == ["fire"]
    await far.leave()
