"""Draws the deliveries per second of everybody, on a logarithmic scale, as an SVG for any theme."""

from __future__ import annotations

import math
from html import escape

from tests.benchmarks.lineup import PEERS
from tests.benchmarks.results import Results

__all__ = ["draw"]

ROWS = (("queued-128", "queued up"), ("one-128", "one at a time"))

LABEL, PLOT, VALUE = 240, 460, 90
"""Widths of the names, the bars and the numbers, in pixels."""

BAR, GAP, TOP = 15, 10, 56

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.quiet { fill: #59636e; }
.page { fill: #ffffff; }
.grid { stroke: #d1d9e0; }
.a { fill: #0969da; } .b { fill: #bf8700; }
.ours { font-weight: 600; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .quiet { fill: #9198a1; } .grid { stroke: #3d444d; }
  .page { fill: #0d1117; }
  .a { fill: #4493f8; } .b { fill: #d29922; }
}
"""


def draw(results: Results) -> str | None:
    """Return the chart; None if nothing of it was measured."""
    found = {
        peer: [results.median(scenario, peer.key, "rate") for scenario, _ in ROWS] for peer in PEERS
    }
    found = {peer: rates for peer, rates in found.items() if any(rates)}
    if not found:
        return None
    order = sorted(found, key=lambda peer: max(rate or 0 for rate in found[peer]), reverse=True)
    rates = [rate for values in found.values() for rate in values if rate]
    low = 10.0 ** math.floor(math.log10(min(rates)))
    high = max(10 * low, 10.0 ** math.ceil(math.log10(max(rates))))

    def width(rate: float) -> float:
        return max(1.0, PLOT * math.log(rate / low) / math.log(high / low))

    step = len(ROWS) * BAR + GAP
    bottom = TOP + len(order) * step
    total = LABEL + PLOT + VALUE
    title = "Deliveries per second, 128 B, logarithmic"
    if "members" in results.about:
        title = title.replace(",", f" to {results.about['members']:,} receivers,", 1)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{bottom + 24}"',
        f'viewBox="0 0 {total} {bottom + 24}" role="img" aria-label="{title}">',
        f"<style>{STYLE}</style>",
        '<rect class="page" width="100%" height="100%"/>',
        _text(8, 18, title, "ours"),
    ]
    for index, (_, name) in enumerate(ROWS):
        x = LABEL + 130 * index
        lines.append(f'<rect class="{"ab"[index]}" x="{x}" y="28" width="10" height="10"/>')
        lines.append(_text(x + 15, 37, name, "quiet"))
    decade = low
    while decade <= high:
        at = LABEL + PLOT * math.log(decade / low) / math.log(high / low)
        ends = f'x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 8}" y2="{bottom}"'
        lines.append(f'<line class="grid" {ends}/>')
        lines.append(_text(at, bottom + 16, _short(decade), "quiet", "middle"))
        decade *= 10
    for number, peer in enumerate(order):
        y = TOP + number * step
        ours = "ours" if peer.module == "ours" else ""
        lines.append(_text(LABEL - 8, y + len(ROWS) * BAR / 2 + 4, peer.label, ours, "end"))
        for index, rate in enumerate(found[peer]):
            if rate:
                top = y + index * BAR
                lines.append(
                    f'<rect class="{"ab"[index]}" x="{LABEL}" y="{top}" '
                    f'width="{width(rate):.1f}" height="{BAR - 1}"/>'
                )
                end = LABEL + width(rate)
                lines.append(  # the lines of the scale would strike the number through
                    f'<rect class="page" x="{end + 0.5:.1f}" y="{top}" '
                    f'width="{8 * len(_short(rate)) + 4}" height="{BAR}"/>'
                )
                lines.append(_text(end + 4, top + 11, _short(rate), "quiet"))
    return "\n".join([*lines, "</svg>", ""])


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _short(number: float) -> str:
    if number >= 1e6:
        return f"{number / 1e6:.3g} M"
    return f"{number / 1e3:.3g} k" if number >= 1e3 else f"{number:.0f}"
