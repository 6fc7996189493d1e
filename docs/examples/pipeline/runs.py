"""
A run: one execution of a pipeline, its steps' states and its log.

Values and their rules only; :mod:`pipeline.runner` moves them. Every change of state
goes through one setter, which refuses a step that makes no sense.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pipeline.config import Limits, Pipeline, Step, expand
from pipeline.lines import LineRing

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


@dataclass(slots=True)
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


@dataclass(slots=True)
class StepRun(_Progress):
    """One step of a run."""

    name: str = ""
    command: str = ""
    exit_code: int | None = None

    def summary(self) -> dict[str, Any]:
        """Return the step as viewers see it."""
        return {
            "name": self.name,
            "command": self.command,
            "state": self.state,
            "started": self.started,
            "finished": self.finished,
            "exit_code": self.exit_code,
            "detail": self.detail,
        }


class Run(_Progress):
    """
    One execution of ``pipeline``.

    ``version`` grows with every change of state, so that a viewer can tell the newer
    of two summaries however they reached it.
    """

    def __init__(self, run_id: str, pipeline: Pipeline, limits: Limits, *, now: float) -> None:
        super().__init__()
        self.id = run_id
        self.pipeline = pipeline
        self.created = now
        self.version = 0
        self.unpublished = 0  # messages the supervisor refused; viewers fetch those lines
        self.lines = LineRing(lines=limits.kept_lines, size=limits.kept_bytes)
        self.steps = [StepRun(name=step.name, command=_display(step)) for step in pipeline.steps]

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

    def message(self, now: float) -> dict[str, Any]:
        """Return the summary as a message; ``now`` lets viewers set their clock by the server's."""
        return {"type": "state", "time": now, **self.summary()}

    def summary(self) -> dict[str, Any]:
        """Return the run as viewers see it; ``lines`` is the number of its last line."""
        return {
            "run": self.id,
            "pipeline": self.pipeline.name,
            "title": self.pipeline.title,
            "state": self.state,
            "detail": self.detail,
            "version": self.version,
            "created": self.created,
            "started": self.started,
            "finished": self.finished,
            "lines": self.lines.last,
            "omitted": self.lines.omitted,
            "steps": [step.summary() for step in self.steps],
        }


def _display(step: Step) -> str:
    """Return the step's command for people: on one line, not too long, without the server's paths."""
    command = expand(step, {"python": "python", "root": ".", "tmp": "TMP"})
    line = " ".join(" ".join(map(_quote, command)).split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


def _quote(part: str) -> str:
    """Quote for people: as a shell would need it, with the quotes that need no escapes."""
    simple = "'" in part and not any(mark in part for mark in '"$`\\!')
    return f'"{part}"' if simple else shlex.quote(part)
