"""The words for what becomes of a message."""

from __future__ import annotations

import pytest

from actors.overflow import DropReason, Offer, Overflow


@pytest.mark.parametrize("offer", Offer)
def test_taken_means_written_or_waiting(offer: Offer) -> None:
    """Only accepted, conflated and evicted messages are on their way."""
    assert offer.taken is (offer in {Offer.ACCEPTED, Offer.CONFLATED, Offer.EVICTED})


def test_every_policy_that_loses_something_has_a_reason_of_its_name() -> None:
    """A drop is counted under the name of the policy that caused it."""
    losing = set(Overflow) - {Overflow.BLOCK, Overflow.CONFLATE, Overflow.CURSOR}

    assert {policy.value for policy in losing} <= {reason.value for reason in DropReason}


def test_offers_and_reasons_can_be_keys() -> None:
    """Counters are kept by offer and by reason."""
    assert {Offer.ACCEPTED: 1, Offer.FULL: 2}[Offer("full")] == 2
    assert {DropReason.OLDEST: 1}[DropReason("drop_oldest")] == 1
