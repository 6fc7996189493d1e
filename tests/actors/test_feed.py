"""Rooms that keep their messages: joining, falling behind, gaps, ends, and what is left behind."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from actors.actor import Actor
from actors.cell import Cell
from actors.cursor import Cursor
from actors.errors import ActorStopped
from actors.exits import CloseCode, Ending, ExitReason
from actors.messages import Join, Leave, Look, Publish
from actors.notices import GapReason
from actors.overflow import DropReason, Offer, Overflow
from actors.positions import NOWHERE, Position
from actors.replay import Replay
from actors.room import RoomActor
from actors.runtime import Runtime
from actors.testing import FakeTransport, settle
from supervisor.errors import StoreUnavailable
from tests.actors.recording import ConnectionLog, chunk, connect
from tests.feeds import JSON, WORDS, Keeper, Kept, Viewer

Sent = list[str | bytes]


def numbers(sent: Sent) -> list[int]:
    """Return the offsets of the messages among ``sent``."""
    words = [str(word) for word in sent]
    return [int(word.split(":")[1].split()[0]) for word in words if "=" in word]


async def kept(runtime: Runtime, count: int, **how: Any) -> Kept:
    """Return a room in which ``count`` messages were kept before it was opened."""
    room = Kept(runtime, **how)
    for number in range(1, count + 1):
        await room.keeper.append(number)
    return room


# Joining.


async def test_a_member_of_a_room_without_messages_begins_nowhere(runtime: Runtime) -> None:
    """Position and place are those before everything, and nothing is read."""
    room, transport = Kept(runtime), FakeTransport()

    reply = await room.join(connect(runtime, transport, encoder=WORDS))

    assert reply.joined
    assert (reply.position, reply.begins) == (NOWHERE, 0)
    assert (reply.recovered, reply.reason) == (None, None)
    assert transport.sent == ["joined :0 after 0 None None"]
    assert room.keeper.reads == []


@pytest.mark.parametrize(
    ("where", "begins"),
    [({}, 0), ({"tail": 2}, 3), ({"tail": 9}, 0), ({"tail": 0}, 5), ({"live": True}, 5)],
)
async def test_a_member_begins_where_it_asks_to(
    runtime: Runtime, where: dict[str, Any], begins: int
) -> None:
    """From the start, with the newest few, or with what comes; then all in order."""
    room, transport = await kept(runtime, 5), FakeTransport()

    reply = await room.join(connect(runtime, transport, encoder=WORDS), **where)
    await room.publish(6, 7)

    assert reply.begins == begins
    assert reply.position.offset == 5
    assert reply.recovered is None
    assert numbers(transport.sent) == list(range(begins + 1, 8))


async def test_a_member_that_says_nothing_begins_where_the_room_says(runtime: Runtime) -> None:
    """The policy's on_join counts for those who do not ask."""
    room, transport = await kept(runtime, 5, on_join=Replay(tail=1)), FakeTransport()

    reply = await room.join(connect(runtime, transport, encoder=WORDS))

    assert reply.begins == 4
    assert numbers(transport.sent) == [5]


async def test_a_member_goes_on_where_it_stopped(runtime: Runtime) -> None:
    """recovered is True, the first word says so, and nothing comes twice."""
    room, transport = await kept(runtime, 5), FakeTransport()
    epoch = (await room.keeper.state()).top.epoch

    reply = await room.join(connect(runtime, transport, encoder=WORDS), since=Position(epoch, 3))

    assert (reply.recovered, reply.reason, reply.begins) == (True, None, 3)
    assert transport.sent[0] == f"joined {epoch}:5 after 3 True None"
    assert numbers(transport.sent) == [4, 5]


async def test_before_everything_is_a_place_in_every_sequence(runtime: Runtime) -> None:
    """since offset 0 is recovered whatever its epoch, as long as nothing was trimmed."""
    room = await kept(runtime, 2)

    reply = await room.join(Viewer(), since=Position("another", 0))

    assert reply.recovered is True


