"""The receivers of a load: as many clients as wanted, counted together."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence

from supervisor.cli.load.busyness import Busyness
from supervisor.cli.load.client import ClientState, Inlet, LoadClient
from supervisor.cli.load.connecting import open_client
from supervisor.cli.load.descriptors import allow_sockets
from supervisor.cli.load.errors import LoadError
from supervisor.cli.load.handshake import Address
from supervisor.cli.load.receipts import Receipts
from supervisor.cli.load.results import LoadResult

__all__ = ["MOST_SOCKETS", "Receivers"]

MOST_SOCKETS = 28_000
"""Sockets that one address can have to one server: Linux hands out so many ports."""


class Receivers:
    """
    WebSocket clients that receive publications and count them.

    Args:
        url: Where all connect: ``ws://host:port/path``, or ``wss``.
        count: How many, from 1 to 28,000.
        subprotocol: To offer; the server has to choose it.
        headers: More headers of the handshake, as pairs.
        hello: Text that each client sends first, such as a command that subscribes it; a
            function gets the index of the client.
        connect_timeout: Seconds within which all have to be connected.
        at_once: How many handshakes run at a time.
        receive_buffer: Bytes of the kernel's receive buffer of each socket; None lets the
            kernel choose. A small one makes a client that does not read stall soon.

    Raises:
        LoadError: If the URL or the count is impossible.

    Attributes:
        address: Where they connect.
        count: How many they are.
        opened: How many have been connected, while :meth:`connect` is at it.

    One use of it: :meth:`connect`, then for each run :meth:`begin`, publish, :meth:`done`,
    :meth:`result`, and :meth:`close` at the end. All in one event loop; it is the only one of
    its process that should have work.
    """

    def __init__(
        self,
        url: str,
        count: int,
        *,
        subprotocol: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        hello: str | Callable[[int], str] | None = None,
        connect_timeout: float = 60.0,
        at_once: int = 64,
        receive_buffer: int | None = None,
    ) -> None:
        if not 1 <= count <= MOST_SOCKETS:
            raise LoadError(f"there can be 1 to {MOST_SOCKETS:,} sockets, not {count:,}")
        self.address = Address.of(url, "ws")
        self.count = count
        self._subprotocol = subprotocol
        self._headers = tuple(headers)
        self._hello = hello
        self._connect_timeout = connect_timeout
        self._at_once = at_once
        self._receive_buffer = receive_buffer
        self.opened = 0
        self._inlet = Inlet()
        self._clients: list[LoadClient] = []
        self._stalled: set[LoadClient] = set()
        self._expect: int | None = None
        self._missing = 0  # receivers that have not got everything
        self._all_here = asyncio.Event()
        self._delivered = 0
        self._last = 0
        self._closed: Counter[int] = Counter()
        self._receipts: Receipts | None = None
        self._busyness = Busyness()
        self._leaving = False

    @property
    def delivered(self) -> int:
        """Deliveries of this run so far, of all receivers."""
        return self._delivered

    @property
    def connected(self) -> int:
        """How many connections are open."""
        return sum(client.state is ClientState.OPEN for client in self._clients)

    @property
    def missing(self) -> int:
        """How many connected receivers have not got what is expected; 0 if nothing is."""
        return self._missing

    @property
    def clients(self) -> Sequence[LoadClient]:
        """The receivers by index."""
        return self._clients

    async def connect(self) -> None:
        """
        Connect all of them, and send each hello.

        Raises:
            ServerRefused: If the server answers one of them with something else.
            LoadError: If it cannot be reached, or too few descriptors or too little time are there.
        """
        allow_sockets(self.count)
        gate = asyncio.Semaphore(self._at_once)
        slots: list[LoadClient | None] = [None] * self.count

        async def one(index: int) -> None:
            async with gate:
                client = slots[index] = await open_client(
                    self.address,
                    self._inlet,
                    subprotocol=self._subprotocol,
                    headers=self._headers,
                    receive_buffer=self._receive_buffer,
                    on_read=self._read,
                    on_closed=self._closed_by_server,
                )
                self.opened += 1
                hello = self._hello(index) if callable(self._hello) else self._hello
                if hello is not None:
                    client.send(hello)

        try:
            async with asyncio.timeout(self._connect_timeout), asyncio.TaskGroup() as group:
                for index in range(self.count):
                    group.create_task(one(index))
        except TimeoutError:
            connected = self._keep(slots)
            await self.close()
            raise LoadError(
                f"{self.address.url}: {connected:,} of {self.count:,} sockets were connected "
                f"within {self._connect_timeout:g} s"
            ) from None
        except BaseException as error:
            self._keep(slots)
            await self.close()
            if isinstance(error, ExceptionGroup):
                raise error.exceptions[0] from None
            raise
        self._keep(slots)

    def begin(
        self, *, expect: int | None = None, latency: bool = False, publishers: int = 1
    ) -> None:
        """
        Begin a run: forget what came until now.

        Args:
            expect: Publications that every receiver should get; None if that is said later.
            latency: Read the number and the time of every delivery. Without it, deliveries are
                only counted, which costs a small part.
            publishers: How many publish in this run; see :mod:`supervisor.cli.load.payload`.
        """
        self._busyness.stop()
        self._receipts = Receipts(self._inlet, publishers) if latency else None
        self._delivered = 0
        self._last = 0
        self._closed.clear()
        for client in self._clients:
            client.counter.reset()
            client.counter.ledger = self._receipts
            if self._receipts is not None:
                client.counter.order = self._receipts.new_order()
        self._expect = expect
        self._find_missing()
        self._busyness = Busyness()
        self._busyness.start(lambda: self._last)

    def expect(self, publications: int) -> None:
        """Say how many publications every receiver should get in this run."""
        self._expect = publications
        self._find_missing()

    async def done(self, timeout: float) -> bool:
        """
        Wait until every receiver has everything, or its connection has ended.

        A receiver whose reading is paused is not waited for.

        Args:
            timeout: Longest wait, in seconds.

        Returns:
            Whether everything has arrived.

        Raises:
            RuntimeError: If it was not said how many publications to expect.
        """
        if self._expect is None:
            raise RuntimeError("say how many publications to expect: begin(expect=...)")
        try:
            async with asyncio.timeout(timeout):
                await self._all_here.wait()
        except TimeoutError:
            pass
        self._busyness.sample()
        return self._missing == 0 and not self._closed

    async def quiet(self, seconds: float, timeout: float) -> bool:
        """Wait until nothing has come for ``seconds``; return False if ``timeout`` was before."""
        deadline = time.monotonic() + timeout
        while True:
            before = self._delivered
            await asyncio.sleep(seconds)
            if self._delivered == before:
                return True
            if time.monotonic() > deadline:
                return False

    def result(self, *, first_published: int | None = None) -> LoadResult:
        """
        Return what this run has brought until now.

        Args:
            first_published: ``time.monotonic_ns()`` of the first publication, where it is known
                better than from the messages that arrived.
        """
        self._busyness.sample()
        counted = [client for client in self._clients if client not in self._stalled]
        per_socket = tuple(client.counter.delivered for client in self._clients)
        counts = [client.counter.delivered for client in counted]
        if first_published is None:
            times = [client.counter.first_published for client in self._clients]
            first_published = min((seen for seen in times if seen >= 0), default=None)
        last = self._last or None
        wanted = self._expect
        receipts = self._receipts
        return LoadResult(
            sockets=len(counted),
            delivered=sum(per_socket),
            expected=None if wanted is None else wanted * len(counted),
            lost=0 if wanted is None else sum(max(wanted - count, 0) for count in counts),
            surplus=0 if wanted is None else sum(max(count - wanted, 0) for count in counts),
            other=sum(client.counter.other for client in self._clients),
            per_socket=per_socket,
            closed=self._closed.total(),
            close_codes=dict(self._closed),
            seconds=(last - first_published) / 1e9 if last and first_published is not None else 0.0,
            first_published=first_published,
            last_received=last,
            gaps=None if receipts is None else receipts.gaps,
            repeats=None if receipts is None else receipts.repeats,
            latency=None if receipts is None or not self._delivered else receipts.latency(),
            last_receiver=None if receipts is None else receipts.last_receiver(len(counted)),
            client_busy=self._busyness.share,
            client_lag=self._busyness.lag,
        )

    def timeline(self, slots: int = 200) -> list[tuple[float, float]]:
        """Return how the time until the last receiver developed; empty without ``latency``."""
        return [] if self._receipts is None else self._receipts.timeline(slots)

    def pause_reading(self, index: int) -> None:
        """Let one receiver stall: it reads nothing, and is neither expected nor waited for."""
        client = self._clients[index]
        client.pause_reading()
        self._stalled.add(client)
        self._find_missing()

    def resume_reading(self, index: int) -> None:
        """Let it read again; from now on it counts as the others do."""
        client = self._clients[index]
        self._stalled.discard(client)
        self._find_missing()
        client.resume_reading()

    async def close(self, timeout: float = 5.0) -> None:
        """Close all; abort those that are not gone after ``timeout`` seconds. Idempotent."""
        self._leaving = True
        self._busyness.stop()
        for client in self._clients:
            client.resume_reading()
            client.close()
        if self._clients:
            await asyncio.wait([client.gone for client in self._clients], timeout=timeout)
        for client in self._clients:
            client.abort()
        if self._clients:
            await asyncio.wait([client.gone for client in self._clients], timeout=timeout)

    def _keep(self, slots: list[LoadClient | None]) -> int:
        self._clients = [client for client in slots if client is not None]
        return len(self._clients)

    def _read(self, client: LoadClient, new: int) -> None:
        self._delivered += new
        self._last = self._inlet.now
        expect = self._expect
        if expect is not None:
            count = client.counter.delivered
            if count >= expect > count - new and client not in self._stalled:
                self._missing -= 1
                if self._missing <= 0:
                    self._all_here.set()

    def _closed_by_server(self, client: LoadClient) -> None:
        if not self._leaving:
            self._closed[client.close_code or 0] += 1
            self._find_missing()

    def _find_missing(self) -> None:
        """Count anew who lacks something; who has gone will get nothing more."""
        expect = self._expect
        self._missing = (
            sum(
                client.state is not ClientState.CLOSED
                and client not in self._stalled
                and client.counter.delivered < expect
                for client in self._clients
            )
            if expect is not None
            else 0
        )
        if expect is not None and self._missing == 0:
            self._all_here.set()
        else:
            self._all_here.clear()
