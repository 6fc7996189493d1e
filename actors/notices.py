"""
What a member is told about a room, or an inbox, beside its messages.

Only a wire format that has words for it says it; to the others it is nothing. Whoever
publishes sends data, never these.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum

from actors.positions import Position

__all__ = ["Ended", "Gap", "GapReason", "Joined", "Notice", "Settled"]


class GapReason(StrEnum):
    """Why messages between two positions will not come."""

    TRIMMED = "trimmed"
    """The room keeps them no longer."""
    EPOCH_CHANGED = "epoch_changed"
    """The positions are those of another sequence: what was kept is lost, or was removed."""
    UNENCODABLE = "unencodable"
    """The wire format of the member has no words for it."""
    UNKNOWN_ROOM = "unknown_room"
    """Nothing is known of the room, so there is nothing to go on from."""


@dataclass(frozen=True, slots=True)
class Joined:
    """
    The member is in the room, and gets what comes after ``begins``.

    Attributes:
        room: Its name.
        position: The place after its newest message, when the member joined.
        begins: Offset of the place at which the member begins: the next message has a larger one.
        recovered: Whether it goes on exactly where it said; None if it did not say.
        reason: Why not, if not.
    """

    room: Hashable
    position: Position
    begins: int
    recovered: bool | None = None
    reason: GapReason | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """
    Messages that the member will not get.

    Attributes:
        room: Its name.
        epoch: Of the offsets: with the last one, where the member stands now.
        first: Offset of the first of them.
        last: Offset of the last of them. 0 for both when the epoch is another one: all.
        reason: Why.
    """

    room: Hashable
    epoch: str
    first: int
    last: int
    reason: GapReason


@dataclass(frozen=True, slots=True)
class Ended:
    """
    Nothing will come any more: all that the room ever had was before this.

    Attributes:
        room: Its name.
        offset: Of its last message; 0 if there was none.
    """

    room: Hashable
    offset: int


@dataclass(frozen=True, slots=True)
class Settled:
    """
    Important messages that need no acknowledgement any more: somebody gave it, or they were given up.

    Attributes:
        ids: Theirs.
    """

    ids: tuple[str, ...]


Notice = Joined | Gap | Ended | Settled
"""What a member may be told beside messages."""
