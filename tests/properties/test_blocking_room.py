"""A room whose policy is ``block``: clients that stall, but never too long, lose nothing."""

from __future__ import annotations

import asyncio
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from actors.connection import ConnectionActor, ConnectionState
from actors.mailbox import Mailbox
from actors.membership import Membership
from actors.messages import Frame, Join, Publish, RoomMessage
from actors.overflow import Overflow
from actors.publications import Publication
from actors.receipts import Receipt
from actors.room import RoomActor
from actors.runtime import Runtime
from actors.testing import FakeTransport, TextEncoder, VirtualClockLoop, settle
from tests.actors.recording import TEXT, ConnectionLog, RoomLog, connect

TIMEOUT = 3.0
MESSAGES = 150
PUBLISHERS = 3


class Other(TextEncoder):
    """A second format, of which some publications cannot be expressed."""

    def encode(self, data: object) -> Frame:
        if str(data).endswith("odd"):
            raise TypeError("odd")
        return super().encode(data)


class World:
    """One room, some sockets that stall now and then, and some publishers."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.runtime = Runtime()
        self.log = RoomLog()
        members: Membership[ConnectionActor] = Membership()
        room = RoomActor("room", members, self.log, self.log.fault, block_timeout=TIMEOUT)
        mailbox = Mailbox[RoomMessage](random.choice([1, 4, 1000]), overflow=Overflow.BLOCK)
        self.ref = self.runtime.spawn(room, mailbox, name="room")
        other = Other()
        self.members: list[tuple[ConnectionActor, FakeTransport]] = []
        for number in range(random.randint(1, 5)):
            transport = FakeTransport()
            connection = connect(
                self.runtime,
                transport,
                ConnectionLog(),
                identity=number,
                encoder=random.choice([TEXT, other]),
                capacity=random.choice([1, 2, 10, 100]),
                max_bytes=random.choice([40, 100, 1000]),
                overflow=Overflow.BLOCK,
                send_timeout=TIMEOUT,
            )
            self.members.append((connection, transport))
        self.published: list[str] = []
        self.receipts: list[Receipt] = []

    async def publish(self, publisher: int) -> None:
        """Publish, sometimes in bursts, and wait for each receipt or for all of a burst."""
        asking: list[asyncio.Task[Receipt]] = []
        for number in range(MESSAGES // PUBLISHERS):
            data = f"{publisher}.{number} ".ljust(self.random.choice([1, 12, 39]), "x")
            data += self.random.choice(["", "", "", "odd"]) if len(data) < 30 else ""
            question = Publish(Publication(data, TEXT))
            asking.append(asyncio.ensure_future(self.ref.ask(question, timeout=10_000)))
            if self.random.random() < 0.3:
                self.receipts += await asyncio.gather(*asking)
                asking.clear()
        self.receipts += await asyncio.gather(*asking)

    async def disturb(self, transport: FakeTransport, over: asyncio.Event) -> None:
        """Stall, take a piece, and go on, never standing still for block_timeout."""
        while not over.is_set():
            transport.stalled = True
            for _ in range(self.random.randint(0, 4)):
                await asyncio.sleep(self.random.uniform(0, TIMEOUT - 0.2))
                transport.resume(stalled=True)
            await asyncio.sleep(self.random.uniform(0, TIMEOUT - 0.2))
            transport.resume()
            await asyncio.sleep(self.random.choice([0, 0, 1, 5]))

    async def live(self) -> None:
        """Have all of it happen, and look at the result."""
        for connection, _ in self.members:
            await self.ref.ask(Join(connection), timeout=5)
        witness = FakeTransport()
        everything = connect(self.runtime, witness, capacity=100_000)
        await self.ref.ask(Join(everything), timeout=5)

        over = asyncio.Event()
        disturbing = [
            asyncio.ensure_future(self.disturb(transport, over)) for _, transport in self.members
        ]
        await asyncio.gather(*(self.publish(publisher) for publisher in range(PUBLISHERS)))
        over.set()
        await asyncio.gather(*disturbing)
        await settle()

        order = [str(payload) for payload in witness.sent]
        assert len(order) == MESSAGES // PUBLISHERS * PUBLISHERS
        for connection, transport in self.members:
            assert connection.state is ConnectionState.OPEN, connection.reason
            odd = connection.encoder is not TEXT
            assert transport.sent == [each for each in order if not (odd and each.endswith("odd"))]
        assert len(self.receipts) == len(order)
        assert all(receipt.recipients == len(self.members) + 1 for receipt in self.receipts)
        unencodable = sum(len(self.members) + 1 - receipt.accepted for receipt in self.receipts)
        assert unencodable == sum(count for _, count in self.log.dropped)
        await self.runtime.aclose()


@given(seed=st.integers(0, 2**32))
def test_clients_that_stall_for_a_while_lose_nothing(seed: int) -> None:
    """Each gets every message, in the order of the room, however it stalls in between."""

    async def live() -> None:
        await World(Random(seed)).live()

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(live())
