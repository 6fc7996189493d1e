"""
What an idle connection costs below any manager: an endpoint that accepts, and receives.

usage: python -m tests.benchmarks.peers.idle bare|starlette|fastapi
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.benchmarks.peers.control import serve

count = [0]


async def bare(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Keep a client until it leaves, with nothing between it and the server."""
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": event["type"] + ".complete"})
            if event["type"] == "lifespan.shutdown":
                return
    await receive()
    await send({"type": "websocket.accept"})
    count[0] += 1
    while (await receive())["type"] != "websocket.disconnect":
        pass
    count[0] -= 1


async def endpoint(websocket: WebSocket) -> None:
    """Keep a client until it leaves."""
    await websocket.accept()
    count[0] += 1
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        count[0] -= 1


def application(kind: str) -> Any:
    """Return the application of that kind."""
    if kind == "bare":
        return bare
    if kind == "starlette":
        return Starlette(routes=[WebSocketRoute("/ws", endpoint)])
    app = FastAPI()
    app.add_api_websocket_route("/ws", endpoint)
    return app


class Publisher:
    """Nobody publishes here."""

    async def one(self, text: str) -> None:
        raise NotImplementedError

    async def queued(self, texts: list[str]) -> None:
        raise NotImplementedError

    def members(self) -> int:
        return count[0]


if __name__ == "__main__":
    serve(application(sys.argv[1]), Publisher())
