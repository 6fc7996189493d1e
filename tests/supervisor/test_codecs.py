"""Wire formats: what becomes of data, and what cannot be expressed."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
import uuid
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from supervisor import UnserialisableData
from supervisor.codecs.json import JsonCodec
from supervisor.codecs.msgpack import MessagePackCodec

JSON = JsonCodec()
MSGPACK = MessagePackCodec()
BOTH = pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=["json", "msgpack"])

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


class Colour(enum.Enum):
    """An enum."""

    RED = "red"


class Model(BaseModel):
    """A model in which there is another."""

    name: str
    inner: Model | None = None


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: int


@BOTH
@pytest.mark.parametrize("data", ["", "text", "ü", "\x00", "{}", b"", b"\xff"])
def test_text_and_bytes_travel_unchanged(codec: Any, data: str | bytes) -> None:
    """Without a look inside; the frame says that no codec made it."""
    frame = codec.encode(data)

    assert frame.payload is data
    assert not frame.encoded
    assert frame.size == len(data.encode() if isinstance(data, str) else data)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"b": 1, "a": [1.5, None, True]}, '{"b":1,"a":[1.5,null,true]}'),
        ((1, 2), "[1,2]"),
        ({1: "a"}, '{"1":"a"}'),
        ("ü", "ü"),
        (["ü"], '["ü"]'),
        (7, "7"),
        (Model(name="a", inner=Model(name="b")), '{"name":"a","inner":{"name":"b","inner":null}}'),
        (Point(1), '{"x":1}'),
        ({"p": Point(1)}, '{"p":{"x":1}}'),
        (Colour.RED, '"red"'),
        ({1}, "[1]"),
        (uuid.UUID(int=0), '"00000000-0000-0000-0000-000000000000"'),
        (datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), '"2026-01-02T00:00:00Z"'),
        (datetime.timedelta(seconds=1), '"PT1S"'),
        (decimal.Decimal("1.5"), '"1.5"'),
    ],
)
def test_data_is_compact_json(data: object, text: str) -> None:
    """Whatever json or pydantic can express."""
    frame = JSON.encode(data)

    assert frame.payload == text
    assert frame.encoded == (not isinstance(data, str))
    assert frame.size == len(text.encode())


@BOTH
@pytest.mark.parametrize(
    "data",
    [object(), [object()], {"a": object()}, lambda: None, iter, "\ud800", "a\udfff"],
    ids=repr,
)
def test_what_cannot_be_expressed_is_refused_by_name(codec: Any, data: object) -> None:
    """The error is a TypeError too, and names the kind of data."""
    with pytest.raises(UnserialisableData) as error:
        codec.encode(data)

    assert isinstance(error.value, TypeError)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("wrap", [lambda n: n, lambda n: [n], lambda n: {"a": n}, Point])
def test_json_has_no_infinity(number: float, wrap: Any) -> None:
    """Browsers would fail to parse it."""
    with pytest.raises(UnserialisableData, match="as JSON"):
        JSON.encode(wrap(number))


@BOTH
def test_what_contains_itself_is_refused(codec: Any) -> None:
    """And so is what is nested too deeply."""
    cycle: list[object] = []
    cycle.append(cycle)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]

    for data in (cycle, deep):
        with pytest.raises(UnserialisableData):
            codec.encode(data)


def test_json_escapes_half_a_character() -> None:
    """It can express what UTF-8 cannot, so no client can poison what others are sent."""
    data = {"half": "\ud800", "whole": "ü"}

    frame = JSON.encode(data)

    assert isinstance(frame.payload, str)
    assert json.loads(frame.payload) == data
    assert frame.size == len(frame.payload.encode())


def test_msgpack_expresses_bytes_and_the_rest_as_json_does() -> None:
    """Bytes within data stay bytes; models and dates become what JSON makes of them."""
    frame = MSGPACK.encode({"raw": b"\xff", "model": Model(name="a"), "id": uuid.UUID(int=0)})

    assert isinstance(frame.payload, bytes)
    assert frame.encoded
    assert MSGPACK.decode(frame.payload) == {
        "raw": b"\xff",
        "model": {"name": "a", "inner": None},
        "id": "00000000-0000-0000-0000-000000000000",
    }


def test_msgpack_refuses_what_it_has_no_room_for() -> None:
    """Integers end at 64 bits."""
    with pytest.raises(UnserialisableData, match="as MessagePack"):
        MSGPACK.encode([2**64])


@pytest.mark.parametrize(
    "packed",
    [b"", b"\xc1", b"\x01\x02", b"\x92\x01", b"\xdb\xff\xff\xff\xff", b"\xa1\xff"],
    ids=["nothing", "never used", "two values", "cut off", "too long", "no UTF-8"],
)
def test_what_is_no_msgpack_is_a_value_error(packed: bytes) -> None:
    """Whatever the library raises."""
    with pytest.raises(ValueError, match="no MessagePack"):
        MSGPACK.decode(packed)


def test_msgpack_from_a_client_cannot_nest_for_ever() -> None:
    """A few bytes a level would exhaust the stack."""
    with pytest.raises(ValueError, match="no MessagePack"):
        MSGPACK.decode(b"\x91" * 100_000 + b"\x01")


@pytest.mark.parametrize("key", [b"\x81\x91\x01\x01", b"\x81\x80\x01"], ids=["list", "map"])
def test_msgpack_with_keys_that_python_has_not_is_a_value_error(key: bytes) -> None:
    """A map whose key cannot be hashed."""
    with pytest.raises(ValueError, match="no MessagePack"):
        MSGPACK.decode(key)


@given(VALUES)
def test_json_comes_back_as_it_was(data: object) -> None:
    """Whatever JSON has, is not changed by the way."""
    frame = JSON.encode(data)

    if isinstance(data, str):
        assert frame.payload == data
    else:
        assert isinstance(frame.payload, str)
        assert json.loads(frame.payload) == data


@given(VALUES)
def test_msgpack_comes_back_as_it_was(data: object) -> None:
    """The same."""
    frame = MSGPACK.encode(data)

    if isinstance(data, str):
        assert frame.payload == data
    else:
        assert isinstance(frame.payload, bytes)
        assert MSGPACK.decode(frame.payload) == data
        assert msgpack.unpackb(frame.payload) == data


@given(st.text(st.characters()))
def test_text_is_either_sent_or_refused_before_any_socket_sees_it(text: str) -> None:
    """What passes the codec can be encoded by every server."""
    for codec in (JSON, MSGPACK):
        try:
            payload = codec.encode(text).payload
        except UnserialisableData:
            continue
        assert isinstance(payload, str)
        payload.encode()
