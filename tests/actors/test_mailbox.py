"""The mailbox: bounds, lanes, policies, conflation, counters. No event loop needed."""

from __future__ import annotations

import pytest

from actors.mailbox import CONTROL_CAPACITY, Mailbox, MailboxStatistics
from actors.overflow import DropReason, Offer, Overflow
from tests.actors.recording import Item

OWN = [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, Overflow.DISCONNECT, Overflow.BLOCK]
"""Policies that a mailbox can have."""

KEPT = [Overflow.DISCONNECT, Overflow.BLOCK, Overflow.CONFLATE, Overflow.CURSOR]
"""Policies whose messages make no space for others."""


def fill(mailbox: Mailbox[Item], *items: Item) -> None:
    """Offer ``items``; each must be accepted."""
    for item in items:
        assert mailbox.offer(item) is Offer.ACCEPTED


def empty(mailbox: Mailbox[Item]) -> list[Item]:
    """Take all that waits."""
    taken = []
    while (item := mailbox.take()) is not None:
        taken.append(item)
    return taken


# Order and lanes.


def test_messages_come_out_in_the_order_in_which_they_went_in() -> None:
    """take() is first in, first out."""
    mailbox = Mailbox[Item]()
    items = [Item(str(number)) for number in range(5)]

    fill(mailbox, *items)

    assert empty(mailbox) == items


def test_an_empty_mailbox_has_nothing_to_take() -> None:
    """take() and peek() say None, and the mailbox is false."""
    mailbox = Mailbox[Item]()

    assert mailbox.take() is None
    assert mailbox.peek() is None
    assert not mailbox
    assert len(mailbox) == 0


def test_peek_shows_what_take_will_return_and_leaves_it() -> None:
    """peek() agrees with take() for control, keyed and plain messages."""
    mailbox = Mailbox[Item]()
    plain, keyed, control = Item("plain"), Item("keyed", key="k"), Item("control")
    fill(mailbox, keyed, plain)
    mailbox.offer_control(control)

    for expected in (control, keyed, plain):
        assert mailbox.peek() is expected
        assert mailbox.take() is expected


def test_control_overtakes_data_and_keeps_its_own_order() -> None:
    """offer_control() goes before all data, after earlier control."""
    mailbox = Mailbox[Item]()
    data, first, second = Item("data"), Item("first"), Item("second")
    fill(mailbox, data)

    mailbox.offer_control(first)
    mailbox.offer_control(second)

    assert empty(mailbox) == [first, second, data]


def test_a_full_control_lane_overflows() -> None:
    """One message more than CONTROL_CAPACITY is dropped, counted and settled."""
    mailbox = Mailbox[Item](overflow=Overflow.BLOCK)
    for _ in range(CONTROL_CAPACITY):
        assert mailbox.offer_control(Item()) is Offer.ACCEPTED
    last = Item("last")

    offer = mailbox.offer_control(last)

    assert offer is Offer.OVERFLOWED
    assert last.settled == [False]
    assert mailbox.statistics().dropped == {DropReason.OVERFLOW: 1}
    assert len(mailbox) == CONTROL_CAPACITY


def test_control_does_not_count_against_the_capacity_of_data() -> None:
    """A mailbox full of control still takes data, and the other way round."""
    mailbox = Mailbox[Item](1, overflow=Overflow.BLOCK)
    mailbox.offer_control(Item())

    assert mailbox.offer(Item()) is Offer.ACCEPTED
    assert mailbox.offer_control(Item()) is Offer.ACCEPTED
    assert mailbox.offer(Item()) is Offer.FULL


# Bounds.


@pytest.mark.parametrize("bounds", [(0, 1), (1, 0), (-1, 1)])
def test_a_bound_below_one_is_an_error(bounds: tuple[int, int]) -> None:
    """A mailbox that could hold nothing is refused, with the values that were given."""
    with pytest.raises(ValueError, match=f"{bounds[0]} and {bounds[1]}"):
        Mailbox[Item](*bounds)


