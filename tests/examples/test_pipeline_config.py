"""What a pipelines file may declare, and what each mistake in it is told."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import ConfigError, Limits, Step, expand, load, parse

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "pipeline" / "pipelines.toml"

GOOD: dict[str, Any] = {
    "limits": {"kept_lines": 10},
    "pipelines": {
        "a": {"title": "A", "steps": [{"name": "one", "command": ["true"], "timeout": 5}]},
        "b": {
            "steps": [
                {"name": "one", "command": ["{python}", "-V"], "env": {"X": "1"}},
                {"name": "two", "command": ["true"]},
            ]
        },
    },
}


def broken(path: str, value: object) -> dict[str, Any]:
    """Return the good document with the setting at the dotted path replaced, or removed if None."""
    document = copy.deepcopy(GOOD)
    *way, last = path.split(".")
    place: Any = document
    for part in way:
        place = place[int(part) if part.isdecimal() else part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


def test_shipped_file_is_valid() -> None:
    """The pipelines that come with the example can be loaded."""
    config = load(EXAMPLE)

    assert [step.name for step in config.pipelines["project"].steps] == [
        "lint",
        "types",
        "build",
        "test",
    ]
    assert "demo" in config.pipelines


def test_defaults_apply() -> None:
    """What is not declared has its default: the title, the timeout, the limits."""
    config = parse(GOOD)

    second = config.pipelines["b"]
    assert list(config.pipelines) == ["a", "b"]
    assert second.title == "b"
    assert second.steps[0].timeout == Limits().step_timeout
    assert second.steps[0].env == {"X": "1"}
    assert config.pipelines["a"].steps[0].timeout == 5.0
    assert config.limits == Limits(kept_lines=10)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("surprise", {}, "surprise: unknown setting; allowed here: limits, pipelines"),
        ("pipelines", {}, "pipelines: declare at least one"),
        ("pipelines", [], "pipelines: must be a table"),
        ("pipelines.UPPER", {}, "pipelines.UPPER: a name is 1-64 of"),
        ("pipelines.a.step", [], "pipelines.a.step: unknown setting"),
        ("pipelines.a.title", "", "pipelines.a.title: must be non-empty text"),
        ("pipelines.a.steps", None, "pipelines.a.steps: declare at least one"),
        ("pipelines.a.steps", [], "pipelines.a.steps: declare at least one"),
        ("pipelines.a.steps.0.command", None, "pipelines.a.steps[0].command: is missing"),
        ("pipelines.a.steps.0.name", None, "pipelines.a.steps[0].name: is missing"),
        ("pipelines.a.steps.0.command", "ls -l", "pipelines.a.steps[0].command: must be a list"),
        ("pipelines.a.steps.0.command", [], "pipelines.a.steps[0].command: must be a list"),
        ("pipelines.a.steps.0.command", ["ls", 1], "pipelines.a.steps[0].command[1]: must be"),
        ("pipelines.a.steps.0.command", ["a\0b"], "pipelines.a.steps[0].command[0]: must be"),
        ("pipelines.a.steps.0.command", ["{interpreter}"], "{interpreter} is not one of {python}"),
        ("pipelines.a.steps.0.timeout", 0, "pipelines.a.steps[0].timeout: must be a number"),
        ("pipelines.a.steps.0.timeout", True, "pipelines.a.steps[0].timeout: must be a number"),
        ("pipelines.a.steps.0.timeout", float("nan"), "pipelines.a.steps[0].timeout: must be"),
        ("pipelines.a.steps.0.timeout", 86_401, "at most 86400"),
        ("pipelines.a.steps.0.env", {"A=B": "1"}, "pipelines.a.steps[0].env: 'A=B'"),
        ("pipelines.a.steps.0.env", {"A": 1}, "pipelines.a.steps[0].env.A: must be text"),
        ("pipelines.a.steps.0.shell", True, "pipelines.a.steps[0].shell: unknown setting"),
        ("pipelines.b.steps.1.name", "one", "pipelines.b.steps: two steps are named 'one'"),
        ("limits.kept", 1, "limits.kept: unknown setting; allowed here: concurrent_runs,"),
        ("limits.kept_lines", 0, "limits.kept_lines: must be a whole number of at least 1"),
        ("limits.kept_lines", 1.5, "limits.kept_lines: must be a whole number"),
        ("limits.queued_runs", -1, "limits.queued_runs: must be a whole number of at least 0"),
        ("limits.grace", "3", "limits.grace: must be a number of seconds"),
        ("limits.kept_runs", 3, "limits.kept_runs: must be at least concurrent_runs + queued_runs"),
        ("limits.kept_bytes", 10, "limits.kept_bytes: must be at least line_bytes"),
    ],
)
def test_mistake_is_named(path: str, value: object, message: str) -> None:
    """The error of an impossible setting names the setting and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        parse(broken(path, value))

    assert message in str(caught.value)


def test_file_errors_name_the_file(tmp_path: Path) -> None:
    """A missing file, one that is not TOML and one with a mistake are told apart, by path."""
    path = tmp_path / "p.toml"
    with pytest.raises(ConfigError, match=r"cannot read .*p\.toml: No such file"):
        load(path)

    path.write_text("pipelines = [")
    with pytest.raises(ConfigError, match=r"p\.toml is not valid TOML"):
        load(path)

    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"p\.toml is not valid TOML"):
        load(path)

    path.write_text("[pipelines]")
    with pytest.raises(ConfigError, match=r"p\.toml: pipelines: declare at least one"):
        load(path)


def test_expand_replaces_only_what_it_knows() -> None:
    """Placeholders are replaced wherever they stand; the braces of code stay."""
    step = Step("s", ("{python}", "-c", "f'{i} {tmp}/x {{}}'"), 1.0)

    assert expand(step, {"python": "/bin/py", "tmp": "/t"}) == ["/bin/py", "-c", "f'{i} /t/x {{}}'"]
