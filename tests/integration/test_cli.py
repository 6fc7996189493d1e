"""The commands as users run them: as processes, with signals."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rich")

from websockets.asyncio.client import connect

from tests.integration.servers import LEASH, free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

FAST_PATH = pytest.param((), marks=pytest.mark.newest, id="fast-path")
ANY_CLASS = pytest.param(("--ws", "auto"), id="auto")

APP = """
from fastapi import FastAPI, WebSocket
from supervisor import Supervisor

supervisor = Supervisor()
app = FastAPI(lifespan=supervisor.lifespan)

@app.websocket("/ws")
async def ws(websocket: WebSocket) -> None:
    async with supervisor.session(websocket, rooms=["all"]) as session:
        async for message in session:
            await supervisor.publish("all", message)

@app.websocket("/deaf")
async def deaf(websocket: WebSocket) -> None:
    async with supervisor.session(websocket) as session:
        async for message in session:
            pass

@app.websocket("/stubborn")
async def stubborn(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        try:
            await websocket.receive_text()
        except Exception:
            import asyncio
            await asyncio.sleep(3600)
"""


class Command:
    """One running command."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"}
        self.process = subprocess.Popen(
            # -P: as for the installed command, the folder is not where modules come from.
            [sys.executable, LEASH, "-P", "-m", "supervisor.cli", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, seconds: float = 40.0) -> tuple[int, str, str]:
        """Wait until it ends; return status and output."""
        output, errors = self.process.communicate(timeout=seconds)
        return self.process.returncode, output, errors

    def kill(self) -> None:
        """End it and what it started, if it is still there."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def commands() -> Iterator[list[Command]]:
    """Collect what has to be gone after the test."""
    found: list[Command] = []
    yield found
    for one in found:
        one.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with an application in it."""
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


async def served(command: Command, port: int) -> None:
    """Wait until it answers."""
    for _ in range(500):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            assert command.process.poll() is None, command.finish()
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return
    pytest.fail("it does not answer")


@pytest.mark.parametrize("options", [FAST_PATH, ANY_CLASS])
async def test_serve_serves_and_stops_at_once(
    folder: Path, commands: list[Command], options: tuple[str, ...]
) -> None:
    """An application of the current folder; SIGTERM closes its clients and ends it."""
    port = free_port()
    command = Command(folder, "serve", "shop:app", "--port", str(port), *options)
    commands.append(command)
    await served(command, port)

    async with connect(f"ws://127.0.0.1:{port}/ws", compression=None, proxy=None) as client:
        await client.send("hello")
        assert await asyncio.wait_for(client.recv(), 5) == "hello"
        command.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(client.wait_closed(), 5)
        assert client.close_code in {1012, 3001}
    status, _, errors = await asyncio.to_thread(command.finish, 10)

    assert status in {0, -signal.SIGTERM}  # uvicorn raises the signal again when it is done
    assert "Traceback" not in errors
    assert "Application shutdown complete" in errors


async def test_serve_stops_in_spite_of_an_endpoint_that_does_not_end(
    folder: Path, commands: list[Command]
) -> None:
    """After the time for it; uvicorn by itself would wait for ever."""
    port = free_port()
    command = Command(
        *(folder, "serve", "shop:app", "--port", str(port), "--ws", "auto"),
        *("--timeout-graceful-shutdown", "1"),
    )
    commands.append(command)
    await served(command, port)

    async with connect(f"ws://127.0.0.1:{port}/stubborn", compression=None, proxy=None):
        started = time.monotonic()
        command.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(command.finish, 10)

    assert time.monotonic() - started < 6


@pytest.mark.parametrize(
    ("app", "words"),
    [("nothing:app", "nothing"), ("shop:nothing", 'Attribute "nothing" not found')],
)
def test_serve_says_what_it_cannot_find(
    folder: Path, commands: list[Command], app: str, words: str
) -> None:
    """As uvicorn does, with a status that is not 0."""
    commands.append(Command(folder, "serve", app, "--port", str(free_port()), "--ws", "auto"))

    status, _, errors = commands[0].finish()

    assert status != 0
    assert words in errors


def measure(commands: list[Command], folder: Path, *arguments: str) -> dict[str, Any]:
    """Run a benchmark; return its report."""
    command = Command(folder, "bench", *arguments, "--json", "-")
    commands.append(command)
    status, output, errors = command.finish()
    assert status == 0, errors
    assert "deliveries" in errors  # the table, where standard output is the report's
    found: dict[str, Any] = json.loads(output)
    return found


@pytest.mark.parametrize("options", [FAST_PATH, pytest.param(("--asgi",), id="asgi")])
def test_bench_measures_our_own_server(
    folder: Path, commands: list[Command], options: tuple[str, ...]
) -> None:
    """Without a URL; nobody loses anything, and the server is known."""
    report = measure(
        *(commands, folder, "--sockets", "100", "--messages", "20", "--rate", "50"),
        *("--publishers", "3", "--html", "chart.html", *options),
    )

    assert report["complete"]
    assert report["published"] == 20
    assert report["result"]["delivered"] == 2000
    assert report["result"]["latency"]["receipts"] == 2000
    assert report["result"]["last_receiver"]["publications"] == 20
    assert 0 < report["cpu_per_delivery"] < 0.01
    assert 0 < report["connection_kib"] < 1000
    assert "<svg" in (folder / "chart.html").read_text()
    assert no_server_left(report)


@pytest.mark.parametrize("options", [FAST_PATH, pytest.param(("--asgi",), id="asgi")])
def test_what_is_in_the_folder_does_not_matter_to_our_own_server(
    folder: Path,
    commands: list[Command],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
) -> None:
    """Nor what the environment says of servers: it is one process."""
    (folder / "actors").mkdir()
    (folder / "actors" / "__init__.py").touch()
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    monkeypatch.setenv("UVICORN_APP_DIR", str(folder))

    report = measure(commands, folder, "--sockets", "5", "--messages", "3", *options)

    assert report["complete"]


def test_bench_as_fast_as_possible(folder: Path, commands: list[Command]) -> None:
    """With a bounded number on its way nothing is lost; latencies are not measured."""
    report = measure(
        *(commands, folder, "--sockets", "20", "--rate", "0", "--duration", "0.5", "--asgi"),
    )

    assert report["complete"]
    assert report["published"] > 20
    assert report["result"]["lost"] == 0
    assert report["result"]["latency"] is None


async def test_bench_measures_a_chat(folder: Path, commands: list[Command]) -> None:
    """Of somebody else, who sends everything to all: publishers are receivers, too."""
    port = free_port()
    server = Command(folder, "serve", "shop:app", "--port", str(port), "--ws", "auto")
    commands.append(server)
    await served(server, port)

    report = await asyncio.to_thread(
        measure,
        *(commands, folder, f"ws://127.0.0.1:{port}/ws", "--sockets", "10", "--messages", "5"),
    )

    assert report["complete"]
    assert report["result"]["delivered"] == 50
    assert report["cpu_per_delivery"] > 0  # found by its port


async def test_a_server_that_is_killed_is_no_measurement(
    folder: Path, commands: list[Command]
) -> None:
    """What was measured until then is reported, with status 1."""
    port = free_port()
    server = Command(folder, "serve", "shop:app", "--port", str(port), "--ws", "auto")
    commands.append(server)
    await served(server, port)
    command = Command(
        *(folder, "bench", f"ws://127.0.0.1:{port}/ws", "--sockets", "5", "--duration", "60"),
        *("--rate", "100", "--json", "-"),
    )
    commands.append(command)
    async with connect(f"ws://127.0.0.1:{port}/ws", compression=None, proxy=None) as client:
        for _ in range(10):  # it measures
            await asyncio.wait_for(client.recv(), 15)

        server.process.kill()
    status, output, errors = await asyncio.to_thread(command.finish, 20)

    assert status == 1, errors
    assert "publishing ended early, connections ended" in " ".join(errors.split())
    report = json.loads(output)
    assert report["problem"]
    assert report["result"]["closed"] == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--publish", "http://127.0.0.1:PORT/nothing"), "nothing answered 404 to a publication"),
        (("--publish", "ws://127.0.0.1:PORT/deaf"), "No socket received anything"),
    ],
)
async def test_bench_says_why_nothing_arrives(
    folder: Path, commands: list[Command], arguments: tuple[str, str], words: str
) -> None:
    """With status 1: it was not interrupted, and it has measured nothing."""
    port = free_port()
    server = Command(folder, "serve", "shop:app", "--port", str(port), "--ws", "auto")
    commands.append(server)
    await served(server, port)
    command = Command(
        *(folder, "bench", f"ws://127.0.0.1:{port}/ws", "--sockets", "3", "--messages", "2"),
        *(one.replace("PORT", str(port)) for one in arguments),
    )
    commands.append(command)

    status, output, errors = await asyncio.to_thread(command.finish, 20)

    assert status == 1
    assert words in output + errors
    assert "Interrupted" not in errors
    assert "--pid" not in output


