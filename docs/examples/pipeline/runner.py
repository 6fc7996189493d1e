"""
The runner: starts, queues, cancels and forgets runs.

What it knows of them lies in the rooms of :mod:`pipeline.journal`, where a new server finds it. It
knows neither sockets nor viewers. One event loop, one runner. All bounds come from
:class:`pipeline.config.Limits`.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import shutil
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import structlog

from pipeline.journal import RUNS, Journal, forget, log_room, status_room, values
from pipeline.runs import Run, State
from pipeline.step import StepTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.config import Config, Pipeline
    from supervisor import Supervisor

__all__ = ["Runner", "RunnerClosed", "TooManyRuns", "UnknownPipeline", "UnknownRun"]

STOPPED = "the server stopped"

log = structlog.get_logger(__name__)


class RunnerClosed(RuntimeError):
    """A run was asked of a runner that has not been entered, or has been closed."""


class UnknownPipeline(KeyError):
    """No pipeline of that name is declared."""


class UnknownRun(KeyError):
    """No run of that id is kept."""


class TooManyRuns(RuntimeError):
    """As many runs as allowed are running and waiting."""


class Runner:
    """
    Runs pipelines; use it with ``async with``. Leaving it ends every process it started.

    Args:
        config: What may be run, and the limits.
        supervisor: Keeps what happens and tells viewers; it is to run before and after.
        root: Working directory of the commands.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        config: Config,
        supervisor: Supervisor,
        *,
        root: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._supervisor = supervisor
        self._root = root
        self._clock = clock
        self._kept: dict[str, Run | None] = {}  # oldest first; None: it has ended
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._numbers = itertools.count(1)
        self._slots = asyncio.Semaphore(config.limits.concurrent_runs)
        self._scratch: Path | None = None  # None unless entered

    def __contains__(self, run_id: object) -> bool:
        """Say whether a run is kept."""
        return run_id in self._kept

    def now(self) -> float:
        """Return the time by the runner's clock."""
        return self._clock()

    async def __aenter__(self) -> Self:
        """Find the runs that are kept, and make the directory of the temporary ones."""
        await self._restore()
        self._scratch = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="pipeline-"))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cancel every run, wait until its processes have ended, and remove temporary files."""
        scratch, self._scratch = self._scratch, None
        tasks = list(self._tasks.values())
        for run_id in list(self._tasks):
            self.cancel(run_id)
        await asyncio.gather(*tasks, return_exceptions=True)
        if scratch is not None:
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)

    async def start(self, name: str) -> Run:
        """
        Queue a run of the pipeline called ``name`` and return it, once everybody can find it.

        Raises:
            UnknownPipeline: If it is not declared.
            TooManyRuns: If as many runs as allowed are running and waiting.
            RunnerClosed: Outside of ``async with``.
        """
        if self._scratch is None:
            raise RunnerClosed("the runner is not open")
        pipeline = self._config.pipelines.get(name)
        if pipeline is None:
            raise UnknownPipeline(name)
        limits = self._config.limits
        if len(self._tasks) >= limits.concurrent_runs + limits.queued_runs:
            raise TooManyRuns(
                f"the limit is {limits.concurrent_runs} running and {limits.queued_runs} waiting"
            )
        run = Run.of(pipeline, f"{next(self._numbers)}-{secrets.token_hex(3)}", self._clock())
        self._kept[run.run] = run
        listed = asyncio.Event()
        task = asyncio.create_task(
            self._conduct(run, pipeline, self._scratch / run.run, listed), name=f"run {run.run}"
        )
        self._tasks[run.run] = task
        task.add_done_callback(lambda _: self._ended(run, listed))
        log.info("run.queued", run=run.run, pipeline=name)
        await listed.wait()
        return run

    def cancel(self, run_id: str) -> bool:
        """
        Ask the run to stop; its processes are ended in the background.

        Returns:
            False if it had ended already.

        Raises:
            UnknownRun: If no such run is kept.
        """
        if run_id not in self._kept:
            raise UnknownRun(run_id)
        run = self._kept[run_id]
        return run is not None and not run.state.final and self._tasks[run_id].cancel()

    def _ended(self, run: Run, listed: asyncio.Event) -> None:
        del self._tasks[run.run]
        self._kept[run.run] = None
        listed.set()

    async def _restore(self) -> None:
        """Take over what an earlier server has kept; end what it could not."""
        listed = await values(self._supervisor, RUNS)
        for run_id in sorted(listed, key=lambda run_id: listed[run_id]["created"]):
            self._kept[run_id] = None
            if not State(listed[run_id]["state"]).final:
                await self._close(Run.restore(await values(self._supervisor, status_room(run_id))))
            await self._supervisor.end(log_room(run_id))
        newest = max((int(run_id.partition("-")[0]) for run_id in listed), default=0)
        self._numbers = itertools.count(newest + 1)
        await self._forget()

    async def _close(self, run: Run) -> None:
        """Settle a run whose server was killed."""
        journal = Journal(run, self._supervisor, self._clock)
        if not run.state.final:  # otherwise the server was killed just before the list had it
            step = next((each.name for each in run.steps if each.state is State.RUNNING), "")
            run.settle(State.FAILED, self._clock(), STOPPED)
            await journal.alert(STOPPED)
            await journal.lines(step, "system", [STOPPED])
            log.warning("run.lost", run=run.run)
        await journal.state()

    async def _forget(self) -> None:
        """Drop the oldest ended runs above the limit."""
        excess = max(len(self._kept) - self._config.limits.kept_runs, 0)
        ended = [run_id for run_id, run in self._kept.items() if run is None]
        for run_id in ended[:excess]:
            del self._kept[run_id]
            await forget(self._supervisor, run_id)

    async def _conduct(
        self, run: Run, pipeline: Pipeline, scratch: Path, listed: asyncio.Event
    ) -> None:
        """Take a run from its queue to its end. Being cancelled is one of the ways it ends."""
        journal = Journal(run, self._supervisor, self._clock)
        state, detail = State.PASSED, ""
        try:
            await journal.state()
            listed.set()
            await self._forget()
            async with self._slots:
                run.become(State.RUNNING, self._clock())
                await asyncio.to_thread(scratch.mkdir)
                for step, progress in zip(pipeline.steps, run.steps, strict=True):
                    task = StepTask(step, progress, journal=journal, limits=self._config.limits)
                    if not await task.execute(root=self._root, scratch=scratch):
                        state, detail = State.FAILED, f"{step.name}: {progress.detail}"
                        break
        except asyncio.CancelledError:  # by cancel() or __aexit__: nobody else has the task
            state, detail = (
                State.CANCELLED,
                "cancelled" if self._scratch is not None else STOPPED,
            )
        except Exception:
            log.exception("run.crashed", run=run.run)
            state, detail = State.FAILED, "internal error; the server's log says more"
        run.settle(state, self._clock(), detail)
        if state is State.FAILED:
            await journal.alert(detail)  # first: a server that is killed now will say it again
        log.info("run.ended", run=run.run, state=str(state))
        await journal.state()
        await journal.end()
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
