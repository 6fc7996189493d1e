"""The mailbox: bounds, lanes, policies, conflation, counters. No event loop needed."""

from __future__ import annotations

import pytest

from actors.mailbox import CONTROL_CAPACITY, Mailbox, MailboxStatistics
from actors.overflow import DropReason, Offer, Overflow
from tests.actors.recording import Item


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


@pytest.mark.parametrize("policy", Overflow)
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


@pytest.mark.parametrize("policy", Overflow)
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
