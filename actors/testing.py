"""
A kit for tests of actors, and of code that uses them: public, and free of any test framework.

* :class:`VirtualClockLoop`: an event loop on which waiting takes no time.
* :func:`settle`: let everything run that can run.
* :class:`FakeTransport`: a socket that records, and stalls or fails when told to.
* :class:`Probe`: an actor that records what it is told.
* :class:`TextEncoder`: the simplest wire format.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Iterable
from typing import TypeVar

from actors.actor import Actor
from actors.errors import TransportClosed
from actors.exits import ExitReason
from actors.interfaces import Encoder, TransportListener
from actors.messages import Chunk, Frame, Message

__all__ = [
    "FakeTransport",
    "ManualClock",
    "Probe",
    "TextEncoder",
    "VirtualClockLoop",
    "settle",
]

M = TypeVar("M", bound=Message)


class ManualClock:
    """A :class:`~actors.clock.Clock` that goes when it is told to."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now

    def advance(self, seconds: float) -> float:
        """Go ``seconds`` on, and return the new time."""
        self.now += seconds
        return self.now


class _JumpSelector(selectors.DefaultSelector):
    """Where others sleep until the next deadline, this one makes it later."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            return super().select(None)
        self.now += max(timeout, 0.0)
        return ready


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """
    An event loop whose clock stands still while anybody can run, and then jumps.

    An hour's wait costs nothing and is exact: the clock goes from deadline to deadline, and no
    work takes time. Not for real sockets or subprocesses, whose bytes it may jump past.
    """

    def __init__(self) -> None:
        self._jump = _JumpSelector()
        super().__init__(self._jump)

    def time(self) -> float:
        """Return the time: all the jumps, in seconds."""
        return self._jump.now

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the threads however long it takes: the clock would jump past a deadline."""
        await super().shutdown_default_executor()


async def settle() -> None:
    """Return when all that could run on a :class:`VirtualClockLoop` without time has run."""
    await asyncio.sleep(1e-6)


class TextEncoder(Encoder):
    """Sends ``str`` and ``bytes`` as they are and everything else as its ``repr``."""

    def encode(self, data: object) -> Frame:
        """Return the frame for ``data``."""
        if isinstance(data, str | bytes):
            return Frame(data)
        return Frame(repr(data), encoded=True)


class FakeTransport:
    """
    A socket that records.

    Attributes:
        sent: Payloads written so far.
        closed: Code and reason it was closed with; None while it is open.
        aborted: Whether it was given up.
        stalled: While True, :meth:`write` holds each chunk back until :meth:`resume`.
        failing: Raised by the next write or close, and by all that follow.
        close_hangs: While True, :meth:`close` is never finished by itself.
        writes: How often :meth:`write` was called.
        held: Bytes that the test has it say it holds back.
    """

    def __init__(self) -> None:
        self.sent: list[str | bytes] = []
        self.closed: tuple[int, str] | None = None
        self.aborted = False
        self.stalled = False
        self.failing: Exception | None = None
        self.close_hangs = False
        self.writes = 0
        self.held = 0
        self._listener: TransportListener | None = None
        self._held: Chunk | None = None

    def attach(self, listener: TransportListener) -> None:
        """Name the listener."""
        if self._listener is not None:
            raise AssertionError("a transport has one listener")
        self._listener = listener

    def write(self, chunk: Chunk) -> bool:
        """Record ``chunk``, or hold it back."""
        self._check_usable()
        self.writes += 1
        if self.stalled:
            self._held = chunk
            return False
        self._record(chunk)
        return True

    def close(self, code: int, reason: str) -> bool:
        """Record the close."""
        self._check_usable()
        self.closed = (code, reason)
        return not self.close_hangs

    def abort(self) -> None:
        """Record that the socket was given up, and what it held back with it."""
        self.aborted = True
        self._held = None

    def resume(self, *, stalled: bool = False) -> None:
        """Write what is held back and say so; go on stalling if ``stalled``."""
        self.stalled = stalled
        if self._held is not None:
            held, self._held = self._held, None
            self._record(held)
            assert self._listener is not None
            self._listener.transport_ready()

    def fail(self, error: Exception) -> None:
        """Fail by itself, as when the peer's machine has gone."""
        self.failing = error
        self._held = None
        assert self._listener is not None
        self._listener.transport_failed(error)

    def finish_close(self) -> None:
        """Say that the close is done."""
        assert self._listener is not None
        self._listener.transport_closed()

    def _record(self, chunk: Chunk) -> None:
        self.sent.extend(frame.payload for frame in chunk.frames)

    def _check_usable(self) -> None:
        """A transport is never used again after it was closed, failed or given up."""
        if self.failing is not None:
            raise self.failing
        if self.closed is not None or self.aborted:
            raise AssertionError("the socket was written to after its end")
        if self._held is not None:
            raise AssertionError("the socket was written to while it held something back")
        if self._listener is None:
            raise TransportClosed("nobody is attached")


class Probe(Actor[M]):
    """
    An actor that records.

    Args:
        fail_on: Messages at which :meth:`receive` raises ``RuntimeError``.

    Attributes:
        received: Messages in the order in which they came.
        exit: Why it ended; None while it lives.
    """

    __slots__ = ("_fail_on", "exit", "received")

    def __init__(self, fail_on: Iterable[M] = ()) -> None:
        self.received: list[M] = []
        self.exit: ExitReason | None = None
        self._fail_on = tuple(fail_on)

    def receive(self, message: M) -> None:
        """Record ``message``."""
        self.received.append(message)
        if message in self._fail_on:
            raise RuntimeError(f"told to fail on {message!r}")

    def on_stop(self, reason: ExitReason) -> None:
        """Record the end."""
        self.exit = reason
