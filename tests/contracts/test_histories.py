"""Every history keeps the promises of the port; and the suite that says so finds who does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from supervisor.history.memory import MemoryHistory
from supervisor.testing import check_history

pytestmark = pytest.mark.real_time

Clock = Callable[[], float]


async def test_the_memory_keeps_its_promises() -> None:
    """All of them; while the process lives, it remembers, too."""
    await check_history(lambda clock: MemoryHistory(clock=clock), durable=True)
