"""The inboxes of a node: what users get, in which order, and what becomes of what they do not."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from actors.testing import settle
from supervisor.errors import Drained, StoreUnavailable
from supervisor.inbox.base import InboxMessage, InboxUser, Kept
from supervisor.inbox.memory import MemoryInbox
from supervisor.inbox.sqlite import SqliteInbox
from supervisor.redelivery import RedeliveryRules
from tests.supervisor.conftest import Events, named
from tests.supervisor.inboxes import EPOCH, House, Moody, message

Build = Callable[..., House]


@pytest.fixture
async def build() -> AsyncIterator[Build]:
    """Make houses; close them in the end, when nothing may be left of them."""
    made: list[House] = []

    def build(store: Any = None, **arguments: Any) -> House:
        made.append(House(store, **arguments))
        return made[-1]

    yield build
    for house in made:
        await house.aclose()
        assert house.faults == []


class Slow(MemoryInbox):
    """A store that takes a while to bring what it has read."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    async def pending(self, user: InboxUser, **arguments: Any) -> list[InboxMessage]:
        found = await super().pending(user, **arguments)
        await asyncio.sleep(self.seconds)
        return found


def ids(count: int, start: int = 0) -> list[str]:
    """Return ids of messages."""
    return [f"m{number}" for number in range(start, start + count)]


async def test_it_is_written_before_put_returns(build: Build) -> None:
    """To a client whose socket takes it."""
    house = build()
    ann = house.come()
    await settle()

    kept = await house.inboxes.put([message("m0")])

    assert ann.got == ["m0"]
    assert kept.new == {"m0"}
    assert house.offline == []


async def test_no_more_than_the_window_is_in_flight(build: Build) -> None:
    """The next come when earlier ones are acknowledged, in the order of put."""
    house = build()
    ann = house.come()
    await house.inboxes.put([message(id) for id in ids(20)])
    await settle()
    assert ann.got == ids(16)

    house.inboxes.acknowledge(ann.connection, ["m3", "m0", "m1"])
    await settle()

    assert ann.got == ids(19)
    assert list(await house.pending()) == ["m2", *ids(16, 4)]


async def test_without_acknowledgements_written_is_enough(build: Build) -> None:
    """However many there are."""
    house = build()
    ann = house.come(acknowledges=False)

    await house.inboxes.put([message(id) for id in ids(100)])
    await settle()

    assert ann.got == ids(100)
    assert await house.pending() == {}


async def test_what_is_not_written_is_not_acknowledged(build: Build) -> None:
    """It stays pending until the socket takes it."""
    house = build()
    ann = house.come(acknowledges=False, stalled=True)
    await house.inboxes.put([message("m0"), message("m1")])
    await asyncio.sleep(100)
    assert list(await house.pending()) == ["m0", "m1"]

    ann.transport.resume()
    await settle()

    assert ann.got == ["m0", "m1"]
    assert await house.pending() == {}


async def test_who_is_away_is_told_of(build: Build) -> None:
    """Once a message; and gets it when they come, oldest first."""
    house = build()
    for id in ids(3):
        await house.inboxes.put([message(id)])
    assert [each.id for each in house.offline] == ids(3)

    ann = house.come()
    await settle()

    assert ann.got == ids(3)
    assert len(house.offline) == 3


async def test_who_is_connected_elsewhere_is_told_of(build: Build) -> None:
    """Once, if no connection of the user is in the room; to the user is to any of them."""
    house = build()
    ann = house.come("ann", "b")

    await house.inboxes.put([message("m0", room="a"), message("m1", room="b"), message("m2")])
    assert [each.id for each in house.offline] == ["m0"]
    house.join(ann, "a")
    await house.inboxes.put([message("m3", room="a")])
    house.leave(ann, "a")
    await settle()

    assert ann.got == ["m1", "m2", "m0", "m3"]
    assert [each.id for each in house.offline] == ["m0"]


async def test_who_is_in_the_room_at_another_node_is_not_told_of(build: Build) -> None:
    """Being in another room there is not enough."""
    store = MemoryInbox()
    here, there = build(store), build(store)
    here.others, there.others = [there], [here]
    far = there.come("ann", "a")

    await here.inboxes.put([message("m0", room="a"), message("m1", room="b"), message("m2")])
    await settle()

    assert far.got == ["m0", "m2"]
    assert [each.id for each in here.offline] == ["m1"]
    assert there.offline == []


