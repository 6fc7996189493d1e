"""The inbox in a file: what it leaves there, and what happens when the file fails."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from supervisor.errors import StoreUnavailable
from supervisor.inbox.base import REMEMBERED, InboxMessage
from supervisor.inbox.sqlite import SqliteInbox

pytestmark = pytest.mark.real_time

MESSAGE = InboxMessage(
    "m", "ann", room="alert:a", payload="x", encoded=True, created=0.0, expires=10.0
)


def change(path: Path, statement: str) -> None:
    """Do something to the file behind the store's back."""
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def make_unwritable(path: Path) -> None:
    """Have all writes fail, while reads go on."""
    for what in ("INSERT", "UPDATE"):
        change(
            path,
            f"CREATE TRIGGER no_{what} BEFORE {what} ON inbox "
            "BEGIN INSERT INTO nowhere VALUES (1); END",
        )


async def test_what_was_put_is_there_for_the_next_process(tmp_path: Path) -> None:
    """With subscriptions and dead letters; what was settled is not."""
    inbox = SqliteInbox(tmp_path / "inbox.db")
    await inbox.open()
    await inbox.put([replace(MESSAGE, id=id) for id in "abc"], capacity=10)
    await inbox.delivered({"a": 1})
    await inbox.acknowledge("ann", ["b"])
    await inbox.bury(["c"])
    await inbox.subscribe("alert:a", 7)
    await inbox.aclose()

    after = SqliteInbox(tmp_path / "inbox.db")
    await after.open()

    assert await after.pending("ann", now=0) == [replace(MESSAGE, id="a", deliveries=1)]
    assert await after.dead() == [replace(MESSAGE, id="c")]
    assert await after.subscribers("alert:a") == [7]
    kept = await after.put([replace(MESSAGE, id=id) for id in "abcd"], capacity=10)
    assert kept.new == {"d"}
    await after.aclose()


async def test_two_stores_do_not_share_a_file(tmp_path: Path) -> None:
    """The second one says why it cannot be opened."""
    inbox = SqliteInbox(tmp_path / "inbox.db")
    await inbox.open()

    with pytest.raises(StoreUnavailable, match="another process"):
        await SqliteInbox(tmp_path / "inbox.db").open()

    await inbox.aclose()


async def test_a_file_that_fails_refuses(tmp_path: Path) -> None:
    """Whoever calls is told why, and nothing is kept."""
    path = tmp_path / "inbox.db"
    inbox = SqliteInbox(path)
    await inbox.open()
    await inbox.put([replace(MESSAGE, id="a")], capacity=10)
    make_unwritable(path)

    with pytest.raises(StoreUnavailable, match="nowhere"):
        await inbox.put([replace(MESSAGE, id="b")], capacity=10)

    assert not inbox.healthy
    assert [m.id for m in await inbox.pending("ann", now=0)] == ["a"]
    await inbox.aclose()


async def test_a_file_that_fails_is_replaced_by_memory(tmp_path: Path) -> None:
    """If that is wanted: with what can be read, and never silently."""
    path = tmp_path / "inbox.db"
    told: list[StoreUnavailable] = []
    inbox = SqliteInbox(path, on_failure="memory", on_fall_back=told.append)
    await inbox.open()
    await inbox.put([replace(MESSAGE, id="a")], capacity=10)
    await inbox.subscribe("alert:a", "ann")
    make_unwritable(path)
    assert inbox.healthy

    kept = await inbox.put([replace(MESSAGE, id="a"), replace(MESSAGE, id="b")], capacity=10)

    assert kept.new == {"b"}
    assert not inbox.healthy
    assert len(told) == 1
    assert [m.id for m in await inbox.pending("ann", now=0)] == ["a", "b"]
    assert await inbox.acknowledge("ann", ["a"]) == ["a"]
    assert await inbox.subscribers("alert:a") == ["ann"]
    assert await inbox.bury(["b"]) == [replace(MESSAGE, id="b")]
    assert await inbox.dead() == [replace(MESSAGE, id="b")]
    assert len(told) == 1
    await inbox.aclose()


async def test_a_file_that_gives_nothing_is_replaced_by_memory(tmp_path: Path) -> None:
    """Which begins empty."""
    path = tmp_path / "inbox.db"
    inbox = SqliteInbox(path, on_failure="memory")
    await inbox.open()
    await inbox.put([replace(MESSAGE, id="a")], capacity=10)
    change(path, "DROP TABLE inbox")

    kept = await inbox.put([replace(MESSAGE, id="b")], capacity=10)

    assert kept.new == {"b"}
    assert [m.id for m in await inbox.pending("ann", now=0)] == ["b"]
    await inbox.aclose()


@pytest.mark.slow
async def test_what_was_settled_is_forgotten_in_time(tmp_path: Path) -> None:
    """The file does not grow for ever."""
    path = tmp_path / "inbox.db"
    inbox = SqliteInbox(path)
    await inbox.open()

    for start in range(0, REMEMBERED + 2_500, 500):
        ids = [str(number) for number in range(start, start + 500)]
        await inbox.put([replace(MESSAGE, id=id) for id in ids], capacity=500)
        await inbox.acknowledge("ann", ids)
    await inbox.aclose()

    connection = sqlite3.connect(path)
    rows, payloads = connection.execute(
        "SELECT count(*), sum(length(payload)) FROM inbox"
    ).fetchone()
    connection.close()
    assert REMEMBERED <= rows <= REMEMBERED + 1_000
    assert payloads == 0
