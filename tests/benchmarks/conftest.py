"""A runtime for each benchmark, and what is measured on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from actors.runtime import Runtime


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    """Run actors, and stop them afterwards."""
    runtime = Runtime()
    yield runtime
    await runtime.aclose()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what measures nothing, where only benchmarks are wanted."""
    if config.getoption("benchmark_only"):
        items[:] = [item for item in items if "benchmark" in getattr(item, "fixturenames", ())]
