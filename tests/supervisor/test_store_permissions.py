"""
Files and directories that the process may not write: what the error at start says.

Root may write everything. So the server is started in a process of its own, which gives up being
root. Before that it starts one elsewhere, and so imports all that it needs: neither the checkout nor
Python need be readable for anybody else.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor import Settings
from supervisor.stores import Stores

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="there are no such permissions"),
]

NOBODY = 65534

START = f"""
import asyncio, os, sys, tempfile
from supervisor import StoreUnavailable, Supervisor

async def start(setting, url):
    try:
        async with Supervisor(**{{setting: url}}).lifespan(None):
            return "started"
    except StoreUnavailable as error:
        return error

def try_all(path):
    return [asyncio.run(start(each, f"sqlite:///{{path}}")) for each in ("history", "inbox")]

with tempfile.TemporaryDirectory() as elsewhere:
    try_all(elsewhere + "/feeds.db")
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
print(*try_all(sys.argv[1]), sep="\\n")
"""
"""A server with a history, and one with an inbox; each says whether it has started, or why not."""


def start(path: Path) -> dict[str, str]:
    """Start servers as somebody who is not root; return what they say, by setting."""
    done = subprocess.run(
        [sys.executable, "-c", START, str(path)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert not done.stderr, done.stderr
    return dict(zip(("history", "inbox"), done.stdout.splitlines(), strict=True))


@pytest.fixture
def directory() -> Iterator[Path]:
    """Return a directory of whoever starts the server, which that one can reach."""
    with tempfile.TemporaryDirectory(prefix="wsupervisor-") as name:  # pytest's own are private
        directory = Path(name)
        hand_over(directory)
        yield directory
        directory.chmod(0o755)


def hand_over(*paths: Path) -> None:
    """Make files those of whoever starts the server."""
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, NOBODY, NOBODY)


def use(path: Path) -> None:
    """Have a server use the file, and end in good order."""

    async def use() -> None:
        settings = Settings(history=f"sqlite:///{path}", inbox=f"sqlite:///{path}")
        stores = Stores(settings, lambda: None)
        await stores.open()
        await stores.aclose()

    asyncio.run(use())
    hand_over(*path.parent.iterdir())


def empty(path: Path) -> None:
    """Make a file that nobody has used."""
    path.touch()
    hand_over(path)


def test_a_directory_that_can_be_written_is_enough(directory: Path) -> None:
    """Otherwise the other tests would say nothing."""
    assert start(directory / "feeds.db") == {"history": "started", "inbox": "started"}


def test_a_new_file_needs_a_directory_that_can_be_written(directory: Path) -> None:
    """The error names the setting and the file; nothing is left behind."""
    directory.chmod(0o555)

    said = start(directory / "feeds.db")

    for setting, says in said.items():
        lock = directory / f"feeds.db.{setting}.lock"
        assert says.startswith(f"setting {setting}: {lock} cannot be written: Permission denied")
        assert says.endswith("the directory of the database must be writable")
    assert not list(directory.iterdir())


def test_a_file_that_was_used_needs_it_too(directory: Path) -> None:
    """Its locks are there, and may be written; its write-ahead log is not."""
    path = directory / "feeds.db"
    use(path)
    directory.chmod(0o555)

    for setting, says in start(path).items():
        assert says.startswith(f"setting {setting}: {path}: it cannot be ")
        assert "check the permissions of it and its directory" in says


@pytest.mark.parametrize(
    ("make", "mode", "verb"),
    [(use, 0o444, "written"), (empty, 0o444, "written"), (use, 0, "opened")],
)
def test_a_file_that_may_not_be_written_is_left_as_it_is(
    directory: Path, make: Callable[[Path], None], mode: int, verb: str
) -> None:
    """The error says what to look at."""
    path = directory / "feeds.db"
    make(path)
    before = path.read_bytes()
    path.chmod(mode)

    said = start(path)

    for setting, says in said.items():
        assert says.startswith(
            f"setting {setting}: {path}: it cannot be {verb}: check the permissions of it and its"
            " directory ("
        )
    path.chmod(0o644)
    assert path.read_bytes() == before


def test_a_lock_has_to_be_writable(directory: Path) -> None:
    """It stays beside the file when the server has ended, and may be somebody else's then."""
    path = directory / "feeds.db"
    use(path)
    for setting in ("history", "inbox"):
        path.with_name(f"feeds.db.{setting}.lock").chmod(0o444)

    for setting, says in start(path).items():
        lock = directory / f"feeds.db.{setting}.lock"
        assert says.startswith(f"setting {setting}: {lock} cannot be written: Permission denied")
        assert says.endswith("; this file and the directory of the database must be writable")


@pytest.mark.parametrize("below", ["feeds.db", "data/feeds.db"])
def test_a_directory_that_cannot_be_entered_is_named_as_the_cause(
    directory: Path, below: str
) -> None:
    """Or one above it."""
    path = directory / below
    path.parent.mkdir(exist_ok=True)
    directory.chmod(0)

    for setting, says in start(path).items():
        assert says == (
            f"setting {setting}: {path} cannot be opened: Permission denied; check the permissions"
            " of its directory and of those above"
        )
