"""The parts of the load engine that need no socket."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
import random
import re
import ssl
from pathlib import Path
from typing import Any

import pytest

from supervisor.cli.load.client import Inlet, masked_frame
from supervisor.cli.load.connecting import why_not
from supervisor.cli.load.descriptors import allow_sockets
from supervisor.cli.load.errors import LoadError, ProtocolError, ServerRefused
from supervisor.cli.load.handshake import Address, Handshake
from supervisor.cli.load.histogram import LONGEST, Histogram
from supervisor.cli.load.payload import Numbers, payload, read_marker
from supervisor.cli.load.process import ServerProcess
from supervisor.cli.load.publishers import HttpPublisher
from supervisor.cli.load.receipts import MOST_PUBLICATIONS, Receipts
from supervisor.cli.load.results import LoadResult

# The payload.


@pytest.mark.parametrize("size", [34, 35, 128, 16384])
def test_a_payload_has_its_size_and_can_be_read(size: int) -> None:
    """Number and time come back; what is missing to the size follows them."""
    text = payload(12345678, 2**63, size)

    assert len(text.encode()) == size
    assert text == f"wsb:12345678:09223372036854775808:{'x' * (size - 34)}"
    assert read_marker(b"a message: " + text.encode(), 11) == (12345678, 2**63)


def test_a_payload_that_is_too_small_says_what_is_the_smallest() -> None:
    """34 bytes."""
    with pytest.raises(LoadError, match="the smallest has 34"):
        payload(0, 0, 33)


def test_numbers_of_many_publishers_do_not_meet() -> None:
    """Publisher p of P takes every P-th."""
    taken = [numbers.take() for numbers in [Numbers(p, 3) for p in range(3)] * 2]

    assert taken == [0, 1, 2, 3, 4, 5]


def test_there_are_only_so_many_numbers() -> None:
    """What does not fit into eight digits is refused, not cut."""
    with pytest.raises(LoadError, match="100,000,000"):
        payload(100_000_000, 0, 128)


def test_a_marker_without_a_number_is_none() -> None:
    """A text about the marker is no delivery."""
    assert read_marker(b"wsb:abcdefgh:00000000000000000000:", 0) is None


# The histogram.


def test_percentiles_are_exact_to_a_thousandth() -> None:
    """From nanoseconds to minutes."""
    source = random.Random(7)
    times = sorted(int(10 ** source.uniform(0, 11)) for _ in range(5000))
    histogram = Histogram()
    for time in times:
        histogram.note(time)

    for percent in (1, 50, 99, 99.9, 100):
        exact = times[math.ceil(len(times) * percent / 100) - 1]
        assert exact <= histogram.percentile(percent) <= exact * 1.001 + 1


def test_a_histogram_takes_any_time() -> None:
    """Negative ones, where clocks differ, and ones beyond its end."""
    histogram = Histogram()
    for time in (-5, 0, LONGEST, LONGEST * 1000):
        histogram.note(time)

    assert histogram.count == 4
    assert histogram.percentile(50) == 0
    assert histogram.longest == LONGEST * 1000


def test_an_empty_histogram_has_no_percentile() -> None:
    """Not 0, which would be a good one."""
    assert math.isnan(Histogram().percentile(50))


# Receipts.


def receive(receipts: Receipts, order: list[int], number: int, published: int = 1) -> None:
    """Let one receiver have one publication."""
    text = payload(number, published, 34).encode()
    assert receipts.note(order, text, 0)


def test_receipts_measure_latency_and_the_last_receiver() -> None:
    """Of two receivers, one 10 ms and one 30 ms after the publication."""
    inlet = Inlet()
    receipts = Receipts(inlet)
    orders = [receipts.new_order(), receipts.new_order()]
    for number in range(3):
        published = 10**9 * (number + 1)
        for order, late in zip(orders, (10_000_000, 30_000_000), strict=True):
            inlet.now = published + late
            receive(receipts, order, number, published)

    latency, last = receipts.latency(), receipts.last_receiver(2)

    assert latency.receipts == 6
    assert latency.p50 == pytest.approx(0.010, rel=0.001)
    assert latency.p99 == latency.longest == 0.030
    assert last is not None
    assert (last.publications, last.median, last.p99) == (3, 0.030, 0.030)
    assert receipts.gaps == receipts.repeats == 0
    assert [took for _, took in receipts.timeline(10)] == [0.030] * 3


@pytest.mark.parametrize(
    ("numbers", "gaps", "repeats"),
    [
        ([0, 1, 2, 3], 0, 0),
        ([2, 3], 2, 0),
        ([0, 3], 2, 0),
        ([0, 0, 1], 0, 1),
        ([0, 2, 1, 3], 1, 1),
    ],
)
def test_what_is_missing_and_what_came_twice_is_counted(
    numbers: list[int], gaps: int, repeats: int
) -> None:
    """By number; one that came late was missing, and then not above the one before."""
    receipts = Receipts(Inlet())
    order = receipts.new_order()
    for number in numbers:
        receive(receipts, order, number)

    assert (receipts.gaps, receipts.repeats) == (gaps, repeats)


def test_publishers_may_overtake_each_other() -> None:
    """Only the order of each counts."""
    receipts = Receipts(Inlet(), publishers=3)
    order = receipts.new_order()
    for number in (1, 0, 4, 7, 3, 2, 8):
        receive(receipts, order, number)

    assert (receipts.gaps, receipts.repeats) == (1, 0)  # 5 is missing


def test_numbers_that_are_none_are_no_receipts() -> None:
    """What cannot be read, and what would take too much memory."""
    receipts = Receipts(Inlet())

    assert not receipts.note([-1], b"wsb:????????:00000000000000000000:", 0)
    assert not receipts.note([-1], payload(MOST_PUBLICATIONS, 1, 34).encode(), 0)
    assert receipts.latency().receipts == 0


def test_a_publication_that_not_all_got_has_no_last_receiver() -> None:
    """It would look better than it is."""
    receipts = Receipts(Inlet())
    receive(receipts, receipts.new_order(), 0)

    assert receipts.last_receiver(2) is None


# Results.


def result(**values: Any) -> LoadResult:
    """Return a good result, but for ``values``."""
    usual: dict[str, Any] = {
        "sockets": 2, "delivered": 4, "expected": 4, "lost": 0, "surplus": 0, "other": 0,
        "per_socket": (2, 2), "closed": 0, "close_codes": {}, "seconds": 2.0,
        "first_published": 1, "last_received": 2, "gaps": 0, "repeats": 0, "latency": None,
        "last_receiver": None, "client_busy": 0.2, "client_lag": 0.0,
    }  # fmt: skip
    return LoadResult(**{**usual, **values})


def test_a_good_run_has_no_warnings() -> None:
    """And a rate."""
    assert result().warnings() == []
    assert result().complete
    assert result().rate == 2.0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lost": 1}, r"1 of 4 messages were lost \(25.00%\)"),
        ({"surplus": 3}, "3 messages came that nobody expected"),
        ({"repeats": 1}, "twice, or late"),
        ({"gaps": 1}, "1 messages were missing"),
        ({"closed": 2, "close_codes": {1006: 2}}, "2 with 1006"),
        ({"client_busy": 0.9}, "90% of its core"),
    ],
)
def test_what_makes_numbers_doubtful_is_said(values: dict[str, Any], words: str) -> None:
    """One sentence each."""
    (warning,) = result(**values).warnings()

    assert re.search(words, warning)


def test_what_had_not_arrived_is_not_called_lost() -> None:
    """Where messages still came when nobody waited any more."""
    (warning,) = result(lost=1).warnings(still_arriving=True)

    assert warning == "1 of 4 messages had not arrived when we stopped waiting (25.00%)."


# Publishing over HTTP.


class Discarding(asyncio.Transport):
    """Takes everything and keeps nothing."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take it."""

    def is_closing(self) -> bool:
        """There is nothing to close."""
        return True


