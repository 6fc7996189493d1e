"""
Who is connected, against a few sets: registry, rooms, views, hooks and receipts at once.

A drop-in manager with stub sockets, and with real WebSockets whose endpoints run, is told to
connect, disconnect, kick and publish in any order, while sockets die, clients leave and endpoints
are cancelled. The model is what a hand-written manager would hold if nothing ever failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine, Hashable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from starlette.websockets import WebSocket, WebSocketDisconnect

from actors.messages import Message
from actors.testing import VirtualClockLoop, settle
from supervisor import Connection, ConnectionManager, DropReason, Receipt
from tests.supervisor.asgi import Peer, bare_app
from tests.supervisor.conftest import nothing_left

STUBS = 4
PEERS = 3
WHO = st.integers(0, STUBS + PEERS - 1)
STUB = st.integers(0, STUBS - 1)
PEER = st.integers(STUBS, STUBS + PEERS - 1)
ROOM = st.sampled_from(["a", "b", 7])
USER = st.sampled_from(["ann", 7])
EXCLUDED = st.sets(WHO, max_size=2)


class Stub:
    """A socket of a test; it fails when it is told to."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.failing = False

    async def send_text(self, message: str) -> None:
        if self.failing:
            raise RuntimeError("gone")
        self.got.append(message)


class Poison(Message):
    """What no room understands."""


class Known:
    """What the model knows of a connected socket."""

    def __init__(self, user: Hashable | None) -> None:
        self.rooms: dict[Hashable, None] = {}
        self.user = user


