"""
Settings: one frozen object, from arguments, environment and a TOML file, in this precedence.

An unknown or impossible setting is an error at start that names it and says what is
allowed. Environment variables are named ``WSUPERVISOR_`` and the setting; the file is
``wsupervisor.toml`` in the working directory, or the one that ``config`` names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from actors.overflow import Overflow
from supervisor.errors import SettingsError
from supervisor.policies import PolicyTables, policy_fields, policy_place
from supervisor.room_names import has_control_characters
from supervisor.room_policy import RoomPolicy, classes_with
from supervisor.validation import Count, Place, Seconds, explain, listed, no_flag, problem, unknown

__all__ = ["Settings"]

PREFIX = "WSUPERVISOR_"
DEFAULT_FILE = "wsupervisor.toml"

_OVERFLOWS = (Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, Overflow.DISCONNECT, Overflow.BLOCK)
_DAY = 86_400.0

_STORES = (
    "memory:// or sqlite:///PATH, such as sqlite:///feeds.db in the working directory "
    "or sqlite:////var/lib/feeds.db"
)

_NO_MORE_THAN = (
    ("mailbox_bytes", "room_mailbox_bytes", "a room has to hold the largest message"),
    ("inbox_window", "inbox_capacity", "what is under way counts as waiting"),
)
"""Settings of which the first may be as large as the second, and why."""

Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), BeforeValidator(no_flag)]


class Settings(BaseSettings):
    """
    Everything that can be set. Times are in seconds, sizes in bytes; None means no limit.

    Raises:
        SettingsError: If a setting is unknown or impossible.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, env_parse_none_str="none"
    )

    config: Path | None = None
    """TOML file to read instead of ``wsupervisor.toml`` in the working directory."""

    broker: str = "memory://"
    """What links the nodes; ``memory://`` links those of this process."""
    history: str = "memory://"
    """What keeps the messages of ``log`` and ``status`` rooms: ``memory://``, which forgets them with
    the process, or ``sqlite:///PATH``, a file. After ``sqlite://`` comes the path behind a slash:
    ``sqlite:///feeds.db`` is relative to the working directory, ``sqlite:////var/lib/feeds.db``
    absolute."""
    inbox: str = "memory://"
    """What keeps the important messages of users until they have acknowledged; as ``history``."""
    store_failure: Literal["refuse", "memory"] = "refuse"
    """What happens when ``history`` or ``inbox`` fails while the node runs. ``refuse``: publishing
    what it should keep raises ``StoreUnavailable``. ``memory``: rooms go on in memory, and lose with
    the process what they took meanwhile. Readiness is false with both until it is repaired."""

    rooms: PolicyTables = {}
    """What rooms keep and give up, by pattern of their names, in which ``*`` stands for any
    characters and everything else for itself; the first that matches wins. A room that none matches is an ``event`` room. From one
    source as a whole; in the environment as JSON. See [Rooms](#rooms)."""

    mailbox_messages: Count = 1024
    """Messages that may wait for one socket."""
    mailbox_bytes: Count = 1 << 20
    """Bytes that may wait for one socket; also the largest message."""
    overflow: Overflow = Overflow.DROP_OLDEST
    """What a full mailbox gives up: ``drop_oldest``, ``drop_newest``, ``disconnect``, or with
    ``block`` nothing: the room, and who publishes there, wait for the slowest client."""
    block_timeout: Seconds = 5.0
    """Longest time that a room waits for a client without space, with the overflow ``block`` only;
    then the client is closed with 3008."""
    slow_share: Share = 0.75
    """Share of ``mailbox_messages`` and ``mailbox_bytes`` above which a client lags; more than 0,
    at most 1. Of a slow client no more than this is kept waiting."""
    slow_grace: Seconds = 5.0
    """Time that a client may lag without a break; then it is slow, until less than half of
    ``slow_share`` waits for it."""
    room_mailbox_messages: Count = 10_000
    """Messages that may wait for one room before publishers wait."""
    room_mailbox_bytes: Count = 64 << 20
    """Bytes that may wait for one room before publishers wait; at least ``mailbox_bytes``."""
    max_message_bytes: Count = 1 << 20
    """Largest message that a session takes from a client; a larger one closes it with 1009."""

    inbox_window: Count = 16
    """Important messages that are with one user at a time without an acknowledgement; at most
    ``inbox_capacity``."""
    ack_wait: Seconds = 30.0
    """Time that a user has to acknowledge an important message before it is sent again."""
    max_deliveries: Count = 10
    """Times that an important message is sent before it is given up."""
    important_expires: Seconds = 7 * _DAY
    """Time after which an important message that nobody acknowledged is given up."""
    inbox_capacity: Count = 1000
    """Important messages that may wait for one user."""

    accept_timeout: Seconds = 10.0
    """Longest time that accepting a socket may take."""
    send_timeout: Seconds = 10.0
    """Longest time that a socket may take nothing while something waits for it."""
    close_timeout: Seconds = 10.0
    """Longest time that closing a socket may take; then it is aborted."""
    publish_timeout: Seconds = 10.0
    """Longest time that ``publish`` waits for space in a room."""
    flush_timeout: Seconds = 0.05
    """Longest time that a fan-out of the drop-in face waits for sockets to take their message."""
    disconnect_grace: Seconds = 5.0
    """Time that an endpoint has to end by itself after its client has gone; then the body of
    its session is cancelled."""
    shutdown_grace: Seconds = 1.0
    """The same when the server shuts down; here every endpoint is cancelled."""
    drain_timeout: Seconds = 10.0
    """Longest time that the drain at the end of the lifespan may take."""

    idle_timeout: Seconds | None = None
    """Time without any message from the client after which it is closed."""
    max_lifetime: Seconds | None = None
    """Time after which a connection is closed and invited to come back."""
    sweep_interval: Seconds = 30.0
    """Time between two searches for zombies: registered sockets that are gone."""

    max_connections: Count | None = None
    """Connections of one node."""
    max_connections_per_user: Count | None = None
    """Connections of one user, in one node."""
    max_connections_per_ip: Count | None = None
    """Connections from one address, in one node."""
    max_rooms_per_connection: Count = 128
    """Rooms that one connection may be in."""
    max_connections_per_room: Count | None = None
    """Connections that may be in one room, in one node."""

    allowed_origins: tuple[str, ...] | None = None
    """Origins whose pages may connect, such as ``https://app.example.com`` or
    ``https://*.example.com``; ``*`` allows all. None: the server's own origin only."""

    restart_intensity: Annotated[int, Field(ge=0)] = 5
    """Restarts of one room within ``restart_period`` that are taken for bad luck."""
    restart_period: Seconds = 10.0
    """Window of ``restart_intensity``."""
    closed_ring: Count = 1000
    """Closed connections whose reason is remembered."""

    def __init__(self, **arguments: Any) -> None:
        try:
            super().__init__(**arguments)
        except ValidationError as error:
            raise SettingsError(_explain(error, arguments)) from None

    @field_validator("overflow", mode="before")
    @classmethod
    def _overflow_of_mailboxes(cls, value: object) -> object:
        words = [each.value for each in _OVERFLOWS]
        if value in _OVERFLOWS or value in words:
            return value
        text = f"must be {listed(words)}"
        if value in list(Overflow) or value in [each.value for each in Overflow]:
            text += "; conflate and cursor belong to the status and log rooms of the setting rooms"
        raise ValueError(text)

    @field_validator("history", "inbox")
    @classmethod
    def _only_known_stores(cls, value: str) -> str:
        path = value.removeprefix("sqlite:///")
        if value == "memory://":
            return value
        if path != value and path.strip("/") and not path.endswith("/"):
            if set(path) & set("?#"):  # parameters, for whoever knows them from other libraries
                raise ValueError("the path of a SQLite file here has neither ? nor #")
            if path.startswith(":"):
                raise ValueError("SQLite's own words are no file; memory:// keeps all in memory")
            if not has_control_characters(path):  # a line end that came along
                return value
        if value.startswith(("redis://", "rediss://")):
            raise ValueError(f"redis comes with a later version; this one has {_STORES}")
        raise ValueError(f"must be {_STORES}")

    @field_validator("broker")
    @classmethod
    def _only_known_brokers(cls, value: str) -> str:
        if value != "memory://":
            raise ValueError("this version has the broker memory://")
        return value

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _list_of_origins(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError(  # noqa: TRY004 - what pydantic takes
                'must be a list, such as ["https://app.example.com"]; in the environment as JSON'
            )
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _only_origins(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for origin in value or ():
            if origin != "*" and not _looks_like_origin(origin):
                raise ValueError(
                    f"{origin!r} is no origin; an origin is scheme://host or scheme://host:port, "
                    "without a path, or scheme://*.domain for its subdomains, or * for all"
                )
        return value

    @model_validator(mode="after")
    def _settings_that_go_together(self) -> Self:
        """Refuse what means nothing beside another setting, by the name of one that was set."""
        problems = [*self._bounds_that_exclude_each_other(), *self._timeouts_without_blocking()]
        if problems:
            raise ValidationError.from_exception_data("settings", problems)
        return self

    def _bounds_that_exclude_each_other(self) -> Iterator[InitErrorDetails]:
        for lower, upper, why in _NO_MORE_THAN:
            least, most = getattr(self, lower), getattr(self, upper)
            if least > most and lower in self.model_fields_set:
                yield problem(f"must be at most {upper}, {most}: {why} (it was {least})", lower)
            elif least > most:
                yield problem(f"must be at least {lower}, {least}: {why} (it was {most})", upper)

    def _timeouts_without_blocking(self) -> Iterator[InitErrorDetails]:
        if self.overflow is Overflow.BLOCK:
            return
        only, here = (
            "is for the overflow 'block' only",
            f"the setting overflow, {self.overflow.value!r}",
        )
        for pattern, policy in self.rooms.items():
            if policy.block_timeout is not None and policy.overflow is None:
                yield problem(f"{only}; here it is {here}", "rooms", pattern, "block_timeout")
        waits = self.block_timeout != type(self).model_fields["block_timeout"].default
        if waits and all(policy.overflow is not Overflow.BLOCK for policy in self.rooms.values()):
            yield problem(f"{only}, and no room has it: see {here}, and rooms", "block_timeout")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Say where settings come from; the first source that has one wins."""
        assert isinstance(init_settings, InitSettingsSource)
        named = _named_file(init_settings.init_kwargs)
        if named and not isinstance(named, str | os.PathLike):
            raise SettingsError(f"config: must be the path of a file (it was {named!r})")
        path = Path(named or DEFAULT_FILE)
        if named and not path.is_file():
            raise SettingsError(f"config: there is no file {str(path)!r}")
        return (
            init_settings,
            _StrictEnvironment(settings_cls),
            _ReadableToml(settings_cls, path),
        )


def _named_file(arguments: Mapping[str, Any]) -> Any:
    """Return what the file was said to be; nothing if that was left to its default."""
    return arguments.get("config") or os.environ.get(f"{PREFIX}CONFIG")


class _StrictEnvironment(EnvSettingsSource):
    """The environment, where a misspelt variable is an error and not silence."""

    def __call__(self) -> dict[str, Any]:
        known = {f"{PREFIX}{name}".upper() for name in self.settings_cls.model_fields}
        for variable in os.environ:
            if variable.upper().startswith(PREFIX) and variable.upper() not in known:
                hint = _of_rooms(variable[len(PREFIX) :].lower())
                raise SettingsError(unknown(variable, known, "environment variable", hint=hint))
        try:
            return _whole_rooms(self, super().__call__())
        except ValueError as error:  # a value that should be JSON and is not
            raise SettingsError(_no_json(error)) from None


def _no_json(error: ValueError) -> str:
    """Say which variable is to be JSON and is not, and where it ceases to be."""
    found = re.search('field "(\\w+)"', str(error))
    if found is None:
        return f"environment: {error}"
    setting = found[1]
    return f"{setting} (from {PREFIX}{setting.upper()}): no JSON: {error.__cause__ or error}"


class _ReadableToml(TomlConfigSettingsSource):
    """The file, whose syntax errors name it."""

    def __call__(self) -> dict[str, Any]:
        return _whole_rooms(self, super().__call__())

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        try:
            found = super()._read_file(file_path)
        except (OSError, ValueError) as error:
            raise SettingsError(f"{file_path}: {error}") from None
        if "config" in found:
            raise SettingsError(
                f"config: {file_path} cannot name another file; an argument or {PREFIX}CONFIG can"
            )
        return found


def _whole_rooms(source: PydanticBaseSettingsSource, found: dict[str, Any]) -> dict[str, Any]:
    """Leave ``rooms`` out if an earlier source has them, in which only whole settings are merged."""
    if "rooms" not in source.current_state:
        return found
    return {name: value for name, value in found.items() if name != "rooms"}


def _explain(error: ValidationError, arguments: dict[str, Any]) -> str:
    def name(place: Place) -> str:
        if not place:
            return "settings"
        setting, *below = [str(part) for part in place]
        if setting in arguments:
            source = ""
        elif (variable := f"{PREFIX}{setting}".upper()) in os.environ:
            source = f" (from {variable})"
        else:
            source = f" (from {_named_file(arguments) or DEFAULT_FILE})"
        return f"{setting}{policy_place(tuple(below)) if below else ''}{source}"

    def known(place: Place) -> set[str]:
        return set(Settings.model_fields) if len(place) == 1 else policy_fields()

    def hint(place: Place) -> str | None:
        return _of_rooms(str(place[0])) if len(place) == 1 else None

    return explain(error, name, known, hint)


def _of_rooms(name: str) -> str | None:
    """Return where ``name``, which is no setting, belongs to, if that is in the rooms."""
    if name == "class":
        return 'it is for rooms: rooms."PATTERN".class'
    if name not in RoomPolicy.model_fields or not (classes := classes_with(name)):
        return None
    return f'it is for rooms: rooms."PATTERN".{name}, in the class {listed(classes)}'


def _looks_like_origin(text: str) -> bool:
    scheme, separator, host = text.partition("://")
    if not (scheme and separator and host) or set(host) & set("/?# "):
        return False
    return "*" not in host.removeprefix("*.") and host != "*."
