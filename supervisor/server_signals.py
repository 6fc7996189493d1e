"""
Hears that uvicorn is told to stop, in time.

On SIGTERM uvicorn closes its sockets and then waits for every endpoint, without a limit by
default, before the lifespan's end runs. An endpoint that is parked after its client has gone
would keep the process alive for ever; nothing in ASGI tells it. So uvicorn's own signal
handlers, and nobody else's, are wrapped: they do what they did, and then the node is told.
uvicorn puts back what was there before it when it ends.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TypeGuard

__all__ = ["served_by_uvicorn", "when_uvicorn_stops"]


def served_by_uvicorn() -> bool:
    """Whether this is the main thread of a process in which uvicorn serves."""
    if threading.current_thread() is not threading.main_thread():
        return False
    handler = signal.getsignal(signal.SIGTERM)
    return isinstance(handler, _Listener) or _is_uvicorns(handler)


def when_uvicorn_stops(call: Callable[[], None]) -> Callable[[], None]:
    """
    Have ``call`` called, from the signal handler, when uvicorn is told to stop.

    Does nothing outside the main thread, and where no uvicorn has its handlers in place.

    Returns:
        A function that takes it back; idempotent.
    """
    listeners: list[_Listener] = []
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            handler = signal.getsignal(number)
            if isinstance(handler, _Listener):
                listeners.append(handler)
            elif _is_uvicorns(handler):
                listener = _Listener(handler)
                signal.signal(number, listener)
                listeners.append(listener)
    for listener in listeners:
        listener.calls.append(call)

    def take_back() -> None:
        while listeners:
            listeners.pop().calls.remove(call)

    return take_back


class _Listener:
    """uvicorn's handler, and those who want to know."""

    def __init__(self, handler: Callable[[int, FrameType | None], object]) -> None:
        self._handler = handler
        self.calls: list[Callable[[], None]] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._handler(number, frame)
        for call in list(self.calls):
            call()


def _is_uvicorns(
    handler: object,
) -> TypeGuard[Callable[[int, FrameType | None], object]]:
    owner = type(getattr(handler, "__self__", None)).__module__
    return callable(handler) and owner.startswith("uvicorn.")