async def refused(answer: str) -> str:
    """Return what somebody is told whose publication the server answers so."""
    reader = asyncio.StreamReader()
    reader.feed_data(answer.replace("\n", "\r\n").encode())
    loop = asyncio.get_running_loop()
    writer = asyncio.StreamWriter(Discarding(), asyncio.Protocol(), reader, loop)
    address = Address.of("http://127.0.0.1:8000/publish", "http")
    publisher = HttpPublisher(address, (), reader, writer, 1.0)

    with pytest.raises(LoadError) as told:
        await publisher.publish("text")
    return str(told.value)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "--header"),
        (403, "--header"),
        (404, "There is nothing at that path."),
        (405, "Nothing at that path takes a POST."),
        (415, "The payload is sent as text/plain"),
        (422, "The payload is sent as text/plain"),
        (500, "It said: what a pity"),
    ],
)
async def test_a_refused_publication_says_what_it_may_mean(status: int, words: str) -> None:
    """URL and status first, and the server's own words last."""
    told = await refused(f"HTTP/1.1 {status} Oops\nContent-Length: 12\n\nwhat a pity\n")

    assert told.startswith(f"http://127.0.0.1:8000/publish answered {status} to a publication. ")
    assert words in told
    assert told.endswith("It said: what a pity")


async def test_a_redirected_publication_says_where_to() -> None:
    """Nobody follows it: the URL is to be given as it is."""
    told = await refused("HTTP/1.1 307 Oops\nLocation: /publish/\nContent-Length: 0\n\n")

    assert told == (
        "http://127.0.0.1:8000/publish answered 307 to a publication. "
        "It redirects to /publish/: publish there (--publish)."
    )


