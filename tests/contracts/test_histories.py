"""Every history keeps the promises of the port; and the suite that says so finds who does not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.history.base import History
from supervisor.history.memory import MemoryHistory
from supervisor.history.sqlite import SqliteHistory
from supervisor.testing import check_history

pytestmark = pytest.mark.real_time

Clock = Callable[[], float]


async def test_the_memory_keeps_its_promises() -> None:
    """All of them; while the process lives, it remembers, too."""
    await check_history(lambda clock: MemoryHistory(clock=clock), durable=True)


async def test_the_file_keeps_its_promises(tmp_path: Path) -> None:
    """All of them, and remembers."""
    numbers = itertools.count()

    def make_history(clock: Clock) -> History:
        return SqliteHistory(tmp_path / f"{next(numbers)}.db", clock=clock)

    await check_history(make_history, durable=True)
