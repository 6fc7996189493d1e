"""Policies of rooms: their presets, and what is impossible."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from actors.overflow import Overflow
from supervisor.errors import SettingsError
from supervisor.history.base import Retention
from supervisor.room_policy import RoomPolicy

FEEDS = ["event", "status", "log", "alert"]
"""The classes."""


def preset(feed: str, **overrides: Any) -> RoomPolicy:
    """Return the preset of a class."""
    make = {
        "event": RoomPolicy.event,
        "status": RoomPolicy.status,
        "log": RoomPolicy.log,
        "alert": RoomPolicy.alert,
    }[feed]
    return make(**overrides)


# Presets.


def test_an_event_room_keeps_nothing() -> None:
    """What it gives up is what the settings say."""
    policy = RoomPolicy.event()

    assert (policy.feed, policy.overflow, policy.block_timeout) == ("event", None, None)
    assert (policy.on_join, policy.brake, policy.keeps) == ("live", 0.0, False)
    assert policy == RoomPolicy()


def test_a_log_room_keeps_what_was_published() -> None:
    """By number, bytes and age; slow members read on at their own speed."""
    policy = RoomPolicy.log()

    assert policy.keeps
    assert policy.overflow is Overflow.CURSOR
    assert (policy.durability, policy.on_join, policy.on_gap) == ("written", "start", "continue")
    assert policy.retention == Retention(
        records=100_000, size=64 << 20, age=86_400.0, compact=False, meta_age=30 * 86_400.0
    )


def test_a_status_room_keeps_the_newest_of_every_key() -> None:
    """However old."""
    policy = RoomPolicy.status(tombstone_ttl=60)

    assert policy.keeps
    assert policy.overflow is Overflow.CONFLATE
    assert policy.key_ttl is None
    assert policy.on_join == "snapshot"
    assert policy.retention == Retention(
        records=10_000,
        size=16 << 20,
        age=None,
        compact=True,
        tombstone_age=60.0,
        meta_age=30 * 86_400.0,
    )


def test_an_alert_room_leaves_its_messages_to_inboxes() -> None:
    """They expire; there is no history and nothing to overflow."""
    policy = RoomPolicy.alert()

    assert policy.expires_after == 7 * 86_400.0
    assert policy.overflow is None
    assert not policy.keeps


@pytest.mark.parametrize("feed", ["event", "alert"])
def test_what_keeps_nothing_has_no_retention(feed: str) -> None:
    """To ask for it is a mistake."""
    with pytest.raises(LookupError, match=f"class {feed} have no history"):
        _ = preset(feed).retention


@pytest.mark.parametrize("feed", FEEDS)
def test_a_preset_takes_overrides(feed: str) -> None:
    """By the names of its fields; it stays of its class."""
    policy = preset(feed, on_join="live")

    assert policy.feed == feed
    assert policy.on_join == "live"


@pytest.mark.parametrize("feed", FEEDS)
def test_a_policy_can_be_made_of_the_fields_of_another(feed: str) -> None:
    """Also of those that its class does not have, as they are."""
    policy = preset(feed)

    assert RoomPolicy(**policy.model_dump()) == policy
    assert hash(RoomPolicy(**policy.model_dump())) == hash(policy)


def test_a_policy_does_not_change() -> None:
    """Whoever has it need not look again."""
    with pytest.raises(ValueError, match="frozen"):
        RoomPolicy.log().brake = 0.005


def test_the_epoch_is_remembered_as_long_as_the_records() -> None:
    """If those are kept, or valid, for longer than it is remembered by default."""
    assert RoomPolicy.log(history_ttl=60 * 86_400).meta_ttl == 60 * 86_400.0
    assert RoomPolicy.log(history_ttl=60).meta_ttl == 30 * 86_400.0
    assert RoomPolicy.log(history_ttl=None).retention.age is None
    assert RoomPolicy.status(key_ttl=60 * 86_400).meta_ttl == 60 * 86_400.0
    assert RoomPolicy.status(history_ttl=90 * 86_400, key_ttl=60).meta_ttl == 90 * 86_400.0


# What is impossible.

OVERFLOWS = {
    "event": {"drop_oldest", "drop_newest", "disconnect", "block"},
    "status": {"conflate"},
    "log": {"cursor", "disconnect", "block"},
    "alert": set[str](),
}


@pytest.mark.parametrize(("feed", "overflow"), list(product(FEEDS, Overflow)))
def test_each_class_has_its_own_policies_for_overflows(feed: str, overflow: Overflow) -> None:
    """By name or as a member; an error says which."""
    for value in (overflow, overflow.value):
        if overflow.value in OVERFLOWS[feed]:
            assert preset(feed, overflow=value).overflow is overflow
        else:
            with pytest.raises(SettingsError, match=rf"^overflow: .*class {feed}"):
                preset(feed, overflow=value)


JOINS: dict[str, list[str | int]] = {
    "event": ["live"],
    "status": ["snapshot", "live"],
    "log": ["start", "live", 1, 100],
    "alert": ["live"],
}


@pytest.mark.parametrize(
    ("feed", "on_join"),
    list(product(FEEDS, ["live", "start", "snapshot", 1, 100, 0, -1, True, 1.5, "5", None])),
)
def test_each_class_has_its_own_ways_to_join(feed: str, on_join: object) -> None:
    """A number of records only where there are any; a flag is none."""
    if any(on_join is each for each in JOINS[feed]):
        assert preset(feed, on_join=on_join).on_join == on_join
    else:
        with pytest.raises(SettingsError, match=rf"^on_join: must be '.*class {feed}"):
            preset(feed, on_join=on_join)


FIELDS: dict[str, tuple[object, str]] = {
    "history_size": (5, "status log"),
    "history_bytes": (5, "status log"),
    "history_ttl": (5.0, "status log"),
    "key_ttl": (5.0, "status"),
    "tombstone_ttl": (5.0, "status"),
    "meta_ttl": (40 * 86_400.0, "status log"),
    "durability": ("memory", "status log"),
    "on_gap": ("close", "status log"),
    "brake": (0.01, "event status log"),
    "expires_after": (5.0, "alert"),
}
"""What belongs to some classes only, with a value and the names of the classes."""


@pytest.mark.parametrize(("feed", "name"), list(product(FEEDS, FIELDS)))
def test_what_does_not_belong_to_a_class_cannot_be_set(feed: str, name: str) -> None:
    """It would be silence; the error says which classes have it."""
    value, classes = FIELDS[name]

    if feed in classes.split():
        assert getattr(preset(feed, **{name: value}), name) == value
    else:
        with pytest.raises(SettingsError, match=rf"^{name}: .*class {feed}") as error:
            preset(feed, **{name: value})
        assert all(f"'{each}'" in str(error.value) for each in classes.split())


@pytest.mark.parametrize(
    ("feed", "name"),
    [
        *product(["log", "status"], ["history_size", "history_bytes", "history_ttl", "meta_ttl"]),
        ("status", "key_ttl"),
        ("status", "tombstone_ttl"),
        ("event", "block_timeout"),
        ("log", "block_timeout"),
        ("alert", "expires_after"),
    ],
)
@pytest.mark.parametrize("value", [0, -1, True, False, "many", float("inf"), float("nan")])
def test_a_bound_is_more_than_nothing(feed: str, name: str, value: object) -> None:
    """And a number, and finite, and no flag."""
    with pytest.raises(SettingsError, match=rf"^{name}: .*(greater|finite|number|integer)"):
        preset(feed, **{name: value})


@pytest.mark.parametrize(
    ("feed", "name"),
    [
        *product(["log", "status"], ["history_size", "history_bytes", "meta_ttl"]),
        ("status", "tombstone_ttl"),
        ("alert", "expires_after"),
    ],
)
def test_what_has_to_be_bounded_is(feed: str, name: str) -> None:
    """There is no way to keep without end."""
    with pytest.raises(SettingsError, match=rf"^{name}: must be a number"):
        preset(feed, **{name: None})


@pytest.mark.parametrize("feed", ["log", "status"])
@pytest.mark.parametrize("name", ["history_size", "history_bytes"])
def test_what_is_counted_fits_into_every_store(feed: str, name: str) -> None:
    """SQLite's integers have 64 bits; a larger one would be refused with every publication."""
    assert getattr(preset(feed, **{name: 2**63 - 1}), name) == 2**63 - 1
    with pytest.raises(SettingsError, match=rf"^{name}: Input should be less than {2**63}"):
        preset(feed, **{name: 2**63})


