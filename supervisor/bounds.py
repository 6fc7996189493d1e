"""Numbers that an application asks with: each is checked before a store hears of it."""

from __future__ import annotations

__all__ = ["LARGEST", "check_number"]

LARGEST = 2**63 - 1
"""The largest number that every store understands."""


def check_number(name: str, value: object, least: int, most: int = LARGEST) -> None:
    """
    Check the argument ``name``.

    Raises:
        ValueError: If it is no ``int`` from ``least`` to ``most``; the text says what it was.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        end = "2**63 - 1" if most == LARGEST else f"{most}"
        raise ValueError(f"{name} is an int from {least} to {end}, not {repr(value)[:80]}")
