"""What a publication says of itself, whoever made it."""

from __future__ import annotations

import pytest

from actors.messages import Frame
from actors.positions import Position
from actors.publications import Line, Origin, Publication
from actors.testing import TextEncoder

ENCODER = TextEncoder()

SAID = (
    "data",
    "ended",
    "exclude",
    "expires",
    "id",
    "key",
    "position",
    "removed",
    "room",
    "silent",
    "size",
)


def decode(frame: Frame) -> object:
    """Return the data of a frame."""
    return {"decoded": frame.payload}


@pytest.mark.parametrize("first", SAID)
def test_a_line_says_what_any_publication_says(first: str) -> None:
    """Whatever is asked for first."""
    line = Line(Frame("text"), 7, Origin("log:a", "e", ENCODER, decode))
    expected = Publication.of_frame(
        Frame("text"), ENCODER, decode, room="log:a", position=Position("e", 7)
    )

    assert getattr(line, first) == getattr(expected, first)
    assert {name: getattr(line, name) for name in SAID} == {
        name: getattr(expected, name) for name in SAID
    }


def test_a_line_has_its_frame_in_every_format() -> None:
    """Its own at once; another is asked for it, once."""
    frame = Frame("text")
    asked: list[Publication] = []

    class Other(TextEncoder):
        def publication(self, publication: Publication) -> Frame:
            asked.append(publication)
            return Frame(f"{publication.position}")

    line, other = Line(frame, 7, Origin("log:a", "e", ENCODER, decode)), Other()

    assert line.frame(ENCODER) is frame
    assert line.plain_frame(ENCODER) is frame
    assert line.plain_frame(other) is None
    assert [line.frame(other), line.frame(other)] == [line.frame(other)] * 2
    assert asked == [line]
