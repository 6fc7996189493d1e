"""The runtime: turns, jobs, timers, and every exit reported once."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from actors.actor import Actor, ActorState
from actors.cell import Cell
from actors.errors import ActorStopped, MailboxClosed
from actors.exits import Ending, ExitReason
from actors.mailbox import Mailbox
from actors.messages import Message
from actors.overflow import Offer
from actors.ref import ActorRef
from actors.runtime import Runtime
from actors.testing import Probe, settle
from actors.timers import Timer
from tests.actors.conftest import Exits, Faults
from tests.actors.recording import Item, Request, chunk

STOP = ExitReason(Ending.STOPPED, text="enough")
LATER = ExitReason(Ending.KICKED, text="too late")


class Scripted(Actor[Item]):
    """
    Does what it is told in each phase of its life, and records the phases.

    A script may raise, or return an awaitable.
    """

    __slots__ = ("log", "on_receive", "on_starting", "on_stopping")

    def __init__(
        self,
        starting: Callable[[], Awaitable[None] | None] = lambda: None,
        receive: Callable[[], Awaitable[None] | None] = lambda: None,
        stopping: Callable[[], Awaitable[None] | None] = lambda: None,
    ) -> None:
        self.log: list[str] = []
        self.on_starting = starting
        self.on_receive = receive
        self.on_stopping = stopping

    def on_start(self) -> Awaitable[None] | None:
        self.log.append("start")
        return self.on_starting()

    def receive(self, message: Item) -> Awaitable[None] | None:
        self.log.append(message.name)
        return self.on_receive()

    def on_stop(self, reason: ExitReason) -> Awaitable[None] | None:
        self.log.append(f"stop {reason.ending.value}")
        return self.on_stopping()


def raising(error: BaseException) -> Callable[[], Awaitable[None] | None]:
    """Return a script that raises ``error`` at once."""

    def script() -> None:
        raise error

    return script


def raising_later(error: BaseException) -> Callable[[], Awaitable[None] | None]:
    """Return a script that raises ``error`` after a second."""

    async def script() -> None:
        await asyncio.sleep(1)
        raise error

    return script


def spawn(runtime: Runtime, actor: Actor[Any], name: str = "actor") -> ActorRef[Any]:
    """Start ``actor`` on a mailbox of its own."""
    return runtime.spawn(actor, Mailbox[Any](), name=name)


# Turns.


async def test_messages_wait_until_the_actor_has_started(runtime: Runtime) -> None:
    """No turn comes before on_start is done; then all that waited is handled in order."""
    actor = Scripted(starting=lambda: asyncio.sleep(5))
    ref = spawn(runtime, actor)
    ref.tell(Item("a"), at_once=True)
    ref.tell(Item("b"))
    await asyncio.sleep(4)
    assert actor.log == ["start"]
    states = [actor.cell.state]

    await asyncio.sleep(2)

    assert actor.log == ["start", "a", "b"]
    states.append(actor.cell.state)
    assert states == [ActorState.STARTING, ActorState.RUNNING]


async def test_an_actor_never_runs_twice_at_once(runtime: Runtime) -> None:
    """What comes while a turn waits has its turn afterwards, also when told at once."""
    actor = Scripted(receive=lambda: asyncio.sleep(5))
    ref = spawn(runtime, actor)

    ref.tell(Item("a"), at_once=True)
    ref.tell(Item("b"), at_once=True)
    await asyncio.sleep(4)
    assert actor.log == ["start", "a"]
    await asyncio.sleep(2)

    assert actor.log == ["start", "a", "b"]


async def test_a_turn_that_need_not_wait_makes_no_task(runtime: Runtime) -> None:
    """An actor of plain calls lives and dies without any job."""
    actor = Scripted()
    ref = spawn(runtime, actor)
    ref.tell(Item("a"))
    await settle()

    actor.cell.stop(STOP)

    assert actor.log == ["start", "a", "stop stopped"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_actor_may_tell_itself_at_once(runtime: Runtime) -> None:
    """A message from within a turn is handled in a turn of its own."""
    again: list[Item] = [Item("again")]
    actor = Scripted()

    def tell_again() -> None:
        if again:
            ref.tell(again.pop(), at_once=True)
            actor.log.append("told")

    actor.on_receive = tell_again
    ref = spawn(runtime, actor)

    ref.tell(Item("first"), at_once=True)
    await settle()

    assert actor.log == ["start", "first", "told", "again"]


async def test_a_message_is_settled_when_its_turn_has_ended(runtime: Runtime) -> None:
    """settle() says whether the owner took the message to its end: once, after the turn."""
    actor = Scripted(receive=lambda: asyncio.sleep(5))
    ref = spawn(runtime, actor)
    item = Item()

    ref.tell(item, at_once=True)
    assert item.settled == []
    await asyncio.sleep(6)

    assert item.settled == [True]


@pytest.mark.parametrize("script", [raising, raising_later])
async def test_a_message_at_which_the_actor_crashes_is_settled(
    runtime: Runtime, script: Callable[[BaseException], Any]
) -> None:
    """settle(False): and the messages behind it, too."""
    ref = spawn(runtime, Scripted(receive=script(RuntimeError("boom"))))
    item, behind = Item(), Item()

    ref.tell(item)
    ref.tell(behind)
    await asyncio.sleep(2)

    assert (item.settled, behind.settled) == ([False], [False])


async def test_an_actor_without_receive_says_so(runtime: Runtime, exits: Exits) -> None:
    """The crash of an unfinished actor names its class."""

    class Unfinished(Actor[Item]):
        pass

    spawn(runtime, Unfinished()).tell(Item(), at_once=True)

    assert "Unfinished does not say what receive() does" in exits[0][1].text


# Ends.


async def test_a_stop_closes_the_mailbox_at_once(runtime: Runtime, exits: Exits) -> None:
    """What waits is lost and settled; what comes later is refused."""
    actor = Scripted()
    ref = spawn(runtime, actor)
    waiting = Item()
    ref.tell(waiting)

    actor.cell.stop(STOP)

    assert waiting.settled == [False]
    assert ref.tell(Item()) is Offer.CLOSED
    assert actor.log == ["start", "stop stopped"]
    assert actor.cell.state is ActorState.STOPPED
    assert exits == [("actor", STOP)]
    await settle()  # the turn that was on its way does nothing
    assert actor.log == ["start", "stop stopped"]


async def test_the_first_reason_to_stop_stands(runtime: Runtime, exits: Exits) -> None:
    """stop() is idempotent, before and after the actor has stopped."""
    actor = Scripted(stopping=lambda: asyncio.sleep(1))
    spawn(runtime, actor)

    actor.cell.stop(STOP)
    actor.cell.stop(LATER)
    await asyncio.sleep(2)
    actor.cell.stop(LATER)

    assert exits == [("actor", STOP)]
    assert actor.log == ["start", "stop stopped"]


async def test_an_actor_may_stop_itself_within_a_turn(runtime: Runtime, exits: Exits) -> None:
    """The turn goes on to its end, and is the last."""
    actor = Scripted()

    async def stop_and_go_on() -> None:
        actor.cell.stop(STOP)
        await asyncio.sleep(1)
        actor.log.append("went on")

    actor.on_receive = stop_and_go_on
    ref = spawn(runtime, actor)
    ref.tell(Item("a"))
    ref.tell(Item("b"))
    await asyncio.sleep(2)

    assert actor.log == ["start", "a", "went on", "stop stopped"]
    assert exits == [("actor", STOP)]


async def test_an_actor_may_stop_itself_while_it_starts(runtime: Runtime, exits: Exits) -> None:
    """It gets no turn, and its on_stop."""
    actor = Scripted()
    actor.on_starting = lambda: actor.cell.stop(STOP)

    ref = spawn(runtime, actor)

    assert ref.closed
    assert actor.log == ["start", "stop stopped"]
    assert exits == [("actor", STOP)]


async def test_a_stop_waits_for_the_start(runtime: Runtime, exits: Exits) -> None:
    """on_stop never overlaps on_start; senders are refused at once all the same."""
    actor = Scripted(starting=lambda: asyncio.sleep(5))
    ref = spawn(runtime, actor)

    actor.cell.stop(STOP)
    assert ref.closed
    await asyncio.sleep(4)
    assert actor.log == ["start"]
    await asyncio.sleep(2)

    assert actor.log == ["start", "stop stopped"]
    assert exits == [("actor", STOP)]


@pytest.mark.parametrize("script", [raising, raising_later])
@pytest.mark.parametrize("error", [RuntimeError("boom"), asyncio.CancelledError("boom")])
@pytest.mark.parametrize("phase", ["starting", "receive", "stopping"])
async def test_an_exception_in_any_phase_ends_the_actor_and_is_reported_once(
    runtime: Runtime,
    exits: Exits,
    phase: str,
    script: Callable[[BaseException], Any],
    error: BaseException,
) -> None:
    """The reason is the crash, with the exception; on_stop is called once however it ended."""
    actor = Scripted(**{phase: script(error)})
    ref = spawn(runtime, actor)
    ref.tell(Item("a"))
    await asyncio.sleep(2)
    actor.cell.stop(STOP)
    await asyncio.sleep(2)

    assert [(name, reason.ending, reason.error) for name, reason in exits] == [
        ("actor", Ending.CRASHED, error)
    ]
    assert exits[0][1].text == f"{type(error).__name__}: boom"
    assert sum(entry.startswith("stop") for entry in actor.log) == 1
    assert ref.closed
    assert runtime.actors == 0


async def test_what_ends_the_program_ends_the_actor_and_goes_on(
    runtime: Runtime, exits: Exits
) -> None:
    """KeyboardInterrupt out of a turn reaches the caller; the exit is reported all the same."""
    ref = spawn(runtime, Scripted(receive=raising(KeyboardInterrupt())))

    with pytest.raises(KeyboardInterrupt):
        ref.tell(Item(), at_once=True)

    assert [reason.ending for _, reason in exits] == [Ending.CRASHED]
    assert runtime.actors == 0


async def test_a_turn_that_returns_nonsense_is_a_crash(runtime: Runtime, exits: Exits) -> None:
    """What is neither None nor awaitable ends the actor, and not the machine."""
    ref = spawn(runtime, Scripted(receive=lambda: 42))  # type: ignore[arg-type,return-value]  # the nonsense

    ref.tell(Item())
    await settle()

    assert "TypeError" in exits[0][1].text


async def test_a_failing_listener_of_exits_is_a_fault_and_nothing_more() -> None:
    """An on_exit that raises stops neither the machine nor the other exits."""
    faults: Faults = []
    boom = RuntimeError("boom")

    def on_exit(cell: Cell[Any], reason: ExitReason) -> None:
        raise boom

    runtime = Runtime(on_exit=on_exit, on_fault=lambda *fault: faults.append(fault))
    probes = [Probe[Item](), Probe[Item]()]
    for probe in probes:
        spawn(runtime, probe)

    await runtime.aclose()

    assert faults == [("on_exit", boom), ("on_exit", boom)]
    assert runtime.actors == 0


# Successors.


class Heirs:
    """Gives every actor that crashed a successor."""

    def __init__(self, *heirs: Actor[Any]) -> None:
        self.heirs = list(heirs)
        self.exits: list[ExitReason] = []
        self.runtime = Runtime(on_exit=self.on_exit)

    def on_exit(self, cell: Cell[Any], reason: ExitReason) -> Actor[Any] | None:
        self.exits.append(reason)
        return self.heirs.pop(0) if self.heirs else None


async def test_a_successor_inherits_mailbox_and_ref() -> None:
    """What waited when the actor crashed is handled by the next, in order."""
    heir = Scripted()
    heirs = Heirs(heir)
    first = Scripted(receive=raising(RuntimeError("boom")))
    ref = spawn(heirs.runtime, first)
    for name in "abc":
        ref.tell(Item(name))
    await settle()

    assert first.log == ["start", "a", "stop crashed"]
    assert heir.log == ["start", "b", "c"]
    assert not ref.closed
    assert heirs.runtime.actors == 1
    await heirs.runtime.aclose()
    assert [reason.ending for reason in heirs.exits] == [Ending.CRASHED, Ending.SHUTDOWN]


async def test_an_actor_that_was_stopped_has_no_successor() -> None:
    """Only a crash is answered with a successor, whatever on_exit returns."""
    heir = Scripted()
    heirs = Heirs(heir)
    actor = Scripted()
    spawn(heirs.runtime, actor)

    actor.cell.stop(STOP)

    assert heir.log == []
    assert heirs.runtime.actors == 0
    await heirs.runtime.aclose()


async def test_an_actor_that_is_stopped_while_it_crashes_has_no_successor() -> None:
    """A stop between the crash and the successor counts: it is not lost."""
    heir = Scripted()
    heirs = Heirs(heir)
    actor = Scripted(receive=raising(RuntimeError("boom")), stopping=lambda: asyncio.sleep(5))
    ref = spawn(heirs.runtime, actor)
    ref.tell(Item("a"))
    await settle()

    actor.cell.stop(STOP)
    assert ref.closed
    await asyncio.sleep(6)

    assert heir.log == []
    assert [reason.ending for reason in heirs.exits] == [Ending.CRASHED]
    assert heirs.runtime.actors == 0
    await heirs.runtime.aclose()


async def test_an_actor_that_is_stopped_by_whoever_hears_of_its_crash_has_no_successor() -> None:
    """A stop within on_exit counts."""
    heir = Scripted()

    def on_exit(cell: Cell[Any], reason: ExitReason) -> Actor[Any]:
        cell.stop(STOP)
        return heir

    runtime = Runtime(on_exit=on_exit)
    ref = spawn(runtime, Scripted(receive=raising(RuntimeError("boom"))))

    ref.tell(Item(), at_once=True)

    assert heir.log == []
    assert ref.closed
    assert runtime.actors == 0
    await runtime.aclose()


async def test_a_successor_that_fails_to_start_is_reported_too() -> None:
    """Every actor's exit is reported, each once."""
    last = Scripted()
    heirs = Heirs(Scripted(starting=raising(RuntimeError("start"))), last)
    ref = spawn(heirs.runtime, Scripted(receive=raising(RuntimeError("turn"))))

    ref.tell(Item())
    await settle()

    assert [str(reason.error) for reason in heirs.exits] == ["turn", "start"]
    assert last.log == ["start"]
    await heirs.runtime.aclose()


