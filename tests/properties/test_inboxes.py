"""
The inboxes of a node against the order of put: a store that takes its time, and clients that do not stay.

Whatever happens, what was put comes to every client in its order, never again after it was settled
here, and to its end: acknowledged, dead or expired.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from actors.messages import Frame
from actors.testing import VirtualClockLoop, settle
from supervisor.connection import Connection
from supervisor.errors import StoreUnavailable
from supervisor.inbox.base import InboxMessage, InboxUser, Kept
from supervisor.inbox.memory import MemoryInbox
from supervisor.redelivery import RedeliveryRules
from tests.supervisor.inboxes import EPOCH, Client, House, message

WHO = st.integers(0, 4)
ROOM = st.sampled_from([None, None, "r"])


class Latent(MemoryInbox):
    """A store that takes its time, before and after; writes one after the other."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.failing = False
        self._random = random.Random(seed)
        self._writing = asyncio.Lock()

    async def _nap(self) -> None:
        await asyncio.sleep(self._random.choice([0, 0, 0.01, 0.1]))
        if self.failing:
            raise StoreUnavailable("told to fail")

    async def put(self, messages: Sequence[InboxMessage], *, capacity: int) -> Kept:
        async with self._writing:
            await self._nap()
            kept = await super().put(messages, capacity=capacity)
            await asyncio.sleep(self._random.choice([0, 0, 0.01]))
            return kept

    async def pending(
        self, user: InboxUser, *, now: float, after: str | None = None, limit: int = 100
    ) -> list[InboxMessage]:
        await self._nap()
        found = await super().pending(user, now=now, after=after, limit=limit)
        await self._nap()
        return found

    async def delivered(self, counts: Mapping[str, int]) -> None:
        async with self._writing:
            await self._nap()
            await super().delivered(counts)

    async def acknowledge(self, user: InboxUser, ids: Collection[str]) -> list[str]:
        async with self._writing:
            await self._nap()
            settled = await super().acknowledge(user, ids)
            await self._nap()
            return settled


class Watched(House):
    """A house that looks at what is given to whom."""

    def __init__(self, store: MemoryInbox, **arguments: Any) -> None:
        super().__init__(store, **arguments)
        self.first: dict[Client, list[str]] = {}
        self.over: set[str] = set()

    def _frame(self, connection: Connection, message: InboxMessage) -> tuple[Frame, bool]:
        client = self.clients[connection]
        assert message.id not in self.over, f"{message.id} was settled before"
        assert message.user == connection.user
        seen = self.first.setdefault(client, [])
        if message.id not in seen:
            seen.append(message.id)
        return super()._frame(connection, message)

    def acknowledge(self, client: Client, ids: list[str]) -> None:
        """Have a client acknowledge."""
        self.inboxes.acknowledge(client.connection, ids)
        self.over.update(ids)


