"""Members that are behind: pages, shared pieces, fairness among what a socket gets, and faults."""

from __future__ import annotations

import asyncio

import pytest

from actors.connection import PULLS_AT_ONCE, ConnectionActor
from actors.cursor import PAGE_BYTES, PAGE_MESSAGES, PULL_BYTES, PULL_MESSAGES, READ_ATTEMPTS
from actors.errors import HistoryIncomplete
from actors.exits import CloseCode, Ending, ExitReason
from actors.messages import Chunk, Frame, Join
from actors.overflow import DropReason
from actors.publications import Publication
from actors.replay import JoinReply
from actors.runtime import Runtime
from actors.testing import FakeTransport, settle
from tests.actors.recording import chunk, connect
from tests.feeds import ROOM, WORDS, Keeper, Kept, Viewer, Words


class Recorder(FakeTransport):
    """A socket that keeps the chunks it was handed."""

    def __init__(self) -> None:
        super().__init__()
        self.chunks: list[Chunk] = []

    def write(self, chunk: Chunk) -> bool:
        self.chunks.append(chunk)
        return super().write(chunk)


class Endless:
    """A source that always has something."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stalls = 0

    def pull(self) -> Chunk | None:
        return Chunk((Frame(self.name),))

    def stalled(self) -> None:
        self.stalls += 1


async def kept(runtime: Runtime, count: int, size: int = 1, keeper: Keeper | None = None) -> Kept:
    """Return a room in which ``count`` messages of ``size`` bytes were kept before it was opened."""
    room = Kept(runtime, keeper)
    for _ in range(count):
        await room.keeper.append("x" * size)
    return room


# Pages.


async def test_pages_begin_small_and_grow(runtime: Runtime) -> None:
    """As long as the socket takes all of them, up to the most that a store gives at once."""
    room, member = await kept(runtime, 1500), Viewer()

    await room.join(member)
    await settle()

    assert len(member.payloads) == 1501
    assert [limit for _, limit, _ in room.keeper.reads] == [64, 128, 256, 300, 300, 300, 300][
        : len(room.keeper.reads)
    ]
    sizes = [size for _, _, size in room.keeper.reads]
    assert sizes[:4] == [PULL_BYTES, 2 * PULL_BYTES, 4 * PULL_BYTES, 8 * PULL_BYTES]
    assert max(sizes) <= PAGE_BYTES + PULL_BYTES
    assert max(limit for _, limit, _ in room.keeper.reads) == PAGE_MESSAGES


async def test_pages_shrink_when_the_socket_stalls(runtime: Runtime) -> None:
    """A member that reads slowly makes the store read no more than it takes."""
    room, transport = await kept(runtime, 1500), FakeTransport()
    room.ref.tell(Join(connect(runtime, transport, encoder=WORDS)))
    await settle()
    assert room.keeper.reads == [(0, 64, PULL_BYTES), *room.keeper.reads[1:]]

    slow = FakeTransport()
    slow.stalled = True
    connection = connect(runtime, slow, encoder=WORDS)
    room.keeper.reads.clear()
    await room.join(connection)
    for _ in range(30):
        slow.resume(stalled=True)
        await settle()

    assert {limit for _, limit, _ in room.keeper.reads} == {64}


async def test_what_is_pulled_at_once_is_bounded(runtime: Runtime) -> None:
    """In messages and in bytes; a larger message goes alone."""
    small, large = await kept(runtime, 200), Recorder()
    await small.join(connect(runtime, large, encoder=WORDS))
    await settle()

    assert max(each.count for each in large.chunks) <= PULL_MESSAGES + 1  # the join is told, too

    room, transport = Kept(runtime), Recorder()
    for size in (10_000, 10_000, 100_000, 10):
        await room.keeper.append("x" * size)
    await room.join(connect(runtime, transport, encoder=WORDS), live=False)
    await settle()

    assert [each.count for each in transport.chunks] == [2, 1, 1, 1]


async def test_a_stalled_socket_keeps_no_page(runtime: Runtime) -> None:
    """Beyond what is in flight there is its place only."""
    room, transport = await kept(runtime, 1000, 200), FakeTransport()
    connection = connect(runtime, transport, encoder=WORDS)
    transport.stalled = True
    await room.join(connection)
    transport.resume(stalled=True)
    await settle()

    cursor = room.feed._cursors[connection]
    assert not cursor._page
    assert connection.statistics().depth == 0


async def test_a_page_that_comes_while_the_socket_is_held_back_is_cut(runtime: Runtime) -> None:
    """Only what is pulled at once stays: other rooms may keep the socket busy for long."""
    room, transport = await kept(runtime, 1000), FakeTransport()
    connection = connect(runtime, transport, encoder=WORDS)
    await room.join(connection, tail=0)
    await room.keeper.append("unheard")
    room.keeper.gate = asyncio.Event()
    room.ref.tell(Join(other := connect(runtime, FakeTransport(), encoder=WORDS)))
    await settle()
    transport.stalled = True

    joining = asyncio.create_task(room.join(late := connect(runtime, stalled := FakeTransport())))
    await settle()
    stalled.stalled = True
    late.deliver(chunk("direct"))
    room.keeper.gate.set()
    await joining
    await settle()

    assert len(room.feed._cursors[late]._page) <= PULL_MESSAGES
    assert other not in room.feed._cursors


# Pieces that are shared.


async def test_members_who_pull_the_same_share_it(runtime: Runtime) -> None:
    """A hundred stalled members that go on are handed the same chunks."""
    room = Kept(runtime)
    transports = [Recorder() for _ in range(100)]
    for transport in transports:
        await room.join(connect(runtime, transport, encoder=WORDS))
        transport.stalled = True
    await room.publish(*range(200))

    for transport in transports:
        transport.resume()
    await settle()

    pulled = {id(each) for transport in transports for each in transport.chunks[2:]}
    assert all(len(transport.sent) == 201 for transport in transports)
    assert len(pulled) == 4


async def test_a_shared_piece_is_of_the_same_messages(runtime: Runtime) -> None:
    """Two pulls that begin alike and are equally long, but of other messages, share nothing."""

    class Picky(Words):
        def publication(self, publication: Publication) -> Frame:
            if publication.data == "odd":
                raise TypeError("odd")
            return super().publication(publication)

    picky = Picky()
    room = Kept(runtime)
    for number in (1, 2, "odd", 4, *range(5, 100)):
        await room.keeper.append(number)
    one, two = (connect(runtime, FakeTransport(), encoder=picky) for _ in range(2))
    room.ref.tell(Join(one))
    await settle()
    publications = [Publication(data, WORDS) for data in ("a", "odd", "c")]
    for number, publication in enumerate(publications, 1):
        publication.position = room.feed.position._replace(offset=number)

    first = room.feed.chunk(picky, publications, ())
    second = room.feed.chunk(picky, publications[:2], ())

    assert first is not None
    assert second is not None
    assert (first.count, second.count) == (3, 2)
    assert two is not one


# Fairness.


async def test_a_source_has_its_turn_among_what_waits(runtime: Runtime) -> None:
    """A socket that stalls at every write serves both, whatever the mailbox holds."""
    transport = FakeTransport()
    connection = connect(runtime, transport)
    transport.stalled = True
    connection.deliver(chunk("first"))
    for number in range(200):
        connection.deliver(chunk(f"{number}".ljust(10_000)))
    connection.follow(Endless("pulled"))

    for _ in range(20):
        transport.resume(stalled=True)

    assert 8 <= transport.sent.count("pulled") <= 12


async def test_sources_take_turns(runtime: Runtime) -> None:
    """None waits for the others to have nothing more."""
    transport = FakeTransport()
    connection = connect(runtime, transport)
    transport.stalled = True
    connection.deliver(chunk("first"))
    for name in "abc":
        connection.follow(Endless(name))

    for _ in range(10):
        transport.resume(stalled=True)

    assert transport.sent[1:] == ["a", "b", "c"] * 3


async def test_what_waits_has_its_turn_among_sources(runtime: Runtime) -> None:
    """A replay does not hold back what other rooms send."""
    transport = FakeTransport()
    connection = connect(runtime, transport)
    transport.stalled = True
    connection.follow(Endless("pulled"))
    connection.deliver(chunk("waits"))

    for _ in range(3):
        transport.resume(stalled=True)

    assert "waits" in transport.sent


async def test_who_pulls_much_lets_others_have_their_turn(runtime: Runtime) -> None:
    """The loop serves everybody else every few pulls, however much a transport takes."""
    transport = FakeTransport()
    connection = connect(runtime, transport)
    source = Endless("pulled")

    connection.follow(source)
    at_once = len(transport.sent)
    await asyncio.sleep(0)
    later = len(transport.sent)
    connection.unfollow(source)
    await settle()

    assert at_once == PULLS_AT_ONCE
    assert later == 2 * PULLS_AT_ONCE
    assert len(transport.sent) == later
    assert source.stalls == 0


async def test_a_socket_that_is_held_back_between_pulls_stalls_its_sources(
    runtime: Runtime,
) -> None:
    """Something else was written meanwhile, and what they hold ready would wait for that."""
    transport = FakeTransport()
    connection = connect(runtime, transport)
    source = Endless("pulled")
    connection.follow(source)
    transport.stalled = True
    connection.deliver(chunk("something else"))

    await asyncio.sleep(0)

    assert source.stalls == 1
    assert transport.sent.count("pulled") == PULLS_AT_ONCE
    connection.unfollow(source)


async def test_who_stalls_in_several_rooms_holds_no_pages(runtime: Runtime) -> None:
    """Whichever of the rooms it was that the socket held back."""
    rooms = [await kept(runtime, 1500, 800) for _ in range(3)]

    class StallsLater(FakeTransport):
        def write(self, chunk: Chunk) -> bool:
            self.stalled = len(self.sent) >= 900
            return super().write(chunk)

    transport = StallsLater()
    connection = connect(runtime, transport, encoder=WORDS)
    for room in rooms:
        await room.join(connection)
    await settle()

    held = [len(room.feed._cursors[connection]._page) for room in rooms]
    assert not connection.ready
    assert sum(held) == 0


async def test_a_source_that_is_not_followed_any_more_is_not_pulled(runtime: Runtime) -> None:
    """unfollow() is idempotent."""
    transport = FakeTransport()
    connection = connect(runtime, transport)
    source = Endless("pulled")
    transport.stalled = True
    connection.follow(source)

    connection.unfollow(source)
    connection.unfollow(source)
    transport.resume()

    assert transport.sent == ["pulled"]
    assert connection.ready


# Faults.


async def test_a_read_that_fails_is_tried_again(runtime: Runtime) -> None:
    """Later each time; what it brings then goes on where it stopped."""
    room, transport = Kept(runtime), FakeTransport()
    await room.join(connect(runtime, transport, encoder=WORDS))
    await room.keeper.append(1)
    room.keeper.failing = True
    await room.publish(2)
    await asyncio.sleep(2)

    room.keeper.failing = False
    await asyncio.sleep(10)

    assert [str(word).split()[-1] for word in transport.sent[1:]] == ["=1", "=2"]
    assert room.membership.behind == 0
    assert {what for what, _ in room.log.faults} == {"history.read"}


async def test_a_member_is_closed_when_reads_fail_again_and_again(runtime: Runtime) -> None:
    """With 3010: nobody can say what it missed."""
    room, transport = Kept(runtime), FakeTransport()
    connection = connect(runtime, transport, encoder=WORDS)
    await room.join(connection)
    await room.keeper.append(1)
    room.keeper.failing = True

    await room.publish(2)
    await asyncio.sleep(100)

    assert transport.closed is not None
    assert transport.closed[0] == CloseCode.INSUFFICIENT_STATE
    assert connection.reason is not None
    assert connection.reason.ending is Ending.GAP
    assert len(room.keeper.reads) == READ_ATTEMPTS
    await room.leave(connection)


async def test_messages_that_a_store_should_have_and_does_not_are_a_fault(
    runtime: Runtime,
) -> None:
    """A store that contradicts itself is read again, and then the member is closed."""
    room, transport = Kept(runtime), FakeTransport()
    connection = connect(runtime, transport, encoder=WORDS)
    await room.join(connection)
    ghost = await room.keeper.append(1)
    ghost.position = ghost.position._replace(offset=5)

    await room.route(ghost)
    await asyncio.sleep(100)

    assert transport.closed is not None
    assert {type(error) for _, error in room.log.faults} == {HistoryIncomplete}
    await room.leave(connection)


async def test_a_member_that_closes_while_it_reads_gets_no_page(runtime: Runtime) -> None:
    """The page is dropped; its leave ends the rest."""
    room, transport = await kept(runtime, 10), FakeTransport()
    await room.join(Viewer("other"), live=True)
    connection = connect(runtime, transport, encoder=WORDS)
    room.keeper.gate = asyncio.Event()
    joining = asyncio.create_task(room.join(connection))
    await settle()

    connection.close(ExitReason(Ending.LEFT, CloseCode.NORMAL))
    room.keeper.gate.set()
    await settle()

    assert transport.sent == []
    await room.leave(connection)
    assert (await joining).joined
    assert connection.statistics().dropped.get(DropReason.TRIMMED) is None
    assert isinstance(connection, ConnectionActor)


# Pages that are older than what the room knows by now.


async def join_beside(room: Kept, member: Viewer, *data: object, **where: object) -> JoinReply:
    """Join with a page that is read before ``data`` is published, and comes after that."""
    room.keeper.late = asyncio.Event()
    joining = asyncio.create_task(room.join(member, **where))
    await settle()
    await room.publish(*data, **({"key": "b"} if room.feed.compact else {}))
    room.keeper.late.set()
    room.keeper.late = None
    return await joining


@pytest.mark.parametrize("compact", [False, True], ids=["log", "status"])
async def test_what_is_routed_while_an_empty_page_is_read_comes(
    runtime: Runtime, compact: bool
) -> None:
    """All that the room kept was too old; the page says nothing of what came since."""
    room = Kept(runtime, Keeper(age=10, compact=compact), compact=compact)
    await room.join(Viewer("who keeps the room awake"), live=True)
    await room.publish("old", **({"key": "a"} if compact else {}))
    room.keeper.older = 20
    member = Viewer()

    reply = await join_beside(room, member, "new", live=False)
    await settle()

    assert reply.joined
    assert [str(word).split("=")[-1] for word in member.payloads[1:]] == ["new"]
    assert room.log.faults == []


async def test_a_member_that_is_behind_goes_on_after_an_empty_page(runtime: Runtime) -> None:
    """It is told what is missing, and gets what was routed meanwhile, at once."""
    room, member = Kept(runtime, Keeper(age=10)), Viewer()
    await room.join(member)
    await room.keeper.append("unheard")
    unannounced = await room.keeper.append("announced")
    room.keeper.older = 20
    room.keeper.late = late = asyncio.Event()

    await room.route(unannounced)
    await settle()
    await room.publish("new")
    late.set()
    room.keeper.late = None
    await settle()

    epoch = room.feed.epoch
    assert member.payloads[1:] == [f"gap {epoch}:1-2 trimmed", f"{epoch}:3 =new"]
    assert room.log.faults == []


async def test_a_join_that_begins_anew_hears_of_what_the_new_sequence_lost(
    runtime: Runtime,
) -> None:
    """Its place was trimmed; while that is looked up another sequence begins, and is trimmed, too."""
    room, member = await kept(runtime, 50, keeper=Keeper(records=5)), Viewer()
    await room.join(Viewer("who keeps the room awake"), live=True)
    place = room.feed.position._replace(offset=4)
    room.keeper.late = first = asyncio.Event()
    joining = asyncio.create_task(room.join(member, since=place))
    await settle()
    room.keeper.late = second = asyncio.Event()
    first.set()
    await settle()
    assert len(room.keeper.reads) == 2

    await room.keeper.history.remove(ROOM)
    for number in range(12):
        await room.publish(number)
    second.set()
    room.keeper.late = None
    reply = await joining
    await settle()

    assert (reply.begins, reply.recovered) == (7, False)
    assert [str(word).split("=")[-1] for word in member.payloads[1:]] == ["7", "8", "9", "10", "11"]
