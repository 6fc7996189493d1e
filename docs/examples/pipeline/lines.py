"""
Lines of output: cut from a stream of bytes, kept in a bounded ring.

Pure machines: no loop, no clock, no process. :mod:`pipeline.runner` feeds them what
it reads; :mod:`pipeline.app` pages through the ring for viewers who missed lines.
"""

from __future__ import annotations

import codecs
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Line", "LineRing", "LineSplitter"]


@dataclass(frozen=True, slots=True)
class Line:
    """
    One line of a run's log.

    ``n`` counts from 1 through the whole run; ``stream`` is ``stdout``,
    ``stderr`` or ``system`` (the runner's own remarks); ``time`` is in seconds
    since 1970.
    """

    n: int
    step: int
    stream: str
    text: str
    time: float

    def message(self, run: str) -> dict[str, object]:
        """Return what viewers of the run receive."""
        return {
            "type": "line",
            "run": run,
            "n": self.n,
            "step": self.step,
            "stream": self.stream,
            "text": self.text,
            "time": self.time,
        }


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


class LineRing:
    """
    The newest lines of a run, bounded by number and by bytes of text.

    The newest line is always kept. Lines that had to go are counted in
    :attr:`omitted`; they are the ones numbered 1 to ``omitted``.
    """

    def __init__(self, *, lines: int, size: int) -> None:
        self._most_lines = lines
        self._most_bytes = size
        self._ring: deque[tuple[Line, int]] = deque()
        self._bytes = 0
        self.last = 0
        self.omitted = 0

    def __len__(self) -> int:
        """Return how many lines are kept."""
        return len(self._ring)

    def __iter__(self) -> Iterator[Line]:
        """Iterate over the kept lines, oldest first."""
        return (line for line, _ in self._ring)

    def append(self, *, step: int, stream: str, text: str, time: float) -> Line:
        """Number the line and keep it; older ones go if a bound is exceeded."""
        self.last += 1
        line = Line(self.last, step, stream, text, time)
        size = len(text.encode("utf-8", "replace"))
        self._ring.append((line, size))
        self._bytes += size
        while len(self._ring) > self._most_lines or (
            self._bytes > self._most_bytes and len(self._ring) > 1
        ):
            self._bytes -= self._ring.popleft()[1]
            self.omitted += 1
        return line

    def after(self, number: int, limit: int) -> list[Line]:
        """Return at most ``limit`` kept lines whose number is above ``number``, in order."""
        skip = max(number - self.omitted, 0)
        return [line for line, _ in islice(self._ring, skip, skip + limit)]
