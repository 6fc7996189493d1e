"""The runner with real, tiny commands and a publisher that records."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Config, Limits, Pipeline, Step
from pipeline.runner import Runner, RunnerClosed, TooManyRuns, UnknownPipeline, UnknownRun
from pipeline.runs import Run, State

pytestmark = pytest.mark.real_time

ROOT = Path(tempfile.gettempdir()).resolve()
PATIENCE = 10.0  # seconds anything here may take


class Recorder:
    """A publisher that keeps what it is given, or raises ``error``."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.error: Exception | None = None

    async def publish(self, room: str, data: Any, /, *, key: str | None = None) -> object:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.messages.append((room, data))
        return True

    def room(self, room: str) -> list[dict[str, Any]]:
        return [message for name, message in self.messages if name == room]


def sh(name: str, script: str, *, timeout: float = PATIENCE, **env: str) -> Step:
    """Return a step that runs a shell script."""
    return Step(name, ("sh", "-c", script), timeout, env)


def config(*steps: Step, **limits: Any) -> Config:
    """Return a configuration with the one pipeline ``p``."""
    return Config({"p": Pipeline("p", "P", "", steps)}, Limits(**{"grace": 2.0, **limits}))


@asynccontextmanager
async def running(declared: Config, publisher: Recorder | None = None) -> AsyncIterator[Runner]:
    """Open a runner whose commands work in the system's temporary folder."""
    async with asyncio.timeout(PATIENCE * 2):
        async with Runner(declared, publisher or Recorder(), root=ROOT) as runner:
            yield runner


async def until(condition: Callable[[], object]) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - processes set no events
            await asyncio.sleep(0.005)


async def ended(run: Run) -> Run:
    """Wait until the run has ended."""
    await until(lambda: run.state.final)
    return run


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


def texts(run: Run, *streams: str) -> list[str]:
    """Return the texts of the kept lines of the given streams (all but the runner's own)."""
    return [line.text for line in run.lines if line.stream in (streams or ("stdout", "stderr"))]


async def test_every_line_is_published_once_in_order() -> None:
    """Lines of both streams are numbered from 1 and published in the order of their numbers."""
    recorder = Recorder()
    script = "for i in $(seq 100); do echo out $i; echo err $i >&2; done"
    async with running(config(sh("one", script), sh("two", "echo end")), recorder) as runner:
        run = await ended(runner.start("p"))

    published = recorder.room(f"log:{run.id}")
    assert [message["n"] for message in published] == list(range(1, run.lines.last + 1))
    assert [m["text"] for m in published if m["stream"] == "stdout" and m["step"] == 0] == [
        f"out {i}" for i in range(1, 101)
    ]
    assert [m["text"] for m in published if m["stream"] == "stderr"] == [
        f"err {i}" for i in range(1, 101)
    ]
    assert published == [line.message(run.id) for line in run.lines]
    assert published[0]["type"] == "line"
    assert published[0]["run"] == run.id


async def test_states_are_published_to_the_run_and_to_the_list() -> None:
    """Every change of state reaches both rooms, with a growing version and the last line's number."""
    recorder = Recorder()
    async with running(config(sh("one", "echo a"), sh("two", "true")), recorder) as runner:
        run = await ended(runner.start("p"))
        await until(lambda: recorder.room("runs")[-1]["state"] == "passed")

    states = recorder.room(f"status:{run.id}")
    assert [(m["state"], [step["state"] for step in m["steps"]]) for m in states] == [
        ("pending", ["pending", "pending"]),
        ("running", ["running", "pending"]),
        ("running", ["passed", "pending"]),
        ("running", ["passed", "running"]),
        ("running", ["passed", "passed"]),
        ("passed", ["passed", "passed"]),
    ]
    assert [message["version"] for message in states] == [1, 2, 3, 4, 5, 6]
    assert states[-1]["lines"] == run.lines.last == 3
    assert recorder.room("runs") == states
    assert all(step.exit_code == 0 for step in run.steps)


