"""
One WebSocket client of a load: as little work per read as Python allows.

All clients of a process read into one buffer: what was read is worked off before the next
socket is read, so that only the beginning of a frame that is cut has to be kept.
"""

from __future__ import annotations

import asyncio
import enum
import secrets
import time
from collections.abc import Callable
from typing import cast

from supervisor.cli.load.errors import LoadError, ProtocolError
from supervisor.cli.load.frames import FrameCounter
from supervisor.cli.load.handshake import Handshake

__all__ = ["BUFFER_BYTES", "ClientState", "Inlet", "LoadClient", "masked_frame"]

BUFFER_BYTES = 256 << 10
"""Bytes of the buffer that all clients of a process share: as many as one read can bring."""

CLOSE, PING, PONG = 0x8, 0x9, 0xA

ABNORMAL = 1006
"""RFC 6455's name for an end without a close frame."""


class ClientState(enum.IntEnum):
    """Life of a client; it never goes back."""

    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    """A close frame was sent."""
    CLOSED = 3


class Inlet:
    """The buffer that clients of one loop share, and the time of what is in it."""

    __slots__ = ("data", "now", "view")

    def __init__(self) -> None:
        self.data = bytearray(BUFFER_BYTES)
        self.view = memoryview(self.data)
        self.now = 0


class LoadClient(asyncio.BufferedProtocol):
    """
    One connection; made by :meth:`asyncio.loop.create_connection`.

    Args:
        inlet: Where it reads into.
        handshake: Its own.
        on_read: Called after each read that brought deliveries, with their number.
        on_closed: Called when an open connection has ended.

    Attributes:
        state: Where it is in its life.
        counter: What it got.
        opened: Done when the handshake is; with the reason if it failed, None if not.
        gone: Done when the connection has ended.
        close_code: The server's; 1006 without one. None while connected.
    """

    def __init__(
        self,
        inlet: Inlet,
        handshake: Handshake,
        *,
        on_read: Callable[[LoadClient, int], None] | None = None,
        on_closed: Callable[[LoadClient], None] | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.state = ClientState.CONNECTING
        self.counter = FrameCounter(self._control)
        self.opened: asyncio.Future[LoadError | None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self.close_code: int | None = None
        self._inlet = inlet
        self._handshake = handshake
        self._on_read = on_read
        self._on_closed = on_closed
        self._carry = b""  # what was read and has to come again
        self._received_code: int | None = None
        self._writable: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self._transport.write(self._handshake.request())

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read into: behind what was kept."""
        carry = self._carry
        if carry:
            self._inlet.data[: len(carry)] = carry
            return self._inlet.view[len(carry) :]
        return self._inlet.view

    def buffer_updated(self, nbytes: int) -> None:
        """Work off what was read."""
        inlet = self._inlet
        inlet.now = time.monotonic_ns()
        carry = self._carry
        if carry:
            nbytes += len(carry)
            self._carry = b""
        try:
            if self.state is ClientState.CONNECTING:
                nbytes = self._open(nbytes)
            counter = self.counter
            before = counter.delivered
            rest = counter.feed(inlet.data, nbytes)
        except LoadError as error:
            self._fail(error)
            return
        if rest:
            self._carry = bytes(inlet.data[nbytes - rest : nbytes])
        delivered = counter.delivered
        if delivered != before and self._on_read is not None:
            self._on_read(self, delivered - before)

    def eof_received(self) -> None:
        """Let the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        was_open = self.state is not ClientState.CONNECTING
        self.state = ClientState.CLOSED
        self.close_code = ABNORMAL if self._received_code is None else self._received_code
        if not self.opened.done():
            self.opened.set_result(
                LoadError(
                    "the server ended the connection during the handshake"
                    + (f": {exc}" if exc is not None else "")
                )
            )
        if not self.gone.done():
            self.gone.set_result(None)
        self.resume_writing()
        if was_open and self._on_closed is not None:
            self._on_closed(self)

    def pause_writing(self) -> None:
        """Make publishers wait."""
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Let them go on."""
        waiting, self._writable = self._writable, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    # What its owner calls.

    @property
    def has_transport(self) -> bool:
        """Whether a transport owns its socket."""
        return self._transport is not None

    def send(self, text: str) -> None:
        """Send a text message; nothing happens when the connection has ended."""
        if self.state is ClientState.OPEN:
            self._write(masked_frame(0x1, text.encode()))

    async def until_writable(self) -> None:
        """Wait while the server takes nothing; at once if it does, or has gone."""
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def pause_reading(self) -> None:
        """Read nothing more, until :meth:`resume_reading`."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self._transport is not None and self.state is not ClientState.CLOSED:
            self._transport.resume_reading()

    def close(self) -> None:
        """Say goodbye; the server closes. Idempotent."""
        if self.state is ClientState.OPEN:
            self.state = ClientState.CLOSING
            self._write(masked_frame(CLOSE, (1000).to_bytes(2)))

    def abort(self) -> None:
        """Leave at once, if it has not ended yet."""
        if self._transport is None:
            self.state = ClientState.CLOSED
        elif self.state is not ClientState.CLOSED:
            self._transport.abort()

    def _open(self, end: int) -> int:
        """Read the answer to the handshake; return how many bytes of frames came with it."""
        data = self._inlet.data
        begin = self._handshake.end_of_head(data[:end])
        if begin is None:
            self._carry = bytes(data[:end])
            return 0
        self.state = ClientState.OPEN
        if not self.opened.done():
            self.opened.set_result(None)
        data[: end - begin] = data[begin:end]
        return end - begin

    def _write(self, frame: bytes) -> None:
        assert self._transport is not None  # only an open connection writes
        self._transport.write(frame)

    def _control(self, opcode: int, content: bytes) -> None:
        if opcode == PING:
            self._write(masked_frame(PONG, content))
        elif opcode == CLOSE:
            self._received_code = int.from_bytes(content[:2]) if len(content) >= 2 else 1005
            if self.state is ClientState.OPEN:
                self.state = ClientState.CLOSING
                self._write(masked_frame(CLOSE, content[:2]))
            if self._transport is not None:
                self._transport.close()
        elif opcode != PONG:
            raise ProtocolError(f"the server sent a control frame of kind {opcode}")

    def _fail(self, error: LoadError) -> None:
        if not self.opened.done():
            self.opened.set_result(error)
        self.abort()


def masked_frame(opcode: int, content: bytes) -> bytes:
    """Return a whole frame as clients have to send it."""
    length = len(content)
    if length < 126:
        head = bytes((0x80 | opcode, 0x80 | length))
    elif length < 1 << 16:
        head = bytes((0x80 | opcode, 0x80 | 126)) + length.to_bytes(2)
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + length.to_bytes(8)
    key = secrets.token_bytes(4)
    pattern = (key * (length // 4 + 1))[:length]
    mixed = int.from_bytes(content) ^ int.from_bytes(pattern)
    return head + key + mixed.to_bytes(length)
