"""What is to be reached, as ratios of one run; and whether it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.benchmarks.results import Results
from tests.benchmarks.scenarios import KEEPING, LINES, MAIN, shrunk

__all__ = ["TARGETS", "Target", "Verdict"]


@dataclass(frozen=True)
class Verdict:
    """
    What became of a target.

    Attributes:
        value: What was measured; None if something of it was not.
        text: "reached", "missed by ...", "not measured", or why neither can be said.
        final: Whether it is the word on the goal: of a complete run, as the goal has it.
    """

    value: float | None
    text: str
    final: bool = False


@dataclass(frozen=True)
class Target:
    """
    One thing to be reached.

    Attributes:
        what: For readers; ``{:,}`` are the numbers of ``members``.
        goal: The bound.
        at_most: Whether the value has to stay below the goal, or to reach it.
        value: Computes it; None if something was not measured.
        unit: Of value and goal.
        by_cpu: The same ratio by the server's CPU time, where the client may set the pace.
        members: Receivers, or lines, that ``what`` speaks of, in a run that is not quick.
        section: Of the page.
    """

    what: str
    goal: float
    at_most: bool
    value: Callable[[Results], float | None]
    unit: str = " x"
    by_cpu: Callable[[Results], float | None] | None = None
    members: tuple[int, ...] = ()
    section: str = MAIN

    @property
    def bound(self) -> str:
        """The goal, for readers."""
        return f"{'≤' if self.at_most else '≥'} {self.number(self.goal)}"

    def number(self, value: float) -> str:
        """Return a value with its unit, for readers."""
        return f"{f'{value:,.0f}' if value >= 100 else f'{value:.2f}'}{self.unit}"

    def words(self, results: Results) -> str:
        """Return what it is about, with the numbers that the run had."""
        return self.what.format(*(shrunk(members, results.shrink) for members in self.members))

    def verdict(self, results: Results) -> Verdict:
        """Compare."""
        value = self.value(results)
        if value is None:
            return Verdict(None, "not measured")
        if results.quick:
            return Verdict(value, "not the goal's conditions")
        missed = value - self.goal if self.at_most else self.goal - value
        share = missed / self.goal if self.goal else missed
        text = "reached" if missed <= 0 else f"missed by {share:.0%}"
        if results.partial:
            return Verdict(value, f"{text}, in part of a run")
        return Verdict(value, text, final=True)


def _median(scenario: str, peer: str, value: str) -> Callable[[Results], float | None]:
    return lambda results: results.median(scenario, peer, value)


def _per_second(scenario: str, peer: str, micros: str) -> Callable[[Results], float | None]:
    """Return how many a second of the server's CPU allows, of what takes so many microseconds."""

    def rate(results: Results) -> float | None:
        each = results.median(scenario, peer, micros)
        return 1e6 / each if each else None

    return rate


def _ratio(scenario: str, value: str, ours: str, other: str) -> Callable[[Results], float | None]:
    """Return ours divided by the other's."""

    def ratio(results: Results) -> float | None:
        mine = results.median(scenario, ours, value)
        theirs = results.median(scenario, other, value)
        return mine / theirs if mine is not None and theirs else None

    return ratio


def _inverse(ratio: Callable[[Results], float | None]) -> Callable[[Results], float | None]:
    def inverse(results: Results) -> float | None:
        found = ratio(results)
        return 1 / found if found else None

    return inverse


def _faster(what: str, scenario: str, goal: float, other: str, ours: str = "ours") -> Target:
    """Deliveries a second, at least so many times the other's."""
    return Target(
        what,
        goal,
        at_most=False,
        value=_ratio(scenario, "rate", ours, other),
        by_cpu=_inverse(_ratio(scenario, "cpu_us", ours, other)),
    )


def _growth(first: str, last: str) -> Callable[[Results], float | None]:
    """Return how much faster the CPU per delivery grows than the ready frame's."""

    def growth(results: Results) -> float | None:
        found = [
            results.median(scenario, peer, "cpu_us")
            for peer in ("ours", "ready-frame")
            for scenario in (last, first)
        ]
        mine, mine_first, theirs, theirs_first = found
        if not (mine and mine_first and theirs and theirs_first):
            return None
        return (mine / mine_first) / (theirs / theirs_first)

    return growth


def _longest_collection(results: Results) -> float | None:
    spread = results.spread("latency", "ours", "gc_ms")
    return None if spread is None else spread.most


def _kept_by_cpu(results: Results) -> float | None:
    alone = results.median("one-stalls", "ours-dropping", "cpu_alone_us")
    stalled = results.median("one-stalls", "ours-dropping", "cpu_us")
    return alone / stalled if alone and stalled else None


