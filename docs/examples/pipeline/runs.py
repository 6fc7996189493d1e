"""
A run: one execution of a pipeline, and the states of its steps.

Values and their rules only; :mod:`pipeline.runner` moves them. Every change of state
goes through one setter, which refuses a step that makes no sense.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from pipeline.config import Pipeline, Step, expand

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Run", "State", "StepRun"]


class State(StrEnum):
    """Where a step, or a whole run, stands. A run that waits for its turn is pending."""

    PENDING = "pending"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Say whether nothing follows."""
        return self not in (State.PENDING, State.RUNNING)


_SHOWN = 160  # characters of a command

_NEXT: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset({State.RUNNING, State.SKIPPED, State.CANCELLED, State.FAILED}),
    State.RUNNING: frozenset({State.PASSED, State.FAILED, State.CANCELLED}),
}


@dataclass(slots=True, kw_only=True)
class _Progress:
    """What runs and steps have in common. Times are seconds since 1970."""

    state: State = State.PENDING
    started: float | None = None
    finished: float | None = None
    detail: str = ""

    def become(self, state: State, now: float, detail: str = "") -> None:
        """
        Move on to ``state``; ``detail`` says why, for people.

        Raises:
            ValueError: If ``state`` cannot follow the present one.
        """
        if state not in _NEXT.get(self.state, frozenset()):
            raise ValueError(f"{state} cannot follow {self.state}")
        self.state = state
        self.detail = detail
        if state is State.RUNNING:
            self.started = now
        else:
            self.finished = now


@dataclass(slots=True, kw_only=True)
class StepRun(_Progress):
    """One step of a run."""

    name: str
    command: str
    exit_code: int | None = None


@dataclass(slots=True, kw_only=True)
class Run(_Progress):
    """One execution of a pipeline. Everybody sees its fields as they are; ``run`` is its id."""

    run: str
    pipeline: str
    title: str
    created: float
    steps: list[StepRun] = field(default_factory=list)

    @classmethod
    def of(cls, pipeline: Pipeline, run: str, now: float) -> Self:
        """Return a new run of ``pipeline``."""
        steps = [StepRun(name=step.name, command=_display(step)) for step in pipeline.steps]
        return cls(run=run, pipeline=pipeline.name, title=pipeline.title, created=now, steps=steps)

    @classmethod
    def restore(cls, values: Mapping[str, Mapping[str, Any]]) -> Self:
        """Return the run that :meth:`values` described."""

        def fields(key: str) -> dict[str, Any]:
            return {**values[key], "state": State(values[key]["state"])}

        steps = [StepRun(**fields(f"step:{number}")) for number in range(len(values) - 1)]
        return cls(**fields("run"), steps=steps)

    def values(self) -> dict[str, dict[str, Any]]:
        """Return what is published of it, by key; the steps come first."""
        run = asdict(self)
        steps = run.pop("steps")
        return {**{f"step:{number}": step for number, step in enumerate(steps)}, "run": run}

    def settle(self, state: State, now: float, detail: str = "") -> None:
        """
        End the run in ``state``, with every step that has not ended.

        A step that was running is cancelled or failed with the run; those
        that had not begun are skipped.
        """
        for step in self.steps:
            if step.state is State.RUNNING:
                step.become(
                    State.CANCELLED if state is State.CANCELLED else State.FAILED, now, detail
                )
            elif step.state is State.PENDING:
                step.become(State.SKIPPED, now)
        self.become(state, now, detail)


def _display(step: Step) -> str:
    """Return the step's command for people: on one line, not too long, without the server's paths."""
    command = expand(step, {"python": "python", "root": ".", "tmp": "TMP"})
    line = " ".join(" ".join(map(_quote, command)).split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


def _quote(part: str) -> str:
    """Quote for people: as a shell would need it, with the quotes that need no escapes."""
    simple = "'" in part and not any(mark in part for mark in '"$`\\!')
    return f'"{part}"' if simple else shlex.quote(part)