def test_the_byte_bound_holds_whatever_the_number_of_messages() -> None:
    """A mailbox with space for messages but not for bytes is full."""
    mailbox = Mailbox[Item](10, 10, Overflow.BLOCK)
    fill(mailbox, Item(size=6), Item(size=4))

    assert mailbox.offer(Item(size=1)) is Offer.FULL
    assert mailbox.offer(Item(size=0)) is Offer.ACCEPTED


@pytest.mark.parametrize("policy", [Overflow.CONFLATE, Overflow.CURSOR])
def test_a_mailbox_cannot_have_a_policy_of_rooms(policy: Overflow) -> None:
    """It has neither values by key nor a history: a room that has them offers what it may lose."""
    with pytest.raises(ValueError, match=f"{policy.value} is for rooms"):
        Mailbox[Item](overflow=policy)


@pytest.mark.parametrize("share", [0, -0.5, 1.01, float("nan")])
def test_a_share_that_is_none_is_an_error(share: float) -> None:
    """The soft bounds are more than nothing, and no more than the others."""
    with pytest.raises(ValueError, match="at most 1"):
        Mailbox[Item](slow_share=share)


@pytest.mark.parametrize("policy", OWN)
@pytest.mark.parametrize("item", [Item(size=11), Item(count=4)], ids=["bytes", "messages"])
def test_what_can_never_fit_is_handed_back(policy: Overflow, item: Item) -> None:
    """A message beyond either bound is TOO_LARGE at once, and costs nobody anything."""
    mailbox = Mailbox[Item](3, 10, policy)
    waiting = Item("waiting")
    fill(mailbox, waiting)

    offer = mailbox.offer(item)

    assert offer is Offer.TOO_LARGE
    assert not item.settled
    assert empty(mailbox) == [waiting]
    assert mailbox.statistics().dropped == {}


def test_a_message_that_counts_for_several_takes_their_space() -> None:
    """Capacity, depth and counters go by count, not by object."""
    mailbox = Mailbox[Item](3, overflow=Overflow.BLOCK)
    fill(mailbox, Item(count=2))

    assert mailbox.offer(Item(count=2)) is Offer.FULL
    assert mailbox.offer(Item(count=1)) is Offer.ACCEPTED
    assert len(mailbox) == 3
    assert mailbox.statistics().accepted == 3


# Policies.


def test_drop_oldest_gives_up_what_waited_longest() -> None:
    """The oldest messages go, as many as make space, each counted, told and settled."""
    told: list[tuple[Item, DropReason]] = []
    mailbox = Mailbox[Item](3, 10, on_drop=lambda item, reason: told.append((item, reason)))
    first, second, third = Item("1", size=3), Item("2", size=3), Item("3", size=3)
    fill(mailbox, first, second, third)
    big = Item("big", size=5)

    offer = mailbox.offer(big)

    assert offer is Offer.EVICTED
    assert empty(mailbox) == [third, big]
    assert told == [(first, DropReason.OLDEST), (second, DropReason.OLDEST)]
    assert [item.settled for item in (first, second, third, big)] == [[False], [False], [], []]
    assert mailbox.statistics().dropped == {DropReason.OLDEST: 2}


def test_drop_newest_gives_up_the_message_that_is_offered() -> None:
    """What waits stays; the offered message is counted, told and settled."""
    told: list[tuple[Item, DropReason]] = []
    mailbox = Mailbox[Item](
        1,
        overflow=Overflow.DROP_NEWEST,
        on_drop=lambda item, reason: told.append((item, reason)),
    )
    kept, lost = Item("kept"), Item("lost")
    fill(mailbox, kept)

    offer = mailbox.offer(lost)

    assert offer is Offer.DROPPED
    assert told == [(lost, DropReason.NEWEST)]
    assert lost.settled == [False]
    assert empty(mailbox) == [kept]


def test_disconnect_says_that_the_owner_has_to_end() -> None:
    """The message is lost, and what waits is left to the owner."""
    mailbox = Mailbox[Item](1, overflow=Overflow.DISCONNECT)
    kept, lost = Item("kept"), Item("lost")
    fill(mailbox, kept)

    offer = mailbox.offer(lost)

    assert offer is Offer.OVERFLOWED
    assert lost.settled == [False]
    assert mailbox.statistics().dropped == {DropReason.OVERFLOW: 1}
    assert empty(mailbox) == [kept]


