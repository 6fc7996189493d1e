"""What is measured, of whom: one table, in the order of the page."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tests.benchmarks.environment import BUILD
from tests.benchmarks.lineup import PEERS, Peer

__all__ = [
    "ALL_PEERS",
    "KEEPING",
    "LINES",
    "MAIN",
    "SCENARIOS",
    "SECTIONS",
    "Kind",
    "Scenario",
    "find_peer",
    "find_scenario",
    "shrunk",
]

KIB = 1024

LINES = 100_000
"""Messages that a room keeps."""

MAIN, KEEPING = "", "Rooms that keep their messages"

SECTIONS = (MAIN, KEEPING)
"""Of the page; whatever is in one of them is of one run. The first has no heading."""


class Kind(Enum):
    """How it is measured; the functions are in :mod:`tests.benchmarks.runner`."""

    THROUGHPUT = "throughput"
    LATENCY = "latency"
    STALLED = "stalled"
    IDLE = "idle"
    SCALE = "scale"
    CHURN = "churn"
    KEEPING = "keeping"
    APPENDS = "appends"
    REPLAY = "replay"


@dataclass(frozen=True)
class Scenario:
    """
    One measurement.

    Attributes:
        key: What ``--scenarios`` calls it.
        title: What the page calls it; ``{:,}`` is the number of receivers, or of lines.
        kind: How it is measured.
        peers: Who takes part.
        mode: ``one``, ``queued`` or ``bursts``.
        size: Bytes of a message.
        members: Receivers; None for as many as ``--members`` says.
        rate: Publications or bursts a second; 0 for as many as go.
        lines: Messages that the room keeps already.
        section: Of the page.
    """

    key: str
    title: str
    kind: Kind
    peers: tuple[Peer, ...] = PEERS
    mode: str = "one"
    size: int = 128
    members: int | None = None
    rate: float = 0.0
    lines: int = 0
    section: str = MAIN

    def count(self, shrink: int) -> int | None:
        """Return how many receivers there are in a run whose numbers are divided by ``shrink``."""
        return None if self.members is None else shrunk(self.members, shrink)

    def heading(self, shrink: int) -> str:
        """Return the title, with the number that such a run has."""
        return self.title.format(self.kept(shrink) or self.count(shrink))

    def kept(self, shrink: int) -> int:
        """Return how many messages the room keeps already in such a run."""
        return shrunk(self.lines, shrink) if self.lines else 0


def shrunk(members: int, shrink: int) -> int:
    """Return what is left of a number of receivers in a quick run."""
    return members if shrink == 1 else max(10, members // shrink)


def find_peer(key: str) -> Peer:
    """Return the peer of that key."""
    return next(peer for peer in ALL_PEERS if peer.key == key)


def find_scenario(key: str) -> Scenario:
    """Return the scenario of that key."""
    return next(scenario for scenario in SCENARIOS if scenario.key == key)


def _some(*keys: str) -> tuple[Peer, ...]:
    return tuple(peer for peer in PEERS if peer.key in keys)


_IDLE = (
    *_some("ours"),
    Peer("ours-plain", "wsupervisor, its own plain-ASGI endpoint", "ours", ("--plain",)),
    Peer("idle-bare", "uvicorn websockets-sansio, bare ASGI", "idle", ("bare",)),
    Peer("idle-starlette", "Starlette endpoint", "idle", ("starlette",)),
    Peer("idle-fastapi", "FastAPI endpoint", "idle", ("fastapi",)),
    *_some("tutorial"),
)

_DROP = ("--overflow", "drop_oldest")

_STALLED = (
    Peer("ours-dropping", "wsupervisor, fast path, drop_oldest", "ours", _DROP),
    Peer(
        "ours-asgi-dropping",
        "wsupervisor, ASGI path, drop_oldest",
        "ours",
        ("--asgi-path", *_DROP),
    ),
    *_some("tutorial", "queue"),
)


def _keeps(key: str, label: str, *durability: str) -> Peer:
    arguments: tuple[str, ...] = ()
    if durability:
        path = BUILD / "servers" / key / "history.db"
        arguments = ("--history", f"sqlite:///{path}", "--durability", *durability)
    return Peer(key, f"wsupervisor, {label}", "keeping", arguments)


_KEEPS = (
    _keeps("keeps-memory", "kept in memory"),
    _keeps("keeps-sqlite", "kept in SQLite, durability written", "written"),
    _keeps("keeps-sqlite-early", "kept in SQLite, durability memory", "memory"),
)

ALL_PEERS = tuple(dict.fromkeys((*PEERS, *_IDLE, *_STALLED, *_KEEPS)))
"""Those of some scenarios last."""

SCENARIOS = (
    Scenario("one-128", "One publication at a time, 128 B", Kind.THROUGHPUT),
    Scenario("one-1k", "One publication at a time, 1 KiB", Kind.THROUGHPUT, size=KIB),
    Scenario("one-16k", "One publication at a time, 16 KiB", Kind.THROUGHPUT, size=16 * KIB),
    Scenario("queued-128", "Publications that queue up, 128 B", Kind.THROUGHPUT, mode="queued"),
    Scenario(
        "queued-1k",
        "Publications that queue up, 1 KiB",
        Kind.THROUGHPUT,
        mode="queued",
        size=KIB,
    ),
    Scenario(
        "queued-16k",
        "Publications that queue up, 16 KiB",
        Kind.THROUGHPUT,
        mode="queued",
        size=16 * KIB,
    ),
    Scenario("latency", "20 publications a second, 128 B", Kind.LATENCY, rate=20.0),
    Scenario(
        "one-stalls",
        "One client does not read, 16 KiB",
        Kind.STALLED,
        peers=_STALLED,
        size=16 * KIB,
    ),
    Scenario("idle", "{:,} idle connections", Kind.IDLE, peers=_IDLE, members=5_000),
    *(
        Scenario(
            f"scale-{members}",
            "{:,} members, 128 B",
            Kind.SCALE,
            peers=_some("ours", "ready-frame"),
            members=members,
        )
        for members in (100, 1_000, 10_000)
    ),
    Scenario(
        "churn",
        "{:,} sockets connect and leave",
        Kind.CHURN,
        peers=_some("ours", "ours-asgi", "tutorial"),
        members=1_000,
    ),
    Scenario(
        "keeping",
        "What keeping adds to a publication",
        Kind.KEEPING,
        peers=_KEEPS,
        size=100,
        members=10,
        lines=LINES,
        section=KEEPING,
    ),
    Scenario(
        "appends",
        "Appends without a pause",
        Kind.APPENDS,
        peers=_KEEPS,
        size=100,
        members=10,
        lines=LINES,
        section=KEEPING,
    ),
    Scenario(
        "bursts",
        "20 bursts of 10 a second, 100 B",
        Kind.LATENCY,
        peers=_KEEPS,
        mode="bursts",
        size=100,
        rate=20.0,
        lines=LINES,
        section=KEEPING,
    ),
    Scenario(
        "replay",
        "{:,} lines replayed",
        Kind.REPLAY,
        peers=_KEEPS[:2],
        size=100,
        rate=20.0,
        lines=LINES,
        section=KEEPING,
    ),
)
