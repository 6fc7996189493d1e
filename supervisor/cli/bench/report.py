"""The report of a run, for people as a table and for programs as JSON."""

from __future__ import annotations

import dataclasses
import json
import platform
from importlib import metadata
from typing import Any

from rich.table import Table

from supervisor.cli.bench.plan import Mode
from supervisor.cli.bench.run import ENOUGH_SOCKETS, Report

__all__ = ["as_json", "as_table", "lines", "title", "versions"]

NOT_MEASURED = "not measured"

MODES = {Mode.FAST_PATH: "on the fast path", Mode.ASGI: "without the fast path (--asgi)"}


def lines(report: Report) -> list[tuple[str, str, str]]:
    """Return what is worth knowing: what it is, its value, and a note."""
    result, plan = report.result, report.plan
    found = [
        (
            "deliveries",
            f"{result.rate:,.0f} /s",
            f"{result.delivered:,} in {result.seconds:.2f} s, to {result.sockets:,} sockets",
        ),
        (
            "publications",
            f"{report.published / report.publishing_seconds:,.1f} /s"
            if report.publishing_seconds
            else "",
            f"{report.published:,} of {plan.size:,} bytes, "
            + ("at full speed" if not plan.rate else f"{plan.rate:,g} /s wanted"),
        ),
        (
            "not arrived" if report.still_arriving else "lost",
            f"{result.lost:,}",
            _of_what(report),
        ),
    ]
    if result.latency is None:
        why = "at full speed they queue" if not plan.rate else ""
        found.append(("publish to receive", NOT_MEASURED, why))
    else:
        latency, last = result.latency, result.last_receiver
        found += [
            ("publish to receive, p50", _ms(latency.p50), f"of {latency.receipts:,} receipts"),
            ("publish to receive, p99", _ms(latency.p99), ""),
            ("publish to receive, p99.9", _ms(latency.p999), f"longest {_ms(latency.longest)}"),
            (
                "last receiver, median",
                NOT_MEASURED if last is None else _ms(last.median),
                "until all have a publication" if last is None else f"p99 {_ms(last.p99)}",
            ),
        ]
    cpu, memory = report.cpu_per_delivery, report.connection_kib
    found += [
        (
            "server CPU per delivery",
            NOT_MEASURED if cpu is None else f"{1e6 * cpu:.2f} µs",
            _why_no_cpu(report) if cpu is None else f"{report.server_busy or 0:.0%} of a core",
        ),
        (
            "server memory per connection",
            NOT_MEASURED if memory is None else f"{memory:.1f} KiB",
            "" if memory is not None else _why_no_memory(report),
        ),
        (
            "client's own core",
            f"{result.client_busy:.0%} busy",
            f"up to {_ms(result.client_lag)} late",
        ),
    ]
    return found


def _of_what(report: Report) -> str:
    result = report.result
    if result.complete:
        return "every socket got everything once"
    of = f"of {result.expected or 0:,}"
    if report.still_arriving:
        return f"{of}, when we stopped waiting"
    return f"{of}; {result.closed:,} connections ended" if result.closed else of


def _why_no_cpu(report: Report) -> str:
    if not report.server_known:
        return "the server's process is not known: --pid"
    return "the server's process has ended" if report.cpu_seconds is None else "nothing delivered"


def _why_no_memory(report: Report) -> str:
    if not report.server_known:
        return ""
    if report.plan.sockets < ENOUGH_SOCKETS:
        return f"takes {ENOUGH_SOCKETS} sockets or more"
    return "it grew by next to nothing: left from clients before?"


def as_table(report: Report) -> Table:
    """Return the report for a terminal."""
    table = Table(title=title(report), title_justify="left", show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    for line in lines(report):
        table.add_row(*line)
    return table


def title(report: Report) -> str:
    """Return one line that says what was measured."""
    plan = report.plan
    marks = [
        mark
        for mark, applies in (
            ("interrupted", report.interrupted),
            ("publishing ended early", report.problem is not None),
            ("connections ended", report.result.closed > 0),
            ("with losses", report.result.lost > 0 and not report.still_arriving),
            ("not all arrived in time", report.result.lost > 0 and report.still_arriving),
        )
        if applies
    ]
    return (
        f"{plan.sockets:,} sockets at {plan.url}"
        + ("" if plan.mode is None else f", {MODES[plan.mode]}")
        + (f" ({', '.join(marks)})" if marks else "")
    )


def versions(report: Report) -> dict[str, str | None]:
    """Return what was in use, by name; of the server only where it is our own."""
    found = {"wsupervisor": _version("wsupervisor"), "python": platform.python_version()}
    if report.plan.mode is not None:
        found |= {name: _version(name) for name in ("uvicorn", "uvloop")}
    return found


def as_json(report: Report) -> str:
    """Return all of it; times in seconds, sizes in bytes unless the name says KiB."""
    result = dataclasses.asdict(report.result)
    for name in ("per_socket", "first_published", "last_received"):  # too much; no one's clock
        del result[name]
    plan = dataclasses.asdict(report.plan)
    del plan["mode"]  # it stands by itself
    plan["headers"] = [name for name, _ in report.plan.headers]  # their values may be secret
    data: dict[str, Any] = {
        "date": report.date.isoformat(timespec="seconds"),
        **versions(report),
        "platform": platform.platform(),
        "mode": report.plan.mode,
        "plan": plan,
        "published": report.published,
        "publishing_seconds": report.publishing_seconds,
        "interrupted": report.interrupted,
        "problem": report.problem,
        "still_arriving": report.still_arriving,
        "deliveries_per_second": report.result.rate,
        "complete": report.result.complete,
        "cpu_seconds": report.cpu_seconds,
        "server_busy": report.server_busy,
        "cpu_per_delivery": report.cpu_per_delivery,
        "connection_kib": report.connection_kib,
        "result": result,
        "warnings": report.warnings(),
    }
    return json.dumps(data, indent=2)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # such as a checkout that is not installed
        return None


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.2f} ms" if seconds < 1 else f"{seconds:,.2f} s"