def test_refuse_hands_the_message_back() -> None:
    """FULL loses nothing: neither a message nor a count."""
    mailbox = Mailbox[Item](1, overflow=Overflow.BLOCK)
    kept, refused = Item("kept"), Item("refused")
    fill(mailbox, kept)

    offer = mailbox.offer(refused)

    assert offer is Offer.FULL
    assert not offer.taken
    assert not refused.settled
    assert mailbox.statistics().dropped == {}


def test_a_message_may_have_a_policy_of_its_own() -> None:
    """It goes by that, and the mailbox's is for those that have none."""
    mailbox = Mailbox[Item](1, overflow=Overflow.DROP_NEWEST)
    fill(mailbox, Item("first"))
    offers = {
        policy: mailbox.offer(Item(overflow=policy))
        for policy in [None, *OWN, Overflow.CONFLATE, Overflow.CURSOR]
    }

    assert offers == {
        None: Offer.DROPPED,
        Overflow.DROP_OLDEST: Offer.EVICTED,
        Overflow.DROP_NEWEST: Offer.DROPPED,
        Overflow.DISCONNECT: Offer.OVERFLOWED,
        Overflow.BLOCK: Offer.FULL,
        Overflow.CONFLATE: Offer.FULL,
        Overflow.CURSOR: Offer.FULL,
    }


@pytest.mark.parametrize("policy", KEPT)
def test_what_has_another_policy_than_to_be_lost_makes_no_space(policy: Overflow) -> None:
    """drop_oldest evicts what is behind it, and leaves it where it was."""
    mailbox = Mailbox[Item](3)
    kept, newest = Item("kept", overflow=policy), Item("newest")
    fill(mailbox, kept, Item("first"), Item("second", overflow=Overflow.DROP_NEWEST))

    assert mailbox.offer(Item("third")) is Offer.EVICTED
    assert mailbox.offer(newest) is Offer.EVICTED

    assert [item.name for item in empty(mailbox)] == ["kept", "third", "newest"]
    assert not kept.settled


def test_what_waits_in_a_mailbox_that_blocks_makes_no_space() -> None:
    """Whoever sent it has been told that nothing is lost; a single message changes nothing."""
    mailbox = Mailbox[Item](1, overflow=Overflow.BLOCK)
    waiting = Item("waiting")
    fill(mailbox, waiting)

    offer = mailbox.offer(Item(overflow=Overflow.DROP_OLDEST))

    assert offer is Offer.DROPPED
    assert empty(mailbox) == [waiting]


def test_space_is_announced_once_a_refusal() -> None:
    """on_space is called when something is taken after a FULL, and not again without one."""
    spaces = []
    mailbox = Mailbox[Item](2, overflow=Overflow.BLOCK, on_space=lambda: spaces.append(1))
    fill(mailbox, Item(), Item())
    mailbox.take()
    assert not spaces  # nobody was refused
    fill(mailbox, Item())
    mailbox.offer(Item())

    mailbox.take()
    mailbox.take()

    assert spaces == [1]


def test_closing_announces_space_to_those_who_were_refused() -> None:
    """Whoever waits for space in a mailbox that closes learns of it."""
    spaces = []
    mailbox = Mailbox[Item](1, overflow=Overflow.BLOCK, on_space=lambda: spaces.append(1))
    fill(mailbox, Item())
    mailbox.offer(Item())

    mailbox.close()

    assert spaces == [1]


def test_closing_an_empty_mailbox_announces_space_too() -> None:
    """Space is also announced when what was refused before has been the last to be taken."""
    spaces = []
    mailbox = Mailbox[Item](1, overflow=Overflow.BLOCK, on_space=lambda: spaces.append(1))
    fill(mailbox, Item())
    mailbox.offer(Item())
    mailbox.take()
    fill(mailbox, Item())
    mailbox.offer(Item())

    mailbox.close()

    assert spaces == [1, 1]


# Pinned messages.


