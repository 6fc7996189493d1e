"""The room actor with members whose mailboxes drop nothing: it waits for them, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from actors.connection import ConnectionActor, ConnectionState
from actors.errors import ActorStopped
from actors.exits import CloseCode, Ending, ExitReason
from actors.interfaces import Encoder, Member
from actors.mailbox import Mailbox
from actors.membership import Membership
from actors.messages import Chunk, Frame, Join, Leave, Publish, RoomMessage
from actors.overflow import DropReason, Offer, Overflow
from actors.publications import Publication
from actors.receipts import FlushLatch, Receipt
from actors.ref import ActorRef
from actors.room import RoomActor
from actors.runtime import Runtime
from actors.testing import FakeTransport, TextEncoder, settle
from tests.actors.conftest import Exits
from tests.actors.recording import TEXT, ConnectionLog, FakeMember, RoomLog, chunk, connect

TIMEOUT = 3.0


class Picky(TextEncoder):
    """A format that cannot express what has "bad" in it."""

    def encode(self, data: object) -> Frame:
        if "bad" in str(data):
            raise TypeError(f"cannot say {data!r}")
        return super().encode(data)


class World:
    """
    A room, and connections with mailboxes of a few bytes that block.

    Attributes:
        sent: What the sockets have got, by member.
    """

    def __init__(self, runtime: Runtime, *, messages: int = 1000) -> None:
        self.runtime = runtime
        self.log = RoomLog()
        self.membership: Membership[Member] = Membership()
        self.actor = RoomActor(
            "room", self.membership, self.log, self.log.fault, block_timeout=TIMEOUT
        )
        mailbox = Mailbox[RoomMessage](messages, overflow=Overflow.BLOCK)
        self.ref: ActorRef[RoomMessage] = runtime.spawn(self.actor, mailbox, name="room")
        self.transports: dict[ConnectionActor, FakeTransport] = {}
        self.logs: dict[ConnectionActor, ConnectionLog] = {}

    def member(
        self, name: str = "client", *, encoder: Encoder = TEXT, capacity: int = 2, size: int = 1000
    ) -> ConnectionActor:
        """Return a member whose socket takes what comes."""
        transport, log = FakeTransport(), ConnectionLog()
        log.on_ended = self.leave
        connection = connect(
            self.runtime,
            transport,
            log,
            identity=name,
            encoder=encoder,
            capacity=capacity,
            max_bytes=size,
            overflow=Overflow.BLOCK,
            send_timeout=60,
        )
        self.transports[connection], self.logs[connection] = transport, log
        self.membership.join(connection)
        return connection

    def leave(self, ended: ConnectionActor) -> None:
        """Have a connection that ended leave, as a supervisor does."""
        self.ref.tell(Leave(ended))

    def full_member(
        self, name: str = "client", *, encoder: Encoder = TEXT, capacity: int = 2, size: int = 1000
    ) -> ConnectionActor:
        """Return a member whose socket takes nothing, and whose mailbox is full."""
        connection = self.member(name, encoder=encoder, capacity=capacity, size=size)
        self.transports[connection].stalled = True
        while connection.deliver(chunk("filler")) is not Offer.FULL:
            pass
        return connection

    def sent(self, member: ConnectionActor) -> list[str | bytes]:
        """Return what the socket has got, without the fillers."""
        return [payload for payload in self.transports[member].sent if payload != "filler"]

    def publish(self, *data: str, latch: FlushLatch | None = None) -> list[asyncio.Task[Receipt]]:
        """Publish all of ``data`` before the room has a turn."""
        return [
            asyncio.create_task(self.ref.ask(Publish(Publication(each, TEXT), latch), timeout=60))
            for each in data
        ]


@pytest.fixture
async def world(runtime: Runtime) -> World:
    """Return a room without members."""
    return World(runtime)


async def test_a_publisher_waits_until_every_member_has_space(world: World) -> None:
    """And no longer: the receipt counts all of them."""
    fast, slow = world.member(), world.full_member()

    (publishing,) = world.publish("a")
    await settle()
    assert world.sent(fast) == ["a"]
    await asyncio.sleep(TIMEOUT - 1)
    assert not publishing.done()
    world.transports[slow].resume()
    await settle()

    assert publishing.result() == Receipt(2)
    assert world.sent(slow) == ["a"]
    assert world.log.dropped == []


async def test_what_is_published_meanwhile_waits_and_keeps_its_order(world: World) -> None:
    """For the members that have space too: a room has one order."""
    fast, slow = world.member(), world.full_member()
    publishing = world.publish("a")
    await settle()

    publishing += world.publish("b", "c")
    await settle()
    assert world.sent(fast) == ["a"]
    world.transports[slow].resume()
    await settle()

    assert world.sent(fast) == world.sent(slow) == ["a", "b", "c"]
    assert [each.result() for each in publishing] == [Receipt(2)] * 3


async def test_a_batch_keeps_its_order_though_its_end_would_fit(world: World) -> None:
    """After one that is too large for the space there is, the small ones wait as well."""
    slow = world.member(capacity=100, size=50)
    world.transports[slow].stalled = True
    slow.deliver(chunk("in flight"))
    slow.deliver(chunk("x" * 30))

    publishing = world.publish("a", "b" * 40, "c")
    await settle()
    world.transports[slow].resume()
    await settle()

    assert world.sent(slow)[2:] == ["a", "b" * 40, "c"]
    assert [each.result() for each in publishing] == [Receipt(1)] * 3


async def test_a_batch_with_something_unencodable_keeps_its_order_too(world: World) -> None:
    """The rest of it goes one by one, and waits one by one."""
    slow = world.member(encoder=Picky(), capacity=100, size=50)
    world.transports[slow].stalled = True
    slow.deliver(chunk("in flight"))
    slow.deliver(chunk("x" * 30))

    publishing = world.publish("a", "b" * 40, "bad", "c")
    await settle()
    world.transports[slow].resume()
    await settle()

    assert world.sent(slow)[2:] == ["a", "b" * 40, "c"]
    unsayable = Receipt(0, {DropReason.UNENCODABLE: 1})
    assert [each.result() for each in publishing] == [Receipt(1), Receipt(1), unsayable, Receipt(1)]
    world.log.faults.clear()


async def test_a_member_without_space_in_time_is_closed_as_slow(world: World) -> None:
    """With 3008; the publisher goes on, and its receipt counts the loss."""
    fast, slow = world.member(), world.full_member()
    start = world.runtime.clock()

    receipts = [await each for each in world.publish("a")]

    assert world.runtime.clock() - start == pytest.approx(TIMEOUT, abs=0.1)
    assert receipts == [Receipt(1, {DropReason.OVERFLOW: 1})]
    (reason,) = world.logs[slow].ended
    assert (reason.ending, reason.code) == (Ending.SLOW, CloseCode.SLOW)
    assert reason.text == "no space in the mailbox for 3 s"
    assert world.log.dropped == [(DropReason.OVERFLOW, 1)]
    await settle()
    assert world.membership.snapshot() == [fast]
    assert [await each for each in world.publish("b")] == [Receipt(1)]
    assert world.sent(fast) == ["a", "b"]


async def test_several_members_without_space_cost_one_wait(world: World) -> None:
    """They are waited for together, and each is told how long it was."""
    slow = [world.full_member(f"{number}") for number in range(5)]
    start = world.runtime.clock()

    (receipt,) = [await each for each in world.publish("a")]

    assert world.runtime.clock() - start == pytest.approx(TIMEOUT, abs=0.1)
    assert receipt == Receipt(0, {DropReason.OVERFLOW: 5})
    assert {world.logs[each].ended[0].text for each in slow} == {"no space in the mailbox for 3 s"}


async def test_a_member_is_served_while_another_is_waited_for(world: World) -> None:
    """Who has space again gets its message at once, whoever came first."""
    stuck, slow = world.full_member("stuck"), world.full_member("slow")
    publishing = world.publish("a")
    await asyncio.sleep(1)

    world.transports[slow].resume()
    await settle()

    assert world.sent(slow) == ["a"]
    assert [await each for each in publishing] == [Receipt(1, {DropReason.OVERFLOW: 1})]
    assert stuck.state is not ConnectionState.OPEN
    assert slow.state is ConnectionState.OPEN


async def test_a_member_that_had_space_is_not_closed_for_one_that_had_none(world: World) -> None:
    """Though others fill its mailbox again, and it is full when the other one is given up."""
    stuck, busy = world.full_member("stuck"), world.full_member("busy")
    publishing = world.publish("a")
    await asyncio.sleep(1)

    world.transports[busy].resume()
    await settle()
    world.transports[busy].stalled = True
    while busy.deliver(chunk("filler")) is not Offer.FULL:  # another room
        pass
    await asyncio.gather(*publishing)

    assert stuck.state is not ConnectionState.OPEN
    assert busy.state is ConnectionState.OPEN


async def test_a_slow_member_that_gets_on_is_kept(world: World) -> None:
    """A batch may take it longer than block_timeout: it is its standing still that counts."""
    slow = world.full_member(capacity=1)

    publishing = world.publish(*"abcdefgh")
    for _ in range(12):
        await asyncio.sleep(TIMEOUT - 0.5)
        world.transports[slow].resume(stalled=True)

    assert [await each for each in publishing] == [Receipt(1)] * 8
    world.transports[slow].resume()
    assert world.sent(slow) == list("abcdefgh")


async def test_a_member_that_ends_meanwhile_is_not_waited_for(world: World) -> None:
    """The receipt says that it did not take the message."""
    slow, other = world.full_member("slow"), world.member("other")
    publishing = world.publish("a", "b")
    await settle()

    world.transports[slow].fail(OSError("gone"))
    await settle()

    closed = Receipt(1, {DropReason.CLOSED: 1})
    assert [each.result() for each in publishing] == [closed, closed]
    assert world.sent(other) == ["a", "b"]


async def test_a_member_that_is_closed_after_a_flush_takes_nothing_more(world: World) -> None:
    """What it had accepted goes out; what waited for space does not."""
    slow = world.full_member()
    publishing = world.publish("a")
    await settle()

    slow.close(ExitReason(Ending.KICKED, CloseCode.FORCE_DISCONNECT), flush=True)
    await settle()
    assert publishing[0].result() == Receipt(0, {DropReason.CLOSED: 1})
    world.transports[slow].resume()
    await settle()

    assert world.transports[slow].sent == ["filler"] * 3
    assert world.transports[slow].closed is not None


async def test_joins_and_leaves_wait_behind_the_publication(world: World) -> None:
    """Whoever joins meanwhile does not get it; whoever leaves does."""
    slow, leaving, joining = world.full_member("slow"), world.member("leaving"), FakeMember()
    world.publish("a")
    await settle()

    asking = [
        asyncio.create_task(world.ref.ask(question, timeout=60))
        for question in (Join(joining), Leave(leaving))
    ]
    later = world.publish("b")
    await settle()
    assert not any(each.done() for each in asking)
    world.transports[slow].resume()
    await settle()

    assert [bool(each.result()) for each in asking] == [True, True]
    assert later[0].result() == Receipt(2)
    assert joining.payloads == ["b"]
    assert world.sent(leaving) == ["a"]


async def test_a_publisher_that_stops_waiting_undoes_nothing(world: World) -> None:
    """Its message is the room's, which delivers it, and goes on."""
    slow = world.full_member()
    (publishing,) = world.publish("a")
    await settle()

    publishing.cancel()
    await settle()
    world.transports[slow].resume()
    await settle()

    assert world.sent(slow) == ["a"]
    assert [await each for each in world.publish("b")] == [Receipt(1)]


