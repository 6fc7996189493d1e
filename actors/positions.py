"""
Where a message stands in a room that keeps its messages.

The words are Centrifugo's: an *offset* counts the messages of a room from 1, without a hole, and
an *epoch* names the sequence that it counts in. When a store has lost what it counted, the epoch
is another one, and positions of the old one say nothing any more.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["NOWHERE", "Position"]


class Position(NamedTuple):
    """
    A place in a room. ``str(position)`` is ``EPOCH:OFFSET``, which ``since`` understands.

    Attributes:
        epoch: Names the sequence; without ``:``, at most 64 characters. Empty for the place
            before everything, which is the same in every sequence.
        offset: Number of the last message before this place; 0 before the first.
    """

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"


NOWHERE = Position("", 0)
"""The place before everything, which is the same in every sequence: ``Position("", 0)``."""
