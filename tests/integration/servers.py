"""
Real servers, as subprocesses: what kinds there are, and how a test talks to one.

A server serves many tests; each of them gets it at rest and has to leave it so, which
:meth:`Server.at_rest` and :meth:`Server.complaints` check.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

__all__ = ["GRACE", "KINDS", "LARGE", "MESSAGE_LIMIT", "SEND_TIMEOUT", "Kind", "Server"]

APP = "tests.integration.apps:app"

LEASH = Path(__file__).with_name("leash.py")

SEND_TIMEOUT = 1.0
"""Seconds after which a socket that takes nothing is given up."""

GRACE = 5.0
"""Seconds within which a server that was told to stop has to be gone."""

MESSAGE_LIMIT = 64 << 10
"""Bytes of the largest message that a session takes."""

SERVER_LIMIT = 1 << 20
"""Bytes of the largest message that the server takes, where that can be set."""

LARGE = 64 << 10
"""Bytes of a message of which the kernel takes some 45 for a client that does not read; one on
the fast path, which keeps what is unsent where it can be seen."""

ENVIRONMENT = {
    "WSUPERVISOR_SEND_TIMEOUT": f"{SEND_TIMEOUT}",
    "WSUPERVISOR_CLOSE_TIMEOUT": f"{SEND_TIMEOUT}",
    "WSUPERVISOR_DISCONNECT_GRACE": "0.5",
    "WSUPERVISOR_SHUTDOWN_GRACE": "0.5",
    "WSUPERVISOR_DRAIN_TIMEOUT": "2",
    "WSUPERVISOR_MAX_MESSAGE_BYTES": f"{MESSAGE_LIMIT}",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True)
class Kind:
    """
    One way to serve the application.

    Attributes:
        name: What tests and their reports call it.
        command: What follows ``python -m``; PORT is filled in.
        needs: A module that has to be there.
        pings: Options with which the server drops a client that does not answer its pings
            within a second; empty where it cannot.
        reachable: Whether the server's own transport can be reached, so that a socket can be
            aborted: the descriptor of a stalled client is freed at its deadline.
        crowd: How many clients it is tried with.
        held: Messages of :data:`LARGE` bytes that are kept for a client that does not read, and
            make it lag: what the kernel takes, and a part of its mailbox.
        frame_limit: Bytes of the largest message that the server takes.
        garbage_noise: Exceptions that the server itself reports when a client sends garbage.
        noise: Exceptions that the server itself reports when it is stopped.
    """

    name: str
    command: str
    needs: str
    pings: str = ""
    reachable: bool = True
    crowd: int = 200
    held: int = 56
    frame_limit: int = SERVER_LIMIT
    garbage_noise: frozenset[str] = frozenset()
    noise: frozenset[str] = frozenset()

    def skip_if_missing(self) -> None:
        """Skip the test where the installed versions have no such server, and only there."""
        try:
            found = importlib.util.find_spec(self.needs) is not None
        except ModuleNotFoundError:
            found = False
        if not found:
            pytest.skip(f"{self.needs} does not exist in the installed versions")


_SANSIO = "uvicorn.protocols.websockets.websockets_sansio_impl"


def _uvicorn(
    name: str,
    websockets: str,
    loop: str,
    needs: str,
    *,
    pings: bool = True,
    held: int = 56,
    garbage_noise: frozenset[str] = frozenset({"UnicodeDecodeError"}),
) -> Kind:
    return Kind(
        name,
        f"uvicorn {APP} --host 127.0.0.1 --port PORT --ws {websockets} --loop {loop} "
        f"--ws-max-size {SERVER_LIMIT} --log-level warning --no-access-log",
        needs,
        pings="--ws-ping-interval 0.5 --ws-ping-timeout 0.5" if pings else "",
        held=held,
        garbage_noise=garbage_noise,
    )


SUPERVISED = "supervisor.integrations.uvicorn:SupervisedProtocol"

KINDS = (
    *(
        _uvicorn(
            f"supervised-{loop}", SUPERVISED, loop, _SANSIO, held=14, garbage_noise=frozenset()
        )
        for loop in ("uvloop", "asyncio")
    ),
    _uvicorn("uvicorn-default-uvloop", "auto", "uvloop", "uvloop"),
    _uvicorn(
        "uvicorn-websockets",
        "websockets",
        "asyncio",
        "uvicorn.protocols.websockets.websockets_impl",
    ),
    _uvicorn("uvicorn-sansio", "websockets-sansio", "asyncio", _SANSIO),
    _uvicorn(
        "uvicorn-wsproto",
        "wsproto",
        "asyncio",
        "uvicorn.protocols.websockets.wsproto_impl",
        pings=hasattr(WSProtocol, "send_keepalive_ping"),  # not with the oldest uvicorn
    ),
    Kind(
        "hypercorn",
        f"hypercorn {APP} --bind 127.0.0.1:PORT --log-level warning",
        "hypercorn",
        crowd=100,
        frame_limit=16 << 20,
        noise=frozenset({"CancelledError"}),  # the tasks of sockets that it cancels
    ),
    Kind(
        "granian",
        f"granian {APP} --interface asgi --host 127.0.0.1 --port PORT --workers 1 "
        "--loop asyncio --log-level warning",
        "granian",
        reachable=False,
        crowd=100,
        frame_limit=16 << 20,
    ),
)


@dataclass
class Server:
    """
    One running server.

    Attributes:
        kind: How it serves.
        process: What was started; its worker may be a child.
        port: Where it listens.
        log: The file that it writes to.
        expected: Names of exceptions that the running test lets endpoints raise.
        tls: How to speak to it, if it was started to speak TLS.
    """

    kind: Kind
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    expected: set[str] = field(default_factory=set)
    tls: ssl.SSLContext | None = None
    _read_up_to: int = 0
    _at_rest: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def start(cls, kind: Kind, log: Path, options: str = "") -> Server:
        """Start a server of that kind and wait until it answers."""
        port = free_port()
        arguments = f"{kind.command} {options}".replace("PORT", str(port)).split()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, LEASH, "-m", *arguments],
                cwd=Path(__file__).parents[2],
                env={**os.environ, **ENVIRONMENT},
                stdout=output,
                stderr=output,
                start_new_session=True,  # so that its worker can be killed with it
            )
        server = cls(kind, process, port, log)
        try:
            server._wait_until_it_answers(20)
        except BaseException:
            server.kill()
            raise
        return server

    def url(self, path: str, **query: object) -> str:
        """Return the address of a WebSocket endpoint."""
        return f"ws://127.0.0.1:{self.port}{_target(path, query)}"

    async def get(self, path: str, **query: object) -> Any:
        """Ask; return the answer's data."""
        return await self._request("GET", _target(path, query))

    async def post(self, path: str, **query: object) -> Any:
        """Have something done; return the answer's data."""
        return await self._request("POST", _target(path, query))

    async def report(self) -> dict[str, Any]:
        """Return what the process holds."""
        found: dict[str, Any] = await self.get("/report")
        return found

    async def statistics(self, name: str) -> dict[str, Any]:
        """Return the statistics of one supervisor."""
        found: dict[str, Any] = (await self.report())["supervisors"][name]
        return found

    async def closed(self, name: str, room: str) -> list[dict[str, Any]]:
        """Return what is remembered of closed connections that were in ``room``."""
        return [one for one in await self.get(f"/closed/{name}") if room in one["rooms"]]

    async def eventually(
        self,
        found: Callable[[], Awaitable[Any]],
        condition: Callable[[Any], bool],
        what: str,
        seconds: float = 5.0,
    ) -> Any:
        """Ask until the answer meets ``condition``; return it, or fail with the last one."""
        deadline = time.monotonic() + seconds
        while not condition(answer := await found()):
            if time.monotonic() > deadline:
                pytest.fail(f"{what}: not within {seconds} s; the last answer was {answer}")
            await asyncio.sleep(0.02)
        return answer

    async def members(self, name: str, room: str, count: int, seconds: float = 5.0) -> Any:
        """Wait until ``room`` has so many members; return them."""
        return await self.eventually(
            lambda: self.get(f"/members/{name}/{room}"),
            lambda members: len(members) == count,
            f"{count} members in {room}",
            seconds,
        )

    async def fill(self, face: str, room: str, count: int) -> dict[str, int]:
        """Publish large messages, not faster than the server hands them to the kernel."""
        receipt: dict[str, int] = await self.post(
            f"/publish/{face}/{room}", count=count, size=LARGE, pause=0.001
        )
        return receipt

    async def steady(self, face: str, room: str, rate: float) -> None:
        """Publish numbered messages, ``rate`` in a second, until :meth:`stop_publishing`."""
        await self.post(f"/steady/{face}/{room}", rate=rate)

    async def stop_publishing(self, face: str, room: str) -> int:
        """Stop; return how many messages were published."""
        published: int = await self.post(f"/stop/{face}/{room}")
        return published

    async def until_lagging(self, name: str) -> None:
        """Wait until messages wait for a client."""
        await self.eventually(
            lambda: self.statistics(name), lambda now: now["waiting"] > 0, "a client lags"
        )

    async def note_rest(self) -> None:
        """Take what it holds now for what it holds at rest."""
        self._at_rest = await self.report()

    async def at_rest(self, seconds: float = 8.0) -> None:
        """Wait until nothing is left of what tests did: no connection, task or descriptor."""
        await self.eventually(self._left_over, lambda left: not left, "server at rest", seconds)

    async def _left_over(self) -> dict[str, Any]:
        report = await self.report()
        left: dict[str, Any] = {}
        for name, statistics in report["supervisors"].items():
            for what in ("connections", "closing", "users", "rooms", "waiting", "jobs"):
                if statistics[what]:
                    left[f"{name}.{what}"] = statistics[what]
        if report["descriptors"] > self._at_rest["descriptors"]:
            left["descriptors"] = f"{report['descriptors']}, not {self._at_rest['descriptors']}"
        if len(report["tasks"]) > len(self._at_rest["tasks"]):
            left["tasks"] = report["tasks"]
        joined, gone = (
            {
                name.partition(".")[0]: count
                for name, count in report["memberships"].items()
                if name.endswith(what)
            }
            for what in (".joined", ".left")
        )
        if joined != gone:
            left["hooks"] = report["memberships"]
        if report["active_connections"] or report["user_connections"]:
            left["views"] = report["active_connections"] | report["user_connections"]
        if not report["healthy"]:
            left["healthy"] = False
        return left

    def complaints(self) -> list[str]:
        """Return what the log says of trouble since the last call, and no test expected."""
        text = self.log.read_text(errors="replace")
        new, self._read_up_to = text[self._read_up_to :], len(text)
        return complaints(new, self.expected, self.kind.noise)

    def stop(self, seconds: float = GRACE) -> float:
        """Tell it to stop; return after how many seconds it was gone."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(
                f"{self.kind.name} was not gone {seconds} s after SIGTERM; its log:\n"
                + self.log.read_text(errors="replace")[-5000:]
            )
        return time.monotonic() - started

    def kill(self) -> None:
        """End it, and its worker, at once."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(5)

    def _wait_until_it_answers(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1):
                    return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(
                        f"{self.kind.name} did not start:\n{self.log.read_text(errors='replace')}"
                    )
                time.sleep(0.02)

    async def _request(self, method: str, target: str) -> Any:
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls)
            try:
                writer.write(
                    f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
                    "Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
                )
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"(?im)^content-length: *(\d+)", head)
                assert length is not None, head
                body = await reader.readexactly(int(length[1]))
            finally:
                writer.close()
        assert head.split(" ", 2)[1] == "200", head + body.decode()
        return json.loads(body)


