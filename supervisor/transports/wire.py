"""
A socket whose server lets ready-made WebSocket frames through: the fast path.

Frames are built once for everybody who receives them, and all frames of a chunk leave in one
write. The server's protocol class owns a :class:`WireTransport`, offers it to the application in
the ASGI scope under :data:`EXTENSION`, and tells it what it hears of the TCP transport and of the
peer; :mod:`supervisor.integrations.uvicorn` has the class for uvicorn.

Only the connection actor writes through it, and nothing after a close: whatever ends the
socket, :meth:`WireTransport.lost` included, turns writing into an error for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from actors.errors import TransportClosed
from supervisor.transports.asgi import server_send
from supervisor.transports.close_reason import fit_reason
from supervisor.transports.framing import PLAIN, deflated, wire_bytes

if TYPE_CHECKING:
    from actors.interfaces import TransportListener
    from actors.messages import Chunk

__all__ = ["EXTENSION", "FrameServer", "WireTransport", "find_wire"]

EXTENSION = "wsupervisor.transport"
"""Key of the ASGI scope extension whose value is the :class:`WireTransport` of the socket."""


class FrameServer(Protocol):
    """What a wire transport asks of the protocol class that owns it."""

    def close_handshake(self, code: int, reason: str, timeout: float) -> None:
        """
        Send the close frame, and see the closing handshake through without waiting.

        A peer that does not answer is dropped after ``timeout`` seconds. Idempotent.
        """
        ...

    def drop_unread(self) -> None:
        """Forget what nobody will receive any more, and let the peer send on."""
        ...


class WireTransport:
    """
    The writing half of one socket, as ready-made frames; see :class:`actors.interfaces.Transport`.

    Args:
        tcp: The server's transport.
        server: The protocol class that owns this.

    Attributes:
        on_lost: Called once, with close code and reason, when the peer or the server has ended
            the connection.
        on_message: Called with every message of the peer; returns whether that was all that is
            to become of it. If not, it waits for whoever receives.
        close_timeout: Seconds that the peer has to answer a close, and to read what is left.
        kept_open: Whether the socket stays open when the ASGI application has returned.
    """

    __slots__ = (
        "_form",
        "_listener",
        "_over",
        "_paused",
        "_server",
        "_sink",
        "_tcp",
        "close_timeout",
        "kept_open",
        "on_lost",
        "on_message",
    )

    left_behind = False  # it can always be aborted

    def __init__(self, tcp: asyncio.Transport, server: FrameServer) -> None:
        self._tcp = tcp
        self._server: FrameServer | None = server  # until the end: they would keep each other
        self._sink: asyncio.WriteTransport | _Closed = tcp  # what takes bytes, until the end
        self._form = PLAIN  # of the frames that this socket gets
        self._paused = False
        self._listener: TransportListener | None = None
        self.on_lost: Callable[[int, str], None] | None = None
        self.on_message: Callable[[str | bytes], bool] | None = None
        self.close_timeout = 10.0
        self.kept_open = False
        self._over: asyncio.Future[None] | None = None  # whoever waits for the end

    def attach(self, listener: TransportListener) -> None:
        """Name the listener."""
        self._listener = listener

    def write(self, chunk: Chunk) -> bool:
        """Write all frames of ``chunk`` at once; what the kernel does not take is buffered."""
        forms = chunk.forms
        wire: Any = forms.get(self._form) if forms is not None else None
        if wire is None:
            wire = wire_bytes(chunk, self._form)
        self._sink.write(wire)
        return not self._paused

    def close(self, code: int, reason: str) -> bool:
        """Send the close frame; see the port."""
        server = self._server
        self._end()
        if server is not None:
            server.close_handshake(code, fit_reason(reason), self.close_timeout)
        return True

    def abort(self) -> None:
        """Free the socket at once, whatever it still holds."""
        self._end()
        self._tcp.abort()

    @property
    def gone(self) -> bool:
        """Whether the server has dropped the socket already."""
        return self._tcp.is_closing()

    @property
    def unsent(self) -> bool:
        """Whether anything waits for the peer to read."""
        return self.held > 0

    @property
    def held(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._tcp.get_write_buffer_size()

    def keep_open(self, on_message: Callable[[str | bytes], bool]) -> None:
        """
        Keep the socket open when the ASGI application returns: an idle one then costs no task.

        Args:
            on_message: Called with every message of the peer, which nobody will receive.
        """
        self.on_message = on_message
        self.kept_open = True
        if self._server is not None:
            self._server.drop_unread()

    async def until_over(self) -> None:
        """Return when nothing can be written any more. One may wait at a time."""
        if self._server is not None:
            self._over = asyncio.get_running_loop().create_future()
            await self._over

    # What the protocol class tells.

    def deflate(self, window_bits: int) -> None:
        """Compress large messages, each by itself, with a window of 2 ** ``window_bits`` bytes."""
        if window_bits > 8:  # zlib has no smaller window; uncompressed messages are always right
            self._form = deflated(window_bits)

    def pause(self) -> None:
        """The write buffer is above its high-water mark."""
        self._paused = True

    def resume(self) -> None:
        """The write buffer is below its low-water mark again."""
        self._paused = False
        if self._listener is not None:
            self._listener.transport_ready()

    def heard(self, message: str | bytes) -> bool:
        """Pass a message of the peer on; return whether that was all that is to become of it."""
        return self.on_message is not None and self.on_message(message)

    def lost(self, code: int, reason: str) -> None:
        """Nothing can be written from now on: the peer has gone, or the server closes. Idempotent."""
        on_lost = self.on_lost
        self._end()
        if self._over is not None and not self._over.done():
            self._over.set_result(None)
        if on_lost is not None:
            on_lost(code, reason)

    def _end(self) -> None:
        self._sink = _CLOSED
        self._server = None
        self._listener = None
        self.on_lost = self.on_message = None


def find_wire(scope: dict[str, Any], send: Any) -> WireTransport | None:
    """
    Return the wire of a socket, where the server offers one and nobody would be passed by.

    A middleware that wraps ``send`` sees all that is sent, or changes it: then there is none.
    """
    wire = (scope.get("extensions") or {}).get(EXTENSION)
    if not isinstance(wire, WireTransport):
        return None
    own = server_send(send)
    if isinstance(own, MethodType) and own.__self__ is wire._server:  # noqa: SLF001 - same module
        return wire
    return None


class _Closed:
    """Takes the place of a transport that must not be written to any more."""

    __slots__ = ()

    def write(self, _: bytes) -> NoReturn:
        raise TransportClosed("the socket was closed")


_CLOSED = _Closed()
