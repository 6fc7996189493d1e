"""
The clock of the suite: virtual unless a test is marked ``real_time`` or ``integration``.

On the virtual clock a wait of an hour is free and exact. Real sockets and subprocesses need
real time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from actors.testing import VirtualClockLoop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Choose the event loop of one test."""
    real = any(item.get_closest_marker(name) for name in ("real_time", "integration", "browser"))
    return {"real": asyncio.new_event_loop} if real else {"virtual": VirtualClockLoop}
