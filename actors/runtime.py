"""
Runs actors on one event loop: spawns them, finishes as jobs what has to wait, reports exits.

The only module that knows aiojobs, and the only one that creates tasks. The life of each actor is
in :mod:`actors.cell`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator
from typing import Any, TypeVar

import aiojobs

from actors.actor import Actor
from actors.cell import Cell
from actors.clock import Clock
from actors.exits import Ending, ExitReason
from actors.interfaces import FaultReporter
from actors.mailbox import Mailbox
from actors.messages import Message
from actors.ref import ActorRef
from actors.timers import Timer, TimerWheel

__all__ = ["Job", "Runtime"]

M = TypeVar("M", bound=Message)

_LAST_CHANCE = 1.0
"""Seconds that jobs get which resisted their cancellation once, after they were cancelled again."""


class Job:
    """Something that waits, run by aiojobs; :meth:`cancel` is idempotent and never waits."""

    __slots__ = ("_cancelled", "_task")

    def __init__(self) -> None:
        self._cancelled = False
        self._task: asyncio.Task[Any] | None = None

    def cancel(self) -> None:
        """Cancel it, also before it has begun; ``on_done`` is called all the same."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    async def main(
        self, work: Awaitable[None], on_done: Callable[[BaseException | None], None] | None
    ) -> None:
        """Do the work and say how it went; called by the runtime only."""
        error: BaseException | None = None
        self._task = asyncio.current_task()
        try:
            if self._cancelled:
                _discard(work)
                raise asyncio.CancelledError
            await work
        except BaseException as caught:  # noqa: BLE001 - every end of a job is somebody's business
            error = caught
        finally:
            self._task = None
            if on_done is not None:
                on_done(error)
        if isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit):
            raise error


class _Main(Coroutine[Any, Any, None]):
    """A job's ``main`` that runs, and so says how it went, also if cancelled before its start."""

    __slots__ = ("_job", "_main")

    def __init__(self, job: Job, main: Coroutine[Any, Any, None]) -> None:
        self._job = job
        self._main = main

    def send(self, value: Any) -> Any:
        return self._main.send(value)

    def throw(self, *error: Any) -> Any:
        if inspect.getcoroutinestate(self._main) == inspect.CORO_CREATED:
            self._job.cancel()
            return self._main.send(None)
        return self._main.throw(*error)

    def close(self) -> None:
        self._main.close()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._main.__await__()


