"""The timer wheel against a list of deadlines."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from actors.timers import Timer, TimerWheel

SECONDS = st.one_of(
    st.floats(0, 5, allow_nan=False), st.integers(0, 50).map(lambda tenths: tenths / 10)
)

ROUNDING = 1e-9


class TimerMachine(RuleBasedStateMachine):
    """The model: when each timer was to ring, and whether it was cancelled."""

    timers: Bundle[Timer] = Bundle("timers")

    @initialize(tick=st.sampled_from([0.1, 0.25, 1.0, 1 / 3]), start=st.floats(0, 1e6))
    def make(self, tick: float, start: float) -> None:
        self.wheel = TimerWheel(tick)
        self.now = start
        self.due: dict[Timer, float] = {}  # of those that neither rang nor were cancelled
        self.rang: list[Timer] = []

    @rule(target=timers, delay=SECONDS, times=st.integers(1, 3))
    def schedule(self, delay: float, times: int) -> MultipleResults[Timer]:
        made = []
        for _ in range(times):
            timer = self.wheel.schedule(self.now + delay, lambda: None)
            self.due[timer] = self.now + delay
            made.append(timer)
        return multiple(*made)

    @rule(timer=consumes(timers))
    def cancel(self, timer: Timer) -> None:
        timer.cancel()
        self.due.pop(timer, None)

    @rule(delay=SECONDS)
    def advance(self, delay: float) -> None:
        self.now += delay

        rang = self.wheel.advance(self.now)

        self.rang += rang
        assert len(set(rang)) == len(rang)
        for timer in rang:
            assert self.due.pop(timer) <= self.now, "a timer rang early, twice or after cancel()"
        for when in self.due.values():
            assert self.now - self.wheel.tick < when + ROUNDING, "a timer is late by a tick"

    @rule()
    def advance_to_the_next(self) -> None:
        due = self.wheel.next_due()
        if due is not None and due > self.now:
            self.now = due
            for timer in self.wheel.advance(self.now):
                assert self.due.pop(timer) <= self.now

    @invariant()
    def alarm_is_set_for_whoever_is_first(self) -> None:
        if not hasattr(self, "wheel"):
            return
        due = self.wheel.next_due()
        if self.due:
            assert due is not None
            assert due - self.wheel.tick < min(self.due.values()) + ROUNDING
        assert len(self.wheel) >= len(self.due)

    def teardown(self) -> None:
        if not hasattr(self, "wheel"):
            return
        rang = self.wheel.advance(self.now + 1000)

        assert set(rang) == set(self.due)
        assert len(rang) == len(self.due)
        assert len(self.wheel) == 0
        assert self.wheel.next_due() is None


TestTimers = TimerMachine.TestCase
