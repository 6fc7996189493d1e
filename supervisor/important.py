"""
Important messages: what waits in the inbox of a user until it is acknowledged.

From data to messages of an inbox, and from those to what a client gets, and what the application's
hook is told. Who is given what and when is for :mod:`supervisor.inboxes`.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from actors.messages import Frame
from actors.publications import Publication
from supervisor.codecs.formats import Formats
from supervisor.connection import Connection
from supervisor.errors import InvalidPublication
from supervisor.inbox.base import InboxMessage, InboxUser, has_inbox

__all__ = ["ImportantMessage", "Letters", "check_ids", "inbox_user"]


@dataclass(frozen=True, slots=True)
class ImportantMessage:
    """
    A message that waits, or waited, for a user's acknowledgement.

    Attributes:
        id: By which it is acknowledged; the same in every delivery.
        user: Whose it is.
        room: The alert room that it was published to; None if it was sent to the user.
        data: What was sent; of what was encoded as JSON, what JSON makes of it.
        created: Unix time in seconds.
        expires: Unix time in seconds from which on it is not delivered any more.
        deliveries: How often it was given to clients that did not acknowledge it: 0 where
            ``on_offline`` is told that the user is away, ``max_deliveries`` where it is told that
            it was given up.
    """

    id: str
    user: InboxUser
    room: str | None
    data: Any
    created: float
    expires: float
    deliveries: int

    @classmethod
    def of(cls, message: InboxMessage) -> ImportantMessage:
        """Return ``message`` with its data."""
        return cls(
            message.id,
            message.user,
            message.room,
            json.loads(message.payload) if message.encoded else message.payload,
            message.created,
            message.expires,
            message.deliveries,
        )


def inbox_user(user: Hashable) -> InboxUser:
    """
    Return ``user``, who can have an inbox.

    Raises:
        InvalidPublication: If not: what waits on disk needs a name.
    """
    if not has_inbox(user):
        raise InvalidPublication(
            f"an inbox is that of a user who is a str or an int, not {type(user).__name__}"
        )
    return user


def check_ids(ids: Iterable[object]) -> None:
    """
    Check that messages can have these ids.

    Raises:
        TypeError: If not.
    """
    for each in ids:
        if not isinstance(each, str):
            raise TypeError(f"the id of an important message is a str, not {repr(each)[:80]}")


class Letters:
    """
    Makes messages of inboxes, and frames of them.

    Args:
        formats: The wire formats.
        clock: Returns Unix time in seconds.
    """

    def __init__(self, formats: Formats, clock: Callable[[], float] = time.time) -> None:
        self._formats = formats
        self._clock = clock

    def write(
        self,
        publication: Publication,
        users: Iterable[InboxUser],
        *,
        room: str | None,
        lasts: float,
        idempotency_key: str | None = None,
    ) -> list[InboxMessage]:
        """
        Return a message for each of ``users``.

        Args:
            publication: What it says.
            users: Who gets one.
            room: The alert room; None if it is sent to the user.
            lasts: Seconds until it expires.
            idempotency_key: With the same key, room and user the id is the same.
        """
        frame = publication.frame(self._formats.json)
        assert frame is not None  # it carries data
        now = self._clock()
        return [
            InboxMessage(
                id=_id(now) if idempotency_key is None else _same_id(idempotency_key, room, user),
                user=user,
                room=room,
                payload=frame.payload,
                encoded=frame.encoded,
                created=now,
                expires=now + lasts,
            )
            for user in users
        ]

    def frame(self, connection: Connection, message: InboxMessage) -> tuple[Frame, bool]:
        """Return a message as ``connection`` gets it, and whether its client acknowledges."""
        publication = Publication.of_frame(
            Frame(message.payload, encoded=message.encoded),
            self._formats.json,
            lambda frame: json.loads(frame.payload) if frame.encoded else frame.payload,
            room=message.room,
        )
        publication.id = message.id
        publication.expires = message.expires
        encoder = connection.actor.encoder
        frame = publication.frame(encoder)
        assert frame is not None  # it carries data
        return frame, self._formats.is_envelope(encoder)


def _id(now: float) -> str:
    """Return an id nobody else has made; those made later sort later, to the millisecond."""
    return f"{int(now * 1000):012x}{secrets.token_hex(10)}"


def _same_id(idempotency_key: str, room: str | None, user: InboxUser) -> str:
    said = repr((idempotency_key, room, user)).encode("utf-8", "surrogatepass")
    return hashlib.sha256(said).hexdigest()[:32]
