"""
The payload of a load: text that says which message it is, and when it was published.

::

    wsb:<number, 8 digits>:<time, 20 digits>:xxxxxxxx...

- ``wsb:`` is the marker. It is searched for in each message, so a server may put the payload
  into JSON or write something before it; these 34 bytes have to be in its first 1,024.
- The number counts the publications of a run from 0, without a gap. Where several publishers
  publish at once, publisher p of P takes p, p + P, p + 2·P and so on.
- The time is ``CLOCK_MONOTONIC`` in nanoseconds, read when the message is published:
  ``time.monotonic_ns()`` in Python, ``clock_gettime(CLOCK_MONOTONIC)`` in C,
  ``process.hrtime.bigint()`` in Node. All processes of one machine share it.
- As many ``x`` as are missing to the wanted size follow; all is ASCII, so that a character is
  a byte.

In C: ``snprintf(text, 35, "wsb:%08u:%020llu:", number, time)``.
"""

from __future__ import annotations

from supervisor.cli.load.errors import LoadError

__all__ = ["HEADER_BYTES", "MARKER", "NUMBERS", "WINDOW", "Numbers", "payload", "read_marker"]

MARKER = b"wsb:"

HEADER_BYTES = 34
"""Bytes of the smallest payload: marker, number, time and their colons."""

NUMBERS = 100_000_000
"""How many publications can be told apart."""

WINDOW = 1024
"""Bytes at the beginning of a message in which marker, number and time have to be."""


def payload(number: int, published_ns: int, size: int) -> str:
    """
    Return the text to publish.

    Args:
        number: Of the publication, from 0 to 99,999,999.
        published_ns: ``time.monotonic_ns()``.
        size: Bytes; at least 34.

    Raises:
        LoadError: If it does not fit into ``size``, or there are too many.
    """
    check_size(size)
    if not 0 <= number < NUMBERS:
        raise LoadError(f"a run has at most {NUMBERS:,} publications; this one is number {number}")
    return f"wsb:{number:08}:{published_ns:020}:".ljust(size, "x")


def check_size(size: int) -> None:
    """Raise LoadError if a payload of ``size`` bytes has no place for number and time."""
    if size < HEADER_BYTES:
        raise LoadError(
            f"a message of {size} bytes has no place for its number and time: "
            f"the smallest has {HEADER_BYTES}"
        )


def read_marker(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """Return number and time of the marker at ``at``; None if what follows it is neither."""
    try:
        return int(data[at + 4 : at + 12]), int(data[at + 13 : at + 33])
    except ValueError:
        return None


class Numbers:
    """
    Hands out the numbers of one publisher.

    Args:
        publisher: Which of them it is, from 0.
        publishers: How many publish in this run.
    """

    __slots__ = ("_next", "_step")

    def __init__(self, publisher: int = 0, publishers: int = 1) -> None:
        self._next = publisher
        self._step = publishers

    def take(self) -> int:
        """Return the next number."""
        number = self._next
        self._next += self._step
        return number
