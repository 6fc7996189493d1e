"""
When a member is slow: once too much has waited for it without a break for too long.

A connection asks this whenever something came into its mailbox or left it, and when the rule wants
to look again. It only says when a member begins and ends to be slow: what is done about it, such as
:meth:`actors.mailbox.Mailbox.squeeze`, is done by the connection. There need be no rule for a
connection that keeps up: one is made when the mailbox first is above its soft bounds, and may be
thrown away when it is :attr:`SlowRule.over`.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["SlowRule", "Turn"]


class Turn(Enum):
    """What has changed about a member."""

    SLOW = "slow"
    """It is slow from now on."""
    KEEPS_UP = "keeps_up"
    """It is not slow any more."""


class SlowRule:
    """
    Whether one member is slow; a machine of plain calls.

    Args:
        grace: Seconds that its mailbox may be above the soft bounds without a break.
    """

    __slots__ = ("_since", "_slow", "grace")

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self._since: float | None = None  # when it came to be above, and has been ever since
        self._slow = False

    @property
    def slow(self) -> bool:
        """Whether the member is slow."""
        return self._slow

    @property
    def over(self) -> bool:
        """Whether nothing has to be remembered: it is not slow, nor on its way to be."""
        return not self._slow and self._since is None

    @property
    def look_at(self) -> float | None:
        """When to look again, if nothing is told before; None: nothing comes of time alone."""
        return None if self._slow or self._since is None else self._since + self.grace

    def look(self, *, above: bool, below_half: bool, now: float) -> Turn | None:
        """
        Take note of how full the mailbox is; after every change, and at :attr:`look_at`.

        Args:
            above: Whether it is above its soft bounds.
            below_half: Whether it is below half of them.
            now: Seconds, of a clock that never goes back.

        Returns:
            What has changed; None for nothing. The two take turns.
        """
        if self._slow:
            if not below_half:
                return None
            self._slow = False
            return Turn.KEEPS_UP
        if not above:
            self._since = None
            return None
        if self._since is None:
            self._since = now
        if now < self._since + self.grace:
            return None
        self._slow = True
        self._since = None
        return Turn.SLOW
