"""What a fan-out costs on the fast path, up to the server's own transport."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from actors.messages import Publish
from actors.publications import Publication
from actors.runtime import Runtime
from supervisor.transports.wire import WireTransport
from tests.benchmarks.null import TEXT, open_room

pytestmark = pytest.mark.benchmark(group="fan-out, fast path")

TEXT_128 = "x" * 128
FRAME_128 = b"\x81\x7e\x00\x80" + TEXT_128.encode()


class NullTcp:
    """
    A server's transport that takes everything.

    Attributes:
        taken: Bytes that it took.
        last: What it took last.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.last = b""

    def write(self, data: bytes) -> None:
        """Take it."""
        self.taken += len(data)
        self.last = data

    def abort(self) -> None:
        """Be done with."""


class NullServer:
    """A protocol class that closes without a handshake."""

    def close_handshake(self, code: int, reason: str, timeout: float) -> None:
        """Be done with."""

    def drop_unread(self) -> None:
        """There is nothing."""


@pytest.mark.parametrize("members", [1, 100, 1_000])
async def test_fan_out_on_the_fast_path(
    benchmark: BenchmarkFixture, runtime: Runtime, members: int
) -> None:
    """Every socket gets the same frame, which was made once."""
    sockets = [NullTcp() for _ in range(members)]
    room = open_room(
        runtime,
        [WireTransport(cast("asyncio.Transport", each), NullServer()) for each in sockets],
    )
    published = 0

    def publish() -> None:
        nonlocal published
        published += 1
        room.cell.ref.tell(Publish(Publication(TEXT_128, TEXT)), at_once=True)

    benchmark(publish)

    assert {each.taken for each in sockets} == {published * len(FRAME_128)}
    assert {id(each.last) for each in sockets} == {id(sockets[0].last)}
    assert sockets[0].last == FRAME_128
