"""
Reads the frames of one server, and counts the deliveries among them.

A pure machine: bytes go in, counts come out. A *delivery* is a text or binary message, whole or
in fragments, whose first 1,024 bytes contain the 34 bytes that begin with a payload's marker;
every other message is counted as such. Messages of one kind that follow each other, which is what a server under load
sends, are counted many at a time: the bytes of their headers and markers are columns of the
buffer, each as far apart as a frame is long, and a column of equal bytes is recognised at the
speed of C. As far as all columns are equal, those frames have been read, exactly as if one by
one; where they cease to be, the next frame is parsed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from supervisor.cli.load.errors import ProtocolError
from supervisor.cli.load.payload import HEADER_BYTES, MARKER, WINDOW, read_marker

__all__ = ["FrameCounter", "Ledger"]

AFTER = HEADER_BYTES - len(MARKER)  # what follows a marker: number, time and colons

FEW = 8
"""Frames that are tried at a time until the first try comes true."""


class Ledger(Protocol):
    """Takes down each delivery, where that is wanted."""

    def note(self, order: list[int], data: bytes | bytearray, at: int) -> bool:
        """Take the delivery whose marker is at ``at``; return False if it is none after all."""


class FrameCounter:
    """
    The frames of one connection, after its handshake.

    Args:
        on_control: Called with opcode and payload of each close, ping and pong.

    Attributes:
        delivered: Messages with the marker.
        other: Messages without.
        first_published: The time in the first delivery, nanoseconds; -1 before it.
        ledger: Takes down each delivery; None to count only.
        order: What the ledger remembers of this connection.
    """

    __slots__ = (
        "_fin",
        "_fragmented",
        "_head",
        "_hint",
        "_on_control",
        "_skip",
        "_tries",
        "delivered",
        "first_published",
        "ledger",
        "order",
        "other",
    )

    def __init__(self, on_control: Callable[[int, bytes], None]) -> None:
        self._on_control = on_control
        self._skip = 0  # bytes that are missing of the frame that is being read
        self._head = bytearray()  # what was seen of the message that is being read
        self._fin = False  # whether that frame is the last of its message
        self._fragmented = False  # whether the message began in an earlier frame
        self._tries = FEW  # frames that are compared next
        self._hint = 0  # where in its message the last marker was
        self.order: list[int] = []
        self.ledger: Ledger | None = None
        self.reset()

    def reset(self) -> None:
        """Count from 0 again; a message that has begun counts when it ends."""
        self.delivered = 0
        self.other = 0
        self.first_published = -1

    def feed(self, data: bytearray, end: int) -> int:
        """
        Read the frames in ``data[:end]``.

        Returns:
            How many bytes at its end have to come again, before those that follow: the
            beginning of a frame, at most 1,038.

        Raises:
            ProtocolError: If these are no frames of a server.
        """
        at = 0
        if self._skip:
            if end < self._skip:
                self._skip -= end
                return 0
            at = self._skip
            self._skip = 0
            self._end_frame()
        self._tries = FEW
        while end - at >= 2:
            first = data[at]
            length = data[at + 1]
            header = 2
            if length >= 126:
                if length > 127:
                    raise ProtocolError("the server masked a frame")
                header = 4 if length == 126 else 10
                if end - at < header:
                    break
                length = int.from_bytes(data[at + 2 : at + header])
            if at + header + length <= end and first in {0x81, 0x82} and not self._fragmented:
                at = self._read_whole(data, at, end, header, length)
                continue
            after = self._read_part(data, at, end, header, length)
            if after < 0:
                break
            if after > end:
                self._skip = after - end
                return 0
            at = after
        return end - at

    def _read_whole(self, data: bytearray, at: int, end: int, header: int, length: int) -> int:
        """Read the message at ``at``, and those like it behind it; return where they end."""
        total = header + length
        begin = at + header
        marker = begin + self._hint
        if length < HEADER_BYTES:
            self.other += 1
            return at + total
        if not data.startswith(MARKER, marker, begin + length - AFTER):
            marker = data.find(MARKER, begin, begin + min(length, WINDOW) - AFTER)
            if marker < 0:
                self.other += 1
                return at + total
            self._hint = marker - begin
        run = 1
        if end - at >= 2 * total:
            wanted = min((end - at) // total, self._tries)
            run = _equal_frames(data, (at, begin), marker, total, wanted)
            self._tries = 8 * wanted if run == wanted else FEW
        self._count(data, marker, run, total)
        return at + run * total

    def _read_part(self, data: bytearray, at: int, end: int, header: int, length: int) -> int:
        """
        Read a control frame, a fragment, or the beginning of a message.

        Returns:
            Where it ends, beyond ``end`` if the rest of it may be skipped; -1 if more of it has
            to be there first.
        """
        first = data[at]
        begin = at + header
        if first & 0x08:
            if first & 0x70 or not first & 0x80 or length > 125:
                raise ProtocolError(f"the server sent a control frame 0x{first:02x}")
            if begin + length > end:
                return -1
            self._on_control(first & 0x0F, bytes(data[begin : begin + length]))
            return begin + length
        seen = min(length, end - begin)
        if seen < min(length, WINDOW):
            return -1
        opcode = first & 0x0F
        if first & 0x70 or opcode > 2 or (opcode == 0) is not self._fragmented:
            raise ProtocolError(f"the server sent a data frame 0x{first:02x}, out of place")
        self._fin = bool(first & 0x80)
        self._head += data[begin : begin + min(seen, WINDOW - len(self._head))]
        if begin + length <= end:
            self._end_frame()
        return begin + length

    def _count(self, data: bytes | bytearray, marker: int, run: int, total: int) -> None:
        """Count ``run`` deliveries, whose markers are ``total`` bytes apart."""
        if self.first_published < 0:
            found = read_marker(data, marker)
            if found is not None:
                self.first_published = found[1]
        ledger = self.ledger
        if ledger is None:
            self.delivered += run
            return
        order = self.order
        for _ in range(run):
            if ledger.note(order, data, marker):
                self.delivered += 1
            else:
                self.other += 1
            marker += total

    def _end_frame(self) -> None:
        self._fragmented = not self._fin
        if not self._fin:
            return
        head = self._head
        self._head = bytearray()
        marker = head.find(MARKER, 0, max(len(head) - AFTER, 0))
        if marker < 0:
            self.other += 1
        else:
            self._count(head, marker, 1, 0)


def _equal_frames(
    data: bytearray, header: tuple[int, int], marker: int, total: int, wanted: int
) -> int:
    """
    Return how many frames have the header and the marker of the first one.

    Args:
        data: All ``wanted`` of them are in it.
        header: Where the header of the first begins and ends.
        marker: Where its marker begins.
        total: Bytes of a frame.
        wanted: How many there may be.
    """
    length = wanted * total
    equal = wanted
    for begin in (*range(*header), *range(marker, marker + len(MARKER))):
        column = data[begin : header[0] + length : total]
        if column.count(column[0]) != len(column):
            equal = min(equal, len(column) - len(column.lstrip(column[:1])))
    return equal
