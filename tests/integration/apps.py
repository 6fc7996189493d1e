"""
The application that the real servers of this suite run.

Every kind of endpoint there is, on both faces: ``/{name}/...`` are sessions of the supervisor
called so, ``/dropin/...`` the same written for a hand-written manager. The HTTP part makes
the server publish or kick, and tells what it holds: connections, rooms, tasks, descriptors.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, WebSocket, WebSocketDisconnect
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from actors.connection import ConnectionActor
from actors.overflow import DropReason, Overflow
from actors.room import RoomActor
from supervisor import (
    ClosedConnection,
    Connection,
    ConnectionManager,
    ConnectionRefused,
    NotRunning,
    Receipt,
    RoomPolicy,
    Session,
    Supervisor,
)
from supervisor.integrations.asgi import RoomEndpoint
from supervisor.transports.asgi import AsgiTransport
from supervisor.transports.inbound import Inbound

MEMBERSHIPS: Counter[str] = Counter()
"""Calls of the hooks: ``modern.joined``, ``dropin.left`` and so on."""

ENDED: deque[str] = deque(maxlen=100)
"""How endpoints that note it ended: the name of the exception, or what they were told."""

MEDLEY = (0, 125, 126, 65_535, 65_536, 1 << 20)
"""Sizes on both sides of every length that a frame says in another way."""

RING = 4 << 20
"""Bytes that rooms keep whose names begin with ``ring-``."""

released = asyncio.Event()
"""What parked endpoints wait for."""


class DeliberateError(Exception):
    """Raised by an endpoint that was asked to."""


def count(what: str) -> Callable[[Connection, Hashable], None]:
    """Return a hook that counts."""
    return lambda _, __: MEMBERSHIPS.update([what])


manager = ConnectionManager(on_join=count("dropin.joined"), on_leave=count("dropin.left"))

SUPERVISORS = {
    "modern": Supervisor(on_join=count("modern.joined"), on_leave=count("modern.left")),
    "dropin": manager.supervisor,
    # What a full mailbox does. Its clients stall for a while, so there is time for that.
    **{
        policy.value: Supervisor(
            overflow=policy, mailbox_messages=50, mailbox_bytes=16 << 20, send_timeout=10
        )
        for policy in (Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, Overflow.DISCONNECT)
    },
    "block": Supervisor(
        overflow=Overflow.BLOCK, block_timeout=1.0, mailbox_messages=50, send_timeout=10
    ),
    "limited": Supervisor(max_connections=10, max_connections_per_user=2),
    "cramped": Supervisor(max_connections_per_ip=4, max_connections_per_room=3),
    # Rooms that keep their messages. Its clients stall for a while, too.
    "feeds": Supervisor(
        rooms={
            "log-*": RoomPolicy.log(history_size=200_000),
            "ring-*": RoomPolicy.log(history_size=10_000, history_bytes=RING),
            "status-*": RoomPolicy.status(),
        },
        send_timeout=30,
    ),
}

# Endpoints, for the modern face.

sessions = APIRouter()


@sessions.websocket("/{name}/room/{room}")
async def session_room(websocket: WebSocket, name: str, room: str, user: str | None = None) -> None:
    """Do what the client says."""
    async with SUPERVISORS[name].session(websocket, rooms=[room], user=user) as session:
        async for message in session:
            command, _, rest = str(message).partition(" ")
            if command == "join":
                await session.join(rest)
            elif command == "leave":
                await session.leave(rest)
            elif command == "say":
                await SUPERVISORS[name].publish(room, rest, exclude=session)
            elif command == "id":
                await session.send(session.connection.id)
            elif command == "close":
                await session.close(int(rest), "as you wish")
            elif command == "raise":
                raise DeliberateError("on purpose")
            elif command == "return":
                return
            elif command != "hush":
                await session.send(message)


@sessions.websocket("/{name}/text/{room}")
async def session_text(websocket: WebSocket, name: str, room: str) -> None:
    """Echo text."""
    async with SUPERVISORS[name].session(websocket, rooms=[room]) as session:
        while True:
            await session.send(await session.receive_text())


@sessions.websocket("/{name}/json/{room}")
async def session_json(websocket: WebSocket, name: str, room: str) -> None:
    """Echo data."""
    async with SUPERVISORS[name].session(websocket, rooms=[room]) as session:
        while True:
            await session.send({"you said": await session.receive_json()})


@sessions.websocket("/{name}/kept/{room}")
async def session_kept(websocket: WebSocket, name: str, room: str) -> None:
    """Listen to a room that keeps its messages, from where the client says."""
    query = websocket.query_params
    async with SUPERVISORS[name].session(
        websocket, rooms=[room], since=query.get("since"), tail=query.get("tail")
    ) as session:
        async for _ in session:
            pass


@sessions.websocket("/{name}/parked/{room}")
async def session_parked(websocket: WebSocket, name: str, room: str) -> None:
    """Never receive, never send."""
    async with SUPERVISORS[name].session(websocket, rooms=[room]):
        await released.wait()


@sessions.websocket("/{name}/feed/{room}")
async def session_feed(websocket: WebSocket, name: str, room: str) -> None:
    """Only send."""
    async with SUPERVISORS[name].session(websocket, rooms=[room]) as session:
        await count_up(session.send)


@sessions.websocket("/{name}/flood/{room}")
async def session_flood(websocket: WebSocket, name: str, room: str) -> None:
    """Send more than anybody reads, with the socket's own method."""
    async with SUPERVISORS[name].session(websocket, rooms=[room]):
        await flood(websocket)


