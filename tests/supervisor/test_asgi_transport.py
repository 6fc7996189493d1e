"""Writing to an ASGI server: stepped on uvicorn, as jobs elsewhere; closing, and giving up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from starlette._exception_handler import wrap_app_handling_exceptions
from starlette.websockets import WebSocket

from actors.messages import Chunk, Frame
from actors.runtime import Runtime
from actors.testing import settle
from supervisor.transports.asgi import AsgiTransport, server_transport

Event = dict[str, Any]


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    """Run the jobs."""
    runtime = Runtime()
    yield runtime
    await runtime.aclose()
    assert runtime.jobs == 0


class Listener:
    """Records what the transport says."""

    def __init__(self) -> None:
        self.said: list[object] = []

    def transport_ready(self) -> None:
        self.said.append("ready")

    def transport_failed(self, error: BaseException) -> None:
        self.said.append(error)

    def transport_closed(self) -> None:
        self.said.append("closed")


class SocketTransport:
    """A server's transport."""

    def __init__(self) -> None:
        self.aborted = 0
        self.closing = False
        self.buffered = 0

    def abort(self) -> None:
        self.aborted += 1

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.buffered


class Protocol:
    """
    A server's protocol object, of which applications get the method :meth:`send`.

    Attributes:
        events: What was sent.
        waits: How often each send waits before it is done.
        error: What each send raises, after it has waited.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.waits = 0
        self.error: BaseException | None = None
        self.transport: SocketTransport | None = SocketTransport()
        self.cancelled = 0
        self._gates: list[asyncio.Future[None]] = []

    async def send(self, event: Event) -> None:
        """Take an event."""
        for _ in range(self.waits):
            gate = asyncio.get_running_loop().create_future()
            self._gates.append(gate)
            try:
                await gate
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if self.error is not None:
            raise self.error
        self.events.append(event)

    def open(self) -> None:
        """Let whoever waits go on."""
        gates, self._gates = self._gates, []
        for gate in gates:
            gate.set_result(None)


class UvicornProtocol(Protocol):
    """The same, of uvicorn."""


UvicornProtocol.__module__ = "uvicorn.protocols.websockets.websockets_sansio_impl"


def attached(
    send: Callable[[Any], Awaitable[None]], runtime: Runtime, linger: float = 10.0
) -> tuple[AsgiTransport, Listener]:
    """Return a transport, and who listens to it."""
    transport = AsgiTransport(send, runtime, linger=linger)
    listener = Listener()
    transport.attach(listener)
    return transport, listener


def chunk(*payloads: str | bytes) -> Chunk:
    """Return a chunk of frames."""
    return Chunk(tuple(Frame(payload) for payload in payloads))


def sent(*payloads: str | bytes) -> list[Event]:
    """Return the events of frames."""
    return [
        {"type": "websocket.send", "text" if isinstance(payload, str) else "bytes": payload}
        for payload in payloads
    ]


# Stepping.


async def test_on_uvicorn_a_write_is_a_plain_call(runtime: Runtime) -> None:
    """No job, no task: when write() returns, the server has it."""
    protocol = UvicornProtocol()
    transport, listener = attached(protocol.send, runtime)
    tasks = asyncio.all_tasks()

    assert transport.write(chunk("a", b"b", "c")) is True

    assert protocol.events == sent("a", b"b", "c")
    assert runtime.jobs == 0
    assert asyncio.all_tasks() == tasks
    assert listener.said == []


async def test_the_events_of_a_chunk_are_made_once(runtime: Runtime) -> None:
    """All sockets of its kind share them."""
    protocols = [UvicornProtocol(), UvicornProtocol()]
    shared = chunk("a")

    for protocol in protocols:
        attached(protocol.send, runtime)[0].write(shared)

    assert protocols[0].events[0] is protocols[1].events[0]


@pytest.mark.parametrize("waits", [1, 3])
async def test_a_write_that_waits_is_finished_as_a_job(runtime: Runtime, waits: int) -> None:
    """write() says False, the rest follows in order, and then the transport is ready, once."""
    protocol = UvicornProtocol()
    transport, listener = attached(protocol.send, runtime)
    transport.write(chunk("a"))
    protocol.waits = waits

    assert transport.write(chunk("b", "c", "d")) is False
    assert transport.unsent
    assert protocol.events == sent("a")
    for _ in range(3 * waits):
        await settle()
        assert listener.said == []
        protocol.open()
    await settle()

    assert protocol.events == sent("a", "b", "c", "d")
    assert listener.said == ["ready"]
    assert not transport.unsent
    protocol.waits = 0
    assert transport.write(chunk("e")) is True


async def test_a_send_that_yields_without_waiting_is_resumed(runtime: Runtime) -> None:
    """asyncio.sleep(0) yields None, not a future."""

    class Polite(UvicornProtocol):
        async def send(self, event: Event) -> None:
            await asyncio.sleep(0)
            await super().send(event)

    Polite.__module__ = UvicornProtocol.__module__
    protocol = Polite()
    transport, listener = attached(protocol.send, runtime)

    assert transport.write(chunk("a", "b")) is False
    await settle()

    assert protocol.events == sent("a", "b")
    assert listener.said == ["ready"]


async def test_a_send_that_raises_at_once_raises_from_write(runtime: Runtime) -> None:
    """Frames before it were sent."""
    protocol = UvicornProtocol()
    transport, listener = attached(protocol.send, runtime)
    protocol.error = OSError("gone")

    with pytest.raises(OSError, match="gone"):
        transport.write(chunk("a"))

    assert listener.said == []
    assert runtime.jobs == 0


async def test_a_send_that_raises_after_waiting_is_told(runtime: Runtime) -> None:
    """transport_failed, with the error; what came behind it is not sent."""
    protocol = UvicornProtocol()
    transport, listener = attached(protocol.send, runtime)
    protocol.waits = 1
    protocol.error = OSError("gone")

    assert transport.write(chunk("a", "b")) is False
    await settle()
    protocol.open()
    await settle()

    assert listener.said == [protocol.error]
    assert protocol.events == []


async def test_starlettes_own_wrapper_is_stepped_through(runtime: Runtime) -> None:
    """It leaves what is sent unchanged, and every application has it."""
    protocol = UvicornProtocol()
    transports: list[AsgiTransport] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        transports.append(attached(send, runtime)[0])

    scope: dict[str, Any] = {"type": "websocket", "headers": []}

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    connection = WebSocket(scope, receive=receive, send=protocol.send)  # type: ignore[arg-type]
    wrapped = wrap_app_handling_exceptions(
        wrap_app_handling_exceptions(app, connection), connection
    )
    await wrapped(scope, receive, protocol.send)  # type: ignore[arg-type]

    assert transports[0].write(chunk("a")) is True
    assert protocol.events == sent("a")


# Elsewhere.


async def test_on_other_servers_a_write_is_a_job(runtime: Runtime) -> None:
    """Foreign code may depend on the task that it runs in."""
    protocol = Protocol()
    transport, listener = attached(protocol.send, runtime)

    assert transport.write(chunk("a", "b")) is False
    assert protocol.events == []
    assert runtime.jobs == 1
    await settle()

    assert protocol.events == sent("a", "b")
    assert listener.said == ["ready"]


async def test_behind_a_middleware_a_write_is_a_job_too(runtime: Runtime) -> None:
    """What it changes in an event, it changes for its own socket."""
    plain, changed = UvicornProtocol(), UvicornProtocol()

    async def middleware(event: Event) -> None:
        event["text"] = event["text"].upper()
        await changed.send(event)

    shared = chunk("a")
    for send in (middleware, plain.send, middleware):
        attached(send, runtime)[0].write(shared)
    await settle()

    assert plain.events == sent("a")
    assert changed.events == sent("A", "A")


async def test_a_job_that_fails_is_told(runtime: Runtime) -> None:
    """As a stepped one."""
    protocol = Protocol()
    protocol.error = KeyError("text")
    transport, listener = attached(protocol.send, runtime)

    transport.write(chunk("a"))
    await settle()

    assert listener.said == [protocol.error]


# Closing.


@pytest.mark.parametrize("kind", [Protocol, UvicornProtocol])
async def test_closing_sends_code_and_reason(
    runtime: Runtime, kind: Callable[[], Protocol]
) -> None:
    """In a job, since servers wait for the client there."""
    protocol = kind()
    transport, listener = attached(protocol.send, runtime)

    assert transport.close(4000, "bye") is False
    await settle()

    assert protocol.events == [{"type": "websocket.close", "code": 4000, "reason": "bye"}]
    assert listener.said == ["closed"]


@pytest.mark.parametrize(
    ("reason", "travels"),
    [("x" * 200, "x" * 123), ("ü" * 100, "ü" * 61), ("", ""), ("a\ud800b", "a?b")],
    ids=["long", "not ASCII", "empty", "half a character"],
)
async def test_a_reason_is_cut_to_what_can_travel(
    runtime: Runtime, reason: str, travels: str
) -> None:
    """123 bytes of UTF-8; it must never cost the close its code."""
    protocol = Protocol()
    transport, _ = attached(protocol.send, runtime)

    transport.close(4000, reason)
    await settle()

    assert protocol.events[0]["reason"] == travels


async def test_a_close_that_fails_is_told(runtime: Runtime) -> None:
    """With the error."""
    protocol = Protocol()
    protocol.error = RuntimeError("closed before")
    transport, listener = attached(protocol.send, runtime)

    transport.close(1000, "")
    await settle()

    assert listener.said == [protocol.error]


async def test_a_close_that_is_cancelled_is_told(runtime: Runtime) -> None:
    """A loop that ends cancels everything; whoever waits for the close must not wait on."""
    protocol = Protocol()
    protocol.waits = 1
    transport, listener = attached(protocol.send, runtime)
    transport.close(1000, "")
    await settle()

    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        if task.get_name() == "websocket close":
            task.cancel()
    await settle()

    assert len(listener.said) == 1
    assert isinstance(listener.said[0], asyncio.CancelledError)


async def test_a_server_that_still_holds_a_closed_socket_is_made_to_drop_it(
    runtime: Runtime,
) -> None:
    """After a while, as a client that does not read would keep it for ever."""
    protocol = Protocol()
    transport, _ = attached(protocol.send, runtime, linger=5.0)
    assert protocol.transport is not None

    transport.close(1000, "")
    await asyncio.sleep(4.9)
    assert protocol.transport.aborted == 0
    await asyncio.sleep(0.3)

    assert protocol.transport.aborted == 1


# Giving up.


async def test_aborting_drops_the_socket_and_what_is_under_way(runtime: Runtime) -> None:
    """Idempotent; the send that waits is cancelled."""
    protocol = UvicornProtocol()
    protocol.waits = 1
    transport, listener = attached(protocol.send, runtime)
    transport.write(chunk("a"))
    await settle()

    transport.abort()
    transport.abort()
    await settle()

    assert protocol.transport is not None
    assert protocol.transport.aborted == 2
    assert protocol.cancelled == 1
    assert protocol.events == []
    assert "ready" not in listener.said


async def test_without_a_transport_within_reach_aborting_cancels(runtime: Runtime) -> None:
    """And leaves the socket to the server."""
    protocol = Protocol()
    protocol.transport = None
    protocol.waits = 1
    transport, _ = attached(protocol.send, runtime)
    transport.write(chunk("a"))
    await settle()

    transport.abort()
    await settle()

    assert protocol.cancelled == 1
    assert runtime.jobs == 0
    assert not transport.gone


async def test_a_socket_that_the_server_dropped_is_gone(runtime: Runtime) -> None:
    """As far as its transport can be seen."""
    protocol = Protocol()
    transport, _ = attached(protocol.send, runtime)
    assert protocol.transport is not None

    assert not transport.gone
    protocol.transport.closing = True

    assert transport.gone


async def test_bytes_that_the_server_holds_back_are_unsent(runtime: Runtime) -> None:
    """They wait for a client that does not read."""
    protocol = Protocol()
    transport, _ = attached(protocol.send, runtime)
    assert protocol.transport is not None

    assert not transport.unsent
    protocol.transport.buffered = 1

    assert transport.unsent


async def test_a_tls_transport_that_was_closed_twice_holds_nothing_back(runtime: Runtime) -> None:
    """asyncio's forgets all that it had, and uvicorn closes twice."""
    protocol = Protocol()
    transport, _ = attached(protocol.send, runtime)

    class ClosedTwice(SocketTransport):
        def get_write_buffer_size(self) -> int:
            raise AttributeError("'NoneType' object has no attribute '_get_write_buffer_size'")

    protocol.transport = ClosedTwice()

    assert not transport.unsent


