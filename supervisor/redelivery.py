"""
Redelivery: what a user is given out of an inbox, to whom, when, and how often.

A pure machine for one user. It knows no event loop, no store and no payloads: the dispatcher
(:mod:`supervisor.dispatch`) and :mod:`supervisor.inboxes` tell it who comes and goes and what there is
to deliver, and it says what to give and when to look again. Where a message is::

    QUEUED ──given──▶ IN_FLIGHT ──ack wait over──▶ RESTING ──backoff over──▶ DUE
      ▲                │   │ ▲                        │                      │
      └── lost by all ─┴───│─│────────────────────────┘                      │
                           │ └────────────────── given ──────────────────────┘
                           └─ delivered often enough ─▶ dead

From any of them it is gone once it is settled, has expired, or nobody here may have it. All but
QUEUED count for the window.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, NamedTuple, TypeVar

__all__ = ["NO_ROOMS", "Giving", "Redelivery", "RedeliveryRules"]

R = TypeVar("R", bound=Hashable)

NO_ROOMS: frozenset[Hashable] = frozenset()
"""Of everybody who is in none: each empty set would be an object of its own."""

REMEMBERED = 256
"""Settled messages that are remembered, so that a late report of their arrival does no harm."""


@dataclass(frozen=True, slots=True)
class RedeliveryRules:
    """
    How often and how fast.

    Attributes:
        window: Most messages in flight.
        ack_wait: Seconds that clients have to acknowledge a message.
        backoff: Seconds from the end of that to the next delivery: after the first, the second,
            and so on; the last one repeats.
        max_deliveries: After so many without an acknowledgement a message is dead.
        held: Most messages held, those in flight included; more stay with the store.
    """

    window: int = 16
    ack_wait: float = 30.0
    backoff: Sequence[float] = (5.0, 15.0, 30.0, 60.0)
    max_deliveries: int = 10
    held: int = 64


class _Phase(Enum):
    """Where a message is."""

    QUEUED = "queued"
    """Nobody has it."""
    IN_FLIGHT = "in flight"
    """Somebody has it, and may acknowledge it."""
    RESTING = "resting"
    """Nobody acknowledged it in time; it is delivered again a little later."""
    DUE = "due"
    """It is to be delivered again now."""


@dataclass(slots=True, eq=False)
class _Letter(Generic[R]):
    """
    A message.

    Attributes:
        id: Its id.
        room: Who may have it: members of this room; None is everybody.
        expires: From then on it is not given any more.
        deliveries: Rounds that have ended without an acknowledgement, here or elsewhere.
        round: Which delivery it is or was, if somebody has it; the first is 1.
        phase: Where it is.
        when: When its phase ends, in flight or resting.
        given: When its round began.
        holders: Who has been given it in this round, and whether it was written.
    """

    id: str
    room: Hashable | None
    expires: float
    deliveries: int
    round: int
    phase: _Phase
    when: float
    given: float
    holders: dict[R, bool]


@dataclass(slots=True, eq=False)
class _Receiver:
    """Who can be given messages: the rooms that it is in, and whether it has no space now."""

    rooms: frozenset[Hashable]
    blocked: bool = False


class Giving(NamedTuple, Generic[R]):
    """
    What to give now.

    Attributes:
        receiver: To whom.
        id: Which message.
        counts: Whether a round begins with it, and it is not one more receiver of the last.
    """

    receiver: R
    id: str
    counts: bool


class Redelivery(Generic[R]):
    """
    The messages of one user, and who is there to get them.

    A *delivery* is one round to all who may have the message. Who comes while it is in flight, or
    had no space before, is given it within the same round. Times are seconds of one clock.

    Args:
        rules: How often and how fast.
        jitter: Returns a random number from 0 to 1.

    Attributes:
        dead: Messages given up, for the dispatcher to take out.
        counted: Messages of which a delivery was counted, and how many that makes; for the
            dispatcher to take out, too.
        skipped: Rooms of messages that were not kept because nobody here is in those rooms; the
            dispatcher takes out those that it asks for again.
    """

    __slots__ = (
        "_jitter",
        "_letters",
        "_open",
        "_receivers",
        "_settled",
        "_undo",
        "counted",
        "dead",
        "rules",
        "skipped",
    )

    def __init__(self, rules: RedeliveryRules, jitter: Callable[[], float]) -> None:
        self.rules = rules
        self.dead: list[str] = []
        self.counted: dict[str, int] = {}
        self.skipped = NO_ROOMS
        self._jitter = jitter
        self._letters: dict[str, _Letter[R]] = {}  # in the order of put
        self._receivers: dict[R, _Receiver] = {}
        self._open = 0  # messages that count for the window
        self._settled: dict[str, None] = {}
        self._undo: tuple[_Phase, float, dict[R, bool]] | None = None  # before the last round

    def __len__(self) -> int:
        return len(self._letters)

    def __contains__(self, id: str) -> bool:
        return id in self._letters

    @property
    def full(self) -> bool:
        """Whether it takes no more messages."""
        return len(self._letters) >= self.rules.held

    @property
    def in_flight(self) -> int:
        """Messages that count for the window."""
        return self._open

    @property
    def receivers(self) -> Collection[R]:
        """Who is there."""
        return self._receivers.keys()

    def rooms_of(self, receiver: R) -> frozenset[Hashable]:
        """The rooms that ``receiver`` is in."""
        state = self._receivers.get(receiver)
        return NO_ROOMS if state is None else state.rooms

    # Who comes and goes.

    def connected(self, receiver: R, rooms: Iterable[Hashable] = ()) -> None:
        """Give to ``receiver`` too from now on."""
        self._receivers[receiver] = _Receiver(frozenset(rooms) or NO_ROOMS)

    def joined(self, receiver: R, room: Hashable) -> None:
        """Give to ``receiver`` what is for members of ``room``, too."""
        state = self._receivers.get(receiver)
        if state is not None:
            state.rooms |= {room}

    def left(self, receiver: R, room: Hashable) -> None:
        """Give to ``receiver`` no more of what is for members of ``room``."""
        state = self._receivers.get(receiver)
        if state is not None:
            state.rooms -= {room}
            self._let_go()

    def gone(self, receiver: R, now: float) -> None:
        """
        Take back what only ``receiver`` had. Idempotent.

        That was a delivery if the receiver had it for a while: a page that is reloaded again and
        again has not shown it to anybody.
        """
        if self._receivers.pop(receiver, None) is None:
            return
        for letter in list(self._letters.values()):
            if letter.holders.pop(receiver, None) is None or letter.holders:
                continue
            if letter.phase is _Phase.IN_FLIGHT and now - letter.given >= self.rules.backoff[0]:
                self._count(letter)
            if letter.id in self._letters and letter.phase is not _Phase.DUE:
                self._move(letter, _Phase.QUEUED)
        self._let_go()

    # What there is to deliver.

    def offer(self, id: str, *, room: Hashable | None, expires: float, deliveries: int = 0) -> bool:
        """
        Deliver a message, after all that are here; not if it is here, or was settled, or is dead.

        Returns:
            Whether it is held now; the caller has looked whether there is space.
        """
        if id in self._letters or id in self._settled:
            return False
        if deliveries >= self.rules.max_deliveries:
            self._remember(id)
            self.dead.append(id)
            return False
        letter: _Letter[R] = _Letter(id, room, expires, deliveries, 0, _Phase.QUEUED, 0.0, 0.0, {})
        if not any(_may_have(state, letter) for state in self._receivers.values()):
            self.skipped |= {room}
            return False
        self._letters[id] = letter
        return True

    def delivered_elsewhere(self, id: str, deliveries: int) -> None:
        """
        Another machine of the same user has counted deliveries of a message; the most counts.

        What is in flight here at that time belongs to the last of them, if it is not a later one.
        """
        letter = self._letters.get(id)
        if letter is None or deliveries <= letter.deliveries:
            return
        letter.deliveries = deliveries
        if deliveries >= self.rules.max_deliveries:
            self._give_up(letter)

    def settle(self, ids: Iterable[str]) -> list[str]:
        """Deliver these no more, whether they are here yet or not; return those that were."""
        settled = []
        for id in ids:
            letter = self._letters.get(id)
            if letter is not None:
                self._remove(letter)
                settled.append(id)
            self._remember(id)
        return settled

    # What to do.

    def advance(self, now: float) -> list[str]:
        """Let what is over be over; return what has expired, and is gone."""
        expired = []
        for letter in list(self._letters.values()):
            if letter.expires <= now:
                self._remove(letter)
                expired.append(letter.id)
            elif letter.phase is _Phase.IN_FLIGHT and letter.when <= now:
                self._missed(letter, now)
            elif letter.phase is _Phase.RESTING and letter.when <= now:
                self._move(letter, _Phase.DUE)
                # who has it still to write must not get it twice
                letter.holders = {who: False for who, done in letter.holders.items() if not done}
        return expired

    def take(self, now: float) -> Giving[R] | None:
        """Return what to give next, which counts as given; None if there is nothing now."""
        waiting: set[Hashable | None] = set()  # rooms of what waits for the window
        for letter in self._letters.values():
            if letter.phase is _Phase.QUEUED and self._open >= self.rules.window:
                waiting.add(letter.room)
                continue
            if letter.room in waiting and letter.phase is not _Phase.DUE:
                continue  # who comes must have what waits first; what is due would fill the window
            for receiver, state in self._receivers.items():
                if (
                    not state.blocked
                    and receiver not in letter.holders
                    and _may_have(state, letter)
                ):
                    return self._give(letter, receiver, now)
        return None

    def refused(self, giving: Giving[R]) -> None:
        """Undo the last :meth:`take`: there is no space, until :meth:`unblocked`."""
        state = self._receivers.get(giving.receiver)
        letter = self._letters.get(giving.id)
        if state is not None:
            state.blocked = True
        if letter is None:
            return
        if giving.counts and self._undo is not None:
            phase, letter.when, letter.holders = self._undo
            self._move(letter, phase)
        else:
            letter.holders.pop(giving.receiver, None)

    def unblocked(self, receiver: R) -> None:
        """Give to ``receiver`` again."""
        state = self._receivers.get(receiver)
        if state is not None:
            state.blocked = False

    def written(self, receiver: R, id: str) -> None:
        """``receiver`` has it, and may be given it again if it does not acknowledge it."""
        letter = self._letters.get(id)
        if letter is not None and receiver in letter.holders:
            letter.holders[receiver] = True

    def next_due(self) -> float | None:
        """When :meth:`advance` has something to do next; None if never."""
        due = None
        for letter in self._letters.values():
            when = letter.expires
            if letter.phase in {_Phase.IN_FLIGHT, _Phase.RESTING}:
                when = min(when, letter.when)
            due = when if due is None else min(due, when)
        return due

    def _give(self, letter: _Letter[R], receiver: R, now: float) -> Giving[R]:
        counts = letter.phase in {_Phase.QUEUED, _Phase.DUE}
        if counts:
            self._undo = (letter.phase, letter.when, dict(letter.holders))
            self._move(letter, _Phase.IN_FLIGHT)
            letter.given = now
            letter.round = letter.deliveries + 1
            letter.when = now + self.rules.ack_wait
        letter.holders[receiver] = False
        return Giving(receiver, letter.id, counts)

    def _missed(self, letter: _Letter[R], now: float) -> None:
        """Nobody has acknowledged it in time."""
        if not any(letter.holders.values()):  # nobody could: it is not written yet
            letter.when = now + self.rules.ack_wait
            return
        self._count(letter)
        if letter.id in self._letters:
            backoff = self.rules.backoff
            seconds = backoff[min(letter.deliveries, len(backoff)) - 1]
            letter.when = now + seconds * (0.8 + 0.4 * self._jitter())
            self._move(letter, _Phase.RESTING)

    def _count(self, letter: _Letter[R]) -> None:
        """A round has ended without an acknowledgement; give up after the last one."""
        if letter.round > letter.deliveries:  # or else it was one with what was counted elsewhere
            letter.deliveries = letter.round
            self.counted[letter.id] = letter.deliveries
        if letter.deliveries >= self.rules.max_deliveries:
            self._give_up(letter)

    def _give_up(self, letter: _Letter[R]) -> None:
        self._remove(letter)
        self._remember(letter.id)
        self.dead.append(letter.id)

    def _let_go(self) -> None:
        """Leave to the store what nobody here may have."""
        receivers = self._receivers.values()
        for letter in list(self._letters.values()):
            if not any(_may_have(state, letter) for state in receivers):
                self._remove(letter)
                self.skipped |= {letter.room}

    def _move(self, letter: _Letter[R], phase: _Phase) -> None:
        self._open += (phase is not _Phase.QUEUED) - (letter.phase is not _Phase.QUEUED)
        letter.phase = phase

    def _remove(self, letter: _Letter[R]) -> None:
        self._move(letter, _Phase.QUEUED)
        del self._letters[letter.id]

    def _remember(self, id: str) -> None:
        self._settled[id] = None
        if len(self._settled) > REMEMBERED:
            del self._settled[next(iter(self._settled))]


def _may_have(state: _Receiver, letter: _Letter[R]) -> bool:
    return letter.room is None or letter.room in state.rooms