class Runtime:
    """
    Actors, jobs and timers of one event loop. Make it, and use it, on that loop.

    Args:
        on_exit: Called exactly once for every actor that ended, with its cell and the reason,
            after its ``on_stop``. May return a successor, which gets the same mailbox and
            ref; only an actor that crashed can have one.
        on_fault: Told of failures that nobody waits for: jobs, timers.
        tick: Width of the timer wheel's buckets, in seconds.
    """

    def __init__(
        self,
        *,
        on_exit: Callable[[Cell[Any], ExitReason], Actor[Any] | None] | None = None,
        on_fault: FaultReporter | None = None,
        tick: float = 0.1,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock: Clock = self.loop.time
        self._on_exit = on_exit
        self._on_fault = on_fault
        self._cells: set[Cell[Any]] = set()
        self._scheduler: aiojobs.Scheduler | None = None
        self._jobs: set[Job] = set()
        self._wheel = TimerWheel(tick)
        self._alarm: asyncio.Handle | None = None
        self._alarm_at = 0.0  # uvloop's handles do not all know when
        self._change: asyncio.Future[None] | None = None  # actors or jobs are no more
        self._closing: ExitReason | None = None

    def spawn(self, actor: Actor[M], mailbox: Mailbox[M], *, name: str) -> ActorRef[M]:
        """
        Start ``actor`` on ``mailbox``, which nobody else may take from; never waits.

        In a runtime that closes, or is closed, it is stopped as soon as it has started.
        """
        cell = Cell(self, name, actor, mailbox)
        actor.cell = cell
        self._cells.add(cell)
        cell.start()
        if self._closing is not None:
            cell.stop(self._closing)
        return cell.ref

    def run(
        self,
        work: Awaitable[None],
        *,
        name: str,
        on_done: Callable[[BaseException | None], None] | None = None,
    ) -> Job:
        """
        Run what has to wait as a job of its own; never waits itself.

        In a runtime that is closed it is cancelled before it has begun.

        Args:
            work: What to await; a coroutine, or anything else that can be awaited.
            name: Name of the task.
            on_done: Called once when it has ended, with None or with what it raised
                (:class:`asyncio.CancelledError` included). Without it, an exception goes to
                ``on_fault``.
        """
        job = Job()
        self._jobs.add(job)

        def done(error: BaseException | None) -> None:
            self._jobs.discard(job)
            if not self._jobs:
                self._changed()
            if on_done is not None:
                on_done(error)
            elif isinstance(error, Exception):
                self.fault(name, error)

        if self._scheduler is None:
            self._scheduler = aiojobs.Scheduler(limit=None, exception_handler=self._job_fault)
        if self._scheduler.closed:
            _discard(work)
            self.loop.call_soon(done, asyncio.CancelledError())
        else:
            main = _Main(job, job.main(work, done))
            _call_through(self._scheduler.spawn(main, name=name))
        return job

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` in ``delay`` seconds, or up to one tick later."""
        timer = self._wheel.schedule(self.clock() + delay, callback)
        self._set_alarm()
        return timer

    @property
    def actors(self) -> int:
        """Actors that have not stopped."""
        return len(self._cells)

    @property
    def jobs(self) -> int:
        """Jobs that have not ended."""
        return len(self._jobs)

    def report_exit(self, cell: Cell[Any], reason: ExitReason) -> Actor[Any] | None:
        """Report that an actor ended; called by its cell only."""
        if self._on_exit is None:
            return None
        try:
            return self._on_exit(cell, reason)
        except Exception as error:  # noqa: BLE001 - a faulty listener must not stop the machine
            self.fault("on_exit", error)
            return None

    def forget(self, cell: Cell[Any]) -> None:
        """Drop an actor that has stopped; called by its cell only."""
        self._cells.discard(cell)
        if not self._cells:
            self._changed()

    def fault(self, what: str, error: BaseException) -> None:
        """Report a failure that nobody waits for."""
        if self._on_fault is not None:
            self._on_fault(what, error)
        else:
            self.loop.call_exception_handler({"message": f"{what} failed", "exception": error})

    async def aclose(
        self,
        timeout: float = 10.0,
        reason: ExitReason = ExitReason(Ending.SHUTDOWN),  # noqa: B008 - frozen
    ) -> None:
        """
        Stop every actor, cancel every job, forget every timer. Idempotent, and final.

        Returns after at most ``timeout`` seconds for the actors, and as long again for jobs
        that resist; a job that resists longer is reported and left.
        """
        self._closing = self._closing or reason
        for cell in list(self._cells):
            cell.stop(reason)
        await self._none_left(self._cells, timeout)
        for job in list(self._jobs):
            job.cancel()
        await self._none_left(self._jobs, timeout)
        if self._scheduler is not None:
            closing = self.loop.create_task(self._scheduler.close())
            await asyncio.wait([closing], timeout=_LAST_CHANCE)
            if not closing.done():  # it waits for a job that swallows its cancellation
                self.fault("aclose", TimeoutError(f"{len(self._jobs)} jobs would not end"))
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._wheel = TimerWheel(self._wheel.tick)

    async def _none_left(self, left: Collection[object], timeout: float) -> None:
        """Return when nothing is left of ``left``, or after ``timeout`` seconds."""
        deadline = self.clock() + timeout
        while left and (remaining := deadline - self.clock()) > 0:
            if self._change is None or self._change.done():
                self._change = self.loop.create_future()
            await asyncio.wait([self._change], timeout=remaining)

    def _changed(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    def _set_alarm(self) -> None:
        due = self._wheel.next_due()
        if due is None or (self._alarm is not None and self._alarm_at <= due):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self.loop.call_at(due, self._ring)
        self._alarm_at = due

    def _ring(self) -> None:
        self._alarm = None
        for timer in self._wheel.advance(self.clock()):
            callback = timer.callback
            if callback is None:  # cancelled by one that rang just before
                continue
            timer.cancel()
            try:
                callback()
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - one deadline must not cost the others
                self.fault("timer", error)
        self._set_alarm()

    def _job_fault(self, _: aiojobs.Scheduler, context: dict[str, Any]) -> None:
        error = context.get("exception") or RuntimeError(context["message"])
        self.fault("job", error)


def _discard(work: Awaitable[None]) -> None:
    """End what will never be awaited."""
    if asyncio.iscoroutine(work):
        work.close()
    elif asyncio.isfuture(work):
        work.cancel()


def _call_through(spawning: Coroutine[Any, Any, Any]) -> None:
    """Run ``Scheduler.spawn`` to its end as a plain call: without a limit it never waits."""
    try:
        spawning.send(None)
    except StopIteration:
        return
    spawning.close()
    raise RuntimeError("aiojobs wanted to wait before it started a job; limit must be None")
