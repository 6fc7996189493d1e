"""
What an actor is: a mailbox, private state, and a turn.

An actor gets a *turn* when something waits in its mailbox. A turn is a plain call. When it
has to wait for something it returns an awaitable, which the runtime finishes as a job, and
the actor gets no other turn before that is done. So an actor never runs twice at once, an
idle one costs no task, and a turn that need not wait costs no task either.
"""

from __future__ import annotations

from collections.abc import Awaitable
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from actors.mailbox import Mailbox
from actors.messages import Message

if TYPE_CHECKING:
    from actors.cell import Cell
    from actors.exits import ExitReason

__all__ = ["Actor", "ActorState"]

M = TypeVar("M", bound=Message)


class ActorState(IntEnum):
    """Life of an actor; it only ever moves down this list."""

    STARTING = 0
    """``on_start`` has not returned."""
    RUNNING = 1
    STOPPING = 2
    """It takes no message any more; ``on_stop`` has not returned."""
    STOPPED = 3


class Actor(Generic[M]):
    """
    Base of actors: override :meth:`receive`, and the hooks where needed.

    All of it runs on the loop of the runtime that spawned the actor, one call at a time.
    Whatever may wait returns an awaitable; whatever need not returns None. An exception out
    of any of them ends the actor as crashed.
    """

    __slots__ = ("__weakref__", "cell")

    repeats_turns: ClassVar[bool] = True
    """Whether it gets another turn for what a turn left in the mailbox."""

    cell: Cell[M]
    """The runtime's side of this actor; set by :meth:`actors.runtime.Runtime.spawn`."""

    def on_start(self) -> Awaitable[None] | None:
        """Prepare; messages wait until this is done."""
        return None

    def receive(self, message: M) -> Awaitable[None] | None:
        """
        Handle one message.

        Cancelling happens only when the runtime closes before the actor has stopped.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what receive() does")

    def turn(self, mailbox: Mailbox[M]) -> Awaitable[None] | None:
        """Handle what waits: one message, unless an actor does better with several."""
        message = mailbox.take()
        if message is None:
            return None
        self.cell.in_hand = message
        return self.receive(message)

    def on_stop(self, reason: ExitReason) -> Awaitable[None] | None:
        """Clean up; called once, after the last turn, however the actor ended."""
        return None
