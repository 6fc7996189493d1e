"""
Who is in a room: a pure machine that only the room actor writes.

Members are grouped by wire format, so that a fan-out encodes once a format and walks
flat dictionaries. The membership outlives a crashed room actor: its successor gets it.
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

    __slots__ = ("_groups",)

    def __init__(self) -> None:
        self._groups: dict[Encoder, dict[M, None]] = {}

    def join(self, member: M) -> bool:
        """Add ``member``; return whether it was none before."""
        group = self._groups.get(member.encoder)
        if group is None:
            group = self._groups[member.encoder] = {}
        elif member in group:
            return False
        group[member] = None
        return True

    def leave(self, member: M) -> bool:
        """Remove ``member``; return whether it was one."""
        group = self._groups.get(member.encoder)
        if group is None or member not in group:
            return False
        del group[member]
        if not group:
            del self._groups[member.encoder]
        return True

    def groups(self) -> Iterator[tuple[Encoder, dict[M, None]]]:
        """Yield each format with its members. Nobody may join or leave meanwhile."""
        yield from self._groups.items()

    def snapshot(self) -> list[M]:
        """Return all members now; may be called from any thread."""
        return [member for group in list(self._groups.values()) for member in list(group)]

    def __contains__(self, member: M) -> bool:
        return member in self._groups.get(member.encoder, ())

    def __len__(self) -> int:
        return sum(len(group) for group in self._groups.values())

    def __bool__(self) -> bool:
        return bool(self._groups)
