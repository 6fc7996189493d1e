"""The mailbox against a list: whatever is offered is somewhere, and nowhere twice."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from actors.mailbox import CONTROL_CAPACITY, Mailbox
from actors.overflow import DropReason, Offer, Overflow
from tests.actors.recording import Item

OVERFLOWS = [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, Overflow.DISCONNECT, Overflow.BLOCK]
KEYS = st.one_of(st.none(), st.sampled_from(["k", "l", "m"]))


class MailboxMachine(RuleBasedStateMachine):
    """
    The model: a list for each lane, and rules in the words of the documentation.

    Where bounds, keys and policies meet, the model says what becomes of a message without any
    of the mailbox's bookkeeping.
    """

    @initialize(
        capacity=st.integers(1, 6),
        max_bytes=st.integers(1, 12),
        overflow=st.sampled_from(OVERFLOWS),
        slow_share=st.sampled_from([0.25, 0.5, 0.75, 1.0]),
    )
    def make(self, capacity: int, max_bytes: int, overflow: Overflow, slow_share: float) -> None:
        self.told: list[tuple[Item, DropReason]] = []
        self.spaces = 0
        self.mailbox = Mailbox[Item](
            capacity,
            max_bytes,
            overflow,
            slow_share=slow_share,
            on_drop=lambda item, reason: self.told.append((item, reason)),
            on_space=self.on_space,
        )
        self.data: list[Item] = []
        self.newest: dict[str, Item] = {}  # of each key, whether it still waits or not
        self.control: list[Item] = []
        self.taken: list[Item] = []
        self.replaced: list[Item] = []
        self.handed_back: list[Item] = []
        self.dropped: list[tuple[Item, DropReason]] = []
        self.offered: list[Item] = []
        self.accepted = 0
        self.conflated = 0
        self.refused = False
        self.announced = 0
        self.squeezed = False
        self.closed = False
        self.peak_depth = 0
        self.peak_size = 0

    def on_space(self) -> None:
        self.spaces += 1

    def drop(self, item: Item, reason: DropReason) -> None:
        self.dropped.append((item, reason))

    def fits(self, items: list[Item], share: float = 1.0) -> bool:
        return (
            sum(item.count for item in items) <= self.mailbox.capacity * share
            and sum(item.size for item in items) <= self.mailbox.max_bytes * share
        )

    def takes(self, items: list[Item], item: Item) -> bool:
        """Whether there is space for ``item`` behind ``items``."""
        if item.pinned or not self.squeezed:
            return self.fits([*items, item])
        share = self.mailbox.slow_share
        return (
            sum(each.count for each in items) <= max(self.mailbox.capacity * share - item.count, 0)
        ) and (
            sum(each.size for each in items) <= max(self.mailbox.max_bytes * share - item.size, 0)
        )

    def policy(self, item: Item) -> Overflow:
        return item.overflow or self.mailbox.overflow

    def append(self, item: Item) -> None:
        self.data.append(item)
        if isinstance(item.key, str):
            self.newest[item.key] = item
        self.accepted += item.count
        self.note_peaks()

    def announce(self) -> None:
        """Space is announced once to those who were refused."""
        if self.refused:
            self.refused = False
            self.announced += 1

    def note_peaks(self) -> None:
        waiting = self.data + self.control
        self.peak_depth = max(self.peak_depth, sum(item.count for item in waiting))
        self.peak_size = max(self.peak_size, sum(item.size for item in waiting))

    def expect(self, item: Item) -> Offer:
        """Do to the model what offer() does."""
        if self.closed:
            self.handed_back.append(item)
            return Offer.CLOSED
        if not self.fits([item]):
            self.handed_back.append(item)
            return Offer.TOO_LARGE
        if isinstance(item.key, str):
            older = self.newest.get(item.key)
            if older in self.data:
                conflated = [item if each is older else each for each in self.data]
                if self.fits(conflated):
                    self.data = conflated
                    self.newest[item.key] = item
                    self.replaced.append(older)
                    self.conflated += item.count
                    self.note_peaks()
                    return Offer.CONFLATED
        if self.takes(self.data, item):
            self.append(item)
            return Offer.ACCEPTED
        policy = self.policy(item)
        if item.pinned or policy in {Overflow.BLOCK, Overflow.CONFLATE, Overflow.CURSOR}:
            self.handed_back.append(item)
            self.refused = True
            return Offer.FULL
        if policy is Overflow.DROP_OLDEST:
            rest, lost = list(self.data), []
            for older in self.data:
                if self.takes(rest, item):
                    break
                losable = self.policy(older) in {Overflow.DROP_OLDEST, Overflow.DROP_NEWEST}
                if losable and not older.pinned:
                    rest.remove(older)
                    lost.append(older)
            if self.takes(rest, item):
                self.data = rest
                self.append(item)
                for older in lost:
                    self.drop(older, DropReason.OLDEST)
                return Offer.EVICTED
        if policy is Overflow.DISCONNECT:
            self.drop(item, DropReason.OVERFLOW)
            return Offer.OVERFLOWED
        self.drop(item, DropReason.NEWEST)
        return Offer.DROPPED

    @rule(
        size=st.integers(0, 13),
        count=st.integers(0, 3),
        key=KEYS,
        pinned=st.booleans(),
        overflow=st.one_of(st.none(), st.sampled_from(Overflow)),
        feed=st.sampled_from(["direct", "log"]),
        times=st.integers(1, 4),
    )
    def offer(
        self,
        size: int,
        count: int,
        key: str | None,
        pinned: bool,
        overflow: Overflow | None,
        feed: str,
        times: int,
    ) -> None:
        for _ in range(times):
            item = Item(
                f"item {len(self.offered)}",
                size=size,
                count=count,
                key=key,
                pinned=pinned,
                overflow=overflow,
                feed=feed,
            )
            self.offered.append(item)

            expected = self.expect(item)

            assert self.mailbox.offer(item) is expected

    @rule(times=st.integers(1, CONTROL_CAPACITY // 2), size=st.integers(0, 5))
    def offer_control(self, times: int, size: int) -> None:
        for _ in range(times):
            item = Item(f"control {len(self.offered)}", size=size)
            self.offered.append(item)
            if self.closed:
                expected = Offer.CLOSED
                self.handed_back.append(item)
            elif len(self.control) >= CONTROL_CAPACITY:
                expected = Offer.OVERFLOWED
                self.drop(item, DropReason.OVERFLOW)
            else:
                expected = Offer.ACCEPTED
                self.control.append(item)
                self.accepted += 1
                self.note_peaks()

            assert self.mailbox.offer_control(item) is expected

    @rule(times=st.integers(1, 5))
    def take(self, times: int) -> None:
        for _ in range(times):
            expected = None
            if self.control:
                expected = self.control.pop(0)
            elif self.data:
                expected = self.data.pop(0)
                self.announce()
            if expected is not None:
                self.taken.append(expected)

            peeked = self.mailbox.peek()
            taken = self.mailbox.take()

            assert peeked is expected
            assert taken is expected

    @rule()
    def squeeze(self) -> None:
        self.squeezed = True
        share = self.mailbox.slow_share
        for older in self.data[:-1]:
            if self.fits(self.data, share):
                break
            if self.policy(older) is Overflow.DROP_OLDEST and not older.pinned:
                self.data.remove(older)
                self.drop(older, DropReason.OLDEST)
        ends = not self.fits(self.data, share) and any(
            self.policy(item) is Overflow.DISCONNECT and not item.pinned for item in self.data
        )

        assert self.mailbox.squeeze() is ends

    @rule()
    def relax(self) -> None:
        if self.squeezed:
            self.announce()
        self.squeezed = False

        self.mailbox.relax()

    @precondition(lambda self: not self.closed)
    @rule()
    def seal(self) -> None:
        self.closed = True
        self.announce()

        self.mailbox.seal()

    @rule(reason=st.sampled_from([DropReason.CLOSED, DropReason.SEND_FAILED]))
    def close(self, reason: DropReason) -> None:
        self.closed = True
        self.announce()
        left = self.control + self.data
        for item in left:
            self.drop(item, reason)
        self.control, self.data = [], []

        assert self.mailbox.close(reason) == sum(item.count for item in left)

    @invariant()
    def mailbox_agrees_with_the_model(self) -> None:
        if not hasattr(self, "mailbox"):
            return
        statistics = self.mailbox.statistics()
        waiting = self.data + self.control
        share = self.mailbox.slow_share
        counts: dict[DropReason, int] = {}
        by_feed: dict[str, dict[DropReason, int]] = {}
        for item, reason in self.dropped:
            counts[reason] = counts.get(reason, 0) + item.count
            feed = by_feed.setdefault(item.feed, {})
            feed[reason] = feed.get(reason, 0) + item.count

        assert bool(self.mailbox) == bool(waiting)
        assert len(self.mailbox) == statistics.depth == sum(item.count for item in waiting)
        assert statistics.size == sum(item.size for item in waiting)
        assert self.fits(self.data)
        assert self.mailbox.above_soft is not self.fits(self.data, share)
        assert not (self.mailbox.above_soft and self.mailbox.below_half)
        assert statistics.accepted == self.accepted
        assert statistics.conflated == self.conflated
        assert statistics.dropped == counts
        assert statistics.dropped_by_feed == by_feed
        assert (statistics.peak_depth, statistics.peak_size) == (self.peak_depth, self.peak_size)
        assert self.told == self.dropped
        assert self.spaces == self.announced
        assert self.mailbox.closed == self.closed

    @invariant()
    def nothing_is_forgotten(self) -> None:
        if not hasattr(self, "mailbox"):
            return
        lost = [item for item, _ in self.dropped] + self.replaced
        everywhere = self.data + self.control + self.taken + self.handed_back + lost

        assert sorted(map(id, everywhere)) == sorted(map(id, self.offered))
        for item in self.offered:
            assert item.settled == ([False] if any(item is each for each in lost) else [])


TestMailbox = MailboxMachine.TestCase
