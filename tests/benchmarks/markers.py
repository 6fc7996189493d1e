"""Counts deliveries where a server puts several messages, or parts of them, into one frame."""

from __future__ import annotations

from collections.abc import Callable

from supervisor.cli.load.frames import FrameCounter
from supervisor.cli.load.payload import HEADER_BYTES, MARKER, read_marker

__all__ = ["MarkerCounter"]


class MarkerCounter(FrameCounter):
    """
    Counts the markers in the bytes of one connection, whatever frames they come in.

    nats-server speaks its own protocol within WebSocket frames, and cuts it where its buffers
    end. No byte of that protocol, or of frame headers, looks like a marker; one that a header
    cuts apart would be missed, and be reported as lost.
    """

    __slots__ = ()

    def __init__(self, on_control: Callable[[int, bytes], None] = lambda *_: None) -> None:
        super().__init__(on_control)

    def feed(self, data: bytearray, end: int) -> int:
        """Count; see :meth:`FrameCounter.feed`."""
        whole = end - HEADER_BYTES + len(MARKER)  # a marker that ends here has all that follows it
        if self.first_published < 0 and (at := data.find(MARKER, 0, max(whole, 0))) >= 0:
            found = read_marker(data, at)
            if found is not None:
                self.first_published = found[1]
        if whole > 0:
            if self.ledger is None:
                self.delivered += data.count(MARKER, 0, whole)
            else:
                self._note_all(data, whole)
        return min(end, HEADER_BYTES - 1)

    def _note_all(self, data: bytearray, whole: int) -> None:
        assert self.ledger is not None
        at = data.find(MARKER, 0, whole)
        while at >= 0:
            if self.ledger.note(self.order, data, at):
                self.delivered += 1
            at = data.find(MARKER, at + 1, whole)