def test_a_pinned_message_is_never_evicted() -> None:
    """Eviction passes over pinned messages, and leaves them where they were."""
    mailbox = Mailbox[Item](4)
    pins = [Item("pin 1", pinned=True), Item("pin 2", pinned=True)]
    plain = [Item("plain 1"), Item("plain 2")]
    fill(mailbox, pins[0], plain[0], pins[1], plain[1])
    newest = Item("newest")

    offer = mailbox.offer(newest)

    assert offer is Offer.EVICTED
    assert empty(mailbox) == [pins[0], pins[1], plain[1], newest]
    assert plain[0].settled == [False]


def test_pinned_messages_keep_their_order_when_others_are_evicted_behind_them() -> None:
    """Several pinned messages at the head are passed over together."""
    mailbox = Mailbox[Item](4)
    pins = [Item("1", pinned=True), Item("2", pinned=True), Item("3", pinned=True)]
    fill(mailbox, *pins, Item("plain"))
    newest = Item("newest")

    mailbox.offer(newest)

    assert empty(mailbox) == [*pins, newest]


@pytest.mark.parametrize("policy", OWN)
def test_a_pinned_message_waits_for_space_whatever_the_policy(policy: Overflow) -> None:
    """A pinned message with no space is handed back, and evicts nobody."""
    mailbox = Mailbox[Item](1, overflow=policy)
    waiting, pinned = Item("waiting"), Item("pinned", pinned=True)
    fill(mailbox, waiting)

    offer = mailbox.offer(pinned)

    assert offer is Offer.FULL
    assert not pinned.settled
    assert empty(mailbox) == [waiting]


def test_a_mailbox_full_of_pinned_messages_drops_the_newest() -> None:
    """With nothing to evict, drop_oldest loses the offered message, and counts it so."""
    mailbox = Mailbox[Item](2)
    pins = [Item("1", pinned=True), Item("2", pinned=True)]
    fill(mailbox, *pins)
    newest = Item("newest")

    offer = mailbox.offer(newest)

    assert offer is Offer.DROPPED
    assert newest.settled == [False]
    assert mailbox.statistics().dropped == {DropReason.NEWEST: 1}
    assert empty(mailbox) == pins


def test_nothing_is_evicted_in_vain() -> None:
    """When pinned messages leave too little space, what could be evicted stays."""
    mailbox = Mailbox[Item](10, 10)
    pinned, plain = Item("pinned", size=6, pinned=True), Item("plain", size=2)
    fill(mailbox, plain, pinned)

    offer = mailbox.offer(Item("big", size=5))

    assert offer is Offer.DROPPED
    assert not plain.settled
    assert empty(mailbox) == [plain, pinned]


def test_a_pinned_message_can_still_be_replaced_by_its_key_after_an_eviction() -> None:
    """Passing over a pinned message does not make it forget its key."""
    mailbox = Mailbox[Item](2)
    fill(mailbox, Item("old", key="k", pinned=True), Item("plain"))
    newer = Item("newer")
    mailbox.offer(newer)
    newest = Item("new", key="k", pinned=True)

    offer = mailbox.offer(newest)

    assert offer is Offer.CONFLATED
    assert empty(mailbox) == [newest, newer]


# Conflation.


def test_the_newest_of_a_key_takes_the_place_of_the_older() -> None:
    """Conflation keeps the place in the queue, and settles the message that it replaces."""
    mailbox = Mailbox[Item]()
    old, between, new = Item("old", key="k"), Item("between"), Item("new", key="k")
    fill(mailbox, old, between)

    offer = mailbox.offer(new)

    assert offer is Offer.CONFLATED
    assert offer.taken
    assert old.settled == [False]
    assert empty(mailbox) == [new, between]


def test_a_key_that_was_taken_is_queued_anew() -> None:
    """Only what still waits can be replaced."""
    mailbox = Mailbox[Item]()
    fill(mailbox, Item(key="k"))
    mailbox.take()

    assert mailbox.offer(Item(key="k")) is Offer.ACCEPTED


