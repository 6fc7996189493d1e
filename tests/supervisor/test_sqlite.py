"""A SQLite file with one writer: opening, grouping, failing and closing."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from supervisor.errors import StoreFull, StoreUnavailable
from supervisor.sqlite import Call, Job, LastStop, SqliteFile
from supervisor.sqlite.opening import Place

pytestmark = pytest.mark.real_time

SCHEMA = ["CREATE TABLE things (thing)"]

File = SqliteFile[Job]


def make_file(path: Path, **options: Any) -> File:
    """Return a file with a table of things."""
    return SqliteFile(path, "things", schema=SCHEMA, **options)


def add(thing: object) -> Call:
    """Return a job that adds a thing."""
    return Call(lambda connection: connection.execute("INSERT INTO things VALUES (?)", (thing,)))


async def things(file: File) -> list[Any]:
    """Return the things of a file."""
    return await file.read(
        lambda connection: [thing for (thing,) in connection.execute("SELECT thing FROM things")]
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file that is not there yet."""
    return tmp_path / "things.db"


@pytest.fixture
async def file(path: Path) -> AsyncIterator[File]:
    """Return an open file."""
    file = make_file(path)
    await file.open()
    yield file
    await file.aclose()


class Gate:
    """Holds the writer in the middle of a group."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.left = threading.Event()

    def __call__(self, connection: sqlite3.Connection) -> None:
        self.entered.set()
        assert self.left.wait(10.0)


async def test_what_was_written_is_read(file: File) -> None:
    """A read sees every write that was confirmed before."""
    for number in range(20):
        await file.write(add(number))
        assert await things(file) == list(range(number + 1))


async def test_a_refused_job_undoes_itself_only(file: File) -> None:
    """What a job raises reaches its waiter; the other jobs of its group are written."""

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO things VALUES ('undone')")
        raise LookupError("refused")

    outcomes = await asyncio.gather(
        file.write(add(1)), file.call(fail), file.write(add(2)), return_exceptions=True
    )

    assert isinstance(outcomes[1], LookupError)
    assert await things(file) == [1, 2]
    assert file.healthy


async def test_a_job_that_cannot_be_applied_is_found(path: Path) -> None:
    """When a group cannot be applied because of one job, only that one is refused."""
    undone: list[int] = []

    def apply(connection: sqlite3.Connection, jobs: Sequence[Job]) -> None:
        connection.executemany("INSERT INTO things VALUES (?)", [(job.size,) for job in jobs])
        if any(job.size == 3 for job in jobs):
            raise LookupError

    file = make_file(path, apply=apply, undone=lambda jobs: undone.append(len(jobs)))
    await file.open()
    outcomes = await asyncio.gather(
        *(file.write(Job(size)) for size in range(6)), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes if outcome] == [LookupError]
    assert await things(file) == [0, 1, 2, 4, 5]
    assert file.healthy
    assert undone[-1] == 1
    await file.aclose()


async def test_what_waits_together_is_one_transaction(path: Path) -> None:
    """Jobs that come while the writer is busy are applied as one group."""
    groups: list[int] = []
    gate = Gate()

    def apply(connection: sqlite3.Connection, jobs: Sequence[Job]) -> None:
        groups.append(len(jobs))
        if len(groups) == 1:
            gate(connection)

    file = make_file(path, apply=apply)
    await file.open()
    told: list[object] = []
    file.write_nowait(Job(), told.append)
    await asyncio.to_thread(gate.entered.wait)
    for _ in range(50):
        file.write_nowait(Job(), told.append)
    gate.left.set()
    await file.aclose()

    assert groups == [1, 50]
    assert told == [None] * 51


async def test_reads_do_not_wait_for_the_writer(file: File) -> None:
    """While a group is being written, reads see what was committed before."""
    gate = Gate()
    await file.write(add(1))
    file.write_nowait(add(2), lambda outcome: None)
    file.write_nowait(Call(gate), lambda outcome: None)
    await asyncio.to_thread(gate.entered.wait)

    seen = await things(file)
    gate.left.set()

    assert seen in ([1], [1, 2])


async def test_a_read_waits_for_what_was_told_early(path: Path) -> None:
    """What a waiter was told before the commit is seen by every read after that."""

    def apply(connection: sqlite3.Connection, jobs: Sequence[Job]) -> None:
        for job in jobs:
            connection.execute("INSERT INTO things VALUES (1)")
            job.early = True

    file = make_file(path, apply=apply)
    await file.open()
    for number in range(1, 100):
        await file.write(Job())
        assert len(await things(file)) == number
    await file.aclose()


async def test_too_many_jobs_are_refused(path: Path) -> None:
    """Beyond its capacity, the queue raises StoreFull; later it has space."""
    file = make_file(path, capacity=3)
    await file.open()
    gate = Gate()
    told: list[object] = []
    file.write_nowait(Call(gate), told.append)
    await asyncio.to_thread(gate.entered.wait)

    done = threading.Event()
    for then in (told.append, told.append, lambda _: done.set()):
        file.write_nowait(Call(lambda _: None), then)
    with pytest.raises(StoreFull, match="3 writes"):
        file.write_nowait(Call(lambda _: None), told.append)
    with pytest.raises(StoreFull, match="3 writes"):
        await file.call(lambda _: None)
    gate.left.set()
    await asyncio.to_thread(done.wait)
    await file.call(lambda _: None)
    await file.aclose()

    assert told == [None] * 3


async def test_too_many_bytes_are_refused(path: Path) -> None:
    """One job is taken however large it is, as long as no other waits."""
    file = make_file(path, capacity_bytes=100)
    await file.open()
    gate = Gate()
    told: list[object] = []
    file.write_nowait(Call(gate), told.append)
    await asyncio.to_thread(gate.entered.wait)

    file.write_nowait(Call(lambda _: None, size=1_000), told.append)
    with pytest.raises(StoreFull, match="1000 bytes"):
        file.write_nowait(Call(lambda _: None, size=1), told.append)
    gate.left.set()
    await file.aclose()

    assert told == [None] * 2


async def test_waiting_has_an_end(path: Path) -> None:
    """Writers and readers that a hanging disk keeps waiting get StoreUnavailable, once."""
    file = make_file(path, deadline=0.2)
    await file.open()
    gate = Gate()
    told: list[object] = []
    file.write_nowait(Call(gate), told.append)
    await asyncio.to_thread(gate.entered.wait)
    late = await asyncio.gather(
        file.call(lambda _: 1), file.read(lambda _: gate.left.wait()), return_exceptions=True
    )

    for outcome in late:
        assert isinstance(outcome, StoreUnavailable)
        assert "within 0.2 s" in str(outcome)
    assert not file.healthy
    gate.left.set()
    await file.aclose()
    assert len(told) == 1
    assert isinstance(told[0], StoreUnavailable)


async def test_opening_and_closing_have_an_end(path: Path) -> None:
    """Both raise StoreUnavailable after the deadline; once the disk answers, all is as it should be."""
    gate = Gate()
    gate.left.clear()
    file = make_file(path, deadline=0.2, prepare=lambda connection, _: gate(connection))
    with pytest.raises(StoreUnavailable, match=r"within 0\.2 s"):
        await file.open()
    with pytest.raises(StoreUnavailable, match=r"within 0\.2 s"):
        await file.aclose()
    gate.left.set()
    while True:  # it closes as soon as it was opened
        try:
            await file.open()
            break
        except StoreUnavailable:
            await asyncio.sleep(0.001)
    await file.write(add(1))

    assert await things(file) == [1]
    await file.aclose()


async def test_closing_writes_what_waits(path: Path) -> None:
    """aclose() returns when all that was queued is in the file."""
    file = make_file(path)
    await file.open()
    for number in range(100):
        file.write_nowait(add(number), lambda outcome: None)
    await file.aclose()
    await file.aclose()
    with pytest.raises(StoreUnavailable, match="is not open"):
        await file.write(add(1))
    with pytest.raises(StoreUnavailable, match="is not open"):
        await things(file)
    with pytest.raises(StoreUnavailable, match="is not open"):
        file.write_nowait(add(1), lambda outcome: None)
    await file.open()

    assert await things(file) == list(range(100))
    await file.aclose()


async def test_it_is_opened_and_closed_at_the_same_time(path: Path) -> None:
    """Several who open it get one file; who opens while it is being closed opens it again."""
    file = make_file(path)
    await asyncio.gather(*(file.open() for _ in range(5)))
    closing = asyncio.ensure_future(file.aclose())
    await asyncio.sleep(0)
    await asyncio.gather(closing, file.open())

    await file.write(add(1))
    await file.aclose()


async def test_cancelled_opening_and_closing_go_on(path: Path) -> None:
    """Cancelling a wait leaves the file open, or closed, all the same."""
    file = make_file(path)
    opening = asyncio.ensure_future(file.open())
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await file.open()
    closing = asyncio.ensure_future(file.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await file.aclose()

    await file.open()
    assert await things(file) == []
    await file.aclose()


async def test_then_may_raise_without_harm(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who raises when it is told is reported as a thread's error; the others are told."""
    reported: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(args.exc_type))
    told: list[object] = []

    def fail(outcome: object) -> None:
        raise LookupError

    file.write_nowait(Call(lambda _: 1), fail)
    file.write_nowait(Call(lambda _: 2), told.append)
    await file.call(lambda _: 3)

    assert reported == [LookupError]
    assert told == [2]


