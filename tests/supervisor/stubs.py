"""Stub sockets as users' tests have them: whatever can send somehow."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from starlette.websockets import WebSocket, WebSocketState

__all__ = [
    "EVERY_STUB",
    "WORKING",
    "BytesOnly",
    "JsonOnly",
    "MockWebSocket",
    "NoSender",
    "Raising",
    "Slow",
    "TextOnly",
    "Unhashable",
    "got",
]


class TextOnly:
    """Only ``send_text``."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def send_text(self, message: str) -> None:
        self.sent.append(message)


class JsonOnly:
    """Only ``send_json``."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def send_json(self, message: Any) -> None:
        self.sent.append(message)


class BytesOnly:
    """Only ``send_bytes``."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def send_bytes(self, message: bytes) -> None:
        self.sent.append(message)


class Full(TextOnly):
    """Everything that a WebSocket has, by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted = False
        self.closed: int | None = None
        self.client_state = WebSocketState.CONNECTED
        self.application_state = WebSocketState.CONNECTED
        self.scope = {"type": "websocket"}

    async def accept(self) -> None:
        self.accepted = True

    async def send_json(self, message: Any) -> None:
        self.sent.append(message)

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        self.closed = code


class Plain:
    """Plain functions instead of coroutines."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.accepted = False

    def accept(self) -> None:
        self.accepted = True

    def send_text(self, message: str) -> None:
        self.sent.append(message)

    def send_json(self, message: Any) -> None:
        self.sent.append(message)


class Unhashable(TextOnly):
    """Equal to every other of its kind, and so without a hash."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable)

    __hash__ = None  # type: ignore[assignment]


class Slotted:
    """No dictionary, no weak references."""

    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def send_text(self, message: str) -> None:
        self.sent.append(message)


class Slow(TextOnly):
    """Takes its time."""

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self.seconds = seconds

    async def send_text(self, message: str) -> None:
        await asyncio.sleep(self.seconds)
        self.sent.append(message)


class Raising(TextOnly):
    """Fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def send_text(self, message: str) -> None:
        raise self.error


class MockWebSocket:
    """What the tests of a hand-written manager used: a state, and an exception to raise."""

    def __init__(self, state: str = "CONNECTED", exception: str | None = None) -> None:
        self.client_state = type("State", (), {"name": state})()
        self._exception = exception

    async def send_text(self, message: str) -> None:
        if self._exception:
            raise RuntimeError(self._exception)


class NoSender:
    """Cannot be sent to at all."""

    client_state = WebSocketState.CONNECTED

    async def accept(self) -> None:
        pass


def mock_of_websocket() -> AsyncMock:
    """Return an AsyncMock that claims to be Starlette's WebSocket."""
    return AsyncMock(spec=WebSocket)


WORKING = [
    TextOnly,
    JsonOnly,
    Full,
    Plain,
    Unhashable,
    Slotted,
    AsyncMock,
    MagicMock,
    mock_of_websocket,
]
"""Each makes a stub that takes text."""


def got(stub: Any) -> list[Any]:
    """Return what was sent to a stub, of whatever kind."""
    if isinstance(stub, MagicMock | AsyncMock):
        return [
            call.args[0]
            for call in stub.mock_calls
            if call[0] in {"send_text", "send_json", "send_bytes"}
        ]
    sent: list[Any] = stub.sent
    return sent


EVERY_STUB = pytest.mark.parametrize(
    "stub_of", WORKING, ids=[getattr(kind, "__name__", "") for kind in WORKING]
)
