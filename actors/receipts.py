"""What a publisher is told: how many took the message, how many did not, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from actors.overflow import DropReason
from actors.positions import Position

__all__ = ["FlushLatch", "Receipt"]

_NOTHING: Mapping[DropReason, int] = MappingProxyType({})


class Receipt:
    """
    What became of one publication, summed over its recipients.

    True when at least one recipient took it. "Took" means: it was written, or it waits in
    that recipient's mailbox.

    Attributes:
        accepted: Recipients that took it.
        evicted: Those of them that dropped older messages to make space for it, one or more each.
        dropped: Recipients that did not take it, by reason.
        position: Its place, in a room that keeps its messages; None in others. With one, all
            members get it, those too that were not there or had no space.
        repeated: Whether its idempotency key was seen before: it was not published again. Then
            ``position`` is that of the first, and ``accepted`` is 0; of an important message
            ``accepted`` is the number of inboxes, as the first time.
    """

    __slots__ = ("accepted", "dropped", "evicted", "position", "repeated")

    def __init__(
        self,
        accepted: int = 0,
        dropped: Mapping[DropReason, int] = _NOTHING,
        evicted: int = 0,
        position: Position | None = None,
        *,
        repeated: bool = False,
    ) -> None:
        self.accepted = accepted
        self.dropped = dropped
        self.evicted = evicted
        self.position = position
        self.repeated = repeated

    @property
    def recipients(self) -> int:
        """All recipients, whether they took it or not."""
        return self.accepted + sum(self.dropped.values())

    def __bool__(self) -> bool:
        return self.accepted > 0

    def __add__(self, other: Receipt) -> Receipt:
        if not other.recipients and not other.evicted and other.position is None:
            return self
        dropped = dict(self.dropped)
        for reason, count in other.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
        return Receipt(
            self.accepted + other.accepted,
            dropped,
            self.evicted + other.evicted,
            self.position or other.position,
            repeated=self.repeated or other.repeated,
        )

    def lost(self, count: int, reason: DropReason) -> Receipt:
        """Return this receipt after ``count`` recipients that took it have lost it."""
        if not count:
            return self
        return Receipt(self.accepted - count, self.dropped, self.evicted, self.position) + Receipt(
            0, {reason: count}
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Receipt):
            return NotImplemented
        return (self.accepted, dict(self.dropped), self.evicted, self.position) == (
            other.accepted,
            dict(other.dropped),
            other.evicted,
            other.position,
        )

    __hash__ = None  # type: ignore[assignment]  # compared by value, and not frozen

    def __repr__(self) -> str:
        dropped = {reason.value: count for reason, count in self.dropped.items()}
        kept = "" if self.position is None else f", position={self.position}"
        if self.repeated:
            kept += ", repeated=True"
        return f"Receipt(accepted={self.accepted}, dropped={dropped}, evicted={self.evicted}{kept})"


class FlushLatch:
    """
    Counts the members that hold a message which is not written yet.

    Made by a publisher who wants to return only when idle sockets have their message.

    Args:
        patience: Seconds that a member may have held one message back before it counts as
            behind, and is not waited for; None waits for all.

    Attributes:
        failed: Members that lost the message.
    """

    __slots__ = ("_pending", "_waiter", "failed", "patience")

    def __init__(self, patience: float | None = None) -> None:
        self.patience = patience
        self._pending = 0
        self._waiter: asyncio.Future[None] | None = None
        self.failed = 0

    def add(self) -> None:
        """One more member holds the message."""
        self._pending += 1

    def count_down(self, delivered: bool) -> None:
        """One member has written it, or lost it."""
        self._pending -= 1
        if not delivered:
            self.failed += 1
        if not self._pending and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, timeout: float) -> None:
        """Return when nobody holds it any more, or after ``timeout`` seconds."""
        if not self._pending:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait([self._waiter], timeout=timeout)
        finally:
            self._waiter = None