async def test_publishers_wait_for_space_in_a_room_that_waits(runtime: Runtime) -> None:
    """That is the backpressure: no more than the room holds can be on their way."""
    world = World(runtime, messages=2)
    slow = world.full_member()
    publishing = world.publish("a")
    await settle()
    publishing += world.publish(*"bcdef")
    await settle()
    assert world.ref.waiting == 3
    assert world.ref.tell(Publish(Publication("g", TEXT))) is Offer.FULL

    world.transports[slow].resume()

    assert [await each for each in publishing] == [Receipt(1)] * 6
    assert world.sent(slow) == list("abcdef")


async def test_a_latch_is_told_when_what_was_waited_for_is_written(world: World) -> None:
    """Not when it has got its place in the mailbox."""
    slow = world.full_member(capacity=1)
    latch = FlushLatch()
    publishing = world.publish("a", latch=latch)
    await settle()

    world.transports[slow].resume(stalled=True)  # the filler behind goes out, and "a" gets a place
    await settle()
    assert publishing[0].result() == Receipt(1)
    flushed = asyncio.create_task(latch.wait(60))
    await settle()
    assert not flushed.done()
    world.transports[slow].resume()
    await settle()

    assert flushed.done()
    assert latch.failed == 0
    assert world.sent(slow) == ["a"]


