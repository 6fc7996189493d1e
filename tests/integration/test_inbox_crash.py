"""What an inbox has confirmed is there after its process was killed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from supervisor.inbox.base import InboxMessage
from supervisor.inbox.sqlite import SqliteInbox
from tests.integration import leash

pytestmark = pytest.mark.integration

KILLS = 3

WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from supervisor.inbox.base import InboxMessage
from supervisor.inbox.sqlite import SqliteInbox

async def put(inbox, name, first):
    for number in itertools.count(first):
        ids = [f"{name}-{number}-{part}" for part in range(3)]
        await inbox.put(
            [InboxMessage(id, name, None, "x" * 100, False, 0.0, 1e12) for id in ids],
            capacity=1_000_000,
        )
        settled = [ids[1]] if number % 5 == 0 else []
        if settled:
            await inbox.acknowledge(name, settled)
        sys.stdout.write(" ".join([name, str(number), *settled]) + "\\n")
        sys.stdout.flush()

async def main():
    inbox = SqliteInbox(Path(sys.argv[1]))
    await inbox.open()
    first = int(sys.argv[2])
    await asyncio.gather(*(put(inbox, name, first) for name in ("ann", "bob", "eve")))

asyncio.run(main())
"""


def write_until_killed(path: Path, first: int, lines: int) -> list[list[str]]:
    """Run a writer; kill it once it has confirmed so much. Return all that it has confirmed."""
    with subprocess.Popen(
        [sys.executable, leash.__file__, "-c", WRITER, str(path), str(first)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        said += process.stdout.readlines()
    return [line.split() for line in said if line.endswith("\n")]


async def everything(inbox: SqliteInbox, user: str) -> list[InboxMessage]:
    """Return all that a user has pending, read page by page."""
    found: list[InboxMessage] = []
    while page := await inbox.pending(
        user, now=time.time(), after=found[-1].id if found else None, limit=1_000
    ):
        found += page
    return found


async def test_what_was_confirmed_survives_a_kill(tmp_path: Path) -> None:
    """All of it, in order, puts all or none; what was settled does not come back."""
    path = tmp_path / "inbox.db"
    confirmed: dict[str, set[str]] = {"ann": set(), "bob": set(), "eve": set()}
    settled: set[str] = set()
    for kill in range(KILLS):
        said = await asyncio.to_thread(write_until_killed, path, kill * 1_000_000, 300)
        for name, number, *acknowledged in said:
            confirmed[name] |= {f"{name}-{number}-{part}" for part in range(3)}
            settled |= set(acknowledged)

        inbox = SqliteInbox(path)
        await inbox.open()
        for name, ids in confirmed.items():
            found = [message.id for message in await everything(inbox, name)]
            assert ids - settled <= set(found)
            assert not settled & set(found)
            places = [tuple(map(int, id.split("-")[1:])) for id in found]
            assert places == sorted(places)
            for put in {put for put, _ in places}:
                of_one = [part for each, part in places if each == put]
                assert of_one in ([0, 1, 2], [0, 2]), "a put is kept as a whole"
        await inbox.aclose()
    assert sum(map(len, confirmed.values())) >= KILLS * 900
