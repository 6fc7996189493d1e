"""
The fast path on uvicorn: a protocol class that lets connection actors write ready-made frames.

``uvicorn --ws supervisor.integrations.uvicorn:SupervisedProtocol``; ``wsupervisor serve`` sets
it. It derives from uvicorn's own ``websockets-sansio`` class, which keeps all parsing and
handshakes, and puts a :class:`~supervisor.transports.wire.WireTransport` into the ASGI scope.
Through it an actor writes frames that were built once for everybody, hears when the socket
takes no more and when it does again, learns of the end without a reader, and can abort.

A socket that no supervisor takes over behaves as with uvicorn's class, but for this: text that
is no UTF-8 closes with 1007 without a traceback in the log, a peer that floods a full socket
with pings gets the last pong only, a socket whose peer does not read is dropped when the server stops,
a few messages are read ahead of an endpoint that does not read, an endpoint's ``send`` waits as soon
as the kernel takes no more, not 64 KiB later, and a connection costs less memory.
"""

from __future__ import annotations

import asyncio
import re
import socket
from importlib import metadata
from typing import TYPE_CHECKING, Any

from supervisor.transports.waiting import EventQueue, Gate
from supervisor.transports.wire import EXTENSION, WireTransport

OLDEST_UVICORN = (0, 52, 1)
"""The first whose class applies backpressure."""


def _check_uvicorn(version: str) -> None:
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    if found is not None and tuple(int(part or 0) for part in found.groups()) < OLDEST_UVICORN:
        oldest = ".".join(map(str, OLDEST_UVICORN))
        raise ImportError(
            f"SupervisedProtocol needs uvicorn {oldest} or newer, and this is {version}: install "
            f"'uvicorn>={oldest}', or serve without this class, which is slower and no different"
        )


_check_uvicorn(metadata.version("uvicorn"))

