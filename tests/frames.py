"""
A reader of what a WebSocket server sends that forgives nothing, and frames for what clients send.

Written from RFC 6455 and RFC 7692 alone: it shares no code with the servers under test.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "TEXT",
    "FrameReader",
    "Violation",
    "client_frame",
    "close_payload",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

_FIN, _RSV1, _RSV23, _MASKED = 0x80, 0x40, 0x30, 0x80


class Violation(AssertionError):
    """The server has sent what a server must not send."""


@dataclass(frozen=True)
class _Head:
    """The header of a frame, RFC 6455 §5.2."""

    opcode: int
    final: bool
    compressed: bool
    start: int
    size: int


class FrameReader:
    """
    Takes the bytes that a server sends after the handshake.

    Args:
        window_bits: Size of the window that was negotiated for compressed messages, which
            refer to nothing before them; None if compression was not negotiated.

    Attributes:
        messages: Whole text and binary messages, in order.
        pongs: Payloads of the pongs, in order.
        pings: Payloads of the pings, in order.
        order: Of every frame its opcode, in order.
        compressed: Of every message whether it was compressed.
        close: Code and reason of the close frame; (None, "") for an empty one.
        closed: Whether a close frame came. Nothing may follow it.
    """

    def __init__(self, window_bits: int | None = None) -> None:
        self.window_bits = window_bits
        self.messages: list[str | bytes] = []
        self.compressed: list[bool] = []
        self.pongs: list[bytes] = []
        self.pings: list[bytes] = []
        self.order: list[int] = []
        self.close: tuple[int | None, str] = (None, "")
        self.closed = False
        self._data = bytearray()
        self._parts: list[bytes] = []
        self._message: _Head | None = None  # the first frame of a message that is not complete

    def feed(self, data: bytes) -> None:
        """
        Take what came.

        Raises:
            Violation: If it may not come.
        """
        self._data += data
        while (head := self._head()) is not None:
            if len(self._data) < head.start + head.size:
                return
            payload = bytes(self._data[head.start : head.start + head.size])
            del self._data[: head.start + head.size]
            self.order.append(head.opcode)
            if head.opcode >= CLOSE:
                self._control(head, payload)
            else:
                self._data_frame(head, payload)

    @property
    def at_boundary(self) -> bool:
        """Whether no frame, and no message, is cut off."""
        return not self._data and self._message is None

    def _head(self) -> _Head | None:
        data = self._data
        if data and self.closed:
            raise Violation(f"{bytes(data[:20])!r} after the close frame")
        if len(data) < 2:
            return None
        first, second = data[0], data[1]
        opcode = first & 0x0F
        if opcode not in {CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG}:
            raise Violation(f"opcode {opcode}")
        if first & _RSV23:
            raise Violation(f"RSV2 or RSV3 in {first:#x}")
        if second & _MASKED:
            raise Violation("a masked frame from a server")
        size, start = second & 0x7F, 2
        if size == 126:
            if len(data) < 4:
                return None
            (size,), start = struct.unpack_from("!H", data, 2), 4
            if size < 126:
                raise Violation(f"{size} bytes said with two bytes")
        elif size == 127:
            if len(data) < 10:
                return None
            (size,), start = struct.unpack_from("!Q", data, 2), 10
            if not 65_535 < size < 1 << 63:
                raise Violation(f"{size} bytes said with eight bytes")
        return _Head(opcode, bool(first & _FIN), bool(first & _RSV1), start, size)

    def _control(self, head: _Head, payload: bytes) -> None:
        if head.size > 125 or not head.final or head.compressed:
            raise Violation(f"a control frame that may not be: {head}")
        if head.opcode == PING:
            self.pings.append(payload)
        elif head.opcode == PONG:
            self.pongs.append(payload)
        else:
            self.closed = True
            if len(payload) == 1:
                raise Violation("half a close code")
            if payload:
                (code,) = struct.unpack_from("!H", payload)
                if not (code in {*range(1000, 1004), *range(1007, 1015)} or 3000 <= code < 5000):
                    raise Violation(f"close code {code}")
                self.close = (code, _text(payload[2:]))

    def _data_frame(self, head: _Head, payload: bytes) -> None:
        if (head.opcode == CONTINUATION) != (self._message is not None):
            raise Violation(f"opcode {head.opcode} in a message that began with {self._message}")
        if head.compressed and (head.opcode == CONTINUATION or self.window_bits is None):
            raise Violation("RSV1 where nothing may be compressed")
        self._message = self._message or head
        self._parts.append(payload)
        if not head.final:
            return
        whole, first = b"".join(self._parts), self._message
        self._parts, self._message = [], None
        if first.compressed:
            assert self.window_bits is not None
            inflater = zlib.decompressobj(wbits=-self.window_bits)
            whole = inflater.decompress(whole + b"\x00\x00\xff\xff")
            if inflater.unconsumed_tail or inflater.unused_data:
                raise Violation("a compressed message with a rest")
        self.compressed.append(first.compressed)
        self.messages.append(_text(whole) if first.opcode == TEXT else whole)


def client_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    rsv: int = 0,
    masked: bool = True,
    mask: bytes = b"\x11\x22\x33\x44",
) -> bytes:
    """Return a frame as a client sends it, or as it must not: nothing is checked."""
    first = (_FIN if final else 0) | rsv << 4 | opcode
    flag = _MASKED if masked else 0
    size = len(payload)
    if size < 126:
        head = bytes((first, flag | size))
    elif size < 65_536:
        head = struct.pack("!BBH", first, flag | 126, size)
    else:
        head = struct.pack("!BBQ", first, flag | 127, size)
    if not masked:
        return head + payload
    repeated = (mask * (size // 4 + 1))[:size]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return head + mask + mixed.to_bytes(size, "big")


def close_payload(code: int, reason: str | bytes = "") -> bytes:
    """Return the payload of a close frame."""
    text = reason.encode() if isinstance(reason, str) else reason
    return struct.pack("!H", code) + text


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Violation(f"text that is no UTF-8: {error}") from None
