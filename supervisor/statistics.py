"""Numbers of a supervisor at one moment: pulled, never pushed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supervisor.losses import Losses, by_feed_of

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
        behind: Memberships that are behind now, of rooms that keep their messages: their members
            read on from what is kept, at their own speed.
        dropped: Messages that did not reach a mailbox or a socket since the start, by reason. Those of
            rooms that keep them are not missing unless they were ``trimmed``, ``unencodable`` or never
            kept: what waited for a connection that ended is read by who comes back.
        dropped_by_feed: The same, by the class of the room first: ``event``, ``status``, ``log``,
            ``alert``, and ``direct`` for what was sent to a connection without a room.
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
    behind: int
    dropped: dict[str, int]
    dropped_by_feed: dict[str, dict[str, int]]
    refused: dict[int, int]


def statistics_of(nodes: Iterable[Node], unpublished: Losses) -> Statistics:
    """
    Add up the nodes, and what was lost before it came to one.

    May be called from any thread, and is then only roughly of one moment.
    """
    nodes = list(nodes)
    connections = [connection for node in nodes for connection in node.registry.snapshot()]
    mailboxes = [connection.actor.statistics() for connection in connections]
    losses = Losses()
    losses.add(unpublished.by_feed())
    refused: Counter[int] = Counter()
    for node in nodes:
        losses.add(node.losses.by_feed())
        refused.update(node.refusals)
    for mailbox in mailboxes:
        losses.add(by_feed_of(mailbox))
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
        behind=sum(node.rooms.behind for node in nodes),
        dropped=losses.by_reason(),
        dropped_by_feed=losses.by_feed(),
        refused=dict(refused),
    )