@pytest.mark.parametrize(
    ("messages", "since", "reason"),
    [
        (5, Position("another", 3), GapReason.EPOCH_CHANGED),
        (0, Position("another", 3), GapReason.UNKNOWN_ROOM),
    ],
)
async def test_a_position_of_another_sequence_is_not_recovered(
    runtime: Runtime, messages: int, since: Position, reason: GapReason
) -> None:
    """It begins where the room says, and is told why."""
    room, transport = await kept(runtime, messages), FakeTransport()

    reply = await room.join(connect(runtime, transport, encoder=WORDS), since=since)

    assert (reply.recovered, reply.reason, reply.begins) == (False, reason, 0)
    assert str(transport.sent[0]).endswith(f"after 0 False {reason}")
    assert numbers(transport.sent) == list(range(1, messages + 1))


async def test_a_position_beyond_the_newest_message_is_not_recovered(runtime: Runtime) -> None:
    """Nobody can have heard it; the room does not go on from there."""
    room, member = await kept(runtime, 2), Viewer()
    epoch = (await room.keeper.state()).top.epoch

    reply = await room.join(member, since=Position(epoch, 3))
    await room.publish(3)

    assert (reply.recovered, reply.begins) == (False, 0)
    assert numbers(member.payloads) == [1, 2, 3]


async def test_a_position_that_the_room_has_not_come_to_is_recovered(runtime: Runtime) -> None:
    """A client that heard the newest message elsewhere goes on after it, and so do the others."""
    room, other, member = await kept(runtime, 2), Viewer(1), Viewer(2)
    await room.join(other)
    ahead = await room.keeper.append(3)

    reply = await room.join(member, since=ahead.position)
    await room.route(ahead)
    await room.publish(4)

    assert (reply.recovered, reply.begins) == (True, 3)
    assert numbers(member.payloads) == [4]
    assert numbers(other.payloads) == [1, 2, 3, 4]


async def test_a_first_message_that_the_room_has_not_heard_of_is_recovered(
    runtime: Runtime,
) -> None:
    """The same in a room of which nothing was known when it was made."""
    room, other, member = Kept(runtime), Viewer(1), Viewer(2)
    await room.join(other)
    ahead = await room.keeper.append(1)

    reply = await room.join(member, since=ahead.position)

    assert reply.recovered is True
    assert numbers(member.payloads) == []
    assert other.payloads == ["joined :0 after 0 None None", f"{ahead.position} =1"]


async def test_a_trimmed_position_is_not_recovered(runtime: Runtime) -> None:
    """It begins with what is kept, which is no gap to be told of: the join says it."""
    room, transport = await kept(runtime, 9, keeper=Keeper(records=3)), FakeTransport()
    epoch = (await room.keeper.state()).top.epoch
    connection = connect(runtime, transport, encoder=WORDS)

    reply = await room.join(connection, since=Position(epoch, 2))

    assert (reply.recovered, reply.reason, reply.begins) == (False, GapReason.TRIMMED, 6)
    assert numbers(transport.sent) == [7, 8, 9]
    assert not any("gap" in str(word) for word in transport.sent)
    assert connection.statistics().dropped == {}


async def test_a_trimmed_start_is_no_gap(runtime: Runtime) -> None:
    """From the start is from what is kept."""
    room, member = await kept(runtime, 9, keeper=Keeper(records=3)), Viewer()

    reply = await room.join(member)

    assert (reply.recovered, reply.reason, reply.begins) == (None, None, 6)
    assert numbers(member.payloads) == [7, 8, 9]


async def test_who_begins_gets_what_is_kept_and_not_what_the_room_remembers(
    runtime: Runtime,
) -> None:
    """The tail in memory may have more than the policy keeps: history_size, history_ttl, removals."""
    room, first, second = Kept(runtime, Keeper(records=3)), Viewer(1), Viewer(2)
    await room.join(first)
    await room.publish(*range(9))

    reply = await room.join(second)

    assert reply.begins == 6
    assert numbers(second.payloads) == [7, 8, 9]


async def test_a_join_is_atomic_with_what_is_published(runtime: Runtime) -> None:
    """What is published while the page is read comes after the page, once."""
    room, member = await kept(runtime, 5), Viewer()
    await room.join(Viewer("other"))
    room.keeper.gate = asyncio.Event()
    joining = asyncio.create_task(room.join(member))
    await settle()

    await room.publish(6, 7)
    room.keeper.gate.set()
    await joining
    await room.publish(8)
    await settle()

    assert numbers(member.payloads) == list(range(1, 9))
    assert room.membership.behind == 0


