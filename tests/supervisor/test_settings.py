"""Settings: where they come from, which source wins, and what an impossible one is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supervisor import Overflow, RoomPolicy, Settings, SettingsError, Supervisor

WriteToml = Callable[..., Path]

STORES = ["history", "inbox"]
"""Settings that name a store."""

NO_STORES = [
    "",
    "memory",
    "sqlite://",
    "sqlite:///",
    "sqlite://feeds.db",
    "sqlite:////",
    "sqlite:///feeds/",
    "feeds.db",
    "postgres://localhost/feeds",
]
"""What names none."""


@pytest.fixture(autouse=True)
def an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where no file of settings lies."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def toml(tmp_path: Path) -> WriteToml:
    """Write a file of settings into the working directory."""

    def write(text: str, name: str = "wsupervisor.toml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


# Sources.


def test_defaults_need_no_source() -> None:
    """Without arguments, environment and file everything has its default."""
    settings = Settings()

    assert settings.mailbox_messages == 1024
    assert settings.mailbox_bytes == 1 << 20
    assert settings.overflow is Overflow.DROP_OLDEST
    assert settings.max_connections is None
    assert settings.allowed_origins is None
    assert settings.broker == settings.history == settings.inbox == "memory://"
    assert settings.rooms == {}


def test_arguments_win_over_the_environment_and_that_over_the_file(
    toml: WriteToml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each setting is looked for on its own."""
    toml("max_connections = 1\nclosed_ring = 1\nmailbox_messages = 1\n")
    monkeypatch.setenv("WSUPERVISOR_MAX_CONNECTIONS", "2")
    monkeypatch.setenv("WSUPERVISOR_CLOSED_RING", "2")

    settings = Settings(max_connections=3)

    assert settings.max_connections == 3
    assert settings.closed_ring == 2
    assert settings.mailbox_messages == 1


def test_an_argument_can_say_that_there_is_no_limit(toml: WriteToml) -> None:
    """None is a value."""
    toml("max_connections = 1")

    assert Settings(max_connections=None).max_connections is None


def test_the_environment_has_text_numbers_and_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever case; lists are JSON."""
    monkeypatch.setenv("WSUPERVISOR_OVERFLOW", "disconnect")
    monkeypatch.setenv("wsupervisor_send_timeout", "2.5")
    monkeypatch.setenv("WSUPERVISOR_ALLOWED_ORIGINS", '["https://a.example", "*"]')

    settings = Settings()

    assert settings.overflow is Overflow.DISCONNECT
    assert settings.send_timeout == 2.5
    assert settings.allowed_origins == ("https://a.example", "*")


def test_the_file_may_have_another_name(toml: WriteToml, monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument names it, or the environment; then the usual one is not read."""
    toml("max_connections = 1")
    first, second = toml("closed_ring = 2", "a.toml"), toml("closed_ring = 3", "b.toml")
    monkeypatch.setenv("WSUPERVISOR_CONFIG", str(first))

    assert Settings().closed_ring == 2
    assert Settings(config=second).closed_ring == 3
    assert Settings(config=str(second)).max_connections is None


def test_settings_do_not_change() -> None:
    """They are frozen: who has read one need not look again."""
    settings = Settings()

    with pytest.raises(ValueError, match="frozen"):
        settings.max_connections = 3


def test_a_supervisor_takes_them_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors come out of its constructor."""
    monkeypatch.setenv("WSUPERVISOR_CLOSED_RING", "2")

    assert Supervisor(max_connections=3).settings.closed_ring == 2
    with pytest.raises(SettingsError, match="max_connections"):
        Supervisor(max_connections=0)


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("url", ["memory://", "sqlite:///feeds.db", "sqlite:////var/lib/feeds.db"])
def test_a_store_is_memory_or_a_file(name: str, url: str) -> None:
    """With three slashes relative to the working directory, with four absolute."""
    assert Settings(**{name: url}).model_dump()[name] == url


# Rooms.

ROOMS = """
[rooms."log:special"]
class = "log"
history_size = 10