async def test_it_is_delivered_again_and_again(build: Build) -> None:
    """After ack wait and backoff, ten times; then it is dead, and told of."""
    house = build()
    ann = house.come()
    times: list[float] = []
    await house.inboxes.put([message("m0")])
    began = house.runtime.clock()

    while house.runtime.clock() < began + 1_000:
        times += [house.runtime.clock() - began] * (len(ann.got) - len(times))
        await asyncio.sleep(0.1)

    gaps = [second - first for first, second in itertools.pairwise(times)]
    assert gaps == pytest.approx([35, 45, 60, *[90] * 6], abs=0.3)
    assert [(each.id, each.deliveries) for each in house.offline] == [("m0", 10)]
    assert [each.id for each in await house.store.dead()] == ["m0"]
    assert await house.pending() == {}


async def test_deliveries_are_counted_in_the_store(build: Build) -> None:
    """So that the count outlives the process."""
    store = MemoryInbox()
    before = build(store)
    before.come()
    await before.inboxes.put([message("m0")])
    await asyncio.sleep(40)
    await before.inboxes.aclose()
    assert await before.pending() == {"m0": 2}

    after = build(store, rules=RedeliveryRules(max_deliveries=3))
    after.come()
    await asyncio.sleep(40)

    assert [each.deliveries for each in after.offline] == [3]


async def test_any_device_acknowledges_for_all(build: Build) -> None:
    """The others are not given it again."""
    house = build()
    laptop, phone = house.come(), house.come()
    await house.inboxes.put([message("m0")])
    assert laptop.got == phone.got == ["m0"]

    house.inboxes.acknowledge(phone.connection, ["m0"])
    await asyncio.sleep(200)

    assert laptop.got == phone.got == ["m0"]
    assert await house.pending() == {}


async def test_a_device_that_comes_later_gets_what_is_in_flight(build: Build) -> None:
    """In the same round: nobody acknowledged it in time, and that was one delivery."""
    house = build()
    house.come()
    await house.inboxes.put([message(id) for id in ids(3)])

    phone = house.come()
    await asyncio.sleep(31.0)

    assert phone.got == ids(3)
    assert await house.pending() == dict.fromkeys(ids(3), 1)


async def test_a_room_is_for_its_members(build: Build) -> None:
    """Others of the same user do not get it, until they join."""
    house = build()
    inside, outside = house.come("ann", "a"), house.come()

    await house.inboxes.put([message("m0", room="a"), message("m1")])
    assert inside.got == ["m0", "m1"]
    assert outside.got == ["m1"]
    house.join(outside, "a")
    await settle()

    assert outside.got == ["m1", "m0"]


async def test_what_nobody_may_have_waits(build: Build) -> None:
    """However much there is, it does not keep other messages back."""
    house = build()
    ann = house.come()
    await house.inboxes.put([message(id, room="a") for id in ids(200)])
    await house.inboxes.put([message("other")])
    assert ann.got == ["other"]

    house.join(ann, "a")
    await settle()
    assert ann.got == ["other", *ids(15)]
    house.leave(ann, "a")
    await house.inboxes.put([message("another")])

    assert ann.got == ["other", *ids(15), "another"]


async def test_what_was_being_written_is_not_lost(build: Build) -> None:
    """It is offered to the next connection, at once; what lasted no time was no delivery."""
    house = build()
    ann = house.come(stalled=True)
    await house.inboxes.put([message("m0"), message("m1")])

    house.die(ann)
    await settle()
    assert await house.pending() == {"m0": 0, "m1": 0}
    assert len(house.inboxes) == 0
    again = house.come(acknowledges=False)
    await settle()

    assert again.got == ["m0", "m1"]
    assert await house.pending() == {}


async def test_connections_that_die_make_no_loop(build: Build) -> None:
    """After ten connections that had it for a while, and died with it, a message is dead."""
    house = build()
    await house.inboxes.put([message("m0")])
    house.offline.clear()

    for _ in range(12):
        ann = house.come(stalled=True)
        await asyncio.sleep(6.0)
        house.inboxes.gone(ann.connection)
        if ann.connection.reason is None:
            ann.connection.actor.transport_failed(ConnectionError("gone"))
        await settle()

    assert [each.id for each in await house.store.dead()] == ["m0"]
    assert [(each.id, each.deliveries) for each in house.offline if each.user == "ann"] == [
        ("m0", 10)
    ]


