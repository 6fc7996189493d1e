"""Warns of servers that are known to lack what bounded memory needs."""

from __future__ import annotations

import re
from importlib import metadata

from supervisor.telemetry.logging import event_logger

__all__ = ["warn_about_server"]


def warn_about_server() -> None:
    """
    Warn when the installed uvicorn is one of those without backpressure.

    The default WebSocket class of uvicorn 0.50.0 to 0.52.0 never paused a writer: what a
    client does not read piles up in the server (fixed in 0.52.1).
    """
    try:
        version = metadata.version("uvicorn")
    except metadata.PackageNotFoundError:
        return
    if lacks_backpressure(version):
        event_logger().warning(
            "server.without_backpressure",
            server="uvicorn",
            version=version,
            fixed_in="0.52.1",
            hint="what clients do not read piles up in memory; install 'uvicorn>=0.52.1'",
        )


def lacks_backpressure(uvicorn_version: str) -> bool:
    """Whether that uvicorn never applies backpressure with its default WebSocket class."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", uvicorn_version)
    if found is None:
        return False
    version = tuple(int(part or 0) for part in found.groups())
    return (0, 50, 0) <= version <= (0, 52, 0)
