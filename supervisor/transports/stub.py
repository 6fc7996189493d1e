"""
Whatever can send but is no ASGI WebSocket: the stubs and mocks of users' tests.

They may have ``send_text`` only, or ``send_json`` only; their ``send`` may be a coroutine
function, a plain function or an ``AsyncMock``; they may lack everything else.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable
from typing import Any

from actors.errors import TransportClosed
from actors.interfaces import TransportListener
from actors.messages import Chunk, Frame
from actors.runtime import Job, Runtime
from supervisor.errors import UnsupportedSocket

__all__ = ["StubTransport", "can_send", "close_stub", "says_disconnected"]

_SENDERS = ("send_text", "send_json", "send_bytes")


class StubTransport:
    """
    A socket that has at least one of ``send_text``, ``send_json`` and ``send_bytes``.

    Raises:
        UnsupportedSocket: If it has none of them.
    """

    __slots__ = ("_job", "_listener", "_over", "_runtime", "_socket")

    def __init__(self, socket: Any, runtime: Runtime) -> None:
        if not can_send(socket):
            raise UnsupportedSocket(
                f"{type(socket).__name__} cannot be sent to: it is no Starlette WebSocket and has "
                f"none of {', '.join(_SENDERS)}"
            )
        self._socket = socket
        self._runtime = runtime
        self._listener: TransportListener
        self._job: Job | None = None
        self._over = False  # closed, or given up

    def attach(self, listener: TransportListener) -> None:
        """Name the listener."""
        self._listener = listener

    def write(self, chunk: Chunk) -> bool:
        """Send each frame; see :class:`actors.interfaces.Transport`."""
        if says_disconnected(self._socket):
            raise TransportClosed("the socket says that it is disconnected")
        if self._over:
            raise TransportClosed("the socket was closed")

        def written(error: BaseException | None) -> None:
            self._job = None
            if error is None:
                self._listener.transport_ready()
            else:
                self._listener.transport_failed(error)

        self._job = self._runtime.run(
            self._send_all(chunk.frames), name="stub send", on_done=written
        )
        return False

    def close(self, code: int, reason: str) -> bool:
        """Close the socket if it can be closed; see :class:`actors.interfaces.Transport`."""
        self._over = True
        if not callable(getattr(self._socket, "close", None)):
            return True

        def closed(_: BaseException | None) -> None:
            self._job = None
            self._listener.transport_closed()

        self._job = self._runtime.run(
            close_stub(self._socket, code), name="stub close", on_done=closed
        )
        return False

    def abort(self) -> None:
        """Cancel what is under way."""
        self._over = True
        if self._job is not None:
            self._job.cancel()
            self._job = None

    @property
    def gone(self) -> bool:
        """Whether the socket says that it is disconnected."""
        return says_disconnected(self._socket)

    @property
    def unsent(self) -> bool:
        """Whether the socket has not returned from a call yet."""
        return self._job is not None

    @property
    def held(self) -> int:
        """A stub does not say."""
        return 0

    @property
    def left_behind(self) -> bool:
        """No server holds a stub."""
        return False

    async def _send_all(self, frames: tuple[Frame, ...]) -> None:
        for frame in frames:
            await _done(self._send(frame))

    def _send(self, frame: Frame) -> Any:
        """Call what suits ``frame`` best; a coroutine of the socket comes back."""
        socket, payload = self._socket, frame.payload
        if isinstance(payload, bytes):
            if hasattr(socket, "send_bytes"):
                return socket.send_bytes(payload)
            raise UnsupportedSocket(f"{type(socket).__name__} has no send_bytes")
        if hasattr(socket, "send_json") and (frame.encoded or not hasattr(socket, "send_text")):
            return socket.send_json(json.loads(payload) if frame.encoded else payload)
        if hasattr(socket, "send_text"):
            return socket.send_text(payload)
        raise UnsupportedSocket(f"{type(socket).__name__} has neither send_text nor send_json")


def can_send(socket: Any) -> bool:
    """Whether there is any way to send to ``socket``."""
    return any(callable(getattr(socket, name, None)) for name in _SENDERS)


def says_disconnected(socket: Any) -> bool:
    """Whether a state of the socket, enum or text, is named DISCONNECTED."""
    for attribute in ("client_state", "application_state"):
        state = getattr(socket, attribute, None)
        if getattr(state, "name", state) == "DISCONNECTED":
            return True
    return False


async def close_stub(socket: Any, code: int) -> None:
    """Call the ``close`` of ``socket``, with ``code`` if it takes one, if there is one at all."""
    close = getattr(socket, "close", None)
    if not callable(close):
        return
    arguments: tuple[int, ...] = (code,)
    try:
        signature = inspect.signature(close)
    except (TypeError, ValueError):  # it does not say: mocks do not in early releases of 3.11
        pass
    else:
        try:
            signature.bind(code)
        except TypeError:
            arguments = ()
    await _done(close(*arguments))


async def _done(result: Awaitable[Any] | Any) -> None:
    if inspect.isawaitable(result):
        await result
