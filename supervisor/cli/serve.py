"""
``wsupervisor serve``: uvicorn, with the defaults that suit WebSockets.

The options are uvicorn's own, taken from its command: whatever the installed version knows can
be given, on the command line or as ``UVICORN_...`` in the environment. Other than uvicorn's are
the defaults of those in :data:`DEFAULTS`.
"""

from __future__ import annotations

import copy
import os
from contextlib import suppress
from typing import Any

import click

from supervisor.cli.problems import NotInstalled
from supervisor.cli.requirements import SUPERVISED, require_fast_path, require_uvicorn
from supervisor.environment import refuse_other_actors

__all__ = ["DEFAULTS", "command"]

DEFAULTS: dict[str, Any] = {
    "ws": SUPERVISED,
    # Compressing for each client by itself costs 3 times the CPU and 32 KiB a connection.
    "ws_per_message_deflate": False,
    # uvicorn waits for ever: one endpoint that does not end keeps the process alive until it is
    # killed. This is as long as the drain of a supervisor may take (drain_timeout).
    "timeout_graceful_shutdown": 10,
}
"""By the name of the parameter; seconds, where it is a time."""

NAME = "wsupervisor serve"


def command() -> click.Command:
    """
    Return the command.

    Raises:
        NotInstalled: If there is no uvicorn.
    """
    uvicorn_main = require_uvicorn(NAME)
    choices = {
        name: param.type.choices
        for param in uvicorn_main.params
        if isinstance(param.type, click.Choice) and (name := param.name) is not None
    }

    def serve(**values: Any) -> None:
        if values["app"] is None:
            raise click.UsageError(
                "an application is needed: wsupervisor serve MODULE:APP, "
                "such as: wsupervisor serve main:app"
            )
        _check_folder(values.get("app_dir") or "")
        _check_class(values["ws"], tuple(choices.get("ws", ())))
        _warn_of_workers(values.get("workers"))
        uvicorn_main.callback(**values)

    return click.Command(
        "serve",
        callback=serve,
        params=[_adapted(param) for param in uvicorn_main.params if param.name != "version"],
        context_settings=dict(uvicorn_main.context_settings),
        short_help="Serve an ASGI application, on the fast path.",
        help="Serve the ASGI application APP, given as MODULE:ATTRIBUTE, with uvicorn.\n\n"
        "The options are uvicorn's. Other than uvicorn's are three defaults: connection actors "
        "write to the sockets themselves (--ws), messages are not compressed, and a server that "
        "is told to stop waits 10 seconds for endpoints that do not end.",
    )


def _adapted(param: click.Parameter) -> click.Parameter:
    """Return uvicorn's parameter with our default; its own stays as it is."""
    own = copy.copy(param)
    if own.name == "app":
        own.required = False  # so that we can say what is needed
    if own.name in DEFAULTS:
        own.default = DEFAULTS[own.name]
        if isinstance(own, click.Option):
            own.show_default = True
    if own.name == "ws":
        own.type = click.STRING  # older versions know no class but their own
    return own


def _check_folder(folder: str) -> None:
    """
    Raise NotInstalled if the application's own ``actors`` would hide ours, or be hidden by it.

    The command has imported ours before uvicorn puts the application's folder first on
    ``sys.path``: without this check, the application would get ours in place of its own.
    """
    try:
        refuse_other_actors(folder)
    except ImportError as error:
        raise NotInstalled(str(error)) from error


def _warn_of_workers(workers: int | None) -> None:
    """Say in a line what several processes do to rooms."""
    if workers is None:  # as uvicorn decides
        with suppress(ValueError):
            workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
    if workers is not None and workers > 1:
        click.echo(
            f"Warning: {workers} workers: rooms and users are per process, so that a message "
            "reaches the clients of one worker only. Use --workers 1.",
            err=True,
        )


def _check_class(ws: str, choices: tuple[str, ...]) -> None:
    """Raise NotInstalled if the WebSocket class cannot be had, and say what can."""
    if ws == SUPERVISED:
        require_fast_path(NAME, without=f"With {NAME}, '--ws auto' serves without it.")
    elif choices and ws not in choices:
        raise click.UsageError(f"--ws: this uvicorn knows {', '.join(choices)}, and not {ws!r}")
