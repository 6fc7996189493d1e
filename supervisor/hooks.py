"""What an application wants to be told: joins, leaves and ends, exactly once each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass

from supervisor.registry import ClosedConnection, Connection

__all__ = ["Hooks"]


@dataclass(frozen=True, slots=True)
class Hooks:
    """
    Callables of the application; plain functions or coroutine functions.

    They are called on the loop of the connection. What one raises is logged as
    ``hook.failed`` and ends nothing. A coroutine runs as a job of its own, so two of them may
    overtake each other; plain functions are called in order.

    Attributes:
        on_join: Called with the connection and the room, once a membership.
        on_leave: Called with the connection and the room, once a membership that began.
        on_close: Called with what is remembered of it, once a connection.
    """

    on_join: Callable[[Connection, Hashable], Awaitable[None] | None] | None = None
    on_leave: Callable[[Connection, Hashable], Awaitable[None] | None] | None = None
    on_close: Callable[[ClosedConnection], Awaitable[None] | None] | None = None
