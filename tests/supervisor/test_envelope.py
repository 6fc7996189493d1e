"""Envelopes: every shape, in JSON and in MessagePack."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgpack
import pytest

from actors.messages import Frame
from actors.notices import Ended, Gap, GapReason, Joined, Notice
from actors.positions import Position
from actors.publications import Publication
from supervisor import UnserialisableData
from supervisor.codecs.formats import Formats

FORMATS = Formats()
BOTH = pytest.mark.parametrize("name", ["envelope_json", "envelope_msgpack"])
PLACE = Position("e1", 7)


def said(name: str, frame: Frame | None) -> Any:
    """Return what a client makes of a frame."""
    assert frame is not None
    assert frame.text is (name == "envelope_json")
    payload = frame.payload
    return json.loads(payload) if isinstance(payload, str) else msgpack.unpackb(payload)


def published(name: str, publication: Publication) -> Any:
    """Return what a client makes of a message."""
    return said(name, publication.frame(getattr(FORMATS, name)))


def noticed(name: str, notice: Notice) -> Any:
    """Return what a client makes of what a room says of itself."""
    return said(name, getattr(FORMATS, name).notice(notice))


@BOTH
@pytest.mark.parametrize("data", ["täxt", "", '{"no": "JSON"}', {"a": [1, None]}, 7, None, False])
def test_a_message_says_room_place_and_data(name: str, data: object) -> None:
    """Text stays text, and other data is what it was."""
    publication = Publication(data, FORMATS.json, room="log:1")
    publication.position = PLACE

    assert published(name, publication) == {
        "room": "log:1",
        "epoch": "e1",
        "offset": 7,
        "data": data,
    }


@BOTH
def test_what_does_not_apply_is_absent(name: str) -> None:
    """A message of an event room has no place; one of no room has data alone."""
    assert published(name, Publication(1, FORMATS.json, room="a")) == {"room": "a", "data": 1}
    assert published(name, Publication(1, FORMATS.json)) == {"data": 1}
    assert said(name, getattr(FORMATS, name).encode({"x": 1})) == {"data": {"x": 1}}


@BOTH
def test_a_room_that_nobody_can_name_stays_unnamed(name: str) -> None:
    """Those of users and of everybody are no business of clients."""
    publication = Publication(1, FORMATS.json, room=("user", 7))

    assert published(name, publication) == {"data": 1}


@BOTH
def test_the_value_of_a_key_says_key_and_expiry(name: str) -> None:
    """And an id, where the client is to acknowledge it."""
    publication = Publication("up", FORMATS.json, room="s", key="host")
    publication.position = PLACE
    publication.expires = 1234.5
    publication.id = "m1"

    assert published(name, publication) == {
        "room": "s",
        "epoch": "e1",
        "offset": 7,
        "key": "host",
        "expires": 1234.5,
        "id": "m1",
        "data": "up",
    }


@BOTH
def test_a_removed_key_has_no_data(name: str) -> None:
    """But says that it was removed."""
    publication = Publication.of_frame(None, FORMATS.json, lambda _: None, room="s", key="host")
    publication.position = PLACE
    publication.removed = True

    assert published(name, publication) == {
        "room": "s",
        "epoch": "e1",
        "offset": 7,
        "key": "host",
        "removed": True,
    }


@BOTH
def test_the_end_of_a_log_says_where(name: str) -> None:
    """Live, and to who comes later, in the same words."""
    publication = Publication.of_frame(None, FORMATS.json, lambda _: None, room="log:1")
    publication.position = PLACE
    publication.ended = True

    assert published(name, publication) == {"end": {"room": "log:1", "offset": 7}}
    assert noticed(name, Ended("log:1", 7)) == {"end": {"room": "log:1", "offset": 7}}


@BOTH
def test_a_join_says_where_the_room_stands_and_the_client_begins(name: str) -> None:
    """Whether it was recovered is said only where that was asked for."""
    assert noticed(name, Joined("r", PLACE, 3)) == {
        "joined": {"room": "r", "epoch": "e1", "offset": 7, "begins": 3}
    }
    assert noticed(name, Joined("r", PLACE, 3, recovered=True)) == {
        "joined": {"room": "r", "epoch": "e1", "offset": 7, "begins": 3, "recovered": True}
    }
    assert noticed(name, Joined("r", PLACE, 0, recovered=False, reason=GapReason.TRIMMED)) == {
        "joined": {
            "room": "r",
            "epoch": "e1",
            "offset": 7,
            "begins": 0,
            "recovered": False,
            "reason": "trimmed",
        }
    }


@BOTH
@pytest.mark.parametrize("reason", list(GapReason))
def test_a_gap_says_from_where_to_where_and_why(name: str, reason: GapReason) -> None:
    """All in numbers that the client has seen."""
    assert noticed(name, Gap("r", "e", 3, 5, reason)) == {
        "gap": {"room": "r", "epoch": "e", "from": 3, "to": 5, "reason": reason.value}
    }


def test_bytes_are_base64_in_json_and_bytes_in_messagepack() -> None:
    """JSON has no words for them."""
    publication = Publication(b"\x00\xff", FORMATS.json, room="r")

    assert published("envelope_json", publication) == {
        "room": "r",
        "base64": base64.b64encode(b"\x00\xff").decode(),
    }
    assert published("envelope_msgpack", publication) == {"room": "r", "data": b"\x00\xff"}


@BOTH
@pytest.mark.parametrize("data", ["text", b"bytes", {"a": "ü"}, [1.5]])
def test_what_was_kept_is_said_as_what_is_published(name: str, data: object) -> None:
    """A message that comes out of a store, already encoded, is the same to a client."""
    fresh = Publication(data, FORMATS.json, room="r")
    frame = fresh.frame(FORMATS.json)
    assert frame is not None
    stored = Publication.of_frame(
        Frame(frame.payload, encoded=frame.encoded),
        FORMATS.json,
        lambda frame: json.loads(frame.payload) if frame.encoded else frame.payload,
        room="r",
    )

    assert published(name, stored) == published(name, fresh)


def test_half_a_surrogate_pair_in_data_is_escaped() -> None:
    """A socket could not carry it as it is."""
    publication = Publication({"a": "\ud800"}, FORMATS.json, room="r")

    frame = publication.frame(FORMATS.envelope_json)

    assert frame is not None
    assert isinstance(frame.payload, str)
    frame.payload.encode()
    assert json.loads(frame.payload) == {"room": "r", "data": {"a": "\ud800"}}


def test_half_a_surrogate_pair_in_a_key_is_escaped() -> None:
    """In an event room a key may be anything."""
    publication = Publication("x", FORMATS.json, room="r", key="\ud800")

    frame = publication.frame(FORMATS.envelope_json)

    assert frame is not None
    assert isinstance(frame.payload, str)
    frame.payload.encode()
    assert json.loads(frame.payload) == {"room": "r", "key": "\ud800", "data": "x"}


def test_text_that_cannot_travel_is_refused() -> None:
    """As without envelopes."""
    for codec in (FORMATS.envelope_json, FORMATS.json):
        with pytest.raises(UnserialisableData):
            codec.encode("\ud800")


@pytest.mark.parametrize(
    ("offered", "envelope", "chosen", "format_name"),
    [
        ([], False, None, "json"),
        ([], True, None, "envelope_json"),
        (["msgpack"], False, "msgpack", "msgpack"),
        (["msgpack"], True, "msgpack", "envelope_msgpack"),
        (["other", "envelope.json"], False, "envelope.json", "envelope_json"),
        (["envelope.msgpack", "envelope.json"], False, "envelope.msgpack", "envelope_msgpack"),
        (["other"], False, None, "json"),
    ],
)
def test_the_format_is_chosen_by_what_the_client_offers(
    offered: list[str], envelope: bool, chosen: str | None, format_name: str
) -> None:
    """The first subprotocol that is known counts, and the session's wish for envelopes."""
    subprotocol, encoder = FORMATS.choose(offered, envelope=envelope)

    assert subprotocol == chosen
    assert encoder is getattr(FORMATS, format_name)
    assert FORMATS.is_envelope(encoder) is format_name.startswith("envelope")
    assert FORMATS.is_binary(encoder) is format_name.endswith("msgpack")