[rooms."log:*"]
class = "log"
"""


LOG = {"class": "log"}
"""The table of a log."""


def test_rooms_are_policies_by_pattern() -> None:
    """Arguments give them as they are, or as tables."""
    policy = RoomPolicy.log(history_size=10)

    settings = Settings(rooms={"a": policy, "b": {"class": "log", "history_size": 10}})

    assert settings.rooms["a"] is policy
    assert settings.rooms["b"] == policy


def test_the_file_has_a_table_for_each_pattern(toml: WriteToml) -> None:
    """In its order."""
    toml(ROOMS)

    rooms = Settings().rooms

    assert list(rooms.items()) == [
        ("log:special", RoomPolicy.log(history_size=10)),
        ("log:*", RoomPolicy.log()),
    ]


def test_the_environment_has_rooms_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where null says that there is no bound."""
    monkeypatch.setenv("WSUPERVISOR_ROOMS", '{"log:*": {"class": "log", "history_ttl": null}}')

    assert Settings().rooms == {"log:*": RoomPolicy.log(history_ttl=None)}


def test_rooms_come_from_one_source(toml: WriteToml, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patterns of several would have no order; the other settings are looked for on their own."""
    toml(f"closed_ring = 2\n{ROOMS}")
    assert list(Settings().rooms) == ["log:special", "log:*"]

    monkeypatch.setenv("WSUPERVISOR_ROOMS", '{"log:*": {"class": "status"}}')
    assert Settings().rooms == {"log:*": RoomPolicy.status()}

    settings = Settings(rooms={"log:*": {"class": "alert"}})
    assert settings.rooms == {"log:*": RoomPolicy.alert()}
    assert settings.closed_ring == 2
    assert Settings(rooms={}).rooms == {}


@pytest.mark.parametrize(
    ("rooms", "told"),
    [
        ({"log:*": {"class": "lgo"}}, "rooms.\"log:*\".class: Input should be 'event', "),
        ({"log:*": {"class": "log", "history_size": 0}}, 'rooms."log:*".history_size: Input sh'),
        ({"log:*": {"class": "log", "on_jion": 3}}, 'rooms."log:*".on_jion: unknown setting; did'),
        ({"log:*": {"class": "log", "history_size": True}}, 'rooms."log:*".history_size: must be'),
        ({"log:*": {"class": "log", "overflow": "conflate"}}, 'rooms."log:*".overflow: must be '),
        ({"log:*": {"on_gap": "close"}}, 'rooms."log:*".on_gap: the class is missing; without '),
        ({"log:*": 3}, 'rooms."log:*": must be a policy, RoomPolicy.log(), or a table, '),
        ({"log:*": {}}, 'rooms."log:*": the table is empty; set its class, '),
        ({"log:*": {"feed": "log"}}, 'rooms."log:*": unknown setting feed; did you mean class?'),
        ({"log:*": {"type": "log"}}, 'rooms."log:*".type: unknown setting; did you mean class?'),
        ({"": LOG}, 'rooms."": a pattern has '),
        ({"$sys": LOG}, 'rooms."$sys": room names that begin with'),
        ({"x" * 256: LOG}, f'rooms."{"x" * 256}": a room name has at most 255'),
        ({"*": LOG, "log:*": LOG}, 'rooms."log:*": never used: the earlier pattern "*" matches'),
    ],
)
def test_an_impossible_room_is_an_error(rooms: dict[str, object], told: str) -> None:
    """It names the pattern and the field."""
    with pytest.raises(SettingsError) as error:
        Settings(rooms=rooms)

    assert str(error.value).startswith(told)


def test_errors_of_rooms_and_others_are_told_at_once(
    toml: WriteToml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the source of each."""
    toml('[rooms."log:*"]\nclass = "log"\nhistory_size = 0\nhistory_bytes = 0')
    monkeypatch.setenv("WSUPERVISOR_SLOW_SHARE", "2")

    with pytest.raises(SettingsError) as error:
        Settings(closed_ring=0)

    assert sorted(line.partition(": ")[0] for line in str(error.value).splitlines()) == [
        "closed_ring",
        'rooms."log:*".history_bytes (from wsupervisor.toml)',
        'rooms."log:*".history_size (from wsupervisor.toml)',
        "slow_share (from WSUPERVISOR_SLOW_SHARE)",
    ]


# Errors name the setting, and say what is allowed.


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("max_connections", 0, "greater than or equal to 1"),
        ("max_connections", 2**63, "less than 9223372036854775808"),
        ("max_connections", -5, "greater than or equal to 1"),
        ("max_connections", 1.5, "integer"),
        ("max_connections", "many", "integer"),
        ("max_connections", True, "number"),
        ("mailbox_messages", None, "integer"),
        ("restart_intensity", -1, "greater than or equal to 0"),
        ("send_timeout", 0, "greater than 0"),
        ("send_timeout", -1.0, "greater than 0"),
        ("send_timeout", float("inf"), "finite"),
        ("send_timeout", float("nan"), "finite"),
        ("send_timeout", "soon", "number"),
        ("send_timeout", True, "number"),
        ("overflow", "drop", "'drop_oldest', 'drop_newest', 'disconnect' or 'block'"),
        ("overflow", ["drop_oldest"], "'drop_oldest', 'drop_newest', 'disconnect' or 'block'"),
        ("overflow", "refuse", "'drop_oldest', 'drop_newest', 'disconnect' or 'block'"),
        ("overflow", "cursor", "'disconnect' or 'block'; conflate and cursor belong to the status"),
        ("overflow", Overflow.CONFLATE, "'disconnect' or 'block'; conflate and cursor belong"),
        ("overflow", None, "'drop_oldest', 'drop_newest', 'disconnect' or 'block'"),
        ("broker", "redis://localhost", "memory://"),
        *((store, value, "memory:// or sqlite:///PATH") for store in STORES for value in NO_STORES),
        ("history", "redis://localhost", "redis comes with a later version"),
        ("inbox", "rediss://localhost", "redis comes with a later version"),
        ("history", None, "string"),
        ("store_failure", "ignore", "'refuse' or 'memory'"),
        ("slow_share", 0, "greater than 0"),
        ("slow_share", 1.01, "less than or equal to 1"),
        ("slow_share", True, "number"),
        ("slow_grace", 0, "greater than 0"),
        ("inbox_window", 0, "greater than or equal to 1"),
        ("ack_wait", 0, "greater than 0"),
        ("max_deliveries", 0, "greater than or equal to 1"),
        ("important_expires", 0, "greater than 0"),
        ("inbox_capacity", 0, "greater than or equal to 1"),
        ("inbox_capacity", 15, r"at least inbox_window, 16: .*\(it was 15\)"),
        ("inbox_window", 1001, r"at most inbox_capacity, 1000: .*\(it was 1001\)"),
        ("rooms", ["log:*"], "dictionary"),
        ("allowed_origins", "https://a.example", "list"),
        ("allowed_origins", ["a.example"], "scheme://host"),
        ("allowed_origins", ["https://a.example/path"], "scheme://host"),
        ("allowed_origins", ["https://a.example/"], "scheme://host"),
        ("allowed_origins", ["https://"], "scheme://host"),
        ("allowed_origins", ["null"], "scheme://host"),
        ("allowed_origins", ["https://*"], r"scheme://\*.domain"),
        ("allowed_origins", ["https://*."], r"scheme://\*.domain"),
        ("allowed_origins", ["https://a.*.example"], r"scheme://\*.domain"),
        ("room_mailbox_bytes", 1 << 19, "at least mailbox_bytes, 1048576"),
        ("mailbox_bytes", 1 << 27, "at most room_mailbox_bytes, 67108864"),
        ("block_timeout", 3, "'block' only, and no room has it: .*overflow, 'drop_oldest'"),
        ("config", 3, "path"),
    ],
)
def test_an_impossible_value_is_an_error(name: str, value: object, allowed: str) -> None:
    """Its message begins with the name, and has the value where that helps."""
    with pytest.raises(SettingsError, match=allowed) as error:
        Settings(**{name: value})

    assert str(error.value).startswith(f"{name}: ")


