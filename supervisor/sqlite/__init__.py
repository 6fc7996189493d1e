"""
A SQLite file that one process writes: the ground that the stores on disk stand on.

Two threads, each with a connection of its own: one writes, one reads, so that neither an event
loop nor a reader ever waits for the disk of a writer. What is to be written waits in a bounded
queue, and whatever waits together becomes one transaction (*group commit*): a *job* costs a
fraction of a commit. Replies go back in groups, too, with one wake-up of each event loop.

A store says how a group of jobs is applied, and decides nothing about transactions, threads,
waiting and failing. The journal is a write-ahead log. With ``synchronous="normal"``, what was
confirmed survives that the process is killed; if the machine loses its power, the last commits may
be missing, and the file is whole. With ``"full"`` they are there too, and each commit waits for the
disk. Not for network file systems.

One state, with one lock, is shared by four parts: :mod:`~supervisor.sqlite.opening` locks and checks
the file, :mod:`~supervisor.sqlite.writer` commits groups, :mod:`~supervisor.sqlite.reader` answers,
and :mod:`~supervisor.sqlite.file` opens, watches and closes.
"""

from __future__ import annotations

from supervisor.sqlite.file import CAPACITY, CAPACITY_BYTES, DEADLINE, SqliteFile
from supervisor.sqlite.health import OnHealth
from supervisor.sqlite.jobs import Call, Job, apply_each, call_safely
from supervisor.sqlite.opening import LastStop

__all__ = [
    "CAPACITY",
    "CAPACITY_BYTES",
    "DEADLINE",
    "Call",
    "Job",
    "LastStop",
    "OnHealth",
    "SqliteFile",
    "apply_each",
    "call_safely",
]
