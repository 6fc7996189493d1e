"""
A WebSocket on any ASGI server.

Writing is an ASGI ``send``, a coroutine. On uvicorn it runs to its end without waiting as
long as the socket takes bytes; there it is *stepped* as a plain call, and only one that does
wait is finished as a job: a task for each message would cost more than the message. What its
default class would write at once is written past ``send``, see
:mod:`supervisor.transports.shortcut`. On other servers, or where a middleware wraps ``send``,
each write is a job, since foreign code may depend on the task that it runs in (anyio's cancel
scopes do).

ASGI has no abort. Where the server's own transport can be reached through ``send``, that is
used; :meth:`AsgiTransport.abort` says what happens elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import FunctionType, MethodType, coroutine
from typing import Any

from actors.interfaces import TransportListener
from actors.messages import Chunk
from actors.runtime import Job, Runtime
from supervisor.transports.close_reason import fit_reason
from supervisor.transports.shortcut import Shortcut

__all__ = ["AsgiTransport", "server_send"]

Send = Callable[[Any], Awaitable[None]]


class AsgiTransport:
    """
    The writing half of one accepted ASGI WebSocket.

    Args:
        send: The ASGI ``send`` as the application got it.
        runtime: Where jobs and deadlines run.
        linger: Seconds after a close at which a server that still holds the socket, for a
            peer that does not read, is made to drop it.

    Attributes:
        left_behind: Whether the server still holds a send that was given up, and could not be
            made to drop the socket.
    """

    __slots__ = (
        "_job",
        "_linger",
        "_listener",
        "_runtime",
        "_send",
        "_shortcut",
        "_step",
        "left_behind",
    )

    def __init__(self, send: Send, runtime: Runtime, *, linger: float) -> None:
        self._send = send
        self._step = _steppable(send)
        self._shortcut = Shortcut.past(self._step)
        self._runtime = runtime
        self._linger = linger
        self._listener: TransportListener
        self._job: Job | None = None
        self.left_behind = False

    def attach(self, listener: TransportListener) -> None:
        """Name the listener."""
        self._listener = listener

    def write(self, chunk: Chunk) -> bool:
        """Send each frame as an ASGI event; see :class:`actors.interfaces.Transport`."""
        if self._shortcut is not None and self._shortcut.write(chunk):
            return True
        events = _events(chunk)
        step = self._step
        if step is None:
            self._start(self._send_all(events))
            return False
        for index, event in enumerate(events):
            sending = step(event)
            try:
                waiting_for = sending.send(None)
            except StopIteration:
                continue
            self._start(self._finish(sending, waiting_for, events[index + 1 :]))
            return False
        return True

    def close(self, code: int, reason: str) -> bool:
        """Send the close event; see :class:`actors.interfaces.Transport`."""
        event = {"type": "websocket.close", "code": code, "reason": fit_reason(reason)}

        async def send_close() -> None:
            await self._send(event)

        def closed(error: BaseException | None) -> None:
            self._job = None
            if error is None:
                self._listener.transport_closed()
            else:  # a cancellation is one by abort(), or the end of the loop
                self._listener.transport_failed(error)

        self._job = self._runtime.run(send_close(), name="websocket close", on_done=closed)
        transport = server_transport(self._send)
        if transport is not None:
            self._runtime.call_later(self._linger, transport.abort)
        return False

    def abort(self) -> None:
        """
        Give the socket up.

        On uvicorn and hypercorn this frees it at once. Elsewhere it cancels our own send
        and leaves the socket to the server, see :attr:`left_behind`.
        """
        transport = server_transport(self._send)
        if self._job is not None:
            self._job.cancel()
            self._job = None
            self.left_behind = transport is None
        if transport is not None:
            transport.abort()

    @property
    def gone(self) -> bool:
        """Whether the server has dropped the socket already, as far as that can be seen."""
        transport = server_transport(self._send)
        return transport is not None and transport.is_closing()

    @property
    def unsent(self) -> bool:
        """Whether anything waits for the peer to read, here or in the server."""
        return self._job is not None or self.held > 0

    @property
    def held(self) -> int:
        """Bytes that the server holds back, where its own transport can be reached; else 0."""
        transport = server_transport(self._send)
        try:
            return 0 if transport is None else transport.get_write_buffer_size()
        except AttributeError:  # asyncio's TLS transport, closed twice: it has nothing any more
            return 0

    async def _send_all(self, events: tuple[dict[str, Any], ...]) -> None:
        for event in events:
            await self._send(dict(event))  # a middleware may change it; others share it

    async def _finish(
        self,
        sending: Coroutine[Any, Any, None],
        waiting_for: Any,
        rest: tuple[dict[str, Any], ...],
    ) -> None:
        await _resume(sending, waiting_for)
        await self._send_all(rest)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        def written(error: BaseException | None) -> None:
            self._job = None
            if error is None:
                self._listener.transport_ready()
            elif isinstance(error, Exception):
                self._listener.transport_failed(error)
            else:  # cancelled: by abort(), or with the loop
                self._listener.transport_failed(asyncio.CancelledError("the send was cancelled"))

        self._job = self._runtime.run(work, name="websocket send", on_done=written)


def server_transport(send: Send) -> asyncio.WriteTransport | None:
    """
    Return the server's transport below ``send``, where it can be reached.

    Goes from wrapper to wrapper (a closure's variable ``send``, an object's attribute) down to
    an object that owns a transport (uvicorn) or a stream writer (hypercorn).
    """
    current: Any = send
    for _ in range(32):  # no application has more middlewares than this
        owner = getattr(current, "__self__", None)
        if owner is not None:
            found: Any = getattr(owner, "transport", None) or getattr(
                getattr(owner, "writer", None), "transport", None
            )
            if hasattr(found, "abort") and hasattr(found, "is_closing"):
                transport: asyncio.WriteTransport = found
                return transport
            current = getattr(owner, "send", None) or getattr(owner, "_send", None)
        elif isinstance(current, FunctionType):
            current = _closed_over(current, "send") or _closed_over(current, "_send")
        if current is None or current is send:
            return None
    return None


def server_send(send: Send) -> Any:
    """
    Return what is below Starlette's pass-through wrappers of ``send``.

    That is the server's own, or that of a middleware. Only what is known to leave a ``websocket.send`` unchanged is passed by.
    """
    current: Any = send
    while isinstance(current, FunctionType) and (
        current.__module__ == "starlette._exception_handler"
        and current.__qualname__.endswith("wrapped_app.<locals>.sender")
    ):
        current = _closed_over(current, "send")
    return current


def _steppable(send: Send) -> Callable[[Any], Coroutine[Any, Any, None]] | None:
    """Return uvicorn's own ``send``, which may be stepped; None elsewhere."""
    found = server_send(send)
    if isinstance(found, MethodType) and type(found.__self__).__module__.startswith(
        "uvicorn.protocols.websockets."
    ):
        return found
    return None


