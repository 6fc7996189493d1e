"""Where a member begins in a room that keeps its messages, and what it is told about that."""

from __future__ import annotations

from dataclasses import dataclass

from actors.notices import GapReason
from actors.positions import NOWHERE, Position

__all__ = ["JoinReply", "Replay"]


@dataclass(frozen=True, slots=True)
class Replay:
    """
    Where a member begins; at most one of the three is given.

    Attributes:
        since: After this position; None: see the others.
        tail: With the last ``tail`` messages.
        live: With what is published from now on. None of the three: from the start.
    """

    since: Position | None = None
    tail: int | None = None
    live: bool = False

    def __post_init__(self) -> None:
        if (self.since is not None) + (self.tail is not None) + self.live > 1:
            raise ValueError("a member begins in one place: since, tail or live")
        if self.tail is not None and self.tail < 0:
            raise ValueError(f"tail counts messages; it cannot be {self.tail}")
        if self.since is not None and self.since.offset < 0:
            raise ValueError(f"offsets count from 1; since cannot be {self.since}")


@dataclass(frozen=True, slots=True)
class JoinReply:
    """
    What a join has come to. True when the member was none before.

    Attributes:
        joined: Whether it was none before.
        position: The place after the newest message of the room when it joined;
            :data:`~actors.positions.NOWHERE` in a room that keeps nothing, or has kept nothing yet.
        begins: Offset after which it gets all that is published.
        recovered: Whether it goes on exactly where it said; None if it did not say.
        reason: Why not, if not.
        ended: Whether nothing more will come after what is kept.
    """

    joined: bool
    position: Position = NOWHERE
    begins: int = 0
    recovered: bool | None = None
    reason: GapReason | None = None
    ended: bool = False

    def __bool__(self) -> bool:
        return self.joined