@pytest.mark.parametrize("feed", ["log", "status"])
def test_only_an_event_room_leaves_the_overflow_to_the_settings(feed: str) -> None:
    """Who is slow in the others reads from the history, or is closed."""
    with pytest.raises(SettingsError, match=rf"^overflow: must be .* in the class {feed}"):
        preset(feed, overflow=None)


@pytest.mark.parametrize(
    ("feed", "overflow"),
    [(feed, overflow) for feed in ("event", "log") for overflow in sorted(OVERFLOWS[feed])],
)
def test_only_who_blocks_has_a_time_to_wait(feed: str, overflow: str) -> None:
    """Nobody waits otherwise; the error says what the overflow is."""
    if overflow == "block":
        assert preset(feed, overflow=overflow, block_timeout=1).block_timeout == 1.0
    else:
        with pytest.raises(SettingsError, match=rf"^block_timeout: .*'block' only.*'{overflow}'"):
            preset(feed, overflow=overflow, block_timeout=1)


def test_a_time_to_wait_needs_an_overflow() -> None:
    """A log says which it has; an event room may leave that to the settings."""
    assert RoomPolicy.event(block_timeout=1).block_timeout == 1.0
    with pytest.raises(SettingsError, match=r"^block_timeout: .*'block' only; here it is 'cursor'"):
        RoomPolicy.log(block_timeout=1)