@pytest.mark.parametrize(
    "settings",
    [
        {"overflow": "block", "block_timeout": 3},
        {"block_timeout": 3, "rooms": {"chat:*": {"overflow": "block"}}},
        {"block_timeout": 3, "rooms": {"log:*": {"class": "log", "overflow": "block"}}},
        {"overflow": "block", "rooms": {"chat:*": {"block_timeout": 3}}},
        {"block_timeout": 5.0},
    ],
)
def test_a_time_to_wait_is_for_rooms_that_block(settings: dict[str, Any]) -> None:
    """All of them, or those of one pattern; the default may be said anywhere."""
    assert Settings(**settings).block_timeout in {3.0, 5.0}


def test_an_event_room_that_does_not_block_has_no_time_to_wait() -> None:
    """Its own would mean nothing where the setting ``overflow`` is another."""
    rooms = {"chat:*": {"block_timeout": 3}}
    told = (
        "rooms.\"chat:*\".block_timeout: is for the overflow 'block' only; here it is the setting "
    )

    with pytest.raises(SettingsError) as error:
        Settings(rooms=rooms, overflow="disconnect")

    assert str(error.value) == f"{told}overflow, 'disconnect'"


def test_of_two_settings_that_exclude_each_other_one_that_was_set_is_named(
    toml: WriteToml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With where it comes from; nobody finds a default in a file."""
    toml("inbox_capacity = 10")
    with pytest.raises(
        SettingsError, match=r"^inbox_capacity \(from wsupervisor\.toml\): must be at l"
    ):
        Settings()

    monkeypatch.setenv("WSUPERVISOR_INBOX_WINDOW", "20")
    with pytest.raises(
        SettingsError, match=r"^inbox_window \(from WSUPERVISOR_INBOX_WINDOW\): .*10"
    ):
        Settings()

    assert Settings(inbox_window=10).inbox_capacity == 10


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("MAX_CONNECTIONS", "many", "integer"),
        ("MAX_CONNECTIONS", "", "integer"),
        ("OVERFLOW", "drop", "'drop_oldest', 'drop_newest', 'disconnect' or 'block'"),
        ("ALLOWED_ORIGINS", "https://a.example", "JSON"),
        ("ALLOWED_ORIGINS", "[", "JSON|allowed_origins"),
    ],
)
def test_an_impossible_variable_is_an_error(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
) -> None:
    """It names the setting too."""
    monkeypatch.setenv(f"WSUPERVISOR_{variable}", value)

    with pytest.raises(SettingsError, match=allowed) as error:
        Settings()

    assert variable.lower() in str(error.value)


def test_several_errors_are_told_at_once() -> None:
    """A line for each."""
    with pytest.raises(SettingsError) as error:
        Settings(max_connections=0, send_timeout=0)

    assert sorted(line.partition(":")[0] for line in str(error.value).splitlines()) == [
        "max_connections",
        "send_timeout",
    ]


def test_a_misspelt_argument_is_an_error() -> None:
    """It says what may have been meant; of something strange, what there is."""
    with pytest.raises(SettingsError, match=r"max_conections: unknown.*mean max_connections"):
        Settings(max_conections=3)
    with pytest.raises(SettingsError, match=r"colour: unknown.*known are.*max_connections"):
        Settings(colour=3)


def test_a_misspelt_variable_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not silence."""
    monkeypatch.setenv("WSUPERVISOR_MAX_CONECTIONS", "3")

    with pytest.raises(SettingsError, match=r"WSUPERVISOR_MAX_CONECTIONS.*MAX_CONNECTIONS"):
        Settings()


def test_a_misspelt_setting_in_the_file_is_an_error(toml: WriteToml) -> None:
    """The same as an argument."""
    toml("max_conections = 3")

    with pytest.raises(SettingsError, match="mean max_connections"):
        Settings()


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_an_error_names_the_file_as_it_was_named(
    toml: WriteToml, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """There may be several."""
    toml("closed_ring = 0", "other.toml")
    arguments = {"config": "./other.toml"} if how == "argument" else {}
    if how == "environment":
        monkeypatch.setenv("WSUPERVISOR_CONFIG", "./other.toml")

    with pytest.raises(SettingsError, match=r"^closed_ring \(from \./other\.toml\): "):
        Settings(**arguments)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (
            "history_ttl",
            5,
            "it is for rooms: rooms.\"PATTERN\".history_ttl, in the class 'status' or",
        ),
        (
            "expires_after",
            5,
            "it is for rooms: rooms.\"PATTERN\".expires_after, in the class 'alert'",
        ),
        ("class", "log", 'it is for rooms: rooms."PATTERN".class'),
    ],
)
def test_what_is_set_for_rooms_is_no_setting_by_itself(
    toml: WriteToml, monkeypatch: pytest.MonkeyPatch, name: str, value: object, told: str
) -> None:
    """The error says where it belongs, whatever it is called like, and wherever it was set."""
    text = re.escape(told)
    with pytest.raises(SettingsError, match=f"^{name}: unknown setting; {text}"):
        Settings(**{name: value})

    path = toml(f"{name} = {value!r}")
    with pytest.raises(
        SettingsError, match=rf"^{name} \(from wsupervisor.toml\): unknown setting; {text}"
    ):
        Settings()

    path.unlink()
    variable = f"WSUPERVISOR_{name.upper()}"
    monkeypatch.setenv(variable, str(value))
    with pytest.raises(SettingsError, match=f"^{variable}: unknown environment variable; {text}"):
        Settings()