async def test_a_join_does_not_wait_for_the_socket(runtime: Runtime) -> None:
    """Where it begins is known without it; one page's first piece waits for the socket, no more."""
    room, transport = await kept(runtime, 1000), FakeTransport()
    connection = connect(runtime, transport, encoder=WORDS)
    transport.stalled = True
    connection.deliver(chunk("direct"))

    reply = await room.join(connection, tail=500)

    assert reply.begins == 500
    assert len(room.feed._cursors[connection]._page) <= 64
    transport.resume()
    await settle()
    assert numbers(transport.sent) == list(range(501, 1001))


async def test_joining_again_changes_nothing(runtime: Runtime) -> None:
    """The answer says that it was a member, and what it has."""
    room, member = await kept(runtime, 3), Viewer()
    await room.join(member)

    reply = await room.join(member, live=True)

    assert not reply
    assert (reply.position.offset, reply.begins) == (3, 3)
    assert numbers(member.payloads) == [1, 2, 3]


async def test_a_join_is_refused_when_the_store_cannot_be_read(runtime: Runtime) -> None:
    """With the store's error; the member is to leave, and gets nothing."""
    room, member = await kept(runtime, 3), Viewer()
    await room.join(Viewer("other"), live=True)
    room.keeper.failing = True

    with pytest.raises(StoreUnavailable):
        await room.join(member)

    room.keeper.failing = False
    assert await room.leave(member) is True
    await asyncio.sleep(10)
    assert member.payloads == []
    assert [what for what, _ in room.log.faults] == ["history.read"]


async def test_a_room_that_cannot_be_opened_refuses_joins_and_opens_later(
    runtime: Runtime,
) -> None:
    """It does not crash of it; who joins when the store can be read again, joins."""
    room, member = await kept(runtime, 3), Viewer()
    room.keeper.failing = True
    asking = [asyncio.create_task(room.join(member)), asyncio.create_task(room.leave(member))]

    with pytest.raises(StoreUnavailable):
        await asking[0]
    assert await asking[1] is False
    room.keeper.failing = False
    await room.join(member)

    assert numbers(member.payloads) == [1, 2, 3]
    assert [what for what, _ in room.log.faults] == ["history.read"]


async def test_a_member_that_nobody_waits_for_is_closed_when_a_room_cannot_be_opened(
    runtime: Runtime,
) -> None:
    """A join without a question has no other answer than 3010."""
    room, member = Kept(runtime), Viewer()
    room.keeper.failing = True

    room.ref.tell(Join(member))
    await settle()

    assert [reason.code for reason in member.closed] == [CloseCode.INSUFFICIENT_STATE]
    room.keeper.failing = False


async def test_a_room_that_cannot_be_opened_ends_when_it_may(runtime: Runtime) -> None:
    """A new one is made for the next who joins."""
    room = Kept(runtime)
    room.log.may_end = True
    room.keeper.failing = True

    with pytest.raises(StoreUnavailable):
        await room.join(Viewer())
    await settle()

    assert room.ref.closed


async def test_a_leave_answers_a_join_that_is_still_open(runtime: Runtime) -> None:
    """It was a member: the answer is not the error of a room that has ended."""
    room, member = await kept(runtime, 3), Viewer()
    await room.join(Viewer("other"), live=True)
    room.keeper.gate = asyncio.Event()
    joining = asyncio.create_task(room.join(member))
    await settle()

    assert await room.leave(member) is True

    assert (await joining).joined
    assert member.sources == []


async def test_a_join_that_is_open_when_the_room_ends_is_answered(runtime: Runtime) -> None:
    """With ActorStopped."""
    room, member = await kept(runtime, 3), Viewer()
    await room.join(Viewer("other"), live=True)
    room.keeper.gate = asyncio.Event()
    joining = asyncio.create_task(room.join(member))
    await settle()

    await runtime.aclose()

    with pytest.raises(ActorStopped):
        await joining


# Being behind.


