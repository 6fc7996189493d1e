"""What a run says while it lasts, and at its end."""

from __future__ import annotations

from tests.benchmarks.console import Log, summary
from tests.benchmarks.results import Results, Row


def said(*rows: Row, shrink: int = 1) -> list[str]:
    """Return what is printed of these rows."""
    lines: list[str] = []
    log = Log(lines.append, shrink)
    for row in rows:
        log.row(row)
    return lines


def test_each_scenario_has_a_head_and_each_run_a_line() -> None:
    """Columns stand below their names and units."""
    lines = said(
        Row("one-128", "ours", {"rate": 151_234.5, "cpu_us": 6.145}),
        Row("one-128", "tutorial", {"rate": 9_999.0, "cpu_us": 12.0}),
        Row("one-128", "ours", {"rate": 1_151_234.5, "cpu_us": 6.1}),
        Row("churn", "ours", {"seconds": 1.0, "connection_us": 512.0}),
    )

    heads = [line for line in lines if line.startswith("run")]
    runs = [line for line in lines if line.startswith("  ")]
    assert len(heads) == 2
    assert "deliveries/s  CPU µs/delivery" in heads[0]
    assert "CPU µs/connection" in heads[1]
    assert [line.split()[0] for line in runs] == ["1", "1", "2", "1"]
    assert "151,234" in runs[0]
    assert {len(line) for line in [heads[0], *runs[:3]]} == {len(heads[0])}


def test_a_quick_run_states_its_own_numbers() -> None:
    """As its page does."""
    assert "100 members, 128 B (scale-1000)" in said(Row("scale-1000", "ours", {}), shrink=10)


def test_what_went_wrong_stands_at_the_end_of_its_line() -> None:
    """A run that lost messages, and one that failed, are lines like all others."""
    lines = said(
        Row("one-128", "ours", {"rate": 1.0, "cpu_us": 1.0}, lost=1_000),
        Row("one-128", "nchan", {}, note="not here: no nginx"),
    )

    assert lines[-2].endswith("1.00  LOST 1,000")
    assert lines[-1].endswith("not here: no nginx")


def test_a_summary_has_the_goals_that_were_measured() -> None:
    """With the ratio by CPU, and verdicts only where the run is as the goals have it."""
    rows = [
        Row("churn", "ours", {"seconds": 1.5, "connection_us": 400.0}),
        Row("churn", "tutorial", {"seconds": 1.0, "connection_us": 500.0}),
    ]

    _, full = summary(Results({}, {}, rows))
    _, quick, caveat = summary(Results({"quick": True, "shrink": 10}, {}, rows))

    assert full.startswith("1,000 sockets")
    assert full.endswith("1.50 x  0.80 x  missed by 15%")
    assert quick.startswith("100 sockets")
    assert quick.endswith("1.50 x  0.80 x")
    assert "no verdicts" in caveat
    assert summary(Results()) == []