SMALL_FILES = """
import asyncio, pathlib, resource, sqlite3, sys
from supervisor.sqlite.failures import unavailable

path = pathlib.Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
connection = sqlite3.connect(path)
try:
    connection.execute("CREATE TABLE things (name TEXT)")
    connection.execute("INSERT INTO things VALUES (?)", ("x" * 200_000,))
    connection.commit()
except sqlite3.Error as error:
    print(unavailable(path, error))
"""
"""What is said in a process whose files may have 100 kB."""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
async def test_what_keeps_a_file_from_growing_is_said(path: Path) -> None:
    """It need not be the disk: SQLite has one code for that, for a quota and for a limit."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SMALL_FILES, str(path), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()

    assert said.decode().strip() == (
        f"{path}: it cannot be written: its disk has failed, or a quota or a limit of the size of "
        "files is reached (disk I/O error)"
    )


async def test_a_full_disk_is_said_and_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes raise StoreUnavailable while there is no space, and succeed once there is."""
    monkeypatch.setattr("supervisor.sqlite.writer.RETRY_AFTER", 0.05)
    file = make_file(path)
    await file.open()
    await file.call(set_most_pages(10))
    with pytest.raises(StoreUnavailable, match="disk is full: make space"):
        await file.write(add("x" * 100_000))
    was_healthy = file.healthy
    with pytest.raises(StoreUnavailable, match="disk is full"):
        await file.write(add("at once"))
    assert await things(file) == []
    await asyncio.sleep(0.06)
    await file.call(set_most_pages(1_000))
    await file.write(add("y"))

    assert not was_healthy
    assert file.healthy
    assert await things(file) == ["y"]
    await file.aclose()