def test_a_key_that_was_evicted_is_queued_anew() -> None:
    """The newest of a key whose older one was dropped waits at the end."""
    mailbox = Mailbox[Item](1)
    fill(mailbox, Item(key="k"))
    mailbox.offer(Item("other"))

    assert mailbox.offer(Item(key="k")) is Offer.EVICTED


def test_a_full_mailbox_still_conflates() -> None:
    """A key that waits already cannot overflow by rate."""
    mailbox = Mailbox[Item](1, overflow=Overflow.DISCONNECT)
    fill(mailbox, Item(key="k"))

    for number in range(100):
        assert mailbox.offer(Item(str(number), key="k")) is Offer.CONFLATED

    assert [item.name for item in empty(mailbox)] == ["99"]
    assert mailbox.statistics().conflated == 100


def test_conflation_respects_the_byte_bound() -> None:
    """A newer message that is too big for the place of the older one is treated as any other."""
    mailbox = Mailbox[Item](10, 10, Overflow.BLOCK)
    old = Item("old", size=2, key="k")
    fill(mailbox, old, Item("rest", size=7))

    offer = mailbox.offer(Item("new", size=4, key="k"))

    assert offer is Offer.FULL
    assert not old.settled
    assert mailbox.statistics().size == 9


def test_conflation_respects_the_bound_on_messages() -> None:
    """A newer message that counts for more than the older one needs the space for it."""
    mailbox = Mailbox[Item](3, overflow=Overflow.BLOCK)
    fill(mailbox, Item("old", key="k"), Item("rest", count=2))

    offer = mailbox.offer(Item("new", count=2, key="k"))

    assert offer is Offer.FULL
    assert len(mailbox) == 3


def test_the_newest_of_two_waiting_messages_of_a_key_is_the_one_replaced() -> None:
    """After a conflation that the bytes forbade, order within the key is kept."""
    mailbox = Mailbox[Item](10, 10)
    fill(mailbox, Item("bulk", size=8), Item("1", size=1, key="k"))
    second, third = Item("2", size=5, key="k"), Item("3", size=5, key="k")
    assert mailbox.offer(second) is Offer.EVICTED

    offer = mailbox.offer(third)

    assert offer is Offer.CONFLATED
    assert second.settled == [False]
    assert [item.name for item in empty(mailbox)] == ["1", "3"]


def test_bytes_follow_a_conflation() -> None:
    """The bytes that wait are those of the newer message."""
    mailbox = Mailbox[Item]()
    fill(mailbox, Item(size=100, key="k"))

    mailbox.offer(Item(size=7, key="k"))

    statistics = mailbox.statistics()
    assert (statistics.size, statistics.peak_size, statistics.depth) == (7, 100, 1)


# Soft bounds.


@pytest.mark.parametrize(
    ("items", "above", "below_half"),
    [
        ([], False, True),
        ([Item(count=3)], False, True),
        ([Item(count=4)], False, False),
        ([Item(count=8)], False, False),
        ([Item(count=9)], True, False),
        ([Item(size=39)], False, True),
        ([Item(size=40)], False, False),
        ([Item(size=80)], False, False),
        ([Item(size=81)], True, False),
    ],
)
def test_a_mailbox_knows_how_full_it_is(items: list[Item], above: bool, below_half: bool) -> None:
    """Above the soft bounds by either, below half of them by both."""
    mailbox = Mailbox[Item](10, 100, slow_share=0.8)
    fill(mailbox, *items)

    assert mailbox.above_soft is above
    assert mailbox.below_half is below_half


def test_control_makes_nobody_slow() -> None:
    """The soft bounds are those of data."""
    mailbox = Mailbox[Item](2, slow_share=0.5)
    for _ in range(10):
        mailbox.offer_control(Item())

    assert not mailbox.above_soft
    assert mailbox.below_half


def test_squeezing_gives_up_the_oldest_above_the_soft_bounds() -> None:
    """They are counted, told and settled; the owner goes on."""
    told: list[tuple[Item, DropReason]] = []
    mailbox = Mailbox[Item](
        10, slow_share=0.5, on_drop=lambda item, reason: told.append((item, reason))
    )
    items = [Item(str(number)) for number in range(8)]
    fill(mailbox, *items)

    ends = mailbox.squeeze()

    assert not ends
    assert told == [(item, DropReason.OLDEST) for item in items[:3]]
    assert items[0].settled == [False]
    assert not mailbox.above_soft
    assert empty(mailbox) == items[3:]