@sessions.websocket("/{name}/medley/{room}")
async def session_medley(websocket: WebSocket, name: str, room: str) -> None:
    """Be in three rooms, send messages of all sizes with the socket's own methods, and echo."""
    await websocket.accept()
    await websocket.send_text("early")
    rooms = [room, f"{room}-b", f"{room}-c"]
    async with SUPERVISORS[name].session(websocket, rooms=rooms) as session:

        async def sing() -> None:
            for number, size in enumerate(MEDLEY):
                await websocket.send_text(f"{number} own ".ljust(size, "ü"))
                await websocket.send_bytes(f"{number} own ".ljust(size, "y").encode())
                await websocket.send_text("")

        singing = asyncio.create_task(sing())
        try:
            async for message in session:
                if str(message).startswith("close "):
                    await websocket.close(int(str(message).removeprefix("close ")))
                    return
                await session.send(message)
        finally:
            singing.cancel()
            await asyncio.wait([singing])


@sessions.websocket("/both/{room}")
async def session_both(websocket: WebSocket, room: str) -> None:
    """Be registered with two supervisors."""
    await manager.connect(websocket, room)
    async with SUPERVISORS["modern"].session(websocket, rooms=[room]) as session:
        async for _ in session:
            pass


@sessions.websocket("/{name}/chorus/{room}")
async def session_chorus(
    websocket: WebSocket, name: str, room: str, voices: int, verses: int
) -> None:
    """Send from several tasks at once."""
    async with SUPERVISORS[name].session(websocket, rooms=[room]) as session:
        await sing(websocket, voices, verses)
        await session.receive()


@sessions.websocket("/{name}/slow-accept/{room}")
async def session_slow_accept(websocket: WebSocket, name: str, room: str) -> None:
    """Take a while before the socket is accepted."""
    await asyncio.sleep(0.1)
    async with SUPERVISORS[name].session(websocket, rooms=[room]) as session:
        await session.send("welcome")
        await session.receive()


# Endpoints as they are written for a hand-written manager.

dropin = APIRouter(prefix="/dropin")


@dropin.websocket("/room/{room}")
async def manager_room(websocket: WebSocket, room: str, user: str | None = None) -> None:
    """Do what the client says."""
    await manager.connect(websocket, room, user)
    try:
        while True:
            message = await websocket.receive_text()
            command, _, rest = message.partition(" ")
            if command == "join":
                await manager.connect(websocket, rest)
            elif command == "leave":
                manager.disconnect(websocket, rest)  # type: ignore[unused-awaitable]  # as most do
            elif command == "say":
                await manager.send_to_room(rest, room, exclude=websocket)
            elif command == "id":
                found = manager.supervisor.find(websocket)
                await websocket.send_text("" if found is None else found[1].id)
            elif command == "close":
                await websocket.close(int(rest), "as you wish")
                return  # nobody may receive after that, Starlette says
            elif command == "raise":
                raise DeliberateError("on purpose")
            elif command == "return":
                return
            elif command != "hush":
                await manager.send_personal_message(message, websocket)
    except WebSocketDisconnect:
        await manager.disconnect(websocket, room, user)


@dropin.websocket("/forgetful/{room}")
async def manager_forgetful(websocket: WebSocket, room: str) -> None:
    """Never call ``disconnect``."""
    await manager.connect(websocket, room, "somebody")
    with suppress(WebSocketDisconnect):
        while True:
            await manager.send_personal_message(await websocket.receive_text(), websocket)


@dropin.websocket("/text/{room}")
async def manager_text(websocket: WebSocket, room: str) -> None:
    """Echo text; catch nothing but the disconnect."""
    await manager.connect(websocket, room)
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        await manager.disconnect(websocket, room)


