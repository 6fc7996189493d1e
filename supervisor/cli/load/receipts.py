"""Takes down every receipt of a run: how late it was, and what is missing or came twice."""

from __future__ import annotations

import statistics
from array import array

from supervisor.cli.load.client import Inlet
from supervisor.cli.load.histogram import Histogram
from supervisor.cli.load.payload import read_marker
from supervisor.cli.load.results import LastReceiver, Latency

__all__ = ["MOST_PUBLICATIONS", "Receipts"]

MOST_PUBLICATIONS = 10_000_000
"""Publications of a run whose receipts are taken down; they take 20 bytes each."""


class Receipts:
    """
    All receipts of one run, of all its receivers.

    Args:
        inlet: Knows the time of what is being read.
        publishers: How many publish; each takes every so-manyth number.

    Attributes:
        gaps: Numbers that a receiver was not given, of those below one that it was given.
        repeats: Deliveries whose number was not above the one before, of the same publisher:
            they came twice, or late.
    """

    def __init__(self, inlet: Inlet, publishers: int = 1) -> None:
        if publishers < 1:
            raise ValueError(f"publishers must be at least 1, not {publishers}")
        self.publishers = publishers
        self._inlet = inlet
        self.gaps = 0
        self.repeats = 0
        self._latencies = Histogram()
        self._published = array("q")  # by number, as are the next two; 0 if never seen
        self._last = array("q")
        self._receipts = array("i")

    def new_order(self) -> list[int]:
        """Return what is remembered of one receiver: the last number of each publisher."""
        return [publisher - self.publishers for publisher in range(self.publishers)]

    def note(self, order: list[int], data: bytes | bytearray, at: int) -> bool:
        """Take one receipt; see :class:`supervisor.cli.load.frames.Ledger`."""
        found = read_marker(data, at)
        if found is None:
            return False
        number, published = found
        if number >= len(self._published) and not self._grow(number):
            return False
        now = self._inlet.now
        self._latencies.note(now - published)
        self._published[number] = published
        self._last[number] = now
        self._receipts[number] += 1
        publishers = self.publishers
        publisher = number % publishers if publishers > 1 else 0
        step = number - order[publisher]
        if step != publishers:
            if step <= 0:
                self.repeats += 1
                return True
            self.gaps += step // publishers - 1
        order[publisher] = number
        return True

    def latency(self) -> Latency:
        """Return how late the receipts were."""
        latencies = self._latencies
        return Latency(
            receipts=latencies.count,
            p50=latencies.percentile(50) / 1e9,
            p99=latencies.percentile(99) / 1e9,
            p999=latencies.percentile(99.9) / 1e9,
            longest=latencies.longest / 1e9,
        )

    def last_receiver(self, receivers: int) -> LastReceiver | None:
        """Return when publications had reached all ``receivers``; None if none had."""
        times = sorted(
            last - published
            for published, last, count in zip(
                self._published, self._last, self._receipts, strict=True
            )
            if count >= receivers > 0
        )
        if not times:
            return None
        return LastReceiver(
            publications=len(times),
            median=statistics.median(times) / 1e9,
            p99=times[-(-len(times) * 99 // 100) - 1] / 1e9,
            longest=times[-1] / 1e9,
        )

    def timeline(self, slots: int) -> list[tuple[float, float]]:
        """
        Return how the time until the last receiver developed.

        Returns:
            At most ``slots`` pairs: seconds since the first publication, and the longest time
            in seconds until a publication of that moment had reached whoever got it.
        """
        seen = [
            (published, last - published)
            for published, last in zip(self._published, self._last, strict=True)
            if published
        ]
        if not seen:
            return []
        start = min(published for published, _ in seen)
        width = (max(published for published, _ in seen) - start) // slots + 1
        longest: dict[int, int] = {}
        for published, took in seen:
            slot = (published - start) // width
            longest[slot] = max(took, longest.get(slot, 0))
        return [(slot * width / 1e9, took / 1e9) for slot, took in sorted(longest.items())]

    def _grow(self, number: int) -> bool:
        if number >= MOST_PUBLICATIONS:
            return False
        more = max(number + 1, 2 * len(self._published), 1024) - len(self._published)
        self._published.extend(array("q", bytes(8 * more)))
        self._last.extend(array("q", bytes(8 * more)))
        self._receipts.extend(array("i", bytes(4 * more)))
        return True
