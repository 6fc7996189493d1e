"""Starts the server that is measured where no other was named, and stops it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import supervisor
from supervisor.cli.load import LoadError
from supervisor.cli.requirements import (
    SUPERVISED,
    require_any_class,
    require_fast_path,
    require_uvicorn,
)

__all__ = ["own_server"]

HOST = "127.0.0.1"

NEEDED_BY = "the server of wsupervisor bench"

START_TIMEOUT = 20.0
STOP_TIMEOUT = 15.0
"""Seconds; more than the server's own timeout of a graceful shutdown."""


@asynccontextmanager
async def own_server(*, supervised: bool = True) -> AsyncIterator[tuple[str, int]]:
    """
    Serve :mod:`supervisor.cli.bench.app` as ``wsupervisor serve`` does, in a process of its own.

    Args:
        supervised: With the protocol class of the fast path; else with uvicorn's default one.

    Yields:
        Host and port, and its process id.

    Raises:
        NotInstalled: If something that it needs is missing, or too old.
        LoadError: If it does not start.
    """
    require_uvicorn(NEEDED_BY)
    if supervised:
        require_fast_path(NEEDED_BY, without="'wsupervisor bench --asgi' measures without it.")
    else:
        require_any_class(NEEDED_BY)
    port = _free_port()
    root = str(Path(supervisor.__file__).parent.parent)
    command = [
        *(sys.executable, "-m", "supervisor.cli", "serve", "supervisor.cli.bench.app:app"),
        *("--host", HOST, "--port", str(port), "--log-level", "warning", "--no-access-log"),
        # Whatever the environment says of a server: one process, which finds this library.
        *("--workers", "1", "--app-dir", root, "--ws", SUPERVISED if supervised else "auto"),
    ]
    leash, hold = os.pipe()  # the server ends when the end that we hold is closed, however we end
    with tempfile.TemporaryFile() as log, ExitStack() as stack:
        stack.callback(os.close, hold)
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=leash,
                stdout=log,
                stderr=log,
                cwd=root,  # what is in the caller's folder is not to be imported
                start_new_session=True,  # Ctrl-C is for us; we stop it when we have reported
            )
        finally:
            os.close(leash)
        try:
            await _until_it_answers(port, process)
            yield f"{HOST}:{port}", process.pid
        except LoadError as error:
            written = _tail(log.fileno())
            raise LoadError(f"{error}\n{written}" if written else str(error)) from error
        finally:
            await asyncio.shield(_stop(process))


async def _until_it_answers(port: int, process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(START_TIMEOUT):
            while process.returncode is None:
                try:
                    _, writer = await asyncio.open_connection(HOST, port)
                except OSError:
                    await asyncio.sleep(0.02)
                    continue
                writer.close()
                await writer.wait_closed()
                return
    except TimeoutError:
        raise LoadError(f"the server did not answer within {START_TIMEOUT:g} s") from None
    raise LoadError("the server did not start")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _tail(log: int) -> str:
    size = os.fstat(log).st_size
    return os.pread(log, 2000, max(size - 2000, 0)).decode(errors="replace").strip()