# Connecting.


def test_tls_to_a_server_without_is_said_to_be_that() -> None:
    """With the URL to try; where nothing answers at all, that is the question."""
    address = Address.of("wss://127.0.0.1:8000/ws", "ws")
    error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")

    answered = why_not(address, error, answered=True)
    nobody = why_not(address, ConnectionRefusedError("refused"), answered=False)

    assert answered.endswith("If not, try ws://127.0.0.1:8000/ws")
    assert nobody.endswith("Is the server running, and is this its address?")


def test_a_certificate_that_is_not_trusted_is_said_not_to_be() -> None:
    """The server does speak TLS."""
    address = Address.of("wss://127.0.0.1:8000/ws", "ws")

    told = why_not(address, ssl.SSLCertVerificationError("self-signed"), answered=True)

    assert told.endswith("The server's certificate is not trusted here.")


# The handshake.


def answer(request: bytes, status: str = "101 Switching Protocols", *more: str) -> bytes:
    """Return a server's answer, right but for ``status`` and ``more``."""
    key = next(line for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key: "))
    digest = hashlib.sha1(key[19:] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    accept = base64.b64encode(digest).decode()
    lines = [f"HTTP/1.1 {status}", "Upgrade: websocket", f"sec-websocket-accept: {accept}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


HERE = Address.of("ws://127.0.0.1:8000/ws?a=1", "ws")


def test_the_request_asks_for_a_websocket() -> None:
    """With host, path, subprotocol and further headers."""
    request = Handshake(HERE, "chat", [("X-Token", "abc")]).request().decode()

    assert request.startswith("GET /ws?a=1 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n")
    assert "\r\nSec-WebSocket-Protocol: chat\r\nX-Token: abc\r\n\r\n" in request


def test_frames_may_follow_the_answer_at_once() -> None:
    """A server may speak first."""
    handshake = Handshake(HERE)
    head = answer(handshake.request())

    assert handshake.end_of_head(head[:-1]) is None
    assert handshake.end_of_head(head + b"\x81\x00") == len(head)


def test_a_path_without_a_websocket_is_the_first_thing_to_look_at() -> None:
    """Starlette answers 403 there, too."""
    handshake = Handshake(HERE)

    with pytest.raises(ServerRefused, match=r"WebSocket\. Is there a WebSocket at this path\?"):
        handshake.end_of_head(answer(handshake.request(), "403 Forbidden"))


@pytest.mark.parametrize(
    ("status", "words"),
    [("403 Forbidden", "Origin"), ("404 Not Found", "nothing at that path"), ("500 Oops", "Oops")],
)
def test_a_refusal_says_what_it_may_mean(status: str, words: str) -> None:
    """And has the status."""
    handshake = Handshake(HERE)

    with pytest.raises(ServerRefused, match=words) as caught:
        handshake.end_of_head(answer(handshake.request(), status))

    assert caught.value.status == int(status[:3])


@pytest.mark.parametrize(
    "more",
    [
        ("Sec-WebSocket-Extensions: permessage-deflate",),
        ("Sec-WebSocket-Protocol: chat",),
        ("Sec-WebSocket-Accept: wrong",),
    ],
)
def test_an_answer_to_something_else_is_an_error(more: tuple[str, ...]) -> None:
    """Nobody asked for that."""
    handshake = Handshake(HERE)

    with pytest.raises(ProtocolError):
        handshake.end_of_head(answer(handshake.request(), "101 Switching Protocols", *more))


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 nonsense\r\n\r\n"])
def test_what_is_no_web_server_is_said_to_be_none(said: bytes) -> None:
    """A port may belong to anything."""
    with pytest.raises(ProtocolError, match="does not speak HTTP"):
        Handshake(HERE).end_of_head(said)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://127.0.0.1:8000", (False, "127.0.0.1", 8000, "/")),
        ("wss://example.org/a?b", (True, "example.org", 443, "/a?b")),
        ("ws://[::1]/x", (False, "::1", 80, "/x")),
    ],
)
def test_a_url_is_taken_apart(url: str, expected: tuple[Any, ...]) -> None:
    """TLS, host, port and target."""
    address = Address.of(url, "ws")

    assert (address.secure, address.host, address.port, address.target) == expected


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "http://127.0.0.1/", "ws:///x", "ws://h:99999/", "ws://h/a b"]
)
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    """With one that can be as an example, or with what is wrong."""
    with pytest.raises(LoadError, match=r"write it like ws://|percent-encoded"):
        Address.of(url, "ws")


