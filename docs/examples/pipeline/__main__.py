"""
Serve the pipeline example: ``python docs/examples/pipeline/__main__.py [--port 8000]``.

Runs from a checkout, with or without the project being installed. Ends with
status 2 and one line on standard error if it cannot start.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import importlib.util
import logging
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


def find_packages() -> None:
    """Make this folder importable as ``pipeline``, and the checkout if nothing is installed."""
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]
    sys.path.insert(0, str(HERE.parent))
    if importlib.util.find_spec("supervisor") is None:
        sys.path.insert(0, str(ROOT))


def listen(host: str, port: int) -> socket.socket:
    """
    Open the port. 0 takes a free one.

    Raises:
        OSError: If the address cannot be used.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def advice(error: OSError, port: int) -> str:
    """Return what to do about a port that cannot be opened."""
    if error.errno == errno.EADDRINUSE:
        other = min(port + 1, 65_535)
        return f"stop what listens there, or try --port {other} (with make: make run PORT={other})"
    if error.errno == errno.EACCES:
        return "take a port from 1024 on, such as --port 8000 (with make: make run PORT=8000)"
    return "--host must be an address of this machine, such as 127.0.0.1"


def fail(message: str) -> NoReturn:
    """End the program with one line that says what to do."""
    sys.stderr.write(f"pipeline example: {message}\n")
    raise SystemExit(2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse ``arguments`` and serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="pipeline", description="Run declared pipelines and watch them live in a browser."
    )
    parser.add_argument(
        "--host", default=os.environ.get("HOST", "127.0.0.1"), help="default: $HOST or 127.0.0.1"
    )
    parser.add_argument(
        "--port",
        default=os.environ.get("PORT", "8000"),
        help="default: $PORT or 8000; 0: a free one",
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=HERE / "pipelines.toml",
        metavar="FILE",
        help="what may be run (default: pipelines.toml next to this program)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("DATA") or ROOT / ".pipeline-data",
        metavar="DIR",
        help="where runs are kept (default: $DATA or .pipeline-data in the checkout)",
    )
    options = parser.parse_args(arguments)
    if not options.port.isdecimal() or int(options.port) > 65_535:
        parser.error(f"the port must be a number from 0 to 65535, not {options.port!r}")

    find_packages()
    try:
        import structlog  # noqa: PLC0415 - only after find_packages()
        import uvicorn  # noqa: PLC0415 - only after find_packages()
    except ImportError:
        fail(
            "its libraries are not installed; run it with `make run`, or: pip install -e '.[uvicorn]'"
        )
    from pipeline.config import ConfigError, load  # noqa: PLC0415 - only after find_packages()
    from pipeline.guard import LOOPBACK  # noqa: PLC0415
    from supervisor.errors import StoreUnavailable  # noqa: PLC0415

    try:
        config = load(options.config)
        from pipeline.app import create_app  # noqa: PLC0415 - reads pipelines.toml
    except ConfigError as error:
        fail(str(error))
    try:
        listener = listen(options.host, int(options.port))
    except OSError as error:
        hint = advice(error, int(options.port))
        fail(f"cannot listen on {options.host}:{options.port}: {error.strerror}; {hint}")

    # Listening to other machines, it cannot know its names. There is no log-in: see README.md.
    allowed = LOOPBACK if options.host in LOOPBACK else {"*"}
    app = create_app(config, data=options.data, allowed_hosts=allowed)
    try:
        options.data.mkdir(parents=True, exist_ok=True)
        app.state.supervisor.start()
        asyncio.run(app.state.supervisor.open_stores())  # here, to say in one line what is wrong
    except OSError as error:
        fail(f"cannot keep anything in --data {options.data}: {error.strerror}")
    except StoreUnavailable as error:
        fail(f"{error}; --data DIR takes another directory")

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    address = f"[{options.host}]" if ":" in options.host else options.host
    print(
        f"Open http://{address}:{listener.getsockname()[1]}/ in a browser (Ctrl+C stops)",
        flush=True,
    )
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=5,
        )
    )
    with listener, contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


if __name__ == "__main__":
    main()