def test_a_squeezed_mailbox_keeps_to_the_soft_bounds() -> None:
    """Also in bytes; until it is relaxed."""
    mailbox = Mailbox[Item](10, 100, slow_share=0.5)
    mailbox.squeeze()
    fill(mailbox, *(Item(size=10) for _ in range(5)))

    assert mailbox.offer(Item(size=10)) is Offer.EVICTED
    assert len(mailbox) == 5

    mailbox.relax()

    fill(mailbox, *(Item(size=10) for _ in range(5)))
    assert len(mailbox) == 10


@pytest.mark.parametrize(
    ("overflow", "own", "ends", "next_offer"),
    [
        (Overflow.DROP_NEWEST, None, False, Offer.DROPPED),
        (Overflow.DISCONNECT, None, True, Offer.OVERFLOWED),
        (Overflow.BLOCK, None, False, Offer.FULL),
        (Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, False, Offer.DROPPED),
        (Overflow.DROP_OLDEST, Overflow.DISCONNECT, True, Offer.OVERFLOWED),
        (Overflow.DROP_OLDEST, Overflow.BLOCK, False, Offer.FULL),
        (Overflow.DROP_OLDEST, Overflow.CONFLATE, False, Offer.FULL),
        (Overflow.DROP_OLDEST, Overflow.CURSOR, False, Offer.FULL),
    ],
)
def test_squeezing_loses_nothing_but_the_oldest(
    overflow: Overflow, own: Overflow | None, ends: bool, next_offer: Offer
) -> None:
    """With disconnect the owner has to end; the others only feel it when they offer more."""
    mailbox = Mailbox[Item](4, slow_share=0.5, overflow=overflow)
    items = [Item(str(number), overflow=own) for number in range(3)]
    fill(mailbox, *items)

    assert mailbox.squeeze() is ends
    assert mailbox.offer(Item(overflow=own)) is next_offer
    assert empty(mailbox) == items


def test_squeezing_passes_over_what_has_to_stay() -> None:
    """Others are given up for it, as many as help; the order is kept."""
    mailbox = Mailbox[Item](6, slow_share=0.5)
    pinned, kept = Item("pinned", pinned=True), Item("kept", overflow=Overflow.BLOCK)
    fill(mailbox, pinned, Item("1"), kept, Item("2"), Item("3"))

    assert not mailbox.squeeze()

    assert [item.name for item in empty(mailbox)] == ["pinned", "kept", "3"]


def test_an_owner_that_disconnects_need_not_end_if_enough_is_given_up() -> None:
    """Only what is left above the soft bounds counts."""
    mailbox = Mailbox[Item](4, slow_share=0.5, overflow=Overflow.DISCONNECT)
    fill(mailbox, Item(), Item(overflow=Overflow.DROP_OLDEST), Item())

    assert not mailbox.squeeze()
    assert len(mailbox) == 2


def test_the_newest_message_stays_however_large() -> None:
    """Of a slow owner at least one message waits; it gives way to the next."""
    mailbox = Mailbox[Item](10, 100, slow_share=0.5)
    large, larger = Item("large", size=80), Item("larger", size=90)
    fill(mailbox, Item("small"), large)

    mailbox.squeeze()

    assert mailbox.peek() is large
    assert mailbox.offer(larger) is Offer.EVICTED
    assert empty(mailbox) == [larger]


def test_a_pinned_message_may_use_all_the_space() -> None:
    """It is never lost, so its sender would only wait longer."""
    mailbox = Mailbox[Item](4, slow_share=0.5)
    mailbox.squeeze()
    fill(mailbox, Item(), Item())

    assert mailbox.offer(Item(pinned=True)) is Offer.ACCEPTED


