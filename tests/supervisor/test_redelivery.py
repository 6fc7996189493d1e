"""Single rules of redelivery, by hand; the property tests mix them."""

from __future__ import annotations

from supervisor.redelivery import Giving, Redelivery, RedeliveryRules

NEVER = 1e9


def machine(*receivers: str, **rules: int) -> Redelivery[str]:
    """Return a machine with receivers who are in no room."""
    made: Redelivery[str] = Redelivery(RedeliveryRules(**rules), lambda: 0.5)  # type: ignore[arg-type]
    for receiver in receivers:
        made.connected(receiver)
    return made


def take_all(machine: Redelivery[str], now: float) -> list[tuple[str, str]]:
    """Return who is given what now, all of it taken."""
    machine.advance(now)
    given = []
    while (giving := machine.take(now)) is not None:
        given.append((giving.receiver, giving.id))
    return given


def test_what_is_not_written_yet_is_not_given_twice() -> None:
    """Another receiver that has it, and does not acknowledge it, is given it again."""
    inbox = machine("slow", "fast")
    inbox.offer("m", room=None, expires=NEVER)
    assert take_all(inbox, 0) == [("slow", "m"), ("fast", "m")]
    inbox.written("fast", "m")

    assert take_all(inbox, 30) == []
    assert take_all(inbox, 34.9) == []
    assert take_all(inbox, 35) == [("fast", "m")]


def test_what_nobody_has_written_waits() -> None:
    """It is no delivery in vain: nobody could have acknowledged it."""
    inbox = machine("slow", max_deliveries=1)
    inbox.offer("m", room=None, expires=NEVER)
    take_all(inbox, 0)

    assert take_all(inbox, 30) == take_all(inbox, 60) == []
    inbox.written("slow", "m")
    take_all(inbox, 90)

    assert inbox.dead == ["m"]


def test_the_last_delivery_that_is_lost_is_the_last() -> None:
    """Although somebody else is there, who had no space."""
    inbox = machine("dying", max_deliveries=1)
    inbox.offer("m", room=None, expires=NEVER)
    take_all(inbox, 0)
    inbox.connected("full")
    giving = inbox.take(0)
    assert giving == Giving("full", "m", counts=False)
    inbox.refused(giving)

    inbox.gone("dying", 5.0)

    assert inbox.dead == ["m"]
    assert len(inbox) == 0


def test_a_refused_delivery_does_not_count() -> None:
    """It counts when there is space."""
    inbox = machine("full", max_deliveries=1)
    inbox.offer("m", room=None, expires=NEVER)
    giving = inbox.take(0)
    assert giving is not None
    inbox.refused(giving)
    assert inbox.in_flight == 0
    assert take_all(inbox, 100) == []

    inbox.unblocked("full")

    assert inbox.take(100) == Giving("full", "m", counts=True)
    assert inbox.in_flight == 1


def test_nobody_is_overtaken() -> None:
    """Who comes while the window is full gets what is before the first that waits, and then that."""
    inbox = machine("a", window=1)
    inbox.offer("m0", room=None, expires=NEVER)
    inbox.offer("m1", room=None, expires=NEVER)
    take_all(inbox, 0)

    inbox.connected("b")

    assert take_all(inbox, 1) == [("b", "m0")]
    inbox.settle(["m0"])
    assert take_all(inbox, 1) == [("a", "m1"), ("b", "m1")]


def test_who_leaves_a_room_lets_go_of_its_messages() -> None:
    """They are passed over until somebody joins."""
    inbox = machine()
    inbox.connected("a", ["room"])
    inbox.offer("m", room="room", expires=NEVER)
    take_all(inbox, 0)

    inbox.left("a", "room")

    assert len(inbox) == 0
    assert inbox.skipped == {"room"}
    inbox.joined("a", "room")
    assert inbox.offer("m", room="room", expires=NEVER, deliveries=1)


def test_overlapping_deliveries_are_one() -> None:
    """What is in flight when another machine counts a delivery belongs to that one."""
    inbox = machine("a", max_deliveries=2)
    inbox.offer("m", room=None, expires=NEVER)
    take_all(inbox, 0)
    inbox.written("a", "m")

    inbox.delivered_elsewhere("m", 1)
    assert take_all(inbox, 30) == []

    assert inbox.counted == {}
    assert inbox.dead == []
    assert take_all(inbox, 35) == [("a", "m")]


def test_deliveries_one_after_the_other_add_up() -> None:
    """What is given after another machine has counted a delivery is the next one."""
    inbox = machine("a", max_deliveries=2)
    inbox.offer("m", room=None, expires=NEVER)

    inbox.delivered_elsewhere("m", 1)
    take_all(inbox, 0)
    inbox.written("a", "m")
    take_all(inbox, 30)

    assert inbox.counted == {"m": 2}
    assert inbox.dead == ["m"]


def test_what_another_machine_gives_up_is_given_up() -> None:
    """Nobody here is given it, whatever becomes of the other machine; an older count is none."""
    inbox = machine("a", max_deliveries=2)
    inbox.offer("m", room=None, expires=NEVER)

    inbox.delivered_elsewhere("m", 2)
    inbox.delivered_elsewhere("m", 1)

    assert take_all(inbox, 0) == []
    assert inbox.dead == ["m"]
    assert not inbox.offer("m", room=None, expires=NEVER)


def test_what_waits_for_space_keeps_back_nothing_that_is_under_way() -> None:
    """A message of a room whose members had no space, overtaken by others that fill the window."""
    inbox = machine("outside", window=1)
    inbox.connected("inside", ["room"])
    inbox.offer("m0", room="room", expires=NEVER)
    giving = inbox.take(0)
    assert giving is not None
    inbox.refused(giving)
    inbox.offer("m1", room=None, expires=NEVER)
    assert take_all(inbox, 0) == [("outside", "m1")]
    inbox.written("outside", "m1")
    inbox.unblocked("inside")

    assert take_all(inbox, 1) == [("inside", "m1")]
    inbox.written("inside", "m1")
    assert take_all(inbox, 30) == []
    assert take_all(inbox, 35) == [("outside", "m1"), ("inside", "m1")]
    inbox.settle(["m1"])
    assert take_all(inbox, 36) == [("inside", "m0")]


def test_who_comes_while_the_window_is_full_gets_a_room_s_messages_in_order() -> None:
    """Nothing of the room comes before what waits for the window."""
    inbox = machine("outside", window=2)
    inbox.connected("inside", ["room"])
    inbox.offer("m0", room="room", expires=NEVER)
    giving = inbox.take(0)
    assert giving is not None
    inbox.refused(giving)
    for id in ("m1", "m2"):
        inbox.offer(id, room=None, expires=NEVER)
    inbox.offer("m3", room="room", expires=NEVER)
    assert take_all(inbox, 0) == [("outside", "m1"), ("outside", "m2")]

    inbox.connected("late", ["room"])

    assert take_all(inbox, 1) == [("late", "m1"), ("late", "m2")]
    inbox.settle(["m1", "m2"])
    assert take_all(inbox, 1) == [("late", "m0"), ("late", "m3")]
