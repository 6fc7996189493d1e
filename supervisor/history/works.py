"""
What can be done to rooms in a SQLite file, as jobs that wait: for :mod:`supervisor.history.sqlite`.

They check what the file would refuse while the caller is still there to be told; done they are by
:mod:`supervisor.history.writing`.
"""

from __future__ import annotations

import math

from supervisor.history.base import Durability, Entry, Retention
from supervisor.sqlite import Job

__all__ = ["Append", "End", "Remove", "Work"]


class Work(Job):
    """A change of a room."""

    __slots__ = ("room", "room_id")

    def __init__(self, room: str, size: int = 0) -> None:
        super().__init__(size)
        if not room.isascii():
            room.encode()  # what SQLite refuses would cost the whole group
        self.room = room
        self.room_id = 0  # set when it is applied


class Append(Work):
    """See :meth:`supervisor.history.base.History.append`."""

    __slots__ = ("durability", "entry", "expect_offset", "idempotency_key", "retention")

    def __init__(
        self,
        room: str,
        entry: Entry,
        retention: Retention,
        *,
        durability: Durability,
        idempotency_key: str | None,
        expect_offset: int | None,
    ) -> None:
        super().__init__(room, entry.size)
        if idempotency_key is not None and not idempotency_key.isascii():
            idempotency_key.encode()
        if entry.expires is not None and math.isnan(entry.expires):
            raise ValueError("expires is not a number")
        self.entry = entry
        self.retention = retention
        self.durability = durability
        self.idempotency_key = idempotency_key
        self.expect_offset = expect_offset


class End(Work):
    """See :meth:`supervisor.history.base.History.end`."""

    __slots__ = ()


class Remove(Work):
    """See :meth:`supervisor.history.base.History.remove`."""

    __slots__ = ()
