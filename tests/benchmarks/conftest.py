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
