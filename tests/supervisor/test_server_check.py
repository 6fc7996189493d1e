"""Servers without backpressure are warned of, once at the start."""

from __future__ import annotations

from importlib import metadata

import pytest

from supervisor import Supervisor
from supervisor.server_check import lacks_backpressure
from tests.supervisor.conftest import Events, named


@pytest.mark.parametrize(
    ("version", "lacks"),
    [
        ("0.34.3", False),
        ("0.49.9", False),
        ("0.50.0", True),
        ("0.50", True),
        ("0.51.7", True),
        ("0.52.0", True),
        ("0.52.0.post1", True),
        ("0.52.1", False),
        ("0.52.1rc1", False),
        ("0.52.1.dev0", False),
        ("0.54.0", False),
        ("1.0.0", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_the_versions_are_known(version: str, lacks: bool) -> None:
    """0.50.0 to 0.52.0."""
    assert lacks_backpressure(version) is lacks


def test_such_a_server_is_warned_of(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the version that mends it; each start says so once."""
    monkeypatch.setattr(metadata, "version", lambda name: "0.51.0")
    supervisor = Supervisor()

    supervisor.start()
    supervisor.start()

    (event,) = named(events, "server.without_backpressure")
    assert event["log_level"] == "warning"
    assert (event["version"], event["fixed_in"]) == ("0.51.0", "0.52.1")


def test_no_uvicorn_is_no_trouble(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are other servers."""

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)

    Supervisor().start()

    assert events == []
