"""What a history on disk has confirmed is there after its process was killed."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from actors.positions import Position
from supervisor.history.base import Record
from supervisor.history.sqlite import SqliteHistory

pytestmark = pytest.mark.integration

APPENDER = """
import asyncio, os, sys
from pathlib import Path
from supervisor.history.base import Entry, Retention
from supervisor.history.sqlite import SqliteHistory
from supervisor.testing import append_to

KEPT = Retention(records=None, size=None, age=None)

async def append(history, room, name):
    durability = "memory" if room == "memory" else "written"
    for number in range(100_000):
        entry = Entry(f"{name} {number} " + "x" * 100)
        place = await append_to(history, room, entry, KEPT, durability=durability)
        os.write(1, f"{room} {place.epoch} {place.offset} {name} {number}\\n".encode())

async def main():
    history = SqliteHistory(Path(sys.argv[1]))
    await history.open()
    await append_to(history, "ended", Entry("x"), KEPT, durability="memory")
    await append_to(history, "ended", Entry("x"), KEPT, durability="memory")
    end = await history.end("ended")
    os.write(1, f"ended {end.epoch} {end.offset} 0 0\\n".encode())
    rooms = ["written"] * 5 + ["memory"] * 5
    await asyncio.gather(*(append(history, room, name) for name, room in enumerate(rooms)))

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(5))
async def test_what_was_confirmed_survives_a_kill(tmp_path: Path, seed: int) -> None:
    """Under its epoch, without a hole; where it may not be there, the epoch is another."""
    path = tmp_path / "history.db"
    confirmed = killed_appender(path, lines=random.Random(seed).randint(1, 3_000))
    history = SqliteHistory(path)
    await history.open()

    for room, told in confirmed.items():
        records = await all_records(history, room)
        state = await history.state(room)
        (epoch,) = {position.epoch for position in told}
        assert [record.offset for record in records] == list(range(1, len(records) + 1))
        assert state.top.offset == len(records)
        if room == "memory":
            assert state.top.epoch != epoch
        else:
            assert state.top.epoch == epoch
            for position, payload in told.items():
                assert str(records[position.offset - 1].payload).startswith(payload)
    assert (await history.state("ended")).ended
    await history.aclose()


def killed_appender(path: Path, *, lines: int) -> dict[str, dict[Position, str]]:
    """Return what a process had confirmed when it was killed, by room: places and payloads."""
    confirmed: dict[str, dict[Position, str]] = {}
    with subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        for number, line in enumerate(process.stdout):
            if number == lines:
                process.kill()
            if not line.endswith("\n"):
                break
            room, epoch, offset, name, count = line.split()
            payload = "x" if room == "ended" else f"{name} {count} "
            confirmed.setdefault(room, {})[Position(epoch, int(offset))] = payload
    return confirmed


async def all_records(history: SqliteHistory, room: str) -> list[Record]:
    """Return the records of a room."""
    records: list[Record] = []
    while True:
        page = await history.read(room, after=len(records))
        records += page.records
        if not page.more:
            return records
