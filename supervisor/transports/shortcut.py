"""
Writes ready-made frames to uvicorn's own WebSocket class, when its ``send`` would do just that.

uvicorn's class ``websockets-sansio``, the default, makes a frame of each ASGI event and writes it to
its transport, at once if nothing stands in the way. What may stand in the way is looked at here as
``send`` looks at it; if nothing does, the frame that was made once for everybody is written
instead. In every other case :meth:`Shortcut.write` does nothing, and ``send`` has its way.
"""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

from supervisor.transports.framing import PLAIN, wire_bytes

if TYPE_CHECKING:
    from actors.messages import Chunk

__all__ = ["Shortcut"]

_MODULE = "uvicorn.protocols.websockets.websockets_sansio_impl"


class Shortcut:
    """
    The way past the ``send`` of one accepted socket.

    Args:
        protocol: uvicorn's protocol object.
    """

    __slots__ = ("_conn", "_open", "_protocol")

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._conn = protocol.conn
        self._open = protocol.conn.state

    @classmethod
    def past(cls, send: Any) -> Shortcut | None:
        """
        Return the shortcut past ``send``; None where there is none.

        Only uvicorn's class itself has one, not what derives from it, and only on a socket that is
        open and did not negotiate an extension: that would have its own idea of a frame.
        """
        protocol: Any = getattr(send, "__self__", None)
        if not isinstance(send, MethodType) or type(protocol).__module__ != _MODULE:
            return None
        try:
            usable = protocol.conn.state.name == "OPEN" and not protocol.conn.extensions
            shortcut = cls(protocol)
            shortcut._is_free()  # an attribute that another version lacks would be missed here
        except AttributeError:
            return None
        return shortcut if usable else None

    def write(self, chunk: Chunk) -> bool:
        """Write ``chunk`` if ``send`` would do so at once; return whether it did."""
        if not self._is_free():
            return False
        forms = chunk.forms
        wire: Any = forms.get(PLAIN) if forms is not None else None
        self._protocol.transport.write(wire_bytes(chunk) if wire is None else wire)
        return True

    def _is_free(self) -> bool:
        protocol = self._protocol
        return (
            protocol.writable.is_set()
            and not protocol.disconnected
            and not protocol.close_sent
            and protocol.handshake_complete
            and protocol.initial_response is None
            and self._conn.state is self._open
        )
