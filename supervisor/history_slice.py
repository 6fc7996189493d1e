"""What applications read of a room that keeps its messages: a page, with the data as it was published."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from actors.positions import Position
from supervisor.bounds import check_number
from supervisor.history.base import PAGE_RECORDS, Page, Record

__all__ = ["HistorySlice", "KeptMessage", "check_bounds"]


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """
    A message that a room keeps.

    Attributes:
        offset: Its number in the room.
        time: When it was published: Unix time in seconds.
        data: What was published; of what was encoded as JSON, what JSON makes of it.
        key: Whose value it is, in a status room; else None.
        removed: Whether it says that the key has no value any more.
        expires: Unix time in seconds from which on it is worth nothing; None: never.
    """

    offset: int
    time: float
    data: Any
    key: str | None = None
    removed: bool = False
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class HistorySlice:
    """
    A page of what a room keeps, and where the room stood when it was read.

    Attributes:
        messages: In the order that was asked for.
        position: The place after the newest message; its offset is 0 if there never was one.
        lost: Offset of the newest message that is kept no longer; 0 if none.
        ended: Whether nothing more will come.
        more: Whether there are further messages in that direction.
    """

    messages: list[KeptMessage]
    position: Position
    lost: int
    ended: bool
    more: bool

    @classmethod
    def of(cls, page: Page) -> HistorySlice:
        """Return ``page`` with the data of its messages."""
        state = page.state
        messages = [
            KeptMessage(
                record.offset,
                record.time,
                _record_data(record),
                record.key,
                record.removed,
                record.expires,
            )
            for record in page.records
        ]
        return cls(messages, state.top, state.lost, state.ended, page.more)


def _record_data(record: Record) -> Any:
    if record.removed:
        return None
    return json.loads(record.payload) if record.encoded else record.payload


def check_bounds(after: int, before: int | None, limit: int) -> None:
    """
    Check what an application asks for.

    Raises:
        ValueError: If a number is out of its bounds.
    """
    check_number("after", after, 0)
    if before is not None:
        check_number("before", before, 0)
    check_number("limit", limit, 1, PAGE_RECORDS)
