"""What the commands need of uvicorn, and what to install where it is not there."""

from __future__ import annotations

import importlib
from importlib import util
from typing import Any

from supervisor.cli.problems import NotInstalled

__all__ = ["SUPERVISED", "require_any_class", "require_fast_path", "require_uvicorn"]

SUPERVISED = "supervisor.integrations.uvicorn:SupervisedProtocol"
"""The WebSocket class of the fast path."""

INSTALL = "pip install 'wsupervisor[uvicorn]'"


def require_uvicorn(command: str) -> Any:
    """
    Return uvicorn's own command.

    Args:
        command: Which of ours needs it.

    Raises:
        NotInstalled: If there is no uvicorn.
    """
    try:
        return importlib.import_module("uvicorn.main").main
    except ImportError as error:
        raise NotInstalled(f"{command} needs uvicorn: {INSTALL}") from error


def require_fast_path(command: str, *, without: str) -> None:
    """
    Make sure that the class of the fast path can be had.

    Args:
        command: Which of ours needs it.
        without: A sentence that says how to do without it.

    Raises:
        NotInstalled: If uvicorn or websockets is missing or too old.
    """
    try:
        importlib.import_module(SUPERVISED.partition(":")[0])
    except ModuleNotFoundError as error:
        # Without any WebSocket library a server would refuse every WebSocket: no way to do without.
        name = (error.name or "").partition(".")[0]
        if name not in {"uvicorn", "websockets"}:
            raise NotInstalled(f"{error}\n({without})") from error
        raise NotInstalled(f"{command} needs {name}: {INSTALL}") from error
    except ImportError as error:
        raise NotInstalled(f"{error}\n({without})") from error


def require_any_class(command: str) -> None:
    """
    Make sure that uvicorn itself can serve WebSockets.

    Raises:
        NotInstalled: If there is none of the libraries that it does that with.
    """
    if util.find_spec("websockets") is None and util.find_spec("wsproto") is None:
        raise NotInstalled(f"{command} needs websockets: {INSTALL}")
