"""
An episode: the time for which a client does not keep up.

It begins with the first loss, or when too much waits, and ends when nothing waits. Within one the
client may be slow (:mod:`actors.slow_rule`), and its mailbox is squeezed as long as it is. A client
that keeps up has none, and pays for none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.mailbox import Mailbox
from actors.messages import Chunk
from actors.slow_rule import SlowRule, Turn

if TYPE_CHECKING:
    from actors.runtime import Runtime
    from actors.timers import Timer

__all__ = ["Episode"]


class Episode:
    """
    What is known of a client that does not keep up.

    Args:
        mailbox: Where it waits; squeezed and relaxed here.
        runtime: Has the clock and the timers.
        grace: Seconds that the mailbox may be above its soft bounds without a break.
        on_slow: Called when the client is found to be slow, once. It may end the episode.
        on_time: Called when it is time to look again.

    Attributes:
        dropped: Messages lost since it began.
        slow: Whether its client was found to be slow.
        above: Whether the mailbox was above its soft bounds when that was looked at last.
    """

    __slots__ = (
        "_ended",
        "_grace",
        "_mailbox",
        "_on_slow",
        "_on_time",
        "_rule",
        "_runtime",
        "_timer",
        "above",
        "dropped",
        "slow",
    )

    def __init__(
        self,
        mailbox: Mailbox[Chunk],
        runtime: Runtime,
        grace: float,
        *,
        on_slow: Callable[[], None],
        on_time: Callable[[], None],
    ) -> None:
        self.dropped = 0
        self.slow = False
        self.above = False
        self._mailbox = mailbox
        self._runtime = runtime
        self._grace = grace
        self._on_slow = on_slow
        self._on_time = on_time
        self._rule: SlowRule | None = None  # whether the client is slow; None: nothing to remember
        self._timer: Timer | None = None  # may ring in vain, so that not every rise makes one
        self._ended = False

    @property
    def matters(self) -> bool:
        """Whether there is anything to remember."""
        return bool(self.dropped or self.slow or self._rule or self._timer)

    def look(self) -> bool:
        """
        Ask the rule whether the client is slow, or keeps up again, and squeeze or relax its mailbox.

        It has to be asked when the mailbox has come above its soft bounds or is above them no more,
        after something was taken from it, and at ``on_time``.

        Returns:
            Whether the client has to go, because what is too much must not be given up.
        """
        mailbox = self._mailbox
        above = self.above = mailbox.above_soft
        rule = self._rule
        if rule is None:
            if not above:
                return False
            rule = self._rule = SlowRule(self._grace)
        now = self._runtime.clock()
        turn = rule.look(above=above, below_half=mailbox.below_half, now=now)
        if turn is Turn.SLOW:
            if self._squeeze():
                return True
        elif turn is Turn.KEEPS_UP:
            mailbox.relax()
        if self._ended:  # by whoever was told of a loss
            return False
        if rule.over:
            self._rule = None
        elif rule.look_at is not None and self._timer is None:
            self._timer = self._runtime.call_later(rule.look_at - now, self._ring)
        return False

    def end(self) -> None:
        """Look no more."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()

    def _squeeze(self) -> bool:
        """Keep no more for a slow client than the soft bounds allow; return whether it has to go."""
        if not self.slow:
            self.slow = True
            self._on_slow()
        return not self._ended and self._mailbox.squeeze()

    def _ring(self) -> None:
        self._timer = None
        self._on_time()
