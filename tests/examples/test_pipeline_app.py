"""The example's REST calls and sockets: who may do what, and what they are told."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from pipeline.app import create_app
from pipeline.config import parse

pytestmark = pytest.mark.slow

WS = "ws://127.0.0.1:8000"
CONFIG = {
    "limits": {"concurrent_runs": 1, "queued_runs": 1, "kept_runs": 3},
    "pipelines": {
        "quick": {
            "title": "Quick",
            "steps": [{"name": "say", "command": [sys.executable, "-c", "print('a\\nb\\nc')"]}],
        },
        "slow": {
            "steps": [
                {"name": "wait", "command": [sys.executable, "-c", "import time; time.sleep(60)"]}
            ]
        },
    },
}


@pytest.fixture
def client() -> Iterator[TestClient]:
    """A client of a running application."""
    app = create_app(parse(CONFIG))
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        yield client


def start(client: TestClient, pipeline: str) -> str:
    """Start a run and return its id."""
    answer = client.post("/api/runs", json={"pipeline": pipeline})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/api/runs/{answer.json()['run']}"
    return str(answer.json()["run"])


def ended(client: TestClient, run: str) -> dict[str, Any]:
    """Wait until the run has ended; return its summary."""
    for _ in range(500):
        summary: dict[str, Any] = client.get(f"/api/runs/{run}").json()
        if summary["finished"] is not None:
            return summary
        time.sleep(0.02)
    raise AssertionError(f"{run} has not ended")


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
        "slow",
    ]
    run = start(client, "quick")
    summary = ended(client, run)

    assert summary["state"] == "passed"
    assert [each["run"] for each in client.get("/api/runs").json()["runs"]] == [run]
    page = client.get(f"/api/runs/{run}/lines", params={"after": 1, "limit": 2}).json()
    assert [(line["n"], line["text"]) for line in page["lines"]] == [(2, "a"), (3, "b")]
    assert (page["last"], page["omitted"]) == (4, 0)
    assert client.get(f"/api/runs/{run}/log.txt").text.endswith("\na\nb\nc\n")


@pytest.mark.parametrize(
    ("headers", "body", "status", "message"),
    [
        ({"Origin": "http://evil.example"}, '{"pipeline": "quick"}', 403, "own page"),
        ({"Origin": "null"}, '{"pipeline": "quick"}', 403, "own page"),
        ({"Content-Type": "text/plain"}, '{"pipeline": "quick"}', 415, "application/json"),
        ({"Host": "evil.example:8000"}, '{"pipeline": "quick"}', 421, "answers only as: 127.0.0.1"),
        ({}, '{"pipeline": "rm"}', 404, "there are: quick, slow"),
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


def test_socket_tells_what_there_is_then_what_happens(client: TestClient) -> None:
    """The first message of both sockets is the present state; a ping is answered with it."""
    with client.websocket_connect(f"{WS}/ws/runs") as listing:
        assert listing.receive_json()["runs"] == []
        run = start(client, "quick")
        assert listing.receive_json()["run"] == run
        ended(client, run)

        with client.websocket_connect(f"{WS}/ws/runs/{run}") as socket:
            first = socket.receive_json()
            assert (first["type"], first["state"], first["lines"]) == ("state", "passed", 4)
            socket.send_text("ping")
            assert socket.receive_json()["type"] == "state"
            socket.send_bytes(b"\xff")  # means nothing, does no harm
            socket.send_text("ping")
            assert socket.receive_json()["type"] == "state"


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
