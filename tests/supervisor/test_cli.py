"""The command line, without a server: what it offers, what it refuses, and in which words."""

from __future__ import annotations

import asyncio
import builtins
import dataclasses
import importlib
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata, util
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("rich")

import click
from click.testing import CliRunner, Result
from uvicorn.main import main as uvicorn_main

from supervisor import environment
from supervisor.cli import entry
from supervisor.cli import serve as serving
from supervisor.cli.bench.chart import as_html, line_chart
from supervisor.cli.bench.plan import Mode, Plan
from supervisor.cli.bench.report import as_json, lines, title
from supervisor.cli.bench.run import Report, connection_kib, until_all_arrived
from supervisor.cli.commands import wsupervisor
from supervisor.cli.load import LastReceiver, Latency, LoadResult


def call(*arguments: str) -> Result:
    """Run the command line as if typed."""
    return CliRunner().invoke(wsupervisor, list(arguments), prog_name="wsupervisor")


def test_it_says_its_version() -> None:
    """That of the distribution."""
    result = call("--version")

    assert result.output == f"wsupervisor {metadata.version('wsupervisor')}\n"


def test_it_lists_its_commands() -> None:
    """Without importing them."""
    result = call("--help")

    assert result.exit_code == 0
    assert "serve" in result.output
    assert "bench" in result.output


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_extra_is_named(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2 and what to install; no traceback."""
    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == missing else find(name))

    status = entry.main()

    assert status == 2
    said = capsys.readouterr().err
    assert said.startswith(f"wsupervisor: the command line needs {missing}: ")
    assert "pip install 'wsupervisor[cli,uvicorn]'" in said


# serve


class Served:
    """What uvicorn was told to do."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}

    def __call__(self, **options: Any) -> None:
        self.options = options


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """Let uvicorn do nothing but remember."""
    found = Served()
    monkeypatch.setattr(uvicorn_main, "callback", found)
    return found


@pytest.mark.newest
def test_serve_has_our_defaults(served: Served) -> None:
    """The class of the fast path, no compression, and an end to waiting; the rest is uvicorn's."""
    result = call("serve", "main:app")

    assert result.exit_code == 0, result.output
    assert served.options["app"] == "main:app"
    assert served.options["ws"] == "supervisor.integrations.uvicorn:SupervisedProtocol"
    assert served.options["ws_per_message_deflate"] is False
    assert served.options["timeout_graceful_shutdown"] == 10
    assert served.options["port"] == 8000
    assert served.options["loop"] == "auto"


def test_serve_takes_uvicorns_options(served: Served) -> None:
    """All of them, also in place of our defaults."""
    result = call(
        *("serve", "main:app", "--port", "9000", "--ws", "auto", "--workers", "2"),
        *("--ws-per-message-deflate", "true", "--timeout-graceful-shutdown", "3"),
    )

    assert result.exit_code == 0, result.output
    assert served.options["port"] == 9000
    assert served.options["ws"] == "auto"
    assert served.options["workers"] == 2
    assert served.options["ws_per_message_deflate"] is True
    assert served.options["timeout_graceful_shutdown"] == 3


def test_serve_takes_uvicorns_environment(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever moves from uvicorn keeps it."""
    monkeypatch.setenv("UVICORN_PORT", "9001")

    call("serve", "main:app", "--ws", "auto")

    assert served.options["port"] == 9001


def test_uvicorns_own_command_keeps_its_defaults() -> None:
    """Ours are those of copies."""
    serving.command()

    defaults = {param.name: param.default for param in uvicorn_main.params}
    assert defaults["ws"] == "auto"
    assert defaults["ws_per_message_deflate"] is True


def test_serve_lists_all_options() -> None:
    """Each of uvicorn's but its version."""
    ours = {param.name for param in serving.command().params}

    assert ours == {param.name for param in uvicorn_main.params} - {"version"}


def test_serve_without_an_application_says_what_is_needed(served: Served) -> None:
    """With an example."""
    result = call("serve")

    assert result.exit_code == 2
    assert "an application is needed: wsupervisor serve MODULE:APP" in result.output
    assert served.options == {}


def test_a_uvicorn_that_is_too_old_is_an_error_that_helps(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the protocol class says, and how to do without it; no traceback."""
    name = "supervisor.integrations.uvicorn"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(metadata, "version", lambda of: "0.51.0")

    result = call("serve", "main:app")

    assert result.exit_code == 2
    assert "needs uvicorn 0.52.1 or newer, and this is 0.51.0" in result.output
    assert "--ws auto" in result.output
    assert served.options == {}
    assert call("serve", "main:app", "--ws", "auto").exit_code == 0


def test_serve_without_uvicorn_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    usual = builtins.__import__

    def refuse(name: str, *more: Any) -> Any:
        if name.startswith("uvicorn"):
            raise ModuleNotFoundError(name)
        return usual(name, *more)

    monkeypatch.setitem(sys.modules, "uvicorn.main", None)
    monkeypatch.setattr(builtins, "__import__", refuse)

    result = call("serve", "main:app")

    assert result.exit_code == 2
    assert "pip install 'wsupervisor[uvicorn]'" in result.output


def test_an_older_uvicorns_classes_are_named(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it takes no class of others, an unknown one is no traceback."""
    for param in uvicorn_main.params:
        if param.name == "ws":
            monkeypatch.setattr(param, "type", click.Choice(["auto", "none"]))

    result = call("serve", "main:app", "--ws", "mine:Protocol")

    assert result.exit_code == 2
    assert "this uvicorn knows auto, none" in result.output


@pytest.fixture
def no_module(monkeypatch: pytest.MonkeyPatch) -> Callable[[ImportError, str], None]:
    """Return what lets the import of a module fail with an error."""
    usual = importlib.import_module

    def refuse(error: ImportError, module: str) -> None:
        def import_module(name: str) -> ModuleType:
            if name == module:
                raise error
            return usual(name)

        monkeypatch.setattr(importlib, "import_module", import_module)

    return refuse


NO_WEBSOCKETS = ModuleNotFoundError("No module named 'websockets'", name="websockets")


def test_serve_without_websockets_says_what_to_install(
    served: Served, no_module: Callable[[ImportError, str], None]
) -> None:
    """Not to do without: uvicorn would answer every WebSocket with 404."""
    no_module(NO_WEBSOCKETS, "supervisor.integrations.uvicorn")

    result = call("serve", "main:app")

    assert result.exit_code == 2
    assert "wsupervisor serve needs websockets: pip install 'wsupervisor[uvicorn]'" in result.output
    assert "--ws auto" not in result.output
    assert served.options == {}


@pytest.mark.parametrize("file", ["actors/__init__.py", "actors.py"])
@pytest.mark.parametrize("options", [(), ("--app-dir", "apps")])
def test_serve_refuses_an_application_with_actors_of_its_own(
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    options: tuple[str, ...],
) -> None:
    """It would get ours in their place; the words are those of the import."""
    folder = tmp_path / "apps" if options else tmp_path
    theirs = folder / file
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.touch()
    monkeypatch.chdir(tmp_path)

    result = call("serve", "main:app", "--ws", "auto", *options)

    assert result.exit_code == 2
    assert served.options == {}
    place = theirs.parent if theirs.name == "__init__.py" else theirs
    found = spec_from_file_location("actors", theirs)
    monkeypatch.setattr(util, "find_spec", lambda name: found)
    with pytest.raises(ImportError) as told:
        environment.refuse_other_actors()
    first, _, rest = str(told.value).partition(str(place))
    assert result.output == f"Error: {first}{place}{rest}\n"


def test_serve_takes_an_application_next_to_our_actors(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a checkout, and in a folder without any."""
    monkeypatch.chdir(Path(environment.__file__).parent.parent)
    assert call("serve", "main:app", "--ws", "auto").exit_code == 0

    monkeypatch.chdir(tmp_path)
    assert call("serve", "main:app", "--ws", "auto").exit_code == 0


@pytest.mark.parametrize(
    ("options", "concurrency", "workers"),
    [(("--workers", "2"), None, 2), ((), "3", 3), ((), "1", 1), (("--workers", "1"), "3", 1)],
)
def test_serve_says_that_workers_know_nothing_of_each_other(
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    concurrency: str | None,
    workers: int,
) -> None:
    """In a line, where there are several, by option or by uvicorn's environment variable."""
    if concurrency is not None:
        monkeypatch.setenv("WEB_CONCURRENCY", concurrency)

    result = call("serve", "main:app", "--ws", "auto", *options)

    assert result.exit_code == 0
    if workers > 1:
        assert result.output.startswith(f"Warning: {workers} workers: rooms and users are per proc")
        assert result.output.count("\n") == 1
    else:
        assert result.output == ""


# bench


OLD = "SupervisedProtocol needs uvicorn 0.52.1 or newer, and this is 0.34.3: install it"


@pytest.mark.parametrize(
    ("module", "error", "words"),
    [
        ("supervisor.integrations.uvicorn", NO_WEBSOCKETS, "pip install 'wsupervisor[uvicorn]'"),
        ("uvicorn.main", ModuleNotFoundError("uvicorn"), "pip install 'wsupervisor[uvicorn]'"),
        ("supervisor.integrations.uvicorn", ImportError(OLD), "'wsupervisor bench --asgi'"),
    ],
)
def test_bench_says_what_its_own_server_needs(
    no_module: Callable[[ImportError, str], None], module: str, error: ImportError, words: str
) -> None:
    """Before it starts it, in the terms of this command."""
    no_module(error, module)

    result = call("bench")

    assert result.exit_code == 2
    assert words in result.output
    assert "serve" not in result.output.replace("server", "")
    assert "--ws" not in result.output


def test_bench_without_a_websocket_library_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the fast path, too: there would be nothing but 404."""
    monkeypatch.setattr(util, "find_spec", lambda name: None)

    result = call("bench", "--asgi")

    assert result.exit_code == 2
    assert "needs websockets: pip install 'wsupervisor[uvicorn]'" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "10"], "at least 34 bytes"),
        (["--size", "99999999"], "at most 16,777,216 bytes"),
        (["--sockets", "0"], "1<=x<=28000"),
        (["--sockets", "99999"], "1<=x<=28000"),
        (["--rate", "-1"], "x>=0|0<=x"),
        (["--duration", "0"], "0<x"),
        (["--hello", "hi"], "--hello is for another server"),
        (["--publish", "ws://127.0.0.1/"], "--publish is for another server"),
        (["--header", "A:b"], "--header is for another server"),
        (["ws://127.0.0.1:1/", "--asgi"], "used without URL"),
        (["ws://127.0.0.1:1/", "--header", "nonsense"], "is not NAME:VALUE"),
    ],
)
def test_bench_says_what_cannot_be(arguments: list[str], words: str) -> None:
    """Before it starts anything."""
    result = call("bench", *arguments)

    assert result.exit_code == 2
    text = " ".join(result.output.split())
    assert any(word in text for word in words.split("|")), text


def test_bench_says_that_a_url_is_none() -> None:
    """With one that could be."""
    result = call("bench", "127.0.0.1:8000")

    assert result.exit_code == 1
    assert "write it like ws://127.0.0.1:8000/path" in result.output


def test_messages_are_shared_out() -> None:
    """Over all publishers, and all of them."""
    plan = Plan(url="", publish_url="", publishers=3, messages=11)

    assert [plan.share(index) for index in range(3)] == [4, 4, 3]


@pytest.mark.parametrize(("size", "window"), [(128, 256), (16384, 16), (1 << 20, 4)])
def test_fewer_large_messages_are_on_their_way(size: int, window: int) -> None:
    """No receiver should have more waiting than its mailbox holds."""
    assert Plan(url="", publish_url="", size=size).in_flight == window


def made(**values: Any) -> Report:
    """Return a report, good but for ``values``."""
    result = LoadResult(
        sockets=200, delivered=2000, expected=2000, lost=0, surplus=0, other=0,
        per_socket=(10,) * 200, closed=0, close_codes={}, seconds=2.0, first_published=1,
        last_received=2, gaps=0, repeats=0, latency=Latency(2000, 0.001, 0.002, 0.003, 1.5),
        last_receiver=LastReceiver(10, 0.002, 0.003, 0.004), client_busy=0.1, client_lag=0.001,
    )  # fmt: skip
    usual = Report(
        plan=Plan(url="ws://h/<feed>", publish_url="ws://h/", sockets=200, rate=5.0,
                  headers=(("Cookie", "secret"),)),
        result=result, published=10, publishing_seconds=2.0, came_back=0, cpu_seconds=0.02,
        connection_kib=25.0, timeline=[(0.0, 0.002), (1.0, 0.003)],
        pace=[(0.1, 900.0), (0.2, 1100.0)], problem=None, interrupted=False,
        still_arriving=False, server_known=True, date=datetime(2026, 11, 22, 12, 30, tzinfo=UTC),
    )  # fmt: skip
    return dataclasses.replace(usual, **values)


def test_a_report_has_what_matters() -> None:
    """In the units in which people speak of it."""
    found = {name: value for name, value, _ in lines(made())}

    assert found == {
        "deliveries": "1,000 /s",
        "publications": "5.0 /s",
        "lost": "0",
        "publish to receive, p50": "1.00 ms",
        "publish to receive, p99": "2.00 ms",
        "publish to receive, p99.9": "3.00 ms",
        "last receiver, median": "2.00 ms",
        "server CPU per delivery": "10.00 µs",
        "server memory per connection": "25.0 KiB",
        "client's own core": "10% busy",
    }
    assert made().warnings() == []


def test_what_was_not_measured_is_said_not_to_be() -> None:
    """And no number stands in for it."""
    plan = Plan(url="ws://h/", publish_url="ws://h/", rate=0)
    result = dataclasses.replace(made().result, latency=None, last_receiver=None)
    report = made(
        plan=plan, result=result, cpu_seconds=None, connection_kib=None, server_known=False
    )

    found = {name: value for name, value, _ in lines(report)}

    for name in ("publish to receive", "server CPU per delivery", "server memory per connection"):
        assert found[name] == "not measured"


def test_a_run_with_losses_is_marked() -> None:
    """Where nobody overlooks it; so is one that was interrupted."""
    result = dataclasses.replace(made().result, lost=3)

    assert title(made()) == "200 sockets at ws://h/<feed>"
    assert title(made(result=result)).endswith(" (with losses)")
    assert title(made(result=result, interrupted=True)).endswith(" (interrupted, with losses)")


@pytest.mark.parametrize("mode", [None, *Mode])
def test_a_report_says_how_our_own_server_served(mode: Mode | None) -> None:
    """Of the default run and of --asgi, and with which versions; of others it knows nothing."""
    report = made(plan=dataclasses.replace(made().plan, mode=mode))

    data, page = json.loads(as_json(report)), as_html(report)

    suffix = {
        None: "",
        "fast-path": ", on the fast path",
        "asgi": ", without the fast path (--asgi)",
    }
    assert title(report) == f"200 sockets at ws://h/<feed>{suffix[mode]}"
    assert data["mode"] == mode
    assert data["date"] == "2026-11-22T12:30:00+00:00"
    assert "2026-11-22 12:30 UTC" in page
    if mode is None:
        assert "uvicorn" not in data
        assert "uvicorn" not in page
    else:
        assert data["uvicorn"] == metadata.version("uvicorn")
        assert "uvloop" in data
        assert f"uvicorn {metadata.version('uvicorn')}" in page


def test_a_server_that_has_gone_is_a_failure() -> None:
    """However little was lost until then; title, note and status show it."""
    result = dataclasses.replace(made().result, closed=200, close_codes={1006: 200})
    killed = made(result=result, problem="the connection ended (1006)", cpu_seconds=None)

    found = {name: (value, note) for name, value, note in lines(killed)}

    assert killed.failed
    assert title(killed).endswith(" (publishing ended early, connections ended)")
    assert found["lost"] == ("0", "of 2,000; 200 connections ended")
    assert found["server CPU per delivery"] == ("not measured", "the server's process has ended")
    assert "Publishing ended early: the connection ended (1006)." in killed.warnings()


def test_a_few_connections_that_end_are_a_finding_and_no_failure() -> None:
    """A server may drop clients that are slow."""
    result = dataclasses.replace(made().result, closed=3, close_codes={3002: 3})

    assert not made(result=result).failed
    assert title(made(result=result)).endswith(" (connections ended)")


def test_a_run_that_nobody_received_anything_of_says_what_may_be_wrong() -> None:
    """The server's process is known; there is nothing to divide its time by."""
    result = dataclasses.replace(
        made().result, delivered=0, lost=2000, seconds=0.0, latency=None, last_receiver=None
    )
    report = made(result=result)

    found = {name: note for name, _, note in lines(report)}

    assert report.failed
    assert found["server CPU per delivery"] == "nothing delivered"
    assert report.warnings()[-1] == (
        "No socket received anything: does this endpoint send to all what it gets? See --publish."
    )
    other = made(result=dataclasses.replace(result, other=7))
    assert other.warnings()[-1].startswith("7 messages came without a payload")


def test_what_had_not_arrived_is_not_lost() -> None:
    """Where messages still came when the time for it was over."""
    result = dataclasses.replace(made().result, lost=500, delivered=1500)
    report = made(result=result, still_arriving=True)

    found = {name: (value, note) for name, value, note in lines(report)}

    assert "lost" not in found
    assert found["not arrived"] == ("500", "of 2,000, when we stopped waiting")
    assert title(report).endswith(" (not all arrived in time)")
    assert "lost" not in " ".join(report.warnings())
    assert "They still arrived then; --wait is 60 seconds." in report.warnings()
    assert any("did not keep up with the rate" in warning for warning in report.warnings())
    assert json.loads(as_json(report))["still_arriving"] is True


@pytest.mark.parametrize(("client", "who"), [(0.1, "The server did"), (0.9, "The server, or this")])
def test_a_server_that_does_not_keep_up_is_said_not_to(client: float, who: str) -> None:
    """Its latencies are those of a queue; a client that is as busy may be the reason."""
    result = dataclasses.replace(made().result, seconds=9.5, client_busy=client)

    warning = made(result=result).warnings()[-1]

    assert warning.startswith(who)
    assert "the last message arrived 7.5 s after publishing had ended" in warning
    assert warning.endswith("The latencies are those of a queue.")


def test_memory_that_hardly_grew_is_not_measured() -> None:
    """A server that had clients before uses what they left."""
    found = {name: (value, note) for name, value, note in lines(made(connection_kib=None))}

    value, note = found["server memory per connection"]
    assert value == "not measured"
    assert "left from clients before" in note
    assert connection_kib(199, 100) is None
    assert connection_kib(200, 100) == 2.0
    assert connection_kib(9999, 99) is None


class Arrivals:
    """Receivers who get one message whenever somebody waits, until there are no more."""

    def __init__(self, arriving: int, missing: int) -> None:
        self.delivered = 0
        self.missing = missing
        self._arriving = arriving

    async def done(self, timeout: float) -> bool:
        """Let time pass."""
        await asyncio.sleep(timeout)
        if self._arriving:
            self._arriving -= 1
            self.delivered += 1
            self.missing -= 1
        return not self.missing


@pytest.mark.parametrize(
    ("arriving", "missing", "still", "seconds"),
    [
        (120, 120, False, 30.0),  # slow, but all of it
        (1000, 1000, True, 60.0),
        (40, 41, False, 12.0),  # the last one is lost
        (0, 1, False, 2.0),
    ],
)
async def test_what_still_arrives_is_waited_for(
    arriving: int, missing: int, still: bool, seconds: float
) -> None:
    """Until all is there, nothing comes any more, or the time for it is over."""
    loop = asyncio.get_running_loop()
    started = loop.time()

    found = await until_all_arrived(Arrivals(arriving, missing), 60.0, asyncio.Event())

    assert found is still
    assert loop.time() - started == pytest.approx(seconds, abs=0.3)


async def test_waiting_ends_when_it_is_told_to() -> None:
    """What was on its way then is not lost."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.call_later(3.1, stop.set)
    started = loop.time()

    assert await until_all_arrived(Arrivals(1000, 1000), 60.0, stop)
    assert loop.time() - started == pytest.approx(3.25, abs=0.2)


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_a_file_that_cannot_be_written_is_said_to_be_none_before(
    tmp_path: Path, option: str
) -> None:
    """Not after minutes of measuring."""
    missing = tmp_path / "nothing" / "report"

    result = call("bench", "ws://127.0.0.1:1/", option, str(missing))

    assert result.exit_code == 2
    assert option in result.output
    assert "there is no folder" in result.output


def test_json_has_no_times_of_a_clock_that_nobody_knows() -> None:
    """Times are seconds, from the first publication."""
    data = json.loads(as_json(made()))

    assert "first_published" not in data["result"]
    assert "last_received" not in data["result"]
    assert data["result"]["seconds"] == 2.0


def test_deliveries_to_publishers_cost_the_server_too() -> None:
    """In a chat they get what they send."""
    assert made(came_back=2000).cpu_per_delivery == pytest.approx(0.02 / 4000)


def test_publishers_that_were_too_slow_are_named() -> None:
    """A rate that was not reached is not the one that was measured."""
    (warning,) = made(published=8, publishing_seconds=2.0).warnings()

    assert warning == "4 publications a second were reached, not 5."


@pytest.mark.parametrize(
    ("cpu", "client", "warns"), [(0.8, 0.3, True), (1.9, 0.3, False), (0.8, 0.8, False)]
)
def test_a_run_that_nobody_was_busy_with_is_doubtful(
    cpu: float, client: float, warns: bool
) -> None:
    """As fast as possible is as fast as the server or the client can."""
    plan = Plan(url="ws://h/", publish_url="ws://h/", rate=0)
    result = dataclasses.replace(made().result, client_busy=client)

    found = made(plan=plan, result=result, cpu_seconds=cpu).warnings()

    assert any("was busy" in warning for warning in found) is warns


def test_json_keeps_secrets() -> None:
    """It has the numbers, and of headers the names alone."""
    data = json.loads(as_json(made()))

    assert data["deliveries_per_second"] == 1000
    assert data["result"]["latency"]["p99"] == 0.002
    assert data["plan"]["headers"] == ["Cookie"]
    assert "secret" not in json.dumps(data)


def test_the_page_has_charts_and_loads_nothing() -> None:
    """Text is text, whatever a URL contains."""
    page = as_html(made())

    assert page.count("<svg") == 2
    assert "ws://h/&lt;feed&gt;" in page
    assert "<feed>" not in page
    assert "src=" not in page
    assert "href=" not in page


@pytest.mark.parametrize("largest", [0.0, 0.0031, 1.0, 7.0, 99.9, 1_234_567.0])
def test_a_chart_holds_all_points(largest: float) -> None:
    """Whatever their size: none is outside, and the axes begin at 0."""
    svg = line_chart([(0.0, 0.0), (largest, largest), (largest * 2, largest / 2)], "x", "y")

    points = svg.split('points="')[1].split('"')[0].split()
    for point in points:
        x, y = map(float, point.split(","))
        assert 84 <= x <= 708
        assert 12 <= y <= 186
