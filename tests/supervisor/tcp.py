"""A TCP transport of which the test says how much the peer takes, and a wire over it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from supervisor.transports.wire import WireTransport
from tests.frames import CLOSE, client_frame, close_payload

__all__ = ["FakeTcp", "WireServer"]


class FakeTcp(asyncio.Transport):
    """
    A transport as servers have it, without a socket.

    Args:
        protocol: Told of a full buffer, and of the end; may be named later.

    Attributes:
        taken: What the peer has got.
        writes: Each piece that was written, as it came.
        window: Bytes that the peer still takes; None for all that come.
        reading: Whether the server reads.
        aborted: Whether it was dropped.
        over: Whether the connection has ended.
        high: Bytes in the buffer above which the protocol is told to pause.
        low: Bytes in the buffer up to which it is told to go on.
    """

    def __init__(self, protocol: Any = None) -> None:
        super().__init__()
        self.protocol = protocol
        self.taken = bytearray()
        self.writes: list[bytes] = []
        self.window: int | None = None
        self.reading = True
        self.aborted = False
        self.over = False
        self.high, self.low = 64 << 10, 16 << 10
        self._buffer = bytearray()
        self._paused = False
        self._closing = False

    # What a server calls.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        assert low is not None
        self.high, self.low = high, low

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def write(self, data: Any) -> None:
        assert isinstance(data, bytes)
        if self.over or not data:
            return
        self.writes.append(data)
        self._buffer += data
        self._pass_on()
        if len(self._buffer) > self.high and not self._paused:
            self._paused = True
            self.protocol.pause_writing()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Close when all is written."""
        if not self._closing:
            self._closing = True
            self.reading = False
            self._end_if_empty()

    def abort(self) -> None:
        """Close now."""
        self.aborted = self._closing = True
        self.reading = False
        self._buffer.clear()
        self._end(None)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = not self._closing

    # What the test calls.

    def take(self, size: int | None = None) -> None:
        """Have the peer take ``size`` bytes more, or from now on all that come."""
        self.window = None if size is None else (self.window or 0) + size
        self._pass_on()
        self._resume()
        self._end_if_empty()

    def end_input(self) -> None:
        """Have the peer end its half."""
        if not self.protocol.eof_received():
            self.close()

    def reset(self) -> None:
        """Lose the peer."""
        self._closing = True
        self._buffer.clear()
        self._end(ConnectionResetError("reset by the peer"))

    def _pass_on(self) -> None:
        size = len(self._buffer) if self.window is None else min(self.window, len(self._buffer))
        self.taken += self._buffer[:size]
        del self._buffer[:size]
        if self.window is not None:
            self.window -= size

    def _resume(self) -> None:
        if self._paused and len(self._buffer) <= self.low and not self.over:
            self._paused = False
            self.protocol.resume_writing()

    def _end_if_empty(self) -> None:
        if self._closing and not self._buffer:
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        if not self.over:
            self.over = True
            lost: Callable[[Exception | None], object] = self.protocol.connection_lost
            asyncio.get_running_loop().call_soon(lost, error)


class WireServer:
    """
    The protocol class that owns a wire: only what the wire asks of it.

    Attributes:
        closes: Code, reason and patience of each close that the wire asked for.
    """

    def __init__(self) -> None:
        self.tcp = FakeTcp(self)
        self.wire = WireTransport(self.tcp, self)
        self.closes: list[tuple[int, str, float]] = []

    async def send(self, event: Any) -> None:
        """Stand for the ASGI send of this socket."""

    def close_handshake(self, code: int, reason: str, timeout: float) -> None:
        """Send the close frame; the peer has a while to read it."""
        self.closes.append((code, reason, timeout))
        self.tcp.write(client_frame(CLOSE, close_payload(code, reason), masked=False))
        if not self.tcp.over:
            asyncio.get_running_loop().call_later(timeout, self.tcp.abort)

    def drop_unread(self) -> None:
        """Have nothing to drop."""

    def pause_writing(self) -> None:
        self.wire.pause()

    def resume_writing(self) -> None:
        self.wire.resume()

    def connection_lost(self, error: Exception | None) -> None:
        self.wire.lost(1006, str(error or ""))
