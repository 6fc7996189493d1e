"""
``wsupervisor serve``: uvicorn, with the defaults that suit WebSockets.

The options are uvicorn's own, taken from its command: whatever the installed version knows can
be given, on the command line or as ``UVICORN_...`` in the environment. Other than uvicorn's are
the defaults of those in :data:`DEFAULTS`.
"""

from __future__ import annotations

import copy
from importlib import import_module
from typing import Any

import click

from supervisor.cli.problems import NotInstalled

__all__ = ["DEFAULTS", "SUPERVISED", "command"]

SUPERVISED = "supervisor.integrations.uvicorn:SupervisedProtocol"
"""The WebSocket class of the fast path."""

DEFAULTS: dict[str, Any] = {
    "ws": SUPERVISED,
    # Compressing for each client by itself costs 3 times the CPU and 32 KiB a connection.
    "ws_per_message_deflate": False,
    # uvicorn waits for ever: one endpoint that does not end keeps the process alive until it is
    # killed. This is as long as the drain of a supervisor may take (drain_timeout).
    "timeout_graceful_shutdown": 10,
}
"""By the name of the parameter; seconds, where it is a time."""

NEED_UVICORN = "wsupervisor serve needs uvicorn: pip install 'wsupervisor[uvicorn]'"


def command() -> click.Command:
    """
    Return the command.

    Raises:
        NotInstalled: If there is no uvicorn.
    """
    try:
        uvicorn_main = import_module("uvicorn.main").main
    except ImportError as error:
        raise NotInstalled(NEED_UVICORN) from error
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
        _check_class(values["ws"], tuple(choices.get("ws", ())))
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


def _check_class(ws: str, choices: tuple[str, ...]) -> None:
    """Raise NotInstalled if the WebSocket class cannot be had, and say what can."""
    if ws == SUPERVISED:
        try:
            import_module(SUPERVISED.partition(":")[0])
        except ImportError as error:
            raise NotInstalled(
                f"{error}\n(With wsupervisor serve, '--ws auto' serves without it.)"
            ) from error
    elif choices and ws not in choices:
        raise click.UsageError(f"--ws: this uvicorn knows {', '.join(choices)}, and not {ws!r}")
