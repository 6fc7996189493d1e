"""
Compares wsupervisor with its peers, over real sockets, on this machine.

usage: python -m tests.benchmarks [--quick] [--peers ...] [--scenarios ...]   (`make bench`)
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.benchmarks.arguments import (
    ChoiceError,
    choose,
    listing,
    make_parser,
    needs,
    whole_sections,
)
from tests.benchmarks.chart import draw
from tests.benchmarks.console import Log, summary
from tests.benchmarks.environment import BUILD, ROOT, Environment, Machine, prepare
from tests.benchmarks.page import CHART, render
from tests.benchmarks.results import Results, Row
from tests.benchmarks.runner import Options, Runner, most_descriptors
from tests.benchmarks.scenarios import SCENARIOS, Scenario

REFERENCE = ROOT / "docs" / "reference"

COMPLETE = BUILD / "complete.json"
"""Raw results of the last complete run, with the sections that were merged into it."""

QUICK = Options(members=200, rounds=1, seconds=0.3, shrink=10)


def main() -> int:
    """Measure, and write what was measured."""
    parser = make_parser()
    arguments = parser.parse_args()
    console = Console(stderr=True)
    if arguments.list:
        print("\n".join(listing()))
        return 0
    if arguments.render is not None:
        if not arguments.render.is_file():
            parser.error(f"--render: there is no {arguments.render}")
        _write(Results.load(arguments.render), REFERENCE)
        return 0
    try:
        scenarios = choose(arguments.peers, arguments.scenarios)
        sections = whole_sections(scenarios, arguments.peers) if arguments.merge else []
        if sections and not COMPLETE.is_file():
            raise ChoiceError(f"--merge: there is no {COMPLETE}, which a complete run leaves")
    except ChoiceError as error:
        parser.error(str(error))
    given = {
        name: value
        for name in ("members", "rounds", "seconds")
        if (value := getattr(arguments, name)) is not None
    }
    options = replace(QUICK if arguments.quick else Options(), **given)
    partial = bool(arguments.peers or arguments.scenarios)
    complete = options.as_goals_have_it and not partial
    try:
        environment = prepare(
            needs(scenarios), lambda text: console.print(text, highlight=False, markup=False)
        )
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        console.print(f"make bench: {error}", highlight=False, markup=False)
        return 1
    results = _measure(scenarios, options, environment, console, partial=partial)
    BUILD.mkdir(parents=True, exist_ok=True)
    results.save(BUILD / "results.json")
    _write(results, BUILD)
    interrupted = bool(results.about.get("interrupted"))
    if complete and not interrupted:
        results.save(COMPLETE)
    if (complete or arguments.page) and not interrupted:
        _write(results, REFERENCE)
    try:
        for section in sections:
            _merge(section, results)
    except ValueError as error:
        console.print(f"make bench: not merged: {error}", highlight=False, markup=False)
    for line in summary(results):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"Raw results and page: {BUILD.relative_to(ROOT)}/", highlight=False)
    return 130 if interrupted else 0


def _measure(
    scenarios: list[Scenario],
    options: Options,
    environment: Environment,
    console: Console,
    *,
    partial: bool,
) -> Results:
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

    log = Log(
        lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True),
        options.shrink,
    )

    def step(row: Row) -> None:
        progress.advance(task)
        log.row(row)

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
        "quick": not options.as_goals_have_it,
        "partial": partial,
        "versions": environment.versions,
    }
    if machine.client_core is None:
        console.print("This machine has one core: nothing is pinned, and ratios mean less.")
    gc.disable()  # a collection among thousands of receivers would be taken for the server's
    began = time.monotonic()
    with progress:
        _run(runner, scenarios, machine)
    runner.results.about["minutes"] = round((time.monotonic() - began) / 60)
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


def _merge(section: str, results: Results) -> None:
    """Put a section into the last complete run, and that on the page."""
    keys = [scenario.key for scenario in SCENARIOS if scenario.section == section]
    merged = Results.load(COMPLETE).with_section(section, keys, results)
    merged.save(COMPLETE)
    _write(merged, REFERENCE)


def _write(results: Results, folder: Path) -> None:
    chart = draw(results)
    if chart is not None:
        (folder / CHART).write_text(chart)
    (folder / "benchmarks.md").write_text(render(results, chart=chart is not None))


if __name__ == "__main__":
    sys.exit(main())
