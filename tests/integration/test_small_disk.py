"""A server whose disk is full, and has space again: what publishers, clients and operators notice."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from tests.integration.clients import visit
from tests.integration.conftest import Start
from tests.integration.servers import Kind, Server

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(60),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no limit of the size of files"),
]

KIND = Kind(
    "small-disk",
    "uvicorn tests.integration.small_disk:app --host 127.0.0.1 --port PORT --log-level warning",
    "uvicorn",
)

FULL = 16 << 10
"""Bytes that a file may have where the disk is to be full."""

LINE = 40_000
"""Bytes of a line that does not fit then, wherever in the write-ahead log it would lie."""


@pytest.fixture
def open_server(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what starts a server whose store fails as its argument says."""

    def begin(failure: str) -> Server:
        monkeypatch.setenv("STORE", str(tmp_path / "feeds.db"))
        monkeypatch.setenv("STORE_FAILURE", failure)
        return start(KIND)

    return begin


async def line(server: Server, text: str) -> dict[str, Any]:
    """Publish a line; return what the publisher is told."""
    told: dict[str, Any] = await server.post("/publish/log:run", text=text, size=LINE)
    return told


async def read(client: ClientConnection) -> str:
    """Return what a client reads next, without what makes it long."""
    return str(await client.recv()).rstrip(".")


async def until_ready(server: Server, ready: bool) -> None:
    """Wait until a proxy is told so."""
    await server.eventually(
        lambda: server.get("/ready"), lambda now: now["ready"] is ready, f"ready is {ready}"
    )


async def test_publishers_are_refused_while_the_disk_is_full(open_server: Any) -> None:
    """Events go on; the log goes on where it was when there is space, without a hole."""
    server = open_server("refuse")
    async with visit(server, "/rooms/log:run") as viewer, visit(server, "/rooms/chat") as chat:
        epoch, first = (await line(server, "first"))["position"]
        assert await read(viewer) == "first"

        await server.post("/limit", size=FULL)
        for attempt in range(3):
            told = await line(server, f"refused {attempt}")
            assert "feeds.db" in told["refused"]
        await until_ready(server, False)
        assert (await server.get("/ready"))["healthy"]
        assert (await server.post("/publish/chat", text="still here"))["accepted"] == 1
        assert await read(chat) == "still here"

        await server.post("/limit", size=-1)
        await until_ready(server, True)  # although nobody publishes
        assert (await line(server, "second"))["position"] == [epoch, first + 1]
        assert await read(viewer) == "second"

    async with visit(server, "/rooms/log:run") as reader:
        assert [await read(reader) for _ in range(2)] == ["first", "second"]
    log = server.log.read_text()
    assert log.count("history.failed") == 1
    assert log.count("history.recovered") == 1
    assert "history.fallback" not in log


async def test_rooms_go_on_in_memory_where_the_setting_says_so(open_server: Any) -> None:
    """Under another epoch, loudly, and not ready until the restart; the file has what it had."""
    server = open_server("memory")
    async with visit(server, "/rooms/log:run") as viewer:
        epoch, _ = (await line(server, "first"))["position"]
        assert await read(viewer) == "first"

        await server.post("/limit", size=FULL)
        other, offset = (await line(server, "second"))["position"]
        assert other != epoch
        assert offset == 1
        assert await read(viewer) == "second"

        await server.post("/limit", size=-1)
        assert (await line(server, "third"))["position"] == [other, 2]
        assert await read(viewer) == "third"
        assert not (await server.get("/ready"))["ready"]
    log = server.log.read_text()
    assert log.count("history.failed") == 1
    assert log.count("history.fallback") == 1

    server.stop()
    again = open_server("memory")
    await until_ready(again, True)
    async with visit(again, "/rooms/log:run") as reader:
        assert (await line(again, "fourth"))["position"] == [epoch, 2]
        assert [await read(reader) for _ in range(2)] == ["first", "fourth"]
