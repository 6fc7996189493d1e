"""
wsupervisor, as an application uses it: a FastAPI endpoint, or its own endpoint without one.

usage: python -m tests.benchmarks.peers.ours [--asgi-path] [--plain] [--overflow POLICY]
"""

from __future__ import annotations

import argparse
from typing import Any

from fastapi import FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

from supervisor import Supervisor
from supervisor.integrations.asgi import RoomEndpoint
from supervisor.integrations.uvicorn import SupervisedProtocol
from tests.benchmarks.peers.control import serve


class Publisher:
    """Publishes to the room; the supervisor makes the publisher wait."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def one(self, text: str) -> None:
        await self._supervisor.publish("room", text)

    async def queued(self, texts: list[str]) -> None:
        for text in texts[:-1]:
            self._supervisor.publish_nowait("room", text)
        await self._supervisor.publish("room", texts[-1])

    def members(self) -> int:
        return len(self._supervisor.members("room"))


def fastapi_app(supervisor: Supervisor) -> FastAPI:
    """Return an application with the endpoint of the README."""
    app = FastAPI(lifespan=supervisor.lifespan)

    @app.websocket("/ws")
    async def endpoint(websocket: WebSocket) -> None:
        async with supervisor.session(websocket, rooms=["room"]) as session:
            async for _ in session:
                pass

    return app


def plain_app(supervisor: Supervisor) -> Starlette:
    """Return an application with the endpoint for clients that only listen."""
    endpoint = RoomEndpoint(supervisor, rooms=["room"])
    return Starlette(routes=[WebSocketRoute("/ws", endpoint)], lifespan=supervisor.lifespan)


def main() -> None:
    """Serve until told otherwise."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--asgi-path", action="store_true", help="uvicorn's own protocol class")
    parser.add_argument("--plain", action="store_true", help="the supervisor's own endpoint")
    parser.add_argument("--overflow", default="block")
    arguments = parser.parse_args()
    supervisor = Supervisor(overflow=arguments.overflow)
    app: Any = plain_app(supervisor) if arguments.plain else fastapi_app(supervisor)
    serve(
        app,
        Publisher(supervisor),
        ws="websockets-sansio" if arguments.asgi_path else SupervisedProtocol,
    )


if __name__ == "__main__":
    main()
