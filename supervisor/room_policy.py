"""
What a room promises, keeps and gives up: the policy, an object of settings.

A room is of one of four classes. An ``event`` room keeps nothing and loses what a slow member cannot
take; a ``status`` room brings everybody the newest value of every key; a ``log`` room is complete
and in order, because slow members read on from its history; an ``alert`` room stays in the inboxes
of its members until they have acknowledged.

This module holds and checks policies; what they mean is done by the room actors, the stores and the
inboxes. Which room has which policy is decided in :mod:`supervisor.policies`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from actors.overflow import Overflow
from supervisor.errors import SettingsError
from supervisor.history.base import Durability, Retention
from supervisor.validation import Count, Seconds, explain, listed, no_flag, problem

__all__ = ["FEEDS", "Feed", "RoomPolicy", "classes_with"]

Feed = Literal["event", "status", "log", "alert"]
"""The class of a room."""

FEEDS: Final[tuple[str, ...]] = get_args(Feed)
"""All classes."""

_DAY: Final = 86_400.0
_META_TTL: Final = 30 * _DAY
_TOMBSTONE_TTL: Final = 3_600.0

_OWN: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "event": {"overflow": None, "block_timeout": None, "on_join": "live", "brake": 0.0},
        "status": {
            "overflow": Overflow.CONFLATE,
            "history_size": 10_000,
            "history_bytes": 16 << 20,
            "history_ttl": None,
            "key_ttl": None,
            "tombstone_ttl": _TOMBSTONE_TTL,
            "meta_ttl": _META_TTL,
            "durability": "written",
            "on_join": "snapshot",
            "on_gap": "continue",
            "brake": 0.0,
        },
        "log": {
            "overflow": Overflow.CURSOR,
            "block_timeout": None,
            "history_size": 100_000,
            "history_bytes": 64 << 20,
            "history_ttl": _DAY,
            "meta_ttl": _META_TTL,
            "durability": "written",
            "on_join": "start",
            "on_gap": "continue",
            "brake": 0.0,
        },
        "alert": {"on_join": "live", "expires_after": 7 * _DAY},
    }
)
"""What can be set in each class, and the defaults there."""

_OVERFLOWS: Mapping[str, tuple[Overflow, ...]] = MappingProxyType(
    {
        "event": (
            Overflow.DROP_OLDEST,
            Overflow.DROP_NEWEST,
            Overflow.DISCONNECT,
            Overflow.BLOCK,
        ),
        "status": (Overflow.CONFLATE,),
        "log": (Overflow.CURSOR, Overflow.DISCONNECT, Overflow.BLOCK),
        "alert": (),
    }
)

_JOINS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "event": ("live",),
        "status": ("snapshot", "live"),
        "log": ("start", "live"),
        "alert": ("live",),
    }
)

_NONE_IS_A_VALUE = frozenset({"overflow", "block_timeout", "history_ttl", "key_ttl"})

_NO_CLASS: Final = "the class is missing; without one it is 'event', which has none; set it to {}"

_REMEMBERED_AS_LONG = ("history_ttl", "key_ttl")
"""Times for which something is kept, so that the room has to be remembered as long."""

Brake = Annotated[float, Field(ge=0, le=0.010, allow_inf_nan=False), BeforeValidator(no_flag)]


def classes_with(name: str) -> list[str]:
    """Return the classes that have the field ``name``."""
    return [each for each, own in _OWN.items() if name in own]


class RoomPolicy(BaseModel):
    """
    What the rooms of one pattern promise, keep and give up.

    Made by the presets, :meth:`event`, :meth:`status`, :meth:`log` and :meth:`alert`, or from the
    table of a pattern in the settings; there ``feed`` is written ``class``. It does not change.
    What a class does not have cannot be set for it, and is None, or what its default is.

    Raises:
        SettingsError: If something is unknown, impossible, or not of the class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    feed: Feed = "event"
    """The class, which decides what can be set; ``class`` in TOML and the environment. Default:
    ``event``."""

    overflow: Overflow | None = None
    """What is given up for a member that has no space. ``event``: ``drop_oldest``, ``drop_newest``,
    ``disconnect`` or ``block``; by default None, which is the setting ``overflow``. ``status``:
    ``conflate``. ``log``: ``cursor`` (default), ``disconnect`` or ``block``."""

    block_timeout: Seconds | None = None
    """Longest time in seconds that the room waits for a member without space; more than 0. Only
    with the overflow ``block``. ``event``, ``log``. Default: None, which is the setting
    ``block_timeout``."""

    history_size: Count | None = None
    """Newest records that are kept; at least 1. In ``status``, values; besides them as many removed
    and expired keys are remembered, which never cost a value. Default: 100,000 for ``log``, 10,000
    for ``status``."""

    history_bytes: Count | None = None
    """Bytes of payloads and keys that are kept; at least 1. In ``status``, removed and expired keys
    are the first to be forgotten for them. Default: 64 MiB for ``log``, 16 MiB for ``status``."""

    history_ttl: Seconds | None = None
    """Time in seconds that a record is kept; more than 0. Default: 86,400 (a day) for ``log``; None,
    which is no bound, for ``status``."""

    key_ttl: Seconds | None = None
    """Time in seconds that a value is valid whose publisher does not say; more than 0, and at most
    ``history_ttl``. ``status``. Default: None, which is for ever."""

    tombstone_ttl: Seconds | None = None
    """Time in seconds that the room remembers that a key was removed, or has expired; more than 0.
    Less if such keys are too many: see ``history_size``. ``status``. Default: 3,600 (an hour)."""

    meta_ttl: Seconds | None = None
    """Time in seconds after its last record that the room is remembered: its epoch and offset, so
    that those who come back can go on, and what it still keeps; at least ``history_ttl`` and
    ``key_ttl``. ``log``, ``status``. Default: 30 days, or the longest of these."""

    durability: Durability = "written"
    """What ``await publish`` promises when it returns. ``written`` (default): the record is on disk,
    and the end of the process does not lose it. ``memory``: the store has taken it, and writes it
    soon; the publisher waits less, and a crash may lose the newest records. ``log``, ``status``. A
    store in memory promises no more than ``memory``."""

    on_join: Literal["start", "snapshot", "live"] | int = "live"
    """What a member gets first. ``log``: ``start``, everything kept (default); a number from 1, that
    many of the newest records, at most ``history_size``; or ``live``, nothing. ``status``: ``snapshot``, all values (default),
    or ``live``. Other classes: ``live``."""

    on_gap: Literal["continue", "close"] = "continue"
    """What becomes of a member that missed records which are no longer kept: it is told of the gap
    and goes on (``continue``, default), or is closed with 3010 (``close``). ``log``, ``status``."""

    brake: Brake = 0.0
    """Longest extra time in seconds that a publisher waits while at least half of the members are
    behind; 0 to 0.010. Not ``alert``. Default: 0, no brake."""

    expires_after: Seconds | None = None
    """Time in seconds after which an alert that nobody acknowledged is given up; more than 0.
    ``alert``. Default: 604,800 (7 days)."""

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            text = explain(error, lambda place: str(place[0]), lambda _: RoomPolicy.model_fields)
            raise SettingsError(text) from None

    # Within other models pydantic makes policies itself, and names where what is wrong stands; so
    # it does with its own RootModel.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def event(cls, **overrides: Any) -> Self:
        """
        Return the policy of rooms that keep nothing: at most once, in order.

        Args:
            overrides: Fields of this class, such as ``overflow="disconnect"``.

        Raises:
            SettingsError: If one is unknown, impossible, or not of this class.
        """
        return cls(feed="event", **overrides)

    @classmethod
    def status(cls, **overrides: Any) -> Self:
        """Return the policy of rooms that bring the newest value of every key; see :meth:`event`."""
        return cls(feed="status", **overrides)

    @classmethod
    def log(cls, **overrides: Any) -> Self:
        """Return the policy of rooms that are complete and in order; see :meth:`event`."""
        return cls(feed="log", **overrides)

    @classmethod
    def alert(cls, **overrides: Any) -> Self:
        """Return the policy of rooms whose messages wait in inboxes; see :meth:`event`."""
        return cls(feed="alert", **overrides)

    @property
    def keeps(self) -> bool:
        """Whether rooms have a history: those of the classes ``log`` and ``status``."""
        return self.feed in {"log", "status"}

    @cached_property
    def retention(self) -> Retention:
        """
        What the history keeps of a room.

        Raises:
            LookupError: If rooms of this class have no history.
        """
        if not self.keeps:
            raise LookupError(f"rooms of the class {self.feed} have no history")
        assert self.meta_ttl is not None
        forgets = self.tombstone_ttl  # a log has no tombstones
        return Retention(
            records=self.history_size,
            size=self.history_bytes,
            age=self.history_ttl,
            compact=self.feed == "status",
            tombstone_age=_TOMBSTONE_TTL if forgets is None else forgets,
            meta_age=self.meta_ttl,
        )

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any) -> Any:
        """Take ``class`` for ``feed``, and give the class's own defaults."""
        if not isinstance(data, Mapping):
            return data
        fields = dict(data)
        if "class" in fields and "feed" not in fields:
            fields["feed"] = fields.pop("class")
        if "feed" not in fields:
            cls._check_that_no_class_is_missing(fields)
        feed = fields.get("feed", "event")
        own = _OWN.get(feed) if isinstance(feed, str) else None
        if own is None:
            return fields
        fields = {**own, **fields}
        if "meta_ttl" in own and "meta_ttl" not in data:
            lasting = [fields.get(name) for name in _REMEMBERED_AS_LONG]
            ages = [age for age in lasting if isinstance(age, int | float) and math.isfinite(age)]
            fields["meta_ttl"] = max([_META_TTL, *ages])
        return fields

    @classmethod
    def _check_that_no_class_is_missing(cls, fields: Mapping[str, Any]) -> None:
        """Refuse what only other classes have, unless something unknown is more likely the reason."""
        known = cls.model_fields
        strange = (
            [] if fields.keys() - known.keys() else sorted(fields.keys() - _OWN["event"].keys())
        )
        problems = [
            problem(_NO_CLASS.format(listed(classes_with(name))), name)
            for name in strange
            if fields[name] != known[name].default
        ]
        if problems:
            raise ValidationError.from_exception_data("room", problems)

    @field_validator("overflow", mode="before")
    @classmethod
    def _overflow_of_the_class(cls, value: object, info: ValidationInfo) -> object:
        feed = info.data.get("feed")
        if feed is None or (value is None and _OWN[feed].get("overflow") is None):
            return value
        allowed = _OVERFLOWS[feed]
        if not allowed:
            raise ValueError(f"rooms of the class {feed} have none: what waits is in inboxes")
        if value not in allowed and value not in [each.value for each in allowed]:
            words = listed(each.value for each in allowed)
            raise ValueError(f"must be {words} in the class {feed}")
        return value

    @field_validator("on_join", mode="before")
    @classmethod
    def _join_of_the_class(cls, value: object, info: ValidationInfo) -> object:
        feed = info.data.get("feed")
        if feed is None or (isinstance(value, str) and value in _JOINS[feed]):
            return value
        if feed == "log" and isinstance(value, int) and not isinstance(value, bool) and value > 0:
            kept = info.data.get("history_size")
            if kept is not None and value > kept:
                raise ValueError(f"must be at most history_size, {kept}: no more are kept")
            return value
        number = ", or a number from 1," if feed == "log" else ""
        raise ValueError(f"must be {listed(_JOINS[feed])}{number} in the class {feed}")

    @field_validator("*")
    @classmethod
    def _of_the_class(cls, value: object, info: ValidationInfo) -> object:
        """Refuse what the class does not have, and no bound where there has to be one."""
        name, feed = info.field_name, info.data.get("feed")
        if name is None or feed is None:
            return value
        if name not in _OWN[feed]:
            if value != cls.model_fields[name].default:
                classes = listed(classes_with(name))
                raise ValueError(f"rooms of the class {feed} have none; it is for {classes}")
        elif value is None and name not in _NONE_IS_A_VALUE:
            raise ValueError("must be a number")
        return value

    @field_validator("block_timeout")
    @classmethod
    def _waits_only_if_it_blocks(cls, value: float | None, info: ValidationInfo) -> float | None:
        overflow = info.data.get("overflow")  # None: the settings know
        if value is not None and overflow is not None and overflow is not Overflow.BLOCK:
            raise ValueError(f"is for the overflow 'block' only; here it is {overflow.value!r}")
        return value

    @field_validator("key_ttl")
    @classmethod
    def _valid_no_longer_than_kept(cls, value: float | None, info: ValidationInfo) -> float | None:
        age = info.data.get("history_ttl")
        if value is not None and age is not None and value > age:
            raise ValueError(
                f"must be at most history_ttl, {age:.15g}: no value is kept for longer"
            )
        return value

    @field_validator("meta_ttl")
    @classmethod
    def _remembered_longer_than_kept(
        cls, value: float | None, info: ValidationInfo
    ) -> float | None:
        for name in _REMEMBERED_AS_LONG:
            age = info.data.get(name)
            if value is not None and age is not None and value < age:
                raise ValueError(f"must be at least {name}, {age:.15g}")
        return value
