"""Those who wait for space: in order, none forgotten, whoever gives up or is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.actor import Actor
from actors.errors import MailboxClosed, MailboxFull
from actors.exits import Ending, ExitReason
from actors.mailbox import Mailbox
from actors.overflow import Offer, Overflow
from actors.runtime import Runtime
from actors.testing import VirtualClockLoop, settle
from tests.actors.recording import Item


class Gate(Actor[Item]):
    """Handles one message each time it is opened."""

    def __init__(self) -> None:
        self.handled: list[Item] = []
        self.turns = asyncio.Semaphore(0)

    def receive(self, message: Item) -> Awaitable[None]:
        self.handled.append(message)
        return self.wait()

    async def wait(self) -> None:
        await self.turns.acquire()


class PutMachine(RuleBasedStateMachine):
    """Tasks put, time out and are cancelled; the model is what each of them was told."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualClockLoop)
        self.puts: list[tuple[Item, asyncio.Task[Offer]]] = []  # in the order of their calls
        self.told: list[Item] = []  # accepted by tell(), which waits for nobody
        self.aside: list[Item] = []  # taken past the actor
        self.stopped = False
        self.number = 0

    @initialize(capacity=st.integers(1, 3), max_bytes=st.integers(2, 8))
    def start(self, capacity: int, max_bytes: int) -> None:
        def make() -> None:
            self.runtime = Runtime()
            self.gate = Gate()
            mailbox = Mailbox[Item](capacity, max_bytes, Overflow.BLOCK)
            self.ref = self.runtime.spawn(self.gate, mailbox, name="gate")

        self.now(make)

    def now(self, call: Callable[[], object], *, let_run: bool = True) -> None:
        async def on_loop() -> None:
            call()
            if let_run:
                await settle()

        self.runner.run(on_loop())

    def item(self, size: int) -> Item:
        self.number += 1
        return Item(str(self.number), size=size)

    @rule(
        sizes=st.lists(st.integers(0, 3), min_size=1, max_size=4),
        timeout=st.sampled_from([0.0, 1.0, 5.0, 1000.0]),
    )
    def put(self, sizes: list[int], timeout: float) -> None:
        def put_all() -> None:
            for size in sizes:
                item = self.item(min(size, self.ref._mailbox.max_bytes))
                task = asyncio.ensure_future(self.ref.put(item, timeout=timeout))
                self.puts.append((item, task))

        self.now(put_all)

    @rule(size=st.integers(0, 2))
    def tell(self, size: int) -> None:
        item = self.item(size)

        def tell_it() -> None:
            if self.ref.tell(item).taken:
                self.told.append(item)

        self.now(tell_it)

    @rule(times=st.integers(1, 4))
    def open_gate(self, times: int) -> None:
        def release() -> None:
            for _ in range(times):
                self.gate.turns.release()

        self.now(release)

    @rule(which=st.sets(st.integers(0, 8), min_size=1, max_size=3), opened=st.booleans())
    def cancel(self, which: set[int], opened: bool) -> None:
        """Cancel some of those who wait, perhaps in the moment in which there is space."""
        waiting = [task for _, task in self.puts if not task.done()]

        def cancel_some() -> None:
            if opened:
                self.gate.cell.mailbox.take()  # as if the actor had; whoever is first is woken
            for index in which:
                if index < len(waiting):
                    waiting[index].cancel()

        taken = self.gate.cell.mailbox.peek() if opened else None
        self.now(cancel_some)
        if taken is not None and not self.stopped:
            self.aside.append(taken)

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))
        self.now(lambda: None)

    @rule()
    def stop(self) -> None:
        self.stopped = True
        self.now(lambda: self.gate.cell.stop(ExitReason(Ending.STOPPED)))

    @invariant()
    def nobody_waits_while_there_is_space(self) -> None:
        waiting = [item for item, task in self.puts if not task.done()]
        if waiting:
            assert not self.stopped
            assert not self.ref._mailbox._fits(waiting[0])

    @invariant()
    def everybody_was_told_the_truth(self) -> None:
        accepted = list(self.told)
        for item, task in self.puts:
            if not task.done() or task.cancelled():
                continue
            error = task.exception()
            if error is None:
                assert task.result() is Offer.ACCEPTED
                accepted.append(item)
            else:
                allowed = (MailboxClosed, MailboxFull) if self.stopped else MailboxFull
                assert isinstance(error, allowed)
        if hasattr(self, "ref"):
            assert self.ref.statistics().accepted == len(accepted)
            assert {item.name for item in self.gate.handled} <= {item.name for item in accepted}

    @invariant()
    def those_who_waited_were_served_in_order(self) -> None:
        if hasattr(self, "gate"):
            mine = [item for item, _ in self.puts]
            served = [int(item.name) for item in self.gate.handled if item in mine]
            assert served == sorted(served)

    def teardown(self) -> None:
        try:
            if hasattr(self, "runtime"):
                self.now(self.gate.turns.release)
                self.runner.run(self.runtime.aclose(timeout=1))
                assert all(task.done() for _, task in self.puts)
                for _, task in self.puts:
                    if not task.cancelled():
                        task.exception()
        finally:
            self.runner.close()


TestPut = PutMachine.TestCase
