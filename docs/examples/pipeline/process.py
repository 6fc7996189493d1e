"""
A child process with its own process group and two pipes. POSIX only.

asyncio's own pipes are not used: until Python 3.13, ``Process.wait()`` returns
only when they are closed, which a grandchild that inherited them can
delay for ever. Here waiting for the process and reading its output are apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Child"]


class Child:
    """
    A running command. Make one with :meth:`start`, and always :meth:`stop` and :meth:`close` it.

    Attributes:
        stdout: Reader of its standard output.
        stderr: Reader of its standard error.
    """

    def __init__(self, process: asyncio.subprocess.Process, streams: Sequence[_Pipe]) -> None:
        self._process = process
        self._streams = streams
        self._ended = False
        self.stdout = streams[0].reader
        self.stderr = streams[1].reader

    @classmethod
    async def start(cls, command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> Child:
        """
        Start ``command`` in a new session, with nothing to read from standard input.

        Raises:
            OSError: If the program is missing or cannot be executed.
        """
        streams: list[_Pipe] = []
        ends: list[int] = []
        try:
            for _ in range(2):
                reading, writing = os.pipe()
                ends.append(writing)
                streams.append(await _Pipe.open(reading))
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=ends[0],
                stderr=ends[1],
                cwd=cwd,
                env=dict(env),
                start_new_session=True,
            )
        except BaseException:
            for stream in streams:
                stream.close()
            raise
        finally:
            for end in ends:
                os.close(end)
        return cls(process, streams)

    @property
    def exit_code(self) -> int | None:
        """Return the exit code, minus the signal's number if one killed it, or None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until the process has ended, whoever still holds its pipes. Cancelling does no harm."""
        return await self._process.wait()

    async def stop(self, grace: float) -> None:
        """
        End the whole process group: ask, wait ``grace`` seconds, kill. Idempotent.

        If the process itself has ended, what it left running is killed at once.
        """
        if self.exit_code is None:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._process.wait()
        self.kill()
        await self._process.wait()
        self._ended = True  # from now on the system may give the group's number to somebody else

    def kill(self) -> None:
        """Kill the whole process group at once. Idempotent, never waits."""
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """Close the reading ends of the pipes. Idempotent."""
        for stream in self._streams:
            stream.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._ended:
            return
        # Nobody left is no error; macOS calls it a lack of permission when only zombies are.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


class _Pipe:
    """The reading end of a pipe as a StreamReader, which stops reading when nobody takes its bytes."""

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.ReadTransport) -> None:
        self.reader = reader
        self._transport = transport

    @classmethod
    async def open(cls, descriptor: int) -> _Pipe:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=65_536)
        file = os.fdopen(descriptor, "rb", 0)
        try:
            transport, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), file
            )
        except BaseException:
            file.close()
            raise
        return cls(reader, transport)

    def close(self) -> None:
        self._transport.close()
