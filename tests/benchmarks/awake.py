"""
Keeps a core from sleeping while latencies are compared.

A core that has nothing to do is put to sleep, and wakes late: a virtual one by milliseconds. Who
measures what some load adds to a latency would measure, too, what the load saves by keeping the
core of the receivers awake, and compare a machine that sleeps with one that does not.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["awake"]

_SPIN = """
import os
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
while os.getppid() == {parent}:
    for _ in range(100_000):
        pass
"""


@asynccontextmanager
async def awake() -> AsyncIterator[asyncio.subprocess.Process]:
    """Let a process run where this one may, whenever nobody else wants to."""
    program = _SPIN.format(parent=os.getpid())
    spinning = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    try:
        yield spinning
    finally:
        spinning.kill()
        await spinning.wait()
