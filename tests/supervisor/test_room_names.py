"""What a room may be called."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor import InvalidRoomName
from supervisor.room_names import room_name


@pytest.mark.parametrize(
    "name", ["a", "log:7", "x" * 255, "ü" * 255, "a b", "日本", "\u200f\u200d", "a$", "/", " "]
)
def test_text_without_control_characters_is_a_name(name: str) -> None:
    """1 to 255 characters of any script, signs and spaces too; it is returned as it is."""
    assert room_name(name) is name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "1 to 255 characters, not 0"),
        ("x" * 256, "1 to 255 characters, not 256"),
        ("a\n", "no control characters"),
        ("\x00", "no control characters"),
        ("a\x7f", "no control characters"),
        ("a\x9f", "no control characters"),
        ("\ud800", "no control characters"),
        ("$everyone", "reserved"),
        ("$", "reserved"),
        (7, "by a str, not by int"),
        (b"a", "by a str, not by bytes"),
        (None, "by a str, not by NoneType"),
        (("a", 1), "by a str, not by tuple"),
    ],
)
def test_anything_else_is_refused(name: Any, says: str) -> None:
    """The error says what is allowed; it is a ValueError too."""
    with pytest.raises(InvalidRoomName, match=says) as error:
        room_name(name)

    assert isinstance(error.value, ValueError)
    assert len(str(error.value)) < 150
