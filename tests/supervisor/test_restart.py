"""How often a room may crash: a window over the times of its crashes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.restart import RestartWindow


def test_crashes_up_to_the_intensity_are_allowed() -> None:
    """One more within the period is not."""
    window = RestartWindow(5, 10.0)

    assert [window.allows(0.1 * number) for number in range(7)] == [True] * 5 + [False] * 2


def test_a_crash_counts_for_one_period() -> None:
    """Exactly one: at its end it is forgotten."""
    window = RestartWindow(1, 10.0)

    assert window.allows(0.0)
    assert not window.allows(9.9)
    assert not window.allows(10.0)  # the one at 9.9 counts too
    assert window.allows(20.0)


def test_an_intensity_of_none_allows_no_restart() -> None:
    """Zero is a setting."""
    assert not RestartWindow(0, 10.0).allows(0.0)


def test_crashes_far_apart_are_allowed_for_ever() -> None:
    """And nothing piles up."""
    window = RestartWindow(1, 10.0)

    assert all(window.allows(10.0 * number) for number in range(10_000))
    assert len(window._times) == 1


@given(
    intensity=st.integers(0, 5),
    period=st.floats(0.1, 100),
    gaps=st.lists(st.floats(0, 50), max_size=40),
)
def test_it_agrees_with_counting(intensity: int, period: float, gaps: list[float]) -> None:
    """A restart is allowed unless more than ``intensity`` crashes are younger than the period."""
    window = RestartWindow(intensity, period)
    times: list[float] = []
    now = 0.0
    for gap in gaps:
        now += gap
        times.append(now)
        recent = [time for time in times if time > now - period]
        assert window.allows(now) == (len(recent) <= intensity)


@pytest.mark.parametrize("at_once", [1, 3])
def test_crashes_at_the_same_moment_all_count(at_once: int) -> None:
    """Time need not move between them."""
    window = RestartWindow(2, 10.0)

    assert [window.allows(1.0) for _ in range(at_once)] == [True, True, False][:at_once]