async def test_failed_step_ends_the_run() -> None:
    """What follows a failed step is skipped, and the run says which step failed and how."""
    steps = [sh("one", "true"), sh("two", "echo oh >&2; exit 3"), sh("three", "echo never")]
    async with running(config(*steps)) as runner:
        run = await ended(runner.start("p"))

    assert [step.state for step in run.steps] == [State.PASSED, State.FAILED, State.SKIPPED]
    assert (run.state, run.detail, run.steps[1].exit_code) == (State.FAILED, "two: exit code 3", 3)
    assert texts(run) == ["oh"]
    assert texts(run, "system")[-1] == "exit code 3"


async def test_signal_is_named() -> None:
    """A step killed by a signal says by which."""
    async with running(config(sh("one", "kill -SEGV $$"))) as runner:
        run = await ended(runner.start("p"))

    assert run.steps[0].detail == "killed by SIGSEGV"


async def test_missing_program_is_explained() -> None:
    """A program that does not exist fails its step and nothing else."""
    step = Step("one", ("no-such-program-anywhere", "x"), 5.0)
    async with running(config(step)) as runner:
        run = await ended(runner.start("p"))

    assert run.steps[0].detail == (
        "cannot start 'no-such-program-anywhere': No such file or directory"
    )
    assert run.state is State.FAILED


async def test_timeout_kills_the_process_group() -> None:
    """A step that takes too long is ended, with the processes it started."""
    script = "sleep 60 & echo $!; sleep 60"
    async with running(config(sh("one", script, timeout=0.3))) as runner:
        run = await ended(runner.start("p"))

    assert run.steps[0].detail == "timed out after 0.3 s"
    assert not alive(int(texts(run)[0]))


async def test_process_that_will_not_stop_is_killed() -> None:
    """A process that ignores the request to stop is killed when its grace is over."""
    script = "trap '' TERM; echo $$; while true; do sleep 0.05; done"
    async with running(config(sh("one", script), grace=0.2)) as runner:
        run = runner.start("p")
        await until(lambda: texts(run))
        assert runner.cancel(run.id)
        await ended(run)

        assert run.state is State.CANCELLED
        assert not alive(int(texts(run)[0]))


async def test_cancelled_run_says_what_it_had_done() -> None:
    """Cancelling ends the running step, skips the rest, and keeps the lines so far."""
    recorder = Recorder()
    script = "trap 'echo cleaning up; exit 0' TERM; echo begun; sleep 60 & wait"
    async with running(config(sh("one", script), sh("two", "true")), recorder) as runner:
        run = runner.start("p")
        await until(lambda: texts(run))
        runner.cancel(run.id)
        await ended(run)
        await until(lambda: recorder.room("runs")[-1]["state"] == "cancelled")

        assert not runner.cancel(run.id)

    assert [step.state for step in run.steps] == [State.CANCELLED, State.SKIPPED]
    assert texts(run) == ["begun", "cleaning up"]


async def test_run_cancelled_at_once_is_cancelled() -> None:
    """A run cancelled before its task has begun ends, too."""
    async with running(config(sh("one", "true"))) as runner:
        run = runner.start("p")
        runner.cancel(run.id)
        await ended(run)

        assert run.state is State.CANCELLED
        assert [step.state for step in run.steps] == [State.SKIPPED]


async def test_closing_leaves_no_process_and_no_file() -> None:
    """Leaving the runner ends running and waiting runs, their processes and their files."""
    script = "sleep 60 & echo $!; touch {tmp}/file; echo {tmp}; wait"
    async with running(config(sh("one", script), concurrent_runs=1)) as runner:
        first, second = runner.start("p"), runner.start("p")
        await until(lambda: len(texts(first)) == 2)

    pid, scratch = texts(first)
    assert not alive(int(pid))
    assert not Path(scratch).parent.exists()
    assert (first.state, second.state) == (State.CANCELLED, State.CANCELLED)
    assert first.detail == "the server stopped"
    with pytest.raises(RunnerClosed):
        runner.start("p")


