"""Numbers of a supervisor at one moment: pulled, never pushed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervisor.node import Node

__all__ = ["Statistics", "statistics_of"]


@dataclass(frozen=True, slots=True)
class Statistics:
    """
    A snapshot over all nodes of the process.

    Attributes:
        nodes: Event loops with connections or rooms.
        connections: Registered connections.
        closing: Reaped connections whose sockets are not done with.
        users: Users that are connected.
        rooms: Rooms that have an actor, those of users and of everyone too.
        waiting: Messages that wait in connections' mailboxes.
        waiting_bytes: Bytes that wait there.
        jobs: Jobs under way: writes that wait, pumps, closes.
        written: Messages that sockets have taken since the start; of those that close just now,
            when they are done with.
        dropped: Messages lost since the start, by reason.
        refused: Connections refused since the start, by close code.
    """

    nodes: int
    connections: int
    closing: int
    users: int
    rooms: int
    waiting: int
    waiting_bytes: int
    jobs: int
    written: int
    dropped: dict[str, int]
    refused: dict[int, int]


def statistics_of(nodes: Iterable[Node]) -> Statistics:
    """Add up the nodes; may be called from any thread, and is then only roughly of one moment."""
    nodes = list(nodes)
    connections = [connection for node in nodes for connection in node.registry.snapshot()]
    mailboxes = [connection.actor.statistics() for connection in connections]
    dropped: Counter[str] = Counter()
    refused: Counter[int] = Counter()
    for node in nodes:
        dropped.update(node.dropped)
        refused.update(node.refusals)
    for mailbox in mailboxes:
        dropped.update({reason.value: count for reason, count in mailbox.dropped.items()})
    return Statistics(
        nodes=len(nodes),
        connections=len(connections),
        closing=sum(node.open for node in nodes) - len(connections),
        users=len({user for node in nodes for user in node.registry.users()}),
        rooms=sum(len(node.rooms) for node in nodes),
        waiting=sum(mailbox.depth for mailbox in mailboxes),
        waiting_bytes=sum(mailbox.size for mailbox in mailboxes),
        jobs=sum(node.runtime.jobs for node in nodes),
        written=sum(connection.actor.written for connection in connections)
        + sum(node.written for node in nodes),
        dropped=dict(dropped),
        refused=dict(refused),
    )