def _closed_over(function: FunctionType, name: str) -> Any:
    """Return what the closure of ``function`` holds under ``name``; None if nothing."""
    for variable, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=True
    ):
        if variable == name:
            try:
                return cell.cell_contents
            except ValueError:  # not set yet
                return None
    return None


def _events(chunk: Chunk) -> tuple[dict[str, Any], ...]:
    """Return the ASGI events of ``chunk``: made once, shared by all sockets."""
    if chunk.parts is not None:
        return tuple(event for part in chunk.parts for event in _events(part))
    if chunk.forms is None:
        chunk.forms = {}
    events = chunk.forms.get(AsgiTransport)
    if events is None:
        events = chunk.forms[AsgiTransport] = tuple(
            {"type": "websocket.send", "text": frame.payload}
            if isinstance(frame.payload, str)
            else {"type": "websocket.send", "bytes": frame.payload}
            for frame in chunk.frames
        )
    return events  # type: ignore[return-value]  # only this function writes the form


@coroutine
def _resume(started: Coroutine[Any, Any, None], waiting_for: Any) -> Generator[Any, Any, None]:
    """Go on with a coroutine that a plain call has started, and that waits for something."""
    while True:
        thrown: BaseException | None = None
        value: Any = None
        try:
            value = yield waiting_for
        except BaseException as error:  # noqa: BLE001 - whatever is thrown in is the coroutine's
            thrown = error
        try:
            waiting_for = started.send(value) if thrown is None else started.throw(thrown)
        except StopIteration:
            return