async def test_grandchild_that_keeps_the_pipe_delays_nothing() -> None:
    """A step ends when its process does; what it left in the background is killed."""
    began = time.monotonic()
    async with running(config(sh("one", "sleep 60 & echo $!"))) as runner:
        run = await ended(runner.start("p"))

    assert run.state is State.PASSED
    assert time.monotonic() - began < 5
    assert not alive(int(texts(run)[0]))


async def test_difficult_output_arrives() -> None:
    """Long lines are cut, undecodable bytes marked, and a last line without newline kept."""
    script = r"printf '%050d\n' 0; printf '\377ok\n'; printf last"
    async with running(config(sh("one", script), line_bytes=20)) as runner:
        run = await ended(runner.start("p"))

    assert texts(run) == ["0" * 20 + " … [30 bytes cut]", "\ufffdok", "last"]


async def test_kept_lines_are_bounded() -> None:
    """Only the newest lines are remembered; the number of the others is known."""
    async with running(config(sh("one", "seq 1000"), kept_lines=10)) as runner:
        run = await ended(runner.start("p"))

    assert texts(run) == [str(number) for number in range(991, 1001)]
    assert (run.lines.omitted, run.lines.last) == (991, 1001)


async def test_kept_runs_are_bounded() -> None:
    """The oldest ended runs make room for new ones, and viewers of the list are told."""
    recorder = Recorder()
    declared = config(sh("one", "true"), concurrent_runs=1, queued_runs=1, kept_runs=2)
    async with running(declared, recorder) as runner:
        runs = []
        for _ in range(4):
            runs.append(await ended(runner.start("p")))
            await until(lambda: len(recorder.room("runs")) > 0)
            await asyncio.sleep(0.05)  # the task's last breath

        assert list(runner.runs) == [run.id for run in runs[2:]]
        with pytest.raises(UnknownRun):
            runner.cancel(runs[0].id)
    gone = [m["run"] for m in recorder.room("runs") if m["type"] == "forgotten"]
    assert gone == [run.id for run in runs[:2]]


async def test_runs_wait_for_their_turn_and_the_queue_is_bounded() -> None:
    """No more runs execute than allowed, the others wait in order, and one too many is refused."""
    declared = config(sh("one", "sleep 60"), concurrent_runs=1, queued_runs=1)
    async with running(declared) as runner:
        first, second = runner.start("p"), runner.start("p")
        await until(lambda: first.state is State.RUNNING)
        with pytest.raises(TooManyRuns, match="the limit is 1 running and 1 waiting"):
            runner.start("p")
        assert second.state is State.PENDING

        runner.cancel(first.id)
        await until(lambda: second.state is State.RUNNING)


async def test_undeclared_pipeline_is_refused() -> None:
    """Only declared pipelines can be started."""
    async with running(config(sh("one", "true"))) as runner:
        with pytest.raises(UnknownPipeline):
            runner.start("rm -rf /")

        assert not runner.runs


async def test_failing_publisher_fails_no_run() -> None:
    """Lines are kept, and unpublished messages counted, when nothing can be published."""
    recorder = Recorder()
    recorder.error = RuntimeError("no supervisor")
    async with running(config(sh("one", "seq 5")), recorder) as runner:
        run = await ended(runner.start("p"))

    assert run.state is State.PASSED
    assert texts(run) == ["1", "2", "3", "4", "5"]
    assert run.unpublished > 5


async def test_step_gets_its_places_and_variables() -> None:
    """Placeholders, the working directory and the environment reach the command."""
    step = Step(
        "one",
        ("{python}", "-c", "import os,sys; print(os.getcwd(), os.environ['X'], '{tmp}')"),
        9.0,
        {"X": "5"},
    )
    async with running(config(step)) as runner:
        run = await ended(runner.start("p"))
        await until(lambda: not Path(texts(run)[0].split()[-1]).exists())

    where, variable, scratch = texts(run)[0].split()
    assert where == str(ROOT)
    assert variable == "5"
    assert scratch.endswith(run.id)
    assert sys.executable not in run.steps[0].command
