"""A store that fails under a supervisor, and publishers that are held back: as an operator sees them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from actors.testing import settle
from supervisor import RoomPolicy, StoreUnavailable, Supervisor
from supervisor.errors import JoinRefused
from supervisor.history.base import RoomState
from supervisor.history.memory import MemoryHistory
from tests.supervisor.conftest import Events, NewPeer, Supervise, named
from tests.supervisor.endpoints import enter


def take_away(path: Path) -> None:
    """Remove a database and what belongs to it."""
    for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        each.unlink(missing_ok=True)


async def unready(supervisor: Supervisor) -> None:
    """Return when readiness is false; the file is looked at once a second."""
    for _ in range(1000):
        if not supervisor.ready:
            return
        await asyncio.sleep(0.01)
    pytest.fail("readiness did not become false within 10 s")


@pytest.mark.real_time
async def test_publishing_is_refused_while_nothing_can_be_kept(
    supervise: Supervise, tmp_path: Path, events: Events
) -> None:
    """By default; readiness is false, it is logged once, and rooms that keep nothing go on."""
    path = tmp_path / "feeds.db"
    supervisor = supervise(rooms={"log:*": RoomPolicy.log()}, history=f"sqlite:///{path}")
    await supervisor.publish("log:a", "x")
    assert supervisor.ready
    take_away(path)
    await unready(supervisor)

    with pytest.raises(StoreUnavailable, match="removed or replaced"):
        await supervisor.publish("log:a", "y")

    assert (await supervisor.publish("event", "z")).position is None
    (event,) = named(events, "history.failed")
    assert "removed or replaced" in event["reason"]
    assert event["log_level"] == "error"


@pytest.mark.real_time
async def test_rooms_go_on_in_memory_where_that_was_chosen(
    supervise: Supervise, tmp_path: Path, events: Events
) -> None:
    """Under another epoch, with a critical event, and readiness is false."""
    path = tmp_path / "feeds.db"
    supervisor = supervise(
        rooms={"log:*": RoomPolicy.log()}, history=f"sqlite:///{path}", store_failure="memory"
    )
    before = (await supervisor.publish("log:a", "x")).position
    take_away(path)
    await unready(supervisor)

    after = (await supervisor.publish("log:a", "y")).position

    assert before is not None
    assert after is not None
    assert after.epoch != before.epoch
    assert not supervisor.ready
    (event,) = named(events, "history.fallback")
    assert event["log_level"] == "critical"


@pytest.mark.parametrize("stalled", [True, False])
async def test_a_brake_holds_publishers_back_while_most_are_behind(
    supervise: Supervise,
    peer: NewPeer,
    stalled: bool,
) -> None:
    """By its few milliseconds, and not while members take what they get."""
    supervisor = supervise(rooms={"a": RoomPolicy.event(brake=0.010)})
    client = peer()
    await enter(supervisor, client, rooms=["a"])
    client.stalled = stalled
    await supervisor.publish("a", "1")
    await settle()
    loop = asyncio.get_running_loop()
    began = loop.time()

    await supervisor.publish("a", "2")

    assert loop.time() - began == pytest.approx(0.010 if stalled else 0.0, abs=1e-5)


async def test_closing_takes_its_time_once_when_a_store_does_not_answer(
    supervise: Supervise, peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A room that waits for it holds nobody up for longer than that."""

    async def hang(*_: object) -> RoomState:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    monkeypatch.setattr(MemoryHistory, "state", hang)
    supervisor = supervise(rooms={"log:*": RoomPolicy.log()})
    session = await enter(supervisor, peer())
    joining = asyncio.create_task(session.join("log:x"))
    await settle()
    began = asyncio.get_running_loop().time()

    await supervisor.aclose(8.0)

    assert asyncio.get_running_loop().time() - began <= 8.1
    assert supervisor.statistics().rooms == 0
    with pytest.raises(JoinRefused):
        await joining
