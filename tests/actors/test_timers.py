"""The timer wheel: a pure machine, driven by the numbers it is given."""

from __future__ import annotations

import math
import random

import pytest

from actors.timers import Timer, TimerWheel


def nothing() -> None:
    """Be a callback that nobody calls."""


def test_a_deadline_is_due_within_its_tick() -> None:
    """It is not due before its time, and due one tick after it at the latest."""
    wheel = TimerWheel(0.5)
    timer = wheel.schedule(10.2, nothing)

    assert wheel.advance(10.19) == []
    assert wheel.advance(10.7) == [timer]


def test_a_deadline_on_the_edge_of_a_bucket_is_due_on_it() -> None:
    """A deadline that is a multiple of the tick is not late at all."""
    wheel = TimerWheel(0.5)
    timer = wheel.schedule(10.0, nothing)

    assert wheel.next_due() == 10.0
    assert wheel.advance(10.0) == [timer]


def test_deadlines_come_out_in_the_order_of_their_buckets() -> None:
    """A late advance returns earlier buckets first, and within one the order of scheduling."""
    wheel = TimerWheel(1.0)
    third = wheel.schedule(3.0, nothing)
    first = wheel.schedule(1.0, nothing)
    second = wheel.schedule(1.0, nothing)

    assert wheel.advance(100.0) == [first, second, third]


def test_a_cancelled_deadline_is_never_due() -> None:
    """cancel() drops the callback at once, and is idempotent."""
    wheel = TimerWheel(1.0)
    timer = wheel.schedule(1.0, nothing)

    timer.cancel()
    timer.cancel()

    assert not timer.pending
    assert timer.callback is None
    assert wheel.advance(2.0) == []


def test_an_empty_wheel_is_due_never() -> None:
    """next_due() is None before the first deadline and after the last."""
    wheel = TimerWheel(1.0)
    assert wheel.next_due() is None
    wheel.schedule(5.0, nothing)
    assert wheel.next_due() == 5.0

    wheel.advance(5.0)

    assert wheel.next_due() is None
    assert len(wheel) == 0


def test_what_was_returned_is_not_returned_again() -> None:
    """Each deadline is due once."""
    wheel = TimerWheel(1.0)
    wheel.schedule(1.0, nothing)
    wheel.advance(1.0)

    assert wheel.advance(50.0) == []


def test_a_deadline_in_the_past_is_due_at_once() -> None:
    """A deadline before the last advance is due at the next one."""
    wheel = TimerWheel(1.0)
    wheel.advance(100.0)

    timer = wheel.schedule(3.0, nothing)

    assert wheel.advance(100.0) == [timer]


def test_many_deadlines_share_one_entry() -> None:
    """The heap grows with the buckets, not with the deadlines."""
    wheel = TimerWheel(1.0)

    for _ in range(5000):
        wheel.schedule(30.0, nothing)

    assert len(wheel) == 5000
    assert len(wheel._heap) == 1


@pytest.mark.parametrize("tick", [0.0, -1.0])
def test_a_tick_must_be_more_than_nothing(tick: float) -> None:
    """A wheel without width is an error that says so."""
    with pytest.raises(ValueError, match="more than 0 seconds"):
        TimerWheel(tick)


def test_rounding_makes_no_deadline_early_or_a_tick_late() -> None:
    """The promise holds for floats next to the edge of a bucket, whatever the division says."""
    chance = random.Random(1)
    for _ in range(20_000):
        wheel = TimerWheel(0.1)
        edge = chance.randrange(1, 10_000_000) * 0.1
        when = chance.choice([edge, math.nextafter(edge, 0), math.nextafter(edge, math.inf)])

        wheel.schedule(when, nothing)

        due = wheel.next_due()
        assert due is not None
        assert (round(due / 0.1) - 1) * 0.1 < when <= due


def test_a_timer_is_pending_until_it_is_cancelled() -> None:
    """Pending says whether the callback is still to be called."""
    timer = Timer(nothing)
    assert timer.pending

    timer.cancel()

    assert not timer.pending
