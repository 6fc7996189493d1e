"""One run of a benchmark: connect, publish, wait for the rest, and report."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from supervisor.cli.bench.plan import Plan
from supervisor.cli.load import (
    LoadError,
    LoadResult,
    Numbers,
    Receivers,
    ServerProcess,
    open_publisher,
    payload,
)
from supervisor.cli.load.payload import check_size
from supervisor.cli.load.publishers import Publisher
from supervisor.cli.load.receipts import MOST_PUBLICATIONS
from supervisor.cli.load.results import BUSY

__all__ = ["Arriving", "Report", "Watch", "connection_kib", "run", "until_all_arrived"]

SETTLE = 0.3
"""Seconds for what a server does after a handshake: subscribe, greet, collect garbage."""

ENOUGH_SOCKETS = 100
"""With fewer, what one connection takes is lost in the noise of the server's memory."""

PLAUSIBLE_KIB = 2.0
"""No connection takes less: a server that seems to had memory left from clients before."""

STUCK = 1.0
"""Seconds without any delivery after which publishers at full speed wait no longer."""

QUIET = 2.0
"""Seconds without any delivery after which what is missing is taken for lost."""

SLICE = 0.25
"""Seconds after which whoever waits looks again whether it has to go on."""

BEHIND = 0.5
"""Seconds after the last publication from which what still arrives has been in a queue."""

IDLE = 0.75
"""Share of its core below which a process was not what kept the others from going faster."""

T = TypeVar("T")


class Watch(Protocol):
    """Is told how far a run is."""

    def phase(self, name: str, total: float) -> None:
        """A phase begins; it is done when it has come to ``total``."""

    def advance(self, done: float, note: str) -> None:
        """It has come to ``done``."""


class Arriving(Protocol):
    """What :func:`until_all_arrived` looks at; see :class:`~supervisor.cli.load.Receivers`."""

    @property
    def delivered(self) -> int:
        """Deliveries so far."""

    @property
    def missing(self) -> int:
        """How many receivers lack something that may still come."""

    async def done(self, timeout: float) -> bool:
        """Wait until nothing is missing, or for ``timeout`` seconds."""


@dataclass(frozen=True, slots=True)
class Report:
    """
    What a run was and what it found.

    Attributes:
        plan: What was to be done.
        result: What the receivers got.
        published: Publications.
        publishing_seconds: How long that took.
        came_back: Deliveries to publishers, which the server did too.
        cpu_seconds: What the server used from the first publication on; None if unknown.
        connection_kib: Memory of one connection in the server; None if unknown.
        timeline: Seconds since the first publication, and the longest time until the last
            receiver had one of that moment.
        pace: Seconds since the first publication, and deliveries per second from there on.
        problem: What ended the publishing early; None if nothing did.
        interrupted: Whether it was told to stop.
        still_arriving: Whether messages arrived until it stopped waiting for them.
        server_known: Whether the server's process was.
        date: When it began.
    """

    plan: Plan
    result: LoadResult
    published: int
    publishing_seconds: float
    came_back: int
    cpu_seconds: float | None
    connection_kib: float | None
    timeline: Sequence[tuple[float, float]]
    pace: Sequence[tuple[float, float]]
    problem: str | None
    interrupted: bool
    still_arriving: bool
    server_known: bool
    date: datetime

    @property
    def failed(self) -> bool:
        """Whether it was no measurement: nothing was delivered, or the server has gone."""
        return (
            self.problem is not None
            or not self.result.delivered
            or self.result.closed >= self.plan.sockets
        )

    @property
    def server_busy(self) -> float | None:
        """Share of one core that the server used, while deliveries arrived; None if unknown."""
        if self.cpu_seconds is None or not self.result.seconds:
            return None
        return self.cpu_seconds / self.result.seconds

    @property
    def cpu_per_delivery(self) -> float | None:
        """Seconds of the server's CPU for one delivery; None if unknown."""
        deliveries = self.result.delivered + self.came_back
        if self.cpu_seconds is None or not deliveries:
            return None
        return self.cpu_seconds / deliveries

    def warnings(self) -> list[str]:
        """Return what makes these numbers other than they look, a sentence each."""
        found = (
            [] if self.problem is None else [f"Publishing ended early: {self.problem.rstrip('.')}."]
        )
        found += self.result.warnings(still_arriving=self.still_arriving)
        if self.still_arriving and not self.interrupted:
            found.append(f"They still arrived then; --wait is {self.plan.patience:g} seconds.")
        if not self.result.delivered and not self.interrupted:
            found.append(
                "No socket received anything: does this endpoint send to all what it gets? "
                "See --publish."
            )
            if self.result.other:
                found.append(
                    f"{self.result.other:,} messages came without a payload in their first "
                    "kilobyte: it has to reach the receivers as it was published."
                )
        wanted = self.plan.rate
        late = self.result.seconds - self.publishing_seconds
        if wanted and (late > BEHIND or self.still_arriving):
            who = "The server" if self.result.client_busy < BUSY else "The server, or this client,"
            found.append(
                f"{who} did not keep up with the rate: the last message arrived {late:.1f} s "
                "after publishing had ended. The latencies are those of a queue."
            )
        server, client = self.server_busy, self.result.client_busy
        if not wanted and server is not None and server < IDLE and client < IDLE:
            found.append(
                f"Neither the server ({server:.0%}) nor the client ({client:.0%}) was busy: other "
                "processes had the CPU, or --window is too small."
            )
        if wanted and self.publishing_seconds > 0.5:
            reached = self.published / self.publishing_seconds
            if reached < 0.95 * wanted:
                found.append(f"{reached:,.0f} publications a second were reached, not {wanted:,g}.")
        return found


