"""
Redelivery against a store that is a dict: whatever happens, a message comes to one end.

Receivers come, join, fail, acknowledge late or never, and time passes. The model knows what is
pending, who was given what, and in which order.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from supervisor.redelivery import Giving, Redelivery, RedeliveryRules

ROOMS = st.sampled_from([None, None, "r", "s"])
WHO = st.integers(0, 3)
WHICH = st.integers(0, 30)


@dataclass(eq=False)
class Message:
    """What the store knows of a message."""

    id: str
    room: str | None
    expires: float
    deliveries: int = 0


class Receiver:
    """
    A connection: what it was given, and what it has to write yet.

    What it has to write when it leaves a room is written, but is nobody's any more: in the room
    again, it is given it again.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.rooms: set[str] = set()
        self.first: list[str] = []  # what it was given, without repetitions
        self.writing: list[str] = []
        self.let_go: set[str] = set()  # of those, what it had when it left their room
        self.got: list[str] = []
        self.blocked = False

    def __repr__(self) -> str:
        return f"receiver {self.number}"


class RedeliveryMachine(RuleBasedStateMachine):
    """The model: a store, and connections with what they were given."""

    @initialize(
        window=st.integers(1, 4),
        max_deliveries=st.integers(1, 4),
        jitter=st.sampled_from([0.0, 0.5, 1.0]),
    )
    def make(self, window: int, max_deliveries: int, jitter: float) -> None:
        self.now = 1000.0
        self.limits = RedeliveryRules(window, 30.0, (5.0, 15.0), max_deliveries, held=window + 3)
        self.machine: Redelivery[Receiver] = Redelivery(self.limits, lambda: jitter)
        self.put_order: list[str] = []
        self.rooms: dict[str, str | None] = {}
        self.pending: dict[str, Message] = {}
        self.over: dict[str, str] = {}
        self.here: list[Receiver] = []
        self.given: set[str] = set()
        self.written: set[str] = set()
        self.came = 0

    # What the world does.

    @rule(room=ROOMS, ttl=st.sampled_from([10.0, 1e6, 1e6, 1e6]), times=st.integers(1, 5))
    def put(self, room: str | None, ttl: float, times: int) -> None:
        for _ in range(times):
            id = f"m{len(self.put_order)}"
            self.put_order.append(id)
            self.rooms[id] = room
            self.pending[id] = Message(id, room, self.now + ttl)
        self.pump()

    @precondition(lambda self: len(self.here) < 4)
    @rule(rooms=st.sets(st.sampled_from(["r", "s"])), blocked=st.booleans())
    def connect(self, rooms: set[str], blocked: bool) -> None:
        receiver = Receiver(self.came)
        receiver.blocked = blocked
        receiver.rooms = set(rooms)
        self.came += 1
        self.here.append(receiver)
        self.machine.connected(receiver, rooms)
        self.pump()

    @rule(who=WHO, room=st.sampled_from(["r", "s"]))
    def join(self, who: int, room: str) -> None:
        receiver = self.who(who)
        if receiver is not None and room not in receiver.rooms:
            receiver.rooms.add(room)
            receiver.first = [id for id in receiver.first if self.room_of(id) != room]
            self.machine.joined(receiver, room)
            self.pump()

    @rule(who=WHO, room=st.sampled_from(["r", "s"]))
    def leave(self, who: int, room: str) -> None:
        receiver = self.who(who)
        if receiver is not None:
            receiver.rooms.discard(room)
            receiver.let_go.update(id for id in receiver.writing if self.room_of(id) == room)
            self.machine.left(receiver, room)
            self.pump()

    @rule(who=WHO)
    def go(self, who: int) -> None:
        receiver = self.who(who)
        if receiver is not None:
            self.here.remove(receiver)
            self.machine.gone(receiver, self.now)
            self.machine.gone(receiver, self.now)
            self.pump()

    @rule(who=WHO, times=st.integers(1, 4))
    def write(self, who: int, times: int) -> None:
        receiver = self.who(who)
        for _ in range(times):
            if receiver is not None and receiver.writing:
                id = receiver.writing.pop(0)
                receiver.got.append(id)
                receiver.let_go.intersection_update(receiver.writing)
                self.written.add(id)
                self.machine.written(receiver, id)
        self.pump()

    @rule(who=WHO, which=WHICH)
    def acknowledge(self, who: int, which: int) -> None:
        receiver = self.who(who)
        if receiver is not None and receiver.got:
            self.settle(receiver.got[which % len(receiver.got)])
            self.pump()

    @rule(which=WHICH)
    def another_device_acknowledges(self, which: int) -> None:
        if self.pending:
            self.settle(list(self.pending)[which % len(self.pending)])
            self.pump()

    @rule(which=WHICH, more=st.integers(0, 3))
    def another_machine_counts(self, which: int, more: int) -> None:
        if self.pending:
            message = list(self.pending.values())[which % len(self.pending)]
            most = self.limits.max_deliveries
            message.deliveries = min(message.deliveries + more, most)
            self.machine.delivered_elsewhere(message.id, message.deliveries)
            self.pump()

    @rule(who=WHO)
    def get_full(self, who: int) -> None:
        receiver = self.who(who)
        if receiver is not None:
            receiver.blocked = True

    @rule(who=WHO)
    def get_space(self, who: int) -> None:
        receiver = self.who(who)
        if receiver is not None:
            receiver.blocked = False
            self.machine.unblocked(receiver)
            self.pump()

    @rule(seconds=st.sampled_from([0.1, 4.0, 7.0, 20.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.pump()

    @rule()
    def wait_for_what_is_due(self) -> None:
        due = self.machine.next_due()
        if due is not None:
            assert due > self.now, "what is due already was done when it was"
            self.now = due
            self.pump()

    # What the dispatcher does.

    def pump(self) -> None:
        """Load what there is space for, and give what there is to give."""
        for id in self.machine.advance(self.now):
            assert self.pending[id].expires <= self.now
        self.count()
        self.expire()
        for message in list(self.pending.values()):
            if self.machine.full:
                break
            self.machine.offer(
                message.id,
                room=message.room,
                expires=message.expires,
                deliveries=message.deliveries,
            )
        while (giving := self.machine.take(self.now)) is not None:
            if giving.receiver.blocked:
                self.machine.refused(giving)
            else:
                self.give(giving)
        self.count()
        for id in self.machine.dead:
            message = self.pending.pop(id)
            assert message.deliveries == self.limits.max_deliveries
            self.over[id] = "dead"
        self.machine.dead.clear()

    def count(self) -> None:
        for id, deliveries in self.machine.counted.items():
            if id in self.pending:
                assert deliveries == self.pending[id].deliveries + 1
                self.pending[id].deliveries = deliveries
        self.machine.counted.clear()

    def give(self, giving: Giving[Receiver]) -> None:
        receiver, id, counts = giving
        message = self.pending.get(id)

        assert message is not None, f"{id} was given, and it is {self.over[id]}"
        assert receiver in self.here
        assert message.room is None or message.room in receiver.rooms
        assert id not in receiver.writing or id in receiver.let_go, "it waits for that very socket"
        had = any(id in each.writing + each.got for each in self.here)
        assert counts or had, "nobody has it, so this is another delivery"
        writing = any(id in each.writing and id not in each.let_go for each in self.here)
        assert id in self.written or not (counts and writing), "nobody could acknowledge it yet"
        self.given.add(id)
        assert message.deliveries < self.limits.max_deliveries
        if id not in receiver.first:
            receiver.first.append(id)
        receiver.writing.append(id)

    def settle(self, id: str) -> None:
        was_here = id in self.machine
        was_pending = self.pending.pop(id, None) is not None

        assert self.machine.settle([id, id]) == ([id] if was_here else [])
        assert self.machine.settle([id]) == []
        if was_pending:
            self.over[id] = "settled"

    def expire(self) -> None:
        for message in list(self.pending.values()):
            if message.expires <= self.now:
                del self.pending[message.id]
                self.over[message.id] = "expired"

    def who(self, number: int) -> Receiver | None:
        return self.here[number % len(self.here)] if self.here else None

    def room_of(self, id: str) -> str | None:
        return self.rooms[id]

    # What is always so.

    @invariant()
    def no_more_than_the_window_is_in_flight(self) -> None:
        if hasattr(self, "machine"):
            given = [id for id in self.pending if id in self.machine and id in self.given]

            assert self.machine.in_flight <= self.limits.window
            assert self.machine.in_flight <= len(given)
            assert len(self.machine) <= self.limits.held

    @invariant()
    def each_receiver_gets_what_is_new_in_the_order_of_put(self) -> None:
        if hasattr(self, "machine"):
            for receiver in self.here:
                for room in (None, *receiver.rooms):
                    of_room = [id for id in receiver.first if self.room_of(id) == room]
                    assert of_room == sorted(of_room, key=self.put_order.index)

    def teardown(self) -> None:
        """One who reads and acknowledges everything ends it all."""
        if not hasattr(self, "machine"):
            return
        reader = Receiver(self.came)
        self.here.append(reader)
        reader.rooms = {"r", "s"}
        self.machine.connected(reader, reader.rooms)
        self.pump()
        for _ in range(10 * (len(self.put_order) + 1)):
            for id in reader.writing:
                reader.got.append(id)
                self.settle(id)
            reader.writing.clear()
            due = self.machine.next_due()
            if due is not None:
                self.now = max(self.now, due)
            self.pump()

        assert self.pending == {}
        assert set(self.over) == set(self.put_order)
        assert len(self.machine) == 0
        assert self.machine.in_flight == 0


TestRedelivery = RedeliveryMachine.TestCase


@given(lives=st.lists(st.floats(0.0, 100.0), max_size=12))
def test_what_nobody_acknowledges_dies(lives: list[float]) -> None:
    """After as many deliveries as there may be, however often connections come and go."""
    rules = RedeliveryRules()
    machine: Redelivery[int] = Redelivery(rules, lambda: 0.5)
    now, deliveries, end = 0.0, 0, 0.0

    for number, life in enumerate([*lives, 1e6]):
        machine.connected(number)
        machine.offer("m", room=None, expires=1e9, deliveries=deliveries)
        end = now + life
        while now <= end and not machine.dead:
            machine.advance(now)
            while (giving := machine.take(now)) is not None:
                machine.written(giving.receiver, "m")
            due = machine.next_due()
            assert due is None or due > now
            now = end + 1 if due is None else due
        machine.gone(number, end)
        deliveries = max([deliveries, *machine.counted.values()])
        machine.counted.clear()

    assert machine.dead == ["m"]
    assert deliveries == rules.max_deliveries
    assert len(machine) == 0