# Jobs.


async def test_a_job_says_once_how_it_went(runtime: Runtime) -> None:
    """on_done gets None, the exception, or the cancellation; a handled error is no fault."""
    ends: list[BaseException | None] = []
    boom = RuntimeError("boom")
    runtime.run(asyncio.sleep(1), name="fine", on_done=ends.append)
    runtime.run(raising_later(boom)() or asyncio.sleep(0), name="fails", on_done=ends.append)
    cancelled = runtime.run(asyncio.sleep(3600), name="cancelled", on_done=ends.append)
    await asyncio.sleep(2)
    cancelled.cancel()
    cancelled.cancel()
    await settle()

    assert ends[:2] == [None, boom]
    assert isinstance(ends[2], asyncio.CancelledError)
    assert len(ends) == 3
    assert runtime.jobs == 0


async def test_a_failure_that_nobody_waits_for_is_a_fault(runtime: Runtime, faults: Faults) -> None:
    """A job without on_done reports its exception under its name; a cancelled one is quiet."""
    boom = RuntimeError("boom")
    runtime.run(raising_later(boom)() or asyncio.sleep(0), name="lonely")
    runtime.run(asyncio.sleep(3600), name="quiet").cancel()
    await asyncio.sleep(2)

    assert faults.pop() == ("lonely", boom)