def test_variables_of_others_are_none_of_our_business(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only ours are looked at."""
    monkeypatch.setenv("SUPERVISOR_MAX_CONNECTIONS", "3")
    monkeypatch.setenv("MAX_CONNECTIONS", "3")

    assert Settings().max_connections is None


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_a_file_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """The usual one need not."""
    if how == "environment":
        monkeypatch.setenv("WSUPERVISOR_CONFIG", "missing.toml")
    arguments: dict[str, Any] = {"config": "missing.toml"} if how == "argument" else {}

    with pytest.raises(SettingsError, match=r"config: there is no file 'missing\.toml'"):
        Settings(**arguments)


@pytest.mark.parametrize("content", [b"max_connections = ", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    """With what is wrong in it."""
    (tmp_path / "wsupervisor.toml").write_bytes(content)

    with pytest.raises(SettingsError, match=r"wsupervisor\.toml: .+"):
        Settings()


def test_a_file_cannot_name_another(toml: WriteToml) -> None:
    """It would not be read, without a word."""
    toml('config = "other.toml"')

    with pytest.raises(SettingsError, match=r"config: .*WSUPERVISOR_CONFIG"):
        Settings()


def test_json_of_the_environment_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the setting, the variable, and the place where it ceases to be JSON."""
    monkeypatch.setenv("WSUPERVISOR_ROOMS", '{"log:*": {"class": "log"')

    with pytest.raises(SettingsError, match=r"rooms \(from WSUPERVISOR_ROOMS\): no JSON: .*column"):
        Settings()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("sqlite:///:memory:", "memory:// keeps all in memory"),
        ("sqlite:///x.db?mode=ro", "has neither . nor #"),
        ("sqlite:///a#b", "has neither . nor #"),
        ("sqlite:///\0", "must be memory://"),
        ("sqlite:///x.db\n", "must be memory://"),
    ],
)
def test_what_sqlite_would_make_of_a_path_is_no_path(url: str, text: str) -> None:
    """A file of that name would be made, and be a surprise; or none can be."""
    with pytest.raises(SettingsError, match=f"history: .*{text}"):
        Settings(history=url)
