"""What a setting may be, and how one that is impossible is explained."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from supervisor.validation import Count, Place, Seconds, explain, listed, no_flag, problem, unknown


class Volume(BaseModel):
    """Something with a setting."""

    model_config = ConfigDict(extra="forbid")

    loudness: Count = 1


def dotted(place: Place) -> str:
    """Name a setting."""
    return ".".join(map(str, place))


def refusal(**fields: Any) -> ValidationError:
    """Return what pydantic says of ``fields``."""
    with pytest.raises(ValidationError) as error:
        Volume(**fields)
    return error.value


def test_a_flag_is_no_number() -> None:
    """Python takes it for one."""
    assert no_flag(1) == 1
    for flag in (True, False):
        with pytest.raises(ValueError, match="must be a number"):
            no_flag(flag)


@pytest.mark.parametrize("value", [0, -1, True, float("inf"), float("nan"), None])
@pytest.mark.parametrize("kind", [Seconds, Count])
def test_what_is_counted_is_finite_and_more_than_nothing(kind: Any, value: object) -> None:
    """Seconds and counts alike."""
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(value)


def test_an_explanation_names_the_setting_and_the_value() -> None:
    """A line for each problem."""
    lines = explain(refusal(loudness=0, colour=3), dotted, lambda _: ["loudness"]).splitlines()

    assert lines == [
        "loudness: Input should be greater than or equal to 1 (it was 0)",
        "colour: unknown setting; known are loudness",
    ]


def test_a_problem_of_our_own_says_all_there_is_to_say() -> None:
    """Its text is taken as it is, braces too, and the value is not repeated."""
    error = ValidationError.from_exception_data("rooms", [problem("{no} pattern", "a", "b")])

    assert explain(error, dotted, lambda _: []) == "a.b: {no} pattern"


def test_what_is_unknown_may_have_been_misspelt() -> None:
    """If there is something like it; else all that is known is told."""
    known = {"loudness", "colour"}

    assert unknown("loudnes", known, "field") == "loudnes: unknown field; did you mean loudness?"
    assert unknown("x", known, "field", "a.x") == "a.x: unknown field; known are colour, loudness"


def test_what_is_unknown_may_belong_elsewhere() -> None:
    """Who knows where says it, in place of what it looks like."""
    assert (
        unknown("loudnes", {"loudness"}, "field", hint="see x") == "loudnes: unknown field; see x"
    )
    assert explain(refusal(loudnes=3), dotted, lambda _: ["loudness"], lambda _: "see x") == (
        "loudnes: unknown setting; see x"
    )


@pytest.mark.parametrize(
    ("words", "text"), [("a", "'a'"), ("ab", "'a' or 'b'"), ("abc", "'a', 'b' or 'c'")]
)
def test_words_are_listed_to_choose_from(words: str, text: str) -> None:
    """The last one after an or."""
    assert listed(words) == text
