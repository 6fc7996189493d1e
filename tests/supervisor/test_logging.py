"""Events: through the application's structlog, or else as lines of the standard library."""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import LogCapture

from supervisor.telemetry.logging import event_logger
from tests.supervisor.conftest import Events, Manage, NewPeer, Supervise
from tests.supervisor.endpoints import enter
from tests.supervisor.stubs import Slow, TextOnly


@pytest.fixture
def unconfigured() -> Iterator[None]:
    """Be an application that never heard of structlog."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def test_an_application_with_structlog_gets_its_own_processors(events: Events) -> None:
    """Each event is a name with fields."""
    event_logger().warning("mailbox.overflow", connection="7", waiting=3)

    assert events == [
        {
            "event": "mailbox.overflow",
            "connection": "7",
            "waiting": 3,
            "log_level": "warning",
        }
    ]


@pytest.mark.usefixtures("unconfigured")
def test_any_other_application_gets_lines_in_a_logger_of_that_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As key=value, the event first; exceptions as text."""
    try:
        raise ZeroDivisionError("bug")
    except ZeroDivisionError as error:
        event_logger().error("hook.failed", what="hook on_join", exc_info=error)

    (record,) = caplog.records
    assert record.name == "wsupervisor"
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("event='hook.failed' what='hook on_join' exception=")
    assert "ZeroDivisionError: bug" in record.getMessage()


@pytest.mark.usefixtures("unconfigured")
def test_levels_of_the_standard_library_count(caplog: pytest.LogCaptureFixture) -> None:
    """What is below is not even put together."""
    caplog.set_level(logging.WARNING, "wsupervisor")
    log = event_logger()

    log.info("connection.closed")
    log.debug("connection.opened")
    log.warning("room.full", room="a")

    assert [record.getMessage() for record in caplog.records] == ["event='room.full' room='a'"]


def test_configuring_later_is_in_time(unconfigured: None, manage: Manage) -> None:
    """A manager is a module's global: it may be made before structlog is configured."""
    manager = manage()
    capture = LogCapture()
    structlog.configure(processors=[capture])

    async def scenario() -> None:
        await manager.connect(TextOnly(), "a")
        await manager.supervisor.aclose()

    asyncio.run(scenario())

    assert "connection.closed" in [entry["event"] for entry in capture.entries]


def test_a_library_that_nobody_configured_prints_warnings_and_nothing_else() -> None:
    """In a process of its own, where pytest looks after nothing."""
    program = """
import asyncio, structlog
from supervisor import ConnectionManager

class Dead:
    async def send_text(self, message):
        raise RuntimeError("gone")

async def main():
    manager = ConnectionManager()
    await manager.connect(Dead(), "a")
    await manager.send_to_room("x", "a")
    await manager.supervisor.aclose()

asyncio.run(main())
"""

    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20
    )

    assert ran.stdout == ""
    lines = ran.stderr.splitlines()
    assert [line.split()[0] for line in lines] == [
        "event='origin.unchecked'",
        "event='connection.closed'",
    ]


async def test_events_have_dotted_names_and_no_sentences(
    manage: Manage, supervise: Supervise, peer: NewPeer, events: Events
) -> None:
    """Lower case, and each with what it is about."""
    manager = manage(mailbox_messages=1, send_timeout=1.0, on_join=lambda *_: 1 / 0)
    await manager.connect(Slow(100), "a")
    for _ in range(5):
        await manager.send_to_room("x", "a")
    await asyncio.sleep(3)
    client = peer()
    await enter(supervise(), client)
    client.leave()
    await client.result()
    await manager.supervisor.drain()

    names = {event["event"] for event in events}
    assert {"connection.opened", "connection.closed", "mailbox.overflow", "hook.failed"} <= names
    assert all(re.fullmatch(r"[a-z]+\.[a-z_]+", name) for name in names)
    for event in events:
        assert len(event) > 2, event


async def test_an_episode_of_a_slow_client_is_logged_once(manage: Manage, events: Events) -> None:
    """Not once a message; a second episode is another one."""
    manager = manage(mailbox_messages=1, send_timeout=60.0)
    await manager.connect(Slow(1), "a")
    for _ in range(2):
        for _ in range(100):
            manager.supervisor.publish_nowait("a", "x")
            await asyncio.sleep(0.001)
        await asyncio.sleep(5)

    names = [event["event"] for event in events if event["event"].startswith("mailbox")]
    assert names == ["mailbox.overflow", "mailbox.recovered"] * 2


async def test_endings_that_are_no_trouble_are_no_warnings(
    supervise: Supervise, peer: NewPeer, events: Events
) -> None:
    """Clients come and go all day."""
    supervisor = supervise()
    for _ in range(3):
        client = peer()
        session = await enter(supervisor, client, user="ann")
        client.leave()
        await client.result()
        await supervisor.kick(session)

    assert {event["log_level"] for event in events} == {"debug", "info"}
    assert len([event for event in events if event["event"] == "connection.closed"]) == 3