def test_no_more_records_are_replayed_than_are_kept() -> None:
    """There would never be so many."""
    assert RoomPolicy.log(history_size=10, on_join=10).on_join == 10
    with pytest.raises(SettingsError, match=r"^on_join: must be at most history_size, 10"):
        RoomPolicy.log(history_size=10, on_join=11)
    with pytest.raises(SettingsError, match=r"^on_join: must be at most history_size, 100000"):
        RoomPolicy.log(on_join=100_001)


def test_no_value_is_valid_for_longer_than_it_is_kept() -> None:
    """It would be gone before it expires."""
    assert RoomPolicy.status(history_ttl=10, key_ttl=10).key_ttl == 10.0
    with pytest.raises(SettingsError, match=r"^key_ttl: must be at most history_ttl, 10"):
        RoomPolicy.status(history_ttl=10, key_ttl=11)


@pytest.mark.parametrize("brake", [-0.001, 0.0101, True, float("nan"), None])
def test_a_brake_is_short(brake: object) -> None:
    """A publisher is slowed down, not stopped."""
    with pytest.raises(SettingsError, match=r"^brake: "):
        RoomPolicy.log(brake=brake)


def test_records_are_not_kept_for_longer_than_their_epoch() -> None:
    """Nobody could go on after them."""
    with pytest.raises(SettingsError, match=r"^meta_ttl: must be at least history_ttl, 5184000"):
        RoomPolicy.log(history_ttl=60 * 86_400, meta_ttl=99)
    with pytest.raises(SettingsError, match=r"^meta_ttl: must be at least key_ttl, 100"):
        RoomPolicy.status(key_ttl=100, meta_ttl=99)


def test_an_impossible_age_is_the_only_error() -> None:
    """How long the epoch is remembered follows from it, and nobody has set that."""
    with pytest.raises(SettingsError) as error:
        RoomPolicy.log(history_ttl=float("inf"))

    assert str(error.value) == "history_ttl: Input should be a finite number (it was inf)"


@pytest.mark.parametrize(("name", "value"), [("durability", "disk"), ("on_gap", "stop")])
def test_a_word_that_is_none_is_an_error(name: str, value: str) -> None:
    """It says which there are."""
    with pytest.raises(SettingsError, match=rf"^{name}: .*'{value}'"):
        RoomPolicy.log(**{name: value})


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "brake"])
def test_of_a_policy_without_a_class_the_class_is_what_is_missing(name: str) -> None:
    """The error says which classes have what was set, and that this one has not been chosen."""
    value, classes = FIELDS[name]

    with pytest.raises(SettingsError, match=rf"^{name}: the class is missing; .*'event'") as error:
        RoomPolicy(**{name: value})

    _, _, those = str(error.value).partition("set it to ")
    assert those.replace("'", "").split(" or ") == classes.split()


def test_a_class_that_was_misspelt_is_not_missing() -> None:
    """What is unknown is told, which is the reason."""
    with pytest.raises(SettingsError, match=r"(?m)^fed: unknown setting; did you mean feed\?"):
        RoomPolicy(fed="log", history_size=3)


def test_an_unknown_class_is_an_error() -> None:
    """It says which there are."""
    with pytest.raises(SettingsError, match=r"^feed: .*'event', 'status', 'log' or 'alert'"):
        RoomPolicy(feed="lgo")


def test_an_unknown_field_is_an_error() -> None:
    """It says what may have been meant; of something strange, what there is."""
    with pytest.raises(SettingsError, match=r"^histroy_size: unknown.* mean history_size"):
        RoomPolicy.log(histroy_size=3)
    with pytest.raises(SettingsError, match=r"^colour: unknown.*known are.*history_size"):
        RoomPolicy.log(colour=3)


def test_several_errors_of_a_policy_are_told_at_once() -> None:
    """A line for each."""
    with pytest.raises(SettingsError) as error:
        RoomPolicy.log(history_size=0, overflow="conflate", colour=3)

    assert sorted(line.partition(":")[0] for line in str(error.value).splitlines()) == [
        "colour",
        "history_size",
        "overflow",
    ]
