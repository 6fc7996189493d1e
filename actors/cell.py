"""
The life of one actor: whose turn it is, what is done with its exceptions, how it ends.

Every actor's exit is reported exactly once, whatever ended it: a stop, an exception in a turn or
a hook, or the end of the runtime. An actor that crashed may get a successor, which takes over
the mailbox and the ref.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from actors.actor import Actor, ActorState
from actors.exits import Ending, ExitReason
from actors.mailbox import Mailbox
from actors.messages import Message
from actors.ref import ActorRef

if TYPE_CHECKING:
    from actors.runtime import Runtime

__all__ = ["Cell"]

M = TypeVar("M", bound=Message)


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
            del self.actor  # which knows its cell: the two would wait for the garbage collector
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


def _crash(error: BaseException) -> ExitReason:
    return ExitReason(Ending.CRASHED, text=f"{type(error).__name__}: {error}", error=error)
