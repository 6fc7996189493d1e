"""What is logged once a while."""

from __future__ import annotations

from supervisor.telemetry.quiet import REMEMBERED, Quiet


def test_the_first_is_logged_and_then_one_a_period_with_the_number() -> None:
    """Each thing has a period of its own."""
    now = 0.0
    quiet = Quiet(lambda: now, period=10)

    assert [quiet.total("a"), quiet.total("a"), quiet.total("b")] == [1, None, 1]
    now = 9.9
    assert quiet.total("a") is None
    now = 10.0
    assert [quiet.total("a"), quiet.total("a"), quiet.total("b")] == [4, None, 2]


def test_as_many_things_as_clients_can_name_are_forgotten() -> None:
    """The one that was logged longest ago first."""
    quiet = Quiet(lambda: 0.0)
    for number in range(REMEMBERED + 1):
        quiet.total(number)

    assert len(quiet._seen) == REMEMBERED
    assert quiet.total(REMEMBERED) is None
    assert quiet.total(0) == 1