def test_a_squeezed_mailbox_still_conflates() -> None:
    """Nothing is lost by that, though it may be above the soft bounds."""
    mailbox = Mailbox[Item](4, 100, slow_share=0.5)
    fill(mailbox, Item(key="k", overflow=Overflow.CONFLATE), Item(pinned=True))
    mailbox.squeeze()

    assert mailbox.offer(Item(size=80, key="k", overflow=Overflow.CONFLATE)) is Offer.CONFLATED


def test_relaxing_announces_space_to_those_who_were_refused() -> None:
    """There is more of it than before; once."""
    spaces = []
    mailbox = Mailbox[Item](4, slow_share=0.5, on_space=lambda: spaces.append(1))
    mailbox.squeeze()
    fill(mailbox, Item(), Item())
    mailbox.offer(Item(overflow=Overflow.BLOCK))

    mailbox.relax()
    mailbox.relax()

    assert spaces == [1]


def test_a_mailbox_that_is_closed_by_whoever_hears_of_a_squeeze_is_empty() -> None:
    """A close within a squeeze counts what is left, and nothing twice."""
    mailbox = Mailbox[Item](4, slow_share=0.5)
    closes: list[int] = []
    mailbox.on_drop = lambda *_: closes.append(mailbox.close())
    fill(mailbox, Item(), Item(), Item(), Item())

    mailbox.squeeze()

    assert sum(closes) == 2
    assert mailbox.statistics().dropped == {DropReason.OLDEST: 2, DropReason.CLOSED: 2}


def test_a_closed_mailbox_can_be_squeezed() -> None:
    """There is nothing to give up."""
    mailbox = Mailbox[Item]()
    mailbox.close()

    assert not mailbox.squeeze()
    mailbox.relax()


# Closing.


def test_a_closed_mailbox_refuses_everything() -> None:
    """offer() and offer_control() hand the message back once the owner has stopped."""
    mailbox = Mailbox[Item]()
    mailbox.close()
    data, control = Item(), Item()

    assert mailbox.offer(data) is Offer.CLOSED
    assert mailbox.offer_control(control) is Offer.CLOSED
    assert not data.settled
    assert not control.settled
    assert mailbox.closed


def test_what_waits_at_the_close_is_counted_told_and_settled() -> None:
    """close() loses nothing silently, in either lane."""
    told: list[tuple[Item, DropReason]] = []
    mailbox = Mailbox[Item](on_drop=lambda item, reason: told.append((item, reason)))
    data, control = Item("data", count=2), Item("control")
    fill(mailbox, data)
    mailbox.offer_control(control)

    lost = mailbox.close(DropReason.SEND_FAILED)

    assert lost == 3
    assert told == [(control, DropReason.SEND_FAILED), (data, DropReason.SEND_FAILED)]
    assert (data.settled, control.settled) == ([False], [False])
    assert mailbox.statistics().dropped == {DropReason.SEND_FAILED: 3}


def test_closing_twice_changes_nothing() -> None:
    """close() is idempotent: the second one has nothing to lose."""
    mailbox = Mailbox[Item]()
    fill(mailbox, Item())
    mailbox.close()

    assert mailbox.close() == 0
    assert mailbox.statistics().dropped == {DropReason.CLOSED: 1}


def test_a_close_within_a_close_counts_each_message_once() -> None:
    """Whoever closes again when told of a loss takes part of the count, not all of it twice."""
    counts: list[int] = []
    mailbox = Mailbox[Item](on_drop=lambda *_: counts.append(mailbox.close()))
    fill(mailbox, Item(), Item(), Item())

    counts.append(mailbox.close())

    assert sum(counts) == 3


def test_a_mailbox_that_is_closed_by_whoever_hears_of_a_loss_keeps_nothing() -> None:
    """A close within an eviction leaves no message waiting in a closed mailbox."""
    mailbox = Mailbox[Item](1)
    closes: list[int] = []
    mailbox.on_drop = lambda *_: closes.append(mailbox.close())
    fill(mailbox, Item())
    newest = Item("newest")

    mailbox.offer(newest)

    assert sum(closes) == 1
    assert not mailbox
    assert newest.settled == [False]


