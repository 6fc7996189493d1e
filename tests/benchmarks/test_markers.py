"""The counter for servers that put several messages into a frame; and the payload of the peers."""

from __future__ import annotations

import pytest

from supervisor.cli.load import payload as engine_payload
from supervisor.cli.load.payload import read_marker
from tests.benchmarks.markers import MarkerCounter
from tests.benchmarks.peers.control import frame, payload


def feed(counter: MarkerCounter, stream: bytes, step: int) -> None:
    """Hand over ``stream`` in pieces, as a client does: what was kept comes again."""
    carry = b""
    for begin in range(0, len(stream), step):
        data = bytearray(carry + stream[begin : begin + step])
        rest = counter.feed(data, len(data))
        carry = bytes(data[len(data) - rest :])


class Noted:
    """Takes down what it is told of."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def note(self, order: list[int], data: bytes | bytearray, at: int) -> bool:
        found = read_marker(data, at)
        assert found is not None
        self.numbers.append(found[0])
        return True


@pytest.mark.parametrize("step", [1, 7, 33, 34, 35, 100, 4096])
def test_every_message_is_counted_once(step: int) -> None:
    """However the stream is cut, and whatever stands between the messages."""
    counter, noted = MarkerCounter(), MarkerCounter()
    noted.ledger = ledger = Noted()
    stream = b"".join(
        f"MSG room 1 60\r\n{engine_payload(number, 5, 60)}\r\n".encode() for number in range(20)
    )

    feed(counter, stream, step)
    feed(noted, stream, step)

    assert counter.delivered == 20
    assert counter.first_published == 5
    assert ledger.numbers == list(range(20))


@pytest.mark.parametrize("size", [34, 128, 16384])
def test_peers_send_the_payload_that_receivers_read(size: int) -> None:
    """The peers' own function makes what the load engine's does."""
    text = payload(7, size)
    found = read_marker(text.encode(), 0)

    assert found is not None
    assert text == engine_payload(7, found[1], size)


@pytest.mark.parametrize(("size", "header"), [(34, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_a_ready_frame_is_a_text_frame(size: int, header: int) -> None:
    """Its header is the shortest that RFC 6455 has for the length."""
    made = frame("x" * size)

    assert made[0] == 0x81
    assert len(made) == header + size
    assert made[header:] == b"x" * size
