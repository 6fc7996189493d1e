"""
How inboxes lie in a SQLite file: for :mod:`supervisor.inbox.sqlite`.

One table of messages, in which they stay a while after they are settled, and one of who subscribed to
what. What was settled leaves its id behind, without its payload, so that it is not kept again. Knows
nothing of threads and transactions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from supervisor.inbox.base import (
    DEAD_LETTERS,
    EXPIRED_AT_ONCE,
    REMEMBERED,
    InboxMessage,
    InboxUser,
    Kept,
)

__all__ = [
    "SCHEMA",
    "InboxTables",
    "Row",
    "read_all_pending",
    "read_all_subscriptions",
    "read_dead",
    "read_pending",
    "read_subscribers",
    "row_of",
]

Row = tuple[bytes, bytes, bytes | None, bytes, bool, bool, float, float, int]
"""A message, as it lies in the columns of :data:`_COLUMNS`."""

SCHEMA = (
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

_SETTLE = (
    "UPDATE inbox SET state = 2, over = ?, payload = x'' WHERE id = ? AND user = ? AND state = 0"
)

_BURY = "UPDATE inbox SET state = 1, over = ? WHERE id = ? AND state = 0"

_PRUNE_EVERY = 1_000
"""Settled messages between two times that the oldest ids are forgotten."""


class InboxTables:
    """
    What is written, and the numbers that are given out with it; for one thread at a time.

    Every method takes the connection, inside a transaction. If that is undone, numbers are left out.
    """

    def __init__(self) -> None:
        self._number = 0  # of the newest message
        self._over = 0  # of the last that was settled or given up

    def prepare(self, connection: sqlite3.Connection) -> None:
        """Go on with the numbers of a file; before anything else."""
        (self._number,) = connection.execute(
            "SELECT coalesce(max(number), 0) FROM inbox"
        ).fetchone()
        (self._over,) = connection.execute(
            "SELECT max((SELECT coalesce(max(over), 0) FROM inbox WHERE state = 1),"
            " (SELECT coalesce(max(over), 0) FROM inbox WHERE state = 2))"
        ).fetchone()

    def put(
        self,
        connection: sqlite3.Connection,
        messages: Sequence[InboxMessage],
        rows: Sequence[Row],
        capacity: int,
    ) -> Kept:
        """Keep ``messages``, whose rows were made before; let go of what is too many."""
        new: set[str] = set()
        for row, message in zip(rows, messages, strict=True):
            if connection.execute(_INSERT, (self._number + 1, *row)).rowcount > 0:
                self._number += 1
                new.add(message.id)
        evicted: list[InboxMessage] = []
        for user in dict.fromkeys(row[1] for row in rows):
            evicted += self._settle(connection, _too_many(connection, user, capacity))
        return Kept(frozenset(new), evicted)

    def delivered(self, connection: sqlite3.Connection, counts: Mapping[str, int]) -> None:
        """Remember how often messages were delivered; the most counts."""
        connection.executemany(_DELIVERED, [(count, _bytes(id)) for id, count in counts.items()])

    def acknowledge(
        self, connection: sqlite3.Connection, user: InboxUser, ids: Collection[str]
    ) -> list[str]:
        """Settle messages of ``user``; return those that were pending."""
        key = _user_key(user)
        return [id for id in dict.fromkeys(ids) if self._settle_one(connection, id, key)]

    def bury(self, connection: sqlite3.Connection, ids: Collection[str]) -> list[InboxMessage]:
        """Give messages up; return those that were pending."""
        buried: list[InboxMessage] = []
        for id in dict.fromkeys(ids):
            found = _messages(connection, "id = ? AND state = 0", (_bytes(id),))
            for message in found:
                connection.execute(_BURY, (self._over + 1, _bytes(message.id)))
                self._count_over(connection)
            buried += found
        oldest = connection.execute(
            "SELECT over FROM inbox WHERE state = 1 ORDER BY over DESC LIMIT 1 OFFSET ?",
            (DEAD_LETTERS,),
        ).fetchone()
        if oldest is not None:
            connection.execute(
                "UPDATE inbox SET payload = x'', state = 2 WHERE state = 1 AND over <= ?", oldest
            )
        return buried

    def expire(self, connection: sqlite3.Connection, now: float) -> list[InboxMessage]:
        """Drop some of what has expired by ``now``; return it."""
        expired = _messages(
            connection,
            "state = 0 AND expires <= ? ORDER BY expires LIMIT ?",
            (now, EXPIRED_AT_ONCE),
        )
        return self._settle(connection, expired)

    def subscribe(self, connection: sqlite3.Connection, room: str, user: InboxUser) -> bool:
        """Return whether that is new."""
        inserted = connection.execute(
            "INSERT INTO inbox_subscriptions (room, user) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (_bytes(room), _user_key(user)),
        )
        return inserted.rowcount > 0

    def unsubscribe(self, connection: sqlite3.Connection, room: str, user: InboxUser) -> bool:
        """Return whether there was anything to undo."""
        deleted = connection.execute(
            "DELETE FROM inbox_subscriptions WHERE room = ? AND user = ?",
            (_bytes(room), _user_key(user)),
        )
        return deleted.rowcount > 0

    def _settle(
        self, connection: sqlite3.Connection, messages: list[InboxMessage]
    ) -> list[InboxMessage]:
        for message in messages:
            self._settle_one(connection, message.id, _user_key(message.user))
        return messages

    def _settle_one(self, connection: sqlite3.Connection, id: str, user: bytes) -> bool:
        update = connection.execute(_SETTLE, (self._over + 1, _bytes(id), user))
        if update.rowcount <= 0:
            return False
        self._count_over(connection)
        return True

    def _count_over(self, connection: sqlite3.Connection) -> None:
        """One more message is not pending any more; forget the oldest of them now and then."""
        self._over += 1
        if self._over % _PRUNE_EVERY == 0:
            connection.execute(
                "DELETE FROM inbox WHERE state = 2 AND over <= ?", (self._over - REMEMBERED,)
            )


# What is read, from any connection.


def read_pending(
    connection: sqlite3.Connection, user: InboxUser, now: float, after: str | None, limit: int
) -> list[InboxMessage]:
    """Return pending messages of ``user``; see :meth:`supervisor.inbox.base.Inbox.pending`."""
    return _messages(
        connection,
        "user = ? AND state = 0 AND expires > ? AND number > "
        "coalesce((SELECT number FROM inbox WHERE id = ?), 0) ORDER BY number LIMIT ?",
        (_user_key(user), now, None if after is None else _bytes(after), limit),
    )


def read_dead(connection: sqlite3.Connection, limit: int) -> list[InboxMessage]:
    """Return the newest dead letters, the newest first."""
    return _messages(connection, "state = 1 ORDER BY over DESC LIMIT ?", (limit,))


def read_subscribers(connection: sqlite3.Connection, room: str) -> list[InboxUser]:
    """Return who subscribed to ``room``, in that order."""
    (joined,) = connection.execute(  # in one row: see SqliteFile.read
        "SELECT group_concat(hex(user), ' ') FROM "
        "(SELECT user FROM inbox_subscriptions WHERE room = ? ORDER BY number)",
        (_bytes(room),),
    ).fetchone()
    return [_user(bytes.fromhex(key)) for key in (joined or "").split()]


def read_all_subscriptions(connection: sqlite3.Connection) -> Iterator[tuple[str, InboxUser]]:
    """Yield all rooms and who subscribed to them, as far as they can be read."""
    for room, user in connection.execute(
        "SELECT room, user FROM inbox_subscriptions ORDER BY number"
    ):
        yield _text(room), _user(user)


def read_all_pending(connection: sqlite3.Connection) -> Iterator[list[InboxMessage]]:
    """Yield the pending messages of all users, some at a time, as far as they can be read."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM inbox WHERE state = 0 ORDER BY number")  # noqa: S608
    while page := rows.fetchmany(1_000):
        yield [_message(row) for row in page]


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


# Messages, users and texts, in rows.


def row_of(message: InboxMessage) -> Row:
    """Return what :meth:`InboxTables.put` keeps of a message; the fourth column is its payload."""
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