async def test_a_failing_on_done_is_a_fault(runtime: Runtime, faults: Faults) -> None:
    """What on_done raises is reported, and no job is left behind."""
    runtime.run(asyncio.sleep(0), name="job", on_done=lambda _: 1 / 0)  # type: ignore[arg-type]  # it raises
    await settle()

    what, error = faults.pop()
    assert what == "job"
    assert isinstance(error, ZeroDivisionError)
    assert runtime.jobs == 0


async def test_a_job_cancelled_before_it_began_still_says_so(runtime: Runtime) -> None:
    """on_done is called, and the work is ended without a warning."""
    ends: list[BaseException | None] = []
    began: list[str] = []

    async def work() -> None:
        began.append("began")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runtime.run(work(), name="job", on_done=ends.append).cancel()
        await settle()
        gc.collect()

    assert [type(end) for end in ends] == [asyncio.CancelledError]
    assert began == []


async def test_a_job_s_future_is_cancelled_with_it(runtime: Runtime) -> None:
    """Awaiting a future means owning it: it is cancelled before and after the job began."""
    early: asyncio.Future[None] = runtime.loop.create_future()
    late: asyncio.Future[None] = runtime.loop.create_future()
    runtime.run(early, name="early").cancel()
    job = runtime.run(late, name="late")
    await settle()
    job.cancel()
    await settle()

    assert early.cancelled()
    assert late.cancelled()


