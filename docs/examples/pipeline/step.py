"""
The execution of one step: start its command, follow its output, explain its end.

Whatever happens (end, timeout, cancellation, cancellation while cancelling), no process
of the step's group is left.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

from pipeline.config import Limits, Step, expand
from pipeline.journal import Journal
from pipeline.lines import LineSplitter
from pipeline.process import Child
from pipeline.runs import State, StepRun

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["StepTask"]

_CHUNK = 8_192  # bytes read at once, and kept before more are read
_PATIENCE = 10.0  # seconds for what is left in the pipes to be read and kept


class StepTask:
    """
    Executes a step of a run, once.

    Args:
        step: What is declared.
        progress: What the run remembers of it.
        journal: Takes lines and changes of state.
        limits: Bounds of a line and of the time processes get to stop.
    """

    def __init__(self, step: Step, progress: StepRun, *, journal: Journal, limits: Limits) -> None:
        self._step = step
        self._progress = progress
        self._journal = journal
        self._limits = limits

    async def execute(self, *, root: Path, scratch: Path) -> bool:
        """
        Run the command in ``root``; say whether it passed.

        When this is cancelled the step stays ``running``: the run decides what it became.
        """
        self._progress.become(State.RUNNING, self._journal.clock())
        await self._journal.state()
        await self._write("system", f"$ {self._progress.command}")
        command = expand(
            self._step, {"python": sys.executable, "root": str(root), "tmp": str(scratch)}
        )
        env = {**os.environ, "PYTHONUNBUFFERED": "1", **self._step.env}
        try:
            child = await Child.start(command, cwd=root, env=env)
        except OSError as error:
            return await self._end(f"cannot start {command[0]!r}: {error.strerror}")
        try:
            problem = await self._attend(child)
        finally:
            self._progress.exit_code = child.exit_code
        return await self._end(problem)

    async def _attend(self, child: Child) -> str:
        """Wait for the end of the process and of its output. Return why it failed, or nothing."""
        readers = [
            asyncio.create_task(self._follow("stdout", child.stdout)),
            asyncio.create_task(self._follow("stderr", child.stderr)),
        ]
        try:
            try:
                async with asyncio.timeout(self._step.timeout):
                    problem = _explain(await child.wait())
            except TimeoutError:
                problem = f"timed out after {self._step.timeout:g} s"
            finally:
                await child.stop(self._limits.grace)
                # The group writes no more. What is in the pipes is read as fast as it can be published.
                _, unread = await asyncio.wait(readers, timeout=self._limits.grace + _PATIENCE)
            if unread:
                await self._write(
                    "system",
                    "a process that left the group holds the output open; not read further",
                )
        finally:
            child.kill()  # matters only when cancelled twice, before stop() was through
            for reader in readers:
                reader.cancel()
            child.close()
            await asyncio.gather(*readers, return_exceptions=True)
        return problem

    async def _follow(self, stream: str, reader: asyncio.StreamReader) -> None:
        splitter = LineSplitter(self._limits.line_bytes)
        try:
            while data := await reader.read(_CHUNK):
                await self._write(stream, *splitter.feed(data))
                await asyncio.sleep(0)  # a command that writes without pause must not keep the loop
        finally:
            if (rest := splitter.flush()) is not None:
                await self._write(stream, rest)

    async def _end(self, problem: str) -> bool:
        now = self._journal.clock()
        if self._journal.unkept and not problem:
            problem = f"{self._journal.unkept} lines of output could not be kept"
        if problem:
            await self._write("system", problem)
        self._progress.become(State.FAILED if problem else State.PASSED, now, problem)
        await self._journal.state()
        return not problem

    async def _write(self, stream: str, *texts: str) -> None:
        await self._journal.lines(self._step.name, stream, texts)


def _explain(code: int) -> str:
    """Return what a process's exit code says about a failure; nothing if it succeeded."""
    if code >= 0:
        return f"exit code {code}" if code else ""
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
