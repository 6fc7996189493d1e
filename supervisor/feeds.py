"""
Rooms that keep their messages: what their actors get to know of the history, and of their policy.

What was published as ``str`` or ``bytes`` is kept as it is, everything else as JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from typing import TypeVar, overload

from actors.feed import Feed
from actors.interfaces import FaultReporter, HistoryPage, Member, RoomListener
from actors.membership import Membership
from actors.messages import Frame
from actors.overflow import Overflow
from actors.positions import Position
from actors.publications import Line, Origin, Publication
from actors.replay import Replay
from actors.runtime import Runtime
from supervisor.codecs.json import JsonCodec
from supervisor.history.base import Entry, History, Record
from supervisor.history.lines import Lines
from supervisor.inbox.base import Inbox
from supervisor.policies import RoomPolicies, RoomPolicy

__all__ = ["Feeds", "StoredRoom", "decoded", "entry_of"]

M = TypeVar("M", bound=Member)

_new = tuple.__new__  # a named tuple's own constructor costs twice as much


class Feeds:
    """
    What rooms are to keep, and where.

    Attributes:
        policies: Policies by the pattern of rooms.
        history: Keeps the messages.
        inbox: Keeps who is addressed by alert rooms.
        codec: What messages are encoded with.
    """

    def __init__(
        self, policies: RoomPolicies, history: History, inbox: Inbox, codec: JsonCodec
    ) -> None:
        self.policies = policies
        self.history = history
        self.inbox = inbox
        self.codec = codec

    def open(
        self,
        room: Hashable,
        policy: RoomPolicy,
        membership: Membership[M],
        *,
        listener: RoomListener[M],
        on_fault: FaultReporter,
        runtime: Runtime,
    ) -> Feed[M]:
        """Return the feed of a room whose policy keeps messages."""
        assert isinstance(room, str)  # no other room has a policy
        return Feed(
            room,
            StoredRoom(room, self.history, self.codec),
            membership,
            listener=listener,
            on_fault=on_fault,
            runtime=runtime,
            compact=policy.retention.compact,
            overflow=policy.overflow or Overflow.CURSOR,
            on_join=_begin(policy),
            close_on_gap=policy.on_gap == "close",
            label=policy.feed,
        )


def _begin(policy: RoomPolicy) -> Replay:
    if isinstance(policy.on_join, int):
        return Replay(tail=policy.on_join)
    return Replay(live=policy.on_join == "live")


def entry_of(publication: Publication, codec: JsonCodec) -> Entry:
    """Return what is kept of ``publication``, which was encoded with ``codec``."""
    frame = publication.frame(codec)
    key = publication.key
    assert key is None or isinstance(key, str)  # the supervisor has checked that
    if frame is None:
        return Entry("", False, key, publication.removed, publication.expires)
    return _new(Entry, (frame.payload, frame.encoded, key, False, publication.expires))


class StoredRoom:
    """
    One room in a history; see :class:`actors.interfaces.RoomHistory`.

    Args:
        room: Its name.
        history: Where it is.
        codec: What payloads were encoded with.
    """

    def __init__(self, room: str, history: History, codec: JsonCodec) -> None:
        self._room = room
        self._history = history
        self._codec = codec

    async def look(self) -> HistoryPage:
        """Return where the room stands."""
        state = await self._history.state(self._room)
        return HistoryPage((), state.top, state.lost, state.ended)

    async def read(self, after: int, *, limit: int, size: int) -> HistoryPage:
        """Return messages after ``after``."""
        page = await self._history.read(self._room, after=after, limit=limit, size=size)
        state = page.state
        publications = _Publications(page.records, self._room, state.top.epoch, self._codec)
        return HistoryPage(publications, state.top, state.lost, state.ended)


class _Publications(Sequence[Publication]):
    """
    Records of a room as publications, which are made when they are taken out.

    A page that was made at once would have the garbage collector look at all objects of the process
    every few pages, for nothing: most of a page goes to its socket within a turn.
    """

    __slots__ = ("_codec", "_epoch", "_records", "_room")

    def __init__(self, records: Sequence[Record], room: str, epoch: str, codec: JsonCodec) -> None:
        self._records = records
        self._room = room
        self._epoch = epoch
        self._codec = codec

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, place: int) -> Publication: ...

    @overload
    def __getitem__(self, place: slice) -> list[Publication]: ...

    def __getitem__(self, place: int | slice) -> Publication | list[Publication]:
        if isinstance(place, slice):
            return self._made(self._records[place])
        return self._made([self._records[place]])[0]

    def _made(self, records: Sequence[Record]) -> list[Publication]:
        of_frame, room, epoch, codec = Publication.of_frame, self._room, self._epoch, self._codec
        if isinstance(records, Lines):
            origin, encoded = Origin(room, epoch, codec, decoded), records.encoded
            return [
                Line(Frame(payload, encoded), offset, origin)
                for offset, payload in zip(records.offsets, records.payloads, strict=True)
            ]
        return [
            of_frame(
                None if removed else Frame(payload, encoded),
                codec,
                decoded,
                room=room,
                key=key,
                position=_new(Position, (epoch, offset)),
                removed=removed,
                expires=expires,
            )
            for offset, _, payload, encoded, key, removed, expires in records
        ]


def decoded(frame: Frame) -> object:
    """Return the data that a frame carries: of JSON text what JSON makes of it."""
    return json.loads(frame.payload) if frame.encoded else frame.payload