# Finding the server's transport.


def wrapped_in_a_closure(send: Any) -> Any:
    """Wrap ``send`` as middlewares do."""

    async def sender(event: Event) -> None:
        await send(event)

    return sender


def wrapped_under_another_name(send: Any) -> Any:
    """The same, with an underscore."""
    _send = send

    async def sender(event: Event) -> None:
        await _send(event)

    return sender


class WrappedInAnObject:
    """A middleware that is an object."""

    def __init__(self, send: Any) -> None:
        self.send = send

    async def sender(self, event: Event) -> None:
        await self.send(event)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda send: send,
        wrapped_in_a_closure,
        wrapped_under_another_name,
        lambda send: WrappedInAnObject(send).sender,
        lambda send: wrapped_in_a_closure(WrappedInAnObject(wrapped_in_a_closure(send)).sender),
    ],
    ids=["bare", "closure", "underscore", "object", "several"],
)
def test_the_transport_is_found_below_wrappers(wrap: Callable[[Any], Any]) -> None:
    """Uvicorn's and hypercorn's."""
    protocol = Protocol()
    hypercorn = Protocol()
    hypercorn.writer = SimpleNamespace(transport=hypercorn.transport)  # type: ignore[attr-defined]
    del hypercorn.transport

    found: list[object] = [server_transport(wrap(each.send)) for each in (protocol, hypercorn)]

    assert found[0] is protocol.transport
    assert found[1] is hypercorn.writer.transport  # type: ignore[attr-defined]


def test_where_there_is_none_none_is_found() -> None:
    """Also in circles, and in whatever else may be called."""

    class Circle:
        async def send(self, event: Event) -> None:
            """Be one's own wrapper."""

    class Odd:
        async def __call__(self, event: Event) -> None:
            """Be no function."""

    without = Protocol()
    without.transport = None
    with_something_else = Protocol()
    with_something_else.transport = object()  # type: ignore[assignment]

    for send in (Circle().send, Odd(), without.send, with_something_else.send, print):
        assert server_transport(send) is None  # type: ignore[arg-type]