async def test_a_page_that_is_reloaded_again_and_again_costs_nothing(build: Build) -> None:
    """It has shown the message to nobody: that stays pending, and is not given up."""
    house = build()
    await house.inboxes.put([message("m0")])

    for _ in range(50):
        ann = house.come()
        await settle()
        house.inboxes.gone(ann.connection)
        await settle()

    assert await house.pending() == {"m0": 0}
    assert await house.store.dead() == []


async def test_a_full_mailbox_gets_it_when_it_has_space(build: Build) -> None:
    """In order, and without trying all the time."""
    house = build()
    ann = house.come(acknowledges=False, stalled=True, space=2)
    await house.inboxes.put([message(id) for id in ids(10)])
    await asyncio.sleep(500)
    assert ann.got == []

    for _ in range(30):
        ann.transport.resume(stalled=True)
        await settle()

    assert ann.got == ids(10)
    assert await house.pending() == {}


async def test_what_no_mailbox_would_hold_waits_for_the_socket(build: Build) -> None:
    """And is written when that takes something again, in its place."""
    house = build()
    ann = house.come(stalled=True, space_bytes=10)
    await house.inboxes.put([message("m0"), message("large", payload="x" * 11), message("m2")])

    ann.transport.resume()
    await settle()

    assert ann.got == ["m0", "x" * 11, "m2"]


async def test_what_cannot_be_framed_costs_no_other(build: Build) -> None:
    """It is reported, and dead in the end."""
    house = build(rules=RedeliveryRules(max_deliveries=1))
    house.unframeable.add("m1")
    ann = house.come()

    await house.inboxes.put([message(id) for id in ids(3)])
    house.inboxes.acknowledge(ann.connection, ["m0", "m2"])
    await asyncio.sleep(40)

    assert ann.got == ["m0", "m2"]
    assert [what for what, _ in house.faults] == ["inbox.frame"]
    house.faults.clear()
    assert [each.id for each in await house.store.dead()] == ["m1"]


async def test_what_has_expired_is_dropped(build: Build, events: Events) -> None:
    """Counted, and logged once a sweep; whether its user is here or not."""
    house = build()
    ann = house.come()
    soon = EPOCH + 20
    await house.inboxes.put([message(id, expires=soon) for id in ids(20)])
    await house.inboxes.put([message("bob's", "bob", expires=soon)])
    assert ann.got == ids(16)

    await asyncio.sleep(100)

    assert ann.got == ids(16)
    assert await house.pending() == {}
    assert sum(count for count, reason in house.losses if reason == "expired") == 21
    assert [event["expired"] for event in named(events, "inbox.lost")] == [21]


async def test_of_too_many_the_oldest_go(build: Build) -> None:
    """Counted, and not delivered again."""
    house = build(capacity=3)
    ann = house.come()

    await house.inboxes.put([message(id) for id in ids(2)])
    await house.inboxes.put([message(id) for id in ids(3, 2)])
    await asyncio.sleep(40)

    assert ann.got == [*ids(5), *ids(3, 2)]
    assert house.losses == [(2, "capacity")]
    assert house.offline == []


async def test_a_repetition_is_neither_delivered_nor_told_of(build: Build) -> None:
    """Who tries to put again does no harm."""
    house = build()
    await house.inboxes.put([message("m0", "bob")])
    ann = house.come(acknowledges=False)
    await house.inboxes.put([message("m1")])
    await settle()

    kept = await house.inboxes.put([message("m0", "bob"), message("m1")])
    await settle()

    assert kept.new == frozenset()
    assert ann.got == ["m1"]
    assert len(house.offline) == 1


async def test_a_put_that_fails_delivers_nothing(build: Build) -> None:
    """And says so."""
    store = Moody()
    house = build(store)
    ann = house.come()
    await settle()
    store.failing = True

    with pytest.raises(StoreUnavailable, match="told to fail"):
        await house.inboxes.put([message("m0")])

    assert ann.got == []
    assert house.offline == []