from uvicorn.protocols.websockets.websockets_sansio_impl import (  # noqa: E402 - after the check
    WebSocketsSansIOProtocol,
)
from websockets.extensions.permessage_deflate import (  # noqa: E402
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveEvent
    from websockets.frames import Frame
    from websockets.http11 import Request

__all__ = ["OLDEST_UVICORN", "SupervisedProtocol"]

UNSENT_BYTES = 16 * 1024
"""Bytes that the kernel keeps unsent for one socket before it says that it is full: megabytes
would hide there otherwise, and "full" would mean that the client was behind long ago."""

BUFFER_HIGH, BUFFER_LOW = 1, 0
"""Bytes in the server's own buffer above which an actor stops writing, and at which it goes on: what
the kernel does not take waits where it is shared and counted, not in a copy for each socket. (TLS
transports take a mark of 0 for a buffer that is always full.)"""

DEAD_PEER_TIMEOUT = 30.0
"""Seconds without an acknowledgement of what was sent after which the kernel drops a peer."""

READ_AHEAD_MESSAGES, READ_AHEAD_BYTES = 16, 64 * 1024
"""What is read ahead of an endpoint, so that the end of a client is seen that has sent a little."""

WINDOW_BITS = 12
"""Largest window of a compressed message: 4 KiB, as uvicorn has it."""

_DEFLATE = ServerPerMessageDeflateFactory(
    # Without context a message is compressed once for all, and nobody keeps a window for each.
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    server_max_window_bits=WINDOW_BITS,
    client_max_window_bits=WINDOW_BITS,
    compress_settings={"memLevel": 5},
)


_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class SupervisedProtocol(WebSocketsSansIOProtocol):
    """
    uvicorn's class, with a socket that a connection actor can have to itself.

    Attributes:
        wire: What an actor writes to.
    """

    wire: WireTransport
    _pong = b""  # what a ping is to be answered with when there is space
    _early = b""  # what the client has sent before it was accepted

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.queue = EventQueue(self.loop)  # type: ignore[assignment]  # what uvicorn uses of a queue
        self.writable = Gate(self.loop)  # type: ignore[assignment]  # what uvicorn uses of an event
        self._unread_bytes = 0
        self.app = _see_through(self.app)
        if self.config.ws_per_message_deflate:
            self.conn.available_extensions = [_DEFLATE]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, and keep what is unsent where it can be seen: with us."""
        super().connection_made(transport)
        if self.scheme == "wss":
            self.transport = _ClosedOnce(self.transport)  # type: ignore[assignment]  # stands for it
        self.transport.set_write_buffer_limits(BUFFER_HIGH, BUFFER_LOW)
        _set_socket_options(self.transport)
        self.wire = WireTransport(self.transport, self)

    def data_received(self, data: bytes) -> None:
        """
        Read what the client sends, but not before it is accepted.

        A client has to wait for that (RFC 6455 §4.1). One that does not must get no pong, and no
        close frame, ahead of the answer to its handshake.
        """
        if not self.handshake_initiated or self.handshake_complete:
            super().data_received(data)
            if not self.handshake_initiated and self.conn.handshake_exc is not None:
                self.transport.write(_BAD_REQUEST)  # the parser gave up, and nobody says so
                self.transport.close()
            return
        self._early += data
        if len(self._early) > READ_AHEAD_BYTES:
            self.transport.abort()

    def eof_received(self) -> None:
        """Tell the actor; what waits for the peer has a while to go."""
        self.wire.lost(1006, "connection lost")
        self._drop_peer()

    def handle_connect(self, event: Request) -> None:
        """Offer the wire to the application, which starts after this returns."""
        super().handle_connect(event)
        del self.request  # uvicorn's class never looks at it again; the parser keeps it
        event.headers.clear()
        if self.close_sent:
            return
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[EXTENSION] = self.wire
        for extension in self.conn.extensions:
            if isinstance(extension, PerMessageDeflate):
                self.wire.deflate(extension.local_max_window_bits)

    def start_keepalive(self) -> None:
        """Begin to ping an accepted client, and to read; what the handshake needed can go."""
        del self.scope, self.response
        super().start_keepalive()
        if self._early:
            early, self._early = self._early, b""
            self.data_received(early)

    def close_handshake(self, code: int, reason: str, timeout: float) -> None:
        """Send the close frame as uvicorn does, but also while its buffer is full."""
        if self.close_sent or self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.stop_keepalive()
        self.close_timer = self.loop.call_later(timeout, self.transport.abort)

    def drop_unread(self) -> None:
        """Forget what waits to be received, and read on."""
        while not self.queue.empty():
            self.queue.get_nowait()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """Tell the actor that the socket takes no more."""
        super().pause_writing()
        self.wire.pause()

    def resume_writing(self) -> None:
        """Tell the actor that the socket takes more again, if a pong leaves it space."""
        pong, self._pong = self._pong, b""
        if pong and not self.close_sent and not self.transport.is_closing():
            self.transport.write(pong)
            if self.transport.get_write_buffer_size() > BUFFER_HIGH:
                return  # full again: this will be called again
        super().resume_writing()
        self.wire.resume()

    def handle_ping(self) -> None:
        """Answer, unless the peer pings without reading: pongs must not pile up."""
        if self.conn.close_rcvd is not None:
            return  # the answer to a close is among what is to be sent: it is handle_close()'s
        if self.close_sent:
            self.conn.data_to_send()
        elif self.writable.is_set():
            super().handle_ping()
        elif pongs := self.conn.data_to_send():
            self._pong = pongs[-1]  # RFC 6455 §5.5.3: the last will do, when there is space

    def handle_close(self, event: Frame) -> None:
        """Let nothing follow the close frame that answers the peer's."""
        received = self.conn.close_rcvd
        answers = self.close_sent
        super().handle_close(event)
        if received is not None and not answers:
            self.wire.lost(received.code, received.reason)
        self._drop_peer()

    def handle_parser_exception(self) -> None:
        """Let nothing follow the close frame that tells the peer what it did wrong."""
        if self.close_sent:
            self.conn.data_to_send()  # pongs, which the close frame was to be the last of
        super().handle_parser_exception()
        sent = self.conn.close_sent
        assert sent is not None  # it is what tells the peer
        self.wire.lost(sent.code, sent.reason)
        self._drop_peer()

    def keepalive_timeout(self) -> None:
        """Let nothing follow the close frame to a peer that does not answer pings, and drop it."""
        over = self.close_sent or self.transport.is_closing()
        super().keepalive_timeout()
        if not over:
            code, reason = 1011, "keepalive ping timeout"
            self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
            self.wire.lost(code, reason)
            self._drop_peer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the actor, which needs no reader to know."""
        super().connection_lost(exc)
        self.wire.lost(1006, "connection lost")

    def shutdown(self) -> None:
        """Tell the actor that the server stops; uvicorn closes with 1012."""
        if not self.handshake_initiated:
            self.transport.close()
        elif (
            self.close_sent or not self.transport.is_closing()
        ):  # else it has a close frame already
            super().shutdown()
        self.wire.lost(1012, "the server stops")
        self._drop_peer()

    def send_receive_event_to_app(self) -> None:
        """Hand a message on, to who wants it at once or to who receives."""
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        if self.close_sent:  # the peer may still talk while it has not answered the close
            return
        if self.curr_msg_data_type == "bytes":
            if not self.wire.heard(data):
                self._queue_message({"type": "websocket.receive", "bytes": data}, len(data))
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            if self.conn.close_rcvd is None:  # else it is on its way out, and answered to that
                self.conn.send_close(1007, "text that is no UTF-8")
                self.handle_parser_exception()
            return
        if not self.wire.heard(text):
            self._queue_message({"type": "websocket.receive", "text": text}, len(data))

    def _queue_message(self, event: ASGIReceiveEvent, size: int) -> None:
        """Keep a message for who receives, and the peer from sending too many."""
        if self.queue.empty():
            self._unread_bytes = 0
        self._unread_bytes += size
        self.queue.put_nowait(event)
        if not self.read_paused and (
            self.queue.qsize() >= READ_AHEAD_MESSAGES or self._unread_bytes >= READ_AHEAD_BYTES
        ):
            self.read_paused = True
            self.transport.pause_reading()

    def _drop_peer(self) -> None:
        """Have a peer dropped that does not read what it has to get before its socket closes."""
        if self.transport.get_write_buffer_size() or self.scheme == "wss":  # TLS has buffers below
            self.loop.call_later(self.wire.close_timeout, self.transport.abort)


class _ClosedOnce:
    """
    A TLS transport that may be closed more than once, as uvicorn does.

    asyncio's own forgets its connection the second time: the socket could not be aborted any more.
    """

    __slots__ = ("_transport",)

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def close(self) -> None:
        if not self._transport.is_closing():
            self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _see_through(application: ASGI3Application) -> ASGI3Application:
    """Return ``application``, with a call that lasts as long as the socket that it leaves open."""

    async def run(scope: Any, receive: Any, send: Any) -> None:
        wire: WireTransport = scope["extensions"][EXTENSION]
        await application(scope, receive, send)
        if wire.kept_open:
            del scope, receive, send  # all that the socket needs is the wire
            await wire.until_over()

    return run


def _set_socket_options(transport: asyncio.Transport) -> None:
    """Have the kernel say early that a client is behind, and give up one that is dead."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    for name, value in (
        ("TCP_NOTSENT_LOWAT", UNSENT_BYTES),
        ("TCP_USER_TIMEOUT", int(DEAD_PEER_TIMEOUT * 1000)),
    ):
        option = getattr(socket, name, None)  # not every system has both
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
