"""
Every transport keeps the promises of the port, whatever is below it.

The port is :class:`actors.interfaces.Transport`; a connection actor relies on nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol, TypeVar

import pytest

from actors.interfaces import Transport
from actors.messages import Chunk, Frame
from actors.runtime import Runtime
from actors.testing import FakeTransport, settle
from supervisor.transports.asgi import AsgiTransport
from supervisor.transports.stub import StubTransport
from tests.frames import FrameReader
from tests.supervisor.tcp import WireServer

R = TypeVar("R")


class Rig(Protocol):
    """A transport, and the world below it."""

    transport: Transport

    @property
    def sent(self) -> list[str | bytes]:
        """What the peer has got."""
        ...

    @property
    def closed(self) -> int | None:
        """The code that the peer was closed with."""
        ...

    def stall(self) -> None:
        """Take nothing from now on."""
        ...

    def resume(self) -> None:
        """Take all that waits, and all that comes."""
        ...

    def lose(self) -> None:
        """Lose the peer."""
        ...


class Listener:
    """Records what the transport says, and that it says nothing from within a call."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.calling = False

    def transport_ready(self) -> None:
        self._note("ready")

    def transport_failed(self, error: BaseException) -> None:
        self._note("failed")

    def transport_closed(self) -> None:
        self._note("closed")

    def _note(self, what: str) -> None:
        assert not self.calling, f"{what} from within a call"
        self.said.append(what)


class FakeRig:
    """The fake of the public kit."""

    def __init__(self, runtime: Runtime, listener: Listener) -> None:
        self.transport: Transport
        self._fake = self.transport = FakeTransport()

    @property
    def sent(self) -> list[str | bytes]:
        return self._fake.sent

    @property
    def closed(self) -> int | None:
        return None if self._fake.closed is None else self._fake.closed[0]

    def stall(self) -> None:
        self._fake.stalled = True

    def resume(self) -> None:
        self._fake.resume()

    def lose(self) -> None:
        self._fake.fail(OSError("gone"))


class _ServerTransport:
    """The part of a server's transport that can be reached through ``send``."""

    def __init__(self, server: AsgiServer) -> None:
        self._server = server

    def is_closing(self) -> bool:
        return self._server.over

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self._server.end()


class AsgiServer:
    """A server whose ``send`` waits while the peer takes nothing, and fails after the end."""

    def __init__(self) -> None:
        self.transport = _ServerTransport(self)
        self.sent: list[str | bytes] = []
        self.closed: int | None = None
        self.over = False
        self._taking = asyncio.Event()
        self._taking.set()

    async def send(self, event: Any) -> None:
        """Take an event."""
        await self._taking.wait()
        if self.over or self.closed is not None:
            raise RuntimeError("the socket was closed")
        if event["type"] == "websocket.close":
            self.closed = event["code"]
        else:
            self.sent.append(event["text"] if "text" in event else event["bytes"])

    def stall(self) -> None:
        self._taking.clear()

    def resume(self) -> None:
        self._taking.set()

    def end(self) -> None:
        """Be over: whoever waits hears so."""
        self.over = True
        self._taking.set()


class UvicornServer(AsgiServer):
    """The same, of uvicorn: its ``send`` may be stepped."""


UvicornServer.__module__ = "uvicorn.protocols.websockets.websockets_sansio_impl"


class AsgiRig:
    """Writing is a job."""

    server_class = AsgiServer

    def __init__(self, runtime: Runtime, listener: Listener) -> None:
        self._server = self.server_class()
        self.transport: Transport = AsgiTransport(self._server.send, runtime, linger=10.0)

    @property
    def sent(self) -> list[str | bytes]:
        return self._server.sent

    @property
    def closed(self) -> int | None:
        return self._server.closed

    def stall(self) -> None:
        self._server.stall()

    def resume(self) -> None:
        self._server.resume()

    def lose(self) -> None:
        self._server.end()


class SteppedRig(AsgiRig):
    """Writing is a plain call, as long as the server takes it."""

    server_class = UvicornServer


