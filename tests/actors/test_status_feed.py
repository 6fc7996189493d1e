"""Rooms that keep the newest message of each key, where a removed key was forgotten."""

from __future__ import annotations

from actors.messages import Look
from actors.positions import Position
from actors.runtime import Runtime
from actors.testing import FakeTransport, ManualClock, settle
from supervisor.history.base import Retention
from tests.actors.recording import connect
from tests.feeds import ROOM, WORDS, Keeper, Kept, Viewer


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


async def test_who_was_behind_when_a_removal_was_forgotten_is_told(runtime: Runtime) -> None:
    """Of the gap, once; it gets every value that it has not, each once, and then it is live."""
    clock = ManualClock(1e9)
    keeper, transport = Keeper(compact=True, clock=clock), FakeTransport()
    keeper.retention = Retention(compact=True, age=None, tombstone_age=1.0)
    room = Kept(runtime, keeper, compact=True)
    await room.join(connect(runtime, transport, encoder=WORDS))
    await room.publish(1, key="a")
    await room.publish(2, key="gone")
    transport.stalled = True
    await room.publish(3, key="b")
    await room.publish(4, key="c")
    await room.publish(None, key="gone", removed=True)
    clock.advance(10.0)
    for number in range(1100):  # more than the room itself remembers
        await room.publish(number, key=f"k{number}")

    transport.resume()
    await settle()
    await room.publish("live", key="a")

    told = [str(word) for word in transport.sent]
    (gap,) = [place for place, word in enumerate(told) if word.startswith("gap")]
    assert told[gap].endswith("-5 trimmed")
    after = [word.split(" ", 1)[1] for word in told[gap + 1 :]]
    assert after == ["c=4", *(f"k{number}={number}" for number in range(1100)), "a=live"]
    assert room.membership.behind == 0


async def test_who_reads_slowly_is_not_sent_back_by_what_is_forgotten(runtime: Runtime) -> None:
    """However often that happens while it reads: it comes to the end, and has every value."""
    clock = ManualClock(1e9)
    keeper, transport = Keeper(compact=True, clock=clock), FakeTransport()
    keeper.retention = Retention(compact=True, age=None, tombstone_age=1.0)
    room = Kept(runtime, keeper, compact=True)
    for number in range(1500):
        await keeper.append(number, key=f"k{number}")
    transport.stalled = True
    connection = connect(runtime, transport, encoder=WORDS)
    await room.join(connection)
    for number in range(100):
        transport.resume(stalled=True)
        await settle()
        await room.publish(number, key=f"passing {number}")
        await room.publish(None, key=f"passing {number}", removed=True)
        clock.advance(10.0)

    transport.resume()
    await settle()

    words = [str(word).split(" ", 1)[1] for word in transport.sent if "=" in str(word)]
    assert [f"k{number}={number}" for number in range(1500)] == [
        word for word in words if word.startswith("k")
    ]
    assert room.membership.behind == 0


async def test_who_joins_hears_of_no_removed_key(runtime: Runtime) -> None:
    """It never knew it; who was there, or comes back, is told."""
    keeper, first, back = Keeper(compact=True), FakeTransport(), FakeTransport()
    room = Kept(runtime, keeper, compact=True)
    await room.publish(1, key="a")
    await room.publish(2, key="gone")
    await room.publish(None, key="gone", removed=True)
    epoch = room.feed.epoch or (await keeper.look()).top.epoch

    await room.join(connect(runtime, first, encoder=WORDS))
    await room.join(connect(runtime, back, encoder=WORDS), since=Position(epoch, 2))
    await settle()
    await room.publish(None, key="a", removed=True)

    assert first.sent[1:] == [f"{epoch}:1 a=1", f"{epoch}:4 a-"]
    assert back.sent[1:] == [f"{epoch}:3 gone-", f"{epoch}:4 a-"]


async def test_what_has_expired_does_not_come_back(runtime: Runtime) -> None:
    """Who joins does not get it, and who comes back is told that it is no more."""
    clock = ManualClock(1e9)
    keeper = Keeper(compact=True, clock=clock)
    room = Kept(runtime, keeper, compact=True, wall_clock=clock)
    first, back = FakeTransport(), FakeTransport()
    await room.join(connect(runtime, FakeTransport(), encoder=WORDS))
    await room.publish(1, key="a")
    await room.publish(2, key="short", expires=clock() + 5.0)
    epoch = room.feed.epoch
    clock.advance(10.0)

    await room.join(connect(runtime, first, encoder=WORDS))
    await room.join(connect(runtime, back, encoder=WORDS), since=Position(epoch, 1))
    await settle()

    assert first.sent[1:] == [f"{epoch}:1 a=1"]
    assert back.sent[1:] == [f"{epoch}:2 short-"]


async def test_who_begins_anew_hears_of_no_key_that_it_cannot_know(runtime: Runtime) -> None:
    """Another sequence: of what was removed there, or forgotten, nothing is missing to it."""
    keeper, member = Keeper(compact=True), Viewer()
    keeper.retention = Retention(records=2, age=None, compact=True)
    room = Kept(runtime, keeper, compact=True)
    await room.join(member)
    await room.publish(1, key="a")
    await keeper.history.remove(ROOM)
    for key in "abcd":
        await keeper.append(2, key=key)
    await keeper.append(None, key="d", removed=True)

    room.ref.tell(Look())
    await settle()

    assert [str(word).split(":")[-1] for word in member.payloads[2:]] == [
        "0-0 epoch_changed",
        "3 c=2",
    ]
