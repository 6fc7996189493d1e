"""What a room may be called, and the rooms that are not the application's."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable
from dataclasses import dataclass

from supervisor.errors import InvalidRoomName

__all__ = [
    "EVERYONE",
    "MAX_ROOM_NAME",
    "RESERVED",
    "has_control_characters",
    "room_name",
    "text_name",
    "user_room",
]

MAX_ROOM_NAME = 255
"""Characters that the name of a room may have."""

RESERVED = "$"
"""What the names of rooms that are not the application's begin with."""


def room_name(name: Hashable) -> str:
    """
    Return ``name``, if it is one.

    Raises:
        InvalidRoomName: If it is no ``str`` of 1 to 255 characters without control characters,
            or begins with ``$``.
    """
    name = text_name(name)
    if not 1 <= len(name) <= MAX_ROOM_NAME:
        raise InvalidRoomName(f"a room name has 1 to {MAX_ROOM_NAME} characters, not {len(name)}")
    if has_control_characters(name):
        raise InvalidRoomName(f"a room name has no control characters: {name[:40]!r}")
    if name.startswith(RESERVED):
        raise InvalidRoomName(
            f"room names that begin with {RESERVED!r} are reserved: {name[:40]!r}"
        )
    return name


def text_name(name: Hashable) -> str:
    """
    Return ``name``, if it is text at all; whether it can be the name of a room is not checked.

    Raises:
        InvalidRoomName: If it is no ``str``, which no client can bring about.
    """
    if not isinstance(name, str):
        raise InvalidRoomName(f"a room is named by a str, not by {type(name).__name__}")
    return name


def has_control_characters(text: str) -> bool:
    """Whether there are any in ``text``, or halves of surrogate pairs."""
    return not text.isprintable() and any(unicodedata.category(c) in {"Cc", "Cs"} for c in text)


@dataclass(frozen=True, slots=True, repr=False)
class _OwnRoom:
    """
    The name of a room that is not the application's.

    Nothing that an application calls a room is equal to it, so nobody gets in by a name: rooms
    are often named by whoever connects.
    """

    kind: str
    key: Hashable = ""

    def __repr__(self) -> str:
        return f"${self.kind}:{self.key}" if self.key != "" else f"${self.kind}"


EVERYONE: Hashable = _OwnRoom("everyone")
"""The room that every connection is in: a broadcast is a publication there."""


def user_room(user: Hashable) -> Hashable:
    """Return the room that every connection of ``user`` is in."""
    return _OwnRoom("user", user)
