"""``wsupervisor bench``: its options, and what it does with a report."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from supervisor.cli.bench.chart import as_html
from supervisor.cli.bench.own_server import own_server
from supervisor.cli.bench.plan import Mode, Plan
from supervisor.cli.bench.progress import Bar
from supervisor.cli.bench.report import as_json, as_table
from supervisor.cli.bench.run import Report, run
from supervisor.cli.load import HEADER_BYTES, LoadError
from supervisor.cli.load.descriptors import allow_sockets
from supervisor.cli.load.receivers import MOST_SOCKETS
from supervisor.cli.problems import Failed

__all__ = ["command"]

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

LARGEST = 16 << 20
"""Bytes of a publication: what uvicorn takes as a message."""


@click.command("bench", context_settings={"show_default": True})
@click.argument("url", required=False)
@click.option(
    "--sockets",
    type=click.IntRange(1, MOST_SOCKETS),
    default=1000,
    help="How many sockets receive.",
)
@click.option("--publishers", type=click.IntRange(1, 1000), default=1, help="How many publish.")
@click.option(
    "--rate",
    type=click.FloatRange(0, 1_000_000),
    default=20.0,
    help="Publications per second, of all publishers; 0: as fast as possible, without latencies.",
)
@click.option(
    "--size",
    type=int,
    default=128,
    metavar="BYTES",
    help=f"Size of a publication; at least {HEADER_BYTES}, for its number and time.",
)
@click.option(
    "--duration",
    type=click.FloatRange(0, 3600, min_open=True),
    default=5.0,
    metavar="SECONDS",
    help="How long to publish.",
)
@click.option(
    "--messages",
    type=click.IntRange(1, 10_000_000),
    help="How many publications, instead of a duration.",
)
@click.option(
    "--wait",
    type=click.FloatRange(0, 3600),
    default=60.0,
    metavar="SECONDS",
    help="How long to wait at most, after publishing, for messages that still arrive.",
)
@click.option(
    "--publish",
    "publish_url",
    metavar="URL",
    help="Where to publish: a ws:// URL on which each text is broadcast, or an http:// "
    "URL to post each to.  [default: URL]",
    show_default=False,
)
@click.option(
    "--hello",
    metavar="TEXT",
    help="What each socket sends first, such as a command that subscribes it.",
)
@click.option("--subprotocol", metavar="NAME", help="WebSocket subprotocol to offer.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="NAME:VALUE",
    help="Another header of each handshake and request.",
)
@click.option(
    "--window",
    type=click.IntRange(1, 1_000_000),
    help="With --rate 0: how many publications may be on their way.  [default: 4 to 256, by size]",
    show_default=False,
)
@click.option(
    "--pid",
    type=click.IntRange(1),
    help="Process id of the server; else found by its port, on this machine.",
)
@click.option(
    "--asgi",
    is_flag=True,
    help="Without URL: serve without the fast path, with uvicorn's own class.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write the report as JSON; - for standard output.",
)
@click.option(
    "--html",
    "html_file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write the report as a page with charts.",
)
def bench(**options: Any) -> None:
    """
    Measure the WebSocket server at URL; without URL, this library's own.

    Connects many sockets, publishes, and reports deliveries per second, the time from publishing
    to receiving, what the server spent, and what was lost. By default publications are sent as
    text to URL itself, which has to send them to all, as a chat does.
    """
    report = _run(options)
    if report is None:
        click.echo("Interrupted before anything was published.", err=True)
        raise SystemExit(INTERRUPTED)
    _write(report, options["json_file"], options["html_file"])
    if report.interrupted:
        raise SystemExit(INTERRUPTED)
    if report.failed:
        raise SystemExit(Failed.exit_code)


def command() -> click.Command:
    """Return the command."""
    return bench


def _run(options: dict[str, Any]) -> Report | None:
    _check(options)
    headers = tuple(_header(text) for text in options["headers"])
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_bench(options, headers))
    except LoadError as error:
        raise Failed(str(error)) from error
    except asyncio.CancelledError:  # by the second Ctrl-C
        return None


async def _bench(options: dict[str, Any], headers: tuple[tuple[str, str], ...]) -> Report | None:
    with Bar(Console(stderr=True)) as bar, _stop_signals() as stop:
        async with _served(options) as (url, publish_url, pid):
            plan = Plan(
                url=url,
                publish_url=publish_url,
                sockets=options["sockets"],
                publishers=options["publishers"],
                rate=options["rate"],
                size=options["size"],
                duration=options["duration"],
                messages=options["messages"],
                hello=options["hello"],
                subprotocol=options["subprotocol"],
                headers=headers,
                pid=pid,
                window=options["window"],
                patience=options["wait"],
                mode=None
                if options["url"] is not None
                else Mode.ASGI
                if options["asgi"]
                else Mode.FAST_PATH,
            )
            return await run(plan, bar, stop)


@asynccontextmanager
async def _served(options: dict[str, Any]) -> AsyncIterator[tuple[str, str, int | None]]:
    """Yield where to receive, where to publish, and the server's process id where it is known."""
    url = options["url"]
    if url is not None:
        yield url, options["publish_url"] or url, options["pid"]
        return
    # The server inherits the limit; it holds as many sockets as the client.
    allow_sockets(options["sockets"] + options["publishers"])
    async with own_server(supervised=not options["asgi"]) as (authority, pid):
        yield f"ws://{authority}/feed", f"ws://{authority}/publish", pid


@contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    """Yield an event that the first Ctrl-C or SIGTERM sets; the second one cancels this task."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    stop = asyncio.Event()

    def told() -> None:
        if stop.is_set() and task is not None:
            task.cancel()
        stop.set()

    signals = (signal.SIGINT, signal.SIGTERM)
    with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C ends it without a report
        for number in signals:
            loop.add_signal_handler(number, told)
    try:
        yield stop
    finally:
        with contextlib.suppress(NotImplementedError):
            for number in signals:
                loop.remove_signal_handler(number)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's, where it is installed: it reads twice as many messages."""
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 - may be missing
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop
    return factory


def _check(options: dict[str, Any]) -> None:
    """Raise UsageError for options that do not go together, or cannot be."""
    if options["size"] < HEADER_BYTES:
        raise click.BadParameter(
            f"a publication needs at least {HEADER_BYTES} bytes for its number and time",
            param_hint="--size",
        )
    _check_file(options["json_file"], "--json")
    _check_file(options["html_file"], "--html")
    if options["size"] > LARGEST:
        raise click.BadParameter(f"at most {LARGEST:,} bytes", param_hint="--size")
    if options["url"] is None:
        for name in ("publish_url", "hello", "subprotocol", "headers", "pid"):
            if options[name]:
                raise click.UsageError(
                    f"--{name.removesuffix('_url').rstrip('s')} is for another server: give its URL"
                )
    elif options["asgi"]:
        raise click.UsageError("--asgi is for this library's own server, which is used without URL")


def _check_file(name: str | None, param_hint: str) -> None:
    """Raise BadParameter for a file that cannot be written: minutes later it would be too late."""
    if name is None or name == "-":
        return
    path = Path(name)
    if path.exists():
        possible, why = os.access(path, os.W_OK), "it cannot be written"
    else:
        possible, why = path.parent.is_dir(), f"there is no folder {str(path.parent)!r}"
        if possible:
            possible, why = os.access(path.parent, os.W_OK), "its folder cannot be written to"
    if not possible:
        raise click.BadParameter(f"{name}: {why}", param_hint=param_hint)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not text.isprintable():
        raise click.BadParameter(f"{text!r} is not NAME:VALUE", param_hint="--header")
    return name.strip(), value.strip()


def _write(report: Report, json_file: str | None, html_file: str | None) -> None:
    console = Console(stderr=json_file == "-", highlight=False)
    console.print(as_table(report))
    for warning in report.warnings():
        console.print(f"[yellow]Note:[/] {escape(warning)}")
    try:
        if json_file == "-":
            click.echo(as_json(report))
        elif json_file is not None:
            Path(json_file).write_text(as_json(report) + "\n", encoding="utf-8")
        if html_file is not None:
            Path(html_file).write_text(as_html(report), encoding="utf-8")
    except OSError as error:
        raise Failed(f"{error.filename}: {error.strerror}") from error
