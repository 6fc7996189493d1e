"""A server of the benchmark as a process: started on its core, commanded, and stopped by its id."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from supervisor.cli.load import ServerProcess
from tests.benchmarks.environment import ROOT, Machine

__all__ = ["ServerError", "ServerOfPeer", "free_port"]

START_SECONDS = 20.0


class ServerError(Exception):
    """A server did not start, did not answer, or has ended."""


class ServerOfPeer:
    """
    One process.

    Attributes:
        port: Where its WebSockets are.
        process: What it spends.
    """

    def __init__(self, child: asyncio.subprocess.Process, log: Path) -> None:
        self.port = 0
        self.process = ServerProcess(child.pid)
        self._child = child
        self._log = log

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        machine: Machine,
        log: Path,
        *,
        variables: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> ServerOfPeer:
        """
        Start it, and wait until it listens.

        Args:
            command: What to run.
            machine: Says which core it is pinned to.
            log: What it says of trouble.
            variables: Of its environment, beside the caller's.
            port: Where it will listen; without it, it says so on its standard output.

        Raises:
            ServerError: If it does not.
        """
        with log.open("wb") as errors, _on_core(machine.server_core):
            child = await asyncio.create_subprocess_exec(
                *command,
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE if port is None else errors,
                stderr=errors,
                env={**os.environ, **(variables or {})},
                start_new_session=True,  # Ctrl-C is the harness's, which stops its servers in turn
            )
        server = cls(child, log)
        try:
            if port is None:
                server.port = int((await server._answer("listening", START_SECONDS))[0])
            else:
                server.port = port
                await server._until_it_listens()
        except BaseException:
            await server.stop()
            raise
        return server

    async def ask(self, command: str, answer: str, seconds: float = 60.0) -> list[str]:
        """
        Send a command; return the words that follow ``answer``.

        Raises:
            ServerError: If there is no such answer within ``seconds``.
        """
        assert self._child.stdin is not None
        self._child.stdin.write(command.encode() + b"\n")
        return await self._answer(answer, seconds)

    async def stop(self) -> None:
        """End it: by the end of its input, or by its id. Idempotent."""
        child = self._child
        if child.stdin is not None:
            child.stdin.close()
        steps = [child.terminate, child.kill]
        if child.stdout is None:  # it takes no commands, and does not look at its input
            child.terminate()
        while child.returncode is None:
            try:
                async with asyncio.timeout(1.5):
                    await child.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    steps.pop(0)() if len(steps) > 1 else child.kill()

    async def _answer(self, word: str, seconds: float) -> list[str]:
        assert self._child.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                line = (await self._child.stdout.readline()).decode()
        except TimeoutError:
            raise ServerError(f"no answer within {seconds:g} s") from None
        words = line.split()
        if not words or words[0] != word:
            raise ServerError(f"it said {line!r} and not {word!r}: {self._complaint()}")
        return words[1:]

    async def _until_it_listens(self) -> None:
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                if self._child.returncode is not None:
                    raise ServerError(f"it ended: {self._complaint()}") from None
                if asyncio.get_running_loop().time() > deadline:
                    raise ServerError(f"it does not listen: {self._complaint()}") from None
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return

    def _complaint(self) -> str:
        return self._log.read_text(errors="replace").strip()[-500:] or "nothing in its log"


@contextlib.contextmanager
def _on_core(core: int | None) -> Iterator[None]:
    """Be on a core for the time being: who is started meanwhile stays there, with all threads."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