async def test_when_the_publisher_goes_on_an_idle_socket_has_the_message(world: World) -> None:
    """It is written in the turn that found space, and no later message can overtake it."""
    slow = world.full_member()
    latch = FlushLatch()
    (publishing,) = world.publish("a", latch=latch)
    overtaking: list[Offer] = []
    publishing.add_done_callback(lambda _: overtaking.append(slow.deliver(chunk("b"))))
    await settle()

    world.transports[slow].resume()
    await publishing
    assert world.sent(slow)[:1] == ["a"]
    await settle()

    assert overtaking == [Offer.ACCEPTED]
    assert world.sent(slow) == ["a", "b"]


async def test_a_room_that_is_stopped_while_it_waits_ends_when_it_has_answered(
    world: World, exits: Exits
) -> None:
    """Who published has the receipt; who waited behind is told that the room has stopped."""
    slow = world.full_member()
    first = world.publish("a")
    await settle()
    behind = world.publish("b")
    await settle()

    world.actor.cell.stop(ExitReason(Ending.STOPPED))
    await settle()
    assert not first[0].done()
    with pytest.raises(ActorStopped):
        behind[0].result()
    world.transports[slow].resume()
    await settle()

    assert first[0].result() == Receipt(1)
    assert ("room", Ending.STOPPED) in [(name, reason.ending) for name, reason in exits]


