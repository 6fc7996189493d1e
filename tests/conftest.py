"""
The clock of the suite, the depth of its property tests, and a watch on what tests leave behind.

The clock is virtual unless a test is marked ``real_time`` or ``integration``: on it a wait of
an hour is free and exact. Real sockets and subprocesses need real time.

``HYPOTHESIS_PROFILE`` chooses how hard the property tests try: ``fast`` (the default: the
same few examples in every run) or ``thorough`` (many, and other ones every time).
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Callable, Mapping

import hypothesis
import pytest

from actors.testing import VirtualClockLoop, settle

hypothesis.settings.register_profile(
    "fast",
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
)
hypothesis.settings.register_profile(
    "thorough",
    max_examples=1000,
    stateful_step_count=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "fast")
hypothesis.settings.load_profile(PROFILE)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Choose the event loop of one test."""
    real = any(item.get_closest_marker(name) for name in ("real_time", "integration", "browser"))
    return {"real": asyncio.new_event_loop} if real else {"virtual": VirtualClockLoop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Watch asynchronous tests for tasks that they leave behind; give thorough ones time."""
    for item in items:
        if PROFILE != "fast" and "properties" in item.path.parts:
            item.add_marker(pytest.mark.timeout(3600))
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            item.fixturenames.insert(0, "no_task_left")


@pytest.fixture
async def no_task_left(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fail a test that leaves asyncio tasks behind, unless it uses ``tasks_may_stay``."""
    yield
    if "tasks_may_stay" in request.fixturenames:
        return
    if isinstance(asyncio.get_running_loop(), VirtualClockLoop):
        await settle()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    if left:
        pytest.fail(f"the test left tasks behind: {left}", pytrace=False)


@pytest.fixture
def tasks_may_stay() -> None:
    """Say that a test leaves tasks behind on purpose: it shows what nobody closes."""
