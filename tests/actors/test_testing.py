"""The public kit: fakes that behave as the real things promise to."""

from __future__ import annotations

import asyncio
import time

import pytest

from actors.clock import Clock
from actors.errors import TransportClosed
from actors.exits import Ending, ExitReason
from actors.mailbox import Mailbox
from actors.runtime import Runtime
from actors.testing import (
    FakeTransport,
    ManualClock,
    Probe,
    TextEncoder,
    VirtualClockLoop,
    settle,
)
from tests.actors.recording import Item, chunk


class Ears:
    """A transport listener that records."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def transport_ready(self) -> None:
        self.heard.append("ready")

    def transport_failed(self, error: BaseException) -> None:
        self.heard.append(f"failed {error}")

    def transport_closed(self) -> None:
        self.heard.append("closed")


@pytest.fixture
def ears() -> Ears:
    """Return a listener."""
    return Ears()


@pytest.fixture
def transport(ears: Ears) -> FakeTransport:
    """Return an attached transport."""
    transport = FakeTransport()
    transport.attach(ears)
    return transport


def test_a_manual_clock_goes_when_it_is_told_to() -> None:
    """advance() returns the new time, and nothing else moves it."""
    clock = ManualClock(5.0)
    same: Clock = clock

    assert same() == 5.0
    assert clock.advance(2.5) == 7.5
    assert same() == 7.5


async def test_an_hour_on_the_virtual_clock_is_free_and_exact() -> None:
    """Waiting takes no real time, and as much virtual time as was asked for."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualClockLoop)
    real, virtual = time.monotonic(), loop.time()

    await asyncio.sleep(3600)

    assert time.monotonic() - real < 5
    assert loop.time() - virtual == pytest.approx(3600, abs=1e-6)


async def test_the_virtual_clock_stands_still_while_anybody_can_run() -> None:
    """Work takes no time, so that the order of deadlines never depends on the machine."""
    loop = asyncio.get_running_loop()
    before = loop.time()

    for _ in range(1000):
        await asyncio.sleep(0)

    assert loop.time() == before


async def test_settle_returns_when_all_has_run_that_could() -> None:
    """However many steps it takes, and however slow they are."""
    steps: list[int] = []

    async def many_steps() -> None:
        for step in range(100):
            await asyncio.sleep(0)
            steps.append(step)

    task = asyncio.create_task(many_steps())

    await settle()

    assert len(steps) == 100
    assert task.done()


async def test_the_virtual_clock_hears_of_other_threads() -> None:
    """A loop with nothing to do waits for a thread, and does not jump."""
    loop = asyncio.get_running_loop()

    def work() -> str:
        time.sleep(0.01)
        return "done"

    assert await loop.run_in_executor(None, work) == "done"


def test_the_text_encoder_leaves_text_and_bytes_alone() -> None:
    """Everything else becomes its repr, and is marked as encoded."""
    encoder = TextEncoder()

    frames = [encoder.encode(data) for data in ("a", b"b", 1)]

    assert [frame.payload for frame in frames] == ["a", b"b", "1"]
    assert [frame.encoded for frame in frames] == [False, False, True]


def test_a_fake_transport_records_what_is_written(transport: FakeTransport) -> None:
    """Each frame of each chunk, in order, and how many writes it took."""
    assert transport.write(chunk("a", b"b")) is True
    assert transport.write(chunk("c")) is True

    assert transport.sent == ["a", b"b", "c"]
    assert transport.writes == 2


def test_a_stalled_transport_holds_back_and_says_when_it_is_ready(
    transport: FakeTransport, ears: Ears
) -> None:
    """resume() writes what was held back, and then says so; without any it says nothing."""
    transport.stalled = True
    assert transport.write(chunk("a")) is False
    assert transport.sent == []

    transport.resume()
    transport.resume()

    assert transport.sent == ["a"]
    assert ears.heard == ["ready"]
    assert transport.write(chunk("b")) is True


def test_a_transport_may_go_on_stalling(transport: FakeTransport, ears: Ears) -> None:
    """resume(stalled=True) lets one chunk pass."""
    transport.stalled = True
    transport.write(chunk("a"))

    transport.resume(stalled=True)

    assert transport.write(chunk("b")) is False
    assert transport.sent == ["a"]


def test_a_failing_transport_fails_ever_after(transport: FakeTransport, ears: Ears) -> None:
    """fail() tells the listener; each later write and close raises the error."""
    error = OSError("gone")

    transport.fail(error)

    assert ears.heard == ["failed gone"]
    with pytest.raises(OSError, match="gone"):
        transport.write(chunk("a"))
    with pytest.raises(OSError, match="gone"):
        transport.close(1000, "")


@pytest.mark.parametrize("end", ["fail", "abort"])
def test_what_was_held_back_dies_with_the_transport(
    transport: FakeTransport, ears: Ears, end: str
) -> None:
    """resume() after the end writes nothing and says nothing."""
    transport.stalled = True
    transport.write(chunk("a"))
    if end == "fail":
        transport.fail(OSError("gone"))
    else:
        transport.abort()

    transport.resume()

    assert transport.sent == []
    assert "ready" not in ears.heard


def test_a_transport_records_how_it_was_closed(transport: FakeTransport, ears: Ears) -> None:
    """A close that hangs is finished by finish_close()."""
    transport.close_hangs = True

    assert transport.close(1000, "bye") is False
    transport.finish_close()

    assert transport.closed == (1000, "bye")
    assert ears.heard == ["closed"]


def test_a_fake_transport_objects_to_misuse(transport: FakeTransport, ears: Ears) -> None:
    """Writing after the end, or while it holds something back, fails the test that did it."""
    with pytest.raises(AssertionError, match="one listener"):
        transport.attach(ears)
    with pytest.raises(TransportClosed):
        FakeTransport().write(chunk("a"))
    transport.stalled = True
    transport.write(chunk("a"))
    with pytest.raises(AssertionError, match="held something back"):
        transport.write(chunk("b"))
    transport.resume()
    transport.close(1000, "")
    with pytest.raises(AssertionError, match="after its end"):
        transport.write(chunk("c"))


def test_an_aborted_transport_objects_to_writes(transport: FakeTransport) -> None:
    """abort() is idempotent, and an end."""
    transport.abort()
    transport.abort()

    assert transport.aborted
    with pytest.raises(AssertionError, match="after its end"):
        transport.write(chunk("a"))


async def test_a_probe_records_messages_and_its_end(runtime: Runtime) -> None:
    """Received and exit are all there is to know."""
    probe = Probe[Item]()
    ref = runtime.spawn(probe, Mailbox[Item](), name="probe")
    item = Item()
    ref.tell(item)
    await settle()
    assert probe.exit is None

    probe.cell.stop(ExitReason(Ending.STOPPED))

    assert probe.received == [item]
    assert probe.exit == ExitReason(Ending.STOPPED)


async def test_a_probe_fails_where_it_is_told_to(runtime: Runtime) -> None:
    """fail_on makes a crash of a message; it is recorded before."""
    bad = Item("bad")
    probe = Probe[Item](fail_on=[bad])
    ref = runtime.spawn(probe, Mailbox[Item](), name="probe")

    ref.tell(bad)
    await settle()

    assert probe.received == [bad]
    assert probe.exit is not None
    assert probe.exit.ending is Ending.CRASHED
