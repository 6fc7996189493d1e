"""
The rooms of a session, and where it begins there: what an endpoint says, possibly in the words of its client.

A client's words come from its URL, ``/ws/{room}?since=EPOCH:OFFSET`` or ``?tail=100``; an endpoint
passes them on as they are, and they are checked here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from actors.exits import CloseCode
from actors.positions import Position
from actors.replay import Replay
from supervisor.bounds import LARGEST
from supervisor.errors import ConnectionRefused, InvalidRoomName
from supervisor.policies import RoomPolicies
from supervisor.room_names import room_name

__all__ = ["Since", "Tail", "begin_in", "check_names", "parse_position"]

Since = Position | tuple[str, int] | str
"""A position, or ``"EPOCH:OFFSET"`` from a client; empty if it has none."""

Tail = int | str
"""A number of messages, or its digits from a client; empty if it gives none."""

T = TypeVar("T")


def parse_position(text: str) -> Position:
    """
    Return the position that ``text``, ``EPOCH:OFFSET``, names.

    Raises:
        ValueError: If it names none.
    """
    epoch, colon, digits = text.rpartition(":")
    if colon and len(epoch) <= 64 and epoch.isprintable() and ":" not in epoch:
        offset = _number(digits)
        if offset is not None:
            return Position(epoch, offset)
    raise ValueError(f"a position is EPOCH:OFFSET, such as 5f2a9c0d1e3b4a67:120, not {text[:80]!r}")


def check_names(rooms: Iterable[str]) -> None:
    """
    Check that rooms can be called that.

    Raises:
        ConnectionRefused: With 3501, if one cannot: its name may be the words of a client.
    """
    for room in rooms:
        try:
            room_name(room)
        except InvalidRoomName as error:
            raise ConnectionRefused(CloseCode.BAD_REQUEST, str(error), 400) from None


def begin_in(
    rooms: Iterable[str],
    policies: RoomPolicies,
    since: Since | Mapping[str, Since] | None,
    tail: Tail | Mapping[str, Tail] | None,
) -> dict[str, Replay]:
    """
    Return where to begin in those of ``rooms`` for which that is said; ``since`` before ``tail``.

    What is said is checked for rooms, too, that have no use for it, because they keep nothing.

    Raises:
        ConnectionRefused: With 3501, if the words of a client say nothing.
        TypeError: If one position is given for several rooms that keep messages, or anything for a
            room that is none of ``rooms``; where it comes from a client, that is refused. And if it
            is neither a position nor a number.
        ValueError: If an offset or a number is negative.
    """
    rooms = list(rooms)
    keeping = [room for room in rooms if policies.resolve(room).keeps]
    logs = [room for room in keeping if policies.resolve(room).feed == "log"]
    begins: dict[str, Replay] = {}
    counts: dict[str, Tail] = _by_room("tail", tail, rooms)
    for room, count in counts.items():
        replay = Replay(tail=_tail(count))
        if room in logs:
            begins[room] = replay
    if _is_given(since) and not isinstance(since, Mapping) and len(keeping) > 1:
        text = f"a position is one of a single room, and {len(keeping)} of these keep messages"
        raise _wrong("since", since, text, f"{text}: since={{{keeping[0]!r}: ...}}")
    positions: dict[str, Since] = _by_room("since", since, rooms)
    for room, position in positions.items():
        replay = Replay(since=_position(position))
        if room in keeping:
            begins[room] = replay
    return begins


def _is_given(value: object) -> bool:
    """Whether anything is said: a client that has nothing to say may send an empty word."""
    return value is not None and value != ""


def _by_room(name: str, value: T | Mapping[str, T] | None, rooms: list[str]) -> dict[str, T]:
    """Return what is said of each of ``rooms`` of which anything is."""
    if value is None or not _is_given(value):
        return {}
    if not isinstance(value, Mapping):
        return dict.fromkeys(rooms, value)
    given = {room: said for room, said in value.items() if _is_given(said)}
    for room, said in given.items():
        if room not in rooms:
            text = f"{str(room)[:80]!r} is none of the rooms that are joined"
            raise _wrong(name, said, text, f"{name}: {text}: {', '.join(rooms) or 'none'}")
    return given


def _wrong(name: str, said: object, refusal: str, mistake: str) -> Exception:
    """Return the error for ``said``: a refusal of a client that may have made it up, or a mistake."""
    if isinstance(said, str):
        return ConnectionRefused(CloseCode.BAD_REQUEST, f"{name}: {refusal}", 400)
    return TypeError(mistake)


def _position(since: Since) -> Position:
    if not isinstance(since, str):
        if isinstance(since, tuple) and [type(part) for part in since] == [str, int]:
            return Position(*since)
        raise TypeError(
            f"since: a Position, (epoch, offset) or 'EPOCH:OFFSET', not {_short(since)}"
        )
    try:
        return parse_position(since)
    except ValueError as error:
        raise ConnectionRefused(CloseCode.BAD_REQUEST, f"since: {error}", 400) from None


def _tail(tail: Tail) -> int:
    if not isinstance(tail, str):
        if not isinstance(tail, int) or isinstance(tail, bool):
            raise TypeError(f"tail: a number of messages, an int, not {_short(tail)}")
        return tail
    count = _number(tail)
    if count is None:
        text = f"tail: a number of messages, not {tail[:80]!r}"
        raise ConnectionRefused(CloseCode.BAD_REQUEST, text, 400)
    return count


def _short(value: object) -> str:
    return repr(value)[:80]


def _number(digits: str) -> int | None:
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 19):
        return None
    number = int(digits)
    return number if number <= LARGEST else None
