"""
What may be run: the pipelines and limits declared in a TOML file.

Pure: :func:`parse` turns parsed TOML into frozen values, :func:`load` adds the
reading of a file. An unknown or impossible setting is a :class:`ConfigError`
that names the setting and says what is allowed. What happens when a pipeline
runs is :mod:`pipeline.runner`'s part.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Config", "ConfigError", "Limits", "Pipeline", "Step", "expand", "load", "parse"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_PLACEHOLDER = re.compile(r"\{[a-z]+\}")
_LONGEST = 86_400.0  # seconds; the most any timeout may be


class ConfigError(ValueError):
    """The pipelines file cannot be used; the text names the setting and what is allowed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a pipeline. ``timeout`` is in seconds; ``env`` is added to the server's own."""

    name: str
    command: tuple[str, ...]
    timeout: float
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A named list of steps, run one after the other until one fails."""

    name: str
    title: str
    description: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """
    Bounds of the runner.

    Attributes:
        concurrent_runs: Runs that execute at the same time.
        queued_runs: Runs that may wait for their turn; one more is refused.
        kept_runs: Runs that are remembered, waiting and running ones included.
        kept_lines: Newest lines remembered per run.
        kept_bytes: Most bytes of those lines, as JSON, per run.
        line_bytes: A longer line is cut here and says so.
        step_timeout: Seconds for a step that declares no ``timeout``.
        grace: Seconds between asking a step's processes to stop and killing them.
    """

    concurrent_runs: int = 2
    queued_runs: int = 8
    kept_runs: int = 20
    kept_lines: int = 100_000
    kept_bytes: int = 16_777_216
    line_bytes: int = 8_192
    step_timeout: float = 600.0
    grace: float = 3.0

    def __post_init__(self) -> None:
        """Refuse limits that contradict each other."""
        active = self.concurrent_runs + self.queued_runs
        if self.kept_runs < active:
            raise ConfigError(
                f"limits.kept_runs: must be at least concurrent_runs + queued_runs ({active}), not {self.kept_runs}"
            )
        if self.kept_bytes < self.line_bytes:
            raise ConfigError(f"limits.kept_bytes: must be at least line_bytes ({self.line_bytes})")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a pipelines file declares. ``pipelines`` keeps the order of the file."""

    pipelines: Mapping[str, Pipeline]
    limits: Limits


def load(path: Path) -> Config:
    """
    Read the pipelines file at ``path``.

    Raises:
        ConfigError: If it cannot be read, is not TOML, or declares something impossible.
    """
    try:
        return parse(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse(document: Mapping[str, Any]) -> Config:
    """
    Check a parsed TOML document.

    Raises:
        ConfigError: On the first setting that is missing, unknown or impossible.
    """
    _only(document, {"limits", "pipelines"}, "")
    limits = _limits(_table(document.get("limits", {}), "limits"))
    declared = _table(document.get("pipelines", {}), "pipelines")
    if not declared:
        raise ConfigError("pipelines: declare at least one, as a table [pipelines.NAME]")
    return Config(
        {name: _pipeline(name, value, limits) for name, value in declared.items()}, limits
    )


def expand(step: Step, values: Mapping[str, str]) -> list[str]:
    """
    Return the step's command with ``{name}`` replaced by ``values["name"]``.

    Other braces stay as they are, so that commands may contain code.
    """
    return [
        _PLACEHOLDER.sub(lambda match: values.get(match[0][1:-1], match[0]), part)
        for part in step.command
    ]


def _limits(table: Mapping[str, Any]) -> Limits:
    _only(table, {entry.name for entry in fields(Limits)}, "limits")
    checked: dict[str, Any] = {}
    for name, value in table.items():
        setting = f"limits.{name}"
        if name in {"step_timeout", "grace"}:
            checked[name] = _seconds(value, setting)
        elif (
            isinstance(value, bool) or not isinstance(value, int) or value < (name != "queued_runs")
        ):
            least = 0 if name == "queued_runs" else 1
            raise ConfigError(
                f"{setting}: must be a whole number of at least {least}, not {value!r}"
            )
        else:
            checked[name] = value
    return Limits(**checked)


def _pipeline(name: str, value: object, limits: Limits) -> Pipeline:
    setting = f"pipelines.{name}"
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{setting}: a name is 1-64 of a-z, 0-9, - and _, starting with a letter or digit"
        )
    table = _table(value, setting)
    _only(table, {"title", "description", "steps"}, setting)
    declared = table.get("steps")
    if not isinstance(declared, list) or not declared:
        raise ConfigError(f"{setting}.steps: declare at least one, as [[{setting}.steps]]")
    steps = tuple(
        _step(entry, f"{setting}.steps[{index}]", limits) for index, entry in enumerate(declared)
    )
    names = [step.name for step in steps]
    if repeated := sorted({step for step in names if names.count(step) > 1}):
        raise ConfigError(
            f"{setting}.steps: two steps are named {repeated[0]!r}; names must differ"
        )
    return Pipeline(
        name=name,
        title=_text(table.get("title", name), f"{setting}.title"),
        description=_text(table.get("description", ""), f"{setting}.description", empty=True),
        steps=steps,
    )


def _step(value: object, setting: str, limits: Limits) -> Step:
    table = _table(value, setting)
    _only(table, {"name", "command", "timeout", "env"}, setting)
    for required in ("name", "command"):
        if required not in table:
            raise ConfigError(f"{setting}.{required}: is missing")
    command = table["command"]
    if not isinstance(command, list) or not command:
        raise ConfigError(
            f'{setting}.command: must be a list such as ["git", "status"], not {command!r}'
        )
    parts = tuple(
        _text(part, f"{setting}.command[{index}]", empty=index > 0)
        for index, part in enumerate(command)
    )
    if (found := _PLACEHOLDER.search(parts[0])) and found[0] not in {"{python}", "{root}", "{tmp}"}:
        raise ConfigError(
            f"{setting}.command[0]: {found[0]} is not one of {{python}}, {{root}}, {{tmp}}"
        )
    env = _table(table.get("env", {}), f"{setting}.env")
    for key, entry in env.items():
        if not key or "=" in key:
            raise ConfigError(f"{setting}.env: {key!r} is not a variable's name")
        _text(entry, f"{setting}.env.{key}", empty=True)
    return Step(
        name=_text(table["name"], f"{setting}.name"),
        command=parts,
        timeout=_seconds(table.get("timeout", limits.step_timeout), f"{setting}.timeout"),
        env=dict(env),
    )


def _only(table: Mapping[str, Any], allowed: Collection[str], setting: str) -> None:
    if unknown := sorted(set(table) - set(allowed)):
        name = f"{setting}.{unknown[0]}" if setting else unknown[0]
        raise ConfigError(f"{name}: unknown setting; allowed here: {', '.join(sorted(allowed))}")


def _table(value: object, setting: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{setting}: must be a table, not {value!r}")
    return value


def _text(value: object, setting: str, *, empty: bool = False) -> str:
    if not isinstance(value, str) or "\0" in value or not (value.strip() or empty):
        raise ConfigError(f"{setting}: must be {'' if empty else 'non-empty '}text, not {value!r}")
    return value


def _seconds(value: object, setting: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LONGEST:
        raise ConfigError(
            f"{setting}: must be a number of seconds above 0, at most {_LONGEST:.0f}, not {value!r}"
        )
    return float(value)