class WireRig:
    """Ready-made frames; the end is told by ``on_lost``, which stands for a failure."""

    def __init__(self, runtime: Runtime, listener: Listener) -> None:
        self._server = WireServer()
        self._server.tcp.high = self._server.tcp.low = 0
        self._reader = FrameReader()
        wire = self._server.wire
        wire.on_lost = lambda code, reason: listener.transport_failed(OSError(reason))
        self.transport: Transport = wire

    @property
    def sent(self) -> list[str | bytes]:
        return self._read().messages

    @property
    def closed(self) -> int | None:
        reader = self._read()
        return reader.close[0] if reader.closed else None

    def stall(self) -> None:
        self._server.tcp.window = 0

    def resume(self) -> None:
        self._server.tcp.take()

    def lose(self) -> None:
        self._server.tcp.reset()

    def _read(self) -> FrameReader:
        self._reader.feed(bytes(self._server.tcp.taken))
        self._server.tcp.taken.clear()
        return self._reader


class Stub:
    """A socket of somebody's tests."""

    def __init__(self) -> None:
        self.sent: list[str | bytes] = []
        self.closed: int | None = None
        self.lost = False
        self.taking = asyncio.Event()
        self.taking.set()

    async def send_text(self, text: str) -> None:
        await self._take(text)

    async def send_bytes(self, data: bytes) -> None:
        await self._take(data)

    async def close(self, code: int) -> None:
        await self.taking.wait()
        self.closed = code

    @property
    def client_state(self) -> str:
        return "DISCONNECTED" if self.lost or self.closed is not None else "CONNECTED"

    async def _take(self, payload: str | bytes) -> None:
        await self.taking.wait()
        if self.lost:
            raise ConnectionResetError("gone")
        self.sent.append(payload)


class StubRig:
    """Whatever can send and is no WebSocket."""

    def __init__(self, runtime: Runtime, listener: Listener) -> None:
        self._stub = Stub()
        self.transport: Transport = StubTransport(self._stub, runtime)

    @property
    def sent(self) -> list[str | bytes]:
        return self._stub.sent

    @property
    def closed(self) -> int | None:
        return self._stub.closed

    def stall(self) -> None:
        self._stub.taking.clear()

    def resume(self) -> None:
        self._stub.taking.set()

    def lose(self) -> None:
        self._stub.lost = True
        self._stub.taking.set()


RIGS = (FakeRig, AsgiRig, SteppedRig, WireRig, StubRig)


class World:
    """A rig and its listener, with calls of the transport that are watched."""

    def __init__(self, make: Callable[[Runtime, Listener], Rig], runtime: Runtime) -> None:
        self.listener = Listener()
        self.rig = make(runtime, self.listener)
        self.rig.transport.attach(self.listener)
        self.said = self.listener.said

    def write(self, *payloads: str | bytes) -> bool:
        """Write a chunk."""
        chunk = Chunk(tuple(Frame(payload) for payload in payloads))
        return self._call(lambda: self.rig.transport.write(chunk))

    def close(self, code: int = 4000) -> bool:
        """Close."""
        return self._call(lambda: self.rig.transport.close(code, "bye"))

    def abort(self) -> None:
        """Give up."""
        self._call(self.rig.transport.abort)

    def _call(self, call: Callable[[], R]) -> R:
        self.listener.calling = True
        try:
            return call()
        finally:
            self.listener.calling = False

    async def until_ready(self, done: bool) -> None:
        """Wait for the transport, if it said that there is anything to wait for."""
        await settle()
        assert self.said == ([] if done else ["ready"])
        self.said.clear()


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    """Run the jobs; in the end none may be left."""
    runtime = Runtime()
    yield runtime
    await runtime.aclose()
    assert runtime.jobs == 0


@pytest.fixture(params=RIGS, ids=lambda rig: rig.__name__.removesuffix("Rig").lower())
def world(request: pytest.FixtureRequest, runtime: Runtime) -> World:
    """Return each transport."""
    return World(request.param, runtime)


async def test_what_is_written_arrives_in_order(world: World) -> None:
    """True means that more may come at once; False, that it may when the transport is ready."""
    await world.until_ready(world.write("a", b"b"))
    await world.until_ready(world.write("c"))

    assert world.rig.sent == ["a", b"b", "c"]
    assert world.said == []


