"""What a benchmark is to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Mode", "Plan"]

IN_FLIGHT_BYTES = 256 << 10
"""Of each receiver, where publishers go as fast as possible: less than a mailbox holds."""


class Mode(enum.StrEnum):
    """How our own server serves."""

    FAST_PATH = "fast-path"
    ASGI = "asgi"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    One run.

    Attributes:
        url: Where the receivers connect.
        publish_url: Where publishers publish: ``ws://`` or ``http://``.
        sockets: How many receivers.
        publishers: How many publishers.
        rate: Publications in a second, of all publishers; 0 for as many as possible.
        size: Bytes of a payload.
        duration: Seconds to publish for; ignored where ``messages`` is given.
        messages: Publications of all publishers; None for as many as ``duration`` has time for.
        hello: What each socket sends first; None for nothing.
        subprotocol: To offer; None for none.
        headers: More headers of every handshake and request.
        pid: Of the server; None to find it by its port, if it runs on this machine.
        window: Publications that not all receivers have, at most, where ``rate`` is 0.
        connect_timeout: Seconds within which all have to be connected.
        patience: Seconds to wait, at most, for what was published and has not arrived.
        mode: How our own server serves; None for the server of somebody else.
    """

    url: str
    publish_url: str
    sockets: int = 1000
    publishers: int = 1
    rate: float = 20.0
    size: int = 128
    duration: float = 5.0
    messages: int | None = None
    hello: str | None = None
    subprotocol: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    pid: int | None = None
    window: int | None = None
    connect_timeout: float = 60.0
    patience: float = 60.0
    mode: Mode | None = None

    @property
    def latency(self) -> bool:
        """Whether latencies mean something: only at a rate that the server is not pressed with."""
        return self.rate > 0

    @property
    def in_flight(self) -> int:
        """Publications that may be on their way, where ``rate`` is 0."""
        return self.window or max(4, min(256, IN_FLIGHT_BYTES // self.size))

    def share(self, publisher: int) -> int | None:
        """Return how many publications one publisher has to publish; None if time says."""
        if self.messages is None:
            return None
        each, rest = divmod(self.messages, self.publishers)
        return each + (publisher < rest)
