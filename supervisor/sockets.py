"""
Takes over an application's socket: refuses or accepts it, and stands between it and the server.

From then on the endpoint's own WebSocket reads through :class:`~supervisor.transports.inbound.Inbound`
and writes through the connection actor, so its ``send_text`` keeps its place among what rooms
send, and cannot run beside it; whatever it does after the end is a ``WebSocketDisconnect``.

The end of an endpoint is noticed in its own task, through FastAPI's exit stack, while the
socket can still be closed properly; in plain Starlette through the end of that task.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Hashable
from contextlib import AsyncExitStack
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from actors.connection import ConnectionState
from actors.exits import CloseCode, Ending, ExitReason
from actors.interfaces import Encoder
from actors.messages import Chunk, Frame
from actors.overflow import Offer
from actors.receipts import FlushLatch
from supervisor.connection import Connection
from supervisor.errors import ConnectionRefused, Drained, SessionEnded, UnsupportedSocket
from supervisor.node import Node, shutting_down
from supervisor.transports.asgi import AsgiTransport
from supervisor.transports.close_reason import fit_reason
from supervisor.transports.inbound import Inbound
from supervisor.transports.stub import StubTransport, can_send, close_stub
from supervisor.transports.wire import WireTransport, find_wire

__all__ = [
    "accept",
    "adopt",
    "check_close_code",
    "close_reason",
    "detach",
    "end_quietly",
    "endpoint_task",
    "is_websocket",
    "leave_endpoint",
    "node_for",
    "refuse",
    "send",
    "was_adopted",
]

DENIAL_PAUSE = 0.01
"""Seconds that a server gets to drop a refused socket: uvicorn's class websockets-sansio logs
an error for every one whose endpoint ends sooner."""


def is_websocket(websocket: object) -> bool:
    """Whether it is Starlette's WebSocket itself, and no mock that claims to be one."""
    return issubclass(type(websocket), WebSocket)


def client_address(websocket: Any) -> str | None:
    """Return the peer's address without the port, as the server knows it."""
    if not is_websocket(websocket):
        return None
    client = websocket.client
    return None if client is None else str(client.host)


def was_adopted(websocket: Any) -> bool:
    """Whether a Starlette WebSocket is, or was, registered with a supervisor."""
    return isinstance(websocket._send, _EndpointSend)  # noqa: SLF001 - see the module docstring


def end_quietly(websocket: Any) -> None:
    """
    Make the application end an endpoint without a traceback when it lets :class:`SessionEnded` out.

    Starlette hands its exception handlers down in the scope; one that the application set
    for these errors itself stays.
    """
    handlers = websocket.scope.get("starlette.exception_handlers", ({}, {}))[0]
    if SessionEnded not in handlers and not any(kind in handlers for kind in SessionEnded.__mro__):
        handlers[SessionEnded] = _say_nothing


async def _say_nothing(_: object, __: Exception) -> None:
    """Answer an ended session: there is nobody to answer."""


async def node_for(websocket: Any, open_node: Callable[[], Node]) -> Node:
    """
    Return the node that takes a connection on the running loop.

    Raises:
        ConnectionRefused: If the supervisor has stopped; the client was told.
    """
    try:
        return open_node()
    except Drained:
        refusal = shutting_down()
        await refuse(websocket, refusal)
        raise refusal from None


async def refuse(websocket: Any, refusal: ConnectionRefused) -> None:
    """Tell the client, by HTTP status where the server can do that; then it is for the caller."""
    try:
        if not is_websocket(websocket):
            await close_stub(websocket, refusal.code)
        elif websocket.application_state is WebSocketState.CONNECTED:
            await websocket.close(refusal.code, fit_reason(refusal.reason))
        elif refusal.status != 403 and "websocket.http.response" in websocket.scope.get(
            "extensions", {}
        ):
            response = PlainTextResponse(
                f"{refusal.reason}\n",
                refusal.status,
                headers={"Retry-After": "5"} if refusal.status in _PASSING else None,
            )
            await websocket.send_denial_response(response)
            await asyncio.sleep(DENIAL_PAUSE)
        else:  # every server makes this a 403
            await websocket.close(refusal.code, refusal.reason)
    except Exception:  # noqa: BLE001, S110 - the client is gone already: it is refused all the same
        pass


_PASSING = frozenset({429, 503})
"""HTTP statuses of refusals that may be none a little later."""