async def run(plan: Plan, watch: Watch, stop: asyncio.Event) -> Report | None:
    """
    Do what ``plan`` says.

    Args:
        plan: See there.
        watch: Is told how far it is.
        stop: Ends it when it is set; what was measured until then is reported.

    Returns:
        What was found; None if it was stopped before anything was published.

    Raises:
        LoadError: If it cannot be done.
    """
    check_size(plan.size)
    wanted = plan.rate * plan.duration if plan.messages is None else plan.messages
    if plan.latency and wanted > MOST_PUBLICATIONS:
        raise LoadError(
            f"that would be {wanted:,.0f} publications; latencies are kept of at most "
            f"{MOST_PUBLICATIONS:,}. Lower the rate or the duration"
        )
    receivers = Receivers(
        plan.url,
        plan.sockets,
        subprotocol=plan.subprotocol,
        headers=plan.headers,
        hello=plan.hello,
        connect_timeout=plan.connect_timeout,
    )
    publishers: list[Publisher] = []
    date = datetime.now(UTC)
    try:
        server = _server(plan, receivers)
        while len(publishers) < plan.publishers:
            publishers.append(await _open_publisher(plan))
        before = server.rss_kib() if server is not None else 0
        if not await _unless(stop, _connect(receivers, watch)):
            return None
        await asyncio.sleep(SETTLE)
        after = server.rss_kib() if server is not None else 0
        gc.collect()
        gc.freeze()  # what is here stays; collecting it again and again would only cost time
        publishing = _Publishing(plan, receivers, publishers, watch, stop)
        cpu = server.cpu_seconds() if server is not None else 0.0
        await publishing.run()
        spent = -1.0 if server is None else server.cpu_seconds() - cpu
        report = publishing.report(
            cpu_seconds=spent if spent >= 0 else None,  # less than before: it has ended
            connection_kib=connection_kib(after - before, plan.sockets),
            server_known=server is not None,
            date=date,
        )
    finally:
        await asyncio.gather(*(publisher.close() for publisher in publishers))
        await receivers.close()
        gc.unfreeze()
    if report.published:
        return report
    if report.problem is not None:
        raise LoadError(report.problem)
    if not report.interrupted:
        raise LoadError("nothing was published: the duration is too short")
    return None


async def until_all_arrived(arriving: Arriving, patience: float, stop: asyncio.Event) -> bool:
    """
    Wait as long as something arrives that is missing.

    Args:
        arriving: The receivers, who know what to expect.
        patience: Seconds to wait at most.
        stop: Ends it, too, when it is set meanwhile.

    Returns:
        Whether messages still arrived when it ended: then what is missing is not lost.
    """
    clock = asyncio.get_running_loop().time
    since = clock()
    deadline, told_before, seen = since + patience, stop.is_set(), arriving.delivered
    while True:
        await arriving.done(SLICE)
        if not arriving.missing:
            return False
        now = clock()
        if arriving.delivered != seen:
            seen, since = arriving.delivered, now
        elif now - since >= QUIET:
            return False
        if now >= deadline or (stop.is_set() and not told_before):
            return True


def connection_kib(growth: int, sockets: int) -> float | None:
    """Return the memory of one connection; None where it cannot be told."""
    each = growth / sockets
    return each if sockets >= ENOUGH_SOCKETS and each >= PLAUSIBLE_KIB else None


