"""
What a face is told where no event loop runs: kept until the next call on one, seen at once.

Synchronous code puts sockets into a view; and synchronous tests run each call in a loop of its
own, which leaves *orphans* behind: stubs whose loop has ended, and who need none.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from functools import partial
from typing import Any

from actors.exits import CloseCode, Ending, ExitReason
from supervisor import sockets
from supervisor.connection import Connection
from supervisor.node import Node
from supervisor.room_names import EVERYONE, user_room
from supervisor.supervisor import Supervisor
from supervisor.transports.stub import can_send

__all__ = ["Loopless"]


class Loopless:
    """
    Sockets of a face between two calls on a loop.

    Attributes:
        assigned: Room → sockets that were put into it; None → those without a room.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self.assigned: dict[Hashable, list[Any]] = {}
        self._supervisor = supervisor
        self._departed: list[Connection] = []  # orphans, whose leaves the hooks were not told yet

    def put(self, room: Hashable, members: Iterable[Any]) -> None:
        """Have ``members`` join ``room``, and nobody else."""
        self.assigned[room] = list(members)
        if not self.assigned[room]:
            del self.assigned[room]

    def append(self, websocket: Any) -> None:
        """Have ``websocket`` registered, in no room."""
        self.assigned.setdefault(None, []).append(websocket)

    def forget(self, websocket: Any, room: Hashable | None) -> None:
        """Have ``websocket`` not join ``room``, or anything."""
        for name in [room] if room is not None else list(self.assigned):
            self.put(name, [w for w in self.assigned.get(name, ()) if w is not websocket])

    def leave(self, ended: Node, orphan: Connection, room: Hashable | None) -> None:
        """Take an orphan of the node ``ended`` out of ``room``; out of its last means of all."""
        if room in orphan.room_names:
            del orphan.room_names[room]
        elif room is not None and orphan.room_names:
            return
        if room is None or not orphan.room_names:
            orphan.room_names.clear()
            ended.registry.remove(orphan)
            self._departed.append(orphan)

    def adopt(self) -> None:
        """Make it all true, on the running loop."""
        for ended in self._supervisor.nodes:
            if ended.loop.is_closed():
                for orphan in ended.registry.snapshot():
                    if not sockets.is_websocket(orphan.websocket):
                        ended.registry.remove(orphan)
                        self._adopt_orphan(orphan)
        departed, self._departed = self._departed, []
        for orphan in departed:
            node, connection = self._adopt_orphan(orphan)
            node.release(connection, ExitReason(Ending.LEFT, CloseCode.NORMAL))
        assigned, self.assigned = self.assigned, {}
        for room, members in assigned.items():
            for websocket in members:
                self._adopt_assigned(websocket, room)

    def _adopt_assigned(self, websocket: Any, room: Hashable | None) -> None:
        found = self._supervisor.find(websocket)
        if found is None and not can_send(websocket):  # it can be looked at, and no more
            self.assigned.setdefault(room, []).append(websocket)
            return
        node, connection = self._adopt(websocket, None) if found is None else found
        if room is not None:
            node.delivery.post(partial(node.rooms.join_nowait, connection, room))

    def _adopt_orphan(self, orphan: Connection) -> tuple[Node, Connection]:
        node, connection = self._adopt(orphan.websocket, orphan.user)
        connection.hooked_rooms = hooked = set(orphan.hooked_rooms or ())  # its joins were told
        for room in orphan.room_names:
            node.rooms.join_nowait(connection, room)
        for room in hooked - set(orphan.room_names):  # it left meanwhile
            node.rooms.join_nowait(connection, room)
            node.rooms.leave(connection, room)
        return node, connection

    def _adopt(self, websocket: Any, user: Hashable | None) -> tuple[Node, Connection]:
        node = self._supervisor.open_node()
        connection = sockets.adopt(
            node, websocket, self._supervisor.json, user=user, endpoint=None, watch_end=True
        )
        node.rooms.join_nowait(connection, EVERYONE, internal=True)
        if user is not None:
            node.rooms.join_nowait(connection, user_room(user), internal=True)
        return node, connection