@dropin.websocket("/json/{room}")
async def manager_json(websocket: WebSocket, room: str) -> None:
    """Echo data; catch nothing but the disconnect."""
    await manager.connect(websocket, room)
    try:
        while True:
            await websocket.send_json({"you said": await websocket.receive_json()})
    except WebSocketDisconnect:
        await manager.disconnect(websocket, room)


@dropin.websocket("/parked/{room}")
async def manager_parked(websocket: WebSocket, room: str) -> None:
    """Never receive, never send."""
    await manager.connect(websocket, room)
    await released.wait()


@dropin.websocket("/feed/{room}")
async def manager_feed(websocket: WebSocket, room: str) -> None:
    """Only send."""
    await manager.connect(websocket, room)
    with suppress(WebSocketDisconnect):
        await count_up(websocket.send_text)


@dropin.websocket("/flood/{room}")
async def manager_flood(websocket: WebSocket, room: str) -> None:
    """Send more than anybody reads, with the socket's own method."""
    await manager.connect(websocket, room)
    with suppress(WebSocketDisconnect):
        await flood(websocket)


@dropin.websocket("/chorus/{room}")
async def manager_chorus(websocket: WebSocket, room: str, voices: int, verses: int) -> None:
    """Send from several tasks at once."""
    await manager.connect(websocket, room)
    await sing(websocket, voices, verses)
    with suppress(WebSocketDisconnect):
        await websocket.receive_text()


@dropin.websocket("/slow-accept/{room}")
async def manager_slow_accept(websocket: WebSocket, room: str) -> None:
    """Take a while before the socket is accepted."""
    await asyncio.sleep(0.1)
    with suppress(WebSocketDisconnect):
        await manager.connect(websocket, room)
        await websocket.send_text("welcome")
        await websocket.receive_text()


async def starlette_forgetful(websocket: WebSocket) -> None:
    """Never call ``disconnect``, in an application without FastAPI's exit stack."""
    await manager.connect(websocket, websocket.path_params["room"])
    with suppress(WebSocketDisconnect):
        while await websocket.receive_text() != "return":
            pass


# Endpoints without any supervisor.

plain = APIRouter(prefix="/plain")


@plain.websocket("/echo")
async def plain_echo(websocket: WebSocket) -> None:
    """Echo, and do what the client says."""
    await websocket.accept()
    while (event := await websocket.receive())["type"] != "websocket.disconnect":
        text = event.get("text")
        if text is None:
            await websocket.send_bytes(event["bytes"])
        elif text == "raise":
            raise DeliberateError("on purpose")
        elif text == "return":
            return
        elif text.startswith("close "):
            await websocket.close(int(text.removeprefix("close ")))
            try:
                await websocket._send({"type": "websocket.send", "text": "after the close"})
            except Exception as error:
                ENDED.append(f"after the close: {type(error).__name__}")
            return
        else:
            await websocket.send_text(text)
    ENDED.append(f"disconnect {event['code']} {event.get('reason') or ''}".strip())


@plain.websocket("/deny")
async def plain_deny(websocket: WebSocket) -> None:
    """Refuse with an HTTP answer."""
    await websocket.send_denial_response(PlainTextResponse("a teapot", 418))


@plain.websocket("/reject")
async def plain_reject(websocket: WebSocket) -> None:
    """Refuse."""
    await websocket.close()


@plain.websocket("/crash")
async def plain_crash(websocket: WebSocket) -> None:
    """Fail before the socket is accepted."""
    raise DeliberateError("on purpose")


class Loud:
    """A middleware that changes what is sent."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send text in capitals."""

        async def send_loudly(event: Message) -> None:
            if "text" in event:
                event["text"] = event["text"].upper()
            await send(event)

        await self.app(scope, receive, send_loudly)


async def loud_room(websocket: WebSocket) -> None:
    """Be in a room, behind the middleware."""
    name, room = (str(websocket.path_params[each]) for each in ("name", "room"))
    await session_room(websocket, name, room)


async def listener_rooms(websocket: WebSocket) -> list[str]:
    """Return the room of a listener; let nobody into one of them."""
    room = str(websocket.path_params["room"])
    if room == "closed":
        raise ConnectionRefused(3507, "this room is closed", 403)
    return [room]


async def count_up(send: Callable[[str], Awaitable[None]]) -> None:
    """Send 0, 1, 2 and so on, until that is not possible any more."""
    number = 0
    while True:
        await send(f"{number}")
        number += 1
        await asyncio.sleep(0.02)


