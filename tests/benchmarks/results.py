"""What was measured: one row a run, and the medians of the rows."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Results", "Row", "Spread"]


@dataclass(frozen=True)
class Row:
    """
    One run of one peer in one scenario.

    Attributes:
        scenario: Its key.
        peer: Its key.
        values: What was measured, by name.
        lost: Messages that did not arrive, or not once, or not in order.
        note: What went wrong; empty if nothing did.
    """

    scenario: str
    peer: str
    values: dict[str, float]
    lost: int = 0
    note: str = ""


@dataclass(frozen=True)
class Spread:
    """Median of several runs, with the smallest and the largest."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Return the spread of ``values``, of which there is at least one."""
        found = sorted(values)
        return cls(statistics.median(found), found[0], found[-1])


@dataclass
class Results:
    """
    A whole run of the benchmark.

    Attributes:
        about: Machine, versions and options, by name.
        missing: Why a peer did not take part, by key.
        rows: All runs, in their order.
    """

    about: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    @property
    def shrink(self) -> int:
        """What the scenarios' numbers of receivers were divided by."""
        return int(self.about.get("shrink", 1))

    @property
    def quick(self) -> bool:
        """Whether receivers, rounds or seconds were fewer than the goals have."""
        return bool(self.about.get("quick")) or self.shrink > 1

    @property
    def partial(self) -> bool:
        """Whether peers or scenarios were left out, or the run was interrupted."""
        return bool(self.about.get("partial") or self.about.get("interrupted"))

    @property
    def later(self) -> dict[str, dict[str, Any]]:
        """What is to be known of the runs that brought single sections, by section."""
        found: dict[str, dict[str, Any]] = self.about.get("later", {})
        return found

    def with_section(self, section: str, scenarios: Iterable[str], run: Results) -> Results:
        """
        Return these results with ``section`` as another run has measured it.

        Args:
            section: Of the page.
            scenarios: The keys of all that are in it.
            run: Has measured all of them.

        Raises:
            ValueError: If the two are not to be shown on one page: of another machine, or not under the
                conditions of the goals.
        """
        keys = set(scenarios)
        if unmeasured := sorted(key for key in keys if not run.measured(key)):
            raise ValueError(f"{section}: not measured: {', '.join(unmeasured)}")
        if run.quick or run.about.get("interrupted"):
            raise ValueError(f"{section}: the run was quick, or interrupted")
        for what in ("processor", "cores", "members", "pinned"):
            if run.about[what] != self.about[what]:
                raise ValueError(
                    f"{section}: {what} was {run.about[what]}, and {self.about[what]} before"
                )
        known = ("date", "kernel", "rounds", "minutes", "versions")
        about = {name: run.about[name] for name in known if name in run.about}
        return Results(
            {**self.about, "later": {**self.later, section: about}},
            dict(self.missing),
            [row for row in self.rows if row.scenario not in keys]
            + [row for row in run.rows if row.scenario in keys],
        )

    def spread(self, scenario: str, peer: str, value: str) -> Spread | None:
        """Return the median of that value; None if it was never measured."""
        found = [
            row.values[value]
            for row in self.rows
            if row.scenario == scenario and row.peer == peer and value in row.values
        ]
        return Spread.of(found) if found else None

    def median(self, scenario: str, peer: str, value: str) -> float | None:
        """Return the median of that value; None if it was never measured."""
        spread = self.spread(scenario, peer, value)
        return None if spread is None else spread.median

    def lost(self, scenario: str, peer: str) -> int:
        """Return how many messages were lost in all runs together."""
        return sum(row.lost for row in self.rows if row.scenario == scenario and row.peer == peer)

    def notes(self, scenario: str, peer: str) -> list[str]:
        """Return what went wrong, each thing once."""
        notes = (
            row.note
            for row in self.rows
            if row.scenario == scenario and row.peer == peer and row.note
        )
        return list(dict.fromkeys(notes))

    def measured(self, scenario: str) -> bool:
        """Whether anything was."""
        return any(row.scenario == scenario for row in self.rows)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what :meth:`save` wrote."""
        data = json.loads(path.read_text())
        return cls(data["about"], data["missing"], [Row(**row) for row in data["rows"]])