class _Publishing:
    """The part of a run that is measured."""

    def __init__(
        self,
        plan: Plan,
        receivers: Receivers,
        publishers: Sequence[Publisher],
        watch: Watch,
        stop: asyncio.Event,
    ) -> None:
        self._plan = plan
        self._receivers = receivers
        self._publishers = publishers
        self._watch = watch
        self._stop = stop
        self._published = 0
        self._given_up = 0  # deliveries that are not waited for any more
        self._start = 0
        self._end = 0
        self._problem: str | None = None
        self._still_arriving = False
        self._pace: list[tuple[float, float]] = []

    async def run(self) -> None:
        """Publish, and wait until all has arrived."""
        plan, receivers = self._plan, self._receivers
        receivers.begin(latency=plan.latency, publishers=plan.publishers)
        self._start = self._end = time.monotonic_ns()
        watching = asyncio.create_task(self._report_progress())
        try:
            async with asyncio.TaskGroup() as group:
                for index in range(plan.publishers):
                    group.create_task(self._publish(index))
            self._end = time.monotonic_ns()
            receivers.expect(self._published)
            patience = 1.0 if self._stop.is_set() else plan.patience
            self._still_arriving = await until_all_arrived(receivers, patience, self._stop)
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    def report(
        self,
        *,
        cpu_seconds: float | None,
        connection_kib: float | None,
        server_known: bool,
        date: datetime,
    ) -> Report:
        """Return what was found."""
        return Report(
            plan=self._plan,
            result=self._receivers.result(first_published=self._start),
            published=self._published,
            publishing_seconds=(self._end - self._start) / 1e9,
            came_back=sum(publisher.delivered for publisher in self._publishers),
            cpu_seconds=cpu_seconds,
            connection_kib=connection_kib,
            timeline=self._receivers.timeline(),
            pace=self._pace,
            problem=self._problem,
            interrupted=self._stop.is_set(),
            still_arriving=self._still_arriving,
            server_known=server_known,
            date=date,
        )

    async def _publish(self, index: int) -> None:
        plan, publisher = self._plan, self._publishers[index]
        numbers = Numbers(index, plan.publishers)
        left = plan.share(index)
        interval = plan.publishers / plan.rate if plan.rate else 0.0
        due = self._start / 1e9 + index * interval / plan.publishers
        deadline = self._start / 1e9 + plan.duration if left is None else float("inf")
        while left != 0 and self._problem is None:
            if plan.rate:
                if due >= deadline:
                    break
                await self._sleep_until(due)
                due += interval
            else:
                await self._window(deadline)
            if self._stop.is_set() or time.monotonic() >= deadline:
                break
            try:
                await publisher.publish(payload(numbers.take(), time.monotonic_ns(), plan.size))
            except LoadError as error:
                self._problem = str(error)
                break
            self._published += 1
            if left is not None:
                left -= 1

    async def _sleep_until(self, when: float) -> None:
        """Sleep until then, or until told to stop; not at all if it is late already."""
        delay = when - time.monotonic()
        if delay > 0:
            try:
                async with asyncio.timeout(delay):
                    await self._stop.wait()
            except TimeoutError:
                pass

    async def _window(self, deadline: float) -> None:
        """Wait until few enough publications are on their way to let another one go."""
        await asyncio.sleep(0)
        sockets, most = self._plan.sockets, self._plan.in_flight
        before, since = self._receivers.delivered, time.monotonic()
        while not self._stop.is_set():
            delivered = self._receivers.delivered
            missing = self._published * sockets - delivered - self._given_up
            if missing < most * sockets:
                return
            await asyncio.sleep(0.001)
            now = time.monotonic()
            if delivered != before:
                before, since = delivered, now
            elif now - since > STUCK:
                self._given_up += missing
            if now >= deadline:
                return

    async def _report_progress(self) -> None:
        plan, receivers = self._plan, self._receivers
        total = plan.duration if plan.messages is None else float(plan.messages)
        self._watch.phase("publishing", total)
        before, then = 0, self._start
        while True:
            await asyncio.sleep(0.1)
            now, delivered = time.monotonic_ns(), receivers.delivered
            pace = (delivered - before) / (now - then) * 1e9
            if delivered or self._pace:
                self._pace.append(((then - self._start) / 1e9, pace))
            before, then = delivered, now
            done = (now - self._start) / 1e9 if plan.messages is None else self._published
            self._watch.advance(min(done, total), f"{pace:,.0f} deliveries/s")


async def _connect(receivers: Receivers, watch: Watch) -> bool:
    watch.phase("connecting", receivers.count)
    connecting = asyncio.create_task(receivers.connect())
    try:
        while not connecting.done():
            await asyncio.wait([connecting], timeout=0.1)
            watch.advance(receivers.opened, f"{receivers.opened:,} of {receivers.count:,}")
        connecting.result()
    finally:
        connecting.cancel()
        await asyncio.wait([connecting])
    return True


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Do ``work``, but cancel it when ``stop`` is set."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.wait([working, stopping])


async def _open_publisher(plan: Plan) -> Publisher:
    return await open_publisher(
        plan.publish_url,
        subprotocol=plan.subprotocol,
        headers=plan.headers,
        hello=plan.hello,
    )


def _server(plan: Plan, receivers: Receivers) -> ServerProcess | None:
    """Return the server's process, where it can be known."""
    if plan.pid is not None:
        return ServerProcess(plan.pid)
    address = receivers.address
    if not _is_here(address.host):
        return None
    return ServerProcess.listening(address.port, address.host)


def _is_here(host: str) -> bool:
    """Whether that is this machine: only its own addresses can be bound to."""
    try:
        (family, kind, protocol, _, where), *_ = socket.getaddrinfo(
            host, 0, type=socket.SOCK_STREAM
        )
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(where)
    except OSError:
        return False
    return True
