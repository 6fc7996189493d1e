"""
What a server's process spends: CPU time and memory, read from ``/proc``.

A server may have workers: its children count. Linux only; elsewhere there is no such process
and the caller reports that it was not measured.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

from supervisor.cli.load.errors import LoadError

__all__ = ["ServerProcess"]

LISTENING = "0A"  # in /proc/net/tcp


class ServerProcess:
    """
    A process and its descendants.

    Args:
        pid: Of the process.
        proc: Where the proc file system is.

    Raises:
        LoadError: If there is no such process, or nothing can be read of it.
    """

    def __init__(self, pid: int, *, proc: Path = Path("/proc")) -> None:
        self.pid = pid
        self._proc = proc
        if not (proc / str(pid) / "stat").is_file():
            raise LoadError(
                f"there is no process {pid} here whose CPU time could be read"
                if proc.is_dir() and (proc / "self").exists()
                else "the CPU time of a server can be read on Linux only"
            )

    @classmethod
    def listening(
        cls, port: int, host: str = "127.0.0.1", *, proc: Path = Path("/proc")
    ) -> ServerProcess | None:
        """
        Return the process that listens on ``port`` of this machine, the topmost if several do.

        None if there is none, or it belongs to somebody else and cannot be seen.
        """
        inodes = set(_listening_inodes(proc, port, host))
        if not inodes:
            return None
        holders = {pid for pid in _pids(proc) if not inodes.isdisjoint(_sockets(proc, pid))}
        parents = {pid: _parent(proc, pid) for pid in holders}
        topmost = sorted(pid for pid in holders if parents[pid] not in holders)
        return cls(topmost[0], proc=proc) if topmost else None

    def tree(self) -> list[int]:
        """Return its process id and those of its descendants."""
        children: dict[int, list[int]] = {}
        for pid in _pids(self._proc):
            children.setdefault(_parent(self._proc, pid), []).append(pid)
        found = [self.pid]
        for pid in found:
            found.extend(children.get(pid, ()))
        return found

    def cpu_seconds(self) -> float:
        """
        Return the CPU time, user's and system's, of all threads until now.

        To the nanosecond where the kernel says so, else to a clock tick (10 ms).
        """
        return sum(_cpu_seconds(self._proc / str(pid)) for pid in self.tree())

    def rss_kib(self) -> int:
        """
        Return the memory in KiB.

        What is shared with other processes counts in proportion (PSS) where that can be read,
        else in full (RSS).
        """
        return sum(_memory_kib(self._proc / str(pid)) for pid in self.tree())


def _cpu_seconds(folder: Path) -> float:
    ticked = 0.0
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        # user, system, and those of children that have ended (proc(5), fields 14 to 17)
        ticked = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        exact = sum(
            int((task / "schedstat").read_text().split()[0]) for task in (folder / "task").iterdir()
        )
    except (OSError, ValueError, IndexError):
        return ticked
    return max(ticked, exact / 1e9)  # threads that have ended are in the first alone


def _memory_kib(folder: Path) -> int:
    for name, field in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            for line in (folder / name).read_text().splitlines():
                if line.startswith(field):
                    return int(line.split()[1])
        except (OSError, ValueError, IndexError):
            continue
    return 0


def _pids(proc: Path) -> Iterable[int]:
    return [int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()]


def _parent(proc: Path, pid: int) -> int:
    try:
        return int((proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _sockets(proc: Path, pid: int) -> set[str]:
    found = set()
    try:
        for entry in (proc / str(pid) / "fd").iterdir():
            try:
                target = str(entry.readlink())
            except OSError:  # closed meanwhile
                continue
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:  # somebody else's, or ended
        pass
    return found


def _listening_inodes(proc: Path, port: int, host: str) -> Iterable[str]:
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            address, _, number = fields[1].partition(":")
            if fields[3] == LISTENING and int(number, 16) == port and _covers(address, host):
                yield fields[9]


def _covers(address: str, host: str) -> bool:
    """Whether a socket bound to ``address``, as /proc writes it, is reached through ``host``."""
    raw = b"".join(
        int(address[at : at + 8], 16).to_bytes(4, "little") for at in range(0, len(address), 8)
    )
    bound = ipaddress.ip_address(raw)
    if bound.is_unspecified:
        return True
    try:
        wanted = ipaddress.ip_address(host)
    except ValueError:
        return bound.is_loopback  # a name of this machine
    mapped = bound.ipv4_mapped if isinstance(bound, ipaddress.IPv6Address) else None
    return wanted in {bound, mapped}
