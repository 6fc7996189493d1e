"""What an application wants to be told: joins, leaves and ends, exactly once each."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, fields
from typing import Any

from actors.interfaces import FaultReporter
from actors.runtime import Runtime
from supervisor.connection import ClosedConnection, Connection
from supervisor.important import ImportantMessage

__all__ = ["HookCaller", "Hooks"]


@dataclass(frozen=True, slots=True)
class Hooks:
    """
    Callables of the application; plain functions or coroutine functions.

    They are called on the loop of the connection. What one raises is logged as
    ``hook.failed`` and ends nothing. A coroutine runs as a job of its own, so two of them may
    overtake each other; plain functions are called in order. A supervisor that closes waits for
    coroutines, as long as for its sockets.

    A room is whatever the application called it: a ``str``, unless a drop-in face was given
    something else.

    Attributes:
        on_join: Called with the connection and the room, once a membership.
        on_leave: Called with the connection and the room, once a membership that began.
        on_close: Called with what is remembered of it, once a connection.
        on_offline: Called with an important message that no connection of its user may be given
            when it is sent, and with one that was given up: for mail, or a push.
    """

    on_join: Callable[[Connection, Any], Awaitable[None] | None] | None = None
    on_leave: Callable[[Connection, Any], Awaitable[None] | None] | None = None
    on_close: Callable[[ClosedConnection], Awaitable[None] | None] | None = None
    on_offline: Callable[[ImportantMessage], Awaitable[None] | None] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be called, before the first call is lost in a log."""
        for field in fields(self):
            hook = getattr(self, field.name)
            if hook is not None and not callable(hook):
                raise TypeError(f"{field.name} is a function, or None, not {repr(hook)[:80]}")


class HookCaller:
    """
    Calls the hooks on one node, where nothing that they do can harm.

    Attributes:
        follow_rooms: Whether any hook is about memberships.
    """

    def __init__(self, hooks: Hooks, runtime: Runtime, on_fault: FaultReporter) -> None:
        self._hooks = hooks
        self.follow_rooms = hooks.on_join is not None or hooks.on_leave is not None
        self._runtime = runtime
        self._on_fault = on_fault
        self._running = 0  # coroutines that have not ended
        self._all_ended: asyncio.Future[None] | None = None

    def joined(self, connection: Connection, room: Hashable) -> None:
        """Call ``on_join``."""
        self._call("on_join", self._hooks.on_join, connection, room)

    def left(self, connection: Connection, room: Hashable) -> None:
        """Call ``on_leave``."""
        self._call("on_leave", self._hooks.on_leave, connection, room)

    def closed(self, closed: ClosedConnection) -> None:
        """Call ``on_close``."""
        self._call("on_close", self._hooks.on_close, closed)

    def offline(self, message: ImportantMessage) -> None:
        """Call ``on_offline``."""
        self._call("on_offline", self._hooks.on_offline, message)

    def _call(
        self, name: str, hook: Callable[..., Awaitable[None] | None] | None, *arguments: object
    ) -> None:
        if hook is None:
            return
        try:
            pending = hook(*arguments)
        except Exception as error:  # noqa: BLE001 - an application's hook must not stop the machine
            self._on_fault(f"hook {name}", error)
            return
        if inspect.isawaitable(pending):
            self._running += 1
            self._runtime.run(
                pending, name=f"hook {name}", on_done=lambda error: self._ended(name, error)
            )

    def _ended(self, name: str, error: BaseException | None) -> None:
        self._running -= 1
        if isinstance(error, Exception):
            self._on_fault(f"hook {name}", error)
        if not self._running and self._all_ended is not None and not self._all_ended.done():
            self._all_ended.set_result(None)

    async def finish(self, timeout: float) -> None:
        """Return when no coroutine of a hook runs any more, or after ``timeout`` seconds."""
        if self._running:
            if self._all_ended is None or self._all_ended.done():
                self._all_ended = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._all_ended], timeout=timeout)
