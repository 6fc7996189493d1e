"""
How long a connection may live and stay silent: deadlines on the node's one timer wheel.

Traffic does not touch the wheel: an idle deadline that rings looks when the last message
came, and is set again for the rest. Pings are the server's business (uvicorn sends them every
20 s), and the deadlines of writes are the connection actor's.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from actors.exits import CloseCode, Ending, ExitReason
from actors.runtime import Runtime
from supervisor.connection import Connection
from supervisor.settings import Settings

__all__ = ["LIFETIME_JITTER", "watch_liveness"]

LIFETIME_JITTER = 0.1
"""Share of the lifetime by which it varies, so that clients do not come back all at once."""


def watch_liveness(
    connection: Connection,
    runtime: Runtime,
    settings: Settings,
    end: Callable[[Connection, ExitReason], None],
    jitter: Callable[[], float] = random.random,
) -> None:
    """
    Have ``end`` called when ``connection`` lived too long or was silent for too long.

    Args:
        connection: Whose ``timers`` hold the deadlines; whoever reaps it cancels them.
        runtime: Has the wheel.
        settings: ``idle_timeout`` and ``max_lifetime``.
        end: Closes a connection.
        jitter: Returns a number from 0 to 1.
    """
    if settings.max_lifetime is not None:
        seconds = settings.max_lifetime * (1 + LIFETIME_JITTER * (2 * jitter() - 1))
        connection.timers.append(
            runtime.call_later(
                seconds,
                lambda: end(
                    connection,
                    ExitReason(Ending.LIFETIME, CloseCode.EXPIRED, "lifetime reached"),
                ),
            )
        )
    if settings.idle_timeout is not None and connection.inbound is not None:
        _watch_idle(connection, runtime, settings.idle_timeout, end)


def _watch_idle(
    connection: Connection,
    runtime: Runtime,
    timeout: float,
    end: Callable[[Connection, ExitReason], None],
) -> None:
    def check() -> None:
        connection.timers[:] = [timer for timer in connection.timers if timer.pending]
        assert connection.inbound is not None
        left = connection.inbound.last_message + timeout - runtime.clock()
        if left > 0:
            connection.timers.append(runtime.call_later(left, check))
        else:
            end(
                connection,
                ExitReason(Ending.IDLE, CloseCode.STALE, f"no message for {timeout:g} s"),
            )

    connection.timers.append(runtime.call_later(timeout, check))