async def test_a_runtime_that_ends_leaves_nobody_waiting() -> None:
    """Neither the room, nor those who published."""
    runtime = Runtime()
    world = World(runtime)
    world.full_member("one")
    world.full_member("other")
    publishing = world.publish("a", "b")
    await settle()

    await runtime.aclose()

    results = await asyncio.gather(*publishing, return_exceptions=True)
    assert [type(result) for result in results] in ([Receipt] * 2, [ActorStopped] * 2)
    assert runtime.actors == 0
    assert runtime.jobs == 0


async def test_a_member_that_fails_in_an_unforeseen_way_crashes_the_room_and_nothing_hangs(
    runtime: Runtime, exits: Exits
) -> None:
    """The publisher is answered, and no wait for another member is left behind."""

    class Broken(FakeMember):
        async def deliver_when_space(self, chunk: Chunk, *, timeout: float) -> Offer:
            raise RuntimeError("boom")

    world = World(runtime)
    world.full_member()
    broken = Broken("broken")
    broken.offer = Offer.FULL
    world.membership.join(broken)

    (publishing,) = world.publish("a")
    await settle()

    assert isinstance(publishing.exception(), ActorStopped)
    assert [(name, reason.ending) for name, reason in exits] == [("room", Ending.CRASHED)]
    assert runtime.jobs == 0


async def test_the_last_member_that_ends_while_it_is_waited_for_ends_the_room(
    world: World,
) -> None:
    """As everywhere: a room without members ends when nothing waits for it."""
    world.log.may_end = True
    slow = world.full_member()
    publishing = world.publish("a")
    await settle()

    world.transports[slow].fail(OSError("gone"))
    await settle()

    assert publishing[0].result() == Receipt(0, {DropReason.CLOSED: 1})
    assert world.ref.closed