# Frames of clients.


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536])
def test_a_clients_frame_is_masked(length: int) -> None:
    """All three lengths; unmasked again it is what it was."""
    content = bytes(index % 251 for index in range(length))
    frame = masked_frame(0x1, content)
    head = 2 if length < 126 else 4 if length < 65536 else 10

    assert frame[0] == 0x81
    assert frame[1] & 0x80
    assert len(frame) == head + 4 + length
    key, masked = frame[head : head + 4], frame[head + 4 :]
    assert bytes(byte ^ key[index % 4] for index, byte in enumerate(masked)) == content


# The system.


def test_too_few_descriptors_are_said_to_be_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """With how many there may be, and how to get more."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 512))

    with pytest.raises(LoadError, match="ulimit -Hn"):
        allow_sockets(1000)


def test_the_limit_is_raised_as_far_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not further: other programs look at it."""
    resource = pytest.importorskip("resource")
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 100_000))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limit: limits.append(limit))

    allow_sockets(1000)

    ((soft, hard),) = limits
    assert 1000 < soft < 2000
    assert hard == 100_000


def write_process(proc: Path, pid: int, parent: int, ticks: int, kib: int, inode: int = 0) -> None:
    """Write what /proc has of a process; ``inode`` is a socket that it holds."""
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "stat").write_text(
        f"{pid} (a (odd) name) S {parent} 0 0 0 0 0 0 0 0 0 {ticks} {ticks} 0 0 20 0 1"
    )
    (folder / "status").write_text(f"Name: x\nVmRSS:\t{kib} kB\n")
    if inode:
        (folder / "fd" / "3").symlink_to(f"socket:[{inode}]")


def test_a_server_counts_with_its_workers(tmp_path: Path) -> None:
    """CPU time and memory of the process and of its descendants, and of nobody else."""
    write_process(tmp_path, 10, 1, 100, 1000)
    write_process(tmp_path, 11, 10, 50, 500)
    write_process(tmp_path, 12, 11, 25, 250)
    write_process(tmp_path, 13, 1, 1000, 9999)
    server = ServerProcess(10, proc=tmp_path)

    assert sorted(server.tree()) == [10, 11, 12]
    assert server.rss_kib() == 1750
    assert server.cpu_seconds() > 0
    assert server.cpu_seconds() == pytest.approx(7 * ServerProcess(12, proc=tmp_path).cpu_seconds())


@pytest.mark.parametrize(
    ("bound", "host", "found"),
    [
        ("0100007F", "127.0.0.1", True),
        ("0100007F", "localhost", True),
        ("0100007F", "127.0.0.2", False),
        ("00000000", "127.0.0.2", True),
        ("00000000000000000000000000000000", "127.0.0.1", True),
        ("0000000000000000FFFF00000100007F", "127.0.0.1", True),
        ("00000000000000000000000001000000", "::1", True),
    ],
)
def test_a_server_is_found_by_its_port(tmp_path: Path, bound: str, host: str, found: bool) -> None:
    """The topmost of those that hold the listening socket."""
    write_process(tmp_path, 10, 1, 1, 1, inode=77)
    write_process(tmp_path, 11, 10, 1, 1, inode=77)
    write_process(tmp_path, 12, 1, 1, 1, inode=78)
    (tmp_path / "net").mkdir()
    name = "tcp" if len(bound) == 8 else "tcp6"
    (tmp_path / "net" / name).write_text(
        "sl local_address rem_address st ...\n"
        f"0: {bound}:1F90 00000000:0000 0A 0:0 00:0 0 0 0 77\n"
        f"1: {bound}:1F91 00000000:0000 0A 0:0 00:0 0 0 0 78\n"
    )

    server = ServerProcess.listening(8080, host, proc=tmp_path)

    assert (server is not None and server.pid == 10) is found
    assert ServerProcess.listening(8082, host, proc=tmp_path) is None


def test_a_process_that_is_not_there_is_said_not_to_be(tmp_path: Path) -> None:
    """And on other systems, that it cannot be read."""
    with pytest.raises(LoadError, match="Linux"):
        ServerProcess(1, proc=tmp_path / "nothing")
    (tmp_path / "self").mkdir()
    with pytest.raises(LoadError, match="no process 99"):
        ServerProcess(99, proc=tmp_path)
