"""
The web application: pages, REST calls and sockets around a runner and a supervisor.

``app`` serves the shipped ``pipelines.toml``: ``uvicorn --app-dir docs/examples pipeline.app:app``,
and keeps runs in the directory that ``DATA`` names, or in ``.pipeline-data`` of the checkout.
:func:`create_app` makes others. A client names a declared pipeline; it never sends a command.

What is kept is said in two places: :func:`settings` declares what the rooms promise, and
:mod:`pipeline.journal` publishes into them. A viewer that comes late, or comes back with ``since=``,
is brought up to date by the supervisor; the REST calls read the same rooms.
"""

# No `from __future__ import annotations`: FastAPI reads the annotations of local functions.

import asyncio
import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response, WebSocket
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict

from pipeline.config import Config, Limits, load
from pipeline.guard import LOOPBACK, Guard, is_json, same_origin
from pipeline.journal import ALERTS, RUNS, log_room, messages, status_room, values
from pipeline.runner import Runner, TooManyRuns, UnknownPipeline, UnknownRun
from supervisor import RoomPolicy, Session, Settings, Supervisor

__all__ = ["app", "create_app", "settings"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
VIEWERS = "viewers"  # there is no log-in: they are one user, and one of them acknowledges for all
NO_SUCH_RUN = 4504  # close code; 4500-4999 tell a client not to come back

_YEARS = 10 * 365 * 86_400.0  # runs are forgotten when there are too many of them, not by their age


class StartRun(BaseModel):
    """The body of ``POST /api/runs``; anything besides the name is refused."""

    model_config = ConfigDict(extra="forbid")

    pipeline: str


def settings(limits: Limits, data: Path | None) -> Settings:
    """Return what the rooms promise, and where they are kept: a file in ``data``, or memory if None."""
    store = "memory://" if data is None else f"sqlite:///{data.absolute()}/runs.sqlite"
    return Settings(
        history=store,
        inbox=store,
        # An alert is on the page until somebody clicks: sent again hourly, until it expires.
        ack_wait=3_600.0,
        max_deliveries=1_000,
        rooms={
            "log:*": RoomPolicy.log(
                history_size=limits.kept_lines,
                history_bytes=limits.kept_bytes,
                history_ttl=None,
                meta_ttl=_YEARS,
            ),
            "status:*": RoomPolicy.status(meta_ttl=_YEARS),
            RUNS: RoomPolicy.status(meta_ttl=_YEARS),
            ALERTS: RoomPolicy.alert(),
        },
    )


def create_app(
    config: Config | None = None,
    *,
    data: Path | None = None,
    root: Path = ROOT,
    allowed_hosts: Collection[str] = LOOPBACK,
) -> FastAPI:
    """
    Make the application.

    Args:
        config: What may be run; ``pipelines.toml`` in this folder if None.
        data: Directory for what is kept, made if it is missing; if None, nothing outlives the server.
        root: Working directory of the commands.
        allowed_hosts: Names and addresses it answers to; ``{"*"}`` for all.

    Raises:
        ConfigError: If ``config`` is None and ``pipelines.toml`` cannot be used.
    """
    if config is None:
        config = load(HERE / "pipelines.toml")
    supervisor = Supervisor(settings(config.limits, data))
    runner = Runner(config, supervisor, root=root)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if data is not None:
            await asyncio.to_thread(data.mkdir, parents=True, exist_ok=True)
        async with supervisor.lifespan(app), runner:  # the runs end first, and can still say so
            yield

    app = FastAPI(title="wsupervisor: pipelines", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.supervisor = supervisor
    app.add_middleware(Guard, allowed_hosts=allowed_hosts)
    app.include_router(_commands(config, runner))
    app.include_router(_history(config, supervisor, runner))
    app.include_router(_sockets(supervisor, runner))
    app.include_router(_page())
    return app


def _commands(config: Config, runner: Runner) -> APIRouter:
    router = APIRouter(prefix="/api")

    @router.get("/pipelines")
    async def pipelines() -> JSONResponse:
        declared = [
            {
                "name": pipeline.name,
                "title": pipeline.title,
                "description": pipeline.description,
                "steps": [step.name for step in pipeline.steps],
            }
            for pipeline in config.pipelines.values()
        ]
        return JSONResponse({"pipelines": declared})

    @router.post("/runs", dependencies=[Depends(own_page)])
    async def start(body: StartRun) -> JSONResponse:
        try:
            run = await runner.start(body.pipeline)
        except UnknownPipeline:
            names = ", ".join(config.pipelines)
            problem = f"No pipeline {body.pipeline!r} is declared; there are: {names}."
            raise HTTPException(404, problem) from None
        except TooManyRuns as error:
            problem = f"Not started: {error}. Cancel one, or try again when one has ended."
            raise HTTPException(409, problem) from None
        return JSONResponse(
            _with_steps(run.values()), 201, headers={"Location": f"/api/runs/{run.run}"}
        )

    @router.post("/runs/{run}/cancel", dependencies=[Depends(own_page)])
    async def cancel(run: str) -> JSONResponse:
        try:
            stopping = runner.cancel(run)
        except UnknownRun:
            raise HTTPException(404, _unknown(run, config)) from None
        if not stopping:
            raise HTTPException(409, "This run has ended already.")
        return JSONResponse({"run": run, "cancelling": True}, 202)

    return router


def _history(config: Config, supervisor: Supervisor, runner: Runner) -> APIRouter:
    router = APIRouter(prefix="/api")

    def known(run: str) -> str:
        if run not in runner:
            raise HTTPException(404, _unknown(run, config))
        return run

    @router.get("/runs")
    async def runs() -> JSONResponse:
        listed = (await values(supervisor, RUNS)).values()
        return JSONResponse({"runs": sorted(listed, key=lambda run: run["created"])})

    @router.get("/runs/{run}")
    async def one(run: Annotated[str, Depends(known)]) -> JSONResponse:
        return JSONResponse(_with_steps(await values(supervisor, status_room(run))))

    @router.get("/runs/{run}/lines")
    async def lines(
        run: Annotated[str, Depends(known)],
        after: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=300)] = 300,
    ) -> JSONResponse:
        page = await supervisor.read_history(log_room(run), after=after, limit=limit)
        answer = {
            "lines": [{"n": line.offset, **line.data} for line in page.messages],
            "lost": page.lost,
            "last": page.position.offset,
            "ended": page.ended,
        }
        return JSONResponse(answer)

    @router.get("/runs/{run}/log.txt")
    async def text(run: Annotated[str, Depends(known)]) -> StreamingResponse:
        async def whole() -> AsyncIterator[str]:
            expected = 1
            async for line in messages(supervisor, log_room(run)):
                if line.offset > expected:
                    yield f"[{line.offset - expected} lines are no longer kept]\n"
                expected = line.offset + 1
                yield line.data["text"] + "\n"

        return StreamingResponse(whole(), media_type="text/plain")

    return router