async def test_a_job_whose_task_is_cancelled_from_outside_still_says_so(
    runtime: Runtime, exits: Exits
) -> None:
    """asyncio.run() cancels every task at its end, also those that have not begun."""
    ends: list[BaseException | None] = []
    before = asyncio.all_tasks()
    runtime.run(asyncio.sleep(3600), name="job", on_done=ends.append)
    spawn(runtime, Scripted(starting=lambda: asyncio.sleep(3600)))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for task in asyncio.all_tasks() - before:
            if task.get_name() in {"job", "actor"}:
                task.cancel()
        await settle()
        gc.collect()

    assert [type(end) for end in ends] == [asyncio.CancelledError]
    assert [reason.ending for _, reason in exits] == [Ending.CRASHED]


async def test_more_than_a_hundred_jobs_run_at_once(runtime: Runtime) -> None:
    """Aiojobs' own limit does not apply: the 101st job does not wait unseen."""
    ends: list[BaseException | None] = []
    for _ in range(250):
        runtime.run(asyncio.sleep(1), name="job", on_done=ends.append)
    assert runtime.jobs == 250

    await asyncio.sleep(1.5)

    assert ends == [None] * 250


async def test_jobs_are_named(runtime: Runtime) -> None:
    """A task can be told from the others in a debugger."""
    runtime.run(asyncio.sleep(1), name="my job")

    assert "my job" in {task.get_name() for task in asyncio.all_tasks()}