async def flood(websocket: WebSocket) -> None:
    """Send until that is not possible any more, and note the exception that says so."""
    try:
        while True:
            await websocket.send_text("x" * (64 << 10))
    except Exception as error:
        ENDED.append(type(error).__name__)
        raise


async def sing(websocket: WebSocket, voices: int, verses: int) -> None:
    """Send ``voices`` streams of ``verses`` numbered messages at once."""

    async def voice(name: str) -> None:
        for number in range(verses):
            await websocket.send_text(f"{number} {name}")
            await asyncio.sleep(0.001)

    await asyncio.gather(*(voice(f"voice-{index}") for index in range(voices)))


# What the tests ask for.

control = APIRouter()
publishers: dict[tuple[str, str], asyncio.Task[int]] = {}


@control.get("/report")
async def report() -> dict[str, Any]:
    """Tell what the process holds."""
    return {
        "pid": os.getpid(),
        "descriptors": open_descriptors(),
        "tasks": sorted(str(task.get_coro()) for task in asyncio.all_tasks()),
        "memory": resident_memory(),
        "frozen": gc.get_freeze_count(),
        "memberships": dict(MEMBERSHIPS),
        "ended": list(ENDED),
        "active_connections": {
            room: len(sockets) for room, sockets in manager.active_connections.items()
        },
        "user_connections": {
            user: len(sockets) for user, sockets in manager.user_connections.items()
        },
        "supervisors": {
            name: asdict(supervisor.statistics()) for name, supervisor in SUPERVISORS.items()
        },
        "healthy": all(supervisor.healthy for supervisor in SUPERVISORS.values()),
    }


@control.get("/closed/{name}")
async def closed(name: str) -> list[dict[str, Any]]:
    """Tell of the last closed connections."""
    return [describe(one) for one in SUPERVISORS[name].closed]


@control.get("/endpoints/{name}")
async def endpoints(name: str) -> int:
    """Tell how many endpoints have not ended."""
    return sum(len(node.endpoints) for node in SUPERVISORS[name].nodes)


@control.get("/members/{name}/{room}")
async def members(name: str, room: str) -> list[dict[str, Any]]:
    """Tell who is in a room."""
    return [
        {"id": member.id, "user": member.user, "rooms": sorted(map(str, member.rooms))}
        for member in SUPERVISORS[name].members(room)
    ]


@control.get("/objects")
async def objects() -> dict[str, int]:
    """Count the live objects that belong to connections, after a full collection."""
    gc.collect()
    found = Counter(type(thing) for thing in gc.get_objects())
    wanted = [Connection, ConnectionActor, AsgiTransport, Inbound, RoomActor, Session, WebSocket]
    return {one.__name__: found[one] for one in wanted}


@control.post("/publish/{name}/{room}")
async def publish(
    name: str, room: str, count: int = 1, size: int = 0, first: int = 0, pause: float = 0.0
) -> dict[str, int]:
    """
    Publish ``count`` messages, numbered from ``first``, of at least ``size`` bytes.

    With a ``pause`` after each the server has time to hand them to the kernel; without one
    they come in a burst.
    """
    receipt = Receipt()
    for number in range(first, first + count):
        receipt += await deliver(name, room, f"{number} ".ljust(size, "x"))
        if pause:
            await asyncio.sleep(pause)
    return {"accepted": receipt.accepted, "lost": sum(receipt.dropped.values())}


@control.post("/publish-queued/{name}/{room}")
async def publish_queued(name: str, room: str, count: int, size: int, first: int = 0) -> None:
    """Publish numbered messages of at least ``size`` bytes, 16 at once: they leave in one write."""
    for number in range(first, first + count):
        SUPERVISORS[name].publish_nowait(room, f"{number} ".ljust(size, "x"))
        if number % 16 == 15:
            await asyncio.sleep(0)


