"""Shows on a terminal how far a run is."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

__all__ = ["Bar"]


class Bar:
    """
    A bar for the phase that runs; nothing at all where ``console`` is no terminal.

    Use it as a context manager; it is a :class:`supervisor.cli.bench.run.Watch`.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:>10}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            refresh_per_second=4,  # it costs the client's own core
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def phase(self, name: str, total: float) -> None:
        """Begin a bar, below the one before."""
        self._task = self._progress.add_task(name, total=total, note="")

    def advance(self, done: float, note: str) -> None:
        """Move it."""
        if self._task is not None:
            self._progress.update(self._task, completed=done, note=note)