async def accept(websocket: Any, *, subprotocol: str | None, timeout: float) -> None:
    """
    Accept the socket, unless the application has done that already.

    Raises:
        WebSocketDisconnect: If the client has gone, or was not there within ``timeout``.
        UnsupportedSocket: If there would be no way to send to it.
    """
    if not is_websocket(websocket):
        if not can_send(websocket):
            raise UnsupportedSocket(
                f"{type(websocket).__name__} cannot be connected: it is no Starlette WebSocket "
                "and has none of send_text, send_json, send_bytes"
            )
        result = websocket.accept() if callable(getattr(websocket, "accept", None)) else None
        if inspect.isawaitable(result):
            await result
        return
    if WebSocketState.DISCONNECTED in {websocket.application_state, websocket.client_state}:
        raise SessionEnded(CloseCode.ABNORMAL, "the socket was closed before")
    if websocket.application_state is not WebSocketState.CONNECTING:
        return
    try:
        async with asyncio.timeout(timeout):
            await websocket.accept(subprotocol=subprotocol)
    except TimeoutError:
        raise SessionEnded(CloseCode.ABNORMAL, "the accept took too long") from None
    except (OSError, RuntimeError) as error:  # what servers raise when the client has gone
        raise SessionEnded(CloseCode.ABNORMAL, str(error)) from error


def adopt(
    node: Node,
    websocket: Any,
    encoder: Encoder,
    *,
    user: Hashable | None,
    endpoint: asyncio.Task[Any] | None,
    watch_end: bool,
) -> Connection:
    """
    Register an accepted socket; it is in no room yet.

    Args:
        node: The node of the running loop.
        websocket: A Starlette WebSocket, or a stub.
        encoder: Its wire format.
        user: Whoever it belongs to.
        endpoint: The task that holds the socket open; None if nobody knows.
        watch_end: Whether the end of the endpoint ends the connection; False for a session,
            which sees to that itself. A stub has no endpoint: the task that connects it may be
            that of a test's fixture, which ends before the test begins.

    Raises:
        RuntimeError: If the socket is registered already.
        WebSocketDisconnect: If it was once, and has ended since.
    """
    settings = node.settings
    if node.registry.of_socket(websocket) is not None:
        raise RuntimeError(
            "the socket is registered already: a session or a manager's connect() has it"
        )
    if not is_websocket(websocket):
        return node.register(
            websocket, StubTransport(websocket, node.runtime), encoder, user=user, client=None
        )

    if was_adopted(websocket):
        known: Connection = websocket._send.connection  # noqa: SLF001 - see the module docstring
        if known.actor.state is not ConnectionState.OPEN:
            raise _ended(known)
        if node.registry.of_actor(known.actor) is not None:  # it is not another supervisor's
            node.register_again(known, user)
            return known

    def disconnected(code: int, reason: str) -> None:
        node.end(connection, ExitReason(Ending.DISCONNECTED, code, reason))

    send, receive = websocket._send, websocket._receive  # noqa: SLF001 - see the module docstring
    wire = find_wire(websocket.scope, send)
    inbound = Inbound(receive, node.runtime, disconnected, told=wire is not None)
    if wire is not None:
        wire.close_timeout = settings.close_timeout
        wire.on_lost = disconnected
        wire.on_message = inbound.heard
    connection = node.register(
        websocket,
        wire or AsgiTransport(send, node.runtime, linger=settings.close_timeout),
        encoder,
        user=user,
        client=client_address(websocket),
        inbound=inbound,
    )
    node.endpoints.watch(connection, endpoint)
    websocket._receive = inbound.receive  # noqa: SLF001
    websocket._send = _EndpointSend(connection)  # noqa: SLF001
    if watch_end:
        _watch_endpoint(node, connection, websocket, endpoint)
    return connection


def detach(
    node: Node, connection: Connection, heard: Callable[[str | bytes], None] | None = None
) -> bool:
    """
    Leave the socket to its actor: the endpoint, which neither sends nor receives, may return.

    Args:
        node: The node of the connection.
        connection: Whose socket it is.
        heard: Called with every message of the client, before that is let go.

    Returns:
        Whether that is possible: only where the server lets actors write.
    """
    wire, inbound = connection.transport, connection.inbound
    if not isinstance(wire, WireTransport) or inbound is None:
        return False
    node.endpoints.ended(connection)
    connection.supervised = False
    node.registry.forget_socket(connection)
    let_go = inbound.let_go
    if heard is None:
        wire.keep_open(let_go)
        return True

    def hear(message: str | bytes) -> bool:
        heard(message)
        return let_go(message)

    wire.keep_open(hear)
    return True


