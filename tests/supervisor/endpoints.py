"""Endpoints of the tests: sessions whose body the test decides."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.websockets import WebSocket

from supervisor import Session, Supervisor
from tests.supervisor.asgi import Endpoint, Peer, bare_app

__all__ = ["Body", "endpoint", "enter", "for_ever", "until_the_client_leaves"]

Body = Callable[[Session], Awaitable[object]]


async def until_the_client_leaves(session: Session) -> None:
    """Iterate, and do nothing with what comes."""
    async for _ in session:
        pass


async def for_ever(session: Session) -> None:
    """Neither read nor send."""
    await asyncio.Event().wait()


def endpoint(
    supervisor: Supervisor, body: Body = until_the_client_leaves, **arguments: Any
) -> Endpoint:
    """Return an endpoint that runs ``body`` in a session."""

    async def serve(websocket: WebSocket) -> None:
        async with supervisor.session(websocket, **arguments) as session:
            await body(session)

    return serve


async def enter(
    supervisor: Supervisor, peer: Peer, body: Body = until_the_client_leaves, **arguments: Any
) -> Session:
    """Open ``peer`` on such an endpoint, and return its session once that is entered."""
    entered: asyncio.Future[Session] = asyncio.get_running_loop().create_future()

    async def tell_and_go_on(session: Session) -> None:
        entered.set_result(session)
        await body(session)

    await peer.enter(bare_app(endpoint(supervisor, tell_and_go_on, **arguments)))
    assert entered.done(), "the session was not entered"
    return entered.result()
