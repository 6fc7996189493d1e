"""The runner with real, tiny commands, and a supervisor that keeps what it publishes."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from pipeline.app import settings
from pipeline.config import Config, Limits, Pipeline, Step
from pipeline.journal import RUNS, log_room, messages, status_room, values
from pipeline.runner import Runner, RunnerClosed, TooManyRuns, UnknownPipeline, UnknownRun
from pipeline.runs import Run, State
from supervisor import Receipt, Supervisor
from supervisor.errors import StoreUnavailable

pytestmark = pytest.mark.real_time

ROOT = Path(tempfile.gettempdir()).resolve()
PATIENCE = 10.0  # seconds anything here may take


class Bench:
    """A runner, and what its supervisor keeps."""

    def __init__(self, runner: Runner, supervisor: Supervisor) -> None:
        self.runner = runner
        self.supervisor = supervisor

    async def start(self) -> Run:
        """Start the one pipeline there is."""
        return await self.runner.start("p")

    async def ended(self, run: Run) -> Run:
        """Wait until the run has ended, and all of it is kept."""

        async def complete() -> bool:
            return (await self.supervisor.read_history(log_room(run.run))).ended

        await until(complete)
        return run

    async def lines(self, run: Run) -> list[tuple[int, dict[str, Any]]]:
        """Return the numbers of the kept lines, and the lines."""
        kept = messages(self.supervisor, log_room(run.run))
        return [(line.offset, line.data) async for line in kept]

    async def texts(self, run: Run, *streams: str) -> list[str]:
        """Return the texts of the kept lines of some streams (all but the runner's own)."""
        wanted = streams or ("stdout", "stderr")
        return [line["text"] for _, line in await self.lines(run) if line["stream"] in wanted]

    async def counts(self, run: Run, lines: int) -> bool:
        """Say whether so many lines of the run's commands are kept."""
        return len(await self.texts(run)) == lines

    async def states(self, run: Run) -> dict[str, Any]:
        """Return what the run's status room has, by key."""
        return await values(self.supervisor, status_room(run.run))

    async def listed(self) -> dict[str, Any]:
        """Return what the list has, by run."""
        return await values(self.supervisor, RUNS)


class FullStore(Supervisor):
    """A supervisor that can keep states, but no line."""

    async def publish(self, room: str, data: object, **options: Any) -> Receipt:
        if room.startswith("log:"):
            raise StoreUnavailable("the disk is full")
        return await super().publish(room, data, **options)


def sh(name: str, script: str, *, timeout: float = PATIENCE, **env: str) -> Step:
    """Return a step that runs a shell script."""
    return Step(name, ("sh", "-c", script), timeout, env)


def config(*steps: Step, **limits: Any) -> Config:
    """Return a configuration with the one pipeline ``p``."""
    return Config({"p": Pipeline("p", "P", "", steps)}, Limits(**{"grace": 2.0, **limits}))


@asynccontextmanager
async def running(
    declared: Config, *, data: Path | None = None, supervisor: Supervisor | None = None
) -> AsyncIterator[Bench]:
    """Open a runner whose commands work in the system's temporary folder."""
    if supervisor is None:
        supervisor = Supervisor(settings(declared.limits, data))
    runner = Runner(declared, supervisor, root=ROOT)
    async with asyncio.timeout(PATIENCE * 2), supervisor.lifespan(None), runner:
        yield Bench(runner, supervisor)


@asynccontextmanager
async def supervised(declared: Config, data: Path) -> AsyncIterator[Supervisor]:
    """Open what is kept, without a runner."""
    supervisor = Supervisor(settings(declared.limits, data))
    async with supervisor.lifespan(None):
        yield supervisor


async def until(condition: Callable[[], object]) -> None:
    """Wait until ``condition``, or what it is to be awaited for, holds."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = condition()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(0.005)  # processes set no events


def alive(pid: int) -> bool:
    """Say whether the process exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return not Path("/proc").exists()
    return status.rpartition(")")[2].split()[0] != "Z"


async def test_every_line_is_kept_once_in_order() -> None:
    """Lines of both streams are numbered from 1, in the order in which each command wrote them."""
    script = "for i in $(seq 100); do echo out $i; echo err $i >&2; done"
    async with running(config(sh("one", script), sh("two", "echo end"))) as bench:
        run = await bench.ended(await bench.start())
        lines = await bench.lines(run)

    assert [number for number, _ in lines] == list(range(1, 204))
    assert {line["step"] for _, line in lines} == {"one", "two"}
    for stream, word in (("stdout", "out"), ("stderr", "err")):
        texts = [line["text"] for _, line in lines if line["stream"] == stream]
        assert texts[:100] == [f"{word} {i}" for i in range(1, 101)]


async def test_states_are_kept_by_key() -> None:
    """The status room has the newest state of the run and of each step; the list has the run's."""
    async with running(config(sh("one", "echo a"), sh("two", "true"))) as bench:
        run = await bench.ended(await bench.start())
        states = await bench.states(run)
        listed = await bench.listed()

    assert {key: value["state"] for key, value in states.items()} == {
        "step:0": "passed",
        "step:1": "passed",
        "run": "passed",
    }
    assert states["step:0"]["exit_code"] == 0
    assert listed == {run.run: states["run"]}
    assert Run.restore(states) == run


async def test_started_run_can_be_found_at_once() -> None:
    """When start() returns, the run and its steps are kept and listed."""
    async with running(config(sh("one", "sleep 60"))) as bench:
        run = await bench.start()

        assert list(await bench.states(run))[-1] == "run"
        assert list(await bench.listed()) == [run.run]


async def test_failed_step_ends_the_run() -> None:
    """What follows a failed step is skipped, and the run says which step failed and how."""
    steps = [sh("one", "true"), sh("two", "echo oh >&2; exit 3"), sh("three", "echo never")]
    async with running(config(*steps)) as bench:
        run = await bench.ended(await bench.start())
        texts = await bench.texts(run)
        remarks = await bench.texts(run, "system")

    assert [step.state for step in run.steps] == [State.PASSED, State.FAILED, State.SKIPPED]
    assert (run.state, run.detail, run.steps[1].exit_code) == (State.FAILED, "two: exit code 3", 3)
    assert texts == ["oh"]
    assert remarks[-1] == "exit code 3"


async def test_signal_is_named() -> None:
    """A step killed by a signal says by which."""
    async with running(config(sh("one", "kill -SEGV $$"))) as bench:
        run = await bench.ended(await bench.start())

    assert run.steps[0].detail == "killed by SIGSEGV"


async def test_missing_program_is_explained() -> None:
    """A program that does not exist fails its step and nothing else."""
    step = Step("one", ("no-such-program-anywhere", "x"), 5.0)
    async with running(config(step)) as bench:
        run = await bench.ended(await bench.start())

    assert run.steps[0].detail == (
        "cannot start 'no-such-program-anywhere': No such file or directory"
    )
    assert run.state is State.FAILED


async def test_timeout_kills_the_process_group() -> None:
    """A step that takes too long is ended, with the processes it started."""
    script = "sleep 60 & echo $!; sleep 60"
    async with running(config(sh("one", script, timeout=0.3))) as bench:
        run = await bench.ended(await bench.start())
        (pid,) = await bench.texts(run)

    assert run.steps[0].detail == "timed out after 0.3 s"
    assert not alive(int(pid))


async def test_process_that_will_not_stop_is_killed() -> None:
    """A process that ignores the request to stop is killed when its grace is over."""
    script = "trap '' TERM; echo $$; while true; do sleep 0.05; done"
    async with running(config(sh("one", script), grace=0.2)) as bench:
        run = await bench.start()
        await until(lambda: bench.texts(run))
        assert bench.runner.cancel(run.run)
        await bench.ended(run)
        (pid,) = await bench.texts(run)

    assert run.state is State.CANCELLED
    assert not alive(int(pid))


async def test_cancelled_run_says_what_it_had_done() -> None:
    """Cancelling ends the running step, skips the rest, and keeps the lines so far."""
    script = "trap 'echo cleaning up; exit 0' TERM; echo begun; sleep 60 & wait"
    async with running(config(sh("one", script), sh("two", "true"))) as bench:
        run = await bench.start()
        await until(lambda: bench.texts(run))
        bench.runner.cancel(run.run)
        await bench.ended(run)
        texts = await bench.texts(run)
        listed = await bench.listed()

        assert not bench.runner.cancel(run.run)

    assert [step.state for step in run.steps] == [State.CANCELLED, State.SKIPPED]
    assert texts == ["begun", "cleaning up"]
    assert (listed[run.run]["state"], listed[run.run]["detail"]) == ("cancelled", "cancelled")


async def test_run_cancelled_at_once_is_cancelled() -> None:
    """A run cancelled while it waits for its turn ends, too."""
    declared = config(sh("one", "sleep 60"), concurrent_runs=1)
    async with running(declared) as bench:
        await bench.start()
        run = await bench.start()
        bench.runner.cancel(run.run)
        await bench.ended(run)

    assert run.state is State.CANCELLED
    assert [step.state for step in run.steps] == [State.SKIPPED]


async def test_closing_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    """Leaving the runner ends running and waiting runs, their processes and files, and says why."""
    script = "sleep 60 & echo $!; touch {tmp}/file; echo {tmp}; wait"
    declared = config(sh("one", script), concurrent_runs=1)
    async with running(declared, data=tmp_path) as bench:
        first, second = await bench.start(), await bench.start()
        await until(lambda: bench.counts(first, 2))
        pid, scratch = await bench.texts(first)

    assert not alive(int(pid))
    assert not Path(scratch).parent.exists()
    with pytest.raises(RunnerClosed):
        await bench.start()
    async with running(declared, data=tmp_path) as bench:
        listed = await bench.listed()
    assert {run_id: (run["state"], run["detail"]) for run_id, run in listed.items()} == {
        first.run: ("cancelled", "the server stopped"),
        second.run: ("cancelled", "the server stopped"),
    }


async def test_grandchild_that_keeps_the_pipe_delays_nothing() -> None:
    """A step ends when its process does; what it left in the background is killed."""
    began = time.monotonic()
    async with running(config(sh("one", "sleep 60 & echo $!"))) as bench:
        run = await bench.ended(await bench.start())
        (pid,) = await bench.texts(run)

    assert run.state is State.PASSED
    assert time.monotonic() - began < 5
    assert not alive(int(pid))


async def test_difficult_output_arrives() -> None:
    """Long lines are cut, undecodable bytes marked, and a last line without newline kept."""
    script = r"printf '%050d\n' 0; printf '\377ok\n'; printf last"
    async with running(config(sh("one", script), line_bytes=20)) as bench:
        run = await bench.ended(await bench.start())
        texts = await bench.texts(run)

    assert texts == ["0" * 20 + " … [30 bytes cut]", "\ufffdok", "last"]


async def test_kept_lines_are_bounded() -> None:
    """Only the newest lines are kept; their numbers say how many came before."""
    async with running(config(sh("one", "seq 1000"), kept_lines=10)) as bench:
        run = await bench.ended(await bench.start())
        lines = await bench.lines(run)

    assert [(number, line["text"]) for number, line in lines] == [
        (number + 1, str(number)) for number in range(991, 1001)
    ]


async def test_kept_runs_are_bounded() -> None:
    """The oldest ended runs make room for new ones; nothing is kept of them."""
    declared = config(sh("one", "true"), concurrent_runs=1, queued_runs=1, kept_runs=2)
    async with running(declared) as bench:
        runs = [await bench.ended(await bench.start()) for _ in range(4)]

        assert list(await bench.listed()) == [run.run for run in runs[2:]]
        for run in runs[:2]:
            assert run.run not in bench.runner
            assert await bench.lines(run) == []
            assert await bench.states(run) == {}
            with pytest.raises(UnknownRun):
                bench.runner.cancel(run.run)


async def test_runs_wait_for_their_turn_and_the_queue_is_bounded() -> None:
    """No more runs execute than allowed, the others wait in order, and one too many is refused."""
    declared = config(sh("one", "sleep 60"), concurrent_runs=1, queued_runs=1)
    async with running(declared) as bench:
        first, second = await bench.start(), await bench.start()
        await until(lambda: first.state is State.RUNNING)
        with pytest.raises(TooManyRuns, match="the limit is 1 running and 1 waiting"):
            await bench.start()
        assert second.state is State.PENDING

        bench.runner.cancel(first.run)
        await until(lambda: second.state is State.RUNNING)


async def test_undeclared_pipeline_is_refused() -> None:
    """Only declared pipelines can be started."""
    async with running(config(sh("one", "true"))) as bench:
        with pytest.raises(UnknownPipeline):
            await bench.runner.start("rm -rf /")

        assert not await bench.listed()


async def test_run_whose_output_cannot_be_kept_fails() -> None:
    """A run goes on without what the store refuses, and fails with the reason; the log has it once."""
    declared = config(sh("one", "seq 5"), sh("two", "true"))
    full = FullStore(settings(declared.limits, None))
    with capture_logs() as logs:
        async with running(declared, supervisor=full) as bench:
            run = await bench.ended(await bench.start())

    assert run.detail == "one: 6 lines of output could not be kept"
    assert [step.state for step in run.steps] == [State.FAILED, State.SKIPPED]
    assert run.steps[0].exit_code == 0
    assert [entry["event"] for entry in logs].count("run.unpublished") == 1


async def test_restart_finds_runs_and_ends_what_was_under_way(tmp_path: Path) -> None:
    """After a kill ended runs are as they were; others have failed, and their logs end with why."""
    declared = config(sh("one", "echo a"), sh("two", "echo b; sleep 60"), sh("three", "true"))
    async with running(config(sh("one", "echo a")), data=tmp_path) as bench:
        passed = await bench.ended(await bench.start())
    async with running(declared, data=tmp_path) as bench:
        killed = await bench.start()
        await until(lambda: bench.counts(killed, 2))
        left = await bench.states(killed)
    async with supervised(declared, tmp_path) as supervisor:  # undo the orderly end
        await supervisor.remove_history(log_room(killed.run))
        await supervisor.publish(
            log_room(killed.run), {"step": "one", "stream": "stdout", "text": "a", "time": 1.0}
        )
        for key, value in left.items():
            await supervisor.publish(status_room(killed.run), value, key=key)
        await supervisor.publish(RUNS, left["run"], key=killed.run)

    async with running(declared, data=tmp_path) as bench:
        listed = await bench.listed()
        states = await bench.states(killed)
        lines = await bench.lines(killed)
        ended = await bench.supervisor.read_history(log_room(killed.run))
        again = await bench.start()

    assert listed[passed.run]["state"] == "passed"
    assert (listed[killed.run]["state"], listed[killed.run]["detail"]) == (
        "failed",
        "the server stopped",
    )
    assert [states[f"step:{number}"]["state"] for number in range(3)] == [
        "passed",
        "failed",
        "skipped",
    ]
    assert [line["text"] for _, line in lines] == ["a", "the server stopped"]
    assert ended.ended
    assert again.run.startswith("3-")


async def test_step_gets_its_places_and_variables() -> None:
    """Placeholders, the working directory and the environment reach the command."""
    step = Step(
        "one",
        ("{python}", "-c", "import os,sys; print(os.getcwd(), os.environ['X'], '{tmp}')"),
        9.0,
        {"X": "5"},
    )
    async with running(config(step)) as bench:
        run = await bench.ended(await bench.start())
        (text,) = await bench.texts(run)
        where, variable, scratch = text.split()
        await until(lambda: not Path(scratch).exists())

    assert where == str(ROOT)
    assert variable == "5"
    assert scratch.endswith(run.run)
    assert sys.executable not in run.steps[0].command