async def test_a_member_that_stalls_is_behind_and_catches_up(runtime: Runtime) -> None:
    """Its mailbox holds nothing of the room; when it reads again it gets all, in order."""
    room, transport = Kept(runtime), FakeTransport()
    connection = connect(runtime, transport, encoder=WORDS, capacity=1)
    await room.join(connection)
    transport.stalled = True
    await room.publish(*range(300))
    assert room.membership.behind == 1
    assert connection.statistics().depth == 0

    transport.resume()
    await settle()

    assert numbers(transport.sent) == list(range(1, 301))
    assert room.membership.behind == 0
    assert room.feed._cursors == {}
    assert room.keeper.reads == []  # the tail had it all


async def test_a_receipt_counts_members_that_are_behind(runtime: Runtime) -> None:
    """They get it, from the first on as well as later."""
    room, transport = Kept(runtime), FakeTransport()
    await room.join(connect(runtime, transport, encoder=WORDS))
    await room.join(Viewer("other"))
    transport.stalled = True

    receipts = await room.publish(*range(5))

    assert [receipt.accepted for receipt in receipts] == [2] * 5


async def test_members_that_were_left_out_of_what_was_announced_read_it(runtime: Runtime) -> None:
    """A message that is announced before the one before it makes everybody read; once each."""
    room, member = await kept(runtime, 2), Viewer()
    await room.join(member)
    missing = await room.keeper.append(3)
    await room.publish(4)
    await room.route(missing)
    await room.route(missing)
    await settle()

    assert numbers(member.payloads) == [1, 2, 3, 4]
    assert [after for after, _, _ in room.keeper.reads] == [0, 2]


async def test_what_had_no_space_in_the_mailbox_is_read(runtime: Runtime) -> None:
    """An announcement that only the feed took is seen to when the mailbox is empty."""
    room, member = Kept(runtime, space=1), Viewer()
    await room.join(member)
    publications = [await room.keeper.append(number) for number in range(4)]

    for publication in publications:
        if room.ref.tell(Publish(publication)) is Offer.FULL:
            room.feed.announce(publication)
    await settle()

    assert numbers(member.payloads) == [1, 2, 3, 4]


async def test_a_member_that_misses_trimmed_messages_is_told_of_the_gap(runtime: Runtime) -> None:
    """First, last and reason; they are counted as trimmed, under the class of the room."""
    room, transport = Kept(runtime, Keeper(records=10)), FakeTransport()
    connection = connect(runtime, transport, encoder=WORDS)
    await room.join(connection)
    transport.stalled = True
    await room.publish(*range(3000))

    transport.resume()
    await settle()

    offsets = numbers(transport.sent)
    (gap,) = [str(word) for word in transport.sent if "gap" in str(word)]
    assert gap == f"gap {room.feed.epoch}:2-2990 trimmed"
    assert offsets == [1, *range(2991, 3001)]
    assert connection.statistics().dropped == {DropReason.TRIMMED: 2989}
    assert room.log.missed == room.log.caught_up == [(connection, 2989)]


async def test_a_member_that_misses_again_and_again_is_told_of_once(runtime: Runtime) -> None:
    """Until it has caught up; then with the number of all."""
    room, transport = Kept(runtime, Keeper(records=10)), FakeTransport()
    connection = connect(runtime, transport, encoder=WORDS)
    await room.join(connection)
    transport.stalled = True
    for _ in range(3):
        await room.publish(*range(3000))
        transport.resume(stalled=True)
        await settle()

    before = list(room.log.missed), list(room.log.caught_up)
    transport.resume()
    await settle()

    assert [member for member, _ in before[0]] == [connection]
    assert before[1] == []
    assert room.log.missed == before[0]
    missed = connection.statistics().dropped[DropReason.TRIMMED]
    assert missed > before[0][0][1]
    assert room.log.caught_up == [(connection, missed)]


async def test_a_gap_may_end_the_member(runtime: Runtime) -> None:
    """With close_on_gap it is closed with 3010, and comes back to begin anew."""
    room, transport = Kept(runtime, Keeper(records=10), close_on_gap=True), FakeTransport()
    log = ConnectionLog()
    connection = connect(runtime, transport, log, encoder=WORDS)
    await room.join(connection)
    transport.stalled = True
    await room.publish(*range(3000))

    transport.resume()
    await settle()

    assert transport.closed is not None
    assert transport.closed[0] == 3010
    assert [reason.ending for reason in log.ended] == [Ending.GAP]
    assert numbers(transport.sent) == [1]
    await room.leave(connection)