@pytest.mark.parametrize("after", [0.0, 2.0])
async def test_bench_reports_what_it_has_when_it_is_interrupted(
    folder: Path, commands: list[Command], after: float
) -> None:
    """Ctrl-C: its server is stopped, and the status says so."""
    command = Command(
        folder, "bench", "--asgi", "--sockets", "5", "--duration", "60", "--json", "out.json"
    )
    commands.append(command)
    await asyncio.to_thread(eventually, lambda: children(command.process.pid), 15)
    await asyncio.sleep(after)

    command.process.send_signal(signal.SIGINT)
    status, _, errors = await asyncio.to_thread(command.finish, 20)

    assert status == 130
    assert "Traceback" not in errors
    if (folder / "out.json").exists():
        report = json.loads((folder / "out.json").read_text())
        assert report["interrupted"]
        assert report["complete"]
        assert no_server_left(report)
    else:
        assert "Interrupted before anything was published" in errors


def test_the_server_ends_with_a_bench_that_was_killed(
    folder: Path, commands: list[Command]
) -> None:
    """Nobody is there to stop it; it notices."""
    command = Command(folder, "bench", "--asgi", "--sockets", "5", "--duration", "60")
    commands.append(command)
    server = eventually(lambda: children(command.process.pid), 15)[0]

    command.process.kill()

    eventually(lambda: not Path(f"/proc/{server}").exists(), 15)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ws://127.0.0.1:PORT/ws",), "Is the server running"),
        (("ws://127.0.0.1:PORT/ws", "--pid", "4194305"), "no process 4194305"),
        (("http://127.0.0.1:PORT/ws",), "write it like ws://"),
    ],
)
def test_bench_says_why_it_cannot(
    folder: Path, commands: list[Command], arguments: tuple[str, ...], words: str
) -> None:
    """In a line, with status 1."""
    port = str(free_port())
    command = Command(folder, "bench", *(one.replace("PORT", port) for one in arguments))
    commands.append(command)

    status, _, errors = command.finish()

    assert status == 1
    assert words in errors
    assert "Traceback" not in errors


def eventually(found: Any, seconds: float) -> Any:
    """Ask until the answer is true; return it."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return answer


def children(pid: int) -> list[int]:
    """Return the processes that ``pid`` has started."""
    return [
        int(found)
        for found in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if "serve" in Path(f"/proc/{found}/cmdline").read_text()
    ]


def no_server_left(report: dict[str, Any]) -> bool:
    """Whether nobody listens any more where the server was."""
    port = int(re.findall(r":(\d+)/", report["plan"]["url"])[0])
    return not any(
        fields[1].endswith(f":{port:04X}") and fields[3] == "0A"
        for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
    )
