"""The benchmark's own arithmetic: medians, verdicts, and a page that says no more than was measured."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.benchmarks.chart import draw
from tests.benchmarks.environment import ROOT
from tests.benchmarks.lineup import PEERS
from tests.benchmarks.page import render
from tests.benchmarks.results import Results, Row, Spread
from tests.benchmarks.scenarios import ALL_PEERS, KEEPING, SCENARIOS, find_peer
from tests.benchmarks.targets import TARGETS, Target

ABOUT = {
    "date": "2030-01-01",
    "processor": "a processor",
    "cores": 2,
    "kernel": "Linux 1",
    "pinned": True,
    "members": 1000,
    "rounds": 3,
    "shrink": 1,
    "versions": {"Python": "3.11"},
}


def results(*rows: Row) -> Results:
    """Return a run that brought these rows."""
    return Results(dict(ABOUT), {}, list(rows))


def row(peer: str, rate: float, *, lost: int = 0, note: str = "") -> Row:
    """Return a run of publications that queued up."""
    return Row("queued-128", peer, {"rate": rate, "cpu_us": 1e6 / rate}, lost, note)


def target(goal: float, value: float | None, *, at_most: bool) -> Target:
    """Return a target whose value is known."""
    return Target("what", goal, at_most, lambda _: value)


def test_a_spread_is_the_median_between_the_extremes() -> None:
    """An odd run out moves the extremes, and not the median."""
    assert Spread.of([3.0, 100.0, 1.0]) == Spread(3.0, 1.0, 100.0)


def test_runs_are_looked_up_by_scenario_and_peer() -> None:
    """What was never measured is None, and no zero."""
    found = results(row("ours", 10.0), row("ours", 30.0), row("nats", 5.0))

    assert found.median("queued-128", "ours", "rate") == 20.0
    assert found.median("queued-128", "ours", "kib") is None
    assert found.median("one-128", "ours", "rate") is None


@pytest.mark.parametrize(
    ("goal", "value", "at_most", "text"),
    [
        (1.1, 1.05, True, "reached"),
        (1.1, 1.1, True, "reached"),
        (1.0, 1.25, True, "missed by 25%"),
        (2.0, 2.5, False, "reached"),
        (2.0, 1.5, False, "missed by 25%"),
        (2.0, None, False, "not measured"),
    ],
)
def test_a_verdict_says_by_how_much(
    goal: float, value: float | None, at_most: bool, text: str
) -> None:
    """A bound may be an upper or a lower one; without a figure there is no verdict."""
    assert target(goal, value, at_most=at_most).verdict(results()).text == text


def test_targets_compare_medians_of_one_run() -> None:
    """Twice as many deliveries as nats-server is a ratio of two."""
    found = results(row("ours", 40.0), row("nats", 20.0))

    verdicts = {
        each.what: each.verdict(found) for each in TARGETS if each.verdict(found).value is not None
    }

    assert {what: verdict.value for what, verdict in verdicts.items()} == {
        "queued, 128 B: deliveries/s, of nats-server's": 2.0
    }


VALUES = (
    "rate",
    "cpu_us",
    "last_ms",
    "p99_ms",
    "gc_ms",
    "kept",
    "growth_kib",
    "kib",
    "seconds",
    "connection_us",
    "append_us",
    "store_rate",
    "replay_rate",
    "line_us",
    "raised_ms",
)


def test_a_complete_run_has_a_verdict_on_every_target() -> None:
    """Each compares what some scenario measures of a peer that takes part in it."""
    values = dict.fromkeys(VALUES, 1.0)
    found = results(
        *(Row(scenario.key, peer.key, values) for scenario in SCENARIOS for peer in scenario.peers)
    )

    assert [target.what for target in TARGETS if target.verdict(found).value is None] == []


def test_every_peer_is_explained() -> None:
    """The page on how it is measured says what each row is, by the name that the tables use."""
    explained = (ROOT / "docs/explanation/benchmarks.md").read_text()

    assert [peer.label for peer in PEERS if f"| {peer.label} |" not in explained] == []
    assert all(find_peer(peer.key) == peer for scenario in SCENARIOS for peer in scenario.peers)


def test_a_page_without_a_run_has_no_figures() -> None:
    """It says that nothing was measured."""
    page = render(Results())

    assert "No run has been written here yet." in page
    assert "| " not in page


def test_a_page_marks_runs_that_lost() -> None:
    """They are shown, and not to be compared."""
    page = render(results(row("ours", 40.0), row("picows", 50.0, lost=3), row("picows", 60.0)))

    assert "| picows | 55 (50 to 60) | 18333.33 (16666.67 to 20000.00) | **3** |" in page
    assert "picows lost messages" in page
    assert "fast path lost messages" not in page


def test_a_page_names_who_is_missing_and_what_failed() -> None:
    """Nobody is left out without a reason."""
    found = results(row("ours", 40.0), Row("queued-128", "ws", {}, note="it ended"))
    found.missing["nchan"] = "no nginx on this machine"

    page = render(found)

    assert "- Node ws: it ended." in page
    assert "- Nchan (nginx): no nginx on this machine" in page


def quick_run() -> Results:
    """Return a run with a tenth of the receivers, of which each was measured once."""
    found = results(
        Row("idle", "ours", {"kib": 9.0}),
        Row("scale-10000", "ours", {"cpu_us": 5.0, "rate": 1e5}),
        *(
            Row("churn", peer, {"seconds": seconds, "connection_us": micros})
            for peer, seconds, micros in (("ours", 1.5, 400.0), ("tutorial", 1.0, 500.0))
        ),
    )
    found.about |= {"members": 200, "rounds": 1, "shrink": 10, "quick": True}
    return found


def test_a_quick_run_states_the_numbers_that_it_had() -> None:
    """In the headings of its tables, in the goals, and nowhere those of a complete run."""
    page = render(quick_run())

    assert "## 500 idle connections" in page
    assert "## 1,000 members, 128 B" in page
    assert "## 100 sockets connect and leave" in page
    assert "| 500 idle connections, each in a FastAPI endpoint |" in page
    assert "5,000" not in page
    assert "10,000" not in page


def test_a_quick_run_has_ratios_and_no_verdicts() -> None:
    """One caveat stands before everything; what is measured by the CPU stands beside."""
    page = render(quick_run())

    assert page.count("> **Not a complete run:**") == 1
    assert page.index("> **Not a complete run:**") < page.index("receivers where nothing else")
    assert "reached**" not in page
    assert "missed" not in page
    assert (
        "| 100 sockets connect and leave: time, of the tutorial's | ≤ 1.30 x | 1.50 x | 0.80 x |"
        " not the goal's conditions |"
    ) in page


def kept(**about: object) -> Results:
    """Return a run of the section about rooms that keep their messages, and of nothing else."""
    values = dict.fromkeys(VALUES, 1.0)
    rows = [
        Row(scenario.key, peer.key, values)
        for scenario in SCENARIOS
        if scenario.section == KEEPING
        for peer in scenario.peers
    ]
    found = results(*rows)
    found.about |= {"partial": True, "date": "2030-02-02", **about}
    return found


KEPT = [scenario.key for scenario in SCENARIOS if scenario.section == KEEPING]


def test_a_section_has_its_own_heading_goals_and_tables() -> None:
    """The first goals and tables are without them."""
    page = render(results(row("ours", 40.0), row("nats", 10.0), *kept().rows))

    first, _, section = page.partition(f"## {KEEPING}\n")
    assert "kept in memory" not in first
    assert (
        "| kept in memory: CPU that keeping adds to a publication, beyond the fan-out | ≤ 2.00 µs |"
        " 1.00 µs |" in section
    )
    assert "### 100,000 lines replayed" in section
    assert "of a run of its own" not in section.lower()
    assert "of nats-server's" not in section


def test_a_section_of_another_run_says_so() -> None:
    """Its rows take the place of those that were there; the rest, and its date, stays."""
    before = results(row("ours", 40.0), row("nats", 10.0), Row("keeping", "keeps-memory", {}))

    merged = before.with_section(KEEPING, KEPT, kept())

    page = render(merged)
    first, _, section = page.partition(f"## {KEEPING}\n")
    assert "2030-01-01" in first
    assert "2030-02-02" not in first
    assert "Of a run of its own, on 2030-02-02" in section
    assert "Not a complete run" not in page
    assert "**reached**" in section
    assert sum(each.scenario == "keeping" for each in merged.rows) == 3


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"quick": True}, "quick"),
        ({"interrupted": True}, "interrupted"),
        ({"cores": 8}, "cores was 8, and 2 before"),
    ],
)
def test_only_a_run_under_the_same_conditions_is_merged(about: dict[str, object], why: str) -> None:
    """The page would compare what cannot be compared."""
    with pytest.raises(ValueError, match=why):
        results(row("ours", 40.0)).with_section(KEEPING, KEPT, kept(**about))


def test_only_a_whole_section_is_merged() -> None:
    """Its goals compare what was measured together."""
    run = kept()
    run.rows = [row for row in run.rows if row.scenario != "replay"]

    with pytest.raises(ValueError, match="not measured: replay"):
        results(row("ours", 40.0)).with_section(KEEPING, KEPT, run)


def test_one_round_has_no_median() -> None:
    """Only several rounds have one, and extremes."""
    assert "one run each" in render(quick_run())
    assert "medians, smallest and\nlargest of 3 interleaved runs" in render(results(row("ours", 1)))


@pytest.mark.parametrize("why", ["partial", "interrupted"])
def test_part_of_a_run_says_so_beside_its_verdicts(why: str) -> None:
    """What was not measured is left out, and nothing is the last word on a goal."""
    found = results(row("ours", 40.0), row("nats", 10.0))
    found.about[why] = True

    page = render(found)

    assert "> **Not a complete run:**" in page
    assert "| ≥ 2.00 x | 4.00 x | 4.00 x | reached, in part of a run |" in page
    assert "not measured" not in page


def test_a_complete_run_has_no_caveat() -> None:
    """Its verdicts are the word on the goals, and stand out."""
    page = render(results(row("ours", 40.0), row("nats", 10.0)))

    assert "Not a complete run" not in page
    assert "**reached**" in page


def test_the_goals_of_the_asgi_path_are_shown_by_cpu_too() -> None:
    """The client may set the pace of the one, and not of the other."""
    values = {"ours-asgi": (1.0, 4.0), "tutorial": (1.0, 8.0)}
    found = results(
        *(
            Row("one-128", peer, {"rate": rate, "cpu_us": cpu})
            for peer, (rate, cpu) in values.items()
        )
    )

    assert "deliveries/s, of the tutorial's | ≥ 1.20 x | 1.00 x | 2.00 x |" in render(found)


def test_the_chart_is_a_drawing_of_what_was_measured() -> None:
    """A bar for each figure; nothing without figures."""
    drawn = draw(results(row("ours", 4_000_000.0), row("nats", 1_400_000.0)))

    assert drawn is not None
    bars = [
        element
        for element in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}rect")
        if element.get("class") in {"a", "b"} and element.get("height") != element.get("width")
    ]
    assert len(bars) == 2
    assert "4 M" in drawn
    assert "1,000 receivers" in drawn
    assert draw(results()) is None


def test_the_chart_has_a_scale_for_a_single_figure() -> None:
    """One that is a power of ten has a decade to itself."""
    assert draw(results(row("ours", 1_000_000.0))) is not None


def test_every_peer_key_is_explained() -> None:
    """What ``--peers`` takes is on the page that explains the rows."""
    explained = (ROOT / "docs/explanation/benchmarks.md").read_text()

    assert [peer.key for peer in ALL_PEERS if f"`{peer.key}`" not in explained] == []


def test_raw_results_can_be_read_again(tmp_path: Path) -> None:
    """The page can be made from them, without another run."""
    found = results(row("ours", 40.0, note="a note"))

    found.save(tmp_path / "results.json")

    assert Results.load(tmp_path / "results.json") == found
