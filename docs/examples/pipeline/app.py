"""
The web application: pages, REST calls and sockets around a runner and a supervisor.

``app`` serves the shipped ``pipelines.toml``: ``uvicorn --app-dir docs/examples pipeline.app:app``.
:func:`create_app` makes others. A client names a declared pipeline; it never sends a command.

A viewer joins the rooms of a run first and reads what was before afterwards. The first message
on a socket tells it that it has joined; lines are numbered, so whatever arrives twice, late or
not at all is seen by its number, and ``GET /api/runs/{run}/lines`` fills the gap.
"""

# No `from __future__ import annotations`: FastAPI reads the annotations of local functions.

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response, WebSocket
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict

from pipeline.config import Config, load
from pipeline.guard import LOOPBACK, Guard, is_json, same_origin
from pipeline.runner import Runner, TooManyRuns, UnknownPipeline, UnknownRun
from pipeline.runs import Run
from supervisor import Supervisor

__all__ = ["app", "create_app"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
NO_SUCH_RUN = 4504  # close code; 4500-4999 tell a client not to come back

_UNKNOWN_RUN = (
    "No run {run!r} is kept. Runs are kept in memory: until {kept} newer ones have been started, "
    "or the server stops."
)


class StartRun(BaseModel):
    """The body of ``POST /api/runs``; anything besides the name is refused."""

    model_config = ConfigDict(extra="forbid")

    pipeline: str


def create_app(
    config: Config | None = None,
    *,
    root: Path = ROOT,
    allowed_hosts: Collection[str] = LOOPBACK,
) -> FastAPI:
    """
    Make the application.

    Args:
        config: What may be run; ``pipelines.toml`` in this folder if None.
        root: Working directory of the commands.
        allowed_hosts: Names and addresses it answers to; ``{"*"}`` for all.

    Raises:
        ConfigError: If ``config`` is None and ``pipelines.toml`` cannot be used.
    """
    if config is None:
        config = load(HERE / "pipelines.toml")
    supervisor = Supervisor()
    runner = Runner(config, supervisor, root=root)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with supervisor.lifespan(app), runner:  # the runs end first, and can still say so
            yield

    app = FastAPI(title="wsupervisor: pipelines", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, allowed_hosts=allowed_hosts)
    app.include_router(_api(config, runner))
    app.include_router(_sockets(supervisor, runner))
    app.include_router(_page())
    return app


def _api(config: Config, runner: Runner) -> APIRouter:
    router = APIRouter(prefix="/api")

    def find(run: str) -> Run:
        found = runner.runs.get(run)
        if found is None:
            raise HTTPException(404, _UNKNOWN_RUN.format(run=run, kept=config.limits.kept_runs))
        return found

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

    @router.get("/runs")
    async def runs() -> JSONResponse:
        return JSONResponse({"runs": [run.summary() for run in runner.runs.values()]})

    @router.post("/runs", dependencies=[Depends(own_page)])
    async def start(body: StartRun) -> JSONResponse:
        try:
            run = runner.start(body.pipeline)
        except UnknownPipeline:
            names = ", ".join(config.pipelines)
            problem = f"No pipeline {body.pipeline!r} is declared; there are: {names}."
            raise HTTPException(404, problem) from None
        except TooManyRuns as error:
            problem = f"Not started: {error}. Cancel one, or try again when one has ended."
            raise HTTPException(409, problem) from None
        return JSONResponse(run.summary(), 201, headers={"Location": f"/api/runs/{run.id}"})

    @router.get("/runs/{run}")
    async def one(found: Annotated[Run, Depends(find)]) -> JSONResponse:
        return JSONResponse(found.summary())

    @router.post("/runs/{run}/cancel", dependencies=[Depends(own_page)])
    async def cancel(run: str) -> JSONResponse:
        try:
            stopping = runner.cancel(run)
        except UnknownRun:
            problem = _UNKNOWN_RUN.format(run=run, kept=config.limits.kept_runs)
            raise HTTPException(404, problem) from None
        if not stopping:
            raise HTTPException(409, "This run has ended already.")
        return JSONResponse({"run": run, "cancelling": True}, 202)

    @router.get("/runs/{run}/lines")
    async def lines(
        found: Annotated[Run, Depends(find)],
        after: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 5_000,
    ) -> JSONResponse:
        page = [line.message(found.id) for line in found.lines.after(after, limit)]
        answer: dict[str, Any] = {
            "run": found.id,
            "omitted": found.lines.omitted,
            "last": found.lines.last,
            "lines": page,
        }
        return JSONResponse(answer)

    @router.get("/runs/{run}/log.txt")
    async def text(found: Annotated[Run, Depends(find)]) -> PlainTextResponse:
        head = [f"[{found.lines.omitted} earlier lines are no longer kept]"]
        body = [line.text for line in found.lines]
        return PlainTextResponse("\n".join([*(head if found.lines.omitted else []), *body, ""]))

    return router


def _sockets(supervisor: Supervisor, runner: Runner) -> APIRouter:
    router = APIRouter(prefix="/ws")

    @router.websocket("/runs")
    async def follow_list(websocket: WebSocket) -> None:
        async with supervisor.session(websocket, rooms=["runs"]) as session:
            await session.send(list_message(runner))
            async for message in session:
                if message == "ping":
                    await session.send(list_message(runner))

    @router.websocket("/runs/{run}")
    async def follow_run(websocket: WebSocket, run: str) -> None:
        found = runner.runs.get(run)
        rooms = [] if found is None else [f"log:{run}", f"status:{run}"]
        async with supervisor.session(websocket, rooms=rooms) as session:
            if found is None:
                await session.close(NO_SUCH_RUN, "no such run")
                return
            await session.send(found.message(runner.now()))
            async for message in session:
                if message == "ping":
                    await session.send(found.message(runner.now()))

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


def list_message(runner: Runner) -> dict[str, Any]:
    """Return what a viewer of the list receives first, and as the answer to a ping."""
    runs = [run.summary() for run in runner.runs.values()]
    return {"type": "runs", "time": runner.now(), "runs": runs}


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


app = create_app()