async def test_the_database_of_another_application_is_left_alone(path: Path) -> None:
    """Nothing is added to it."""
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (thing)")
    file = make_file(path)

    with pytest.raises(StoreUnavailable, match="another application"):
        await file.open()

    with sqlite3.connect(path) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


async def test_a_link_is_the_file_that_it_leads_to(path: Path, file: File) -> None:
    """So it is locked by whatever name, and its log is looked for beside the file itself."""
    link = path.with_name("link.db")
    link.symlink_to(path)

    with pytest.raises(StoreUnavailable, match="used by another"):
        await make_file(link).open()

    await file.write(add("x"))
    await file.aclose()
    linked = make_file(link)
    await linked.open()
    assert await things(linked) == ["x"]
    await linked.aclose()


async def test_a_file_that_works_again_says_so_by_itself(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when nobody writes any more, because a server that is not ready gets nothing to write."""
    monkeypatch.setattr("supervisor.sqlite.writer.RETRY_AFTER", 0.02)
    file = make_file(path, deadline=1.0)
    await file.open()
    with sqlite3.connect(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable):
            await file.write(add("x"))
        assert not file.healthy
        other.rollback()

    await until(lambda: file.healthy)

    await file.write(add("y"))
    assert await things(file) == ["y"]
    await file.aclose()


def take_away(path: Path, *, replaced: bool) -> None:
    """Remove a database and what belongs to it; put something else in its place."""
    for name in (path, path.with_name("things.db-wal"), path.with_name("things.db-shm")):
        name.unlink(missing_ok=True)
    if replaced:
        path.write_bytes(b"another")


async def until(true: Callable[[], bool]) -> None:
    """Return when that is true; it is to be soon."""
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not become true within 10 s")


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
async def test_a_file_that_is_taken_away_is_not_written_any_more(
    path: Path,
    replaced: bool,
) -> None:
    """It would be kept nowhere: writes are refused, and what was read before can be read still."""
    file = make_file(path, deadline=0.4)
    await file.open()
    await file.write(add("x"))
    take_away(path, replaced=replaced)

    await until(lambda: not file.healthy)

    with pytest.raises(StoreUnavailable, match="removed or replaced"):
        await file.write(add("y"))
    assert await things(file) == ["x"]
    assert not file.healthy
    await file.aclose()


async def test_a_file_that_is_open_is_open_for_reading(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late its thread begins: what is there then under that name is another file."""
    connect = Place.connect

    def connect_late(place: Place) -> sqlite3.Connection:
        time.sleep(0.1)
        return connect(place)

    monkeypatch.setattr(Place, "connect", connect_late)
    file = make_file(path)
    await file.open()
    await file.write(add("x"))
    take_away(path, replaced=True)

    assert await things(file) == ["x"]
    await file.aclose()


def set_most_pages(count: int) -> Any:
    """Return what gives a database a disk of so many pages."""
    return lambda connection: connection.execute(f"PRAGMA max_page_count = {count}").fetchone()


@pytest.mark.parametrize(
    ("arrange", "says"),
    [
        (lambda path: path.write_bytes(b"no database " * 1000), "no SQLite database, or damaged"),
        (lambda path: path.mkdir(), "is not a file"),
        (lambda path: path.with_name("things.db.things.lock").mkdir(), "directory of the database"),
    ],
)
async def test_what_cannot_be_opened_is_explained(path: Path, arrange: Any, says: str) -> None:
    """open() raises StoreUnavailable, which names the file and what is wrong."""
    arrange(path)
    file = make_file(path)

    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=says) as raised:
            await file.open()
        assert path.name in str(raised.value)
    await file.aclose()


