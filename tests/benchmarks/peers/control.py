"""
What the Python servers of the benchmark share: commands, payloads, and how uvicorn is run.

A server says ``listening PORT``, takes one command a line on its standard input and answers each
with one line. It ends when its input does, so none outlives the harness:

* ``publish MODE COUNT SIZE RATE FIRST`` -> ``published COUNT SECONDS``: messages of SIZE bytes,
  numbered from FIRST. MODE ``one`` waits for each fan-out before the next, as far as the server's
  library waits; ``queued`` has up to :data:`DEPTH` of them wait; ``bursts`` has :data:`BURST` of
  them wait each time. RATE is messages a second, or bursts; 0 is as fast as the library's own flow
  control allows.
* ``members`` -> ``members COUNT``.
* ``gc`` -> ``gc LONGEST COLLECTIONS``: milliseconds of the longest pause since the last time.
* ``collect`` -> ``collected``: garbage is thrown away, so that what is measured then is in use.

A server may take further commands, of its own.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import uvicorn
import uvloop

__all__ = [
    "BURST",
    "DEPTH",
    "Publisher",
    "frame",
    "listen",
    "payload",
    "run",
    "serve",
    "take_commands",
]

DEPTH = 64
"""Publications that wait together in mode ``queued``."""

DEPTH_BYTES = 256 * 1024
"""Bytes that wait together in mode ``queued``."""

BURST = 10
"""Publications that come together in mode ``bursts``."""

Commands = Mapping[str, Callable[..., Awaitable[str]]]
"""Further commands: each takes the words that follow it, and returns those of the answer."""


class Publisher(Protocol):
    """What a server is told to do."""

    async def one(self, text: str) -> None:
        """Send to every member, and wait as the library waits."""
        ...

    async def queued(self, texts: list[str]) -> None:
        """Have all of them wait, and return when more may come."""
        ...

    def members(self) -> int:
        """Return how many get what is sent."""
        ...


def payload(sequence: int, size: int) -> str:
    """Return a message as :mod:`supervisor.cli.load.payload` has it, which peers do not import."""
    return f"wsb:{sequence:08}:{time.monotonic_ns():020}:".ljust(size, "x")


def frame(text: str) -> bytes:
    """Return the WebSocket frame of a text message, as a server sends it."""
    data = text.encode()
    if len(data) < 126:
        return bytes((0x81, len(data))) + data
    if len(data) < 1 << 16:
        return b"\x81\x7e" + len(data).to_bytes(2, "big") + data
    return b"\x81\x7f" + len(data).to_bytes(8, "big") + data


def listen() -> socket.socket:
    """Return a listening socket on a free port of 127.0.0.1."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(4096)
    listener.setblocking(False)
    return listener


class _Pauses:
    """How long the garbage collector stopped the process."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.collections = 0
        self._began = 0.0
        gc.callbacks.append(self._called)

    def _called(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self.longest = max(self.longest, time.perf_counter() - self._began)
            self.collections += 1

    def answer(self) -> str:
        """Return the answer to ``gc``."""
        answer = f"gc {self.longest * 1000:.3f} {self.collections}"
        self.longest, self.collections = 0.0, 0
        return answer


async def take_commands(
    listener: socket.socket, publisher: Publisher, commands: Commands | None = None
) -> None:
    """Say where the server listens, and do what standard input says, to its end."""
    pauses = _Pauses()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    print("listening", listener.getsockname()[1], flush=True)
    while line := (await reader.readline()).decode().split():
        match line:
            case ["publish", mode, count, size, rate, first]:
                began = time.monotonic()
                await _publish(publisher, mode, int(count), int(size), float(rate), int(first))
                answer = f"published {count} {time.monotonic() - began:.6f}"
            case ["members"]:
                answer = f"members {publisher.members()}"
            case ["gc"]:
                answer = pauses.answer()
            case ["collect"]:
                gc.collect()
                answer = "collected"
            case [word, *words] if commands is not None and word in commands:
                answer = f"{word} {await commands[word](*words)}"
            case _:
                answer = f"unknown {line}"
        print(answer, flush=True)
    os._exit(0)  # its clients are the harness, which has gone or wants it to go


async def _publish(
    publisher: Publisher, mode: str, count: int, size: int, rate: float, first: int
) -> None:
    if mode == "queued":
        depth = max(1, min(DEPTH, DEPTH_BYTES // size))
        for begin in range(first, first + count, depth):
            end = min(begin + depth, first + count)
            await publisher.queued([payload(sequence, size) for sequence in range(begin, end)])
            await asyncio.sleep(0)  # the loop serves its sockets
        return
    together = BURST if mode == "bursts" else 1
    began = time.monotonic()
    for index in range(0, count, together):
        if rate:
            due = began + index / together / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        if mode == "bursts":
            numbers = range(first + index, first + min(index + together, count))
            await publisher.queued([payload(number, size) for number in numbers])
        else:
            await publisher.one(payload(first + index, size))
        await asyncio.sleep(0)


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a server of its own on uvloop."""

    async def until_done() -> None:
        await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_done())


def serve(
    app: Any,
    publisher: Publisher,
    *,
    ws: Any = "websockets-sansio",
    prepare: Callable[[], Awaitable[None]] | None = None,
    commands: Commands | None = None,
) -> None:
    """
    Serve an ASGI application with uvicorn on uvloop, and take commands.

    No access log, no compression and no pings: none of the compared servers does that here.

    Args:
        app: The application.
        publisher: Does what the commands say.
        ws: uvicorn's class for WebSockets.
        prepare: What is done once the application has started, before any command.
        commands: Further commands.
    """
    listener = listen()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            ws=ws,
            ws_ping_interval=None,
            ws_per_message_deflate=False,
            log_level="error",
            access_log=False,
            backlog=4096,
        )
    )

    async def main() -> None:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if prepare is not None:
            await prepare()
        await asyncio.gather(serving, take_commands(listener, publisher, commands))

    run(main)
