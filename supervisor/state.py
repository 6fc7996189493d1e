"""Where a supervisor is in its life, and what it takes there."""

from __future__ import annotations

from enum import IntEnum

from supervisor.errors import Drained, NotStarted

__all__ = ["SupervisorState", "check_running"]


class SupervisorState(IntEnum):
    """Life of a supervisor; after the last it may be started again."""

    NEW = 0
    RUNNING = 1
    DRAINING = 2
    """It takes no new connection and no publication."""
    STOPPED = 3


def check_running(state: SupervisorState) -> None:
    """
    Check that a supervisor takes publications.

    Raises:
        NotStarted: If it was never started.
        Drained: If it was drained, or stopped.
    """
    if state is SupervisorState.NEW:
        raise NotStarted(
            "the supervisor was not started: pass supervisor.lifespan to the application, "
            "or call start()"
        )
    if state is not SupervisorState.RUNNING:
        raise Drained("the supervisor was drained and takes nothing more")