async def test_jobs_run_in_debug_mode_too(runtime: Runtime) -> None:
    """PYTHONASYNCIODEBUG=1 changes nothing."""
    runtime.loop.set_debug(True)
    ends: list[BaseException | None] = []

    runtime.run(asyncio.sleep(1), name="job", on_done=ends.append)
    await asyncio.sleep(2)

    assert ends == [None]


async def test_a_fault_without_a_reporter_goes_to_the_loop() -> None:
    """A runtime made without on_fault hides nothing."""
    complaints: list[dict[str, Any]] = []
    runtime = Runtime()
    runtime.loop.set_exception_handler(lambda _, context: complaints.append(context))
    boom = RuntimeError("boom")

    runtime.run(raising_later(boom)() or asyncio.sleep(0), name="lonely")
    await asyncio.sleep(2)
    await runtime.aclose()

    assert [context["exception"] for context in complaints] == [boom]


# Timers.


async def test_a_timer_rings_once_within_its_tick(runtime: Runtime) -> None:
    """Never early, and late by less than a tick."""
    rang: list[float] = []
    start = runtime.clock()
    runtime.call_later(5.03, lambda: rang.append(runtime.clock() - start))

    await asyncio.sleep(60)

    assert len(rang) == 1
    assert 5.03 <= rang[0] < 5.14


async def test_timers_ring_in_order_whenever_they_were_set(runtime: Runtime) -> None:
    """An earlier deadline that is set later moves the alarm forward."""
    rang: list[int] = []
    for seconds in (30, 10, 20):
        runtime.call_later(seconds, lambda seconds=seconds: rang.append(seconds))  # type: ignore[misc]

    await asyncio.sleep(25)
    assert rang == [10, 20]
    await asyncio.sleep(25)

    assert rang == [10, 20, 30]


async def test_a_timer_may_cancel_another_that_is_due_with_it(runtime: Runtime) -> None:
    """A cancelled timer never rings, even in the same tick."""
    rang: list[str] = []
    timers: list[Timer] = []

    def cancel_all() -> None:
        for timer in timers:
            timer.cancel()

    runtime.call_later(1, cancel_all)
    timers.append(runtime.call_later(1, lambda: rang.append("second")))

    await asyncio.sleep(5)

    assert rang == []


