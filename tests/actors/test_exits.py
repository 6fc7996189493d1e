"""Endings and close codes are values."""

from __future__ import annotations

import pytest

from actors.exits import CloseCode, Ending, ExitReason


@pytest.mark.parametrize(
    ("code", "reconnect"),
    [
        (CloseCode.NORMAL, False),
        (CloseCode.GOING_AWAY, True),
        (CloseCode.UNSUPPORTED_DATA, False),
        (CloseCode.MESSAGE_TOO_BIG, False),
        (CloseCode.INTERNAL_ERROR, True),
        (CloseCode.CONNECTION_CLOSED, True),
        (CloseCode.SLOW, True),
        (CloseCode.TOO_MANY_REQUESTS, True),
        (CloseCode.INVALID_TOKEN, False),
        (CloseCode.FORCE_DISCONNECT, False),
        (CloseCode.PERMISSION_DENIED, False),
    ],
)
def test_the_range_of_a_code_says_whether_to_come_back(code: CloseCode, reconnect: bool) -> None:
    """3000-3499 invite a client back, 3500-3999 do not; below, what ended or was refused does not."""
    assert code.reconnect is reconnect


def test_codes_are_those_of_the_table() -> None:
    """The numbers are part of the wire protocol: clients rely on them."""
    assert (CloseCode.SHUTDOWN, CloseCode.SLOW, CloseCode.NO_PONG) == (3001, 3008, 3012)
    assert (CloseCode.INVALID_TOKEN, CloseCode.PERMISSION_DENIED) == (3500, 3507)


def test_a_reason_is_a_value() -> None:
    """Equal reasons are equal, and none can be changed."""
    reason = ExitReason(Ending.LEFT)

    assert reason == ExitReason(Ending.LEFT, CloseCode.NORMAL, "")
    with pytest.raises(AttributeError):
        reason.text = "other"  # type: ignore[misc]  # that it cannot is the point
