"""
Settings: one frozen object, from arguments, environment and a TOML file, in this precedence.

An unknown or impossible setting is an error at start that names it and says what is
allowed. Environment variables are named ``WSUPERVISOR_`` and the setting; the file is
``wsupervisor.toml`` in the working directory, or the one that ``config`` names.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
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

__all__ = ["Settings"]

PREFIX = "WSUPERVISOR_"
DEFAULT_FILE = "wsupervisor.toml"


def _no_flag(value: object) -> object:
    if isinstance(value, bool):  # which Python takes for 0 or 1
        raise ValueError("must be a number")  # noqa: TRY004 - what pydantic takes
    return value


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_no_flag)]
Count = Annotated[int, Field(ge=1), BeforeValidator(_no_flag)]


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

    mailbox_messages: Count = 1024
    """Messages that may wait for one socket."""
    mailbox_bytes: Count = 1 << 20
    """Bytes that may wait for one socket; also the largest message."""
    overflow: Overflow = Overflow.DROP_OLDEST
    """What a full mailbox gives up: ``drop_oldest``, ``drop_newest``, ``disconnect``, or with
    ``block`` nothing: the room, and who publishes there, wait for the slowest client."""
    block_timeout: Seconds = 5.0
    """Longest time that a room waits for a client without space, with ``block``; then the client
    is closed with 3008."""
    room_mailbox_messages: Count = 10_000
    """Messages that may wait for one room before publishers wait."""
    room_mailbox_bytes: Count = 64 << 20
    """Bytes that may wait for one room before publishers wait; at least ``mailbox_bytes``."""
    max_message_bytes: Count = 1 << 20
    """Largest message that a session takes from a client; a larger one closes it with 1009."""

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

    @field_validator("room_mailbox_bytes")
    @classmethod
    def _room_for_any_message(cls, value: int, info: ValidationInfo) -> int:
        largest = info.data.get("mailbox_bytes", 1)
        if value < largest:
            raise ValueError(
                f"must be at least mailbox_bytes, {largest}: a room has to hold the largest message"
            )
        return value

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
        named = init_settings.init_kwargs.get("config") or os.environ.get(f"{PREFIX}CONFIG")
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


class _StrictEnvironment(EnvSettingsSource):
    """The environment, where a misspelt variable is an error and not silence."""

    def __call__(self) -> dict[str, Any]:
        known = {f"{PREFIX}{name}".upper() for name in self.settings_cls.model_fields}
        for variable in os.environ:
            if variable.upper().startswith(PREFIX) and variable.upper() not in known:
                raise SettingsError(_unknown(variable, known, "environment variable"))
        try:
            return super().__call__()
        except ValueError as error:  # a value that should be JSON and is not
            raise SettingsError(f"environment: {error}") from None


class _ReadableToml(TomlConfigSettingsSource):
    """The file, whose syntax errors name it."""

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


def _explain(error: ValidationError, arguments: dict[str, Any]) -> str:
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"]) or "settings"
        setting = str(problem["loc"][0]) if problem["loc"] else ""
        variable = f"{PREFIX}{setting}".upper()
        if setting not in arguments and setting:
            name += f" (from {variable})" if variable in os.environ else " (from the TOML file)"
        if problem["type"] == "extra_forbidden":
            lines.append(_unknown(setting, set(Settings.model_fields), "setting"))
        else:
            text = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{name}: {text} (it was {problem.get('input')!r})")
    return "\n".join(lines)


def _unknown(name: str, known: set[str], kind: str) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}"
    return f"{name}: unknown {kind}; {hint}"


def _looks_like_origin(text: str) -> bool:
    scheme, separator, host = text.partition("://")
    if not (scheme and separator and host) or set(host) & set("/?# "):
        return False
    return "*" not in host.removeprefix("*.") and host != "*."
