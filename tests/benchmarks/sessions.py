"""A server and its receivers: connected once, measured many times."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from supervisor.cli.load import LoadResult, Receivers
from tests.benchmarks.environment import BUILD, Environment, Machine
from tests.benchmarks.lineup import Peer, filled_in
from tests.benchmarks.markers import MarkerCounter
from tests.benchmarks.publishers import (
    CommandedPublisher,
    NatsPublisher,
    NchanPublisher,
    Publisher,
)
from tests.benchmarks.servers import ServerError, ServerOfPeer, free_port

__all__ = ["Measured", "Session", "start_server"]

PATIENCE = 60.0
"""Seconds after which a run is given up."""


@dataclass(frozen=True)
class Measured:
    """
    One run.

    Attributes:
        result: What the receivers got.
        cpu: Seconds that the server spent, user's and system's.
        complete: Whether everybody got everything.
    """

    result: LoadResult
    cpu: float
    complete: bool


async def start_server(
    peer: Peer, environment: Environment, machine: Machine, arguments: tuple[str, ...] = ()
) -> tuple[ServerOfPeer, int]:
    """Start the server of ``peer``; return it, and the port that it is published to."""
    folder = BUILD / "servers" / peer.key
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    if peer.needs == "nats-server":
        port, sockets = free_port(), free_port()
        config = filled_in("nats.conf", folder, WS_PORT=sockets, PORT=port)
        command = [str(environment.programs["nats-server"]), "--config", str(config)]
        server = await ServerOfPeer.start(command, machine, log, port=sockets)
        return server, port
    if peer.needs == "nginx":
        port = free_port()
        module = environment.programs["nchan"]
        config = filled_in("nchan.conf", folder, FOLDER=folder, PORT=port, MODULE=module)
        nginx = str(environment.programs["nginx"])
        command = [nginx, "-p", str(folder), "-c", str(config), "-e", str(log)]
        server = await ServerOfPeer.start(command, machine, log, port=port)
        return server, port
    command = [*peer.command(environment), *arguments]
    server = await ServerOfPeer.start(command, machine, log, variables=dict(peer.variables))
    return server, server.port


class Session:
    """
    A server with receivers.

    Attributes:
        peer: Whose.
        server: The process.
        receivers: Its clients.
    """

    def __init__(
        self, peer: Peer, server: ServerOfPeer, receivers: Receivers, publisher: Publisher
    ) -> None:
        self.peer = peer
        self.server = server
        self.receivers = receivers
        self.publisher = publisher

    @classmethod
    async def open(
        cls,
        peer: Peer,
        count: int,
        environment: Environment,
        machine: Machine,
        arguments: tuple[str, ...] = (),
    ) -> Session:
        """
        Start the server of ``peer`` and connect ``count`` receivers that get what is published.

        Raises:
            ServerError, LoadError, OSError: If that does not work.
        """
        server, port = await start_server(peer, environment, machine, arguments)
        receivers = Receivers(f"ws://127.0.0.1:{server.port}{peer.path}", count, hello=peer.hello)
        try:
            await receivers.connect()
            publisher: Publisher
            if peer.needs == "nats-server":
                publisher = await NatsPublisher.open(receivers, port)
            elif peer.needs == "nginx":
                publisher = await NchanPublisher.open(receivers, port)
            else:
                publisher = CommandedPublisher(server, PATIENCE)
            if peer.shared_frames:
                for client in receivers.clients:
                    client.counter = MarkerCounter()
            session = cls(peer, server, receivers, publisher)
            await session.until_members(count)
            await session._until_all_receive()
        except BaseException:
            await receivers.close()
            await server.stop()
            raise
        return session

    async def close(self) -> None:
        """Stop the server; its clients go with it."""
        await self.publisher.close()
        await self.server.stop()
        await self.receivers.close(timeout=2)

    async def run(
        self, mode: str, count: int, size: int, *, rate: float = 0.0, latency: bool = False
    ) -> Measured:
        """Publish ``count`` messages to all, and wait until they have them."""
        receivers = self.receivers
        receivers.begin(expect=count, latency=latency)
        before = self.server.process.cpu_seconds()
        async with asyncio.timeout(PATIENCE):
            await self.publisher.publish(mode, count, size, rate)
        complete = await receivers.done(10.0)
        cpu = self.server.process.cpu_seconds() - before
        result = receivers.result()
        return Measured(result, cpu, complete and result.complete)

    async def pace(self, mode: str, size: int) -> float:
        """Return about how many publications it carries in a second, once it is warm."""
        count = 8
        await self.run(mode, count, size)
        while True:
            began = time.monotonic()
            await self.run(mode, count, size)
            elapsed = time.monotonic() - began
            if elapsed > 0.2 or count > 20_000:
                return count / elapsed
            count = min(4 * count, max(2 * count, round(0.25 * count / elapsed)))

    async def until_members(self, count: int) -> None:
        """Wait until the server says that so many are members, where it can say that."""
        if not isinstance(self.publisher, CommandedPublisher):
            return
        deadline = time.monotonic() + 20
        while (found := int((await self.server.ask("members", "members"))[0])) != count:
            if time.monotonic() > deadline:
                raise ServerError(f"{found} members, and not {count}")
            await asyncio.sleep(0.02)

    async def _until_all_receive(self) -> None:
        """Publish until everybody gets it: a subscription may take its time."""
        for _ in range(20):
            self.receivers.begin(expect=1)
            await self.publisher.publish("one", 1, 128, 0)
            if await self.receivers.done(1.0):
                await self.receivers.quiet(0.05, 2.0)
                return
        raise ServerError(f"{self.receivers.delivered} of {self.receivers.count} receive")