_TROUBLE = re.compile(
    r"ERROR|CRITICAL|never retrieved|never awaited|was destroyed"
    r"|node\.fault|hook\.failed|\.crashed|connection\.zombie"
)
_TRACEBACK = re.compile(
    r"^[ |+]*(?:Exception Group )?Traceback \(most recent call last\):\n"
    r"(?P<frames>(?:[ |].*\n)*)(?P<error>[\w.]+)?.*",
    re.MULTILINE,
)
_OURS = re.compile(r'File "[^"]*/(?:actors|supervisor)/')


def complaints(log: str, expected: set[str], noise: frozenset[str]) -> list[str]:
    """
    Return what ``log`` says of trouble: tracebacks, and lines that tell of an error.

    Args:
        log: What a server wrote.
        expected: Names of exceptions whose tracebacks are passed over, and the lines with them.
        noise: The same, where none of our code is in the traceback.
    """
    tracebacks = list(_TRACEBACK.finditer(log))
    trouble = []
    for traceback in tracebacks:
        name = (traceback["error"] or "").rpartition(".")[2]
        passed_over = name in expected or (name in noise and not _OURS.search(traceback["frames"]))
        if not passed_over:
            trouble.append(traceback[0])
    if not tracebacks or trouble:
        rest = _TRACEBACK.sub("", log)
        trouble += [line for line in rest.splitlines() if _TROUBLE.search(line)]
    return trouble


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _target(path: str, query: dict[str, object]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return quote(path) + (f"?{urlencode(given)}" if given else "")
