"""Every inbox keeps the promises of the port; and the suite that says so finds who does not."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from supervisor.inbox.base import Inbox, InboxMessage, InboxUser, Kept
from supervisor.inbox.memory import MemoryInbox
from supervisor.inbox.sqlite import SqliteInbox
from supervisor.testing import check_inbox

pytestmark = pytest.mark.real_time


async def test_the_memory_keeps_the_promises() -> None:
    """All of them."""
    await check_inbox(MemoryInbox)


@pytest.mark.slow
async def test_the_file_keeps_the_promises(tmp_path: Path) -> None:
    """All of them, each in a file of its own."""
    numbers = itertools.count()

    await check_inbox(lambda: SqliteInbox(tmp_path / f"{next(numbers)}.db"))


class Recent(MemoryInbox):
    """Returns the newest first."""

    async def pending(
        self, user: InboxUser, *, now: float, after: str | None = None, limit: int = 100
    ) -> list[InboxMessage]:
        found = await super().pending(user, now=now, after=after, limit=limit)
        return found[::-1]


class Blunt(MemoryInbox):
    """Takes ``1`` and ``"1"`` for the same user."""

    async def put(self, messages: Sequence[InboxMessage], *, capacity: int) -> Kept:
        return await super().put(
            [replace(message, user=str(message.user)) for message in messages], capacity=capacity
        )

    async def pending(
        self, user: InboxUser, *, now: float, after: str | None = None, limit: int = 100
    ) -> list[InboxMessage]:
        return await super().pending(str(user), now=now, after=after, limit=limit)


class Credulous(MemoryInbox):
    """Lets everybody acknowledge everything."""

    async def acknowledge(self, user: InboxUser, ids: Collection[str]) -> list[str]:
        return [m.id for m in await super().bury(ids)]


class Forgetful(MemoryInbox):
    """Does not know what was settled."""

    async def put(self, messages: Sequence[InboxMessage], *, capacity: int) -> Kept:
        self._numbers.clear()
        return await super().put(messages, capacity=capacity)


class Insistent(MemoryInbox):
    """Settles again and again."""

    async def acknowledge(self, user: InboxUser, ids: Collection[str]) -> list[str]:
        await super().acknowledge(user, ids)
        return list(ids)


class Immortal(MemoryInbox):
    """Does not let messages expire."""

    async def expire(self, *, now: float) -> list[InboxMessage]:
        return []


class Tardy(MemoryInbox):
    """Delivers what has expired, until it is dropped."""

    async def pending(
        self, user: InboxUser, *, now: float, after: str | None = None, limit: int = 100
    ) -> list[InboxMessage]:
        return await super().pending(user, now=0.0, after=after, limit=limit)


class Hoarding(MemoryInbox):
    """Lets nothing go."""

    async def put(self, messages: Sequence[InboxMessage], *, capacity: int) -> Kept:
        return await super().put(messages, capacity=1_000_000)


class Silent(MemoryInbox):
    """Does not say what had to go."""

    async def put(self, messages: Sequence[InboxMessage], *, capacity: int) -> Kept:
        kept = await super().put(messages, capacity=capacity)
        return kept._replace(evicted=[])


class Careless(MemoryInbox):
    """Does not count deliveries."""

    async def delivered(self, counts: Mapping[str, int]) -> None:
        pass


class Adding(MemoryInbox):
    """Adds what it is told to what it knew."""

    async def delivered(self, counts: Mapping[str, int]) -> None:
        for id, count in counts.items():
            if id in self._users:
                before = self._boxes[self._users[id]][id].message.deliveries
                await super().delivered({id: before + count})


class Volatile(MemoryInbox):
    """Loses everything when it is closed."""

    async def aclose(self) -> None:
        self._boxes.clear()


class Final(MemoryInbox):
    """Throws dead letters away."""

    async def dead(self, *, limit: int = 100) -> list[InboxMessage]:
        return []


class Cliquish(MemoryInbox):
    """Forgets who subscribed when somebody leaves."""

    async def unsubscribe(self, room: str, user: InboxUser) -> bool:
        return self._rooms.pop(room, None) is not None


@pytest.mark.parametrize(
    ("make_inbox", "words"),
    [
        (Recent, "what was put"),
        (Blunt, "what was put|nobody else's|two users"),
        (Credulous, "not kept again|another user"),
        (Forgetful, "not new"),
        (Insistent, "another user|settled once"),
        (Immortal, "expire"),
        (Tardy, "has expired"),
        (Hoarding, "oldest go|kept again"),
        (Silent, "oldest go"),
        (Careless, "deliveries"),
        (Adding, "deliveries"),
        (Volatile, "opened again"),
        (Final, "dead letter"),
        (Cliquish, "nothing|others stay"),
    ],
)
async def test_who_does_not_is_found(make_inbox: Callable[[], Inbox], words: str) -> None:
    """With words that say what was promised."""
    with pytest.raises(AssertionError, match=words):
        await check_inbox(make_inbox)
