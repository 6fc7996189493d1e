"""
Runs actors on one event loop: gives turns, finishes as jobs what has to wait, reports exits.

The only module that knows aiojobs, and the only one that creates tasks. Every actor's exit
is reported exactly once, whatever ended it: a stop, an exception in a turn or a hook, or the
end of the runtime.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator
from typing import Any, Generic, TypeVar

import aiojobs

from actors.actor import Actor, ActorState
from actors.clock import Clock
from actors.exits import Ending, ExitReason
from actors.interfaces import FaultReporter
from actors.mailbox import Mailbox
from actors.messages import Message
from actors.ref import ActorRef
from actors.timers import Timer, TimerWheel

__all__ = ["Cell", "Job", "Runtime"]

M = TypeVar("M", bound=Message)

_LAST_CHANCE = 1.0
"""Seconds that jobs get which resisted their cancellation once, after they were cancelled again."""


class Cell(Generic[M]):
    """
    The runtime's side of one actor: its state, its mailbox, and whose turn it is.

    An actor sees its own cell; everybody else has a :class:`ActorRef`.
    """

    __slots__ = (
        "_busy",
        "_reason",
        "_runtime",
        "_scheduled",
        "actor",
        "in_hand",
        "mailbox",
        "name",
        "ref",
        "state",
    )

    def __init__(self, runtime: Runtime, name: str, actor: Actor[M], mailbox: Mailbox[M]) -> None:
        self._runtime = runtime
        self.name = name
        self.actor = actor
        self.mailbox = mailbox
        self.state = ActorState.STARTING
        self.ref = ActorRef(name, mailbox, self.wake, runtime.loop)
        self.in_hand: M | None = None  # settled when the turn that took it has ended
        self._busy = False  # within a turn or a hook, or a job that finishes one
        self._scheduled = False
        self._reason: ExitReason | None = None  # set when it is to stop

    @property
    def runtime(self) -> Runtime:
        """The runtime of this actor: its clock, timers and jobs."""
        return self._runtime

    def wake(self, at_once: bool = False) -> None:
        """
        Give the actor a turn soon, or within this call when ``at_once`` and it is idle.

        Harmless at any time: it has at most one turn on the way.
        """
        if self._busy or self._scheduled:
            return
        if at_once and self.state is ActorState.RUNNING:
            self._turn()
        else:
            self._scheduled = True
            self._runtime.loop.call_soon(self._scheduled_turn)

    def stop(self, reason: ExitReason) -> None:
        """
        End the actor after the turn it is in. Idempotent: the first reason stands.

        One that is about to be replaced, because it crashed, gets no successor.
        """
        if self._reason is not None:
            return
        self._reason = reason
        self.mailbox.close()
        if not self._busy and self.state < ActorState.STOPPING:
            self._stop(reason)

    def start(self) -> None:
        """Begin the life of the actor; called by the runtime only."""
        self._run(self.actor.on_start, self._started)

    def _started(self, error: BaseException | None) -> None:
        if error is not None:
            self._stop(self._why(error))
        elif self._reason is not None:
            self._stop(self._reason)
        else:
            self.state = ActorState.RUNNING
            if self.mailbox:
                self.wake()

    def _scheduled_turn(self) -> None:
        self._scheduled = False
        if not self._busy and self.state is ActorState.RUNNING:
            self._turn()

    def _turn(self) -> None:
        self._run(lambda: self.actor.turn(self.mailbox), self._turned)

    def _turned(self, error: BaseException | None) -> None:
        if self.in_hand is not None:
            message, self.in_hand = self.in_hand, None
            message.settle(error is None)
        if error is not None:
            self._stop(self._why(error))
        elif self._reason is not None:
            self._stop(self._reason)
        elif self.mailbox and self.actor.repeats_turns:
            self.wake()

    def _why(self, error: BaseException) -> ExitReason:
        """Why it ends: a turn that is cancelled because the actor is to stop is no crash."""
        if self._reason is not None and isinstance(error, asyncio.CancelledError):
            return self._reason
        return _crash(error)

    def _stop(self, reason: ExitReason) -> None:
        self.state = ActorState.STOPPING

        def stopped(error: BaseException | None) -> None:
            self._stopped(reason if error is None else _crash(error))

        self._run(lambda: self.actor.on_stop(reason), stopped)

    def _stopped(self, reason: ExitReason) -> None:
        self.state = ActorState.STOPPED
        successor = self._runtime.report_exit(self, reason)
        if successor is None or self._reason is not None:
            self.mailbox.close()
            self.mailbox.on_drop = None  # who keeps the ref must not keep the actor
            self.ref.let_go()
            self._runtime.forget(self)
        else:
            self.actor = successor
            successor.cell = self
            self.state = ActorState.STARTING
            self.start()

    def _run(
        self,
        call: Callable[[], Awaitable[None] | None],
        done: Callable[[BaseException | None], None],
    ) -> None:
        """Call, finish as a job what has to wait, and say how it went."""
        self._busy = True
        try:
            pending = call()
        except BaseException as error:
            self._busy = False
            done(error)  # whatever an actor raises ends it, and only it
            if not isinstance(error, Exception | asyncio.CancelledError):
                raise
            return
        if pending is None:
            self._busy = False
            done(None)
            return

        def finished(error: BaseException | None) -> None:
            self._busy = False
            done(error)

        self._runtime.run(pending, name=self.name, on_done=finished)


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


def _crash(error: BaseException) -> ExitReason:
    return ExitReason(Ending.CRASHED, text=f"{type(error).__name__}: {error}", error=error)


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
