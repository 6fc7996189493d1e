"""Cutting bytes into lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.lines import LineSplitter


def split(data: bytes, *, limit: int = 1000, pieces: int = 10_000) -> list[str]:
    """Return the lines of ``data``, fed in pieces of the given size."""
    splitter = LineSplitter(limit)
    lines = []
    for start in range(0, len(data), pieces):
        lines += splitter.feed(data[start : start + pieces])
    rest = splitter.flush()
    return lines if rest is None else [*lines, rest]


def test_lines_end_at_newlines() -> None:
    """Empty lines count, CRLF is a newline, and the last line needs none."""
    assert split(b"a\n\nb\r\nlast") == ["a", "", "b", "last"]
    assert split(b"a\n") == ["a"]
    assert split(b"") == []


def test_undecodable_bytes_are_replaced() -> None:
    """Output that is not UTF-8 is shown, with marks where it could not be read."""
    assert split(b"x\xe9 \xff\n") == ["x\ufffd \ufffd"]


def test_character_in_two_pieces_is_whole() -> None:
    """A character whose bytes come separately is decoded as one."""
    assert split("héé\n".encode(), pieces=1) == ["héé"]


def test_long_line_is_cut_and_says_so() -> None:
    """What is over the limit is counted, not kept; the next line is whole."""
    assert split(b"x" * 25 + b"\nnext\n", limit=10) == ["x" * 10 + " … [15 bytes cut]", "next"]


def test_cut_leaves_no_half_character() -> None:
    """A line cut within a character ends before it."""
    assert split("ééé\n".encode(), limit=3)[0].startswith("é …")


def test_carriage_return_starts_the_line_again() -> None:
    """Of a progress bar, the last state stays."""
    assert split(b"10%\r50%\r100%\ndone\r\n") == ["100%", "done"]
    assert split(b"x" * 50 + b"\rshort\n", limit=10) == ["short"]
    assert split(b"kept\r\n\r\n") == ["kept", ""]


@given(
    data=st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r", "é".encode(), b"\xff"])).map(
        b"".join
    ),
    pieces=st.integers(1, 7),
    limit=st.integers(1, 6),
)
def test_pieces_do_not_matter(data: bytes, pieces: int, limit: int) -> None:
    """However output is cut into reads, the lines are the same, and none is above the limit."""
    whole = split(data, limit=limit)

    assert split(data, limit=limit, pieces=pieces) == whole
    assert all(len(line.partition(" … [")[0].encode()) <= limit * 3 for line in whole)
