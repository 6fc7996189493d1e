"""
Who is in a room: a pure machine that only the room actor writes.

Members are grouped by wire format, so that a fan-out encodes once a format and walks
flat dictionaries. In a room that keeps its messages some members are *behind*: they are no part of
a fan-out, because they read on from what is kept, at their own speed. The membership outlives a
crashed room actor: its successor gets it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from actors.interfaces import Encoder

__all__ = ["Membership"]


class _Encoding(Protocol):
    @property
    def encoder(self) -> Encoder: ...


M = TypeVar("M", bound=_Encoding)


class Membership(Generic[M]):
    """Members in the order in which they joined, within their format."""

    __slots__ = ("_behind", "_groups")

    def __init__(self) -> None:
        self._groups: dict[Encoder, dict[M, None]] = {}
        self._behind: dict[M, None] = {}

    def join(self, member: M, *, behind: bool = False) -> bool:
        """Add ``member``; return whether it was none before."""
        if member in self:
            return False
        if behind:
            self._behind[member] = None
        else:
            self._groups.setdefault(member.encoder, {})[member] = None
        return True

    def leave(self, member: M) -> bool:
        """Remove ``member``; return whether it was one."""
        if member in self._behind:
            del self._behind[member]
            return True
        group = self._groups.get(member.encoder)
        if group is None or member not in group:
            return False
        del group[member]
        if not group:
            del self._groups[member.encoder]
        return True

    def fall_behind(self, member: M) -> None:
        """Take a member out of the fan-out."""
        self.leave(member)
        self._behind[member] = None

    def catch_up(self, member: M) -> None:
        """Take a member that was behind into the fan-out again."""
        del self._behind[member]
        self._groups.setdefault(member.encoder, {})[member] = None

    def groups(self) -> Iterator[tuple[Encoder, dict[M, None]]]:
        """Yield each format with its members, without those behind. Nobody may come or go meanwhile."""
        yield from self._groups.items()

    def live(self) -> list[M]:
        """Return the members that are not behind."""
        return [member for group in self._groups.values() for member in group]

    @property
    def behind(self) -> int:
        """How many members are behind."""
        return len(self._behind)

    def snapshot(self) -> list[M]:
        """Return all members now; may be called from any thread."""
        live = [member for group in list(self._groups.values()) for member in list(group)]
        return live + list(self._behind)

    def __contains__(self, member: M) -> bool:
        return member in self._groups.get(member.encoder, ()) or member in self._behind

    def __len__(self) -> int:
        return sum(len(group) for group in self._groups.values()) + len(self._behind)

    def __bool__(self) -> bool:
        return bool(self._groups) or bool(self._behind)