async def test_a_compacted_room_brings_the_newest_value_of_every_key(runtime: Runtime) -> None:
    """To one that stalled as well: the newest, tombstones too, and nothing older after it."""
    room, transport = Kept(runtime, compact=True), FakeTransport()
    await room.join(connect(runtime, transport, encoder=WORDS))
    transport.stalled = True
    for number in range(100):
        await room.publish(number, key=f"k{number % 3}")
    await room.publish(None, key="k0", removed=True)

    transport.resume()
    await settle()

    epoch = room.feed.epoch
    assert transport.sent[2:] == [f"{epoch}:98 k1=97", f"{epoch}:99 k2=98", f"{epoch}:101 k0-"]
    assert room.membership.behind == 0


async def test_a_snapshot_that_was_replaced_meanwhile_says_where_it_began(
    runtime: Runtime,
) -> None:
    """All values of the place that was asked for may be newer than the room: it is recovered."""
    keeper = Keeper(compact=True)
    room, member = Kept(runtime, keeper, compact=True), Viewer()
    await keeper.append(1, key="a")
    await room.join(Viewer("other"))
    newer = await keeper.append(2, key="a")

    reply = await room.join(member, since=NOWHERE)
    await room.route(newer)

    assert (reply.recovered, reply.begins) == (True, 0)
    assert numbers(member.payloads) == [2]


# Ends.


async def test_everybody_is_told_of_the_end_once(runtime: Runtime) -> None:
    """Live, behind, and who joins later: after all messages."""
    room = Kept(runtime)
    transports = [FakeTransport() for _ in range(3)]
    members = [connect(runtime, each, encoder=WORDS) for each in transports]
    for member in members[:2]:
        await room.join(member)
    transports[1].stalled = True
    await room.publish(1, 2)

    await room.route(await room.keeper.end())
    await room.route(await room.keeper.end())
    transports[1].resume()
    await room.join(members[2])
    await settle()

    for transport in transports:
        assert numbers(transport.sent) == [1, 2]
        assert transport.sent[-1] == "end 2"
        assert transport.sent.count("end 2") == 1


async def test_the_end_that_had_no_space_in_the_mailbox_is_told(runtime: Runtime) -> None:
    """It has the place of the last message, which is routed already."""
    room, member = Kept(runtime), Viewer()
    await room.join(member)
    await room.publish(1)

    room.feed.announce(await room.keeper.end())
    await room.leave(Viewer("anybody"))  # any turn will do
    await settle()

    assert member.payloads[-1] == "end 1"


async def test_a_format_without_words_is_told_nothing(runtime: Runtime) -> None:
    """Its members get the data alone, and are live all the same."""
    room, transport = await kept(runtime, 2), FakeTransport()
    await room.join(connect(runtime, transport, encoder=JSON))

    await room.route(await room.keeper.end())

    assert transport.sent == ["1", "2"]
    assert room.membership.behind == 0


# Other sequences.


async def test_members_are_told_of_another_sequence_and_begin_anew(runtime: Runtime) -> None:
    """Live and behind: a gap of all, then the new sequence from its start."""
    room = await kept(runtime, 2)
    transports = [FakeTransport(), FakeTransport()]
    for transport in transports:
        await room.join(connect(runtime, transport, encoder=WORDS))
    transports[1].stalled = True
    await room.publish(3)
    await room.keeper.history.remove("room")

    await room.publish(4, 5)
    transports[1].resume()
    await settle()

    for transport in transports:
        assert transport.sent[-3] == f"gap {room.feed.epoch}:0-0 epoch_changed"
        assert [str(word).split(":")[1] for word in transport.sent[-2:]] == ["1 =4", "2 =5"]


async def test_a_late_message_of_a_removed_history_changes_nothing(runtime: Runtime) -> None:
    """The room asks the store, and does not go back to the former sequence."""
    room, member = await kept(runtime, 2), Viewer()
    await room.join(member)
    late = await room.keeper.append(3)
    await room.keeper.history.remove("room")
    await room.publish(4)

    await room.route(late)
    await room.publish(5)

    assert [str(word).split(":")[-1] for word in member.payloads[3:]] == [
        "0-0 epoch_changed",
        "1 =4",
        "2 =5",
    ]


