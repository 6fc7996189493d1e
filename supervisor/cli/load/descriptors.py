"""File descriptors: a socket takes one, and a shell allows few."""

from __future__ import annotations

from pathlib import Path

from supervisor.cli.load.errors import LoadError

__all__ = ["allow_sockets"]

RESERVE = 64
"""Descriptors that a process needs besides: files, pipes, the event loop's own."""


def allow_sockets(count: int) -> None:
    """
    Raise this process's limit of open files as far as ``count`` more sockets need it.

    Raises:
        LoadError: If the system does not allow so many.
    """
    try:
        import resource  # noqa: PLC0415 - Windows has neither the module nor the limit
    except ImportError:
        return
    needed = count + _open_now() + RESERVE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard not in {resource.RLIM_INFINITY, -1} and hard < needed:
        raise LoadError(
            f"{count:,} sockets need {needed:,} file descriptors; this system allows a process "
            f"{hard:,}. Open at most {max(hard - needed + count, 0):,}, or raise the limit "
            "(ulimit -Hn, LimitNOFILE of systemd, --ulimit nofile of a container)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _open_now() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:  # no Linux
        return 16
