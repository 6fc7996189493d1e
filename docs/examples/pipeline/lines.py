"""
Lines of output, cut from a stream of bytes.

A pure machine: no loop, no clock, no process. :mod:`pipeline.step` feeds it what it reads.
"""

from __future__ import annotations

import codecs

__all__ = ["LineSplitter"]


class LineSplitter:
    """
    Cut a stream of bytes into lines of text, holding at most ``limit`` bytes.

    A longer line is cut at ``limit`` and ends with a remark that counts the rest.
    Bytes that are not UTF-8 become U+FFFD. As on a terminal, a carriage
    return starts the line again: of a progress bar, the last state stays.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()
        self._cut = 0
        self._returned = False  # the last byte was a carriage return
        self._started = False  # something of the line has come, even if it was overwritten

    def feed(self, data: bytes) -> list[str]:
        """Take in ``data``; return the lines it completed."""
        *whole, rest = data.split(b"\n")
        lines = []
        for part in whole:
            self._extend(part)
            lines.append(self._finish())
        self._extend(rest)
        return lines

    def flush(self) -> str | None:
        """Return the last line if the stream ended without a newline, else None."""
        return self._finish() if self._started else None

    def _extend(self, part: bytes) -> None:
        if not part:
            return
        self._started = True
        body = part.rstrip(b"\r")
        if body:
            head, _, tail = body.rpartition(b"\r")
            if head or len(tail) < len(body) or self._returned:
                self._held.clear()
                self._cut = 0
            room = max(self._limit - len(self._held), 0)
            self._held += tail[:room]
            self._cut += max(len(tail) - room, 0)
        self._returned = len(body) < len(part)

    def _finish(self) -> str:
        if self._cut:  # do not show half a character where the line was cut
            text = codecs.getincrementaldecoder("utf-8")("replace").decode(bytes(self._held))
            text += f" … [{self._cut:,} bytes cut]"
        else:
            text = self._held.decode("utf-8", "replace")
        self._held.clear()
        self._cut = 0
        self._returned = self._started = False
        return text
