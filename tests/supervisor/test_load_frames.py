"""The frame counter of the load engine, against a parser that reads every byte by itself."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.cli.load.errors import ProtocolError
from supervisor.cli.load.frames import FrameCounter
from supervisor.cli.load.payload import MARKER, WINDOW, payload

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Counts(NamedTuple):
    delivered: int
    other: int
    controls: list[tuple[int, bytes]]
    noted: list[bytes]


def frame(content: bytes, opcode: int = TEXT, *, fin: bool = True) -> bytes:
    """Build a server's frame."""
    length = len(content)
    head = bytes([opcode | (0x80 if fin else 0)])
    if length < 126:
        return head + bytes([length]) + content
    if length < 1 << 16:
        return head + b"\x7e" + length.to_bytes(2) + content
    return head + b"\x7f" + length.to_bytes(8) + content


def naive(stream: bytes) -> Counts:
    """Count frame by frame."""
    delivered = other = at = 0
    controls, noted = [], []
    message = b""
    while at < len(stream):
        first, length = stream[at], stream[at + 1]
        at += 2
        if length >= 126:
            wide = 2 if length == 126 else 8
            length = int.from_bytes(stream[at : at + wide])
            at += wide
        content = stream[at : at + length]
        at += length
        if first & 0x08:
            controls.append((first & 0x0F, content))
            continue
        message += content
        if first & 0x80:
            head = message[:WINDOW]
            found = head.find(MARKER, 0, max(len(head) - 30, 0))
            if found < 0:
                other += 1
            else:
                delivered += 1
                noted.append(message[found : found + 34])
            message = b""
    return Counts(delivered, other, controls, noted)


class Notes:
    """A ledger that takes everything."""

    def __init__(self) -> None:
        self.noted: list[bytes] = []

    def note(self, order: list[int], data: bytes | bytearray, at: int) -> bool:
        self.noted.append(bytes(data[at : at + 34]))
        return True


def count(stream: bytes, splits: list[int], *, ledger: bool = False) -> Counts:
    """Feed a counter as the client does: one buffer, into which what is left comes again."""
    controls: list[tuple[int, bytes]] = []
    counter = FrameCounter(lambda opcode, content: controls.append((opcode, content)))
    notes = Notes()
    if ledger:
        counter.ledger = notes
    buffer = bytearray(len(stream) + 2 * WINDOW)
    carry, at = b"", 0
    for stop in [*sorted(splits), len(stream)]:
        data = carry + stream[at:stop]
        buffer[: len(data)] = data
        buffer[len(data) :] = b"\x81\x04wsb:".ljust(len(buffer) - len(data), b"\x81")
        rest = counter.feed(buffer, len(data))
        assert rest <= WINDOW + 14
        carry, at = data[len(data) - rest :], stop
    assert carry == b""
    return Counts(counter.delivered, counter.other, controls, notes.noted)


sizes = st.sampled_from([34, 40, 91, 92, 125, 126, 127, 200, 1024, 5000, 65535, 65536])


@st.composite
def deliveries(draw: st.DrawFn) -> list[bytes]:
    """Frames of one kind, as a server under load sends them."""
    size, before = draw(sizes), draw(st.sampled_from([b"", b'{"data":"', b"x" * 900, b"x" * 2000]))
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    return [
        frame(before + payload(number, 1000 + number, size).encode(), opcode)
        for number in range(draw(st.integers(1, 40 if size < 3000 else 3)))
    ]


@st.composite
def fragments(draw: st.DrawFn) -> list[bytes]:
    """One message in fragments, with control frames between them."""
    content = draw(st.sampled_from([b"", b"{}", payload(7, 7, 300).encode(), b"y" * 3000]))
    cuts = sorted(draw(st.lists(st.integers(0, len(content)), min_size=1, max_size=4)))
    parts = [
        content[one:other] for one, other in zip([0, *cuts], [*cuts, len(content)], strict=True)
    ]
    found = [frame(parts[0], TEXT, fin=False)]
    for index, part in enumerate(parts[1:], 2):
        if draw(st.booleans()):
            found.append(frame(b"between", PING))
        found.append(frame(part, CONT, fin=index == len(parts)))
    return found


