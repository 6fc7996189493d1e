"""
One fan-out of a room: publications on their way to its members, and what became of each.

Most often all members take all of them. So what all took is counted once, and only what became of one
of several in another way is counted for it.

The walks over the members are where a broadcast spends its time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

from actors.interfaces import Member
from actors.messages import Chunk, Publish
from actors.overflow import DropReason, Offer
from actors.receipts import Receipt

__all__ = ["FanOut"]

M = TypeVar("M", bound=Member)

_NOTHING: Mapping[DropReason, int] = MappingProxyType({})

_TOOK = (Offer.ACCEPTED, Offer.CONFLATED, Offer.EVICTED)

_REASONS = {
    Offer.DROPPED: DropReason.NEWEST,
    Offer.OVERFLOWED: DropReason.OVERFLOW,
    Offer.TOO_LARGE: DropReason.TOO_LARGE,
    Offer.CLOSED: DropReason.CLOSED,
    Offer.FAILED: DropReason.SEND_FAILED,
}


class FanOut(Generic[M]):
    """
    Publications on their way to the members.

    Args:
        batch: The publications.
        keeps: Whether the room keeps them, so that members can read them later.

    Attributes:
        batch: As it was given.
        accepted: How many members took every one of the batch.
        held: What each member had no space for, in order, with the index of the publication.
        behind: Members that did not take it at once, in a room that keeps its messages.
    """

    __slots__ = (
        "_keeps",
        "_latches",
        "_tallies",
        "_unencodable",
        "_walks",
        "accepted",
        "batch",
        "behind",
        "held",
    )

    def __init__(self, batch: list[Publish], *, keeps: bool = False) -> None:
        self.batch = batch
        self.accepted = 0
        self.held: dict[M, list[tuple[Chunk, int]]] = {}
        self.behind: list[M] = []
        self._keeps = keeps
        self._tallies: dict[int, Counter[Offer]] = {}  # by index, beside `accepted`
        self._unencodable: dict[int, int] = {}  # members whose format has no words, by index
        # Those of publishers who wait for sockets, too.
        self._latches = [publish.latch for publish in batch if publish.latch is not None]
        # Groups of members that were walked over, and where that broke off, if it did.
        self._walks: list[tuple[dict[M, None], M | None]] = []

    # What became of them.

    def note(self, member: M, offer: Offer, index: int) -> None:
        """Count what became of publication ``index``, and have its publisher wait if it asked."""
        if offer is Offer.TOO_LARGE and self._keeps and len(self.batch) == 1:
            self.behind.append(member)  # it reads what no mailbox would hold
            offer = Offer.ACCEPTED
        self._tally(index)[offer] += 1
        latch = self.batch[index].latch
        if latch is not None and not member.ready and offer.taken:
            member.when_flushed(latch)

    def took(self, index: int, members: int) -> None:
        """Count members that took publication ``index``, beside those that took all."""
        self._tally(index)[Offer.ACCEPTED] += members

    def had_no_words(self, index: int, members: int) -> None:
        """Count members whose format cannot express publication ``index``."""
        self._unencodable[index] = self._unencodable.get(index, 0) + members

    def _tally(self, index: int) -> Counter[Offer]:
        tally = self._tallies.get(index)
        if tally is None:
            tally = self._tallies[index] = Counter()
        return tally

    def reached(self) -> set[M]:
        """Return who has it, when the room has crashed in the middle."""
        reached: set[M] = set()
        for members, crashed_at in self._walks:
            for member in members:
                if member is crashed_at:
                    break
                reached.add(member)
        return reached.difference(self.behind)

    def answer(self) -> Mapping[DropReason, int]:
        """Give the publishers their receipts; return how many messages were dropped, and why."""
        if not self._tallies and not self._unencodable:
            for publish in self.batch:
                if publish.reply is not None:
                    publish.answer(Receipt(self.accepted))
            return _NOTHING
        dropped = Counter[DropReason]()
        for index, publish in enumerate(self.batch):
            receipt = self._receipt(index)
            dropped.update(receipt.dropped)
            publish.answer(receipt)
        return dropped

    def _receipt(self, index: int) -> Receipt:
        tally = self._tallies.get(index, Counter())
        dropped: dict[DropReason, int] = {}
        for offer, reason in _REASONS.items():
            if tally[offer]:
                dropped[reason] = dropped.get(reason, 0) + tally[offer]
        if self._unencodable.get(index):
            dropped[DropReason.UNENCODABLE] = self._unencodable[index]
        accepted = self.accepted + sum(tally[offer] for offer in _TOOK)
        return Receipt(accepted, dropped, tally[Offer.EVICTED])

    # The walks.

    def deliver_one(self, chunk: Chunk, members: dict[M, None]) -> None:
        """Offer the only publication to each member that it does not exclude."""
        publish = self.batch[0]
        exclude = publish.publication.exclude
        latch = publish.latch
        accepted_offer = Offer.ACCEPTED  # looked up once
        accepted = 0
        member: M | None = None
        try:
            for member in members:
                if exclude and member.identity in exclude:
                    continue
                offer = member.deliver(chunk)
                if offer is accepted_offer and latch is None:
                    accepted += 1
                elif offer is Offer.FULL:
                    self.held[member] = [(chunk, 0)]
                else:
                    self.note(member, offer, 0)
        except BaseException:
            self._walks.append((members, member))
            raise
        self._walks.append((members, None))
        self.accepted += accepted

    def deliver_joined(self, chunk: Chunk, members: dict[M, None]) -> None:
        """
        Offer several publications to each member: as one chunk where it is written at once.

        A member that is busy gets them one by one, so that its mailbox counts, and if need be
        drops, messages rather than chunks.
        """
        singles: list[tuple[Chunk, int]] | None = None
        latches = self._latches
        accepted_offer = Offer.ACCEPTED
        accepted = 0
        member: M | None = None
        try:
            for member in members:
                if member.ready:
                    offer = member.deliver(chunk)
                    if offer is accepted_offer:
                        accepted += 1
                        if latches and not member.ready:
                            for latch in latches:
                                member.when_flushed(latch)
                    else:
                        for index in range(len(self.batch)):
                            self._tally(index)[offer] += 1
                else:
                    if singles is None:
                        singles = [(single, index) for index, single in enumerate(chunk.singles())]
                    self._deliver_singles(singles, member)
        except BaseException:
            self._walks.append((members, member))
            raise
        self._walks.append((members, None))
        self.accepted += accepted

    def deliver_apart(self, singles: list[tuple[Chunk, int]], members: dict[M, None]) -> None:
        """Offer some of several publications one by one; they exclude nobody."""
        member: M | None = None
        try:
            for member in members:
                self._deliver_singles(singles, member)
        except BaseException:
            self._walks.append((members, member))
            raise
        self._walks.append((members, None))

    def _deliver_singles(self, singles: list[tuple[Chunk, int]], member: M) -> None:
        """Offer each to ``member``; after one that it has no space for, all the others wait too."""
        for place, (single, index) in enumerate(singles):
            offer = member.deliver(single)
            if offer is Offer.FULL:
                self.held[member] = singles[place:]
                return
            self.note(member, offer, index)

    def deliver_or_leave_behind(
        self, chunk: Chunk, members: dict[M, None], indices: Iterable[int] | None = None
    ) -> None:
        """
        Write to each member that takes it at once; all the others are behind from now on.

        Args:
            chunk: What to write.
            members: To whom.
            indices: Publications that are in it; None: all.
        """
        accepted_offer = Offer.ACCEPTED
        latches = self._latches
        behind = self.behind
        failed = Counter[Offer]()
        member: M | None = None
        try:
            for member in members:
                if not member.ready:
                    behind.append(member)
                    continue
                offer = member.deliver(chunk)
                if offer is not accepted_offer:
                    failed[offer] += 1
                elif latches and not member.ready:
                    for latch in latches:
                        member.when_flushed(latch)
        except BaseException:
            self._walks.append((members, member))
            raise
        self._walks.append((members, None))
        if indices is None and not failed:
            self.accepted += len(members)
            return
        accepted = len(members) - failed.total()
        for index in range(len(self.batch)) if indices is None else indices:
            self.took(index, accepted)
            self._tally(index).update(failed)
