"""Writes what was measured as a page of the reference, and nothing that was not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from supervisor.cli.load.results import BUSY
from tests.benchmarks.results import Results, Spread
from tests.benchmarks.scenarios import SCENARIOS, Kind, Scenario, find_peer
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
make bench                                              # everything, about 20 minutes
make bench ARGS="--quick"                               # fewer and shorter runs, 3 minutes
make bench ARGS="--peers ours,nats --scenarios queued-128"
make bench-micro                                        # within one process, without sockets
```

Only a complete run writes this page; every run leaves its raw results, and a page of its own, in
`build/bench/`.
"""


@dataclass(frozen=True)
class _Column:
    """One value of a table: its heading, and its format."""

    value: str
    heading: str
    form: str = "{:.1f}"


_COLUMNS = {
    Kind.THROUGHPUT: (
        _Column("rate", "deliveries/s", "{:,.0f}"),
        _Column("cpu_us", "server CPU per delivery, µs", "{:.2f}"),
    ),
    Kind.LATENCY: (
        _Column("last_ms", "last receiver, median, ms"),
        _Column("p99_ms", "all receipts, p99, ms"),
        _Column("longest_ms", "longest, ms"),
        _Column("gc_ms", "longest collection, ms"),
    ),
    Kind.STALLED: (
        _Column("kept", "the others' rate, of that before", "{:.2f}"),
        _Column("rate_alone", "before, deliveries/s", "{:,.0f}"),
        _Column("rate", "while one stalls", "{:,.0f}"),
        _Column("cpu_alone_us", "CPU per delivery before, µs", "{:.2f}"),
        _Column("cpu_us", "while one stalls, µs", "{:.2f}"),
        _Column("growth_kib", "growth of memory, KiB", "{:,.0f}"),
    ),
    Kind.IDLE: (_Column("kib", "KiB per connection"),),
    Kind.SCALE: (
        _Column("cpu_us", "server CPU per delivery, µs", "{:.2f}"),
        _Column("rate", "deliveries/s", "{:,.0f}"),
    ),
    Kind.CHURN: (
        _Column("seconds", "seconds", "{:.2f}"),
        _Column("connection_us", "server CPU per connection, µs", "{:,.0f}"),
    ),
}


def render(results: Results, *, chart: bool = False) -> str:
    """Return the page as Markdown."""
    parts = [OPENING]
    if not results.rows:
        parts.append("No run has been written here yet.\n")
    else:
        parts += [_about(results), _targets(results)]
        if chart:
            parts.append(f"![Deliveries per second of all, as bars]({CHART})\n")
        parts += [
            _scenario(results, scenario) for scenario in SCENARIOS if results.measured(scenario.key)
        ]
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
    return "\n".join(
        [
            "## What was measured",
            "",
            f"{about['date']}, {about['processor']}, {about['cores']} cores, {about['kernel']}.",
            pinned,
            f"{about['members']:,} receivers where nothing else is said; medians, smallest and",
            f"largest of {about['rounds']} interleaved runs.",
            "",
            f"Versions: {versions}.",
            "",
        ]
    )


def _targets(results: Results) -> str:
    lines = [
        "## What was to be reached",
        "",
        *_table_head("", "goal", "measured", "by the server's CPU", ""),
    ]
    for target in TARGETS:
        verdict = target.verdict(results)
        by_cpu = None if target.by_cpu is None else target.by_cpu(results)
        lines.append(
            _line(
                target.what,
                f"{'≤' if target.at_most else '≥'} {_number(target.goal)}{target.unit}",
                "" if verdict.value is None else f"{_number(verdict.value)}{target.unit}",
                "" if by_cpu is None else f"{_number(by_cpu)}{target.unit}",
                verdict.text if verdict.value is None else f"**{verdict.text}**",
            )
        )
    return "\n".join([*lines, ""])


def _scenario(results: Results, scenario: Scenario) -> str:
    columns = _COLUMNS[scenario.kind]
    remarks = list(_remarks(results, scenario))
    shrink = results.about["shrink"]
    if scenario.members is not None and shrink > 1:
        remarks.append(f"A quick run: with {scenario.members // shrink:,} receivers only.")
    lines = [
        f"## {scenario.title}",
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
                f"**{peer.label}**" if peer.module == "ours" else peer.label,
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
    return -value if scenario.kind in {Kind.THROUGHPUT, Kind.STALLED} else value


def _remarks(results: Results, scenario: Scenario) -> Iterator[str]:
    limited = []
    for peer in scenario.peers:
        for note in results.notes(scenario.key, peer.key):
            yield f"{peer.label}: {note}."
        if results.lost(scenario.key, peer.key):
            yield f"{peer.label} lost messages: its figures are not comparable."
        busy = results.median(scenario.key, peer.key, "client_busy")
        if busy is not None and busy > BUSY and scenario.kind is Kind.THROUGHPUT:
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


def _cell(spread: Spread | None, column: _Column) -> str:
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


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
