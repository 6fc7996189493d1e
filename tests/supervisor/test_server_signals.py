"""Hearing of uvicorn's stop signals, without taking them from anybody."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from supervisor.server_signals import when_uvicorn_stops

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Server:
    """uvicorn's server: its handlers are bound methods of it."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    def handle_exit(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self.heard.append(number)


class UvicornServer(Server):
    """The same, of uvicorn."""


UvicornServer.__module__ = "uvicorn.server"


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    """Put back what was there."""
    before = [(number, signal.getsignal(number)) for number in SIGNALS]
    yield
    for number, handler in before:
        signal.signal(number, handler)


def installed(server: Server) -> Server:
    """Have ``server`` handle the signals."""
    for number in SIGNALS:
        signal.signal(number, server.handle_exit)
    return server


def raised(number: int) -> None:
    """Have the handler of a signal called, as the interpreter would."""
    handler: Any = signal.getsignal(number)
    handler(number, None)


def test_uvicorns_handler_runs_first_and_then_the_node_hears() -> None:
    """Whichever of the two signals it is."""
    server = installed(UvicornServer())
    told: list[list[int]] = []
    when_uvicorn_stops(lambda: told.append(list(server.heard)))

    for number in SIGNALS:
        raised(number)

    assert server.heard == list(SIGNALS)
    assert told == [[signal.SIGTERM], list(SIGNALS)]


def test_several_nodes_hear_once_each() -> None:
    """They share one wrapper: no chain of them grows."""
    server = installed(UvicornServer())
    told: list[int] = []
    for node in range(3):
        when_uvicorn_stops(lambda node=node: told.append(node))  # type: ignore[misc]  # early binding

    raised(signal.SIGTERM)

    assert told == [0, 1, 2]
    assert server.heard == [signal.SIGTERM]


def test_a_node_that_is_closed_hears_no_more() -> None:
    """Taking back is idempotent; uvicorn goes on to hear."""
    server = installed(UvicornServer())
    told: list[int] = []
    take_back = when_uvicorn_stops(lambda: told.append(1))

    take_back()
    take_back()
    raised(signal.SIGTERM)

    assert told == []
    assert server.heard == [signal.SIGTERM]


def test_handlers_of_others_are_left_alone() -> None:
    """The application's own, python's default, and none at all."""
    server = installed(Server())
    when_uvicorn_stops(lambda: pytest.fail("told"))
    assert signal.getsignal(signal.SIGTERM) == server.handle_exit

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    when_uvicorn_stops(lambda: pytest.fail("told"))

    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_outside_the_main_thread_nothing_is_touched() -> None:
    """Only the main thread may set handlers."""
    server = installed(UvicornServer())

    with ThreadPoolExecutor(1) as thread:
        take_back = thread.submit(when_uvicorn_stops, lambda: pytest.fail("told")).result()

    assert signal.getsignal(signal.SIGTERM) == server.handle_exit
    take_back()