@pytest.mark.parametrize(
    ("name", "says"), [("no/things.db", "does not exist: make it"), ("file/things.db", "not a dir")]
)
async def test_a_missing_directory_is_explained(tmp_path: Path, name: str, says: str) -> None:
    """open() makes no directories, and says what is in the place of one."""
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnavailable, match=says):
        await make_file(tmp_path / name).open()


async def test_a_truncated_file_is_damaged(path: Path) -> None:
    """A file that was cut off is refused when it is opened, not when somebody reads."""
    await fill(path)
    os.truncate(path, 12_288)

    with pytest.raises(StoreUnavailable, match="it is damaged: put a backup in its place"):
        await make_file(path).open()


async def test_an_overwritten_file_is_damaged(path: Path) -> None:
    """So is one with pages that are none."""
    await fill(path)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 20_000)

    with pytest.raises(StoreUnavailable, match="it is damaged"):
        await make_file(path).open()


async def fill(path: Path) -> None:
    """Make a file of some pages, and close it."""
    file = make_file(path)
    await file.open()
    for _ in range(20):
        await file.write(add("x" * 3_000))
    await file.aclose()


async def test_damage_that_is_found_later_is_said(path: Path) -> None:
    """A page that turns out to be damaged fails what needs it, with a text that says so."""
    await fill(path)
    file = make_file(path)
    await file.open()
    with path.open("r+b") as raw:
        raw.seek(8192)
        raw.write(b"\xff" * 40_000)

    with pytest.raises(StoreUnavailable, match="it is damaged"):
        await things(file)
    await file.aclose()


