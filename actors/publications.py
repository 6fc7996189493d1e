"""A message in a room, on its way to the members: encoded at most once for each wire format."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, NamedTuple

from actors.positions import NOWHERE, Position

if TYPE_CHECKING:
    from actors.interfaces import Encoder
    from actors.messages import Frame

__all__ = ["Line", "Origin", "Publication"]

_MISSING = object()

_NOBODY: frozenset[Hashable] = frozenset()


class Publication:
    """
    A message in a room, on its way to the members.

    Attributes:
        room: The room, as wire formats name it that say where a message comes from.
        key: Newest of a key replaces older ones that still wait, per member.
        exclude: Members that do not get it.
        position: Its place in a room that keeps its messages; its offset is 0 in any other.
        removed: Whether it says that ``key`` has no value any more; then there is no data.
        ended: Whether it says that the room has ended; then it has the place of the last message.
        expires: Unix time in seconds from which on it is worth nothing; None: never.
        id: By which a client acknowledges it; None if it need not.
        size: Bytes of the first encoding.
    """

    __slots__ = (
        "_data",
        "_decode",
        "_encoder",
        "_frame",
        "_others",
        "ended",
        "exclude",
        "expires",
        "id",
        "key",
        "position",
        "removed",
        "room",
        "size",
    )

    def __init__(
        self,
        data: object,
        encoder: Encoder,
        *,
        room: Hashable = None,
        key: Hashable | None = None,
        exclude: frozenset[Hashable] = _NOBODY,
    ) -> None:
        frame = encoder.encode(data)
        self.room = room
        self.key = key
        self.exclude = exclude
        self.position: Position = NOWHERE
        self.removed = False
        self.ended = False
        self.expires: float | None = None
        self.id: str | None = None
        self.size = frame.size
        self._data = data
        self._decode: Callable[[Frame], object] | None = None
        self._encoder = encoder
        self._frame: Frame | None = frame  # in the format of `_encoder`
        self._others: dict[Encoder, Frame | None] | None = None  # made when somebody needs one

    @classmethod
    def of_frame(
        cls,
        frame: Frame | None,
        encoder: Encoder,
        decode: Callable[[Frame], object],
        *,
        room: Hashable,
        key: Hashable | None = None,
        position: Position = NOWHERE,
        removed: bool = False,
        expires: float | None = None,
    ) -> Publication:
        """
        Return a publication that was encoded before, as a store keeps it.

        Args:
            frame: In the format of ``encoder``; None for one without data.
            encoder: Whose format that is.
            decode: Returns the data of a frame, when another format needs it.
            room: The room.
            key: See the class.
            position: See the class, as are the next two.
            removed: Whether ``key`` has no value any more.
            expires: When it is worth nothing.
        """
        # One by one, and here: a page of a store has hundreds, while members of the room wait.
        publication = cls.__new__(cls)
        publication.room = room
        publication.key = key
        publication.exclude = _NOBODY
        publication.position = position
        publication.removed = removed
        publication.ended = False
        publication.expires = expires
        publication.id = None
        publication.size = 0 if frame is None else frame.size
        publication._data = _MISSING  # noqa: SLF001 - ours, as are the next four
        publication._decode = decode  # noqa: SLF001
        publication._encoder = encoder  # noqa: SLF001
        publication._frame = frame  # noqa: SLF001
        publication._others = None  # noqa: SLF001
        return publication

    @property
    def data(self) -> object:
        """
        What the application published; None for a publication without data.

        Do not change it: it is encoded for a second wire format only when a member needs that.
        """
        if self._data is _MISSING:
            assert self._decode is not None
            self._data = None if self._frame is None else self._decode(self._frame)
        return self._data

    @property
    def silent(self) -> bool:
        """Whether it carries no data, so that only some wire formats have words for it."""
        return self.removed or self.ended

    def plain_frame(self, encoder: Encoder) -> Frame | None:
        """Return the data alone in the format of ``encoder``, if it was encoded so already."""
        return self._frame if encoder is self._encoder else None

    def frame(self, encoder: Encoder) -> Frame | None:
        """Return it in the format of ``encoder``, encoded at most once; None: it has no words."""
        if encoder is self._encoder:
            return self._frame
        others = self._others
        if others is None:
            others = self._others = {}
        elif encoder in others:
            return others[encoder]
        frame = others[encoder] = encoder.publication(self)
        return frame


class Origin(NamedTuple):
    """
    What the messages of a page have in common.

    Attributes:
        room: The room.
        epoch: Of their positions.
        encoder: Whose format their frames are in.
        decode: Returns the data of a frame.
    """

    room: Hashable
    epoch: str
    encoder: Encoder
    decode: Callable[[Frame], object]


class Line(Publication):
    """
    A message of a log, as it comes from the store: its position is made when it is asked for.

    A client that reads a log again takes thousands, and of most nobody asks where they are.

    Args:
        frame: What was kept of it.
        offset: Of its position.
        origin: The rest.
    """

    __slots__ = ("_epoch", "_offset")

    def __init__(self, frame: Frame, offset: int, origin: Origin) -> None:
        self.room, self._epoch, self._encoder, self._decode = origin
        self.size = frame.size
        self._frame = frame
        self._offset = offset
        self.key = self.expires = self.id = self._others = None
        self.removed = self.ended = False
        self.exclude = _NOBODY
        self._data = _MISSING

    @property
    def position(self) -> Position:  # type: ignore[override]  # nobody sets that of a line
        """Its place in the room."""
        return Position(self._epoch, self._offset)
