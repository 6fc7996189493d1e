"""What a run has measured."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BUSY", "LastReceiver", "Latency", "LoadResult"]

BUSY = 0.85
"""Share of its core from which the client, and not the server, may be what was measured."""

LAG = 0.05
"""Seconds by which the client's own timers may be late before its latencies are doubtful."""


@dataclass(frozen=True, slots=True)
class Latency:
    """
    From publication to receipt, over all receipts. In seconds.

    Attributes:
        receipts: How many were measured.
        p50: Half of them took at most this.
        p99: 99 of 100.
        p999: 999 of 1,000.
        longest: The longest.
    """

    receipts: int
    p50: float
    p99: float
    p999: float
    longest: float


@dataclass(frozen=True, slots=True)
class LastReceiver:
    """
    From publication until the last receiver had it, over all publications that all got. Seconds.

    Attributes:
        publications: How many reached all receivers.
        median: Half of them took at most this.
        p99: 99 of 100.
        longest: The longest.
    """

    publications: int
    median: float
    p99: float
    longest: float


@dataclass(frozen=True, slots=True)
class LoadResult:
    """
    What the receivers of one run got.

    Attributes:
        sockets: Receivers that were to get everything: all, but those whose reading is paused.
        delivered: Messages with a payload that they got.
        expected: Messages that they should have got; None if it was not said how many.
        lost: How many are missing, socket by socket; 0 if ``expected`` is None.
        surplus: How many came beyond what was expected, socket by socket.
        other: Messages without a payload.
        per_socket: ``delivered`` of each receiver.
        closed: Receivers whose connection ended during the run.
        close_codes: How many of these ended with which code; 1006 is an end without a close frame.
        seconds: From the first publication to the last receipt.
        first_published: ``time.monotonic_ns()`` of the first publication; None if nothing came.
        last_received: The same of the last receipt.
        gaps: Numbers that receivers skipped; None if they were not read.
        repeats: Deliveries that came twice or late; None if numbers were not read.
        latency: None if it was not measured.
        last_receiver: None if it was not measured, or no publication reached all.
        client_busy: Share of one core that this process used, from the first receipt to the last.
        client_lag: Seconds by which its event loop was late, at worst.
    """

    sockets: int
    delivered: int
    expected: int | None
    lost: int
    surplus: int
    other: int
    per_socket: tuple[int, ...]
    closed: int
    close_codes: dict[int, int]
    seconds: float
    first_published: int | None
    last_received: int | None
    gaps: int | None
    repeats: int | None
    latency: Latency | None
    last_receiver: LastReceiver | None
    client_busy: float
    client_lag: float

    @property
    def rate(self) -> float:
        """Deliveries per second."""
        return self.delivered / self.seconds if self.seconds > 0 else 0.0

    @property
    def complete(self) -> bool:
        """Whether everybody got everything exactly once, in order, and stayed connected."""
        return not (self.lost or self.surplus or self.closed or self.gaps or self.repeats)

    def warnings(self, *, still_arriving: bool = False) -> list[str]:
        """
        Return what makes these numbers other than they look, a sentence each.

        Args:
            still_arriving: Whether some arrived until nobody waited for them any more: what is
                missing then may have been on its way.
        """
        found = []
        if self.lost:
            share = self.lost / self.expected if self.expected else 0.0
            what = "had not arrived when we stopped waiting" if still_arriving else "were lost"
            found.append(f"{self.lost:,} of {self.expected or 0:,} messages {what} ({share:.2%}).")
        if self.surplus:
            found.append(f"{self.surplus:,} messages came that nobody expected.")
        if self.gaps and not self.lost:
            found.append(f"{self.gaps:,} messages were missing when a later one came.")
        if self.repeats:
            found.append(f"{self.repeats:,} messages came twice, or late.")
        if self.closed:
            codes = ", ".join(f"{count} with {code}" for code, count in self.close_codes.items())
            found.append(f"{self.closed:,} connections ended during the run ({codes}).")
        if self.client_busy > BUSY:
            found.append(
                f"The client used {self.client_busy:.0%} of its core: it may be what was measured, "
                "and not the server. Use fewer sockets, a lower rate, or a faster machine for it."
            )
        elif self.client_lag > LAG and self.latency is not None:
            found.append(
                f"The client's event loop was late by up to {1000 * self.client_lag:.0f} ms: "
                "some of the latency is its own."
            )
        return found
