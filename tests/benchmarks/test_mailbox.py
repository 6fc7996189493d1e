"""What it costs to offer a message, and to take it."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from actors.mailbox import Mailbox
from actors.messages import Chunk, Frame
from actors.overflow import Offer, Overflow

pytestmark = pytest.mark.benchmark(group="mailboxes")

CHUNK = Chunk((Frame("x" * 128),))


def test_offer_and_take(benchmark: BenchmarkFixture) -> None:
    """A mailbox that is never full hands out what it was offered."""
    mailbox = Mailbox[Chunk]()

    def offer_and_take() -> Chunk | None:
        mailbox.offer(CHUNK)
        return mailbox.take()

    taken = benchmark(offer_and_take)

    assert taken is CHUNK
    assert not mailbox


def test_offer_to_a_full_mailbox(benchmark: BenchmarkFixture) -> None:
    """A full mailbox drops the oldest for each that is offered."""
    mailbox = Mailbox[Chunk](64, overflow=Overflow.DROP_OLDEST)
    for _ in range(64):
        mailbox.offer(CHUNK)

    offer = benchmark(mailbox.offer, CHUNK)

    assert offer is Offer.EVICTED
    assert len(mailbox) == 64


def test_offer_a_key_that_waits(benchmark: BenchmarkFixture) -> None:
    """A newer message of the same key takes the place of the older one."""
    mailbox = Mailbox[Chunk]()
    chunk = Chunk(CHUNK.frames, key="step:1")
    mailbox.offer(chunk)

    offer = benchmark(mailbox.offer, chunk)

    assert offer is Offer.CONFLATED
    assert len(mailbox) == 1