others = st.sampled_from(
    [
        frame(b""),
        frame(b"{}"),
        frame(b"wsb"),
        frame(b"", PING),
        frame(b"p" * 125, PONG),
        frame(b"z" * 200),
        frame(b"\x81\x22" + payload(1, 1, 34).encode(), BINARY),
        frame(b"." * (WINDOW - 34) + payload(1, 1, 34).encode()),
        frame(b"." * (WINDOW - 33) + payload(1, 1, 34).encode()),
        frame(b"." * (WINDOW - 34) + payload(1, 1, 99).encode()),
        frame(b"." * (WINDOW - 33) + payload(1, 1, 99).encode()),
        frame(b"wsb:0"),
        frame(b"." * 40 + b"wsb:0"),
    ]
)


class Stream(bytes):
    """Bytes that a failure does not print."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


streams = st.lists(deliveries() | fragments() | others.map(lambda one: [one]), max_size=8).map(
    lambda groups: Stream(b"".join(part for group in groups for part in group))
)


@given(stream=streams, seed=st.integers(0, 2**32), pieces=st.integers(0, 30), ledger=st.booleans())
def test_it_counts_what_a_naive_parser_counts(
    stream: bytes, seed: int, pieces: int, ledger: bool
) -> None:
    """Whatever a server sends, and however the reads cut it."""
    cut = random.Random(seed)
    splits = [cut.randint(0, len(stream)) for _ in range(pieces)]

    found = count(stream, splits, ledger=ledger)

    expected = naive(stream)
    assert found == (expected if ledger else expected._replace(noted=[]))


@pytest.mark.parametrize("size", [34, 125, 126, 300])
def test_it_counts_byte_by_byte(size: int) -> None:
    """Reads of a single byte are the worst that a network can do."""
    stream = b"".join(frame(payload(number, 1, size).encode()) for number in range(3))

    assert count(stream, list(range(len(stream)))).delivered == 3


def test_a_frame_that_differs_ends_a_run() -> None:
    """One message of the same size without the marker, in the middle of a thousand with it."""
    frames = [frame(payload(number, 1, 100).encode()) for number in range(1000)]
    frames[500] = frame(b"n" * 100)

    assert count(b"".join(frames), [])[:2] == (999, 1)


@pytest.mark.parametrize("where", range(4))
def test_a_header_that_differs_in_any_byte_ends_a_run(where: int) -> None:
    """A neighbour that is longer or shorter than the others is parsed by itself."""
    usual = frame(payload(0, 1, 0x0180).encode())
    odd = [
        frame(payload(0, 1, 0x0180).encode(), BINARY),
        frame(payload(0, 1, 100).encode()),
        frame(payload(0, 1, 0x0280).encode()),
        frame(payload(0, 1, 0x0181).encode()),
    ][where]
    stream = usual * 20 + odd + usual * 20

    assert count(stream, []).delivered == 41


@pytest.mark.parametrize(
    "wrong",
    [
        b"\x81\x84wsb:",  # masked
        b"\x80\x00",  # the end of nothing
        b"\xc1\x00",  # compressed, which nobody offered
        b"\x83\x00",  # no such kind of frame
        b"\x09\x00",  # a ping in fragments
        b"\x89\x7e\x00\x7e" + b"p" * 126,  # a ping that is too long
        b"\x01\x00\x81\x00",  # a message within a message
    ],
)
def test_what_no_server_may_send_is_an_error(wrong: bytes) -> None:
    """Better none than a wrong number."""
    counter = FrameCounter(lambda opcode, content: None)

    with pytest.raises(ProtocolError):
        counter.feed(bytearray(wrong), len(wrong))


def test_the_time_of_the_first_delivery_is_known() -> None:
    """Also where deliveries are only counted."""
    counter = FrameCounter(lambda opcode, content: None)
    stream = bytearray(
        frame(b"{}") + b"".join(frame(payload(n, 70 + n, 64).encode()) for n in (0, 1))
    )

    counter.feed(stream, len(stream))

    assert counter.first_published == 70
