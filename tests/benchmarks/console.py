"""What a run says while it lasts: a table for each scenario, which grows by a line a run."""

from __future__ import annotations

from collections.abc import Callable

from tests.benchmarks.columns import COLUMNS, Column
from tests.benchmarks.results import Results, Row
from tests.benchmarks.scenarios import ALL_PEERS, find_peer, find_scenario
from tests.benchmarks.targets import TARGETS

__all__ = ["Log", "summary"]

NAME = max(len(peer.label) for peer in ALL_PEERS)


class Log:
    """
    Prints rows as they come.

    Args:
        say: Prints a line.
        shrink: What the scenarios' numbers of receivers are divided by.
    """

    def __init__(self, say: Callable[[str], None], shrink: int) -> None:
        self._say = say
        self._shrink = shrink
        self._scenario = ""
        self._rounds: dict[str, int] = {}

    def row(self, row: Row) -> None:
        """Print a run; before the first of a scenario, what its columns are."""
        scenario = find_scenario(row.scenario)
        columns = COLUMNS[scenario.kind]
        if row.scenario != self._scenario:
            self._scenario = row.scenario
            self._rounds.clear()
            heads = "".join(f"  {column.short:>{_width(column)}}" for column in columns)
            self._say("")
            self._say(f"{scenario.heading(self._shrink)} ({scenario.key})")
            self._say(f"{'run':>3}  {'':{NAME}}{heads}")
        self._rounds[row.peer] = number = self._rounds.get(row.peer, 0) + 1
        cells = "".join(f"  {_cell(row, column):>{_width(column)}}" for column in columns)
        lost = f"  LOST {row.lost:,}" if row.lost else ""
        note = f"  {row.note}" if row.note else ""
        self._say(f"{number:>3}  {find_peer(row.peer).label:{NAME}}{cells}{lost}{note}".rstrip())


def _width(column: Column) -> int:
    return max(12, len(column.short))


def _cell(row: Row, column: Column) -> str:
    value = row.values.get(column.value)
    return "" if value is None else column.form.format(value)


def summary(results: Results) -> list[str]:
    """Return what became of the goals of which anything was measured."""
    table = []
    for target in TARGETS:
        verdict = target.verdict(results)
        if verdict.value is None:
            continue
        by_cpu = None if target.by_cpu is None else target.by_cpu(results)
        table.append(
            (
                target.words(results),
                target.bound,
                target.number(verdict.value),
                "" if by_cpu is None else target.number(by_cpu),
                "" if results.quick else verdict.text,
            )
        )
    if not table:
        return []
    heads = ("", "goal", "measured", "by CPU", "")
    widths = [max(map(len, column)) for column in zip(heads, *table, strict=True)]
    lines = [
        f"{line[0]:{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(line[1:4], widths[1:4], strict=True))
        + f"  {line[4]}"
        for line in (heads, *table)
    ]
    caveat = ["Not the goals' conditions: no verdicts."] if results.quick else []
    return [*(line.rstrip() for line in lines), *caveat]