def _unknown(run: str, config: Config) -> str:
    kept = config.limits.kept_runs
    return f"No run {run!r} is kept. Runs are kept until {kept} newer ones have been started."


def _with_steps(values: dict[str, Any]) -> dict[str, Any]:
    """Return a run and its steps as one, from what its status room has by key."""
    steps = [values[f"step:{number}"] for number in range(len(values) - 1)]
    return {**values["run"], "steps": steps}


def _sockets(supervisor: Supervisor, runner: Runner) -> APIRouter:
    router = APIRouter(prefix="/ws")

    async def serve(session: Session) -> None:
        """Tell the client the server's time at once, and whenever it asks whether anybody is there."""
        async with session:
            await session.send({"time": runner.now()})
            async for message in session:
                if message == "ping":
                    await session.send({"time": runner.now()})

    @router.websocket("/runs")
    async def follow_list(websocket: WebSocket, since: str | None = None) -> None:
        begin = {} if since is None else {RUNS: since}
        await serve(
            supervisor.session(
                websocket, rooms=[RUNS, ALERTS], user=VIEWERS, since=begin, envelope=True
            )
        )

    @router.websocket("/runs/{run}")
    async def follow_run(websocket: WebSocket, run: str, since: str | None = None) -> None:
        if run not in runner:
            async with supervisor.session(websocket) as session:
                await session.close(NO_SUCH_RUN, "no such run")
            return
        log, status = log_room(run), status_room(run)
        begin = {} if since is None else {log: since}  # of the states, always the newest
        await serve(supervisor.session(websocket, rooms=[status, log], since=begin, envelope=True))

    return router


def _page() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    files = {path.name: path for path in (HERE / "page").iterdir() if path.is_file()}

    @router.get("/")
    async def index() -> FileResponse:
        return FileResponse(files["index.html"])

    @router.get("/page/{name}")
    async def file(name: str) -> Response:
        if name not in files:
            raise HTTPException(404, "The page has no such file.")
        return FileResponse(files[name])

    return router


async def own_page(request: Request) -> None:
    """
    Let through what the page itself asks for; a dependency of every call that changes something.

    Raises:
        HTTPException: 403 for a page of another site, 415 for anything but JSON.
    """
    headers = request.headers
    if not same_origin(headers.get("origin"), headers.get("host", "")):
        raise HTTPException(403, "Only this server's own page may ask for this.")
    if not is_json(headers.get("content-type", "")):
        raise HTTPException(415, "Send application/json.")


app = create_app(data=Path(os.environ.get("DATA") or ROOT / ".pipeline-data"))
