"""
What a setting may be, and how one that is impossible is explained.

For :mod:`supervisor.settings` and :mod:`supervisor.room_policy`. Every explanation begins with the
name of the setting and says what is allowed.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

__all__ = ["Count", "Place", "Seconds", "explain", "listed", "no_flag", "problem", "unknown"]

Place = tuple[int | str, ...]
"""Where a setting is: its name, or the names on the way to it."""

_TOLD = "told"  # type of a problem whose text says all


def no_flag(value: object) -> object:
    """
    Return ``value``.

    Raises:
        ValueError: If it is a flag, which Python takes for 0 or 1.
    """
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - what pydantic takes
    return value


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(no_flag)]
Count = Annotated[int, Field(ge=1, lt=1 << 63), BeforeValidator(no_flag)]  # SQLite has 64 bits


def explain(
    error: ValidationError,
    name: Callable[[Place], str],
    known: Callable[[Place], Iterable[str]],
    hint: Callable[[Place], str | None] = lambda _: None,
) -> str:
    """
    Return a line for each problem.

    Args:
        error: What pydantic says.
        name: How the setting at a place is called.
        known: What there is, where a place is none of it.
        hint: What to say of such a place instead; None if nothing better is known.
    """
    lines = []
    for found in error.errors(include_url=False):
        place = found["loc"]
        if found["type"] == "extra_forbidden":
            word = str(place[-1])
            lines.append(unknown(word, set(known(place)), "setting", name(place), hint(place)))
            continue
        text = found["msg"].removeprefix("Value error, ")
        was = "" if found["type"] == _TOLD else f" (it was {found.get('input')!r})"
        lines.append(f"{name(place)}: {text}{was}")
    return "\n".join(lines)


def problem(text: str, *place: str) -> InitErrorDetails:
    """Return a problem whose ``text`` says all that there is to say of what is at ``place``."""
    told: Any = PydanticCustomError(_TOLD, "{text}", {"text": text})
    return InitErrorDetails(type=told, loc=place, input=None)


def unknown(
    word: str, known: set[str], kind: str, name: str | None = None, hint: str | None = None
) -> str:
    """Return what to say of ``word``, which is none of ``known``; it is called ``name``."""
    if hint is None:
        close = difflib.get_close_matches(word, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}"
    return f"{name or word}: unknown {kind}; {hint}"


def listed(words: Iterable[str]) -> str:
    """Return words as a list to choose from: ``'a', 'b' or 'c'``."""
    *first, last = [f"{word!r}" for word in words]
    return f"{', '.join(first)} or {last}" if first else last