class InboxesMachine(RuleBasedStateMachine):
    """Rules are what applications, clients, networks and disks do."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualClockLoop()
        self.put_order: dict[str, InboxMessage] = {}
        self.putting: list[asyncio.Future[Any]] = []
        self.here: list[Client] = []
        self.house: Watched

    @initialize(seed=st.integers(0, 1000), window=st.integers(1, 5), held=st.integers(1, 10))
    def make(self, seed: int, window: int, held: int) -> None:
        async def make() -> None:
            self.store = Latent(seed)
            rules = RedeliveryRules(window=window, max_deliveries=50, held=max(window, held))
            self.house = Watched(self.store, rules=rules)

        self.run(make())

    @rule(room=ROOM, count=st.integers(1, 8), wait=st.booleans())
    def put(self, room: str | None, count: int, wait: bool) -> None:
        first = len(self.put_order)
        made = [
            message(f"m{number}", "ann" if number % 5 else "bob", room=room)
            for number in range(first, first + count)
        ]

        async def put() -> None:
            putting = asyncio.ensure_future(self.house.inboxes.put(made))
            self.putting.append(putting)
            await (asyncio.wait([putting]) if wait else asyncio.sleep(0))

        self.put_order.update({each.id: each for each in made})
        self.run(put())

    @precondition(lambda self: len(self.here) < 5)
    @rule(
        user=st.sampled_from(["ann", "ann", "bob"]),
        acknowledges=st.booleans(),
        stalled=st.booleans(),
        space=st.integers(1, 20),
        inside=st.booleans(),
    )
    def come(self, user: str, acknowledges: bool, stalled: bool, space: int, inside: bool) -> None:
        async def come() -> None:
            rooms = ("r",) if inside else ()
            self.here.append(
                self.house.come(
                    user, *rooms, acknowledges=acknowledges, stalled=stalled, space=space
                )
            )

        self.run(come())

    @rule(who=WHO)
    def die(self, who: int) -> None:
        if client := self.who(who):
            self.here.remove(client)
            self.call(lambda: self.house.die(client))

    @rule(who=WHO)
    def break_silently(self, who: int) -> None:
        if client := self.who(who):
            client.transport.failing = ConnectionError("gone")

    @rule(who=WHO, again=st.booleans())
    def resume(self, who: int, again: bool) -> None:
        client = self.who(who)
        if client and client.transport.failing is None:
            self.call(lambda: client.transport.resume(stalled=again))

    @rule(who=WHO, count=st.integers(1, 10))
    def acknowledge(self, who: int, count: int) -> None:
        if client := self.who(who):
            got = [id for id in client.got if self.put_order[id].user == client.connection.user]
            self.call(lambda: self.house.acknowledge(client, got[-count:]))

    @rule(who=WHO)
    def leave(self, who: int) -> None:
        if client := self.who(who):
            self.call(lambda: self.house.inboxes.left(client.connection, "r"))

    @rule(failing=st.sampled_from([False, False, True]))
    def fail(self, failing: bool) -> None:
        self.store.failing = failing

    @rule(seconds=st.sampled_from([0.0, 0.05, 1.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    def who(self, number: int) -> Client | None:
        return self.here[number % len(self.here)] if self.here else None

    def call(self, what: Any) -> None:
        async def call() -> None:
            what()

        self.run(call())

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a rule, and look whether anything was given out of order."""
        self.loop.run_until_complete(work)
        self.here = [each for each in self.here if each.connection.reason is None]
        if not hasattr(self, "house"):
            return
        places = {id: place for place, id in enumerate(self.put_order)}
        for seen in self.house.first.values():
            for room in (None, "r"):
                of_room = [places[id] for id in seen if self.put_order[id].room == room]
                assert of_room == sorted(of_room)
        assert self.house.faults == []

    def teardown(self) -> None:
        """Have the store work, and somebody read: then nothing is pending any more."""
        if not hasattr(self, "house"):
            self.loop.close()
            return
        house = self.house

        async def end() -> None:
            self.store.failing = False
            for client in self.here:
                house.die(client)
            await asyncio.sleep(200)
            results = await asyncio.gather(*self.putting, return_exceptions=True)
            unkept = sum(isinstance(result, StoreUnavailable) for result in results)
            assert unkept == sum(isinstance(result, BaseException) for result in results)
            assert len(house.inboxes) == 0
            readers = [house.come(user, "r", acknowledges=False) for user in ("ann", "bob")]
            now = EPOCH + house.runtime.clock()
            left = [
                each.id
                for user in ("ann", "bob")
                for each in await MemoryInbox.pending(self.store, user, now=now, limit=10_000)
            ]
            await asyncio.sleep(500)
            assert sorted(readers[0].got + readers[1].got) == sorted(left)
            for user in ("ann", "bob"):
                assert await house.pending(user) == {}
            for reader in readers:
                house.die(reader)
            await settle()
            await house.aclose()

        self.run(end())
        self.loop.close()


TestInboxes = InboxesMachine.TestCase
