"""
A WebSocket endpoint for clients that only listen: plain ASGI, without a task for each.

On the fast path the endpoint ends as soon as the client is in its rooms, and with it all that the
framework keeps for a call: an idle listener costs about half of one whose endpoint waits. On
every other server the endpoint lasts as long as the client does.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from supervisor import sockets
from supervisor.errors import ConnectionRefused

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from supervisor.supervisor import Supervisor

__all__ = ["RoomEndpoint"]

RoomsOf = Callable[[WebSocket], Sequence[str] | Awaitable[Sequence[str]]]
UserOf = Callable[[WebSocket], Hashable | Awaitable[Hashable | None] | None]


class RoomEndpoint:
    """
    Puts each client into rooms, and lets it listen there.

    ``app.router.routes.append(WebSocketRoute("/live/{room}", RoomEndpoint(...)))``, with Starlette's
    ``WebSocketRoute``. What clients send is read and let go.

    Args:
        supervisor: Who supervises them.
        rooms: Names, or a function of the WebSocket, which is not accepted yet, that returns
            them; it may be a coroutine function, and may raise
            :class:`~supervisor.errors.ConnectionRefused`.
        user: The same for whoever the socket belongs to; nobody by default.
        envelope: Whether messages are in envelopes; see :meth:`Supervisor.session`.

    Where a room keeps its messages, a client says where it begins by the query of its URL:
    ``?since=EPOCH:OFFSET``, or ``?tail=100``.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        rooms: Sequence[str] | RoomsOf,
        user: UserOf | None = None,
        envelope: bool = False,
    ) -> None:
        if isinstance(rooms, str):
            raise TypeError(f"rooms is a sequence of names: rooms=[{rooms!r}]")
        self._supervisor = supervisor
        self._rooms = rooms
        self._user = user
        self._envelope = envelope

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client; see ASGI."""
        if scope["type"] != "websocket":
            response = PlainTextResponse(
                "WebSocket clients only\n", 426, headers={"Upgrade": "websocket"}
            )
            await response(scope, receive, send)
            return
        websocket = WebSocket(scope, receive, send)
        try:
            rooms, user = await self._admit(websocket)
        except ConnectionRefused as refusal:
            await sockets.refuse(websocket, refusal)
            return
        try:
            async with self._supervisor.session(
                websocket,
                rooms=rooms,
                user=user,
                since=websocket.query_params.get("since"),
                tail=websocket.query_params.get("tail"),
                envelope=self._envelope,
            ) as session:
                if not session.detach():
                    async for _ in session:
                        pass
        except WebSocketDisconnect:  # it was refused, and told so, or has gone
            return

    async def _admit(self, websocket: WebSocket) -> tuple[Sequence[str], Hashable | None]:
        rooms = self._rooms
        names: Any = await _result(rooms(websocket)) if callable(rooms) else rooms
        return names, await _result(self._user(websocket)) if self._user is not None else None


async def _result(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
