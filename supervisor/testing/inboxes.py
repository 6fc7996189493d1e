"""What every inbox promises, as a suite: see :mod:`supervisor.testing`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from supervisor.inbox.base import DEAD_LETTERS, EXPIRED_AT_ONCE, Inbox, InboxMessage, InboxUser

__all__ = ["check_inbox"]

_NOW = 1_000_000.0


async def check_inbox(make_inbox: Callable[[], Inbox]) -> None:
    """
    Check the promises of :class:`supervisor.inbox.base.Inbox`.

    Args:
        make_inbox: Returns a new, empty store that is not open. Called once a promise; each store
            is closed at the end.

    Raises:
        AssertionError: If a promise is broken; its text says which.

    Uses threads. That a store keeps its promises when the process is killed is not checked.
    """
    for check in (
        _returns_what_was_put,
        _keeps_the_order_of_put,
        _keeps_an_id_once,
        _keeps_users_apart,
        _reads_pages,
        _reads_on_after_what_is_gone,
        _keeps_as_many_as_allowed,
        _settles_once,
        _counts_deliveries,
        _buries,
        _keeps_the_newest_dead,
        _expires,
        _expires_a_number_at_once,
        _subscribes,
        _may_be_closed_and_opened_again,
        _serves_other_loops,
    ):
        async with _opened(make_inbox()) as inbox:
            await check(inbox)


async def _returns_what_was_put(inbox: Inbox) -> None:
    messages = [
        _message("text", payload="grüße\n\0"),
        _message("bytes", payload=b"\xff\x00"),
        _message("empty", payload=""),
        _message("no bytes", payload=b""),
        _message("half a pair", payload="\ud800"),
        _message("data", payload='{"n": 1}', encoded=True, room="alert:ä"),
        _message("old", created=1.5, expires=_NOW + 0.25),
    ]

    kept = await inbox.put(messages, capacity=100)

    assert kept.new == {message.id for message in messages}, "put() tells what is new"
    assert kept.evicted == [], "nothing has to go while there is space"
    pending = await inbox.pending("ann", now=_NOW)
    assert pending == messages, f"pending messages are what was put: {pending}"
    assert [type(message.payload) for message in pending] == [
        type(message.payload) for message in messages
    ], "text stays text, and bytes stay bytes"
    assert inbox.healthy, "an inbox that works is healthy"


async def _keeps_the_order_of_put(inbox: Inbox) -> None:
    ids = [f"{number * 7919 % 97}" for number in range(90)]
    for start in range(0, 90, 9):
        await inbox.put([_message(id) for id in ids[start : start + 9]], capacity=100)

    pending = await _pending(inbox)
    assert pending == ids, f"messages keep the order in which they were put: {pending}"


async def _keeps_an_id_once(inbox: Inbox) -> None:
    first = [_message(id) for id in ("pending", "settled", "dead", "expired", "evicted", "last")]
    first[3] = replace(first[3], expires=_NOW)
    await inbox.put([first[4]], capacity=1)
    await inbox.put([first[0], first[0]], capacity=1)
    await inbox.put(first[1:4] + first[5:], capacity=10)
    await inbox.acknowledge("ann", ["settled"])
    await inbox.bury(["dead"])
    await inbox.expire(now=_NOW)

    again = [replace(message, payload="again", expires=_NOW + 1) for message in first]
    kept = await inbox.put([*again, _message("new")], capacity=10)

    assert kept.new == {"new"}, f"what is known is not new, whatever became of it: {kept.new}"
    pending = await inbox.pending("ann", now=_NOW)
    assert [message.id for message in pending] == ["pending", "last", "new"], (
        f"what is known is not kept again: {pending}"
    )
    assert pending[0].payload == "x", "what was kept first stays"


async def _keeps_users_apart(inbox: Inbox) -> None:
    users: list[InboxUser] = ["1", 1, "", 0, -1, 1 << 70, "ä", "A", "a", "'; --"]
    messages = [_message(f"m{number}", user) for number, user in enumerate(users)]
    await inbox.put(messages, capacity=100)

    for message in messages:
        pending = await inbox.pending(message.user, now=_NOW)
        assert pending == [message], f"the inbox of {message.user!r} is nobody else's: {pending}"
        assert type(pending[0].user) is type(message.user), "1 and '1' are two users"
    assert await inbox.acknowledge(1, ["m0"]) == [], "nobody acknowledges for another user"
    assert await _pending(inbox, "1") == ["m0"], "nobody acknowledges for another user"


async def _reads_pages(inbox: Inbox) -> None:
    await inbox.put([_message(f"m{number}") for number in range(150)], capacity=1_000)

    assert len(await inbox.pending("ann", now=_NOW)) == 100, "a page has 100 messages"
    assert await _pending(inbox, limit=2) == ["m0", "m1"], "a page is as long as was asked for"
    assert await _pending(inbox, after="m1", limit=2) == ["m2", "m3"], "a page goes on after one"
    assert await _pending(inbox, after="m149") == [], "after the newest there is nothing"
    assert await _pending(inbox, after="unknown", limit=1) == ["m0"], (
        "what the store does not know counts as older than all"
    )
    assert await _pending(inbox, "nobody") == [], "who was never sent anything has nothing"


async def _reads_on_after_what_is_gone(inbox: Inbox) -> None:
    await inbox.put([_message(f"m{number}") for number in range(4)], capacity=10)
    await inbox.acknowledge("ann", ["m1"])
    await inbox.bury(["m2"])

    assert await _pending(inbox, after="m1") == ["m3"], "a settled message keeps its place"
    assert await _pending(inbox, after="m2") == ["m3"], "a dead letter keeps its place"


async def _keeps_as_many_as_allowed(inbox: Inbox) -> None:
    await inbox.put([_message(f"m{number}") for number in range(3)], capacity=3)
    await inbox.put([_message("bob's", "bob")], capacity=3)
    await inbox.acknowledge("ann", ["m1"])

    kept = await inbox.put([_message(f"n{number}") for number in range(3)], capacity=3)

    assert [message.id for message in kept.evicted] == ["m0", "m2"], (
        f"of too many the oldest go, oldest first: {kept.evicted}"
    )
    assert kept.new == {"n0", "n1", "n2"}, "what is new is kept"
    assert await _pending(inbox) == ["n0", "n1", "n2"], "what has gone is not pending"
    assert await _pending(inbox, "bob") == ["bob's"], "another user loses nothing"
    assert await inbox.acknowledge("ann", ["m0"]) == [], "what has gone is settled"
    kept = await inbox.put([_message(f"o{number}") for number in range(3)], capacity=1)
    assert [message.id for message in kept.evicted] == ["n0", "n1", "n2", "o0", "o1"], (
        f"a capacity that has become smaller counts: {kept.evicted}"
    )


async def _settles_once(inbox: Inbox) -> None:
    await inbox.put([_message(f"m{number}") for number in range(4)], capacity=10)

    settled = await inbox.acknowledge("ann", ["m2", "unknown", "m0", "m2"])

    assert sorted(settled) == ["m0", "m2"], f"acknowledge() says what was pending: {settled}"
    assert await inbox.acknowledge("ann", ["m0", "m2"]) == [], "a message is settled once"
    assert await inbox.acknowledge("ann", []) == [], "nothing is settled by nothing"
    assert await inbox.bury(["m0"]) == [], "what is settled is not given up"
    await inbox.delivered({"m0": 1})
    assert await _pending(inbox) == ["m1", "m3"], "what is settled is never pending again"


async def _counts_deliveries(inbox: Inbox) -> None:
    await inbox.put([_message("m0"), _message("m1", "bob"), _message("m2")], capacity=10)

    await inbox.delivered({"m0": 3, "m1": 1, "unknown": 1})
    await inbox.delivered({"m0": 2, "m1": 1})
    await inbox.delivered({})

    counts = {m.id: m.deliveries for m in await inbox.pending("ann", now=_NOW)}
    counts |= {m.id: m.deliveries for m in await inbox.pending("bob", now=_NOW)}
    assert counts == {"m0": 3, "m1": 1, "m2": 0}, (
        f"of all that was said of a message's deliveries the most counts: {counts}"
    )


async def _buries(inbox: Inbox) -> None:
    messages = [_message("m0"), _message("m1", "bob", payload=b"x"), _message("m2")]
    await inbox.put(messages, capacity=10)
    await inbox.delivered({"m0": 1})

    buried = await inbox.bury(["m1", "m0", "m1", "unknown"])

    assert {message.id for message in buried} == {"m0", "m1"}, (
        f"bury() returns what was pending: {buried}"
    )
    assert {m.id: m.deliveries for m in buried} == {"m0": 1, "m1": 0}, "with its deliveries"
    await inbox.bury(["m2"])
    assert await inbox.bury(["m2"]) == [], "a message is given up once"
    assert await inbox.acknowledge("ann", ["m2"]) == [], "a dead letter is settled"
    assert await _pending(inbox) == await _pending(inbox, "bob") == [], "and is not pending"
    dead = await inbox.dead()
    assert dead[:1] == messages[2:], f"the newest dead letter comes first: {dead}"
    assert {m.id for m in dead[1:]} == {"m0", "m1"}, f"dead letters can be looked at: {dead}"
    assert await inbox.dead(limit=1) == dead[:1], "as many as was asked for"


async def _keeps_the_newest_dead(inbox: Inbox) -> None:
    count = DEAD_LETTERS + 5
    for start in range(0, count, 67):
        ids = [f"m{number}" for number in range(start, min(start + 67, count))]
        await inbox.put([_message(id) for id in ids], capacity=100)
        for id in ids[-1:]:
            await inbox.bury(ids[:-1])
            await inbox.bury([id])

    dead = await inbox.dead(limit=2 * DEAD_LETTERS)
    assert len(dead) == DEAD_LETTERS, f"the store keeps {DEAD_LETTERS} dead letters: {len(dead)}"
    assert dead[0].id == f"m{count - 1}", "the newest are kept"


async def _expires(inbox: Inbox) -> None:
    await inbox.put(
        [
            _message("soon", expires=_NOW + 1),
            _message("later", expires=_NOW + 2),
            _message("settled", expires=_NOW + 1),
            _message("dead", expires=_NOW + 1),
            _message("bob's", "bob", expires=_NOW + 1),
        ],
        capacity=10,
    )
    await inbox.acknowledge("ann", ["settled"])
    await inbox.bury(["dead"])

    assert await inbox.expire(now=_NOW + 0.5) == [], "nothing expires before its time"
    assert await _pending(inbox, now=_NOW + 1) == ["later"], (
        "what has expired is not pending, whether it was dropped or not"
    )
    expired = await inbox.expire(now=_NOW + 1)
    assert {message.id for message in expired} == {"soon", "bob's"}, (
        f"expire() returns what was pending: {expired}"
    )
    assert await inbox.expire(now=_NOW + 1) == [], "a message expires once"
    assert await inbox.acknowledge("ann", ["soon"]) == [], "what has expired is settled"
    assert await _pending(inbox) == ["later"], "and is not pending"


async def _expires_a_number_at_once(inbox: Inbox) -> None:
    count = EXPIRED_AT_ONCE + 3
    messages = [_message(f"m{number}", expires=_NOW + number) for number in range(count)]
    await inbox.put(messages, capacity=count)

    first = await inbox.expire(now=_NOW + count)
    rest = await inbox.expire(now=_NOW + count)

    assert len(first) == EXPIRED_AT_ONCE, "expire() drops so many at once"
    assert len({message.id for message in first + rest}) == count, "and then the others"


async def _subscribes(inbox: Inbox) -> None:
    users: list[InboxUser] = ["bob", 1, "1", "ann"]

    new = [await inbox.subscribe("a", user) for user in users]
    again = await inbox.subscribe("a", 1)
    await inbox.subscribe("b", "ann")

    assert new == [True] * 4, "subscribe() says that it is new"
    assert not again, "and that it is not"
    assert await inbox.subscribers("a") == users, "in the order in which they subscribed"
    assert [type(user) for user in await inbox.subscribers("a")] == [str, int, str, str], (
        "1 and '1' are two users"
    )
    assert await inbox.unsubscribe("a", 1), "unsubscribe() says that there was something to undo"
    assert not await inbox.unsubscribe("a", 1), "and that there was nothing"
    assert not await inbox.unsubscribe("c", "ann"), "in a room that nobody subscribed to, too"
    assert await inbox.subscribers("a") == ["bob", "1", "ann"], "others stay subscribed"
    assert await inbox.subscribers("b") == ["ann"], "and so they do in other rooms"
    assert await inbox.subscribers("c") == [], "nobody subscribed to other rooms"


async def _may_be_closed_and_opened_again(inbox: Inbox) -> None:
    await inbox.put([_message("m0"), _message("m1")], capacity=10)
    await inbox.open()
    await inbox.aclose()
    await inbox.aclose()

    await inbox.open()

    assert await _pending(inbox) == ["m0", "m1"], "what was put is there when it is opened again"
    await inbox.put([_message("m2")], capacity=10)
    assert await _pending(inbox) == ["m0", "m1", "m2"], "and keeps its order"


async def _serves_other_loops(inbox: Inbox) -> None:
    failures: list[BaseException] = []

    async def use(name: str) -> None:
        for number in range(20):
            id = f"{name} {number}"
            await inbox.put([_message(id, "both"), _message(f"own {id}", name)], capacity=1_000)
            await inbox.delivered({id: 1})
            settled = await inbox.acknowledge(name, [f"own {id}"])
            assert settled == [f"own {id}"], "a store serves several loops"
            assert await inbox.acknowledge("one", ["both's"]) == []

    def run(name: str) -> None:
        try:
            asyncio.run(use(name))
        except BaseException as error:  # noqa: BLE001 - it is raised where it is seen
            failures.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    await use("here")
    for thread in threads:
        await asyncio.to_thread(thread.join)

    if failures:
        raise failures[0]
    pending = await inbox.pending("both", now=_NOW, limit=1_000)
    assert len(pending) == 80, f"what several loops put is kept: {len(pending)}"
    for name in ("one", "two", "three", "here"):
        of_one = [message.id for message in pending if message.id.startswith(name)]
        assert of_one == [f"{name} {number}" for number in range(20)], (
            f"each loop's messages are in order: {of_one}"
        )


async def _pending(
    inbox: Inbox, user: InboxUser = "ann", *, now: float = _NOW, **arguments: Any
) -> list[str]:
    return [message.id for message in await inbox.pending(user, now=now, **arguments)]


def _message(id: str, user: InboxUser = "ann", **fields: Any) -> InboxMessage:
    message = InboxMessage(
        id, user, room=None, payload="x", encoded=False, created=_NOW, expires=_NOW + 3_600
    )
    return replace(message, **fields)


@asynccontextmanager
async def _opened(inbox: Inbox) -> AsyncIterator[Inbox]:
    await inbox.open()
    try:
        yield inbox
    finally:
        await inbox.aclose()
