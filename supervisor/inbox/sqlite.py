"""
The inbox in a SQLite file: one table, in which messages stay a while after they are settled.

A put is confirmed after the commit, which it shares with whatever else waits to be written; see
:mod:`supervisor.sqlite` for threads, failures, and what survives. What was settled leaves its id
behind, without its payload, so that it is not kept again.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from supervisor.errors import StoreFull, StoreUnavailable
from supervisor.inbox.base import (
    DEAD_LETTERS,
    EXPIRED_AT_ONCE,
    REMEMBERED,
    InboxMessage,
    InboxUser,
    Kept,
)
from supervisor.inbox.memory import MemoryInbox
from supervisor.sqlite import Call, Job, LastStop, SqliteFile

__all__ = ["SqliteInbox"]

T = TypeVar("T")

_SCHEMA = (
    # state: 0 pending, 1 dead letter, 2 settled; `over` numbers what is not pending any more.
    # Text is UTF-8 in blobs: half a surrogate pair, which JSON can carry, would be no text here.
    """
    CREATE TABLE inbox (
        number INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        user BLOB NOT NULL,
        room BLOB,
        payload BLOB NOT NULL,
        is_text INTEGER NOT NULL,
        encoded INTEGER NOT NULL,
        created REAL NOT NULL,
        expires REAL NOT NULL,
        deliveries INTEGER NOT NULL,
        state INTEGER NOT NULL DEFAULT 0,
        over INTEGER NOT NULL DEFAULT 0
    )
    """,
    "CREATE INDEX inbox_pending ON inbox (user, number, state) WHERE state = 0",
    "CREATE INDEX inbox_expiring ON inbox (expires) WHERE state = 0",
    "CREATE INDEX inbox_dead ON inbox (over) WHERE state = 1",
    "CREATE INDEX inbox_settled ON inbox (over) WHERE state = 2",
    """
    CREATE TABLE inbox_subscriptions (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        room BLOB NOT NULL,
        user BLOB NOT NULL,
        UNIQUE (room, user)
    )
    """,
)

_COLUMNS = "id, user, room, payload, is_text, encoded, created, expires, deliveries"

_INSERT = f"""
    INSERT INTO inbox (number, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO NOTHING
"""  # noqa: S608 - made of constants, like all that follow

_DELIVERED = "UPDATE inbox SET deliveries = max(deliveries, ?) WHERE id = ? AND state = 0"

_OVER = "UPDATE inbox SET state = ?, over = ? WHERE id = ? AND state = 0"

_PENDING = f"SELECT {_COLUMNS} FROM inbox WHERE state = 0 ORDER BY number"  # noqa: S608

_FORGET_PAYLOAD = "UPDATE inbox SET payload = x'', state = 2 WHERE state = 1 AND over <= ?"

_PRUNE_EVERY = 1_000
"""Settled messages between two times that the oldest ids are forgotten."""


class _Operation(Call):
    """What is to be done with the file; or with the memory, once the file has failed."""

    __slots__ = ("elsewhere",)

    def __init__(
        self,
        function: Callable[[sqlite3.Connection], Any],
        elsewhere: Callable[[MemoryInbox], Coroutine[Any, Any, Any]],
        size: int = 0,
    ) -> None:
        super().__init__(function, size)
        self.elsewhere = elsewhere


class SqliteInbox:
    """
    See :class:`supervisor.inbox.base.Inbox`.

    Args:
        path: Of the database; its directory exists. Other stores may use the same one.
        on_failure: What happens when the file fails while it is open. ``"refuse"``: whoever calls
            gets ``StoreUnavailable``, until it works again. ``"memory"``: it goes on in memory, with
            what can still be read, until it is opened anew; then what the file has counts.
        on_fall_back: Told of the error when it does that; called in another thread.
        synchronous: What survives when the machine loses its power; see :mod:`supervisor.sqlite`.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_failure: Literal["refuse", "memory"] = "refuse",
        on_fall_back: Callable[[StoreUnavailable], None] | None = None,
        synchronous: Literal["normal", "full"] = "normal",
    ) -> None:
        self._falls_back = on_failure == "memory"
        self._on_fall_back = on_fall_back
        self._memory: MemoryInbox | None = None
        self._number = 0  # of the newest message; the writer's
        self._over = 0  # of the last that was settled or given up; the writer's
        self._file: SqliteFile[_Operation] = SqliteFile(
            path,
            "inbox",
            schema=_SCHEMA,
            prepare=self._prepare,
            on_failure=self._failed,
            synchronous=synchronous,
        )

    @property
    def healthy(self) -> bool:
        """Whether the file works."""
        return self._memory is None and self._file.healthy

    async def open(self) -> None:
        """Open the file; see :class:`supervisor.inbox.base.Inbox`."""
        await self._file.open()

    async def aclose(self) -> None:
        """Write what waits, and close the file; see :class:`supervisor.inbox.base.Inbox`."""
        await self._file.aclose()

    async def put(self, messages: Sequence[InboxMessage], *, capacity: int) -> Kept:
        """Keep ``messages``, and commit; see :class:`supervisor.inbox.base.Inbox`."""
        rows = [_row(message) for message in messages]

        def put(connection: sqlite3.Connection) -> Kept:
            new: set[str] = set()
            for row, message in zip(rows, messages, strict=True):
                if connection.execute(_INSERT, (self._number + 1, *row)).rowcount > 0:
                    self._number += 1
                    new.add(message.id)
            evicted: list[InboxMessage] = []
            for user in dict.fromkeys(row[1] for row in rows):
                evicted += self._settle(connection, _too_many(connection, user, capacity))
            return Kept(frozenset(new), evicted)

        size = sum(len(row[3]) for row in rows)
        return await self._write(
            put, lambda memory: memory.put(messages, capacity=capacity), size=size
        )

    async def pending(
        self, user: InboxUser, *, now: float, after: str | None = None, limit: int = 100
    ) -> list[InboxMessage]:
        """Return pending messages; see :class:`supervisor.inbox.base.Inbox`."""

        def pending(connection: sqlite3.Connection) -> list[InboxMessage]:
            return _messages(
                connection,
                "user = ? AND state = 0 AND expires > ? AND number > "
                "coalesce((SELECT number FROM inbox WHERE id = ?), 0) ORDER BY number LIMIT ?",
                (_user_key(user), now, None if after is None else _bytes(after), limit),
            )

        return await self._read(
            pending, lambda memory: memory.pending(user, now=now, after=after, limit=limit)
        )

    async def delivered(self, counts: Mapping[str, int]) -> None:
        """Remember how often that was; see :class:`supervisor.inbox.base.Inbox`."""
        rows = [(count, _bytes(id)) for id, count in counts.items()]

        def delivered(connection: sqlite3.Connection) -> None:
            connection.executemany(_DELIVERED, rows)

        await self._write(delivered, lambda memory: memory.delivered(counts))

    async def acknowledge(self, user: InboxUser, ids: Collection[str]) -> list[str]:
        """Settle; see :class:`supervisor.inbox.base.Inbox`."""
        key = _user_key(user)

        def acknowledge(connection: sqlite3.Connection) -> list[str]:
            settled = []
            for id in dict.fromkeys(ids):
                update = connection.execute(
                    "UPDATE inbox SET state = 2, over = ?, payload = x'' "
                    "WHERE id = ? AND user = ? AND state = 0",
                    (self._over + 1, _bytes(id), key),
                )
                if update.rowcount > 0:
                    self._count_over(connection)
                    settled.append(id)
            return settled

        return await self._write(acknowledge, lambda memory: memory.acknowledge(user, ids))

    async def bury(self, ids: Collection[str]) -> list[InboxMessage]:
        """Give messages up; see :class:`supervisor.inbox.base.Inbox`."""

        def bury(connection: sqlite3.Connection) -> list[InboxMessage]:
            buried: list[InboxMessage] = []
            for id in dict.fromkeys(ids):
                found = _messages(connection, "id = ? AND state = 0", (_bytes(id),))
                for message in found:
                    connection.execute(_OVER, (1, self._over + 1, _bytes(message.id)))
                    self._count_over(connection)
                buried += found
            oldest = connection.execute(
                "SELECT over FROM inbox WHERE state = 1 ORDER BY over DESC LIMIT 1 OFFSET ?",
                (DEAD_LETTERS,),
            ).fetchone()
            if oldest is not None:
                connection.execute(_FORGET_PAYLOAD, oldest)
            return buried

        return await self._write(bury, lambda memory: memory.bury(ids))

    async def dead(self, *, limit: int = 100) -> list[InboxMessage]:
        """Return dead letters; see :class:`supervisor.inbox.base.Inbox`."""

        def dead(connection: sqlite3.Connection) -> list[InboxMessage]:
            return _messages(connection, "state = 1 ORDER BY over DESC LIMIT ?", (limit,))

        return await self._read(dead, lambda memory: memory.dead(limit=limit))

    async def expire(self, *, now: float) -> list[InboxMessage]:
        """Drop what has expired; see :class:`supervisor.inbox.base.Inbox`."""

        def expire(connection: sqlite3.Connection) -> list[InboxMessage]:
            expired = _messages(
                connection,
                "state = 0 AND expires <= ? ORDER BY expires LIMIT ?",
                (now, EXPIRED_AT_ONCE),
            )
            return self._settle(connection, expired)

        return await self._write(expire, lambda memory: memory.expire(now=now))

    async def subscribe(self, room: str, user: InboxUser) -> bool:
        """Subscribe; see :class:`supervisor.inbox.base.Inbox`."""

        def subscribe(connection: sqlite3.Connection) -> bool:
            inserted = connection.execute(
                "INSERT INTO inbox_subscriptions (room, user) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (_bytes(room), _user_key(user)),
            )
            return inserted.rowcount > 0

        return await self._write(subscribe, lambda memory: memory.subscribe(room, user))

    async def unsubscribe(self, room: str, user: InboxUser) -> bool:
        """Undo it; see :class:`supervisor.inbox.base.Inbox`."""

        def unsubscribe(connection: sqlite3.Connection) -> bool:
            deleted = connection.execute(
                "DELETE FROM inbox_subscriptions WHERE room = ? AND user = ?",
                (_bytes(room), _user_key(user)),
            )
            return deleted.rowcount > 0

        return await self._write(unsubscribe, lambda memory: memory.unsubscribe(room, user))

    async def subscribers(self, room: str) -> list[InboxUser]:
        """Return who subscribed; see :class:`supervisor.inbox.base.Inbox`."""

        def subscribers(connection: sqlite3.Connection) -> list[InboxUser]:
            (joined,) = connection.execute(  # in one row: see SqliteFile.read
                "SELECT group_concat(hex(user), ' ') FROM "
                "(SELECT user FROM inbox_subscriptions WHERE room = ? ORDER BY number)",
                (_bytes(room),),
            ).fetchone()
            return [_user(bytes.fromhex(key)) for key in (joined or "").split()]

        return await self._read(subscribers, lambda memory: memory.subscribers(room))

    # ------------------------------------------------------------------------------ what is shared

    def _settle(
        self, connection: sqlite3.Connection, messages: list[InboxMessage]
    ) -> list[InboxMessage]:
        for message in messages:
            connection.execute(
                "UPDATE inbox SET state = 2, over = ?, payload = x'' WHERE id = ? AND state = 0",
                (self._over + 1, _bytes(message.id)),
            )
            self._count_over(connection)
        return messages

    def _count_over(self, connection: sqlite3.Connection) -> None:
        """One more message is not pending any more; forget the oldest of them now and then."""
        self._over += 1
        if self._over % _PRUNE_EVERY == 0:
            connection.execute(
                "DELETE FROM inbox WHERE state = 2 AND over <= ?", (self._over - REMEMBERED,)
            )

    def _prepare(self, connection: sqlite3.Connection, _: LastStop) -> None:
        self._memory = None
        (self._number,) = connection.execute(
            "SELECT coalesce(max(number), 0) FROM inbox"
        ).fetchone()
        (self._over,) = connection.execute(
            "SELECT max((SELECT coalesce(max(over), 0) FROM inbox WHERE state = 1),"
            " (SELECT coalesce(max(over), 0) FROM inbox WHERE state = 2))"
        ).fetchone()

    # ------------------------------------------------------------------------- the file, or memory

    async def _write(
        self,
        function: Callable[[sqlite3.Connection], T],
        elsewhere: Callable[[MemoryInbox], Coroutine[Any, Any, T]],
        size: int = 0,
    ) -> T:
        outcome: T = await self._file.write(_Operation(function, elsewhere, size))
        return outcome

    async def _read(
        self,
        query: Callable[[sqlite3.Connection], T],
        elsewhere: Callable[[MemoryInbox], Coroutine[Any, Any, T]],
    ) -> T:
        if self._memory is None:
            try:
                return await self._file.read(query)
            except StoreUnavailable:
                if self._memory is None:
                    raise
        return await elsewhere(self._memory)

    def _failed(self, error: StoreUnavailable, jobs: Sequence[Job]) -> bool:
        """Go on in memory, if that is wanted; called in the writer's thread."""
        if not self._falls_back:
            return False
        if self._memory is None:
            self._file.give_up()
            self._memory = self._what_can_be_read()
            if self._on_fall_back is not None:
                self._on_fall_back(error)
        for job in jobs:
            assert isinstance(job, _Operation)
            try:
                job.outcome = _run(job.elsewhere(self._memory))
            except StoreFull as full:
                job.outcome = full
        return True

    def _what_can_be_read(self) -> MemoryInbox:
        """Return subscriptions and pending messages of the file, as far as it still gives them."""
        memory = MemoryInbox()
        with (
            contextlib.suppress(sqlite3.Error, StoreFull),
            contextlib.closing(
                sqlite3.connect(
                    f"{self._file.path.resolve().as_uri()}?mode=ro", uri=True, timeout=1.0
                )
            ) as connection,
        ):
            for room, user in connection.execute(
                "SELECT room, user FROM inbox_subscriptions ORDER BY number"
            ):
                _run(memory.subscribe(_text(room), _user(user)))
            rows = connection.execute(_PENDING)
            while page := rows.fetchmany(1_000):
                _run(memory.put([_message(row) for row in page], capacity=sys.maxsize))
        return memory