async def test_a_newer_file_is_refused(path: Path) -> None:
    """A file whose schema a newer version made is left alone."""
    newer = make_file(path, version=2)
    await newer.open()
    await newer.aclose()

    with pytest.raises(StoreUnavailable, match=r"newer version of this library.*version 2, not 1"):
        await make_file(path).open()


async def test_another_store_cannot_have_the_file(file: File, path: Path) -> None:
    """Not even in the same process; another role of the file is another matter."""
    with pytest.raises(StoreUnavailable, match=r"used by another process.*Redis"):
        await make_file(path).open()
    other: File = SqliteFile(path, "others", schema=["CREATE TABLE others (other)"])
    await other.open()
    await other.call(lambda connection: connection.execute("INSERT INTO others VALUES (1)"))
    await file.write(add(1))
    await other.aclose()

    assert await things(file) == [1]


@pytest.mark.slow
async def test_another_process_cannot_have_the_file(path: Path) -> None:
    """While a process lives that opened it; then at once."""
    program = f"""
import asyncio, sys
from pathlib import Path
from supervisor.sqlite import SqliteFile
async def main():
    await SqliteFile(Path({str(path)!r}), "things", schema={SCHEMA!r}).open()
    print("open", flush=True)
    sys.stdin.read()
asyncio.run(main())
"""
    with subprocess.Popen(  # noqa: ASYNC220 - nothing else runs on this loop
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        await asyncio.to_thread(process.stdout.readline)
        file = make_file(path)
        with pytest.raises(StoreUnavailable, match="used by another process"):
            await file.open()
        process.kill()

    await file.open()
    await file.aclose()


@pytest.mark.parametrize(
    ("boots", "clean", "stop"),
    [
        (["one", "one"], True, LastStop.CLEAN),
        (["one", "two"], True, LastStop.CLEAN),
        (["one", "one"], False, LastStop.KILLED),
        (["one", "two"], False, LastStop.CRASHED),
        (["", ""], False, LastStop.CRASHED),
    ],
)
async def test_it_knows_how_it_was_left(
    path: Path, boots: list[str], clean: bool, stop: LastStop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was closed, and otherwise whether the machine has run on; doubt is a crash."""
    stops: list[LastStop] = []
    for boot in boots:
        name = path.with_name("boot")
        name.write_text(boot)
        monkeypatch.setattr("supervisor.sqlite.opening.BOOT_ID", name)
        file = make_file(path, prepare=lambda _, stop: stops.append(stop))
        await file.open()
        if not clean:
            await file.call(lambda connection: connection.execute("UPDATE stores SET clean = 1"))
        await file.aclose()
        if not clean:
            with sqlite3.connect(path) as connection:
                connection.execute("UPDATE stores SET clean = 0")
            connection.close()

    assert stops == [LastStop.CLEAN, stop]


async def test_an_older_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """open() says which version is needed."""
    monkeypatch.setattr("supervisor.sqlite.opening.OLDEST_SQLITE", (4, 0, 0))

    with pytest.raises(StoreUnavailable, match=r"4\.0\.0 is needed"):
        await make_file(path).open()