@control.post("/publish-keys/{name}/{room}")
async def publish_keys(name: str, room: str, keys: int, count: int, rate: float) -> float:
    """Publish ``count`` values of ``keys`` keys, ``rate`` in a second; return how long it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(count):
        await SUPERVISORS[name].publish(room, {"n": number}, key=f"k{number % keys}")
        if number % 100 == 99:
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
    return loop.time() - began


@control.get("/mailboxes/{name}/{room}")
async def mailboxes(name: str, room: str) -> list[dict[str, int]]:
    """Tell of the mailboxes of the members of a room: what waits, what did at most, what was missed."""
    found = [member.actor.statistics() for member in SUPERVISORS[name].members(room)]
    return [
        {
            "depth": each.depth,
            "peak": each.peak_depth,
            "trimmed": each.dropped.get(DropReason.TRIMMED, 0),
        }
        for each in found
    ]


@control.post("/forget/{name}/{room}")
async def forget(name: str, room: str) -> None:
    """Forget what a room keeps."""
    await SUPERVISORS[name].remove_history(room)


@control.post("/publish-bytes/{name}/{room}")
async def publish_bytes(name: str, room: str, size: int) -> int:
    """Publish a binary message; return how many connections took it."""
    return (await SUPERVISORS[name].publish(room, b"binary ".ljust(size, b"x"))).accepted


@control.post("/publish-nowait/{name}/{room}")
def publish_from_a_thread(name: str, room: str, count: int) -> None:
    """Publish from a thread that has no event loop: FastAPI runs sync endpoints so."""
    for number in range(count):
        SUPERVISORS[name].publish_nowait(room, f"{number} from a thread")


@control.post("/steady/{name}/{room}")
async def steady(name: str, room: str, rate: float) -> None:
    """Publish numbered messages until :func:`stop` is called."""

    async def publish_for_ever() -> int:
        number = 0
        with suppress(asyncio.CancelledError, NotRunning):
            while True:
                await deliver(name, room, f"{number} steady")
                number += 1
                await asyncio.sleep(1 / rate)
        return number

    publishers[name, room] = asyncio.create_task(publish_for_ever())


@control.post("/stop/{name}/{room}")
async def stop(name: str, room: str) -> int:
    """End :func:`steady`; return how many messages it has published."""
    publisher = publishers.pop((name, room))
    publisher.cancel()
    return await publisher


@control.post("/send-to-user/{name}/{user}")
async def send_to_user(name: str, user: str, text: str) -> int:
    """Send to a user; return how many connections took it."""
    if name == "dropin":
        return (await manager.send_to_user(text, user)).accepted
    return (await SUPERVISORS[name].send_to_user(user, text)).accepted


@control.post("/broadcast/{name}")
async def broadcast(name: str, text: str) -> int:
    """Send to everybody; return how many connections took it."""
    if name == "dropin":
        return (await manager.broadcast(text)).accepted
    return (await SUPERVISORS[name].broadcast(text)).accepted


@control.post("/publish-json/{name}/{room}")
async def publish_json(name: str, room: str, text: str) -> int:
    """Publish data; return how many connections took it."""
    return (await SUPERVISORS[name].publish(room, json.loads(text))).accepted


@control.post("/kick/{name}/{room}")
async def kick(name: str, room: str, user: str | None = None, connection: str | None = None) -> int:
    """Kick a user, or the member of ``room`` with that id."""
    target: object = user
    if connection is not None:
        target = next(m for m in SUPERVISORS[name].members(room) if m.id == connection)
    return await SUPERVISORS[name].kick(target, reason="out with you")


@control.post("/release")
async def release() -> None:
    """Let parked endpoints end."""
    released.set()
    await asyncio.sleep(0)
    released.clear()


async def deliver(name: str, room: str, text: str) -> Receipt:
    """Send ``text`` to a room, through the face that is called ``name``."""
    if name == "dropin":
        return await manager.send_to_room(text, room)
    return await SUPERVISORS[name].publish(room, text)


def describe(one: ClosedConnection) -> dict[str, Any]:
    """Return what tests look at of a closed connection."""
    return {
        "id": one.id,
        "user": one.user,
        "rooms": sorted(map(str, one.rooms)),
        "ending": one.reason.ending.value,
        "code": int(one.reason.code),
        "text": one.reason.text,
        "duration": one.duration,
        "dropped": one.dropped,
        "peak_bytes": one.peak_bytes,
    }


def open_descriptors() -> int:
    """Return how many descriptors the process has open, the one to count them with too."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def resident_memory() -> int:
    """Return the bytes of memory that the process has in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


app = FastAPI(lifespan=SUPERVISORS["modern"].lifespan)
app.include_router(control)
app.mount(
    "/starlette", Starlette(routes=[WebSocketRoute("/forgetful/{room}", starlette_forgetful)])
)
app.mount("/loud", Loud(Starlette(routes=[WebSocketRoute("/{name}/room/{room}", loud_room)])))
app.router.routes.append(
    WebSocketRoute(
        "/listen/{room}",
        RoomEndpoint(
            SUPERVISORS["modern"],
            rooms=listener_rooms,
            user=lambda websocket: websocket.query_params.get("user"),
        ),
    )
)
app.include_router(plain)
app.include_router(dropin)
app.include_router(sessions)
