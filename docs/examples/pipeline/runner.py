"""
The runner: starts, queues, cancels, remembers and forgets runs.

It knows a :class:`pipeline.journal.Publisher`, and neither sockets nor viewers. One event loop,
one runner. All bounds come from :class:`pipeline.config.Limits`.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import shutil
import tempfile
import time
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Self

import structlog

from pipeline.journal import Journal, Publisher
from pipeline.runs import Run, State
from pipeline.step import StepTask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.config import Config

__all__ = ["Publisher", "Runner", "RunnerClosed", "TooManyRuns", "UnknownPipeline", "UnknownRun"]

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
        publisher: Takes the messages.
        root: Working directory of the commands.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        config: Config,
        publisher: Publisher,
        *,
        root: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._publisher = publisher
        self._root = root
        self._clock = clock
        self._runs: dict[str, Run] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._numbers = itertools.count(1)
        self._slots = asyncio.Semaphore(config.limits.concurrent_runs)
        self._scratch: Path | None = None  # None unless entered

    @property
    def runs(self) -> Mapping[str, Run]:
        """Live view of the kept runs, oldest first."""
        return MappingProxyType(self._runs)

    def now(self) -> float:
        """Return the time by the runner's clock."""
        return self._clock()

    async def __aenter__(self) -> Self:
        """Make the directory that holds the runs' temporary directories."""
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
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if scratch is not None:
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)

    def start(self, name: str) -> Run:
        """
        Queue a run of the pipeline called ``name`` and return it. Never waits.

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
        run = Run(
            f"{next(self._numbers)}-{secrets.token_hex(3)}", pipeline, limits, now=self._clock()
        )
        self._runs[run.id] = run
        forgotten = self._forget()
        task = asyncio.create_task(
            self._conduct(run, self._scratch / run.id, forgotten), name=f"run {run.id}"
        )
        self._tasks[run.id] = task
        task.add_done_callback(lambda _: self._ended(run))
        log.info("run.queued", run=run.id, pipeline=name)
        return run

    def cancel(self, run_id: str) -> bool:
        """
        Ask the run to stop; its processes are ended in the background.

        Returns:
            False if it had ended already.

        Raises:
            UnknownRun: If no such run is kept.
        """
        if run_id not in self._runs:
            raise UnknownRun(run_id)
        task = self._tasks.get(run_id)
        return task is not None and not self._runs[run_id].state.final and task.cancel()

    def _ended(self, run: Run) -> None:
        del self._tasks[run.id]
        if not run.state.final:  # cancelled before its task had begun
            run.settle(State.CANCELLED, self._clock(), "cancelled")

    def _forget(self) -> list[str]:
        """Drop the oldest ended runs above the limit; return their ids."""
        excess = max(len(self._runs) - self._config.limits.kept_runs, 0)
        ended = [
            key for key, run in self._runs.items() if key not in self._tasks and run.state.final
        ]
        for run_id in ended[:excess]:
            del self._runs[run_id]
        return ended[:excess]

    async def _conduct(self, run: Run, scratch: Path, forgotten: list[str]) -> None:
        """Take a run from its queue to its end. Being cancelled is one of the ways it ends."""
        journal = Journal(run, self._publisher, self._clock)
        state, detail = State.PASSED, ""
        try:
            for run_id in forgotten:
                await journal.forgotten(run_id)
            await journal.state()
            async with self._slots:
                run.become(State.RUNNING, self._clock())
                await asyncio.to_thread(scratch.mkdir)
                for number, (step, progress) in enumerate(
                    zip(run.pipeline.steps, run.steps, strict=True)
                ):
                    task = StepTask(
                        step, progress, number, journal=journal, limits=self._config.limits
                    )
                    if not await task.execute(root=self._root, scratch=scratch):
                        state, detail = State.FAILED, f"{step.name}: {progress.detail}"
                        break
        except asyncio.CancelledError:  # by cancel() or __aexit__: nobody else has the task
            state, detail = (
                State.CANCELLED,
                "cancelled" if self._scratch is not None else "the server stopped",
            )
        except Exception:
            log.exception("run.crashed", run=run.id)
            state, detail = State.FAILED, "internal error; the server's log says more"
        run.settle(state, self._clock(), detail)
        log.info(
            "run.ended",
            run=run.id,
            state=str(state),
            lines=run.lines.last,
            unpublished=run.unpublished,
        )
        await journal.state()
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