def test_an_offer_from_whoever_hears_of_a_loss_keeps_the_bounds() -> None:
    """An offer within an eviction never makes the mailbox hold more than it may."""
    mailbox = Mailbox[Item](2)
    retries = [Item("retry")]

    def retry(*_: object) -> None:
        if retries:
            mailbox.offer(retries.pop())

    mailbox.on_drop = retry
    fill(mailbox, Item("pinned", pinned=True), Item("plain"))

    mailbox.offer(Item("newest"))

    assert not retries
    assert len(mailbox) == 2
    assert len(empty(mailbox)) == 2


def test_a_sealed_mailbox_takes_nothing_more_and_keeps_what_waits() -> None:
    """seal() refuses what is new; what was accepted can still be taken."""
    mailbox = Mailbox[Item]()
    waiting = Item("waiting")
    fill(mailbox, waiting)

    mailbox.seal()

    assert mailbox.closed
    assert mailbox.offer(Item()) is Offer.CLOSED
    assert mailbox.offer_control(Item()) is Offer.CLOSED
    assert empty(mailbox) == [waiting]


def test_sealing_announces_space_to_those_who_were_refused() -> None:
    """Whoever waits for space learns at once that there will be none."""
    spaces = []
    mailbox = Mailbox[Item](1, overflow=Overflow.BLOCK, on_space=lambda: spaces.append(1))
    fill(mailbox, Item())
    mailbox.offer(Item())

    mailbox.seal()

    assert spaces == [1]


# Statistics.


def test_statistics_count_both_lanes() -> None:
    """Depth, bytes and their peaks are those of data and control together."""
    mailbox = Mailbox[Item]()
    fill(mailbox, Item(size=5))
    mailbox.offer_control(Item(size=3))
    mailbox.offer_control(Item(size=2))
    mailbox.take()

    statistics = mailbox.statistics()

    assert (statistics.depth, statistics.size) == (2, 7)
    assert (statistics.peak_depth, statistics.peak_size) == (3, 10)
    assert statistics.accepted == 3


def test_peaks_count_control_that_waits_when_data_comes() -> None:
    """A peak that is reached by data counts the control before it."""
    mailbox = Mailbox[Item]()
    mailbox.offer_control(Item(size=3))
    fill(mailbox, Item(size=5), Item(size=5))

    statistics = mailbox.statistics()

    assert (statistics.peak_depth, statistics.peak_size) == (3, 13)


def test_losses_are_counted_by_feed_too() -> None:
    """Those of all feeds together are the losses by reason."""
    mailbox = Mailbox[Item](1)
    fill(mailbox, Item(feed="log", overflow=Overflow.DROP_NEWEST))
    mailbox.offer(Item(feed="event"))
    mailbox.offer(Item(feed="event", count=2))
    mailbox.offer(Item(feed="log", overflow=Overflow.DROP_NEWEST))
    mailbox.count_dropped(3, DropReason.NEWEST, "log")
    mailbox.close()

    statistics = mailbox.statistics()

    assert statistics.dropped_by_feed == {
        "log": {DropReason.OLDEST: 1, DropReason.NEWEST: 4},
        "event": {DropReason.CLOSED: 1},
    }
    assert statistics.dropped == {
        DropReason.OLDEST: 1,
        DropReason.NEWEST: 4,
        DropReason.CLOSED: 1,
    }


def test_a_fresh_mailbox_has_empty_statistics() -> None:
    """All counters start at zero."""
    assert Mailbox[Item]().statistics() == MailboxStatistics()


def test_statistics_are_a_snapshot() -> None:
    """What was returned does not change with the mailbox."""
    mailbox = Mailbox[Item](1, overflow=Overflow.DROP_NEWEST)
    fill(mailbox, Item())
    mailbox.offer(Item())
    before = mailbox.statistics()

    mailbox.offer(Item())

    assert before.dropped == {DropReason.NEWEST: 1}


def test_an_idle_mailbox_has_no_lanes() -> None:
    """An idle connection does not pay for queues: they come with the first message."""
    mailbox = Mailbox[Item]()

    assert mailbox._data is None
    assert mailbox._control is None
    assert mailbox._keys is None
