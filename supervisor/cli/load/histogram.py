"""A histogram of times, of bounded memory: 0.1 % exact from nanoseconds to 18 minutes."""

from __future__ import annotations

import math
from array import array

__all__ = ["Histogram"]

PRECISION = 10  # bits: each power of two is cut into 1,024 steps
LONGEST = (1 << 40) - 1  # nanoseconds; longer times are counted as this
SLOTS = (40 - PRECISION + 1) << PRECISION


class Histogram:
    """
    Counts of times in nanoseconds; takes a quarter of a megabyte, however many.

    Attributes:
        count: How many were noted.
        longest: The longest, exactly.
    """

    __slots__ = ("_slots", "count", "longest")

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * SLOTS))
        self.count = 0
        self.longest = 0

    def note(self, nanoseconds: int) -> None:
        """Count one; a negative one as 0."""
        if nanoseconds < 0:
            nanoseconds = 0
        if nanoseconds > self.longest:
            self.longest = nanoseconds
            if nanoseconds > LONGEST:
                nanoseconds = LONGEST
        elif nanoseconds > LONGEST:
            nanoseconds = LONGEST
        shift = nanoseconds.bit_length() - PRECISION - 1
        if shift > 0:
            self._slots[(shift << PRECISION) + (nanoseconds >> shift)] += 1
        else:
            self._slots[nanoseconds] += 1
        self.count += 1

    def percentile(self, percent: float) -> float:
        """Return the nanoseconds that so many percent stayed within; NaN without any."""
        if not self.count:
            return math.nan
        rank = max(1, math.ceil(self.count * percent / 100))
        seen = 0
        for index, number in enumerate(self._slots):
            seen += number
            if seen >= rank:
                return float(min(_upper_end(index), self.longest))
        return float(self.longest)


def _upper_end(index: int) -> int:
    """Return the largest time that is counted in that slot."""
    shift = (index >> PRECISION) - 1
    if shift <= 0:
        return index
    low = (index & ((1 << PRECISION) - 1)) + (1 << PRECISION)
    return ((low + 1) << shift) - 1
