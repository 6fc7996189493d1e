"""
What a chunk is on the wire: WebSocket frames of a server (RFC 6455 §5.2), made once for everybody.

A compressed message refers to nothing that was sent before it, so one compressed form serves every
socket that negotiated the same window, whatever else it got (RFC 7692 §7.1.1.1).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors.messages import Chunk, Frame

__all__ = ["DEFLATE_FROM", "PLAIN", "deflated", "wire_bytes"]

DEFLATE_FROM = 512
"""Bytes from which a message is compressed for those who negotiated it; smaller ones gain little."""

PLAIN: Hashable = "wire"
"""What chunks keep their uncompressed frames under, in :attr:`~actors.messages.Chunk.forms`."""

_TEXT = 0x81  # FIN and opcode 1
_BINARY = 0x82
_COMPRESSED = 0x40  # RSV1, RFC 7692 §7.2.1
_SHORT = {  # headers of messages whose length has a place in the second byte
    first: [bytes((first, size)) for size in range(126)]
    for kind in (_TEXT, _BINARY)
    for first in (kind, kind | _COMPRESSED)
}
_FLUSH_END = b"\x00\x00\xff\xff"  # ends every message, and is left out: RFC 7692 §7.2.1


def deflated(window_bits: int) -> Hashable:
    """Return what chunks keep their frames under that are compressed with such a window."""
    return window_bits


def wire_bytes(chunk: Chunk, form: Hashable = PLAIN) -> bytes:
    """
    Return all frames of ``chunk``, in order; made by whoever asks first.

    Args:
        chunk: What to send.
        form: :data:`PLAIN`, or what :func:`deflated` returns.
    """
    if chunk.parts is not None:  # others may get the same messages, joined in another way
        return b"".join([wire_bytes(part, form) for part in chunk.parts])
    forms = chunk.forms
    if forms is None:
        forms = chunk.forms = {}
    wire: Any = forms.get(form)
    if wire is None:
        wire = forms[form] = b"".join([_frame(frame, form) for frame in chunk.frames])
        if form is PLAIN and chunk.count == 1:
            frame = chunk.frames[0]
            frame.keep_in(wire, len(wire) - frame.size)
    return wire  # type: ignore[no-any-return]  # only this function writes these forms


def _frame(frame: Frame, form: Hashable) -> bytes:
    payload = frame.payload
    data, first = (payload.encode(), _TEXT) if isinstance(payload, str) else (payload, _BINARY)
    if form is PLAIN or len(data) < DEFLATE_FROM:
        return _with_header(first, data)
    assert isinstance(form, int)  # a size of a window
    deflater = zlib.compressobj(wbits=-form)
    packed = deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH)
    if len(packed) >= len(data):
        return _with_header(first, data)
    return _with_header(first | _COMPRESSED, packed.removesuffix(_FLUSH_END))


def _with_header(first: int, data: bytes) -> bytes:
    """Return a frame: unmasked and whole, with the shortest form of its length."""
    size = len(data)
    if size < 126:
        return _SHORT[first][size] + data
    if size < 65_536:
        return struct.pack("!BBH", first, 126, size) + data
    return struct.pack("!BBQ", first, 127, size) + data