async def test_another_sequence_may_be_announced_only(runtime: Runtime) -> None:
    """When the mailbox had no space for its first message."""
    room, member = await kept(runtime, 2), Viewer()
    await room.join(member)
    await room.keeper.history.remove("room")

    room.feed.announce(await room.keeper.append(3))
    await room.leave(Viewer("anybody"))
    await settle()

    assert str(member.payloads[-1]).endswith(":1 =3")


async def test_a_publisher_is_believed_when_the_store_cannot_be_asked(runtime: Runtime) -> None:
    """Of two sequences the one that was heard last counts, until the store can be read."""
    room, member = await kept(runtime, 2), Viewer()
    await room.join(member)
    await room.keeper.history.remove("room")
    room.keeper.failing = True

    await room.publish(3)

    assert str(member.payloads[-1]).endswith(":1 =3")
    assert [what for what, _ in room.log.faults] == ["history.read"]
    room.keeper.failing = False


async def test_a_look_that_takes_long_does_not_bring_back_what_is_over(runtime: Runtime) -> None:
    """What a member has found out meanwhile is newer than what the room asked for."""
    room, member = await kept(runtime, 3), Viewer()
    await room.join(member)
    await room.keeper.history.remove("room")
    await room.keeper.append(4)
    room.keeper.after = 50.0
    room.ref.tell(Look())
    await asyncio.sleep(40)
    await room.keeper.history.remove("room")
    newest = await room.keeper.append(5)
    room.keeper.after = 0.0
    room.feed.renew(newest.position)  # as a page that a member reads has it done

    await asyncio.sleep(100)

    assert room.feed.epoch == newest.position.epoch
    assert [str(word).split(":")[-1] for word in member.payloads[4:]] == [
        "0-0 epoch_changed",
        "1 =5",
    ]


async def test_looking_for_the_first_message_is_no_gap(runtime: Runtime) -> None:
    """Members of a room without messages miss nothing when it has some."""
    room, member = Kept(runtime), Viewer()
    await room.join(member)
    first = await room.keeper.append(1)

    room.ref.tell(Look())
    await settle()
    await room.route(first)

    assert member.payloads == ["joined :0 after 0 None None", f"{first.position} =1"]


# Crashes.


def restart(runtime: Runtime) -> None:
    """Have the runtime replace rooms that crash."""

    def replace(cell: Cell[Any], reason: ExitReason) -> Actor[Any] | None:
        if isinstance(cell.actor, RoomActor) and reason.ending is Ending.CRASHED:
            return cell.actor.successor()
        return None

    runtime._on_exit = replace


@pytest.mark.parametrize("overflow", [Overflow.CURSOR, Overflow.BLOCK, Overflow.DISCONNECT])
async def test_a_crash_in_the_middle_of_a_fan_out_costs_and_repeats_nothing(
    runtime: Runtime, overflow: Overflow
) -> None:
    """Those who had it do not get it again, the others read it; the publisher is told it is kept."""
    restart(runtime)
    room = Kept(runtime, overflow=overflow)
    members = [Viewer(number) for number in range(3)]
    for member in members:
        await room.join(member)

    def crash() -> None:
        members[1].chunks.pop()
        members[1].on_deliver = lambda: None
        raise RuntimeError("told to crash")

    members[1].on_deliver = crash

    (receipt,) = await room.publish(1)
    await room.publish(2)
    await settle()

    assert receipt.accepted == 3
    assert [numbers(member.payloads) for member in members] == [[1, 2]] * 3


async def test_members_without_space_get_what_a_crash_left_undone(runtime: Runtime) -> None:
    """In a log that waits for them they are behind after a crash, not left out."""
    restart(runtime)
    room = Kept(runtime, overflow=Overflow.BLOCK)
    full, faulty = Viewer(0), Viewer(1)
    for member in (full, faulty):
        await room.join(member)

    def crash() -> None:
        faulty.chunks.pop()
        faulty.on_deliver = lambda: None
        full.offer = Offer.ACCEPTED
        full.chunks.pop()
        raise RuntimeError("told to crash")

    full.offer, faulty.on_deliver = Offer.FULL, crash

    await room.publish(1)
    await settle()

    assert numbers(full.payloads) == [1]
    assert numbers(faulty.payloads) == [1]


