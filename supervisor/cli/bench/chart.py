"""The report of a run as one HTML page: numbers, and charts as inline SVG. It loads nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from supervisor.cli.bench.report import lines, title, versions
from supervisor.cli.bench.run import Report

__all__ = ["as_html", "line_chart"]

WIDTH, HEIGHT = 720, 220
LEFT, RIGHT, TOP, BOTTOM = 84, 12, 12, 34
STEPS = 4
"""Into how many parts an axis is cut, about."""

STYLE = """
:root { color-scheme: light dark; --ink: #1d2433; --dim: #5b6474; --line: #2563c9; --grid: #d9dee7;
  --ground: #fff; --warn: #8a4b00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --dim: #9aa4b5; --line: #7db0ff;
  --grid: #343b48; --ground: #12151b; --warn: #ffc069; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground);
  max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--grid); }
td.value { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td.note { color: var(--dim); }
p.made { color: var(--dim); font-size: .85rem; }
ul.warnings { color: var(--warn); }
svg { width: 100%; height: auto; } svg text { fill: var(--dim); font-size: 12px; }
svg .grid { stroke: var(--grid); } svg .line { stroke: var(--line); fill: none; stroke-width: 2; }
"""


def as_html(report: Report) -> str:
    """Return the page."""
    rows = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="value">{escape(value)}</td>'
        f'<td class="note">{escape(note)}</td></tr>'
        for name, value, note in lines(report)
    )
    warnings = "".join(f"<li>{escape(warning)}</li>" for warning in report.warnings())
    charts = ""
    if len(report.pace) > 1:
        charts += _section(
            "Deliveries per second", line_chart(report.pace, "seconds", "deliveries per second")
        )
    if len(report.timeline) > 1:
        times = [(at, 1000 * took) for at, took in report.timeline]
        charts += _section(
            "Until the last receiver had a publication, in ms",
            line_chart(times, "seconds", "milliseconds"),
        )
    heading = escape(title(report))
    used = ", ".join(f"{name} {version}" for name, version in versions(report).items() if version)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{heading}</h1>
<table>
{rows}
</table>
{f'<ul class="warnings">{warnings}</ul>' if warnings else ""}
{charts}
<p class="made">{report.date:%Y-%m-%d %H:%M %Z}; {escape(used)}</p>
</body>
</html>
"""


def line_chart(points: Sequence[tuple[float, float]], x_name: str, y_name: str) -> str:
    """
    Return a chart of ``points``, from 0 on both axes, as an SVG element.

    Args:
        points: Pairs of numbers that are not negative, sorted by the first; at least one.
        x_name: What the first are.
        y_name: What the second are.
    """
    x_ticks, y_ticks = _ticks(points[-1][0]), _ticks(max(value for _, value in points))
    across, up = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(at: float, value: float) -> tuple[float, float]:
        return LEFT + across * at / x_ticks[-1], HEIGHT - BOTTOM - up * value / y_ticks[-1]

    parts = []
    for tick in y_ticks:
        _, y = place(0, tick)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:,g}</text>'
        )
    for tick in x_ticks:
        x, y = place(tick, 0)
        parts.append(f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{tick:,g}</text>')
    line = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in points)
    label = escape(f"{y_name}, over {x_name}: up to {max(value for _, value in points):,.4g}")
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f'{"".join(parts)}<polyline class="line" points="{line}"/>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{escape(x_name)}</text>'
        "</svg>"
    )


def _section(heading: str, chart: str) -> str:
    return f"<h2>{escape(heading)}</h2>\n{chart}\n"


def _ticks(largest: float) -> list[float]:
    """Return round numbers from 0 to at least ``largest``."""
    if largest <= 0:
        return [0.0, 1.0]
    rough = largest / STEPS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [step * number for number in range(math.ceil(largest / step * 0.999) + 1)]
