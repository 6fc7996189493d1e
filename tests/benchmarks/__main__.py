"""
Compares wsupervisor with its peers, over real sockets, on this machine.

usage: python -m tests.benchmarks [--quick] [--peers ...] [--scenarios ...]   (`make bench`)
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.benchmarks.chart import draw
from tests.benchmarks.environment import BUILD, ROOT, Machine, prepare
from tests.benchmarks.page import CHART, render
from tests.benchmarks.results import Results, Row
from tests.benchmarks.runner import Options, Runner, most_descriptors
from tests.benchmarks.scenarios import SCENARIOS, Scenario
from tests.benchmarks.targets import TARGETS

REFERENCE = ROOT / "docs" / "reference"

QUICK = Options(members=200, rounds=1, seconds=0.3, shrink=10)


def main() -> int:
    """Measure, and write what was measured."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="few receivers, one short round")
    parser.add_argument("--peers", help="of these only, by key, with commas")
    parser.add_argument("--scenarios", help="these only, by key or its beginning, with commas")
    parser.add_argument("--members", type=int, help="receivers, 1000 by default")
    parser.add_argument("--rounds", type=int, help="runs whose median is taken, 3 by default")
    parser.add_argument("--seconds", type=float, help="that a run takes, 1 by default")
    parser.add_argument("--list", action="store_true", help="print peers and scenarios, and stop")
    parser.add_argument(
        "--page", action="store_true", help="write the page of the reference, whatever was measured"
    )
    parser.add_argument(
        "--render", type=Path, metavar="JSON", help="write the page from raw results, and stop"
    )
    arguments = parser.parse_args()
    console = Console(stderr=True)
    if arguments.list:
        _list()
        return 0
    if arguments.render is not None:
        _write(Results.load(arguments.render), REFERENCE)
        return 0
    scenarios = _chosen(arguments.peers, arguments.scenarios)
    if not scenarios:
        parser.error("nothing is left to measure; --list shows peers and scenarios")
    given = {
        name: value
        for name in ("members", "rounds", "seconds")
        if (value := getattr(arguments, name)) is not None
    }
    options = replace(QUICK if arguments.quick else Options(), **given)
    complete = not (arguments.quick or arguments.peers or arguments.scenarios or given)
    results = _measure(scenarios, options, console)
    BUILD.mkdir(parents=True, exist_ok=True)
    results.save(BUILD / "results.json")
    _write(results, BUILD)
    interrupted = bool(results.about.get("interrupted"))
    if (complete or arguments.page) and not interrupted:
        _write(results, REFERENCE)
    _summary(results, console)
    console.print(f"Raw results and page: {BUILD.relative_to(ROOT)}/", highlight=False)
    return 130 if interrupted else 0


def _measure(scenarios: list[Scenario], options: Options, console: Console) -> Results:
    environment = prepare(lambda text: console.print(text, highlight=False))
    machine = Machine.here()
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_descriptors(), most_descriptors()))
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    total = sum(len(scenario.peers) for scenario in scenarios) * options.rounds
    task = progress.add_task("Starting", total=total)

    def step(row: Row) -> None:
        progress.advance(task)
        if row.note or row.lost or not console.is_terminal:
            values = " ".join(f"{name}={value:,.4g}" for name, value in row.values.items())
            lost = f" LOST {row.lost:,}" if row.lost else ""
            console.print(
                f"{row.scenario:12} {row.peer:18} {values} {row.note}{lost}".rstrip(),
                highlight=False,
                soft_wrap=True,
            )

    runner = Runner(
        environment,
        machine,
        options,
        say=lambda text: progress.update(task, description=text),
        step=step,
    )
    runner.results.about = {
        "date": time.strftime("%Y-%m-%d"),
        "processor": machine.processor,
        "cores": machine.cores,
        "kernel": machine.kernel,
        "pinned": machine.server_core is not None,
        "members": options.members,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "shrink": options.shrink,
        "versions": environment.versions,
    }
    if machine.client_core is None:
        console.print("This machine has one core: nothing is pinned, and ratios mean less.")
    gc.disable()  # a collection among thousands of receivers would be taken for the server's
    with progress:
        _run(runner, scenarios, machine)
    return runner.results


def _run(runner: Runner, scenarios: list[Scenario], machine: Machine) -> None:
    """Run on the client's core; Ctrl-C ends it in good order, and keeps what was measured."""
    if machine.client_core is not None:
        os.sched_setaffinity(0, {machine.client_core})

    async def until_interrupted() -> None:
        running = asyncio.ensure_future(runner.run(scenarios))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            runner.results.about["interrupted"] = True

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(until_interrupted())


def _chosen(peers: str | None, keys: str | None) -> list[Scenario]:
    """Return the scenarios that were asked for, with the peers that were."""
    chosen = [
        scenario
        for scenario in SCENARIOS
        if keys is None or any(scenario.key.startswith(key) for key in keys.split(","))
    ]
    if peers is not None:
        wanted = set(peers.split(","))
        chosen = [
            replace(scenario, peers=tuple(peer for peer in scenario.peers if peer.key in wanted))
            for scenario in chosen
        ]
    return [scenario for scenario in chosen if scenario.peers]


def _write(results: Results, folder: Path) -> None:
    chart = draw(results)
    if chart is not None:
        (folder / CHART).write_text(chart)
    (folder / "benchmarks.md").write_text(render(results, chart=chart is not None))


def _list() -> None:
    for scenario in SCENARIOS:
        print(f"{scenario.key:12} {scenario.title}")
        print(f"{'':12} {', '.join(peer.key for peer in scenario.peers)}")


def _summary(results: Results, console: Console) -> None:
    for target in TARGETS:
        verdict = target.verdict(results)
        if verdict.value is not None:
            console.print(
                f"{verdict.text:16} {verdict.value:10.2f}{target.unit:4} {target.what}",
                highlight=False,
                soft_wrap=True,
            )


if __name__ == "__main__":
    sys.exit(main())
