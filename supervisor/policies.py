"""
Which policy a room has: policies by patterns of room names.

Policies are made at start, from settings, and asked for by the name of a room: whoever makes a room
resolves its policy once. What a policy says is :mod:`supervisor.room_policy`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails

from supervisor.errors import SettingsError
from supervisor.room_names import MAX_ROOM_NAME, RESERVED, has_control_characters
from supervisor.room_policy import FEEDS, RoomPolicy
from supervisor.validation import Place, explain, listed, problem

__all__ = ["PolicyTables", "RoomPolicies", "RoomPolicy", "policy_fields", "policy_place"]

CACHED_ROOMS = 4096
"""Rooms whose policy is remembered."""


class RoomPolicies:
    """
    Policies by pattern; the first pattern that matches the name of a room wins.

    In a pattern ``*`` stands for any characters, also for none. Everything else stands for itself,
    as names may have it: also ``?``, ``.`` and ``[0-9]``, which mean more in other patterns.

    Args:
        patterns: Policies by pattern, in order; a table of fields in place of a policy will do.

    Raises:
        SettingsError: If a pattern can match no room, or none that an earlier one leaves to it, or
            if a table is empty or makes no policy.
    """

    __slots__ = ("_patterns", "_resolve")

    def __init__(
        self, patterns: Mapping[str, RoomPolicy | Mapping[str, Any]] | None = None
    ) -> None:
        try:
            policies = _TABLES.validate_python(dict(patterns or {}))
        except ValidationError as error:
            text = explain(
                error, lambda place: f"rooms{policy_place(place)}", lambda _: policy_fields()
            )
            raise SettingsError(text) from None
        self._patterns = policies
        pairs = [(tuple(pattern.split("*")), policy) for pattern, policy in policies.items()]

        @lru_cache(maxsize=CACHED_ROOMS)
        def resolve(room: str) -> RoomPolicy:
            for pieces, policy in pairs:
                if _matches(pieces, room):
                    return policy
            return PLAIN

        self._resolve = resolve

    def __iter__(self) -> Iterator[tuple[str, RoomPolicy]]:
        """The patterns and their policies, in order."""
        return iter(self._patterns.items())

    def __repr__(self) -> str:
        policies = [f'"{pattern}": {policy.feed}' for pattern, policy in self._patterns.items()]
        return f"<RoomPolicies {', '.join([*policies, 'others: ' + PLAIN.feed])}>"

    def __len__(self) -> int:
        """How many patterns there are."""
        return len(self._patterns)

    def resolve(self, room: Hashable) -> RoomPolicy:
        """
        Return the policy of a room; from any thread.

        A room without a match has the plain event policy, and so has one that is named by anything
        but a ``str``.
        """
        return self._resolve(room) if self._patterns and isinstance(room, str) else PLAIN


PLAIN: Final = RoomPolicy()
"""The policy of a room for which nothing was set."""


def _check_table(table: object) -> object:
    """
    Return what stands for a pattern.

    Raises:
        ValidationError: If it is neither a policy nor a table, or one that says nothing, or that
            means ``class`` by another name: the rooms would be event rooms, which keep nothing,
            without a word.
    """
    if isinstance(table, RoomPolicy):
        return table
    if not isinstance(table, Mapping):
        raise ValidationError.from_exception_data("room", [problem(_no_policy(table))])
    if not table:
        text = f"the table is empty; set its class, {listed(FEEDS)}"
        raise ValidationError.from_exception_data("room", [problem(text)])
    if "feed" in table:  # its place would be shown as that of class
        text = "unknown setting feed; did you mean class?"
        raise ValidationError.from_exception_data("room", [problem(text)])
    known = policy_fields()
    for name, value in table.items():
        if "class" not in table and name not in known and value in FEEDS:
            told = problem("unknown setting; did you mean class?", str(name))
            raise ValidationError.from_exception_data("room", [told])
    return table


def _no_policy(value: object) -> str:
    """Return what to say of what is neither a policy nor a table, with the class that is meant."""
    preset = getattr(value, "__func__", None)
    name = next((each for each in FEEDS if preset is getattr(RoomPolicy, each).__func__), None)
    was = repr(value)[:80] if name is None else f"RoomPolicy.{name} without its parentheses"
    feed = name or (value if value in FEEDS else "log")
    return (
        f'must be a policy, RoomPolicy.{feed}(), or a table, {{"class": "{feed}"}} (it was {was})'
    )


def _check_patterns(policies: dict[str, RoomPolicy]) -> dict[str, RoomPolicy]:
    """
    Return policies by pattern.

    Raises:
        ValidationError: If a pattern can match no room, or none that an earlier one leaves to it.
    """
    problems: list[InitErrorDetails] = []
    before: list[str] = []
    for pattern in policies:
        wrong = _why_no_room(pattern)
        if wrong is not None:
            problems.append(problem(wrong, pattern))
        # A "*" of this one stands for anything, so only a "*" of an earlier one can match it.
        shadow = next((each for each in before if _matches(tuple(each.split("*")), pattern)), None)
        if shadow is not None:
            text = f'never used: the earlier pattern "{shadow}" matches all of its rooms'
            problems.append(problem(text, pattern))
        before.append(pattern)
    if problems:
        raise ValidationError.from_exception_data("rooms", problems)
    return policies


def _why_no_room(pattern: str) -> str | None:
    """Return why no room has a name that the pattern matches; None if one can."""
    if not pattern:
        return "a pattern has at least 1 character"
    if pattern.startswith(RESERVED):
        return f"room names that begin with {RESERVED!r} are reserved"
    length = len(pattern.replace("*", ""))
    if length > MAX_ROOM_NAME:
        return f"a room name has at most {MAX_ROOM_NAME} characters, not {length}"
    if has_control_characters(pattern):
        return f"a room name has no control characters: {pattern[:40]!r}"
    return None


def policy_place(place: Place) -> str:
    """Return how a place within the rooms is named: ``."log:*".history_size``."""
    pattern, *names = [str(part) for part in place if part != "[key]"] or [""]
    return f'."{pattern}"' + "".join(f".{'class' if name == 'feed' else name}" for name in names)


def policy_fields() -> set[str]:
    """Return what the table of a pattern may have."""
    return {*RoomPolicy.model_fields, "class"} - {"feed"}


def _matches(pieces: tuple[str, ...], name: str) -> bool:
    """Whether ``name`` has ``pieces`` in order, beginning with the first, ending with the last."""
    first, *middle = pieces
    if not middle:
        return name == first
    last = middle.pop()
    at, end = len(first), len(name) - len(last)
    if at > end or not name.startswith(first) or not name.endswith(last):
        return False
    for piece in middle:
        at = name.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True


PolicyTables = Annotated[
    dict[str, Annotated[RoomPolicy, BeforeValidator(_check_table)]], AfterValidator(_check_patterns)
]
"""Policies by pattern, in order, as settings have them: a table of fields in place of a policy."""

_TABLES: TypeAdapter[dict[str, RoomPolicy]] = TypeAdapter(PolicyTables)
