"""What it costs to encode a publication: once for each wire format, whoever gets it."""

from __future__ import annotations

import json

import msgpack
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from supervisor.codecs.json import JsonCodec
from supervisor.codecs.msgpack import MessagePackCodec

pytestmark = pytest.mark.benchmark(group="codecs")

STEP = {"run": 17, "step": "build", "state": "passed", "seconds": 3.25, "log": ["x" * 80]}


def test_encode_text(benchmark: BenchmarkFixture) -> None:
    """Text passes unchanged."""
    text = json.dumps(STEP)

    frame = benchmark(JsonCodec().encode, text)

    assert frame.payload is text


def test_encode_json(benchmark: BenchmarkFixture) -> None:
    """Data becomes JSON text."""
    frame = benchmark(JsonCodec().encode, STEP)

    assert json.loads(frame.payload) == STEP


def test_encode_message_pack(benchmark: BenchmarkFixture) -> None:
    """Data becomes MessagePack."""
    frame = benchmark(MessagePackCodec().encode, STEP)

    assert isinstance(frame.payload, bytes)
    assert msgpack.unpackb(frame.payload) == STEP
