"""
The inbox that is kept in the memory of the process, and is gone with it.

The default store of a supervisor, and what others fall back to. Nothing waits: a put is done when
it returns, without suspension.
"""

from __future__ import annotations

import heapq
import threading
from collections import OrderedDict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from supervisor.errors import StoreFull
from supervisor.inbox.base import (
    DEAD_LETTERS,
    EXPIRED_AT_ONCE,
    REMEMBERED,
    InboxMessage,
    InboxUser,
    Kept,
)

__all__ = ["MemoryInbox"]

_OVERHEAD = 500
"""Bytes that a message is counted for beside its payload."""

_SPARSE = 1_000
"""Entries of settled messages that the heap of deadlines may hold before it is made anew."""


@dataclass(slots=True)
class _Held:
    """A pending message and its number in the order of put."""

    number: int
    message: InboxMessage
    size: int


class MemoryInbox:
    """
    See :class:`supervisor.inbox.base.Inbox`.

    Args:
        max_bytes: Most bytes that pending messages may take together; more is ``StoreFull``.

    What was kept stays when it is closed. It fails in no other way.
    """

    def __init__(self, *, max_bytes: int = 64 << 20) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._boxes: dict[InboxUser, dict[str, _Held]] = {}  # each in the order of put
        self._users: dict[str, InboxUser] = {}  # of pending messages, by id
        self._numbers: OrderedDict[str, int] = OrderedDict()  # of those settled, the newest last
        self._deadlines: list[tuple[float, str]] = []  # of settled messages, too
        self._dead: deque[InboxMessage] = deque(maxlen=DEAD_LETTERS)
        self._rooms: dict[str, dict[InboxUser, None]] = {}
        self._number = 0
        self._size = 0

    @property
    def healthy(self) -> bool:
        """True."""
        return True

    async def open(self) -> None:
        """Do nothing."""

    async def aclose(self) -> None:
        """Do nothing."""

    async def put(self, messages: Sequence[InboxMessage], *, capacity: int) -> Kept:
        """Keep ``messages``; see :class:`supervisor.inbox.base.Inbox`."""
        with self._lock:
            new: dict[str, InboxMessage] = {}
            for message in messages:
                if message.id not in self._users and message.id not in self._numbers:
                    new.setdefault(message.id, message)
            size = sum(map(_size, new.values()))
            if self._size + size > self._max_bytes:
                raise StoreFull(f"the inboxes in memory hold their {self._max_bytes} bytes")
            evicted: dict[str, InboxMessage] = {}
            for message in new.values():
                self._keep(message)
                box = self._boxes[message.user]
                while len(box) > capacity:
                    oldest = next(iter(box))
                    evicted[oldest] = self._settle(oldest)
            return Kept(frozenset(new), list(evicted.values()))

    async def pending(
        self, user: InboxUser, *, now: float, after: str | None = None, limit: int = 100
    ) -> list[InboxMessage]:
        """Return pending messages; see :class:`supervisor.inbox.base.Inbox`."""
        found: list[InboxMessage] = []
        with self._lock:
            box = self._boxes.get(user, {})
            number = self._number_of(after) if after is not None else 0
            for kept in box.values():
                if len(found) >= limit:
                    break
                if kept.number > number and kept.message.expires > now:
                    found.append(kept.message)
        return found

    async def delivered(self, counts: Mapping[str, int]) -> None:
        """Remember how often that was; see :class:`supervisor.inbox.base.Inbox`."""
        with self._lock:
            for id, count in counts.items():
                if id in self._users:
                    kept = self._boxes[self._users[id]][id]
                    if count > kept.message.deliveries:
                        kept.message = replace(kept.message, deliveries=count)

    async def acknowledge(self, user: InboxUser, ids: Collection[str]) -> list[str]:
        """Settle; see :class:`supervisor.inbox.base.Inbox`."""
        with self._lock:
            settled = [id for id in dict.fromkeys(ids) if id in self._boxes.get(user, {})]
            for id in settled:
                self._settle(id)
            return settled

    async def bury(self, ids: Collection[str]) -> list[InboxMessage]:
        """Give messages up; see :class:`supervisor.inbox.base.Inbox`."""
        with self._lock:
            buried = [self._settle(id) for id in dict.fromkeys(ids) if id in self._users]
            self._dead.extend(buried)
            return buried

    async def dead(self, *, limit: int = 100) -> list[InboxMessage]:
        """Return dead letters; see :class:`supervisor.inbox.base.Inbox`."""
        with self._lock:
            return list(reversed(self._dead))[:limit]

    async def expire(self, *, now: float) -> list[InboxMessage]:
        """Drop what has expired; see :class:`supervisor.inbox.base.Inbox`."""
        expired: list[InboxMessage] = []
        with self._lock:
            while self._deadlines and self._deadlines[0][0] <= now:
                if len(expired) >= EXPIRED_AT_ONCE:
                    break
                _, id = heapq.heappop(self._deadlines)
                if id in self._users:
                    expired.append(self._settle(id))
        return expired

    async def subscribe(self, room: str, user: InboxUser) -> bool:
        """Subscribe; see :class:`supervisor.inbox.base.Inbox`."""
        with self._lock:
            users = self._rooms.setdefault(room, {})
            if user in users:
                return False
            users[user] = None
            return True

    async def unsubscribe(self, room: str, user: InboxUser) -> bool:
        """Undo it; see :class:`supervisor.inbox.base.Inbox`."""
        with self._lock:
            users = self._rooms.get(room)
            if users is None or user not in users:
                return False
            del users[user]
            if not users:
                del self._rooms[room]
            return True

    async def subscribers(self, room: str) -> list[InboxUser]:
        """Return who subscribed; see :class:`supervisor.inbox.base.Inbox`."""
        with self._lock:
            return list(self._rooms.get(room, ()))

    def _keep(self, message: InboxMessage) -> None:
        self._number += 1
        kept = _Held(self._number, message, _size(message))
        self._boxes.setdefault(message.user, {})[message.id] = kept
        self._users[message.id] = message.user
        self._size += kept.size
        heapq.heappush(self._deadlines, (message.expires, message.id))

    def _settle(self, id: str) -> InboxMessage:
        """Make a message that is pending a settled one."""
        user = self._users.pop(id)
        box = self._boxes[user]
        kept = box.pop(id)
        if not box:
            del self._boxes[user]
        self._size -= kept.size
        self._numbers[id] = kept.number
        if len(self._numbers) > REMEMBERED:
            self._numbers.popitem(last=False)
        if len(self._deadlines) > 2 * len(self._users) + _SPARSE:
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self._users]
            heapq.heapify(self._deadlines)
        return kept.message

    def _number_of(self, id: str) -> int:
        """Return the number of a message that is known; 0 of any other."""
        if id in self._users:
            return self._boxes[self._users[id]][id].number
        return self._numbers.get(id, 0)


def _size(message: InboxMessage) -> int:
    payload = message.payload
    ascii_only = isinstance(payload, bytes) or payload.isascii()
    return _OVERHEAD + (len(payload) if ascii_only else 4 * len(payload))
