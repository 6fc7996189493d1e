"""Supervisors, managers and peers for each test, and a look at what they leave behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from starlette.websockets import WebSocketDisconnect

from actors.testing import settle
from supervisor import ConnectionManager, Supervisor
from supervisor.node import Node
from tests.supervisor.asgi import Peer
from tests.supervisor.loops import OtherLoop

if TYPE_CHECKING:
    from tests.supervisor.conversation import Talk

Supervise = Callable[..., Supervisor]
Manage = Callable[..., Any]
NewPeer = Callable[..., Peer]
Events = list[dict[str, Any]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have events captured until all else of a test has ended."""
    for item in items:
        if isinstance(item, pytest.Function) and "events" in item.fixturenames:
            item.fixturenames.remove("events")
            item.fixturenames.insert(0, "events")


def nothing_left(nodes: list[Node]) -> None:
    """Assert that nodes hold nothing any more: no connection, room, job or actor."""
    for node in nodes:
        assert node.registry.snapshot() == []
        assert node.registry.users() == []
        assert len(node.rooms) == 0
        assert len(node.endpoints) == 0
        assert node.open == 0
        assert node.runtime.jobs == 0
        assert node.runtime.actors == 0


@pytest.fixture
async def supervise() -> AsyncIterator[Supervise]:
    """Make supervisors that run; close them in the end, when nothing may be left of them."""
    made: list[Supervisor] = []

    def make(*arguments: Any, start: bool = True, **settings: Any) -> Supervisor:
        supervisor = Supervisor(*arguments, **settings)
        made.append(supervisor)
        if start:
            supervisor.start()
        return supervisor

    yield make
    await _close(made)


@pytest.fixture
async def manage() -> AsyncIterator[Manage]:
    """Make drop-in managers; close them in the end, when nothing may be left of them."""
    made: list[Any] = []

    def make(face: Callable[..., Any] = ConnectionManager, **arguments: Any) -> Any:
        manager = face(**arguments)
        made.append(manager)
        return manager

    yield make
    await _close([manager.supervisor for manager in made])


async def _close(supervisors: list[Supervisor]) -> None:
    for supervisor in supervisors:
        await settle()
        nodes = [node for node in supervisor.nodes if not node.loop.is_closed()]
        await supervisor.aclose()
        nothing_left(nodes)


@pytest.fixture
async def peer(supervise: Supervise, manage: Manage) -> AsyncIterator[NewPeer]:
    """Make peers; in the end they leave, and nothing may be wrong that no test looked at."""
    made: list[Peer] = []

    def make(**arguments: Any) -> Peer:
        made.append(Peer(**arguments))
        return made[-1]

    yield make
    for each in made:
        if each.running:
            each.resume()
            each.vanish()
    for each in made:
        if each.running or (each.opened and not each.looked_at):
            error = await each.end()
            if error is not None and not isinstance(error, WebSocketDisconnect):
                raise error
    assert [fault for each in made for fault in each.faults] == []


@pytest.fixture
async def other(supervise: Supervise, manage: Manage) -> AsyncIterator[OtherLoop]:
    """Run a second loop; for tests on the real clock."""
    other = OtherLoop()
    yield other
    other.stop()


@pytest.fixture
async def talk() -> AsyncIterator[Talk]:
    """Begin conversations, and see that each of them ends and leaves nothing behind."""
    from tests.supervisor.conversation import Conversation  # which not every uvicorn allows

    begun: list[Conversation] = []

    async def begin(*arguments: Any, headers: str = "", more: bytes = b"", **how: Any) -> Any:
        conversation = Conversation(*arguments, **how)
        begun.append(conversation)
        await conversation.begin(headers, more)
        return conversation

    yield begin
    for each in begun:
        each.tcp.reset()
        await settle()
        for task in each.state.tasks:
            task.cancel()
        await settle()
        assert not each.state.connections
        assert not each.state.tasks


@pytest.fixture
def events() -> Iterator[Events]:
    """Return the events logged so far, as an application with structlog gets them."""
    capture = structlog.testing.LogCapture()
    structlog.configure(processors=[capture])
    yield capture.entries  # type: ignore[misc]  # entries are mutable mappings
    structlog.reset_defaults()


def named(events: Events, name: str) -> Events:
    """Return the events of that name."""
    return [event for event in events if event["event"] == name]


async def done(result: Any) -> Any:
    """Wait for what was called, if it has to be waited for."""
    return await result if isinstance(result, Awaitable) else result