# Other policies.


@pytest.mark.parametrize("stalls", [0, 50])
@pytest.mark.parametrize("overflow", [Overflow.BLOCK, Overflow.DISCONNECT])
async def test_what_waits_in_the_mailbox_comes_before_what_is_read(
    runtime: Runtime, overflow: Overflow, stalls: int
) -> None:
    """A member that has to read what was missed gets what waits for it first."""
    room, transport = Kept(runtime, overflow=overflow), FakeTransport()
    await room.join(connect(runtime, transport, encoder=WORDS))
    transport.stalled = True
    await room.publish(*range(200))
    missing = await room.keeper.append("missing")
    await room.publish("newest")
    assert room.membership.behind == 1

    for _ in range(stalls):
        transport.resume(stalled=True)
        await settle()
    transport.resume()
    await settle()

    assert numbers(transport.sent) == list(range(1, 203))
    assert missing.position.offset == 201


# What is left behind.


async def test_nothing_is_left_of_a_member_that_leaves_while_it_reads(runtime: Runtime) -> None:
    """No job, no place, no reference, whatever its page brings."""
    room, transport = await kept(runtime, 500), FakeTransport()
    await room.join(Viewer("other"), live=True)
    room.keeper.gate = asyncio.Event()
    connection = connect(runtime, transport, encoder=WORDS)
    joining = asyncio.create_task(room.join(connection))
    await settle()

    await room.leave(connection)
    await joining
    room.keeper.gate.set()
    await settle()

    assert room.feed._cursors == {}
    assert connection._sources is None
    assert runtime.jobs == 0
    assert transport.sent == []


async def test_nothing_is_left_of_a_member_that_leaves_while_it_stalls(runtime: Runtime) -> None:
    """Its place is forgotten, and what was under way is all that still comes."""
    room, transport = Kept(runtime), FakeTransport()
    connection = connect(runtime, transport, encoder=WORDS)
    await room.join(connection)
    transport.stalled = True
    await room.publish(1, 2, 3)
    assert len(room.feed._cursors) == 1

    await room.leave(connection)
    gc.collect()

    assert [each for each in gc.get_objects() if isinstance(each, Cursor)] == []
    assert connection._sources is None
    assert not room.membership
    transport.resume()
    assert numbers(transport.sent) == [1]


async def test_nothing_is_left_of_a_member_that_leaves_between_two_attempts_to_read(
    runtime: Runtime,
) -> None:
    """The timer of the next attempt goes with it."""
    room, transport = await kept(runtime, 500), FakeTransport()
    connection = connect(runtime, transport, encoder=WORDS)
    room.ref.tell(Join(Viewer("other"), Replay(live=True)))
    await settle()
    room.keeper.failing = True
    room.ref.tell(Join(connection))
    await settle()

    room.ref.tell(Leave(connection))
    room.keeper.failing = False
    await asyncio.sleep(100)

    assert transport.sent == []
    assert len(room.keeper.reads) == 1
    assert runtime.jobs == 0


async def test_an_unencodable_message_is_left_out_and_counted(runtime: Runtime) -> None:
    """For those who are behind as for those who are live, who are told of the gap."""
    room, transport = Kept(runtime), FakeTransport()

    class Picky(type(WORDS)):  # type: ignore[misc]  # a class like any other
        def publication(self, publication: Any) -> Any:
            if "odd" in str(publication.data):
                raise TypeError("odd")
            return super().publication(publication)

    await room.join(connect(runtime, transport, encoder=Picky()))
    transport.stalled = True
    await room.publish(1, "odd", 3, "odd", 5)

    transport.resume()
    await settle()

    assert numbers(transport.sent) == [1, 3, 5]
    gaps = [word for word in transport.sent if "gap" in str(word)]
    epoch = room.feed.epoch
    assert gaps == [f"gap {epoch}:2-2 unencodable", f"gap {epoch}:4-4 unencodable"]
    assert room.log.dropped == [(DropReason.UNENCODABLE, 1)] * 2
