"""The example's page in a real browser: whatever tabs do, each shows every line once, in order."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from pipeline.app import settings
from pipeline.config import Limits
from pipeline.journal import log_room
from supervisor import Supervisor
from tests.browser.chromium import Chromium, Tab, find, wait_for
from tests.browser.proxy import Proxy

pytestmark = [pytest.mark.browser, pytest.mark.timeout(150)]

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "docs" / "examples" / "pipeline" / "__main__.py"
PIPELINES = """
[pipelines.steady]
title = "Steady"
[[pipelines.steady.steps]]
name = "first"
command = ["{python}", "-c", '''
import sys, time
for number in range(300):
    print("line", number, file=sys.stderr if number % 10 == 9 else sys.stdout)
    time.sleep(0.03)
''']
[[pipelines.steady.steps]]
name = "second"
command = ["{python}", "-c", "for number in range(400): print('\\u001b[32mmore\\u001b[0m', number)"]

[pipelines.long]
[[pipelines.long.steps]]
name = "count"
command = ["{python}", "-c", "for number in range(400): print(number)"]

[pipelines.failing]
title = "Failing"
[[pipelines.failing.steps]]
name = "stumble"
command = ["{python}", "-c", "import sys; sys.exit('it broke')"]
[[pipelines.failing.steps]]
name = "never"
command = ["{python}", "-V"]
"""
WATCH = """
window.sockets = [];
window.received = 0;
window.WebSocket = class extends WebSocket {
  constructor(url) {
    super(url);
    window.sockets.push(url);
    this.addEventListener("message", ({ data }) => {
      const { room = "" } = JSON.parse(data);
      if (room.startsWith("log:")) window.received++;
    });
  }
};
"""
SHOWN = (
    "[...document.querySelectorAll('.line')].map((row) => [Number(row.dataset.n), row.textContent])"
)
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class Server:
    """The example as a subprocess on a free port, which stays the same when it is started again."""

    def __init__(self, folder: Path, limits: str) -> None:
        self._pipelines = folder / "pipelines.toml"
        self._pipelines.write_text(f"{limits}\n{PIPELINES}")
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.port = 0
        self.launch()

    def launch(self) -> None:
        """Start the process and wait until it says where it listens."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, PROGRAM),
                    *("--port", str(self.port)),
                    *("--config", self._pipelines),
                    *("--data", self.data),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )
        try:
            found = wait_for("the server's address", self._address)
        except BaseException:
            self.kill()
            raise
        self.port = int(found[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def _address(self) -> re.Match[str] | None:
        text = self.log.read_text()
        assert self.process.poll() is None, text
        return re.search(r"Open http://127\.0\.0\.1:(\d+)/", text)

    def call(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data, {"Content-Type": "application/json"})
        with urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def start(self, pipeline: str) -> str:
        return str(self.call("/api/runs", {"pipeline": pipeline})["run"])

    def ended(self, run: str) -> None:
        """Wait until the run has ended, and all of it is kept."""
        wait_for("the end of the run", lambda: self.call(f"/api/runs/{run}/lines")["ended"])

    def lines(self, run: str) -> list[tuple[int, str]]:
        """Return the run's lines as the server keeps them, without colours."""
        lines: list[tuple[int, str]] = []
        while True:
            after = lines[-1][0] if lines else 0
            page = self.call(f"/api/runs/{run}/lines?after={after}")
            lines += [(line["n"], ESCAPES.sub("", line["text"])) for line in page["lines"]]
            if not page["lines"] or lines[-1][0] == page["last"]:
                return lines

    def kill(self) -> None:
        """Let the process end as it would without power."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> str:
        """Stop the server as a service manager would; return what it logged."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=15)
        finally:
            self.kill()
        assert code in {0, -signal.SIGTERM}, self.log.read_text()
        return self.log.read_text()


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server whose log has no trouble in it at the end; its parameter is a table of limits."""
    server = Server(tmp_path, getattr(request, "param", ""))
    try:
        yield server
    finally:
        log = server.stop()
    for word in ("Traceback", "Error", "ERROR", "[error", "Exception", "Cannot call"):
        assert word not in log, log


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    """A browser; without one installed the test is skipped, or fails in continuous integration."""
    program = find()
    if program is None:
        reason = "no Chromium is installed (Debian: apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with Chromium(program, tmp_path / "profile") as browser:
        yield browser


def check_log(tab: Tab, server: Server, run: str) -> None:
    """The tab shows every line of the run exactly once, in order, with its text, and says that it is all."""
    lines = server.lines(run)
    tab.show()
    tab.wait(f"document.querySelectorAll('.line').length >= {len(lines)}")
    tab.wait("document.querySelector('#log-count').textContent.endsWith('complete')")
    shown = tab.evaluate(SHOWN)

    assert [number for number, _ in shown] == list(range(1, len(lines) + 1))
    for (number, text), (_, expected) in zip(shown, lines, strict=True):
        if not expected.startswith("$ "):  # a heading shows the step's name, too
            assert text == expected, f"line {number}"
    assert tab.evaluate("document.querySelectorAll('.gap').length") == 0
    assert tab.evaluate("document.querySelector('#log-note').textContent") == ""


def watch(browser: Chromium, url: str) -> Tab:
    """Open a tab that remembers every socket it opens, and how many lines came over all of them."""
    return browser.open(url, before=WATCH)


def test_ten_tabs_that_come_and_go(server: Server, browser: Chromium) -> None:
    """Tabs opened, reloaded and closed in the middle of a run do no harm to each other."""
    run = server.start("steady")
    address = f"{server.url}/#run={run}"

    tabs = [browser.open(address) for _ in range(10)]
    for tab in tabs:
        tab.wait("document.querySelector('#connection').dataset.state === 'live'")
    for round_ in range(3):
        for tab in tabs[round_::3]:
            tab.reload()
    for tab in tabs[7:]:
        tab.close()
    tabs = [*tabs[:7], browser.open(address), browser.open(address)]
    assert server.call(f"/api/runs/{run}")["state"] == "running", "the run was too short for this"
    for tab in tabs:
        tab.wait("document.title.startsWith('✓')")

    for tab in tabs:
        check_log(tab, server, run)
        assert tab.problems == []


def test_page_opened_in_the_middle_has_the_first_line(server: Server, browser: Chromium) -> None:
    """Whoever opens the page while a run goes on sees its log from line 1, and then what comes."""
    run = server.start("steady")
    wait_for("some lines", lambda: len(server.lines(run)) > 100)

    tab = browser.open(f"{server.url}/#run={run}")
    tab.wait("document.querySelector('.line[data-n=\"1\"]')")

    assert server.call(f"/api/runs/{run}")["state"] == "running", "the run was too short for this"
    tab.wait("document.title.startsWith('✓')")
    check_log(tab, server, run)
    assert tab.problems == []


def test_killed_server_costs_no_line(server: Server, browser: Chromium) -> None:
    """
    A page goes on after the server was killed under it and started again.

    It asks for what came after its last line, is sent nothing twice, and sees the run's end.
    """
    run = server.start("steady")
    tab = watch(browser, f"{server.url}/#run={run}")
    tab.wait("document.querySelectorAll('.line').length > 50")

    server.kill()
    tab.wait("document.querySelector('#connection').dataset.state === 'waiting'")
    server.launch()

    tab.wait("document.querySelector('#connection').dataset.state === 'live'")
    tab.wait("document.title.startsWith('✗')")
    check_log(tab, server, run)
    lines = server.lines(run)
    assert lines[-1][1] == "the server stopped"
    assert server.call(f"/api/runs/{run}")["detail"] == "the server stopped"
    sockets = tab.evaluate("window.sockets.filter((url) => url.includes('/ws/runs/'))")
    assert "since=" not in sockets[0]
    assert "since=" in sockets[-1]
    assert tab.evaluate("window.received") == len(lines)


def test_ended_run_can_be_read_after_a_restart(server: Server, browser: Chromium) -> None:
    """A new server lists the runs of the one before, and shows their logs and steps."""
    run = server.start("failing")
    server.ended(run)
    before = server.call(f"/api/runs/{run}")
    server.stop()
    server.launch()

    assert server.call(f"/api/runs/{run}") == before
    tab = browser.open(server.url)
    tab.wait(f"document.querySelector('a[href=\"#run={run}\"]')")
    tab.evaluate(f"document.querySelector('a[href=\"#run={run}\"]').click()")
    tab.wait("document.title.startsWith('✗')")
    check_log(tab, server, run)
    assert tab.evaluate("document.querySelector('#run-detail').textContent") == (
        "stumble: exit code 1"
    )
    assert tab.problems == []


def test_failed_run_is_acknowledged(server: Server, browser: Chromium) -> None:
    """A failed run stands on every page until somebody acknowledges it on one; then on none."""
    tabs = [browser.open(server.url), browser.open(server.url)]
    for tab in tabs:
        tab.wait("document.querySelector('#connection').dataset.state === 'live'")
    first = server.start("failing")
    for tab in tabs:
        tab.wait("document.querySelector('.alert a').textContent === 'Failing#1'")

    server.ended(first)
    tabs[0].evaluate("document.querySelector('.alert button').click()")
    for tab in tabs:
        tab.wait("document.querySelector('#alerts-box').hidden")
    second = server.start("failing")
    later = browser.open(server.url)
    for tab in (*tabs, later):
        tab.wait("document.querySelectorAll('.alert').length === 1")
        assert tab.evaluate("document.querySelector('.alert a').hash") == f"#run={second}"
        assert tab.problems == []


def test_another_log_is_shown_as_one(server: Server, browser: Chromium) -> None:
    """When the server has another log of the run than the page knew, that is said, and all of it shown."""
    run = server.start("failing")
    server.ended(run)
    tab = browser.open(f"{server.url}/#run={run}")
    check_log(tab, server, run)

    server.kill()
    asyncio.run(replace_log(server.data, run, ["one line", "another line"]))
    server.launch()

    tab.wait("document.querySelector('#log-note').textContent.includes('another log')")
    tab.wait("document.querySelectorAll('.line').length === 2")
    assert tab.evaluate(SHOWN) == [[1, "one line"], [2, "another line"]]


async def replace_log(data: Path, run: str, texts: list[str]) -> None:
    """Give the run another log, while no server uses the data."""
    supervisor = Supervisor(settings(Limits(), data))
    async with supervisor.lifespan(None):
        await supervisor.remove_history(log_room(run))
        for text in texts:
            line = {"step": "stumble", "stream": "stdout", "text": text, "time": 1.0}
            await supervisor.publish(log_room(run), line)
        await supervisor.end(log_room(run))


@pytest.mark.parametrize("server", ["[limits]\nkept_lines = 100"], indirect=True)
def test_lines_that_are_not_kept_are_named(server: Server, browser: Chromium) -> None:
    """Where the log does not begin with its first line, the page says which ones are missing."""
    run = server.start("long")
    server.ended(run)

    tab = browser.open(f"{server.url}/#run={run}")
    tab.wait("document.querySelector('#log-count').textContent.endsWith('complete')")
    tab.wait("document.querySelectorAll('.line').length === 100")

    gap = tab.evaluate("document.querySelector('#log').textContent")
    assert gap.startswith("Lines 1 to 301 are no longer kept.")
    count = tab.evaluate("document.querySelector('#log-count').textContent")
    assert count == "401 lines, 100 kept, complete"


def test_cut_connection_comes_back_and_misses_nothing(server: Server, browser: Chromium) -> None:
    """A tab whose network fails in the middle says so, reconnects, and has every line once."""
    run = server.start("steady")
    with Proxy(server.port) as proxy:
        tab = browser.open(f"http://127.0.0.1:{proxy.port}/#run={run}")
        tab.wait("document.querySelectorAll('.line').length > 20")

        proxy.cut()
        tab.wait("document.querySelector('#connection').dataset.state === 'waiting'")
        before = tab.evaluate("document.querySelectorAll('.line').length")
        wait_for("more lines", lambda: len(server.lines(run)) > before + 20)
        proxy.mend()

        tab.wait("document.querySelector('#connection').dataset.state === 'live'")
        tab.wait("document.title.startsWith('✓')")
        check_log(tab, server, run)


def test_run_is_started_and_explained(server: Server, browser: Chromium) -> None:
    """A button starts a run; the page shows its steps' states in words, and why it failed."""
    tab = browser.open(server.url)
    tab.wait("document.querySelector('[data-pipeline=failing]')")

    tab.evaluate("document.querySelector('[data-pipeline=failing]').click()")
    tab.wait("document.title.startsWith('✗')")
    tab.wait("location.hash.startsWith('#run=1-')")

    states = "[...document.querySelectorAll('.step-state')].map((each) => each.textContent)"
    tab.wait(f"{states}.length === 2 && {states}[1] === 'Skipped'")
    failed, _ = tab.evaluate(states)
    assert failed.startswith("Failed")
    tab.wait("document.querySelector('#run-detail').textContent === 'stumble: exit code 1'")
    tab.wait("document.querySelector('#log').textContent.includes('it broke')")
    assert tab.problems == []


def test_unknown_run_is_explained(server: Server, browser: Chromium) -> None:
    """A link to a run that is not kept says so, and the page does not try for ever."""
    tab = browser.open(f"{server.url}/#run=99-nobody")

    tab.wait("document.querySelector('#welcome-title').textContent.includes('not kept any more')")
    tab.wait("document.querySelector('#connection').dataset.state === 'live'")


def test_scrolling_up_stops_following(server: Server, browser: Chromium) -> None:
    """New lines do not move what a reader has scrolled to; one click goes back to the end."""
    run = server.start("steady")
    tab = browser.open(f"{server.url}/#run={run}")
    tab.show()
    tab.wait("document.querySelectorAll('.line').length > 80")

    tab.evaluate("document.querySelector('#log').scrollTop = 200")
    tab.wait("!document.querySelector('#follow').checked")
    tab.wait("document.title.startsWith('✓') && document.querySelectorAll('.line').length > 500")
    assert tab.evaluate("document.querySelector('#log').scrollTop") == 200

    tab.evaluate("document.querySelector('#jump').click()")
    tab.wait(
        "document.querySelector('#follow').checked && document.querySelector('#log').scrollTop > 5000"
    )
