"""
The nodes of a process: one for each event loop that has connections, and what concerns them all.

A node is made on its own loop. All may be read from any thread. One whose loop was closed without
warning, as test clients do, is forgotten when the next one is made, or when all are drained.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from actors.exits import ExitReason
from supervisor.connection import ClosedConnection, Connection
from supervisor.delivery import FAR_TIMEOUT, FarCall
from supervisor.errors import UnknownConnection
from supervisor.node import Node
from supervisor.other_nodes import OtherNodes
from supervisor.sessions.plain import Session

if TYPE_CHECKING:
    from supervisor.brokers.base import Broker
    from supervisor.feeds import Feeds
    from supervisor.hooks import Hooks
    from supervisor.important import Letters
    from supervisor.settings import Settings

__all__ = ["Nodes"]


class Nodes:
    """
    The nodes of a process, in the order in which they were made.

    Args:
        settings: What may be set.
        hooks: The application's.
        feeds: What rooms are to keep, and where.
        letters: Makes what clients get of important messages.
        broker: Links the nodes.

    Attributes:
        closed: The last closed connections, the newest last.
    """

    def __init__(
        self, settings: Settings, hooks: Hooks, feeds: Feeds, letters: Letters, broker: Broker
    ) -> None:
        self.closed: deque[ClosedConnection] = deque(maxlen=settings.closed_ring)
        self._settings = settings
        self._hooks = hooks
        self._feeds = feeds
        self._letters = letters
        self._broker = broker
        self._by_loop: dict[asyncio.AbstractEventLoop, Node] = {}  # replaced, never changed
        self._lock = threading.Lock()  # of its changes

    def __iter__(self) -> Iterator[Node]:
        return iter(self._by_loop.values())

    def here(self) -> Node | None:
        """Return the node of the running loop; None if it has none."""
        return self._by_loop.get(asyncio.get_running_loop())

    def open(self, *, draining: Callable[[], bool]) -> Node:
        """
        Make the node of the running loop, which has none.

        Args:
            draining: Whether it takes nobody; asked last, since other threads may change it.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            self._forget_dead_loops()
            node = Node(
                self._settings,
                self._hooks,
                self.closed.append,
                feeds=self._feeds,
                letters=self._letters,
                neighbours=OtherNodes(self, loop),
            )
            node.draining = draining()
            self._by_loop = {**self._by_loop, loop: node}
            self._broker.attach(node.delivery)
        return node

    async def drain(self, timeout: float) -> None:
        """Drain all, each on its own loop and for ``timeout`` seconds at most."""
        await self._on_each(lambda node: node.drain(timeout), timeout)

    async def aclose(self, timeout: float) -> None:
        """Drain all likewise, stop them, and forget them."""
        await self._on_each(lambda node: node.aclose(timeout), 2 * timeout)
        with self._lock:
            for node in self:
                self._broker.detach(node.delivery)
            self._by_loop = {}

    def find(self, target: object) -> tuple[Node, Connection] | None:
        """Return the registered connection of a session, connection or WebSocket, and its node."""
        if isinstance(target, Session):
            target = target.connection
        for node in self._by_loop.values():
            connection = (
                node.registry.get(target.id)
                if isinstance(target, Connection)
                else node.registry.of_socket(target)
            )
            if connection is not None:
                return node, connection
        return None

    def find_here(self, target: object) -> tuple[Node, Connection]:
        """
        Return what :meth:`find` does, of the running loop.

        Raises:
            UnknownConnection: If it is not connected.
            WrongLoop: If it belongs to another loop.
        """
        found = self.find(target)
        if found is None:
            raise UnknownConnection(f"{target!r} is not, or no longer, connected here")
        found[0].check_loop()
        return found

    def ids_of(self, targets: object) -> frozenset[Hashable]:
        """
        Return the ids of a session, connection or WebSocket, or a collection; of those connected.

        Raises:
            TypeError: If one is something else, such as the name of a user.
        """
        each = targets if isinstance(targets, list | tuple | set | frozenset) else [targets]
        for target in each:
            if isinstance(target, str | bytes | int | float):
                raise TypeError(
                    "exclude takes sessions, connections or WebSockets, one or several, not "
                    f"{target!r}"
                )
        found = (self.find(target) for target in each)
        return frozenset(pair[1].id for pair in found if pair is not None)

    def members(self, room: Hashable) -> frozenset[Connection]:
        """Return who is in ``room``."""
        return frozenset(connection for node in self for connection in node.rooms.members(room))

    def end(self, target: object, reason: ExitReason) -> int:
        """
        End a connection, or all of a user, each on its own loop; what waits for it is dropped.

        Args:
            target: A session, connection or WebSocket, or a user.
            reason: Why.

        Returns:
            How many connections that was.
        """
        found = self.find(target)
        pairs = [found] if found is not None else self._of_user(target)
        for node, connection in pairs:
            node.delivery.post(partial(node.end, connection, reason))
        return len(pairs)

    def _of_user(self, user: object) -> list[tuple[Node, Connection]]:
        if not isinstance(user, Hashable):
            return []
        return [(node, connection) for node in self for connection in node.registry.of_user(user)]

    def _forget_dead_loops(self) -> None:
        for loop, node in self._by_loop.items():
            if loop.is_closed():
                self._broker.detach(node.delivery)
        self._by_loop = {loop: node for loop, node in self._by_loop.items() if not loop.is_closed()}

    async def _on_each(
        self, call: Callable[[Node], Coroutine[Any, Any, None]], timeout: float
    ) -> None:
        """Await ``call`` on the loop of each, at the same time; ``timeout`` is how long it takes."""
        with self._lock:
            self._forget_dead_loops()
        here = asyncio.get_running_loop()
        afar = [
            FarCall(call(node), loop, timeout=timeout + FAR_TIMEOUT, lost=lambda _: None)
            for loop, node in self._by_loop.items()
            if loop is not here
        ]
        if here in self._by_loop:
            await call(self._by_loop[here])
        for answer in afar:
            await answer
