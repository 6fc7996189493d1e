"""The server that ``wsupervisor bench`` starts to measure it: one room, and a way to publish."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, WebSocket

from supervisor import Supervisor

__all__ = ["app"]

ROOM = "bench"

supervisor = Supervisor()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Run the supervisor, and end with whoever started this process."""
    loop = asyncio.get_running_loop()
    leash = sys.stdin.fileno()
    held = stat.S_ISFIFO(os.fstat(leash).st_mode)
    if held:  # nothing is ever written into it; it ends with the process that holds its other end
        loop.add_reader(leash, os.kill, os.getpid(), signal.SIGTERM)
    try:
        async with supervisor.lifespan(app):
            yield
    finally:
        if held:
            loop.remove_reader(leash)


app = FastAPI(lifespan=lifespan, openapi_url=None)


@app.websocket("/feed")
async def feed(websocket: WebSocket) -> None:
    """Receive what is published."""
    async with supervisor.session(websocket, rooms=[ROOM]) as session:
        async for _ in session:
            pass


@app.websocket("/publish")
async def publish(websocket: WebSocket) -> None:
    """Publish each message."""
    async with supervisor.session(websocket) as session:
        async for message in session:
            await supervisor.publish(ROOM, message)
