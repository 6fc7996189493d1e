"""
Messages that did not reach a socket, by the class of their room and the reason.

Each is counted once, by whoever had it last:

==============================  ==================================================================
the mailbox of its connection   what it dropped; what it held at the end of the socket; what the
                                socket had in hand then, or refused; what its room kept no longer.
                                See :attr:`supervisor.connection.Connection.dropped`
the room actor                  what no mailbox took: for each recipient with a format that cannot
                                express it, or a mailbox that was closed or is too small for it; and
                                all recipients of what a crash of the room cost
the way to the room             a publication that nobody waits for, and that the room had no space
                                for: once, however many the members
the inboxes                     what was given up or has expired there
the publisher                   what a store refused to keep, and nobody waited to be told
:meth:`supervisor.node.Node`    what ``send`` could not hand to a connection
==============================  ==================================================================

A node counts all of these but the first itself. What the mailboxes counted is added when a connection
is reaped, and what came to it afterwards when its socket is done with; as long as it is registered,
:func:`supervisor.statistics.statistics_of` asks its mailbox. Nobody counts what was handed back with
an exception: it is its sender's again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from actors.mailbox import MailboxStatistics

__all__ = ["ByFeed", "Losses", "by_feed_of"]

ByFeed = dict[str, dict[str, int]]
"""Numbers of messages, by class, and then by reason."""


class Losses:
    """Counts of losses; written by one thread, and read by any."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def count(self, feed: str, reason: str, count: int = 1) -> None:
        """Count messages of a room of the class ``feed``, or ``direct``."""
        self._counts[feed, reason] += count

    def add(self, by_feed: Mapping[str, Mapping[str, int]]) -> None:
        """Count all of that."""
        for feed, reasons in by_feed.items():
            for reason, count in reasons.items():
                self._counts[feed, reason] += count

    def take_back(self, by_feed: Mapping[str, Mapping[str, int]]) -> None:
        """Undo :meth:`add`: it is counted elsewhere."""
        self.add({f: {r: -count for r, count in reasons.items()} for f, reasons in by_feed.items()})

    def by_feed(self) -> ByFeed:
        """Return all, by class and reason."""
        found: ByFeed = {}
        for (feed, reason), count in dict(self._counts).items():
            if count > 0:
                found.setdefault(feed, {})[reason] = count
        return found

    def by_reason(self) -> dict[str, int]:
        """Return all, by reason."""
        found: dict[str, int] = {}
        for (_, reason), count in dict(self._counts).items():
            if count > 0:
                found[reason] = found.get(reason, 0) + count
        return found


def by_feed_of(mailbox: MailboxStatistics) -> ByFeed:
    """Return what a mailbox has counted."""
    return {
        feed: {reason.value: count for reason, count in reasons.items()}
        for feed, reasons in mailbox.dropped_by_feed.items()
    }
