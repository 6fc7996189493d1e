"""
A connection actor on a wire, over a transport that takes bytes as it likes.

Whatever the kernel takes and when, and whoever ends it: what the peer gets is a sequence of whole
frames, exactly those that were accepted, in order, and then at most a close frame.

Long random lives rather than a state machine's short ones: what can go wrong here takes a full
buffer, a full mailbox and several messages that leave together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from actors.connection import ConnectionActor, ConnectionState, Patience
from actors.exits import CloseCode, Ending, ExitReason
from actors.mailbox import Mailbox
from actors.messages import Chunk, Frame
from actors.overflow import Overflow
from actors.runtime import Runtime
from actors.testing import VirtualClockLoop, settle
from tests.actors.recording import MAILBOX_OVERFLOWS, TEXT, ConnectionLog
from tests.frames import FrameReader
from tests.supervisor.tcp import WireServer

STEPS = 60
SIZES = [0, 1, 100, 125, 126, 600, 5000, 65_535, 65_536, 70_000]
WINDOW = 12


class Life:
    """One connection, and what is known of the messages that were offered to it."""

    def __init__(self, random: Random, overflow: Overflow) -> None:
        self.random = random
        self.overflow = overflow
        self.number = 0
        self.settled: dict[str | bytes, bool | None] = {}  # of each message that was accepted
        self.unwatched: set[str | bytes] = set()  # those of which nobody will say what became
        self.runtime = Runtime()
        self.server = WireServer()
        tcp, wire = self.server.tcp, self.server.wire
        tcp.high = random.choice([0, 1000, 65_536])
        tcp.low = tcp.high // 4
        deflate = random.random() < 0.5
        self.reader = FrameReader(WINDOW if deflate else None)
        if deflate:
            wire.deflate(WINDOW)
        wire.close_timeout = 3.0
        wire.on_lost = self.lost
        self.connection = ConnectionActor(
            "client", wire, TEXT, ConnectionLog(), patience=Patience(send=5, close=5)
        )
        mailbox = Mailbox[Chunk](random.choice([1, 3, 30]), 300_000, overflow)
        self.runtime.spawn(self.connection, mailbox, name="connection")

    def lost(self, code: int, reason: str) -> None:
        """As a supervisor does."""
        self.connection.close(ExitReason(Ending.DISCONNECTED, code, reason))

    # What happens.

    def deliver(self) -> None:
        watched = self.random.random() < 0.3
        for _ in range(self.random.randint(1, 6)):
            self.offer([self.payload()], watched=watched)

    def deliver_joined(self) -> None:
        self.offer([self.payload() for _ in range(self.random.randint(2, 4))], watched=True)

    def payload(self) -> str | bytes:
        self.number += 1
        size = self.random.choice(SIZES[: self.random.choice([5, 7, 10])])
        text = f"{self.number} ".ljust(size, self.random.choice("xü"))
        return text.encode() if self.random.random() < 0.3 else text

    def offer(self, payloads: list[str | bytes], *, watched: bool) -> None:
        watched = watched or self.overflow is Overflow.DROP_OLDEST  # else they vanish unseen
        for payload in payloads:
            self.settled[payload] = None  # its place, should it be accepted
            if not watched:
                self.unwatched.add(payload)

        def settled(delivered: bool) -> None:
            for payload in payloads:
                self.settled[payload] = delivered

        frames = tuple(Frame(payload) for payload in payloads)
        offer = self.connection.deliver(Chunk(frames, on_settled=settled if watched else None))
        if not offer.taken:
            for payload in payloads:
                del self.settled[payload]

    def stall(self) -> None:
        self.server.tcp.window = 0

    def take(self) -> None:
        self.server.tcp.take(self.random.randint(1, 100_000))

    def take_all(self) -> None:
        self.server.tcp.take()

    def end(self) -> None:
        reason = ExitReason(Ending.LEFT, CloseCode.NORMAL, "bye")
        ways: list[Callable[[], object]] = [
            lambda: self.connection.close(reason),
            lambda: self.connection.close(reason, flush=True),
            self.server.tcp.reset,
            lambda: self.connection.cell.stop(ExitReason(Ending.SHUTDOWN)),
            lambda: self.server.wire.lost(1001, "the peer closes"),
        ]
        self.random.choice(ways)()

    # What has to hold.

    def look(self) -> None:
        """Look at what the peer has got."""
        self.reader.feed(bytes(self.server.tcp.taken))  # objects to whatever is no frame
        self.server.tcp.taken.clear()

        got, order = self.reader.messages, list(self.settled)
        positions = [order.index(payload) for payload in got]
        assert positions == sorted(set(positions))
        if self.connection.state is ConnectionState.OPEN:
            assert got == self.kept[: len(got)]
        reason = self.connection.reason
        assert reason is None or reason.ending is not Ending.SEND_FAILED  # a wire takes anything

    @property
    def kept(self) -> list[str | bytes]:
        """What was accepted, and not given up."""
        return [payload for payload, how in self.settled.items() if how is not False]

    async def live(self, *, ends: bool) -> None:
        """Live, and look after each step."""
        steps = [self.deliver, self.deliver_joined, self.stall, self.take, self.take_all]
        weights = [6, 2, 2, 3, 2]
        for step in range(STEPS):
            happens = self.random.choices(steps, weights)[0]
            if ends and step == STEPS - 10:
                happens = self.end
            happens()
            if self.random.random() < 0.7:
                await settle()
            if self.random.random() < 0.05:
                await asyncio.sleep(self.random.choice([0.5, 2.0]))
            self.look()

    async def finish(self) -> None:
        """Let the peer read all, and end."""
        whole = self.connection.state is ConnectionState.OPEN
        self.server.tcp.take()
        await settle()
        self.look()
        if whole:
            assert self.reader.messages == self.kept
            assert self.reader.at_boundary
            assert self.connection.ready
        await self.runtime.aclose()
        assert {payload for payload in self.kept if not self.settled[payload]} <= self.unwatched


@pytest.mark.parametrize("overflow", MAILBOX_OVERFLOWS)
@given(seed=st.integers(0, 2**32), ends=st.booleans())
def test_the_peer_gets_what_was_accepted_and_in_order(
    overflow: Overflow, seed: int, ends: bool
) -> None:
    """Whole, once, and up to the end of the connection."""

    async def life() -> None:
        life = Life(Random(seed), overflow)
        await life.live(ends=ends)
        note(f"state {life.connection.state.name}, {life.connection.reason}")
        await life.finish()

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(life())