def _targets() -> Iterator[Target]:
    for key, size in (("one-128", "128 B"), ("one-1k", "1 KiB")):
        yield Target(
            f"one at a time, {size}: CPU per delivery, of the ready frame's",
            1.10,
            at_most=True,
            value=_ratio(key, "cpu_us", "ours", "ready-frame"),
        )
    for key, size in (("queued-128", "128 B"), ("queued-1k", "1 KiB")):
        yield _faster(f"queued, {size}: deliveries/s, of nats-server's", key, 2.0, "nats")
        yield _faster(f"queued, {size}: deliveries/s, of the tutorial's", key, 40.0, "tutorial")
    yield _faster("one at a time, 16 KiB: deliveries/s, of Nchan's", "one-16k", 1.1, "nchan")
    yield _faster("queued, 16 KiB: deliveries/s, of Nchan's", "queued-16k", 1.1, "nchan")
    yield Target(
        "20 a second: median until the last receiver, of the ready frame's",
        1.15,
        at_most=True,
        value=_ratio("latency", "last_ms", "ours", "ready-frame"),
    )
    yield Target(
        "20 a second: p99 of all receipts, of the ready frame's",
        1.15,
        at_most=True,
        value=_ratio("latency", "p99_ms", "ours", "ready-frame"),
    )
    yield Target(
        "20 a second: longest pause for the garbage collector",
        30.0,
        at_most=True,
        value=_longest_collection,
        unit=" ms",
    )
    yield Target(
        "one client stalls: the others' rate, of that before",
        0.97,
        at_most=False,
        value=_median("one-stalls", "ours-dropping", "kept"),
        by_cpu=_kept_by_cpu,
    )
    yield Target(
        "one client stalls: growth of memory, 2 x its mailbox's bound",
        2048.0,
        at_most=True,
        value=_median("one-stalls", "ours-dropping", "growth_kib"),
        unit=" KiB",
    )
    for peer, goal, where in (
        ("ours", 28.0, "in a FastAPI endpoint"),
        ("ours-plain", 14.0, "on the supervisor's own endpoint"),
    ):
        yield Target(
            f"{{:,}} idle connections, each {where}",
            goal,
            at_most=True,
            value=_median("idle", peer, "kib"),
            unit=" KiB",
            members=(5_000,),
        )
    for first, last in ((100, 1_000), (1_000, 10_000)):
        yield Target(
            "{:,} to {:,} members: growth of CPU per delivery, of the ready frame's",
            1.1,
            at_most=True,
            value=_growth(f"scale-{first}", f"scale-{last}"),
            members=(first, last),
        )
    yield Target(
        "{:,} sockets connect and leave: time, of the tutorial's",
        1.3,
        at_most=True,
        value=_ratio("churn", "seconds", "ours", "tutorial"),
        by_cpu=_ratio("churn", "connection_us", "ours", "tutorial"),
        members=(1_000,),
    )
    for key, size in (("one-128", "128 B"), ("one-1k", "1 KiB")):
        yield _faster(
            f"ASGI path, one at a time, {size}: deliveries/s, of the tutorial's",
            key,
            1.2,
            "tutorial",
            "ours-asgi",
        )


def _keeping() -> Iterator[Target]:
    yield Target(
        "kept in memory: CPU that keeping adds to a publication, beyond the fan-out",
        2.0,
        at_most=True,
        value=_median("keeping", "keeps-memory", "append_us"),
        unit=" µs",
        section=KEEPING,
    )
    yield Target(
        "kept in SQLite: appends/s of the store, in batches",
        50_000.0,
        at_most=False,
        value=_median("appends", "keeps-sqlite", "store_rate"),
        unit="/s",
        section=KEEPING,
    )
    for peer, durability in (("keeps-sqlite", "written"), ("keeps-sqlite-early", "memory")):
        yield Target(
            f"bursts, SQLite with durability {durability}: p99 of all receipts, of memory's",
            1.5,
            at_most=True,
            value=_ratio("bursts", "p99_ms", peer, "keeps-memory"),
            section=KEEPING,
        )
    for peer, store in (("keeps-memory", "memory"), ("keeps-sqlite", "SQLite")):
        yield Target(
            f"{{:,}} lines replayed from {store}: lines/s",
            200_000.0,
            at_most=False,
            value=_median("replay", peer, "replay_rate"),
            unit="/s",
            by_cpu=_per_second("replay", peer, "line_us"),
            members=(LINES,),
            section=KEEPING,
        )
        yield Target(
            f"{{:,}} lines replayed from {store}: the others' p99 is raised by",
            2.0,
            at_most=True,
            value=_median("replay", peer, "raised_ms"),
            unit=" ms",
            members=(LINES,),
            section=KEEPING,
        )


TARGETS = (*_targets(), *_keeping())
"""In the order of the page."""
