"""What is measured, of whom: one table, in the order of the page."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tests.benchmarks.lineup import PEERS, Peer

__all__ = ["ALL_PEERS", "SCENARIOS", "Kind", "Scenario", "find_peer", "find_scenario", "shrunk"]

KIB = 1024


class Kind(Enum):
    """How it is measured; the functions are in :mod:`tests.benchmarks.runner`."""

    THROUGHPUT = "throughput"
    LATENCY = "latency"
    STALLED = "stalled"
    IDLE = "idle"
    SCALE = "scale"
    CHURN = "churn"


@dataclass(frozen=True)
class Scenario:
    """
    One measurement.

    Attributes:
        key: What ``--scenarios`` calls it.
        title: What the page calls it; ``{:,}`` is the number of receivers.
        kind: How it is measured.
        peers: Who takes part.
        mode: ``one`` or ``queued``.
        size: Bytes of a message.
        members: Receivers; None for as many as ``--members`` says.
        rate: Publications a second; 0 for as many as go.
    """

    key: str
    title: str
    kind: Kind
    peers: tuple[Peer, ...] = PEERS
    mode: str = "one"
    size: int = 128
    members: int | None = None
    rate: float = 0.0

    def count(self, shrink: int) -> int | None:
        """Return how many receivers there are in a run whose numbers are divided by ``shrink``."""
        return None if self.members is None else shrunk(self.members, shrink)

    def heading(self, shrink: int) -> str:
        """Return the title, with the number that such a run has."""
        return self.title.format(self.count(shrink))


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

ALL_PEERS = tuple(dict.fromkeys((*PEERS, *_IDLE, *_STALLED)))
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
)
