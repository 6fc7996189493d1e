"""Rooms that keep the newest message of each key, where a removed key was forgotten."""

from __future__ import annotations

from actors.positions import Position
from actors.runtime import Runtime
from actors.testing import FakeTransport, ManualClock, settle
from supervisor.history.base import Retention
from tests.actors.recording import connect
from tests.feeds import WORDS, Keeper, Kept


async def with_a_forgotten_key(keeper: Keeper, clock: ManualClock) -> str:
    """Keep a at 1, then gone, which is removed at 4 and forgotten; return the epoch."""
    keeper.retention = Retention(compact=True, age=None, tombstone_age=1.0)
    await keeper.append(1, key="a")
    await keeper.append(2, key="gone")
    await keeper.append(3, key="b")
    await keeper.append(None, key="gone", removed=True)
    clock.advance(10.0)
    last = await keeper.append(5, key="c")
    return last.position.epoch


async def test_who_comes_back_from_before_a_forgotten_removal_gets_all_values(
    runtime: Runtime,
) -> None:
    """It may know a key that is no more: it is not recovered, and begins with all that there are."""
    clock = ManualClock(1e9)
    keeper, transport = Keeper(compact=True, clock=clock), FakeTransport()
    epoch = await with_a_forgotten_key(keeper, clock)
    room = Kept(runtime, keeper, compact=True)

    reply = await room.join(connect(runtime, transport, encoder=WORDS), since=Position(epoch, 2))
    await settle()

    assert (reply.recovered, reply.reason, reply.begins) == (False, "trimmed", 0)
    assert transport.sent[1:] == [f"{epoch}:1 a=1", f"{epoch}:3 b=3", f"{epoch}:5 c=5"]


async def test_who_comes_back_from_after_a_forgotten_removal_is_recovered(
    runtime: Runtime,
) -> None:
    """It has heard of the removal: it gets what has changed since."""
    clock = ManualClock(1e9)
    keeper, transport = Keeper(compact=True, clock=clock), FakeTransport()
    epoch = await with_a_forgotten_key(keeper, clock)
    room = Kept(runtime, keeper, compact=True)

    reply = await room.join(connect(runtime, transport, encoder=WORDS), since=Position(epoch, 4))
    await settle()

    assert (reply.recovered, reply.begins) == (True, 4)
    assert transport.sent[1:] == [f"{epoch}:5 c=5"]


async def test_a_snapshot_begins_before_everything(runtime: Runtime) -> None:
    """What was forgotten before it is no loss to one that comes for the first time."""
    clock = ManualClock(1e9)
    keeper, transport = Keeper(compact=True, clock=clock), FakeTransport()
    epoch = await with_a_forgotten_key(keeper, clock)
    room = Kept(runtime, keeper, compact=True)

    reply = await room.join(connect(runtime, transport, encoder=WORDS))
    await settle()

    assert (reply.recovered, reply.begins) == (None, 0)
    assert transport.sent[1:] == [f"{epoch}:1 a=1", f"{epoch}:3 b=3", f"{epoch}:5 c=5"]


async def test_who_was_behind_when_a_removal_was_forgotten_gets_all_values(
    runtime: Runtime,
) -> None:
    """After the notice of the gap: every value again, each once, and then it is live."""
    clock = ManualClock(1e9)
    keeper, transport = Keeper(compact=True, clock=clock), FakeTransport()
    keeper.retention = Retention(compact=True, age=None, tombstone_age=1.0)
    room = Kept(runtime, keeper, compact=True)
    await room.join(connect(runtime, transport, encoder=WORDS))
    await room.publish(1, key="a")
    await room.publish(2, key="gone")
    transport.stalled = True
    await room.publish(3, key="b")
    await room.publish(None, key="gone", removed=True)
    clock.advance(10.0)
    for number in range(1100):  # more than the room itself remembers
        await room.publish(number, key=f"k{number}")

    transport.resume()
    await settle()
    await room.publish("live", key="a")

    told = [str(word) for word in transport.sent]
    (gap,) = [place for place, word in enumerate(told) if word.startswith("gap")]
    assert told[gap].endswith("-4 trimmed")
    after = [word.split(" ", 1)[1] for word in told[gap + 1 :]]
    assert after[:2] == ["a=1", "b=3"]
    assert after[2:-1] == [f"k{number}={number}" for number in range(1100)]
    assert after[-1] == "a=live"
    assert room.membership.behind == 0
