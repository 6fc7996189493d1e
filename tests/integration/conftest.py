"""Servers for the tests: one of each kind for most of them, a fresh one for those that end it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import pytest

from tests.integration.clients import close_code, visit
from tests.integration.faces import FACES
from tests.integration.servers import KINDS, Kind, Server


class Start(Protocol):
    """Starts a server, with options of its own or without."""

    def __call__(self, kind: Kind, options: str = "") -> Server: ...


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Return each kind of server that is installed."""
    found: Kind = request.param
    found.skip_if_missing()
    return found


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> str:
    """Return the name of each face."""
    found: str = request.param
    return found


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start servers; those still there at the end are stopped."""
    logs = tmp_path_factory.mktemp("servers")
    numbers = itertools.count()
    started: list[Server] = []

    def start_one(kind: Kind, options: str = "") -> Server:
        server = Server.start(kind, logs / f"{next(numbers)}-{kind.name}.log", options)
        started.append(server)
        return server

    yield start_one
    for server in started:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="session")
def running() -> dict[str, Server]:
    """Return the servers that tests share."""
    return {}


@pytest.fixture
async def server(kind: Kind, start: Start, running: dict[str, Server]) -> AsyncIterator[Server]:
    """Return a server at rest; after the test it has to be so again, with nothing in its log."""
    server = running.get(kind.name)
    if server is None or server.process.poll() is not None:
        server = running[kind.name] = start(kind)
        await warm_up(server)
    server.expected = set()
    yield server
    try:
        await server.at_rest()
    except BaseException:
        del running[kind.name]  # so that one failure does not become many
        server.kill()
        raise
    assert server.complaints() == []


@pytest.fixture
async def fresh_server(kind: Kind, start: Start) -> Server:
    """Return a server for one test alone, which may end it."""
    server = start(kind)
    await warm_up(server)
    return server


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    """Return a room that no other test uses."""
    return f"room-{next(_rooms)}"


_rooms = itertools.count()


async def warm_up(server: Server) -> None:
    """Have the server make what it makes once, and take what it then holds for its rest."""
    for name in (await server.report())["supervisors"]:
        for path in (f"/{name}/room/warm-up", f"/loud/{name}/room/warm-up"):
            async with visit(server, path) as client:
                await client.send("return")  # the first job, a close, makes the scheduler of jobs
                assert await close_code(client) == 1000
        await server.members(name, "warm-up", 0)
    await server.post("/publish-nowait/modern/warm-up", count=1)  # makes the pool of threads
    await server.note_rest()
    server.complaints()
