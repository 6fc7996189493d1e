"""The slow rule: what makes a member slow, what ends it, and when to look again."""

from __future__ import annotations

import pytest

from actors.slow_rule import SlowRule, Turn


def above(rule: SlowRule, now: float) -> Turn | None:
    """Tell that the mailbox is above its soft bounds."""
    return rule.look(above=True, below_half=False, now=now)


def between(rule: SlowRule, now: float) -> Turn | None:
    """Tell that it is neither above the soft bounds nor below half of them."""
    return rule.look(above=False, below_half=False, now=now)


def below_half(rule: SlowRule, now: float) -> Turn | None:
    """Tell that it is below half of the soft bounds."""
    return rule.look(above=False, below_half=True, now=now)


def test_a_member_that_keeps_up_is_not_slow() -> None:
    """There is nothing to remember and nothing to wait for."""
    rule = SlowRule(5.0)

    assert below_half(rule, 0.0) is None
    assert between(rule, 100.0) is None
    assert rule.over
    assert not rule.slow
    assert rule.look_at is None


def test_a_member_is_slow_once_it_was_above_for_the_whole_grace() -> None:
    """The rule says when to look again, and it is exactly then."""
    rule = SlowRule(5.0)

    assert above(rule, 10.0) is None
    assert above(rule, 12.0) is None
    assert rule.look_at == 15.0
    assert above(rule, 14.999) is None
    assert not rule.slow

    assert above(rule, 15.0) is Turn.SLOW
    assert rule.slow
    assert rule.look_at is None


def test_a_break_starts_the_grace_again() -> None:
    """A member that comes down to the soft bounds, however shortly, is forgiven."""
    rule = SlowRule(5.0)
    above(rule, 0.0)

    assert between(rule, 4.9) is None
    assert rule.over
    assert rule.look_at is None

    assert above(rule, 5.0) is None
    assert rule.look_at == 10.0


def test_a_slow_member_is_slow_until_it_is_below_half() -> None:
    """To come down to the soft bounds is not enough: it would go back and forth."""
    rule = SlowRule(5.0)
    above(rule, 0.0)
    above(rule, 5.0)

    assert between(rule, 6.0) is None
    assert above(rule, 7.0) is None
    assert rule.slow
    assert not rule.over

    assert below_half(rule, 8.0) is Turn.KEEPS_UP
    assert not rule.slow
    assert rule.over


def test_a_member_may_be_slow_again() -> None:
    """After the whole grace again."""
    rule = SlowRule(5.0)
    above(rule, 0.0)
    above(rule, 5.0)
    below_half(rule, 6.0)

    assert above(rule, 7.0) is None
    assert rule.look_at == 12.0
    assert above(rule, 12.0) is Turn.SLOW


@pytest.mark.parametrize("start", [0.1, 1e9 + 0.1, 12345.6789])
def test_whoever_looks_when_it_was_asked_to_finds_the_member_slow(start: float) -> None:
    """Rounding does not make it one more look."""
    rule = SlowRule(0.7)
    above(rule, start)
    at = rule.look_at

    assert at is not None
    assert above(rule, at) is Turn.SLOW
