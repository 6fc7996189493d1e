"""What a fan-out costs: one publication to many members, and many that wait together."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from actors.messages import Publish
from actors.publications import Publication
from actors.room import BATCH_MESSAGES
from actors.runtime import Runtime
from tests.benchmarks.null import TEXT, NullTransport, open_room

pytestmark = pytest.mark.benchmark(group="fan-out, transports that take everything")

TEXT_128 = "x" * 128


@pytest.mark.parametrize("members", [1, 100, 1_000, 10_000])
async def test_fan_out_of_one_publication(
    benchmark: BenchmarkFixture, runtime: Runtime, members: int
) -> None:
    """Every member gets it within the call."""
    transports = [NullTransport() for _ in range(members)]
    room = open_room(runtime, transports)
    published = 0

    def publish() -> None:
        nonlocal published
        published += 1
        room.cell.ref.tell(Publish(Publication(TEXT_128, TEXT)), at_once=True)

    benchmark(publish)

    assert {transport.messages for transport in transports} == {published}


@pytest.mark.parametrize("members", [1, 100, 1_000])
async def test_fan_out_of_publications_that_wait_together(
    benchmark: BenchmarkFixture, runtime: Runtime, members: int
) -> None:
    """They reach every member as one chunk, in one turn."""
    transports = [NullTransport() for _ in range(members)]
    room = open_room(runtime, transports)
    published = 0

    def publish() -> None:
        nonlocal published
        published += BATCH_MESSAGES
        for _ in range(BATCH_MESSAGES):
            room.cell.ref.tell(Publish(Publication(TEXT_128, TEXT)))
        room.turn(room.cell.mailbox)

    benchmark(publish)

    assert {transport.messages for transport in transports} == {published}