async def test_a_timer_may_set_another(runtime: Runtime) -> None:
    """A deadline set within a callback rings in its own time."""
    rang: list[str] = []

    def set_another() -> None:
        runtime.call_later(1, lambda: rang.append("second"))

    runtime.call_later(1, set_another)

    await asyncio.sleep(5)

    assert rang == ["second"]


@pytest.mark.parametrize("error", [RuntimeError("boom"), asyncio.CancelledError()])
async def test_a_failing_timer_costs_the_others_nothing(
    runtime: Runtime, faults: Faults, error: BaseException
) -> None:
    """What a callback raises is a fault; the other deadlines ring."""
    rang: list[str] = []
    runtime.call_later(1, raising(error))  # type: ignore[arg-type]  # it returns nothing
    runtime.call_later(1, lambda: rang.append("same tick"))
    runtime.call_later(2, lambda: rang.append("later"))

    await asyncio.sleep(5)

    assert rang == ["same tick", "later"]
    assert faults.pop() == ("timer", error)


# The end of all.


async def test_aclose_stops_every_actor_with_its_reason(exits: Exits) -> None:
    """Each exit is reported once, with the reason that was given."""
    runtime = Runtime(on_exit=lambda cell, reason: exits.append((cell.name, reason)))
    for name in "ab":
        spawn(runtime, Scripted(stopping=lambda: asyncio.sleep(1)), name)

    await runtime.aclose(reason=STOP)

    assert sorted(exits, key=lambda exit_: exit_[0]) == [("a", STOP), ("b", STOP)]
    assert runtime.actors == 0
    assert runtime.jobs == 0


async def test_aclose_is_idempotent(exits: Exits) -> None:
    """A second aclose has nothing to do, one after the other or side by side."""
    runtime = Runtime(on_exit=lambda cell, reason: exits.append((cell.name, reason)))
    spawn(runtime, Scripted(stopping=lambda: asyncio.sleep(3)))
    start = runtime.clock()

    await asyncio.gather(runtime.aclose(), runtime.aclose(reason=STOP))
    await runtime.aclose()

    assert len(exits) == 1
    assert runtime.clock() - start == pytest.approx(3, abs=0.2)


async def test_an_empty_runtime_closes_at_once() -> None:
    """aclose() of a runtime that never ran anything waits for nothing."""
    runtime = Runtime()
    start = runtime.clock()

    await runtime.aclose()

    assert runtime.clock() == start


async def test_an_actor_that_does_not_finish_its_turn_is_cut_short(exits: Exits) -> None:
    """After the timeout its job is cancelled; it ended for the shutdown, and did not crash."""
    runtime = Runtime(on_exit=lambda cell, reason: exits.append((cell.name, reason)))
    actor = Scripted(receive=lambda: asyncio.sleep(3600))
    spawn(runtime, actor).tell(Item("a"), at_once=True)
    start = runtime.clock()

    await runtime.aclose(timeout=5)

    assert exits == [("actor", ExitReason(Ending.SHUTDOWN))]
    assert actor.log == ["start", "a", "stop shutdown"]
    assert runtime.clock() - start == pytest.approx(5, abs=0.2)


async def test_an_actor_that_waits_in_on_stop_after_it_was_cut_short_is_reported(
    exits: Exits,
) -> None:
    """Its on_stop has as long again."""
    runtime = Runtime(on_exit=lambda cell, reason: exits.append((cell.name, reason)))
    actor = Scripted(receive=lambda: asyncio.sleep(3600), stopping=lambda: asyncio.sleep(3))
    spawn(runtime, actor).tell(Item("a"), at_once=True)

    await runtime.aclose(timeout=5)

    assert exits == [("actor", ExitReason(Ending.SHUTDOWN))]
    assert runtime.jobs == 0


async def test_an_actor_that_resists_to_the_last_is_reported_too(
    exits: Exits, faults: Faults
) -> None:
    """Who ends only when all is closed still gets its on_stop and its exit."""
    runtime = Runtime(
        on_exit=lambda cell, reason: exits.append((cell.name, reason)),
        on_fault=lambda *fault: faults.append(fault),
    )

    async def resist() -> None:
        for _ in range(2):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    actor = Scripted(receive=resist, stopping=lambda: asyncio.sleep(0))
    spawn(runtime, actor).tell(Item("a"), at_once=True)

    await runtime.aclose(timeout=5)
    await settle()

    assert actor.log == ["start", "a", "stop shutdown"]
    assert len(exits) == 1
    assert runtime.actors == 0
    assert runtime.jobs == 0


