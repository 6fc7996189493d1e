"""The example's REST calls and sockets: who may do what, and what they are told."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from pipeline.app import create_app
from pipeline.config import parse

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).parents[2] / "docs" / "examples" / "pipeline" / "__main__.py"
WS = "ws://127.0.0.1:8000"
CONFIG = {
    "limits": {"concurrent_runs": 1, "queued_runs": 1, "kept_runs": 3},
    "pipelines": {
        "quick": {
            "title": "Quick",
            "steps": [{"name": "say", "command": [sys.executable, "-c", "print('a\\nb\\nc')"]}],
        },
        "failing": {"steps": [{"name": "fail", "command": [sys.executable, "-c", "exit(3)"]}]},
        "slow": {
            "steps": [
                {"name": "wait", "command": [sys.executable, "-c", "import time; time.sleep(60)"]}
            ]
        },
    },
}


@contextmanager
def running(data: Path | None = None) -> Iterator[TestClient]:
    """Run the application; yield a client of it."""
    app = create_app(parse(CONFIG), data=data)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        yield client


@pytest.fixture
def client() -> Iterator[TestClient]:
    """A client of a running application that keeps nothing beyond itself."""
    with running() as client:
        yield client


def start(client: TestClient, pipeline: str) -> str:
    """Start a run and return its id."""
    answer = client.post("/api/runs", json={"pipeline": pipeline})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/api/runs/{answer.json()['run']}"
    return str(answer.json()["run"])


def ended(client: TestClient, run: str) -> dict[str, Any]:
    """Wait until the run has ended, and its log too; return what it came to."""
    for _ in range(500):
        if client.get(f"/api/runs/{run}/lines").json()["ended"]:
            found: dict[str, Any] = client.get(f"/api/runs/{run}").json()
            return found
        time.sleep(0.02)
    raise AssertionError(f"{run} has not ended")


def received(socket: WebSocketTestSession, until: str) -> list[dict[str, Any]]:
    """Return the messages up to the first one that has the given word."""
    messages: list[dict[str, Any]] = []
    while not messages or until not in messages[-1]:
        messages.append(socket.receive_json())
    return messages


def test_page_is_served_with_a_policy(client: TestClient) -> None:
    """The page and its files come with headers that allow nothing inline and nothing foreign."""
    page = client.get("/")
    script = client.get("/page/app.js")

    assert page.headers["content-type"].startswith("text/html")
    assert "javascript" in script.headers["content-type"]
    for answer in (page, script):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    assert "<style" not in page.text
    assert " style=" not in page.text
    assert page.text.count("<script") == 1
    assert client.get("/page/..%2Fapp.py").status_code == 404


def test_run_is_started_and_read(client: TestClient) -> None:
    """A declared pipeline runs; its lines come in pages, and as text."""
    assert [each["name"] for each in client.get("/api/pipelines").json()["pipelines"]] == [
        "quick",
        "failing",
        "slow",
    ]
    run = start(client, "quick")
    summary = ended(client, run)

    assert summary["state"] == "passed"
    assert [each["run"] for each in client.get("/api/runs").json()["runs"]] == [run]
    page = client.get(f"/api/runs/{run}/lines", params={"after": 1, "limit": 2}).json()
    assert [(line["n"], line["text"]) for line in page["lines"]] == [(2, "a"), (3, "b")]
    assert (page["last"], page["lost"], page["ended"]) == (4, 0, True)
    assert client.get(f"/api/runs/{run}/log.txt").text.endswith("\na\nb\nc\n")


@pytest.mark.parametrize(
    ("headers", "body", "status", "message"),
    [
        ({"Origin": "http://evil.example"}, '{"pipeline": "quick"}', 403, "own page"),
        ({"Origin": "null"}, '{"pipeline": "quick"}', 403, "own page"),
        ({"Content-Type": "text/plain"}, '{"pipeline": "quick"}', 415, "application/json"),
        ({"Host": "evil.example:8000"}, '{"pipeline": "quick"}', 421, "answers only as: 127.0.0.1"),
        ({}, '{"pipeline": "rm"}', 404, "there are: quick, failing, slow"),
        ({}, '{"pipeline": "quick", "command": ["rm"]}', 422, "command"),
        ({}, '{"pipeline": ["quick"]}', 422, "pipeline"),
        ({}, "not JSON", 422, "JSON"),
    ],
)
def test_others_start_nothing(
    client: TestClient, headers: dict[str, str], body: str, status: int, message: str
) -> None:
    """Foreign pages, forms, other host names, undeclared pipelines and commands are refused."""
    sent = {"Content-Type": "application/json", **headers}

    answer = client.post("/api/runs", content=body, headers=sent)

    assert answer.status_code == status
    assert message in answer.text
    assert client.get("/api/runs").json() == {"runs": []}


def test_cancel_and_limits(client: TestClient) -> None:
    """One run too many is refused with the limit; a cancelled one makes room."""
    first, second = start(client, "slow"), start(client, "slow")

    refused = client.post("/api/runs", json={"pipeline": "slow"})
    assert refused.status_code == 409
    assert "the limit is 1 running and 1 waiting" in refused.json()["detail"]

    for run in (first, second):
        foreign = client.post(f"/api/runs/{run}/cancel", json={}, headers={"Origin": "http://e"})
        assert foreign.status_code == 403
        assert client.post(f"/api/runs/{run}/cancel", json={}).status_code == 202
        assert ended(client, run)["state"] == "cancelled"
    again = client.post(f"/api/runs/{first}/cancel", json={})
    assert (again.status_code, again.json()["detail"]) == (409, "This run has ended already.")


@pytest.mark.parametrize("path", ["", "/lines", "/log.txt"])
def test_unknown_run_is_explained(client: TestClient, path: str) -> None:
    """Whoever asks for a run that is not kept learns how long runs are kept."""
    answer = client.get(f"/api/runs/nobody{path}")

    assert answer.status_code == 404
    assert "until 3 newer ones" in answer.json()["detail"]


def test_socket_begins_with_the_first_line_and_says_the_end(client: TestClient) -> None:
    """Whoever comes late gets the states, every line with its place, and that no more will come."""
    run = start(client, "quick")
    ended(client, run)

    with client.websocket_connect(f"{WS}/ws/runs/{run}") as socket:
        messages = received(socket, "end")

    lines = [message for message in messages if message.get("room") == f"log:{run}"]
    states = {m["key"]: m["data"]["state"] for m in messages if "key" in m}
    assert [(line["offset"], line["data"]["text"]) for line in lines[1:]] == [
        (2, "a"),
        (3, "b"),
        (4, "c"),
    ]
    assert states == {"step:0": "passed", "run": "passed"}
    assert messages[-1] == {"end": {"room": f"log:{run}", "offset": 4}}


def test_socket_goes_on_where_it_stopped(client: TestClient) -> None:
    """With since= only later lines come; an unknown place is said to be one, and all lines come."""
    run = start(client, "quick")
    ended(client, run)
    with client.websocket_connect(f"{WS}/ws/runs/{run}") as socket:
        epoch = next(m for m in received(socket, "end") if m.get("room") == f"log:{run}")["epoch"]

    for since, recovered, offsets in ((f"{epoch}:2", True, [3, 4]), ("x:2", False, [1, 2, 3, 4])):
        with client.websocket_connect(f"{WS}/ws/runs/{run}?since={since}") as socket:
            messages = received(socket, "end")
        joined = {m["joined"]["room"]: m["joined"] for m in messages if "joined" in m}
        assert joined[f"log:{run}"]["recovered"] is recovered
        assert [m["offset"] for m in messages if m.get("room") == f"log:{run}"] == offsets


def test_list_tells_of_new_runs_and_forgotten_ones(client: TestClient) -> None:
    """The list's socket has each run under its id, and says when one is not kept any more."""
    with client.websocket_connect(f"{WS}/ws/runs") as listing:
        first = start(client, "quick")
        messages = received(listing, "key")
        assert (messages[-1]["key"], messages[-1]["data"]["pipeline"]) == (first, "quick")
        ended(client, first)
        for _ in range(3):
            ended(client, start(client, "quick"))

        assert received(listing, "removed")[-1]["key"] == first


