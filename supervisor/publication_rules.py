"""What may be published to rooms of each class; checked before anything is done."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import TYPE_CHECKING

from supervisor.errors import InvalidPublication

if TYPE_CHECKING:
    from supervisor.room_policy import RoomPolicy

__all__ = ["MAX_IDEMPOTENCY_KEY", "check_append", "check_publication"]

MAX_IDEMPOTENCY_KEY = 255
"""Characters of an idempotency key, at most."""


def check_append(idempotency_key: object, expect_offset: object) -> None:
    """
    Check what is asked of an append beside its data.

    Raises:
        InvalidPublication: If the key is no text of that length, or the offset none.
    """
    if idempotency_key is not None and not (
        isinstance(idempotency_key, str)
        and 1 <= len(idempotency_key) <= MAX_IDEMPOTENCY_KEY
        and _is_unicode(idempotency_key)
    ):
        was = (
            f"{idempotency_key[:80]!r} ({len(idempotency_key)} characters)"
            if isinstance(idempotency_key, str)
            else f"{type(idempotency_key).__name__} {repr(idempotency_key)[:80]}"
        )
        raise InvalidPublication(
            f"idempotency_key is a str of 1 to {MAX_IDEMPOTENCY_KEY} characters that UTF-8 can "
            f"express, not {was}"
        )
    if expect_offset is not None and (
        not isinstance(expect_offset, int) or isinstance(expect_offset, bool) or expect_offset < 0
    ):
        raise InvalidPublication(f"expect_offset is an int from 0, not {expect_offset!r}")


def check_publication(
    room: Hashable,
    policy: RoomPolicy,
    key: Hashable | None,
    exclude: frozenset[Hashable],
    ttl: float | None,
) -> None:
    """
    Check that a room of such a policy has a use for the arguments, and has those that it needs.

    Raises:
        InvalidPublication: If not; the text says which, and what is allowed.
    """
    if ttl is not None and policy.feed != "status":
        raise InvalidPublication(
            f"room {room!r} is of the class {policy.feed}; ttl is for the keys of status rooms"
        )
    if ttl is not None and (not isinstance(ttl, int | float) or not 0 < ttl < math.inf):
        raise InvalidPublication(f"ttl is a finite number of seconds above 0, not {ttl!r}")
    if policy.feed == "status" and not isinstance(key, str):
        raise InvalidPublication(
            f"room {room!r} is of the class status: a message there is the value of a key, "
            f"key=, which is a str, not {key!r}"
        )
    if policy.feed == "status" and not _is_unicode(str(key)):
        raise InvalidPublication(f"key= is text that UTF-8 can express, not {key!r}")
    if policy.feed in {"log", "alert"} and key is not None:
        raise InvalidPublication(
            f"room {room!r} is of the class {policy.feed}, where every message counts; key= is "
            "for event and status rooms"
        )
    if policy.feed != "event" and exclude:
        raise InvalidPublication(
            f"room {room!r} is of the class {policy.feed} and keeps its messages for all; "
            "exclude= is for event rooms"
        )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