async def test_a_job_that_never_ends_is_reported_and_left(
    faults: Faults, tasks_may_stay: None
) -> None:
    """aclose() returns a little after its timeout, and names the trouble."""
    runtime = Runtime(on_fault=lambda *fault: faults.append(fault))
    over = asyncio.Event()

    async def never() -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    runtime.run(never(), name="never")
    await settle()
    start = runtime.clock()

    await runtime.aclose(timeout=5)

    assert runtime.clock() - start == pytest.approx(6, abs=0.5)
    assert [what for what, _ in faults] == ["aclose"]
    assert "1 jobs would not end" in str(faults[0][1])
    assert runtime.jobs == 1
    over.set()
    await settle()
    assert runtime.jobs == 0


async def test_a_room_that_crashes_during_aclose_is_not_restarted() -> None:
    """A successor would outlive the runtime."""
    heir = Scripted()
    heirs = Heirs(heir)
    actor = Scripted(receive=raising(RuntimeError("boom")), stopping=lambda: asyncio.sleep(1))
    spawn(heirs.runtime, actor).tell(Item(), at_once=True)

    await heirs.runtime.aclose()

    assert heir.log == []
    assert heirs.runtime.actors == 0


async def test_who_is_spawned_while_the_runtime_closes_is_stopped(exits: Exits) -> None:
    """aclose() does not wait in vain for an actor that came too late."""
    late = Scripted()
    runtime = Runtime(on_exit=lambda cell, reason: exits.append((cell.name, reason)))
    first = Scripted(stopping=lambda: asyncio.sleep(2))
    spawn(runtime, first, "first")
    runtime.loop.call_later(1, spawn, runtime, late, "late")
    start = runtime.clock()

    await runtime.aclose()

    assert runtime.clock() - start == pytest.approx(2, abs=0.2)
    assert late.log == ["start", "stop shutdown"]
    assert [name for name, _ in exits] == ["late", "first"]


async def test_a_closed_runtime_runs_nothing() -> None:
    """A job is cancelled before it has begun, and an actor stopped when it has started."""
    runtime = Runtime()
    runtime.run(asyncio.sleep(0), name="before")
    await settle()
    await runtime.aclose()
    ends: list[BaseException | None] = []

    runtime.run(asyncio.sleep(1), name="after", on_done=ends.append)
    ref = spawn(runtime, Scripted(starting=lambda: asyncio.sleep(1)))
    await settle()

    assert [type(end) for end in ends] == [asyncio.CancelledError]
    assert ref.closed
    assert runtime.actors == 0
    assert runtime.jobs == 0


async def test_aclose_answers_whoever_waits(runtime: Runtime) -> None:
    """Questions get ActorStopped, and those who wait for space MailboxClosed."""
    actor = Scripted(receive=lambda: asyncio.sleep(1))
    ref: ActorRef[Any] = runtime.spawn(actor, Mailbox[Any](1), name="actor")
    ref.tell(Item("busy"), at_once=True)
    asking = asyncio.create_task(ref.ask(Request("question"), timeout=3600))
    await settle()
    putting = asyncio.create_task(ref.put(Item("pinned", pinned=True), timeout=3600))
    await settle()

    await runtime.aclose()
    results = await asyncio.gather(asking, putting, return_exceptions=True)

    assert [type(result) for result in results] == [ActorStopped, MailboxClosed]


async def test_no_timer_rings_after_aclose() -> None:
    """The deadlines of a closed runtime are forgotten."""
    runtime = Runtime()
    rang: list[str] = []
    runtime.call_later(1, lambda: rang.append("rang"))

    await runtime.aclose()
    await asyncio.sleep(5)

    assert rang == []


async def test_a_chunk_that_was_told_to_a_plain_actor_is_settled(runtime: Runtime) -> None:
    """Whoever sent it learns that it was taken."""
    told: list[bool] = []
    probe = Probe[Message]()

    spawn(runtime, probe).tell(chunk("a", on_settled=told.append), at_once=True)

    assert told == [True]
