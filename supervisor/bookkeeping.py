"""
Keeps boxes and the store of the inboxes in agreement: what waits is fetched, what happened is told.

For one node. What cannot be told, since the store fails, is told later; what is asked for takes its
turn. What has expired, and what had to make space, is counted here. What is given to whom is for
:mod:`supervisor.dispatch`.

Everything here belongs to the loop of the node.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

from actors.runtime import Runtime
from supervisor.boxes import Box
from supervisor.dispatch import Dispatcher
from supervisor.errors import Drained, StoreUnavailable
from supervisor.inbox.base import EXPIRED_AT_ONCE, Inbox, InboxMessage, InboxUser, Kept
from supervisor.neighbours import Neighbours
from supervisor.retries import Retries
from supervisor.telemetry.logging import event_logger

__all__ = ["Bookkeeper"]

STORE_TIMEOUT = 40.0
"""Seconds that the store may take; it has a shorter deadline of its own."""

AT_ONCE = 64
"""Users for whom the store is asked at a time."""

PAGE = 64
"""Messages that are fetched at a time."""


class Bookkeeper:
    """
    Asks the store, and tells it.

    Args:
        runtime: Timers and jobs of the node.
        store: Keeps the messages; opened and closed by whoever made it.
        dispatcher: Gives what was fetched, and goes on with a box for which the store was asked.
        neighbours: The other nodes of the process.
        capacity: Pending messages that a user may have.
        settle: Called with a user and ids that are settled and were not here: give them to nobody.
        on_dead: Called with each message that was given up.
        on_loss: Called with a number of messages and why they were dropped: ``expired``, or
            ``capacity``. Must not wait, nor raise.
        jitter: Returns a random number from 0 to 1.
        wall_clock: Returns Unix time in seconds.
        sweep_interval: Seconds between two looks for expired messages.
    """

    def __init__(
        self,
        runtime: Runtime,
        store: Inbox,
        dispatcher: Dispatcher,
        neighbours: Neighbours,
        *,
        capacity: int,
        settle: Callable[[InboxUser, Collection[str]], None],
        on_dead: Callable[[InboxMessage], None],
        on_loss: Callable[[int, str], None],
        jitter: Callable[[], float],
        wall_clock: Callable[[], float],
        sweep_interval: float,
    ) -> None:
        self._runtime = runtime
        self._store = store
        self._dispatcher = dispatcher
        self._neighbours = neighbours
        self._capacity = capacity
        self._settle = settle
        self._on_dead = on_dead
        self._on_loss = on_loss
        self._wall_clock = wall_clock
        self._sweep_interval = sweep_interval
        self._losses: Counter[str] = Counter()  # since the last sweep
        self._log = event_logger()
        self._work: Retries[Box | _Sweep] = Retries(
            runtime,
            self._work_for,
            at_once=AT_ONCE,
            timeout=STORE_TIMEOUT,
            jitter=jitter,
            on_failure=lambda error: self._log.error("inbox.store_failed", exc_info=error),
            on_recovery=lambda: self._log.warning("inbox.store_recovered"),
            on_done=self._worked_for,
        )
        self._sweep_timer = runtime.call_later(sweep_interval, self._sweep_now)

    @property
    def failing(self) -> bool:
        """Whether the store has failed, and is tried again."""
        return self._work.failures > 0

    @property
    def healthy(self) -> bool:
        """Whether the store answers, and keeps what it promises."""
        return not self.failing and self._store.healthy

    async def put(
        self,
        messages: Sequence[InboxMessage],
        then: Callable[[list[InboxMessage]], Awaitable[None]],
    ) -> Kept:
        """
        Keep ``messages``, then do ``then`` with those that are new; cancelling undoes nothing.

        Returns:
            What was kept, after ``then``; after 40 seconds without waiting for it.

        Raises:
            Drained: If the node stopped before they were kept.
            StoreFull, StoreUnavailable: If they were not kept, or took too long to be sure.
        """
        kept: list[Kept] = []
        done: asyncio.Future[BaseException | None] = self._runtime.loop.create_future()

        async def put() -> None:
            kept.append(await self._store.put(messages, capacity=self._capacity))
            evicted = kept[0].evicted
            self._lost(evicted, "evicted", "capacity")
            gone = {message.id for message in evicted}
            new = {m.id: m for m in messages if m.id in kept[0].new and m.id not in gone}
            await then(list(new.values()))

        def ended(error: BaseException | None) -> None:
            if isinstance(error, Exception) and (kept or done.done()):
                self._runtime.fault("inbox.put", error)
            if not done.done():
                done.set_result(error)

        self._runtime.run(put(), name="inbox put", on_done=ended)
        try:
            async with asyncio.timeout(STORE_TIMEOUT):
                error = await done
        except TimeoutError:
            if kept:
                return kept[0]
            raise StoreUnavailable(
                f"the inbox did not answer within {STORE_TIMEOUT:g} s; it may have kept the messages"
            ) from None
        if kept:
            return kept[0]
        assert error is not None
        if isinstance(error, asyncio.CancelledError):
            raise Drained("the node stopped before the messages were kept") from error
        raise error

    def __contains__(self, box: Box) -> bool:
        """Whether the store is being told or asked something for ``box``, or will be."""
        return box in self._work

    def want(self, box: Box) -> None:
        """Tell the store what it is to be told of ``box``, then ask for messages. Never waits."""
        self._work.want(box)

    def give_up(self, box: Box) -> None:
        """Tell the store nothing of ``box``; what was settled there is delivered again."""
        if box.settled:
            self._losses["unsaved"] += len(box.settled)
        box.settled.clear()
        box.delivered.clear()
        box.worn_out.clear()
        self._work.forget(box)

    async def finish(self, timeout: float) -> None:
        """Return when the store was told all, or fails, or after ``timeout`` seconds; then stop."""
        self._sweep_timer.cancel()
        await self._work.finish(timeout)

    # ----------------------------------------------------------------------------- box by box

    async def _work_for(self, key: Box | _Sweep) -> None:
        if isinstance(key, _Sweep):
            await self._sweep()
            return
        while True:
            if key.unsaved:
                await self._save(key)
            elif key.wants_messages:
                await self._read(key)
            else:
                return

    def _worked_for(self, key: Box | _Sweep) -> None:
        if not isinstance(key, _Sweep):
            self._dispatcher.go_on(key)

    async def _save(self, box: Box) -> None:
        settled, dead, delivered = await box.save(self._store)
        if delivered:  # not before: who has read the old count hears of it, who reads finds it
            self._neighbours.delivered(box.user, delivered)
        if settled:
            self._neighbours.settled(box.user, settled)
        if dead:
            self._losses["dead"] += len(dead)
        for message in dead:
            self._on_dead(message)

    async def _read(self, box: Box) -> None:
        """Ask for what is pending, from the oldest on, until there is enough or no more."""
        box.unread, box.reading = False, True  # what arrives from now on is to be asked for again
        after: str | None = None
        try:
            while True:
                page = await self._store.pending(
                    box.user, now=self._wall_clock(), after=after, limit=PAGE
                )
                for message in page:
                    if box.full:
                        box.unread = True
                        break
                    self._dispatcher.offer(box, message)
                self._dispatcher.go_on(box)
                if box.unread or len(page) < PAGE:
                    return
                after = page[-1].id
        except BaseException:
            box.unread = True
            raise
        finally:
            box.reading = False

    # -------------------------------------------------------------------------- what is dropped

    def _sweep_now(self) -> None:
        self._sweep_timer = self._runtime.call_later(self._sweep_interval, self._sweep_now)
        self._work.want(_SWEEP)

    async def _sweep(self) -> None:
        """Drop what has expired, for users who are not here, too; and say what was lost lately."""
        more = True
        while more:
            expired = await self._store.expire(now=self._wall_clock())
            more = len(expired) >= EXPIRED_AT_ONCE
            self._lost(expired, "expired", "expired")
        if self._losses:
            self._log.warning("inbox.lost", **self._losses)
            self._losses.clear()

    def _lost(self, messages: Sequence[InboxMessage], how: str, reason: str) -> None:
        """Count what the store has dropped, and have it given to nobody any more."""
        if not messages:
            return
        self._losses[how] += len(messages)
        self._on_loss(len(messages), reason)
        for user, ids in _by_user(messages).items():
            self._settle(user, ids)
            self._neighbours.settled(user, ids)


class _Sweep:
    """The key of the work that is for no user."""


_SWEEP = _Sweep()


def _by_user(messages: Iterable[InboxMessage]) -> dict[InboxUser, list[str]]:
    ids: dict[InboxUser, list[str]] = {}
    for message in messages:
        ids.setdefault(message.user, []).append(message.id)
    return ids