async def test_what_is_held_back_can_be_asked_for_at_any_time(world: World) -> None:
    """Nothing before the first write, after the last, and after the end."""
    assert world.rig.transport.held == 0
    world.rig.stall()
    assert world.write("a") is False
    assert world.rig.transport.held >= 0
    world.rig.resume()
    await settle()
    assert world.rig.transport.held == 0
    world.rig.lose()
    await settle()
    assert world.rig.transport.held == 0


async def test_a_write_that_is_held_back_is_followed_by_ready_once(world: World) -> None:
    """Not before the peer has taken it, and never from within the call."""
    world.rig.stall()

    assert world.write("a", "b", "c") is False
    await settle()
    assert world.said == []
    world.rig.resume()
    await settle()

    assert world.said == ["ready"]
    assert world.rig.sent == ["a", "b", "c"]
    world.said.clear()
    await world.until_ready(world.write("d"))
    assert world.rig.sent == ["a", "b", "c", "d"]


async def test_a_transport_can_stall_again_and_again(world: World) -> None:
    """Each time there is one answer."""
    for number in range(3):
        world.rig.stall()
        assert world.write(f"{number}") is False
        await settle()
        world.rig.resume()
        await settle()

    assert world.said == ["ready"] * 3
    assert world.rig.sent == ["0", "1", "2"]


async def test_a_peer_that_goes_while_a_write_is_held_back_is_told_of_once(world: World) -> None:
    """As failed; what was held back is lost, and nothing is ready."""
    world.rig.stall()
    assert world.write("a") is False
    await settle()

    world.rig.lose()
    await settle()

    assert world.said == ["failed"]
    assert world.rig.sent == []


async def test_a_write_to_a_peer_that_has_gone_fails(world: World) -> None:
    """Within the call or after it, but not both, and unless its going was told before."""
    if not isinstance(world.rig, FakeRig | WireRig):  # those tell by themselves
        world.rig.lose()
        await settle()
        failures = 0
        try:
            assert world.write("a") is False
        except Exception:
            failures += 1
        await settle()

        assert failures + world.said.count("failed") == 1
        assert world.said in ([], ["failed"])
    else:
        world.rig.lose()
        await settle()
        assert world.said == ["failed"]
        with pytest.raises(Exception, match=r"gone|closed"):
            world.write("a")
        await settle()
        assert world.said == ["failed"]
    assert world.rig.sent == []


async def test_a_close_comes_after_all_that_was_written(world: World) -> None:
    """True means that it is done; False, that it will be said, once."""
    await world.until_ready(world.write("a"))

    done = world.close(4000)
    await settle()

    assert world.said == ([] if done else ["closed"])
    assert (world.rig.sent, world.rig.closed) == (["a"], 4000)


@pytest.mark.parametrize("end", ["close", "abort", "close and abort", "abort and abort"])
async def test_nothing_is_sent_after_the_end(world: World, end: str) -> None:
    """Writing raises, or is passed over; it never reaches the peer."""
    for call in end.split(" and "):
        getattr(world, call)()
        await settle()
    before = list(world.said)

    try:
        world.write("late")
    except (Exception, AssertionError):
        pass
    await settle()

    assert world.rig.sent == []
    assert "ready" not in world.said[len(before) :]


@pytest.mark.parametrize(
    "before", ["nothing", "a write", "a held write", "a close", "a held close", "the loss"]
)
async def test_giving_up_is_idempotent_and_never_raises(world: World, before: str) -> None:
    """In every state; what was held back is not sent any more, nor said to be."""
    if "held" in before:
        world.rig.stall()
    if "write" in before:
        world.write("a")
    if "close" in before:
        world.close()
    if before == "the loss":
        world.rig.lose()
    await settle()
    sent, said = list(world.rig.sent), list(world.said)

    world.abort()
    world.abort()
    await settle()
    if not isinstance(world.rig, FakeRig):
        world.rig.resume()
    await settle()
    world.abort()

    assert world.rig.sent == sent
    assert "ready" not in world.said[len(said) :]
    assert len(world.said) <= 1
