"""Receipts are sums; a latch counts who still holds a message."""

from __future__ import annotations

import asyncio

import pytest

from actors.overflow import DropReason
from actors.receipts import FlushLatch, Receipt
from actors.testing import settle


def test_a_receipt_is_true_when_somebody_took_it() -> None:
    """Truth is delivery to at least one; a loss at others does not change it."""
    assert Receipt(1, {DropReason.NEWEST: 99})
    assert not Receipt(0, {DropReason.NEWEST: 1})
    assert not Receipt()


def test_recipients_are_all_whether_they_took_it_or_not() -> None:
    """Recipients is accepted plus all drops."""
    receipt = Receipt(2, {DropReason.NEWEST: 3, DropReason.CLOSED: 4})

    assert receipt.recipients == 9


def test_receipts_add_up() -> None:
    """Adding sums each part, and changes neither addend."""
    left = Receipt(1, {DropReason.NEWEST: 1}, evicted=1)
    right = Receipt(2, {DropReason.NEWEST: 2, DropReason.CLOSED: 3}, evicted=4)

    total = left + right

    assert total == Receipt(3, {DropReason.NEWEST: 3, DropReason.CLOSED: 3}, evicted=5)
    assert left == Receipt(1, {DropReason.NEWEST: 1}, evicted=1)
    assert right == Receipt(2, {DropReason.NEWEST: 2, DropReason.CLOSED: 3}, evicted=4)


def test_nothing_is_the_zero_of_receipts() -> None:
    """An empty receipt changes no sum, on either side."""
    receipt = Receipt(1, {DropReason.CLOSED: 1}, evicted=2)

    assert receipt + Receipt() == receipt
    assert Receipt() + receipt == receipt
    assert Receipt() + Receipt(evicted=2) == Receipt(evicted=2)


def test_a_later_loss_moves_recipients_from_accepted_to_dropped() -> None:
    """lost() keeps the number of recipients."""
    receipt = Receipt(3, {DropReason.CLOSED: 1})

    after = receipt.lost(2, DropReason.SEND_FAILED)

    assert after == Receipt(1, {DropReason.CLOSED: 1, DropReason.SEND_FAILED: 2})
    assert after.recipients == receipt.recipients
    assert receipt.lost(0, DropReason.SEND_FAILED) is receipt


def test_receipts_are_compared_by_value_and_have_no_hash() -> None:
    """Equal parts make equal receipts; something else is never equal."""
    assert Receipt(1) == Receipt(1, {})
    assert Receipt(1) != Receipt(2)
    assert Receipt(1) != 1
    with pytest.raises(TypeError):
        hash(Receipt(1))


def test_a_receipt_shows_its_parts() -> None:
    """The repr names the reasons in words."""
    assert repr(Receipt(1, {DropReason.CLOSED: 2}, 3)) == (
        "Receipt(accepted=1, dropped={'closed': 2}, evicted=3)"
    )


async def test_a_latch_that_nobody_holds_waits_for_nothing() -> None:
    """wait() returns at once when all has been written already."""
    loop = asyncio.get_running_loop()
    before = loop.time()

    await FlushLatch().wait(3600)

    assert loop.time() - before < 1


async def test_a_latch_waits_for_the_last_holder() -> None:
    """wait() returns when everybody has counted down, and says how many failed."""
    latch = FlushLatch()
    latch.add()
    latch.add()
    waiting = asyncio.create_task(latch.wait(3600))
    await settle()

    latch.count_down(True)
    await settle()
    assert not waiting.done()
    latch.count_down(False)
    await settle()

    assert waiting.done()
    assert latch.failed == 1


async def test_a_latch_waits_no_longer_than_it_may() -> None:
    """wait() returns after its timeout; who counts down later does no harm."""
    loop = asyncio.get_running_loop()
    latch = FlushLatch()
    latch.add()
    before = loop.time()

    await latch.wait(5)
    waited = loop.time() - before
    latch.count_down(False)

    assert waited == pytest.approx(5, abs=0.1)
    assert latch.failed == 1


async def test_the_last_two_may_count_down_at_once() -> None:
    """A latch that is released twice before its waiter runs is released once."""
    latch = FlushLatch()
    latch.add()
    waiting = asyncio.create_task(latch.wait(3600))
    await settle()

    latch.count_down(True)
    latch.add()
    latch.count_down(True)
    await settle()

    assert waiting.done()
    assert latch.failed == 0


async def test_a_cancelled_wait_leaves_the_latch_usable() -> None:
    """Cancelling wait() stops the wait and nothing else."""
    latch = FlushLatch()
    latch.add()
    waiting = asyncio.create_task(latch.wait(3600))
    await settle()

    waiting.cancel()
    await settle()
    latch.count_down(True)

    assert waiting.cancelled()
    assert latch.failed == 0
