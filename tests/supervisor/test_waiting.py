"""What uvicorn uses of a queue and of an event, in our own."""

from __future__ import annotations

import asyncio

import pytest

from actors.testing import settle
from supervisor.transports.waiting import EventQueue, Gate

# What uvicorn uses of a queue.


async def test_events_come_in_their_order() -> None:
    """As from asyncio's queue."""
    events = EventQueue(asyncio.get_running_loop())
    assert events.empty()
    for number in range(3):
        events.put_nowait(number)

    assert (events.empty(), events.qsize()) == (False, 3)
    assert [await events.get() for _ in range(3)] == [0, 1, 2]


async def test_several_receivers_are_served_in_their_order() -> None:
    """Each gets one, who came first the first."""
    events = EventQueue(asyncio.get_running_loop())
    receivers = [asyncio.ensure_future(events.get()) for _ in range(3)]
    await settle()

    for number in range(3):
        events.put_nowait(number)
    await settle()

    assert [receiver.result() for receiver in receivers] == [0, 1, 2]


@pytest.mark.parametrize("woken", [False, True])
async def test_a_receiver_that_is_cancelled_loses_no_event(woken: bool) -> None:
    """Also one that was just about to get it: the next one does."""
    events = EventQueue(asyncio.get_running_loop())
    receivers = [asyncio.ensure_future(events.get()) for _ in range(3)]
    await settle()

    if woken:
        events.put_nowait("one")
        receivers[0].cancel()
    else:
        receivers[0].cancel()
        await settle()
        events.put_nowait("one")
    await settle()
    events.put_nowait("two")
    await settle()

    assert receivers[0].cancelled()
    assert [receiver.result() for receiver in receivers[1:]] == ["one", "two"]


async def test_the_last_receiver_that_is_cancelled_leaves_the_event() -> None:
    """For whoever receives next."""
    events = EventQueue(asyncio.get_running_loop())
    receiver = asyncio.ensure_future(events.get())
    await settle()

    events.put_nowait("one")
    receiver.cancel()
    await settle()

    assert await events.get() == "one"


# What uvicorn uses of an event.


async def test_all_who_wait_go_on_when_the_gate_opens() -> None:
    """And nobody waits at an open one."""
    gate = Gate(asyncio.get_running_loop())
    await gate.wait()
    gate.clear()
    waiting = [asyncio.ensure_future(gate.wait()) for _ in range(3)]
    await settle()
    assert not any(each.done() for each in waiting)

    gate.set()
    await settle()

    assert all(each.done() for each in waiting)


async def test_a_gate_that_closes_again_at_once_lets_nobody_through() -> None:
    """They wait on, instead of adding to what is full."""
    gate = Gate(asyncio.get_running_loop())
    gate.clear()
    waiting = asyncio.ensure_future(gate.wait())
    await settle()

    gate.set()
    gate.clear()
    await settle()
    assert not waiting.done()
    gate.set()
    await waiting


async def test_a_gate_forgets_who_gave_up_waiting() -> None:
    """A stalled socket to which an endpoint sends with a timeout, again and again."""
    gate = Gate(asyncio.get_running_loop())
    gate.clear()

    for _ in range(10):
        waiting = asyncio.ensure_future(gate.wait())
        await settle()
        waiting.cancel()
        await settle()

    assert not gate._waiting
    gate.set()
    await gate.wait()
