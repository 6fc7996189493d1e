"""
Measures: for each scenario, so many rounds over all who take part in it, A B C A B C.

Servers and receivers stay up from scenario to scenario as far as descriptors allow; who idles
costs the others nothing. What fails is written down, and the rest goes on.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

from supervisor.cli.load import LoadError, Receivers
from tests.benchmarks.awake import awake
from tests.benchmarks.environment import Environment, Machine
from tests.benchmarks.joiner import Joiner
from tests.benchmarks.lineup import Peer
from tests.benchmarks.publishers import BURST, DEPTH, CommandedPublisher
from tests.benchmarks.results import Results, Row
from tests.benchmarks.scenarios import Kind, Scenario
from tests.benchmarks.servers import ServerError, ServerOfPeer
from tests.benchmarks.sessions import Measured, Session, start_server

__all__ = ["Options", "Runner", "most_descriptors"]

FILL = 6 << 20
"""Bytes after which nothing of a socket that stalls has space left: the kernel takes 4 MiB."""

PUBLISHERS = 1_000
"""That publish at the same time, each one message after the other."""

SLICES = 16
"""Times within one run that the others are measured without and beside a client that joins: of one
pair alone the difference is mostly noise."""

CHURNS = 3
"""Times that all connect and leave within one run, whose median is taken."""

TROUBLE = (ServerError, LoadError, OSError, TimeoutError, EOFError)
"""What a server may do wrong."""


@dataclass(frozen=True)
class Options:
    """
    How much is measured.

    Attributes:
        members: Receivers, where the scenario does not say.
        rounds: Runs whose median is taken.
        seconds: That one run takes, about.
        shrink: What numbers of receivers are divided by that a scenario prescribes.
    """

    members: int = 1_000
    rounds: int = 3
    seconds: float = 1.0
    shrink: int = 1

    @property
    def as_goals_have_it(self) -> bool:
        """Whether what is measured can be held against the goals."""
        goals = Options()
        return (
            self.members == goals.members
            and self.rounds >= goals.rounds
            and self.seconds >= goals.seconds
            and self.shrink == goals.shrink
        )


@dataclass
class Runner:
    """
    One run of the benchmark.

    Args:
        environment: Where the peers are.
        machine: Which core is whose.
        options: How much is measured.
        say: Told what is being measured.
        step: Told of every run that has ended.
    """

    environment: Environment
    machine: Machine
    options: Options
    say: Callable[[str], None]
    step: Callable[[Row], None]
    results: Results = field(default_factory=Results)
    _sessions: dict[str, Session] = field(default_factory=dict)
    _paces: dict[tuple[str, str], float] = field(default_factory=dict)

    async def run(self, scenarios: list[Scenario]) -> None:
        """Measure all of them; whatever happens, no server is left."""
        try:
            for scenario in scenarios:
                gc.collect()  # between runs, and never within one: see main()
                await self._scenario(scenario)
        finally:
            await self._close_all()

    async def _scenario(self, scenario: Scenario) -> None:
        measure = {
            Kind.THROUGHPUT: self._throughput,
            Kind.LATENCY: self._latency,
            Kind.STALLED: self._stalled,
            Kind.IDLE: self._idle,
            Kind.SCALE: self._scale,
            Kind.CHURN: self._churn,
            Kind.KEEPING: self._keeping,
            Kind.APPENDS: self._appends,
            Kind.REPLAY: self._replay,
        }[scenario.kind]
        if scenario.kind not in {Kind.THROUGHPUT, Kind.LATENCY, Kind.REPLAY}:
            await self._close_all()
        for number in range(self.options.rounds):
            for peer in scenario.peers:
                self.say(
                    f"{scenario.heading(self.options.shrink)}: {peer.label}, round {number + 1}"
                )
                reason = peer.missing(self.environment)
                if reason is not None:
                    self.results.missing[peer.key] = reason
                    self.step(Row(scenario.key, peer.key, {}, note=f"not here: {reason}"))
                    continue
                try:
                    row = await measure(scenario, peer)
                except TROUBLE as error:
                    row = Row(scenario.key, peer.key, {}, note=_words(error))
                    await self._close(peer)
                self.results.rows.append(row)
                self.step(row)
        if scenario.kind in {Kind.SCALE, Kind.KEEPING, Kind.APPENDS}:
            await self._close_all()

    # What is measured.

    async def _throughput(self, scenario: Scenario, peer: Peer) -> Row:
        session = await self._session(peer, self.options.members)
        count = await self._count(session, scenario)
        measured = await session.run(scenario.mode, count, scenario.size)
        if (
            measured.complete
        ):  # of short runs the first tells little: the next take as long as asked
            self._paces[peer.key, scenario.key] = count / measured.result.seconds
        return self._row(scenario, peer, measured, {"rate": measured.result.rate})

    async def _latency(self, scenario: Scenario, peer: Peer) -> Row:
        session = await self._session(peer, self.options.members, scenario)
        count = max(20, round(4 * self.options.seconds * scenario.rate))
        if scenario.mode == "bursts":
            count *= BURST
        await _longest_pause(session)
        measured = await session.run(
            scenario.mode, count, scenario.size, rate=scenario.rate, latency=True
        )
        values = {}
        result = measured.result
        if result.latency is not None and result.last_receiver is not None:
            values = {
                "last_ms": result.last_receiver.median * 1e3,
                "p99_ms": result.latency.p99 * 1e3,
                "longest_ms": result.latency.longest * 1e3,
            }
        pause = await _longest_pause(session)
        if pause is not None:
            values["gc_ms"] = pause
        return self._row(scenario, peer, measured, values)

    async def _stalled(self, scenario: Scenario, peer: Peer) -> Row:
        """Publish while everybody reads, and then, to the same, while one does not."""
        session = await Session.open(peer, self.options.members, self.environment, self.machine)
        try:
            burst = max(2, round(await session.pace(scenario.mode, scenario.size) / 4))
            session.publisher = CommandedPublisher(session.server, 5.0)
            seconds = 4 * self.options.seconds
            alone = await _in_bursts(session, scenario, burst, seconds)
            before = session.server.process.rss_kib()
            session.receivers.pause_reading(0)
            stalled = await _in_bursts(session, scenario, burst, seconds, FILL // scenario.size)
            values = {
                "rate_alone": alone.rate,
                "rate": stalled.rate,
                "kept": stalled.rate / alone.rate,
                "cpu_alone_us": alone.cpu_us,
                "cpu_us": stalled.cpu_us,
                "growth_kib": float(session.server.process.rss_kib() - before),
            }
            note = "stood still" if stalled.stood_still else ""
            return Row(scenario.key, peer.key, values, alone.lost + stalled.lost, note)
        finally:
            await session.close()

    async def _idle(self, scenario: Scenario, peer: Peer) -> Row:
        count = scenario.count(self.options.shrink)
        assert count is not None
        server, _ = await start_server(peer, self.environment, self.machine)
        try:
            await self._come_and_go(server, peer, 50)  # whatever is loaded on first use
            before = await _memory_in_use(server)
            receivers = Receivers(f"ws://127.0.0.1:{server.port}{peer.path}", count)
            try:
                await receivers.connect()
                await _until_members(server, count)
                grown = await _memory_in_use(server) - before
            finally:
                await server.stop()
                await receivers.close(timeout=2)
        finally:
            await server.stop()
        return Row(scenario.key, peer.key, {"kib": grown / count})

    async def _scale(self, scenario: Scenario, peer: Peer) -> Row:
        members = scenario.count(self.options.shrink)
        assert members is not None
        session = await self._session(peer, members)
        count = await self._count(session, scenario)
        measured = await session.run(scenario.mode, count, scenario.size)
        return self._row(scenario, peer, measured, {"rate": measured.result.rate})

    async def _churn(self, scenario: Scenario, peer: Peer) -> Row:
        count = scenario.count(self.options.shrink)
        assert count is not None
        seconds, spent = [], []
        server, _ = await start_server(peer, self.environment, self.machine)
        try:
            await self._come_and_go(server, peer, 100)
            for _ in range(CHURNS):
                before = server.process.cpu_seconds()
                began = time.monotonic()
                await self._come_and_go(server, peer, count)
                seconds.append(time.monotonic() - began)
                spent.append(server.process.cpu_seconds() - before)
        finally:
            await server.stop()
        values = {
            "seconds": statistics.median(seconds),
            "connection_us": statistics.median(spent) / count * 1e6,
        }
        return Row(scenario.key, peer.key, values)

    async def _keeping(self, scenario: Scenario, peer: Peer) -> Row:
        members = scenario.count(self.options.shrink)
        assert members is not None
        session = await self._session(peer, members, scenario)
        count = DEPTH * max(10, round(200 * self.options.seconds))
        command = f"keeping {count} {scenario.size}"
        seconds = [float(word) for word in await session.server.ask(command, "keeping")]
        event, log, event_to_nobody, log_to_nobody = (each / count * 1e6 for each in seconds)
        values = {
            "append_us": log_to_nobody - event_to_nobody,
            "added_us": log - event,
            "event_us": event,
            "log_us": log,
        }
        return Row(scenario.key, peer.key, values)

    async def _appends(self, scenario: Scenario, peer: Peer) -> Row:
        members = scenario.count(self.options.shrink)
        assert members is not None
        session = await self._session(peer, members, scenario)
        seconds = 3 * self.options.seconds
        values = {}
        for name, command in (
            ("publishers", f"publishers {PUBLISHERS} {seconds:g} {scenario.size}"),
            ("store", f"appends {seconds:g} {scenario.size}"),
        ):
            word = command.partition(" ")[0]
            count, took = (float(each) for each in await session.server.ask(command, word))
            values[f"{name}_rate"] = count / took
        await session.receivers.quiet(0.05, 5.0)
        return Row(scenario.key, peer.key, values)

    async def _replay(self, scenario: Scenario, peer: Peer) -> Row:
        session = await self._session(peer, self.options.members, scenario)
        joiner = Joiner(session, scenario.kept(self.options.shrink))
        busy, spent = time.process_time(), session.server.process.cpu_seconds()
        began = time.monotonic()
        alone = [await joiner.join() for _ in range(CHURNS)]
        busy = (time.process_time() - busy) / (time.monotonic() - began)
        spent = session.server.process.cpu_seconds() - spent
        count = max(20, round(2 * self.options.seconds * scenario.rate))
        p99: dict[bool, list[float]] = {False: [], True: []}
        beside: list[float] = []
        lost = 0
        async with awake():
            for joins in (False, True) * SLICES:
                async with joiner.again_and_again(beside) if joins else nullcontext():
                    measured = await session.run(
                        scenario.mode, count, scenario.size, rate=scenario.rate, latency=True
                    )
                result = measured.result
                lost += result.lost + result.surplus + (result.gaps or 0) + (result.repeats or 0)
                if result.latency is not None:
                    p99[joins].append(result.latency.p99 * 1e3)
        without, with_joiner = (statistics.median(p99[joins]) for joins in (False, True))
        values = {
            "replay_rate": statistics.median(alone),
            "line_us": spent / (CHURNS * scenario.kept(self.options.shrink)) * 1e6,
            "live_rate": statistics.median(beside),
            "alone_ms": without,
            "beside_ms": with_joiner,
            "raised_ms": with_joiner - without,
            "client_busy": busy,
        }
        return Row(scenario.key, peer.key, values, lost)

    async def _come_and_go(self, server: ServerOfPeer, peer: Peer, count: int) -> None:
        receivers = Receivers(f"ws://127.0.0.1:{server.port}{peer.path}", count)
        try:
            await receivers.connect()
            await _until_members(server, count)
        finally:
            await receivers.close(timeout=10)
        await _until_members(server, 0)

    # What is up.

    async def _session(self, peer: Peer, members: int, scenario: Scenario | None = None) -> Session:
        """Return the session of ``peer``, whose room keeps what ``scenario`` says, if it does."""
        session = self._sessions.get(peer.key)
        if session is None:
            await self._make_room(members)
            arguments: tuple[str, ...] = ()
            if scenario is not None and scenario.lines:
                filled = scenario.kept(self.options.shrink)
                arguments = ("--filled", str(filled), "--size", str(scenario.size))
            session = await Session.open(peer, members, self.environment, self.machine, arguments)
            self._sessions[peer.key] = session
            gc.collect()
            gc.freeze()  # the receivers are no garbage, and not to be looked through
        return session

    async def _make_room(self, members: int) -> None:
        """Close who was used longest ago, while there are too few descriptors."""
        open_now = sum(session.receivers.count for session in self._sessions.values())
        while self._sessions and open_now + members + 500 > most_descriptors():
            first = next(iter(self._sessions.values()))
            open_now -= first.receivers.count
            await self._close(first.peer)

    async def _close(self, peer: Peer) -> None:
        session = self._sessions.pop(peer.key, None)
        if session is not None:
            await session.close()

    async def _close_all(self) -> None:
        for session in list(self._sessions.values()):
            await self._close(session.peer)

    async def _count(self, session: Session, scenario: Scenario) -> int:
        """Return how many publications take about as long as a run shall."""
        known = (session.peer.key, scenario.key)
        if known not in self._paces:
            self._paces[known] = await session.pace(scenario.mode, scenario.size)
        wanted = self._paces[known] * self.options.seconds
        if scenario.mode == "queued":  # as many as shall wait together, unless that takes long
            wanted = max(wanted, min(DEPTH, 4 * wanted))
        return max(8, round(wanted))

    def _row(
        self, scenario: Scenario, peer: Peer, measured: Measured, values: dict[str, float]
    ) -> Row:
        result = measured.result
        lost = result.lost + result.surplus + (result.gaps or 0) + (result.repeats or 0)
        if result.delivered:
            values["cpu_us"] = measured.cpu / result.delivered * 1e6
        values["client_busy"] = result.client_busy
        values["publications"] = (result.expected or 0) / result.sockets
        note = f"{result.closed} connections ended" if result.closed else ""
        return Row(scenario.key, peer.key, values, lost, note)


@dataclass(frozen=True)
class _Bursts:
    """What all receivers but the first got of bursts of publications."""

    rate: float
    cpu_us: float
    lost: int
    stood_still: bool


async def _in_bursts(
    session: Session, scenario: Scenario, burst: int, seconds: float, least: int = 0
) -> _Bursts:
    """
    Publish bursts, each of which all who read have to get before the next.

    So nobody but one that stalls can be behind, with any policy. It takes ``seconds``, and up to
    three times as long for the ``least`` number of publications.
    """
    published, delivered, lost, stood_still = 0, 0, 0, False
    spent = session.server.process.cpu_seconds()
    began = time.monotonic()
    while not stood_still:
        elapsed = time.monotonic() - began
        if elapsed > seconds and (published >= least or elapsed > 3 * seconds):
            break
        try:
            result = (await session.run(scenario.mode, burst, scenario.size)).result
        except (ServerError, TimeoutError):
            result, stood_still = session.receivers.result(), True
        else:
            lost += result.lost
        published += burst
        delivered += sum(result.per_socket[1:])
    elapsed = time.monotonic() - began
    spent = session.server.process.cpu_seconds() - spent
    return _Bursts(delivered / elapsed, spent / max(delivered, 1) * 1e6, lost, stood_still)


async def _until_members(server: ServerOfPeer, count: int) -> None:
    deadline = time.monotonic() + 30
    while (found := int((await server.ask("members", "members"))[0])) != count:
        if time.monotonic() > deadline:
            raise ServerError(f"{found} members, and not {count}")
        await asyncio.sleep(0.002)


async def _memory_in_use(server: ServerOfPeer) -> int:
    await server.ask("collect", "collected")
    await asyncio.sleep(0.3)
    return server.process.rss_kib()


async def _longest_pause(session: Session) -> float | None:
    """Return the longest pause for the collector since the last call, in ms; None if unknown."""
    if session.peer.module is None:
        return None
    return float((await session.server.ask("gc", "gc"))[0])


def most_descriptors() -> int:
    """Return how many files the system allows this process at most."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 1 << 20 if hard == resource.RLIM_INFINITY else hard


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ").replace("|", "/")[:200]