def test_data_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    """The program ends with one line when another server has the data, or there can be none."""
    (tmp_path / "file").touch()

    def refusal(data: Path) -> str:
        command = [sys.executable, str(PROGRAM), "--port", "0", "--data", str(data)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
        return ended.stderr

    with running(tmp_path):
        assert "is used by another process" in refusal(tmp_path)
    assert "cannot keep anything in --data" in refusal(tmp_path / "file" / "data")


def test_failed_run_is_told_until_it_is_acknowledged(tmp_path: Path) -> None:
    """A failure waits for viewers, through a restart too, and goes when one of them acknowledges."""
    with running(tmp_path) as client:
        with client.websocket_connect(f"{WS}/ws/runs") as socket:
            received(
                socket, "data"
            )  # somebody has looked on: from now on failures are for all viewers
        first = start(client, "failing")
        ended(client, first)

    with running(tmp_path) as client:
        with client.websocket_connect(f"{WS}/ws/runs") as socket:
            alert = received(socket, "id")[-1]
            assert (alert["room"], alert["data"]["run"]) == ("alert:runs", first)
            assert alert["data"]["detail"] == "fail: exit code 3"
            socket.send_json({"ack": alert["id"]})

        second = start(client, "failing")
        with client.websocket_connect(f"{WS}/ws/runs") as socket:
            assert received(socket, "id")[-1]["data"]["run"] == second


def test_ping_is_answered(client: TestClient) -> None:
    """A client that asks is told the time; what means nothing does no harm."""
    with client.websocket_connect(f"{WS}/ws/runs") as socket:
        received(socket, "data")
        socket.send_bytes(b"\xff")
        socket.send_text("ping")

        assert socket.receive_json()["data"]["time"] == pytest.approx(time.time(), abs=60)


def test_runs_outlive_the_server(tmp_path: Path) -> None:
    """A run can be listed, read and followed after a restart, and new ones have other numbers."""
    with running(tmp_path / "made") as client:
        run = start(client, "quick")
        before = ended(client, run)
        text = client.get(f"/api/runs/{run}/log.txt").text

    with running(tmp_path / "made") as client:
        assert client.get(f"/api/runs/{run}").json() == before
        assert [each["run"] for each in client.get("/api/runs").json()["runs"]] == [run]
        assert client.get(f"/api/runs/{run}/log.txt").text == text
        with client.websocket_connect(f"{WS}/ws/runs/{run}") as socket:
            assert received(socket, "end")[-1]["end"]["offset"] == 4
        assert start(client, "quick").startswith("2-")


def test_socket_of_unknown_run_is_closed_for_good(client: TestClient) -> None:
    """The close code tells a client that coming back is of no use."""
    with (
        client.websocket_connect(f"{WS}/ws/runs/nobody") as socket,
        pytest.raises(WebSocketDisconnect) as closed,
    ):
        socket.receive_json()

    assert (closed.value.code, closed.value.reason) == (4504, "no such run")


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}])
def test_socket_of_a_foreign_page_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    """Pages of other sites cannot read logs either."""
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(f"{WS}/ws/runs", headers=headers) as socket,
    ):
        socket.receive_json()