async def test_a_put_that_is_cancelled_goes_on(build: Build) -> None:
    """What is kept is delivered."""

    class Slow(MemoryInbox):
        async def put(self, messages: Sequence[InboxMessage], *, capacity: int) -> Kept:
            await asyncio.sleep(1)
            return await super().put(messages, capacity=capacity)

    house = build(Slow())
    ann = house.come()
    putting = asyncio.ensure_future(house.inboxes.put([message("m0")]))
    await asyncio.sleep(0.5)

    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    await asyncio.sleep(1)

    assert ann.got == ["m0"]


async def test_a_store_that_does_not_answer_is_not_waited_for(build: Build) -> None:
    """Not for ever."""

    class Hanging(MemoryInbox):
        async def put(self, messages: Sequence[InboxMessage], *, capacity: int) -> Kept:
            await asyncio.sleep(1e6)
            raise AssertionError

    house = build(Hanging())

    with pytest.raises(StoreUnavailable, match="within 40 s"):
        await house.inboxes.put([message("m0")])


async def test_a_store_that_fails_is_asked_again(build: Build, events: Events) -> None:
    """Later and later; the episode is reported once, and nothing is forgotten."""
    store = Moody()
    house = build(store, sweep_interval=1e9)
    ann = house.come(acknowledges=False)
    await house.inboxes.put([message("m0", "bob")])
    store.failing = True
    bob = house.come("bob", acknowledges=False)
    house.inboxes.acknowledge(ann.connection, ["unknown"])
    await settle()
    assert not house.inboxes.healthy
    store.calls = 0

    await asyncio.sleep(1_000)
    assert 15 <= store.calls <= 25
    assert bob.got == []
    store.failing = False
    await asyncio.sleep(80)

    assert bob.got == ["m0"]
    assert house.inboxes.healthy
    assert len(named(events, "inbox.store_failed")) == 1
    assert len(named(events, "inbox.store_recovered")) == 1


async def test_acknowledgements_outlive_a_failure(build: Build) -> None:
    """What was settled meanwhile is not delivered again, and settled in the store in the end."""
    store = Moody()
    house = build(store)
    ann = house.come()
    await house.inboxes.put([message("m0"), message("m1")])
    await settle()
    store.failing = True
    house.inboxes.acknowledge(ann.connection, ["m0"])
    await asyncio.sleep(10)
    house.die(ann)
    await settle()
    again = house.come()
    await asyncio.sleep(10)

    store.failing = False
    await asyncio.sleep(80)

    assert set(again.got) == {"m1"}
    assert list(await house.pending()) == ["m1"]


