"""
Live read views of who is connected, shaped like the containers of hand-written managers.

They hold nothing: each look asks the registry and the rooms. Sockets are compared by
identity, so stubs need not hash. Looking is safe from any thread.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    Hashable,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    ValuesView,
)
from collections.abc import Set as AbstractSet
from typing import Any, overload

__all__ = ["RoomsView", "SocketListView", "SocketSetView"]


class SocketSetView(AbstractSet[Any]):
    """The sockets of one room or user, now and whenever it is asked."""

    def __init__(self, sockets: Callable[[], list[Any]]) -> None:
        self._sockets = sockets

    def __contains__(self, websocket: object) -> bool:
        return any(member is websocket for member in self._sockets())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._sockets())

    def __len__(self) -> int:
        return len(self._sockets())

    def copy(self) -> set[Any]:
        """Return the sockets as they are now, as a set."""
        return set(self._sockets())

    @classmethod
    def _from_iterable(cls, sockets: Iterable[Any]) -> AbstractSet[Any]:
        return set(sockets)

    def __repr__(self) -> str:
        return f"{{{', '.join(map(repr, self._sockets()))}}}"


class RoomsView(Mapping[Any, AbstractSet[Any]]):
    """
    Room → sockets, or user → sockets; whoever is empty is absent.

    Args:
        keys: Returns those that are not empty.
        sockets: Returns the sockets of one.
        assign: Called for ``view[key] = sockets``, which tests of hand-written managers do;
            None where that cannot be.
    """

    def __init__(
        self,
        keys: Callable[[], list[Hashable]],
        sockets: Callable[[Hashable], list[Any]],
        assign: Callable[[Hashable, Iterable[Any]], None] | None = None,
    ) -> None:
        self._keys = keys
        self._sockets = sockets
        self._assign = assign

    def __getitem__(self, key: Hashable) -> SocketSetView:
        if not self._sockets(key):
            raise KeyError(key)
        return self.sockets_of(key)

    def sockets_of(self, key: Hashable) -> SocketSetView:
        """Return the sockets of ``key``, which may be none."""
        return SocketSetView(lambda: self._sockets(key))

    def items(self) -> ItemsView[Any, AbstractSet[Any]]:
        """Return the pairs; a room that empties while they are iterated over is no error."""
        return _Items(self)

    def values(self) -> ValuesView[AbstractSet[Any]]:
        """Return the sets of sockets, as :meth:`items` does."""
        return _Values(self)

    def __setitem__(self, key: Hashable, sockets: Iterable[Any]) -> None:
        if self._assign is None:
            raise TypeError("this view is for reading: connect() and disconnect() change it")
        self._assign(key, sockets)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, Hashable) and bool(self._sockets(key))

    def clear(self) -> None:
        """Empty every room, as assigning to it would."""
        for key in self._keys():
            self[key] = ()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys())

    def __len__(self) -> int:
        return len(self._keys())

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{key!r}: {self.sockets_of(key)!r}' for key in self._keys())}}}"


class _Items(ItemsView[Any, AbstractSet[Any]]):
    _mapping: RoomsView

    def __iter__(self) -> Iterator[tuple[Any, AbstractSet[Any]]]:
        for key in self._mapping:
            yield key, self._mapping.sockets_of(key)


class _Values(ValuesView[AbstractSet[Any]]):
    _mapping: RoomsView

    def __iter__(self) -> Iterator[AbstractSet[Any]]:
        for key in self._mapping:
            yield self._mapping.sockets_of(key)


class SocketListView(Sequence[Any]):
    """
    All sockets in the order in which they connected: the list of FastAPI's tutorial.

    Args:
        sockets: Returns them.
        append: Called for ``append(websocket)``.
        remove: Called for ``remove(websocket)``.
    """

    def __init__(
        self,
        sockets: Callable[[], list[Any]],
        append: Callable[[Any], None],
        remove: Callable[[Any], object],
    ) -> None:
        self._sockets = sockets
        self._append = append
        self._remove = remove

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._sockets()[index]

    def __len__(self) -> int:
        return len(self._sockets())

    def __contains__(self, websocket: object) -> bool:
        return any(member is websocket for member in self._sockets())

    def __eq__(self, other: object) -> bool:
        return self._sockets() == (other._sockets() if isinstance(other, SocketListView) else other)

    __hash__ = None  # type: ignore[assignment]  # like a list's

    def copy(self) -> list[Any]:
        """Return the sockets as they are now."""
        return self._sockets()

    def append(self, websocket: Any) -> None:
        """Register an accepted socket, as ``connect`` would."""
        self._append(websocket)

    def remove(self, websocket: Any) -> None:
        """Deregister a socket, as ``disconnect`` would: one may have gone by itself before."""
        self._remove(websocket)

    def clear(self) -> None:
        """Deregister all sockets."""
        for websocket in self._sockets():
            self._remove(websocket)

    def __repr__(self) -> str:
        return repr(self._sockets())
