"""Which policy a room has: patterns of names, and those that are impossible."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import pytest

from supervisor.errors import SettingsError
from supervisor.policies import CACHED_ROOMS, RoomPolicies, RoomPolicy


@pytest.mark.parametrize(
    ("pattern", "names", "others"),
    [
        ("log", ["log"], ["log:", "a log", ""]),
        ("log:*", ["log:", "log:1", "log:a:b", "log:\n"], ["log", "xlog:1", "LOG:1"]),
        ("*:log", [":log", "a:log"], ["log", "a:log:"]),
        ("a*b*c", ["abc", "axbxc", "abbc", "abcbc"], ["ab", "ac", "acb", "abcx"]),
        ("*a*a*", ["aa", "xaxax"], ["a", "xax"]),
        ("aa*aa", ["aaaa", "aa:aa"], ["aa", "aaa"]),
        ("a*ab*b", ["aabb", "axabxb"], ["aab", "abb"]),
        ("**", ["", "x"], []),
        ("a.c", ["a.c"], ["abc"]),
        ("[ab]?*", ["[ab]?", "[ab]?x"], ["a", "ax", "bx"]),
    ],
)
def test_a_star_is_any_characters_and_all_else_is_itself(
    pattern: str, names: list[str], others: list[str]
) -> None:
    """Whatever it means elsewhere."""
    policies = RoomPolicies({pattern: RoomPolicy.log()})

    assert [policies.resolve(name).feed for name in names] == ["log"] * len(names)
    assert [policies.resolve(name).feed for name in others] == ["event"] * len(others)


def test_the_first_pattern_that_matches_wins() -> None:
    """The order is that in which they were given."""
    special, others = RoomPolicy.log(history_size=1), RoomPolicy.log()
    policies = RoomPolicies({"log:special": special, "log:*": others, "*": {"class": "status"}})

    assert policies.resolve("log:special") is special
    assert policies.resolve("log:other") is others
    assert policies.resolve("other") == RoomPolicy.status()
    assert [pattern for pattern, _ in policies] == ["log:special", "log:*", "*"]
    assert len(policies) == 3


@pytest.mark.parametrize("room", [3, None, ("log:1",), b"log:1", frozenset({"log:1"})])
def test_a_room_that_no_text_names_is_an_event_room(room: Hashable) -> None:
    """Patterns are for names."""
    assert RoomPolicies({"*": RoomPolicy.log()}).resolve(room) == RoomPolicy.event()


def test_without_patterns_all_rooms_are_event_rooms() -> None:
    """All of one policy."""
    policies = RoomPolicies()

    assert policies.resolve("log:1") is policies.resolve("other")
    assert policies.resolve("log:1") == RoomPolicy.event()
    assert len(policies) == 0


def test_they_show_which_patterns_have_which_class() -> None:
    """In the order in which they are tried; others are what no pattern matches."""
    policies = RoomPolicies({"log:a": RoomPolicy.status(), "log:*": {"class": "log"}})

    assert repr(policies) == '<RoomPolicies "log:a": status, "log:*": log, others: event>'
    assert repr(RoomPolicies()) == "<RoomPolicies others: event>"


def test_a_room_has_the_same_policy_every_time() -> None:
    """Also those that were forgotten in between, as not all names can be remembered."""
    policies = RoomPolicies({"log:*": {"class": "log"}})
    first = policies.resolve("log:0")

    others = {id(policies.resolve(f"log:{number}")) for number in range(CACHED_ROOMS + 10)}

    assert others == {id(first)}
    assert policies._resolve.cache_info().currsize == CACHED_ROOMS


def test_many_stars_do_not_make_a_name_expensive() -> None:
    """Clients choose names: one that nearly matches costs no more than another."""
    policies = RoomPolicies({"*a" * 120 + "*b": RoomPolicy.log()})

    assert policies.resolve("a" * 255).feed == "event"


# Patterns that are impossible.


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        ("", "at least 1 character"),
        ("$sys:*", "begin with '$' are reserved"),
        ("x" * 256, "at most 255 characters, not 256"),
        ("*" + "x" * 256, "at most 255 characters, not 256"),
        ("log:\x00*", r"no control characters: 'log:\x00*'"),
        ("log:\n", r"no control characters: 'log:\n'"),
    ],
)
def test_a_pattern_that_can_match_no_room_is_an_error(pattern: str, allowed: str) -> None:
    """It is named."""
    with pytest.raises(SettingsError, match=re.escape(allowed)) as error:
        RoomPolicies({pattern: RoomPolicy.log()})

    assert str(error.value).startswith(f'rooms."{pattern}": ')


def test_a_star_need_not_be_a_character() -> None:
    """So it does not count for how long a name may be."""
    assert RoomPolicies({"x" * 255 + "*": RoomPolicy.log()}).resolve("x" * 255).feed == "log"


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("*", "log:*"),
        ("*", "**"),
        ("**", "*"),
        ("log:*", "log:1"),
        ("log:*", "log:*:x"),
        ("log:*", "log:**"),
        ("*:*", "a:*:b"),
        ("a*c", "a*b*c"),
    ],
)
def test_a_pattern_that_is_never_used_is_an_error(earlier: str, later: str) -> None:
    """Both are named."""
    with pytest.raises(SettingsError) as error:
        RoomPolicies({earlier: RoomPolicy.log(), later: RoomPolicy.status()})

    assert str(error.value).startswith(f'rooms."{later}": ')
    assert f'"{earlier}"' in str(error.value)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("log:*", "*"),
        ("log:1", "log:*"),
        ("log:*:x", "log:*"),
        ("a*b*c", "a*c"),
        ("a*", "*a"),
        ("ab*", "a*"),
        ("*a*", "*"),
    ],
)
def test_a_pattern_of_which_an_earlier_one_leaves_some_is_none(earlier: str, later: str) -> None:
    """Exceptions come first, and the rule after them."""
    assert len(RoomPolicies({earlier: RoomPolicy.log(), later: RoomPolicy.status()})) == 2


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"class": "lgo"}, '."log:*".class: Input should be'),
        ({"class": "log", "history_size": 0}, '."log:*".history_size: '),
        ({"class": "log", "histroy_size": 1}, '."log:*".histroy_size: unknown setting; did you'),
        ({"class": "log", "overflow": "drop"}, '."log:*".overflow: must be '),
        ({"history_size": 1}, '."log:*".history_size: the class is missing; without one it is '),
        ({"class": "log", "feed": "log"}, '."log:*": unknown setting feed; did you mean class?'),
        ({"feed": "log"}, '."log:*": unknown setting feed; did you mean class?'),
        ({"type": "log"}, '."log:*".type: unknown setting; did you mean class?'),
        ({"Class": "log"}, '."log:*".Class: unknown setting; did you mean class?'),
        ({"clas": "lgo"}, '."log:*".clas: unknown setting; did you mean class?'),
        ({"type": "lgo"}, '."log:*".type: unknown setting; known are '),
        ({"class": "log", "type": "log"}, '."log:*".type: unknown setting; known are '),
        ({1: "log"}, '."log:*".1: unknown setting; did you mean class?'),
        ({}, ".\"log:*\": the table is empty; set its class, 'event', 'status', 'log' or"),
        (
            3,
            '."log:*": must be a policy, RoomPolicy.log(), or a table, {"class": "log"} (it was 3)',
        ),
        (None, '."log:*": must be a policy, RoomPolicy.log(), or a table, {"class": "log"} (it w'),
        ("log", '."log:*": must be a policy, RoomPolicy.log(), or a table, {"class": "log"} (it '),
        ("alert", '."log:*": must be a policy, RoomPolicy.alert(), or a table, {"class": "alert"}'),
        (
            RoomPolicy.status,
            (
                '."log:*": must be a policy, RoomPolicy.status(), or a table, {"class": "status"} '
                "(it was RoomPolicy.status without its parentheses)"
            ),
        ),
    ],
)
def test_what_is_wrong_in_a_table_is_told_with_its_pattern(table: Any, told: str) -> None:
    """As one would write it."""
    with pytest.raises(SettingsError) as error:
        RoomPolicies({"log:*": table})

    assert str(error.value).startswith(f"rooms{told}")


def test_a_policy_that_says_nothing_is_one_all_the_same() -> None:
    """Of an object it is plain that it is meant."""
    assert RoomPolicies({"chat:*": RoomPolicy()}).resolve("chat:1") == RoomPolicy.event()


def test_a_pattern_is_a_text() -> None:
    """Nothing else names a room."""
    with pytest.raises(SettingsError, match=r'^rooms."1": Input should be a valid string'):
        RoomPolicies({1: RoomPolicy.log()})  # type: ignore[dict-item]
