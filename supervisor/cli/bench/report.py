"""The report of a run, for people as a table and for programs as JSON."""

from __future__ import annotations

import dataclasses
import json
import platform
from importlib import metadata
from typing import Any

from rich.table import Table

from supervisor.cli.bench.run import Report

__all__ = ["as_json", "as_table", "lines"]

NOT_MEASURED = "not measured"


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
            "lost",
            f"{result.lost:,}",
            "every socket got everything once"
            if result.complete
            else f"of {result.expected or 0:,}",
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
            "the server's process is not known: --pid"
            if cpu is None
            else f"{report.server_busy or 0:.0%} of a core",
        ),
        (
            "server memory per connection",
            NOT_MEASURED if memory is None else f"{memory:.1f} KiB",
            "" if memory is not None or cpu is None else "takes 100 sockets or more",
        ),
        (
            "client's own core",
            f"{result.client_busy:.0%} busy",
            f"up to {_ms(result.client_lag)} late",
        ),
    ]
    return found


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
            ("with losses", report.result.lost > 0),
        )
        if applies
    ]
    return f"{plan.sockets:,} sockets at {plan.url}" + (f" ({', '.join(marks)})" if marks else "")


def as_json(report: Report) -> str:
    """Return all of it; times in seconds, sizes in bytes unless the name says KiB."""
    result = dataclasses.asdict(report.result)
    del result["per_socket"]
    plan = dataclasses.asdict(report.plan)
    plan["headers"] = [name for name, _ in report.plan.headers]  # their values may be secret
    data: dict[str, Any] = {
        "wsupervisor": _version(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "plan": plan,
        "published": report.published,
        "publishing_seconds": report.publishing_seconds,
        "interrupted": report.interrupted,
        "problem": report.problem,
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


def _version() -> str | None:
    try:
        return metadata.version("wsupervisor")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return None


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.2f} ms" if seconds < 1 else f"{seconds:,.2f} s"
