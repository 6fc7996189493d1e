"""An application that keeps a log in the file STORE, and whose files can be kept from growing."""

from __future__ import annotations

import logging
import os
import resource
from typing import Any

from fastapi import FastAPI
from starlette.routing import WebSocketRoute

from supervisor import RoomEndpoint, RoomPolicy, StoreUnavailable, Supervisor

logging.basicConfig(level=logging.INFO)

supervisor = Supervisor(
    store_failure=os.environ["STORE_FAILURE"],
    history=f"sqlite:///{os.environ['STORE']}",
    rooms={"log:*": RoomPolicy.log()},
)
app = FastAPI(lifespan=supervisor.lifespan)
app.router.routes.append(
    WebSocketRoute(
        "/rooms/{room}",
        RoomEndpoint(supervisor, rooms=lambda websocket: [websocket.path_params["room"]]),
    )
)


@app.post("/publish/{room}")
async def publish(room: str, text: str, size: int = 0) -> dict[str, Any]:
    """Publish, and tell the position, or why it was refused."""
    try:
        receipt = await supervisor.publish(room, text.ljust(size, "."))
    except StoreUnavailable as error:
        return {"refused": str(error)}
    position = receipt.position
    return {"accepted": receipt.accepted, "position": position and list(position)}


@app.post("/limit")
async def limit(size: int) -> dict[str, int]:
    """Keep files from growing above ``size`` bytes; -1: as large as they like."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    return {"size": size}


@app.get("/ready")
async def ready() -> dict[str, bool]:
    """Tell what a proxy asks."""
    return {"ready": supervisor.ready, "healthy": supervisor.healthy}