def _messages(
    connection: sqlite3.Connection, where: str, values: Sequence[object]
) -> list[InboxMessage]:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM inbox WHERE {where}", values)  # noqa: S608
    return [_message(row) for row in rows.fetchall()]


def _too_many(connection: sqlite3.Connection, user: bytes, capacity: int) -> list[InboxMessage]:
    """Return the oldest pending messages of a user that has more than may be."""
    newest = connection.execute(
        "SELECT number FROM inbox WHERE user = ? AND state = 0 ORDER BY number DESC "
        "LIMIT 1 OFFSET ?",
        (user, capacity),
    ).fetchone()
    if newest is None:
        return []
    return _messages(
        connection, "user = ? AND state = 0 AND number <= ? ORDER BY number", (user, *newest)
    )


def _row(message: InboxMessage) -> tuple[Any, ...]:
    payload = message.payload
    return (
        _bytes(message.id),
        _user_key(message.user),
        None if message.room is None else _bytes(message.room),
        payload if isinstance(payload, bytes) else _bytes(payload),
        isinstance(payload, str),
        message.encoded,
        message.created,
        message.expires,
        message.deliveries,
    )


def _message(row: tuple[Any, ...]) -> InboxMessage:
    id, user, room, payload, is_text, encoded, created, expires, deliveries = row
    return InboxMessage(
        _text(id),
        _user(user),
        None if room is None else _text(room),
        _text(payload) if is_text else payload,
        bool(encoded),
        created,
        expires,
        deliveries,
    )


def _user_key(user: InboxUser) -> bytes:
    return b"s" + _bytes(user) if isinstance(user, str) else b"i%d" % user


def _user(key: bytes) -> InboxUser:
    return _text(key[1:]) if key[:1] == b"s" else int(key[1:])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run what never suspends."""
    try:
        work.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    raise AssertionError("a memory inbox waits for nothing")
