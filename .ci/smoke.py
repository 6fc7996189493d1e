"""
Try an installed ``wsupervisor`` outside its checkout.

Without an extra: it imports, is typed, came from where packages are installed, and its command
says what it lacks. With ``[cli,uvicorn]``: a server serves both faces, and a client gets through
them what was published; the command serves, and measures what it serves.

usage: python -I .ci/smoke.py CHECKOUT [EXTRA]
"""

import asyncio
import contextlib
import importlib.metadata
import json
import socket
import subprocess
import sys
from pathlib import Path

DEADLINE = 20.0


def installed(checkout: Path) -> None:
    """Check what was installed, and from where it is imported."""
    import actors
    import supervisor

    version = importlib.metadata.version("wsupervisor")
    for package in (actors, supervisor):
        home = Path(package.__file__ or "").parent
        assert checkout not in home.parents, f"{package.__name__} comes from the checkout: {home}"
        assert (home / "py.typed").is_file(), f"{package.__name__} is not marked as typed"
    supervisor.ConnectionManager()
    supervisor.Supervisor()
    print(f"wsupervisor {version}: installed and imported outside the checkout")


async def served() -> None:
    """Serve both faces, and publish through each to a client of the other kind."""
    import uvicorn
    import websockets
    from fastapi import FastAPI, WebSocket, WebSocketDisconnect

    from supervisor import ConnectionManager, Supervisor

    modern = Supervisor()
    manager = ConnectionManager()
    app = FastAPI(lifespan=modern.lifespan)

    @app.websocket("/modern/{room}")
    async def modern_endpoint(websocket: WebSocket, room: str) -> None:
        async with modern.session(websocket, rooms=[room]) as session:
            async for message in session:
                await modern.publish(room, {"said": message})

    @app.websocket("/classic/{room}")
    async def classic_endpoint(websocket: WebSocket, room: str) -> None:
        await manager.connect(websocket, room)
        try:
            while True:
                await manager.send_to_room(await websocket.receive_text(), room)
        except WebSocketDisconnect:
            await manager.disconnect(websocket, room)

    listener = socket.create_server(("127.0.0.1", 0))
    address = f"ws://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(DEADLINE):
            while not server.started:
                await asyncio.sleep(0.01)
            for path, said, heard in (
                ("modern", "hello", '{"said":"hello"}'),
                ("classic", "hello", "hello"),
            ):
                url = f"{address}/{path}/smoke"
                async with websockets.connect(url) as one, websockets.connect(url) as two:
                    # The second is in the room once it has heard itself.
                    await two.send(said)
                    assert await two.recv() == heard
                    await one.send(said)
                    assert await two.recv() == heard
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(serving, DEADLINE)
    print("wsupervisor[uvicorn]: both faces deliver")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``wsupervisor`` as it was installed."""
    script = Path(sys.executable).with_name("wsupervisor")
    return subprocess.run(
        [script, *arguments], capture_output=True, text=True, timeout=2 * DEADLINE, check=False
    )


def command_without_its_extra() -> None:
    """Check that the command says what to install, and shows no traceback."""
    ended = command("--version")
    assert ended.returncode == 2, ended
    assert "pip install 'wsupervisor[cli,uvicorn]'" in ended.stderr, ended
    assert "Traceback" not in ended.stderr, ended
    print("wsupervisor: the command says what it needs")


def measured() -> None:
    """Have the command serve its own application on the fast path, and measure it."""
    version = importlib.metadata.version("wsupervisor")
    assert version in command("--version").stdout
    ended = command("bench", "--sockets", "20", "--duration", "1", "--json", "-")
    assert ended.returncode == 0, ended
    result = json.loads(ended.stdout)["result"]
    assert result["lost"] == 0, result
    assert result["delivered"] > 0, result
    print(f"wsupervisor[cli,uvicorn]: {result['delivered']} deliveries measured, none lost")


def main() -> None:
    """Run the checks that the installed extras allow."""
    checkout, *extras = sys.argv[1:]
    installed(Path(checkout).resolve())
    if extras:
        asyncio.run(served())
        measured()
    else:
        command_without_its_extra()


if __name__ == "__main__":
    main()