def endpoint_task() -> asyncio.Task[Any] | None:
    """
    Return the running task, as that of the endpoint; None if it cannot be.

    A task that runs nothing but a ``connect``, as ``asyncio.wait_for`` makes one on Python 3.11,
    says by its end nothing about the endpoint.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs
        return None
    code = None if task is None else getattr(task.get_coro(), "cr_code", None)
    return None if code is not None and code.co_name == "connect" else task


async def send(connection: Connection, chunk: Chunk, *, written: bool) -> None:
    """
    Send for the endpoint itself: in order, never dropped, waiting while the client is behind.

    What is larger than the mailbox waits until nothing else does.

    Args:
        connection: To whom.
        chunk: What; it must be pinned.
        written: Whether to wait until it is written, rather than until there is space for it.

    Raises:
        WebSocketDisconnect: If the connection has ended, or ends meanwhile. The deadline of
            a write bounds the wait.
    """
    done: asyncio.Future[bool] | None = None
    if written:
        done = asyncio.get_running_loop().create_future()
        chunk.on_settled = _resolve(done)
    while (offer := connection.actor.deliver(chunk)) in {Offer.FULL, Offer.TOO_LARGE}:
        latch = FlushLatch()
        connection.actor.when_flushed(latch)
        await latch.wait(connection.actor.send_timeout)
    if not offer.taken or (done is not None and not await done):
        raise _ended(connection)


def check_close_code(code: int) -> None:
    """
    Check that ``code`` may travel in a close frame (RFC 6455 §7.4).

    Raises:
        ValueError: If not.
    """
    if not (3000 <= code <= 4999 or code in _REGISTERED_CODES):
        raise ValueError(
            "a close code is from 1000 to 1003, from 1007 to 1014, or from 3000 to 4999, not "
            f"{code}"
        )


_REGISTERED_CODES = frozenset({*range(1000, 1004), *range(1007, 1015)})
"""Codes below 3000 that may be sent: the others say what an end without a close frame was."""


def close_reason(error: BaseException | None) -> ExitReason:
    """Return how an endpoint that ended with ``error``, or None, closes its socket."""
    if error is None:
        return ExitReason(Ending.LEFT, CloseCode.NORMAL)
    if isinstance(error, ConnectionRefused):
        return ExitReason(Ending.LEFT, error.code, error.reason)
    if isinstance(error, WebSocketDisconnect):
        return ExitReason(Ending.LEFT, CloseCode.NORMAL)
    if isinstance(error, asyncio.CancelledError):
        return ExitReason(Ending.SHUTDOWN, CloseCode.SERVICE_RESTART, "endpoint cancelled")
    return ExitReason(Ending.HANDLER_FAILED, CloseCode.INTERNAL_ERROR, error=error)


async def leave_endpoint(node: Node, connection: Connection, error: BaseException | None) -> bool:
    """
    Close the socket of an endpoint that ends: flush, then the close frame; bounded.

    But where a socket was given up that the server cannot be made to drop, the task waits for
    the client to go: granian would never free the descriptor of one whose endpoint ends sooner.

    Returns:
        Whether ``error`` is the cancellation of an endpoint whose client had gone.
    """
    ours = node.endpoints.ended(connection) and isinstance(error, asyncio.CancelledError)
    node.end(connection, close_reason(None if ours else error), flush=True)
    await connection.wait_closed()
    if connection.transport.left_behind and connection.inbound is not None:
        await connection.inbound.until_gone()
    return ours


class _EndpointSend:
    """The ASGI ``send`` of an endpoint's own WebSocket: a sender like every other."""

    __slots__ = ("connection",)

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def __call__(self, event: Any) -> None:
        connection = self.connection
        if event["type"] == "websocket.close":
            connection.actor.close(
                ExitReason(Ending.LEFT, event.get("code", 1000), event.get("reason") or ""),
                flush=True,
            )
            await connection.wait_closed()
            return
        payload = event.get("bytes")
        if payload is None:
            payload = event["text"]
            if not payload.isascii():
                payload.encode()  # what cannot travel is the endpoint's error, not the socket's
        await send(connection, Chunk((Frame(payload),), pinned=True), written=True)


def _watch_endpoint(
    node: Node, connection: Connection, websocket: WebSocket, endpoint: asyncio.Task[Any] | None
) -> None:
    scope = websocket.scope
    for name in ("fastapi_function_astack", "fastapi_astack"):
        stack = scope.get(name)
        if isinstance(stack, AsyncExitStack):

            async def ended(_: object, error: BaseException | None, __: object) -> bool:
                return await leave_endpoint(node, connection, error)

            stack.push_async_exit(ended)
            return
    if endpoint is not None:
        _watch_task(node, connection, endpoint)


def _watch_task(node: Node, connection: Connection, endpoint: asyncio.Task[Any]) -> None:
    """End the connection with the task of its endpoint."""

    def ended(ended_task: asyncio.Task[Any]) -> None:
        error = None if ended_task.cancelled() else ended_task.exception()
        reason = (
            ExitReason(Ending.SHUTDOWN, CloseCode.SERVICE_RESTART, "endpoint cancelled")
            if ended_task.cancelled()
            else close_reason(error)
        )
        node.endpoints.ended(connection)
        node.end(connection, reason, flush=True)

    endpoint.add_done_callback(ended)


def _resolve(future: asyncio.Future[bool]) -> Any:
    def settled(delivered: bool) -> None:
        if not future.done():
            future.set_result(delivered)

    return settled


def _ended(connection: Connection) -> SessionEnded:
    reason = connection.actor.reason or connection.reason
    if reason is None:
        return SessionEnded(CloseCode.ABNORMAL)
    return SessionEnded(int(reason.code), reason.text)
