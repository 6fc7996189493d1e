"""
The address of an actor: all that others ever hold of it.

A ref holds the mailbox and a way to wake the owner, not the actor, so nobody can reach into
its state, and a ref that is kept for ever keeps no dead actor alive.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from actors.errors import MailboxClosed, MailboxFull, MessageTooLarge, WrongLoop
from actors.mailbox import Mailbox, MailboxStatistics
from actors.messages import Message, Question
from actors.overflow import Offer

__all__ = ["ActorRef"]

M = TypeVar("M", bound=Message)
R = TypeVar("R")


class ActorRef(Generic[M]):
    """
    Address of one actor.

    Every method but :attr:`name` belongs to the loop of the actor and raises
    :class:`WrongLoop` elsewhere.
    """

    __slots__ = ("_loop", "_mailbox", "_waiting", "_wake", "name")

    def __init__(
        self,
        name: str,
        mailbox: Mailbox[M],
        wake: Callable[[bool], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.name = name
        self._mailbox = mailbox
        self._wake = wake
        self._loop = loop
        self._waiting: deque[_Place] | None = None  # made when somebody has to wait
        mailbox.on_space = self._space

    def tell(self, message: M, *, at_once: bool = False) -> Offer:
        """
        Put ``message`` into the mailbox. Never waits.

        Args:
            message: What to tell.
            at_once: Give an idle actor its turn within this call, rather than soon.

        Returns:
            What became of it.

        Raises:
            WrongLoop: If called from another event loop, or from none.
        """
        self._check_loop()
        offer = self._mailbox.offer(message)
        if offer.taken:
            self._wake(at_once)
        return offer

    async def put(self, message: M, *, timeout: float, at_once: bool = False) -> Offer:
        """
        Put ``message`` into the mailbox; wait for space while there is none.

        Those who wait are served in order; a message that takes no space waits for none.
        Cancelling leaves nothing in the mailbox.

        Args:
            message: What to tell.
            timeout: Longest wait, in seconds.
            at_once: As in :meth:`tell`.

        Raises:
            MailboxFull: If there was no space within ``timeout``.
            MailboxClosed: If the actor has stopped.
            MessageTooLarge: If it can never fit.
            WrongLoop: If called from another event loop.
        """
        if self._waiting and (message.count or message.size):
            self._check_loop()
            offer = Offer.FULL
        else:
            offer = self.tell(message, at_once=at_once)
        if offer is Offer.FULL:
            offer = await self._put_when_space(message, timeout, at_once)
        if offer is Offer.CLOSED:
            raise MailboxClosed(f"{self.name} has stopped")
        if offer is Offer.TOO_LARGE:
            raise MessageTooLarge(
                f"a message of {message.size} bytes that counts for {message.count}; "
                f"{self.name} takes at most {self._mailbox.max_bytes} bytes and "
                f"{self._mailbox.capacity} messages"
            )
        return offer

    async def ask(self, question: Question[R], *, timeout: float, at_once: bool = False) -> R:
        """
        Put a question into the mailbox and wait for its answer.

        Cancelling withdraws the wait, not the question.

        Raises:
            TimeoutError: If there was no answer within ``timeout`` seconds.
            ActorStopped: If the actor stopped before it came to the question.
            MailboxFull, MailboxClosed, MessageTooLarge, WrongLoop: As in :meth:`put`.
        """
        reply: asyncio.Future[R] = self._loop.create_future()
        question.reply = reply
        deadline = self._loop.time() + timeout
        try:
            await self.put(question, timeout=timeout, at_once=at_once)  # type: ignore[arg-type]  # a question is one of the actor's messages
            if not reply.done():
                await asyncio.wait([reply], timeout=max(0.0, deadline - self._loop.time()))
                if not reply.done():
                    raise TimeoutError(f"{self.name} did not answer within {timeout} s")
            return reply.result()
        finally:
            reply.cancel()  # if nobody will see the answer, nobody must miss it
            if not reply.cancelled():
                reply.exception()

    @property
    def closed(self) -> bool:
        """Whether the actor has stopped."""
        return self._mailbox.closed

    @property
    def waiting(self) -> int:
        """How many wait for space."""
        return len(self._waiting) if self._waiting else 0

    def statistics(self) -> MailboxStatistics:
        """Return a snapshot of the mailbox."""
        return self._mailbox.statistics()

    def _check_loop(self) -> None:
        if asyncio._get_running_loop() is not self._loop:
            raise WrongLoop(
                f"{self.name} belongs to another event loop; from other loops and threads "
                "use publish_nowait(), or loop.call_soon_threadsafe()"
            )

    async def _put_when_space(self, message: M, timeout: float, at_once: bool) -> Offer:
        deadline = self._loop.time() + timeout
        place = _Place()
        if self._waiting is None:
            self._waiting = deque()
        waiting = self._waiting
        waiting.append(place)
        try:
            while True:
                place.turn = self._loop.create_future()
                await asyncio.wait([place.turn], timeout=max(0.0, deadline - self._loop.time()))
                if not place.turn.done():
                    raise MailboxFull(
                        f"{self.name} had no space within {timeout} s; it holds "
                        f"{len(self._mailbox)} messages of at most {self._mailbox.capacity}"
                    )
                offer = self.tell(message, at_once=at_once)
                if offer is not Offer.FULL:
                    return offer
        finally:
            waiting.remove(place)
            self._space()
            if not waiting:
                self._wake(False)  # an owner that put off its end until nobody waits

    def let_go(self) -> None:
        """Forget the owner, which has stopped; called by the runtime only."""
        self._wake = _nobody
        self._mailbox.on_space = None  # nobody waits for space in a mailbox that is closed

    def _space(self) -> None:
        """Let the first of those who wait try again; whoever goes lets the next one try."""
        if self._waiting:
            turn = self._waiting[0].turn
            if turn is not None and not turn.done():
                turn.set_result(None)


def _nobody(_: bool) -> None:
    """Wake nobody: the owner has stopped."""


class _Place:
    """A place in the queue of those who wait for space."""

    __slots__ = ("turn",)

    def __init__(self) -> None:
        self.turn: asyncio.Future[None] | None = None