class Machine(RuleBasedStateMachine):
    """Rules are what applications, clients and networks do; invariants look at everything."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualClockLoop()
        self.hooked: Counter[tuple[Any, Any]] = Counter()  # socket and room: joins minus leaves
        self.manager = ConnectionManager(
            on_join=lambda connection, room: self._hook(connection, room, 1),
            on_leave=lambda connection, room: self._hook(connection, room, -1),
            restart_intensity=1000,
        )
        self.stubs = [Stub() for _ in range(STUBS)]
        self.peers: dict[int, Peer] = {}
        self.websockets: dict[int, WebSocket] = {}
        self.opened = 0
        self.number = 0
        self.model: dict[int, Known] = {}
        self.expected: dict[int, list[str]] = {who: [] for who in range(STUBS)}

    def teardown(self) -> None:
        """Have all leave; nothing may be left."""

        async def end() -> None:
            for peer in self.peers.values():
                peer.vanish()
                await peer.end()
            await settle()
            nodes = self.manager.supervisor.nodes
            await self.manager.supervisor.aclose()
            nothing_left(nodes)

        self._run(end())
        assert [fault for peer in self.peers.values() for fault in peer.faults] == []
        assert not +self.hooked
        assert not -self.hooked
        self.loop.close()

    # Connecting.

    @rule(who=WHO, room=ROOM | st.none(), user=USER | st.none())
    def connect(self, who: int, room: Hashable | None, user: Hashable | None) -> None:
        """Connect a stub, or a client that was disconnected; or have it join one more room."""
        if who >= STUBS and who not in self.peers:
            return
        self._run(self.manager.connect(self._socket(who), room, user))
        known = self.model.setdefault(who, Known(None))
        if user is not None:
            known.user = user
        if room is not None:
            known.rooms[room] = None

    @rule(who=PEER, room=ROOM, user=USER | st.none())
    def open(self, who: int, room: Hashable, user: Hashable | None) -> None:
        """Have a client connect, if it is not: its endpoint waits for messages."""
        if who in self.peers:
            return

        async def serve(websocket: WebSocket) -> None:
            self.websockets[who] = websocket
            await self.manager.connect(websocket, room, user)
            try:
                while True:
                    await websocket.receive_text()
            except WebSocketDisconnect:
                await self.manager.disconnect(websocket)

        self.peers[who] = Peer()
        self._run(self._enter(self.peers[who], serve))
        self.model[who] = Known(user)
        self.model[who].rooms[room] = None
        self.expected[who] = []

    @rule(who=PEER, room=ROOM)
    def join(self, who: int, room: Hashable) -> None:
        """Have a connected client join one more room."""
        if who in self.model:
            self._run(self.manager.supervisor.nodes[0].rooms.join(self._connection(who), room))
            self.model[who].rooms[room] = None

    @rule(room=ROOM, members=st.sets(STUB))
    def assign(self, room: Hashable, members: set[int]) -> None:
        """Put stubs into a room as tests do; the others leave it."""
        self.manager.active_connections[room] = [self.stubs[who] for who in members]
        for who in list(self.model):
            if who not in members and room in self.model[who].rooms:
                self._left(who, room)
        for who in members:
            self.model.setdefault(who, Known(None)).rooms[room] = None
        self._run(self._nudge())

    # Leaving.

    @rule(who=WHO, room=ROOM | st.none())
    def disconnect(self, who: int, room: Hashable | None) -> None:
        """Take a socket out of a room, or out of all; any number of times."""
        self._run(self._disconnect(self._socket(who), room))
        if room is None:
            self.model.pop(who, None)
        else:
            self._left(who, room)

    @rule(who=WHO)
    def clean_up(self, who: int) -> None:
        """Call what hand-written managers call for a dead socket."""
        self._run(self._clean_up(self._socket(who)))
        self.model.pop(who, None)

    @rule(who=WHO)
    def kick(self, who: int) -> None:
        """Throw a socket out."""
        assert self._run(self.manager.supervisor.kick(self._socket(who))) == (who in self.model)
        self._kicked({who} & set(self.model))

    @rule(user=USER)
    def kick_user(self, user: Hashable) -> None:
        """Throw all sockets of a user out."""
        gone = {who for who, known in self.model.items() if known.user == user}
        assert self._run(self.manager.supervisor.kick(user)) == len(gone)
        self._kicked(gone)

    @precondition(lambda self: self.peers)
    @rule(who=PEER, how=st.sampled_from(["leaves", "vanishes", "is cancelled"]))
    def end(self, who: int, how: str) -> None:
        """Have a client leave, or its endpoint be cancelled."""
        if who not in self.peers:
            return
        peer = self.peers[who]
        if how == "leaves":
            peer.leave()
        elif how == "vanishes":
            peer.vanish()
        else:
            peer.cancel()
        self._run(peer.end())
        self._forget(who)

    @rule(who=WHO)
    def break_(self, who: int) -> None:
        """Have a socket fail from now on, which nobody sees before it is written to."""
        if who < STUBS:
            self.stubs[who].failing = True
        elif who in self.peers:
            self.peers[who].failing = OSError("reset")

    @rule(room=ROOM)
    def crash(self, room: Hashable) -> None:
        """Crash the actor of a room: nobody may notice."""

        async def tell() -> None:
            for node in self.manager.supervisor.nodes:
                found = node.rooms.get(room)
                if found is not None:
                    found.ref.tell(Poison())  # type: ignore[arg-type]  # that is the point

        self._run(tell())

    # Publishing.

    @rule(room=ROOM, excluded=EXCLUDED)
    def send_to_room(self, room: Hashable, excluded: set[int]) -> None:
        """Publish to a room."""
        to = [who for who, known in self.model.items() if room in known.rooms]
        self._publish(to, excluded, lambda text, out: self.manager.send_to_room(text, room, **out))

    @rule(user=USER, excluded=EXCLUDED)
    def send_to_user(self, user: Hashable, excluded: set[int]) -> None:
        """Publish to a user."""
        to = [who for who, known in self.model.items() if known.user == user]
        self._publish(to, excluded, lambda text, out: self.manager.send_to_user(text, user, **out))

    @rule(excluded=EXCLUDED)
    def broadcast(self, excluded: set[int]) -> None:
        """Publish to everybody."""
        to = list(self.model)
        self._publish(to, excluded, lambda text, out: self.manager.broadcast(text, **out))

    @rule(who=WHO)
    def send_personal_message(self, who: int) -> None:
        """Send to one socket, connected or not."""
        text = self._text()
        sent = self._run(self.manager.send_personal_message(text, self._socket(who)))
        assert sent == bool(self._delivered([who] if who in self.model else [], text))

    # What always holds.

    @invariant()
    def rooms_are_those_of_the_model(self) -> None:
        """The view of rooms, and the supervisor's members."""
        rooms: dict[Hashable, set[int]] = {}
        for who, known in self.model.items():
            for room in known.rooms:
                rooms.setdefault(room, set()).add(who)

        view = self.manager.active_connections
        assert {room: self._who(sockets) for room, sockets in view.items()} == rooms
        assert len(view) == len(rooms)
        for who in range(STUBS + PEERS):
            for room in ("a", "b", 7):
                assert (self._socket(who) in view.get(room, ())) == (who in rooms.get(room, ()))

    @invariant()
    def users_are_those_of_the_model(self) -> None:
        """The view of users."""
        users: dict[Hashable, set[int]] = {}
        for who, known in self.model.items():
            if known.user is not None:
                users.setdefault(known.user, set()).add(who)

        view = self.manager.user_connections
        assert {user: self._who(sockets) for user, sockets in view.items()} == users

    @invariant()
    def every_socket_has_what_it_was_sent(self) -> None:
        """In order, and nothing else."""
        for who, expected in self.expected.items():
            socket = self.stubs[who] if who < STUBS else self.peers.get(who)
            assert socket is None or socket.got == expected

    @invariant()
    def hooks_have_told_all_memberships(self) -> None:
        """Joins minus leaves: one for each that is, none for any other."""
        hooked = {(self._number(socket), room) for (socket, room), n in self.hooked.items() if n}
        assert set(self.hooked.values()) <= {0, 1}
        assert hooked == {(who, room) for who, known in self.model.items() for room in known.rooms}

    @invariant()
    def numbers_agree(self) -> None:
        """Statistics and registry."""
        statistics = self.manager.supervisor.statistics()
        assert statistics.connections == len(self.model)
        assert statistics.waiting == 0
        for who in range(STUBS + PEERS):
            found = self.manager.supervisor.find(self._socket(who))
            assert (found is not None) == (who in self.model)

    # How the rules do it.

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        async def and_settle() -> Any:
            result = await work
            await settle()
            return result

        return self.loop.run_until_complete(and_settle())

    async def _enter(self, peer: Peer, serve: Any) -> None:
        await peer.enter(bare_app(serve))
        assert peer.accepted

    async def _disconnect(self, socket: Any, room: Hashable | None) -> None:
        self.number += 1
        if self.number % 2:
            await self.manager.disconnect(socket, room)
        else:
            self.manager.disconnect(socket, room)  # type: ignore[unused-awaitable]  # both are meant

    async def _clean_up(self, socket: Any) -> None:
        self.manager._cleanup_disconnected_websocket(socket)

    async def _nudge(self) -> None:
        """Have what was assigned adopted, by a call that does nothing else."""
        await self.manager.send_personal_message("nobody", object())

    def _hook(self, connection: Connection, room: Hashable, by: int) -> None:
        self.hooked[connection.websocket, room] += by

    def _socket(self, who: int) -> Any:
        return self.stubs[who] if who < STUBS else self.websockets.get(who)

    def _connection(self, who: int) -> Connection:
        found = self.manager.supervisor.find(self._socket(who))
        assert found is not None
        return found[1]

    def _number(self, socket: Any) -> int:
        return next(who for who in range(STUBS + PEERS) if self._socket(who) is socket)

    def _who(self, sockets: Any) -> set[int]:
        found = [self._number(socket) for socket in sockets]
        assert len(found) == len(set(found)) == len(sockets)
        return set(found)

    def _left(self, who: int, room: Hashable) -> None:
        """``who`` leaves ``room``; out of the last means out of everything."""
        known = self.model.get(who)
        if known is None:
            return
        if room in known.rooms:
            del known.rooms[room]
        elif known.rooms:
            return
        if not known.rooms:
            del self.model[who]

    def _kicked(self, gone: set[int]) -> None:
        for who in gone:
            del self.model[who]
            if who >= STUBS:  # its endpoint hears of it, and ends
                self._run(self.peers[who].end())
                self._forget(who)

    def _forget(self, who: int) -> None:
        self.model.pop(who, None)
        del self.peers[who], self.websockets[who]
        self.expected.pop(who)

    def _text(self) -> str:
        self.number += 1
        return f"message {self.number}"

    def _publish(self, to: list[int], excluded: set[int], send: Any) -> None:
        text = self._text()
        exclude = [self._socket(who) for who in excluded]
        receipt = self._run(send(text, {"exclude": exclude}))
        recipients = [who for who in to if who not in excluded]
        accepted = len(self._delivered(recipients, text))
        failed = len(recipients) - accepted
        assert receipt == Receipt(accepted, {DropReason.SEND_FAILED: failed} if failed else {})

    def _delivered(self, recipients: list[int], text: str) -> list[int]:
        """Note who gets ``text``: those that fail are gone instead."""
        delivered = []
        for who in recipients:
            failing = self.stubs[who].failing if who < STUBS else self.peers[who].failing
            if not failing:
                self.expected[who].append(text)
                delivered.append(who)
                continue
            del self.model[who]
            if who >= STUBS:
                self._run(self.peers[who].end())
                self._forget(who)
        return delivered


TestRegistry = Machine.TestCase
