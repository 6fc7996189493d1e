"""What ``make bench`` is asked for: the command line, and which peers and scenarios it means."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.environment import Needs
from tests.benchmarks.lineup import PEERS
from tests.benchmarks.scenarios import ALL_PEERS, MAIN, SCENARIOS, Scenario

__all__ = [
    "GROUPS",
    "ChoiceError",
    "choose",
    "listing",
    "make_parser",
    "needs",
    "whole_sections",
]

GROUPS = {
    "ours": ("ours", "ours-plain", "ours-dropping", "ours-asgi-dropping"),
    "ours-asgi": ("ours-asgi", "ours-asgi-dropping"),
    "keeps-sqlite": ("keeps-memory", "keeps-sqlite", "keeps-sqlite-early"),
}
"""Who comes along: the same with other options, in the scenarios that are about these."""


class ChoiceError(ValueError):
    """There is no such peer or scenario, or it has no part in what was asked for."""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of ``make bench ARGS=...``."""
    parser = argparse.ArgumentParser(
        prog="make bench",
        usage='make bench [ARGS="--quick --peers KEYS --scenarios KEYS ..."]',
        description="Compares wsupervisor with its peers, over real sockets, on this machine.",
        allow_abbrev=False,
    )
    parser.add_argument("--quick", action="store_true", help="few receivers, one short round")
    parser.add_argument("--peers", metavar="KEYS", help="of these only, with commas; see --list")
    parser.add_argument(
        "--scenarios", metavar="KEYS", help="these only, by key or its beginning, with commas"
    )
    parser.add_argument(
        "--members", type=_whole(10), metavar="N", help="receivers, 1000 by default; 10 at least"
    )
    parser.add_argument(
        "--rounds", type=_whole(1), metavar="N", help="runs whose median is taken, 3 by default"
    )
    parser.add_argument(
        "--seconds", type=_seconds, metavar="S", help="that a run takes, about, 1 by default"
    )
    parser.add_argument("--list", action="store_true", help="print peers and scenarios, and stop")
    parser.add_argument(
        "--page", action="store_true", help="write the page of the reference, whatever was measured"
    )
    parser.add_argument(
        "--render", type=Path, metavar="JSON", help="write the page from raw results, and stop"
    )
    parser.add_argument(
        "--merge",
        action="store_true",
        help="put the sections that were measured into the page of the last complete run",
    )
    return parser


def whole_sections(scenarios: Iterable[Scenario], peers: str | None) -> list[str]:
    """
    Return the sections of the page that these are, of which none but the first is among them.

    Raises:
        ChoiceError: If one of them is left in part, or is compared by some of its peers only.
    """
    if peers is not None:
        raise ChoiceError("--merge: a section has all of its peers, so not with --peers")
    keys = {scenario.key for scenario in scenarios}
    sections = list(dict.fromkeys(scenario.section for scenario in scenarios))
    if MAIN in sections:
        raise ChoiceError("--merge: the first section of the page is that of a complete run")
    left_out = [each.key for each in SCENARIOS if each.section in sections and each.key not in keys]
    if left_out:
        raise ChoiceError(f"--merge: a section is of one run, also: {', '.join(left_out)}")
    return sections


def choose(peers: str | None, keys: str | None) -> list[Scenario]:
    """
    Return the scenarios that were asked for, with the peers that were.

    Raises:
        ChoiceError: If any word of either names nobody.
    """
    chosen = list(SCENARIOS)
    if keys is not None:
        wanted = _words(keys, "--scenarios")
        known = [scenario.key for scenario in SCENARIOS]
        unknown = [word for word in wanted if not any(key.startswith(word) for key in known)]
        if unknown:
            raise ChoiceError(_no_such("scenario", unknown, known))
        chosen = [each for each in SCENARIOS if each.key.startswith(tuple(wanted))]
    if peers is None:
        return chosen
    wanted = _words(peers, "--peers")
    known = [peer.key for peer in ALL_PEERS]
    if unknown := [word for word in wanted if word not in known]:
        raise ChoiceError(_no_such("peer", unknown, known))
    present = {peer.key for scenario in chosen for peer in scenario.peers}
    for word in wanted:
        if present.isdisjoint(GROUPS.get(word, (word,))):
            where = [each.key for each in SCENARIOS if word in (peer.key for peer in each.peers)]
            raise ChoiceError(
                f"{word} takes part in none of these scenarios, but in: {', '.join(where)}"
            )
    keep = {key for word in wanted for key in GROUPS.get(word, (word,))}
    chosen = [
        replace(scenario, peers=tuple(peer for peer in scenario.peers if peer.key in keep))
        for scenario in chosen
    ]
    return [scenario for scenario in chosen if scenario.peers]


def needs(scenarios: Iterable[Scenario]) -> Needs:
    """Return what has to be here for these, and no more."""
    peers = {peer for scenario in scenarios for peer in scenario.peers}
    return Needs(
        python=any(peer.module is not None for peer in peers),
        packages=frozenset(peer.package for peer in peers if peer.package is not None),
        programs=frozenset(peer.needs for peer in peers if peer.needs is not None),
    )


def listing() -> Iterator[str]:
    """Say who there is, once, and then the scenarios with who takes part."""
    yield "Peers (--peers)"
    for peer in ALL_PEERS:
        others = [key for key in GROUPS.get(peer.key, ()) if key != peer.key]
        brings = f"; brings {', '.join(others)}" if others else ""
        special = "" if peer in PEERS else "  *"
        yield f"  {peer.key:20}{peer.label}{special}{brings}"
    yield "  * only in scenarios that name it"
    yield ""
    yield "Scenarios (--scenarios)"
    width = max(len(scenario.heading(1)) for scenario in SCENARIOS)
    for scenario in SCENARIOS:
        who = "all"
        if scenario.peers != PEERS:
            who = ", ".join(peer.key for peer in scenario.peers)
        yield f"  {scenario.key:14}{scenario.heading(1):{width}}  {who}"


def _words(text: str, option: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise ChoiceError(f"{option} names nobody")
    return words


def _no_such(kind: str, unknown: list[str], known: list[str]) -> str:
    return f"no such {kind}: {', '.join(unknown)} (there are: {', '.join(known)})"


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} on")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds")
    return seconds
