"""The address of an actor: tell, put and ask, and what waiting for space keeps."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from actors.actor import Actor
from actors.errors import (
    ActorStopped,
    MailboxClosed,
    MailboxFull,
    MessageTooLarge,
    WrongLoop,
)
from actors.exits import Ending, ExitReason
from actors.mailbox import Mailbox
from actors.overflow import Offer, Overflow
from actors.ref import ActorRef
from actors.runtime import Runtime
from actors.testing import Probe, settle
from tests.actors.conftest import Exits
from tests.actors.recording import Item, Request

STOP = ExitReason(Ending.STOPPED)


class Gate(Actor[Item]):
    """Handles one message each time it is opened."""

    __slots__ = ("handled", "turns")

    def __init__(self) -> None:
        self.handled: list[str] = []
        self.turns = asyncio.Semaphore(0)

    def receive(self, message: Item) -> Awaitable[None]:
        self.handled.append(message.name)
        return self._pass()

    async def _pass(self) -> None:
        await self.turns.acquire()

    def open(self, times: int = 1) -> None:
        """Let ``times`` messages pass."""
        for _ in range(times):
            self.turns.release()


class Answering(Actor[Request]):
    """Answers every question with its name."""

    def receive(self, message: Request) -> None:
        message.answer(message.name)


class Silent(Actor[Request]):
    """Keeps its questions, and never answers."""

    __slots__ = ("questions",)

    def __init__(self) -> None:
        self.questions: list[Request] = []

    def receive(self, message: Request) -> None:
        self.questions.append(message)


def gated(runtime: Runtime, capacity: int = 1) -> tuple[Gate, ActorRef[Item]]:
    """Return a gate that is busy with its first message, and whose mailbox refuses when full."""
    gate = Gate()
    ref = runtime.spawn(gate, Mailbox[Item](capacity, 100, Overflow.BLOCK), name="gate")
    ref.tell(Item("busy"), at_once=True)
    assert gate.handled == ["busy"]
    return gate, ref


# tell


async def test_tell_gives_a_turn_soon(runtime: Runtime) -> None:
    """A message that was told is handled by itself, but not within the call."""
    probe = Probe[Item]()
    ref = runtime.spawn(probe, Mailbox[Item](), name="probe")
    item = Item()

    assert ref.tell(item) is Offer.ACCEPTED
    assert probe.received == []
    await settle()

    assert probe.received == [item]


async def test_tell_at_once_gives_an_idle_actor_its_turn_within_the_call(
    runtime: Runtime,
) -> None:
    """at_once saves the round through the loop."""
    probe = Probe[Item]()
    ref = runtime.spawn(probe, Mailbox[Item](), name="probe")
    item = Item()

    ref.tell(item, at_once=True)

    assert probe.received == [item]


async def test_tell_never_waits(runtime: Runtime) -> None:
    """A full mailbox hands the message back."""
    gate, ref = gated(runtime)
    ref.tell(Item())

    assert ref.tell(Item()) is Offer.FULL
    gate.open(2)


async def test_an_actor_that_stopped_takes_nothing(runtime: Runtime) -> None:
    """tell() says CLOSED, and put() and ask() raise MailboxClosed with the name."""
    probe = Probe[Any]()
    ref = runtime.spawn(probe, Mailbox[Any](), name="probe")
    probe.cell.stop(STOP)

    assert ref.closed
    assert ref.tell(Item()) is Offer.CLOSED
    with pytest.raises(MailboxClosed, match="probe"):
        await ref.put(Item(), timeout=1)
    with pytest.raises(MailboxClosed, match="probe"):
        await ref.ask(Request(), timeout=1)


async def test_another_loop_is_told_that_it_is_the_wrong_one(runtime: Runtime) -> None:
    """tell(), put() and ask() raise WrongLoop elsewhere, whether or not somebody waits."""
    gate, ref = gated(runtime)
    ref.tell(Item())
    waiting = asyncio.create_task(ref.put(Item(), timeout=10))
    await settle()

    async def elsewhere() -> None:
        with pytest.raises(WrongLoop, match="another event loop"):
            ref.tell(Item())
        with pytest.raises(WrongLoop):
            await ref.put(Item(), timeout=1)
        with pytest.raises(WrongLoop):
            await ref.ask(Request(), timeout=1)

    with ThreadPoolExecutor() as executor:
        executor.submit(lambda: asyncio.run(elsewhere())).result()
        with pytest.raises(WrongLoop):
            executor.submit(ref.tell, Item()).result()
    gate.open(3)
    await waiting

    assert ref.statistics().accepted == 3


# put


async def test_put_waits_for_space(runtime: Runtime) -> None:
    """A put into a full mailbox succeeds when the actor has taken something."""
    gate, ref = gated(runtime)
    ref.tell(Item("a"))
    putting = asyncio.create_task(ref.put(Item("b"), timeout=60))
    await settle()
    assert not putting.done()

    gate.open(3)
    await settle()

    assert putting.result() is Offer.ACCEPTED
    assert gate.handled == ["busy", "a", "b"]


async def test_put_waits_no_longer_than_it_may(runtime: Runtime) -> None:
    """MailboxFull comes after the timeout, and the message is in no mailbox."""
    gate, ref = gated(runtime)
    ref.tell(Item("a"))
    before = runtime.clock()

    with pytest.raises(MailboxFull, match="no space within 30 s"):
        await ref.put(Item("b"), timeout=30)

    assert runtime.clock() - before == pytest.approx(30, abs=0.1)
    gate.open(2)
    await settle()
    assert gate.handled == ["busy", "a"]


async def test_those_who_wait_are_served_in_order(runtime: Runtime) -> None:
    """Nobody overtakes in the queue for space, also who comes when there is space again."""
    gate, ref = gated(runtime)
    ref.tell(Item("0"))
    putting = [
        asyncio.create_task(ref.put(Item(str(number)), timeout=60)) for number in range(1, 4)
    ]
    await settle()

    gate.open()
    await asyncio.sleep(0)  # the first who waits may go, and has not gone yet
    putting.append(asyncio.create_task(ref.put(Item("4"), timeout=60)))
    gate.open(10)
    await asyncio.gather(*putting)
    await settle()

    assert gate.handled == ["busy", "0", "1", "2", "3", "4"]


async def test_what_takes_no_space_waits_for_nobody(runtime: Runtime) -> None:
    """A message without count and size goes in, also while others wait for space."""
    gate, ref = gated(runtime)
    ref.tell(Item("0"))
    putting = asyncio.create_task(ref.put(Item("1"), timeout=60))
    await settle()

    offer = await ref.put(Item("weightless", count=0), timeout=0)
    gate.open(10)
    await putting
    await settle()

    assert offer is Offer.ACCEPTED
    assert gate.handled == ["busy", "0", "weightless", "1"]


async def test_a_cancelled_put_leaves_nothing_in_the_mailbox(runtime: Runtime) -> None:
    """Cancelling while it waits withdraws the message; the next in the queue is served."""
    gate, ref = gated(runtime)
    ref.tell(Item("0"))
    putting = [
        asyncio.create_task(ref.put(Item(str(number)), timeout=60)) for number in range(1, 4)
    ]
    await settle()

    putting[0].cancel()
    gate.open(10)
    await asyncio.gather(*putting, return_exceptions=True)
    await settle()

    assert putting[0].cancelled()
    assert gate.handled == ["busy", "0", "2", "3"]


async def test_a_put_that_is_cancelled_when_its_turn_has_come_passes_it_on(
    runtime: Runtime,
) -> None:
    """A wake-up is not lost with the one who was woken."""
    gate, ref = gated(runtime)
    ref.tell(Item("0"))
    putting = [
        asyncio.create_task(ref.put(Item(str(number)), timeout=60)) for number in range(1, 3)
    ]
    await settle()

    gate.cell.mailbox.take()  # there is space: the first is woken
    putting[0].cancel()  # and cancelled before it runs
    await settle()

    assert putting[0].cancelled()
    assert putting[1].done()
    gate.open(3)
    await settle()
    assert gate.handled == ["busy", "2"]


async def test_a_timeout_of_the_first_does_not_stop_the_second(runtime: Runtime) -> None:
    """Whoever gives up leaves the queue in order."""
    gate, ref = gated(runtime)
    ref.tell(Item("0"))
    first = asyncio.create_task(ref.put(Item("1"), timeout=1))
    second = asyncio.create_task(ref.put(Item("2"), timeout=60))

    await asyncio.sleep(2)
    assert isinstance(first.exception(), MailboxFull)
    gate.open(10)
    await settle()

    assert second.result() is Offer.ACCEPTED
    assert gate.handled == ["busy", "0", "2"]


async def test_one_large_message_makes_way_for_several_small_ones(runtime: Runtime) -> None:
    """Everybody for whom there is space now is served, not only the first."""
    gate, ref = gated(runtime, capacity=10)
    ref.tell(Item("big", size=100))
    putting = [
        asyncio.create_task(ref.put(Item(str(number), size=30), timeout=60)) for number in range(3)
    ]
    await settle()

    gate.open()  # it takes the big one, and is busy with it
    await settle()

    assert [put.result() for put in putting] == [Offer.ACCEPTED] * 3
    gate.open(4)


async def test_a_stop_wakes_all_who_wait(runtime: Runtime) -> None:
    """put() raises MailboxClosed at once when the actor stops."""
    gate, ref = gated(runtime)
    ref.tell(Item("0"))
    putting = [asyncio.create_task(ref.put(Item(), timeout=3600)) for _ in range(3)]
    await settle()
    before = runtime.clock()

    gate.cell.stop(STOP)
    results = await asyncio.gather(*putting, return_exceptions=True)

    assert [type(result) for result in results] == [MailboxClosed] * 3
    assert runtime.clock() - before < 1
    gate.open()


async def test_put_says_what_is_too_large(runtime: Runtime) -> None:
    """MessageTooLarge names the size and the bound."""
    gate, ref = gated(runtime)

    with pytest.raises(MessageTooLarge, match=r"101 bytes.* at most 100"):
        await ref.put(Item(size=101), timeout=1)
    gate.open()


async def test_put_says_that_a_message_counts_for_too_many(runtime: Runtime) -> None:
    """MessageTooLarge names the number of messages where that is the trouble."""
    gate, ref = gated(runtime)

    with pytest.raises(MessageTooLarge, match=r"counts for 2.* 1 messages"):
        await ref.put(Item(count=2), timeout=1)
    gate.open()


async def test_put_that_may_not_wait_tries_once(runtime: Runtime) -> None:
    """A timeout of nothing is a tell that raises."""
    gate, ref = gated(runtime)

    assert await ref.put(Item("a"), timeout=0) is Offer.ACCEPTED
    with pytest.raises(MailboxFull):
        await ref.put(Item("b"), timeout=0)
    with pytest.raises(MailboxFull):
        await ref.put(Item("c"), timeout=-1)
    gate.open(2)


# ask


async def test_ask_returns_the_answer(runtime: Runtime) -> None:
    """A question comes back answered, with and without at_once."""
    ref = runtime.spawn(Answering(), Mailbox[Request](), name="answering")

    assert await ref.ask(Request("a"), timeout=1) == "a"
    assert await ref.ask(Request("b"), timeout=1, at_once=True) == "b"


async def test_an_ask_that_is_answered_at_once_does_not_wait(runtime: Runtime) -> None:
    """With at_once, an idle actor answers before anything else runs."""
    ref = runtime.spawn(Answering(), Mailbox[Request](), name="answering")
    others: list[str] = []
    runtime.loop.call_soon(others.append, "ran")

    await ref.ask(Request("a"), timeout=1, at_once=True)

    assert others == []


async def test_an_unanswered_ask_times_out(runtime: Runtime) -> None:
    """TimeoutError names the actor; an answer that comes later goes nowhere."""
    silent = Silent()
    ref = runtime.spawn(silent, Mailbox[Request](), name="silent")
    before = runtime.clock()

    with pytest.raises(TimeoutError, match="silent did not answer within 7 s"):
        await ref.ask(Request(), timeout=7)

    assert runtime.clock() - before == pytest.approx(7, abs=0.1)
    silent.questions[0].answer("late")


async def test_the_time_for_space_counts_for_the_answer(runtime: Runtime) -> None:
    """Timeout is for all of it: waiting for space and waiting for the answer."""
    gate = Gate()
    ref: ActorRef[Any] = runtime.spawn(gate, Mailbox[Any](1, overflow=Overflow.BLOCK), name="gate")
    ref.tell(Item(), at_once=True)
    ref.tell(Item())
    runtime.loop.call_later(6, gate.open)
    before = runtime.clock()

    with pytest.raises(TimeoutError):
        await ref.ask(Request(), timeout=10)

    assert runtime.clock() - before == pytest.approx(10, abs=0.1)
    gate.open(2)


async def test_a_question_that_waits_when_the_actor_stops_is_answered_with_an_error(
    runtime: Runtime,
) -> None:
    """ActorStopped, and not silence."""
    ref = runtime.spawn(silent := Silent(), Mailbox[Request](), name="silent")
    asking = asyncio.create_task(ref.ask(Request(), timeout=3600))
    await asyncio.sleep(0)

    silent.cell.stop(STOP)
    await settle()

    with pytest.raises(ActorStopped):
        asking.result()


async def test_a_question_at_which_the_actor_crashes_is_answered_with_an_error(
    runtime: Runtime, exits: Exits
) -> None:
    """Whoever asked learns of the crash at once, also when the actor fails while it waits."""

    class Crashing(Actor[Request]):
        def receive(self, message: Request) -> Any:
            if message.name == "at once":
                raise RuntimeError("at once")
            return self.later()

        async def later(self) -> None:
            await asyncio.sleep(1)
            raise RuntimeError("later")

    for name in ("at once", "later"):
        ref = runtime.spawn(Crashing(), Mailbox[Request](), name=name)
        before = runtime.clock()

        with pytest.raises(ActorStopped):
            await ref.ask(Request(name), timeout=3600)

        assert runtime.clock() - before < 2
    assert [reason.ending for _, reason in exits] == [Ending.CRASHED, Ending.CRASHED]


async def test_a_question_that_is_dropped_is_answered_with_an_error(runtime: Runtime) -> None:
    """A mailbox that drops the question tells whoever asked."""
    ref = runtime.spawn(gate := Gate(), Mailbox[Any](1, overflow=Overflow.DROP_NEWEST), name="gate")
    ref.tell(Item(), at_once=True)
    ref.tell(Item())

    with pytest.raises(ActorStopped):
        await ref.ask(Request(), timeout=3600)
    gate.open(2)


async def test_a_question_that_is_evicted_is_answered_with_an_error(runtime: Runtime) -> None:
    """A question that later messages push out ends its wait."""
    ref = runtime.spawn(gate := Gate(), Mailbox[Any](1), name="gate")
    ref.tell(Item(), at_once=True)
    asking = asyncio.create_task(ref.ask(Request(), timeout=3600))
    await settle()

    ref.tell(Item())
    await settle()

    with pytest.raises(ActorStopped):
        asking.result()
    gate.open(2)


async def test_a_cancelled_ask_leaves_no_error_unseen(runtime: Runtime) -> None:
    """A question whose asker has gone may be refused without a complaint of the loop."""
    complaints: list[dict[str, Any]] = []
    runtime.loop.set_exception_handler(lambda _, context: complaints.append(context))
    ref = runtime.spawn(silent := Silent(), Mailbox[Request](), name="silent")
    before_refusal = asyncio.create_task(ref.ask(Request("1"), timeout=3600))
    after_refusal = asyncio.create_task(ref.ask(Request("2"), timeout=3600))
    await settle()
    first, second = silent.questions

    before_refusal.cancel()
    second.refuse(ActorStopped("no"))
    after_refusal.cancel()
    await settle()
    first.refuse(ActorStopped("no"))
    silent.questions.clear()
    assert before_refusal.cancelled()
    assert after_refusal.cancelled()
    del first, second, before_refusal, after_refusal
    gc.collect()

    assert complaints == []


async def test_a_cancelled_ask_withdraws_the_wait_and_not_the_question(
    runtime: Runtime,
) -> None:
    """The actor still gets the question; its answer goes nowhere."""
    probe = Probe[Request]()
    ref = runtime.spawn(probe, Mailbox[Request](), name="probe")
    question = Request()
    asking = asyncio.create_task(ref.ask(question, timeout=3600))
    await asyncio.sleep(0)

    asking.cancel()
    await settle()
    question.answer("late")

    assert probe.received == [question]


# what a ref holds


async def test_a_ref_keeps_no_dead_actor_alive(runtime: Runtime) -> None:
    """Whoever keeps the address of an actor that stopped keeps its name and counters only."""
    probe = Probe[Item]()
    ref = runtime.spawn(probe, Mailbox[Item](), name="probe")
    alive = weakref.ref(probe)
    probe.cell.stop(STOP)

    del probe
    gc.collect()

    assert alive() is None
    assert ref.name == "probe"
    assert ref.statistics().accepted == 0
