"""Writes what was measured as a page of the reference, and nothing that was not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from supervisor.cli.load.results import BUSY
from tests.benchmarks.columns import COLUMNS, Column
from tests.benchmarks.results import Results, Spread
from tests.benchmarks.scenarios import MAIN, SCENARIOS, SECTIONS, Kind, Scenario, find_peer
from tests.benchmarks.targets import TARGETS

__all__ = ["CHART", "render"]

CHART = "benchmarks.svg"

OPENING = """\
# Benchmarks

What a delivery costs, beside other ways to fan out: measured by `make bench`, which writes this
page. [How the benchmark measures](../explanation/benchmarks.md) says what is compared, what each
server does, and how to read the tables.
"""

REPEAT = """\
## Repeat it

```sh
make bench                                              # everything, about 24 minutes
make bench ARGS="--quick"                               # fewer and shorter runs, 4 minutes
make bench ARGS="--list"                                # who there is, and what is measured
make bench ARGS="--peers ours,nats --scenarios queued-128"
make bench-micro                                        # within one process, without sockets
```

Only a complete run writes this page; every run leaves its raw results, and a page of its own, in
`build/bench/`. Its raw results make the page again without another run:
`make bench ARGS="--render build/bench/results.json"`.

A run of all scenarios of one section takes the place of that section on the page, which says so, with
`--merge`: `make bench ARGS="--scenarios keeping,appends,bursts,replay --merge"`. That needs the raw
results of a complete run, in `build/bench/complete.json`.
"""

NO_RUN = """\
No run has been written here yet. `make bench` makes one, and writes it here.
"""


BEST_IS_MOST = {Kind.THROUGHPUT, Kind.STALLED, Kind.APPENDS, Kind.REPLAY}


def render(results: Results, *, chart: bool = False) -> str:
    """Return the page as Markdown."""
    parts = [OPENING]
    if not results.rows:
        parts.append(NO_RUN)
    else:
        parts += [_about(results), *_targets(results, MAIN)]
        if chart:
            parts.append(f"![Deliveries per second of all, as bars]({CHART})\n")
        for section in SECTIONS:
            parts += _section(results, section)
        if results.missing:
            parts.append(_missing(results))
    return "\n".join([*parts, REPEAT])


def _about(results: Results) -> str:
    about = results.about
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    pinned = (
        "Servers were pinned to one core, receivers and publishers to another."
        if about["pinned"]
        else "The machine has one core: servers and receivers shared it, and nothing was pinned."
    )
    rounds = int(about["rounds"])
    figures = (
        f"medians, smallest and\nlargest of {rounds} interleaved runs."
        if rounds > 1
        else "one run each."
    )
    return "\n".join(
        [
            "## What was measured",
            "",
            *_caveat(results),
            f"{about['date']}, {about['processor']}, {about['cores']} cores, {about['kernel']}.",
            pinned,
            f"{about['members']:,} receivers where nothing else is said; {figures}",
            *([f"The run took {about['minutes']} minutes."] if about.get("minutes") else []),
            "",
            f"Versions: {versions}.",
            "",
        ]
    )


def _caveat(results: Results) -> Iterator[str]:
    """Say how the run differs from one that the goals are for."""
    kinds = []
    if results.quick:
        kinds.append("with fewer receivers, or fewer or shorter rounds, than the goals have")
    if results.about.get("interrupted"):
        kinds.append("interrupted")
    elif results.partial:
        kinds.append("of some peers or scenarios only")
    if kinds:
        then = (
            "ratios are no verdicts on the goals" if results.quick else "verdicts are no final ones"
        )
        yield f"> **Not a complete run:** {', and '.join(kinds)}. Its {then}."
        yield ""


def _section(results: Results, section: str) -> Iterator[str]:
    """Return the tables of a section; all but the first have a heading, and their goals with them."""
    scenarios = [
        scenario
        for scenario in SCENARIOS
        if scenario.section == section and results.measured(scenario.key)
    ]
    if section != MAIN and scenarios:
        yield f"## {section}\n"
        later = results.later.get(section)
        if later is not None:
            minutes = f" It took {later['minutes']} minutes." if later.get("minutes") else ""
            versions = ", ".join(f"{name} {each}" for name, each in later["versions"].items())
            yield (
                f"Of a run of its own, on {later['date']}, {later['kernel']}; {later['rounds']} "
                f"interleaved runs.{minutes} Versions: {versions}.\n"
            )
        yield from _targets(results, section)
    for scenario in scenarios:
        yield _scenario(results, scenario)


def _targets(results: Results, section: str) -> Iterator[str]:
    lines = [
        *(["## What was to be reached", ""] if section == MAIN else []),
        *_table_head("", "goal", "measured", "by the server's CPU", ""),
    ]
    measured = 0
    for target in TARGETS:
        if target.section != section:
            continue
        verdict = target.verdict(results)
        measured += verdict.value is not None
        if verdict.value is None and results.partial:
            continue
        by_cpu = None if target.by_cpu is None else target.by_cpu(results)
        lines.append(
            _line(
                target.words(results),
                target.bound,
                "" if verdict.value is None else target.number(verdict.value),
                "" if by_cpu is None else target.number(by_cpu),
                f"**{verdict.text}**" if verdict.final else verdict.text,
            )
        )
    if measured or not results.partial:
        yield "\n".join([*lines, ""])


def _scenario(results: Results, scenario: Scenario) -> str:
    columns = COLUMNS[scenario.kind]
    remarks = list(_remarks(results, scenario))
    lines = [
        f"{'##' if scenario.section == MAIN else '###'} {scenario.heading(results.shrink)}",
        "",
        *_table_head("", *(column.heading for column in columns), "lost"),
    ]
    ordered = sorted(
        (peer for peer in scenario.peers if peer.key not in results.missing),
        key=lambda peer: _rank(results.median(scenario.key, peer.key, columns[0].value), scenario),
    )
    for peer in ordered:
        cells = [results.spread(scenario.key, peer.key, column.value) for column in columns]
        if not any(cells) and not results.notes(scenario.key, peer.key):
            continue
        lost = results.lost(scenario.key, peer.key)
        lines.append(
            _line(
                f"**{peer.label}**" if peer.ours else peer.label,
                *(_cell(cell, column) for cell, column in zip(cells, columns, strict=True)),
                f"**{lost:,}**" if lost else "0",
            )
        )
    return "\n".join(
        [*lines, "", *(f"- {remark}" for remark in remarks), *([""] if remarks else [])]
    )


def _rank(value: float | None, scenario: Scenario) -> float:
    """Return what sorts the best to the top."""
    if value is None:
        return float("inf")
    return -value if scenario.kind in BEST_IS_MOST else value


def _remarks(results: Results, scenario: Scenario) -> Iterator[str]:
    limited = []
    for peer in scenario.peers:
        for note in results.notes(scenario.key, peer.key):
            yield f"{peer.label}: {note}."
        if results.lost(scenario.key, peer.key):
            yield f"{peer.label} lost messages: its figures are not comparable."
        busy = results.median(scenario.key, peer.key, "client_busy")
        if busy is not None and busy > BUSY and scenario.kind in {Kind.THROUGHPUT, Kind.REPLAY}:
            limited.append(peer.label)
        if peer.note and results.median(scenario.key, peer.key, "rate") is not None:
            yield f"{peer.label}: {peer.note}."
    if limited:
        yield (
            f"The client had no more than {1 - BUSY:.0%} of its core left, and may have set the "
            f"pace, with: {', '.join(limited)}. Compare these by the server's CPU."
        )


def _missing(results: Results) -> str:
    rows = (f"- {find_peer(key).label}: {why}" for key, why in results.missing.items())
    return "\n".join(["## Not here", "", *rows, ""])


def _cell(spread: Spread | None, column: Column) -> str:
    if spread is None:
        return ""
    form = column.form.format
    if spread.least == spread.most:
        return form(spread.median)
    return f"{form(spread.median)} ({form(spread.least)} to {form(spread.most)})"


def _table_head(*headings: str) -> Iterable[str]:
    return (_line(*headings), "|---" + "|---:" * (len(headings) - 1) + "|")


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