async def test_a_failure_that_lasts_fills_no_memory(
    build: Build, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of too many who have gone, acknowledgements are forgotten: they get it again."""
    monkeypatch.setattr("supervisor.inboxes.AWAY", 5)
    store = Moody()
    house = build(store)
    await house.inboxes.put([message(f"m{number}", number) for number in range(20)])
    clients = [house.come(number) for number in range(20)]
    await settle()
    store.failing = True

    for client in clients:
        house.inboxes.acknowledge(client.connection, client.got)
    await asyncio.sleep(10)
    for client in clients:
        house.die(client)
    await settle()
    assert 1 <= len(house.inboxes) <= 7
    store.failing = False
    await asyncio.sleep(200)

    assert len(house.inboxes) == 0
    lost = sum(event.get("unsaved", 0) for event in named(events, "inbox.lost"))
    pending = [number for number in range(20) if await house.pending(number)]
    assert len(pending) == lost > 10


async def test_much_comes_page_by_page(build: Build) -> None:
    """In order, also what is put meanwhile."""
    house = build()
    await house.inboxes.put([message(id) for id in ids(300)])
    ann = house.come(acknowledges=False)
    for number in range(300, 400):
        await house.inboxes.put([message(f"m{number}")])
    await settle()

    assert ann.got == ids(400)
    assert await house.pending() == {}


async def test_large_messages_are_held_by_the_few(build: Build) -> None:
    """They come all the same, in order."""
    house = build()
    ann = house.come(acknowledges=False, stalled=True, space_bytes=1 << 30)
    await house.inboxes.put([message(id, payload=f"{id} {'x' * 1_500_000}") for id in ids(20)])
    await settle()
    held = [len(box.messages) for box in house.inboxes._boxes.values()]
    assert held == [3]

    for _ in range(20):
        ann.transport.resume(stalled=True)
        await settle()

    assert [payload.split()[0] for payload in ann.got] == ids(20)


async def test_what_is_put_while_the_store_is_asked_waits_its_turn(build: Build) -> None:
    """It does not overtake what was pending before."""

    class Slow(MemoryInbox):
        async def pending(self, *arguments: Any, **named: Any) -> list[InboxMessage]:
            found = await super().pending(*arguments, **named)
            await asyncio.sleep(1)
            return found

    house = build(Slow())
    await house.inboxes.put([message("m0")])
    ann = house.come()
    await asyncio.sleep(0.5)
    await house.inboxes.put([message("m1")])
    assert ann.got == []

    await asyncio.sleep(10)

    assert ann.got == ["m0", "m1"]


async def test_a_connection_may_become_another_users(build: Build) -> None:
    """It keeps its rooms, and gets nothing more of whose it was."""
    house = build()
    client = house.come("ann", "room")
    await house.inboxes.put([message("m0")])
    await house.inboxes.put([message("m1", "bob", room="room"), message("m2", "bob")])

    house.registry.assign_user(client.connection, "bob")
    await house.inboxes.put([message("m3")])
    house.inboxes.connected(client.connection)
    await house.inboxes.put([message("m4")])
    await settle()

    assert client.got == ["m0", "m1", "m2"]
    assert list(await house.pending()) == ["m0", "m3", "m4"]


async def test_nothing_is_kept_of_who_has_gone(build: Build) -> None:
    """Nor of who has nothing."""
    house = build()
    clients = [house.come(), house.come("bob"), house.come(7), house.come(None)]
    await house.inboxes.put([message("m0")])
    await settle()
    assert len(house.inboxes) == 3

    for client in clients:
        house.die(client)
    await settle()

    assert len(house.inboxes) == 0


async def test_acknowledgements_are_looked_at(build: Build) -> None:
    """Other users' messages, unknown ids and what is no id do no harm."""
    house = build()
    ann, bob, nobody = house.come(), house.come("bob"), house.come(None)
    await house.inboxes.put([message("m0")])

    house.inboxes.acknowledge(bob.connection, ["m0", "x" * 1_000_000, "\ud800"])
    house.inboxes.acknowledge(nobody.connection, ["m0"])
    for number in range(3_000):
        house.inboxes.acknowledge(bob.connection, [str(number)])
    await settle()
    assert list(await house.pending()) == ["m0"]
    house.inboxes.acknowledge(ann.connection, ["m0", "m0"])
    house.inboxes.acknowledge(ann.connection, ["m0"])
    await settle()

    assert await house.pending() == {}


async def test_nodes_share_a_user(build: Build) -> None:
    """What is put at one is delivered at the other; what is settled at one is so at the other."""
    store = MemoryInbox()
    here, there = build(store), build(store)
    here.others, there.others = [there], [here]
    near, far = here.come(), there.come()
    await settle()

    await here.inboxes.put([message("m0"), message("m1")])
    await settle()
    assert near.got == far.got == ["m0", "m1"]
    there.inboxes.acknowledge(far.connection, ["m0"])
    await asyncio.sleep(40)

    assert near.got == far.got == ["m0", "m1", "m1"]
    here.die(near)
    await here.inboxes.put([message("m2")])
    assert here.offline == there.offline == []


async def test_nodes_share_a_delivery(build: Build) -> None:
    """What clients of two have at the same time was delivered once: a round is one for all."""
    store = MemoryInbox()
    here, there = build(store), build(store)
    here.others, there.others = [there], [here]
    near, far = here.come(), there.come()

    await here.inboxes.put([message("m0")])
    await asyncio.sleep(40)
    assert await here.pending() == {"m0": 1}
    await asyncio.sleep(1_000)

    assert near.got == far.got == ["m0"] * 10
    assert [(each.id, each.deliveries) for each in here.offline + there.offline] == [("m0", 10)]
    assert [each.deliveries for each in await store.dead()] == [10]


async def test_nodes_share_the_count_of_deliveries(build: Build) -> None:
    """However many nodes, no more deliveries one after the other than there may be."""
    store = MemoryInbox()
    rules = RedeliveryRules(ack_wait=1.0, backoff=(10.0,), max_deliveries=6)
    here = build(store, rules=rules, jitter=lambda: 0.0)  # every 9 seconds
    there = build(store, rules=rules, jitter=lambda: 0.5)  # every 11 seconds
    here.others, there.others = [there], [here]
    near, far = here.come(), there.come()

    await here.inboxes.put([message("m0")])
    await asyncio.sleep(200)

    # at 0 together, then at 9, 11, 18, 22, 27
    assert (len(near.got), len(far.got)) == (4, 3)
    assert [(each.id, each.deliveries) for each in here.offline + there.offline] == [("m0", 6)]


async def test_a_node_that_reads_what_another_counts_knows_the_count(build: Build) -> None:
    """Although what it read is older than the count."""
    store = Slow()
    rules = RedeliveryRules(max_deliveries=2)
    here, there = build(store, rules=rules), build(store, rules=rules)
    here.others, there.others = [there], [here]
    here.come()
    await here.inboxes.put([message("m0")])
    await asyncio.sleep(29.5)

    store.seconds = 1.0  # it is read before the first delivery has ended, and comes afterwards
    far = there.come()
    await asyncio.sleep(32.0)

    assert far.got == ["m0"]
    assert [(each.id, each.deliveries) for each in await store.dead()] == [("m0", 2)]


@pytest.mark.slow
async def test_a_large_put_keeps_the_order(build: Build) -> None:
    """Another one that comes while it is handed over waits for it."""
    house = build()
    clients = [house.come(number, acknowledges=False) for number in range(1_000)]
    await settle()

    await asyncio.gather(
        house.inboxes.put([message(f"a{number}", number) for number in range(1_000)]),
        house.inboxes.put([message(f"b{number}", number) for number in reversed(range(1_000))]),
    )

    assert [client.got for client in clients] == [[f"a{n}", f"b{n}"] for n in range(1_000)]


async def test_what_was_settled_is_saved_at_the_end(build: Build) -> None:
    """Then nothing is taken any more."""
    house = build()
    ann = house.come()
    await house.inboxes.put([message("m0"), message("m1")])
    house.inboxes.acknowledge(ann.connection, ["m0"])

    await house.inboxes.aclose()

    assert list(await house.pending()) == ["m1"]
    with pytest.raises(Drained):
        await house.inboxes.put([message("m2")])
    house.inboxes.acknowledge(ann.connection, ["m1"])
    assert house.come().got == []


async def test_an_end_does_not_wait_for_a_store_that_fails(build: Build, events: Events) -> None:
    """It says what the store was not told."""
    store = Moody()
    house = build(store)
    ann = house.come()
    await house.inboxes.put([message("m0")])
    store.failing = True
    house.inboxes.acknowledge(ann.connection, ["m0"])
    await asyncio.sleep(3)

    await house.inboxes.aclose()

    assert [event["acknowledgements"] for event in named(events, "inbox.unsaved")] == [1]


@pytest.mark.real_time
async def test_a_file_serves_a_node(build: Build, tmp_path: Path) -> None:
    """What was not acknowledged comes again after a restart."""
    store = SqliteInbox(tmp_path / "inbox.db")
    await store.open()
    house = build(store, wall_clock=lambda: EPOCH)
    ann = house.come()
    await house.inboxes.put([message(id) for id in ids(3)])
    async with asyncio.timeout(5):
        while len(ann.got) < 3:  # noqa: ASYNC110 - the store has threads of its own
            await asyncio.sleep(0.001)
    house.inboxes.acknowledge(ann.connection, ["m1"])
    await house.inboxes.aclose()
    await store.aclose()

    await store.open()
    again = build(store, wall_clock=lambda: EPOCH)
    await again.inboxes.put([message("m3")])
    ann = again.come()
    async with asyncio.timeout(5):
        while len(ann.got) < 3:  # noqa: ASYNC110 - the store has threads of its own
            await asyncio.sleep(0.001)

    assert ann.got == ["m0", "m2", "m3"]
    assert [each.id for each in again.offline] == ["m3"]
    await again.inboxes.aclose()
    assert [each.id for each in await store.pending("ann", now=EPOCH)] == ["m0", "m2", "m3"]
    await store.aclose()


async def test_a_hook_that_fails_is_reported(build: Build) -> None:
    """The message is kept all the same."""

    def fail(_: InboxMessage) -> None:
        raise ZeroDivisionError("bug")

    house = build(on_offline=fail)

    await house.inboxes.put([message("m0")])

    assert [what for what, _ in house.faults] == ["inbox.on_offline"]
    house.faults.clear()
    assert list(await house.pending()) == ["m0"]
