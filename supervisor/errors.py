"""
Errors of the supervisor, named by what they mean.

::

    SupervisorError
    ├── SettingsError        (ValueError)  a setting is unknown or impossible
    ├── NotRunning
    │   ├── NotStarted       used before it was started
    │   └── Drained          used after it was drained
    ├── InvalidRoomName      (ValueError)  no room can have it
    ├── InvalidPublication   (ValueError)  the room takes no such thing
    ├── UnserialisableData   (TypeError)   no wire format can express it
    ├── UnsupportedSocket    (TypeError)   there is no way to send to it
    ├── UnknownConnection    (LookupError) not, or no longer, connected here
    ├── NotAMember           (LookupError) left a room that it was not in
    ├── StoreUnavailable     what keeps messages cannot be used, or has failed
    │   └── StoreFull        it has too much to write; later it may have space
    └── AppendRefused        the room was left as it is
        ├── OffsetConflict   it is not where the publisher expected it
        └── LogEnded         it was said to have ended

    starlette.websockets.WebSocketDisconnect
    └── SessionEnded             the client has gone, or the session was closed
        ├── ConnectionRefused    refused before it was accepted
        │   └── JoinRefused      a room, or the connection, has no place for the other
        └── InvalidMessage       the client sent what the endpoint did not expect

Those of the second tree are what an endpoint meets: one ``except WebSocketDisconnect`` is
enough to catch them, and one that is not caught ends the endpoint without a traceback. :mod:`actors.errors` has the errors of the machine below, of which publishers meet
``MailboxFull``, ``MessageTooLarge`` and ``WrongLoop``.
"""

from starlette.websockets import WebSocketDisconnect

from actors.positions import Position

__all__ = [
    "AppendRefused",
    "ConnectionRefused",
    "Drained",
    "InvalidMessage",
    "InvalidPublication",
    "InvalidRoomName",
    "JoinRefused",
    "LogEnded",
    "NotAMember",
    "NotRunning",
    "NotStarted",
    "OffsetConflict",
    "SessionEnded",
    "SettingsError",
    "StoreFull",
    "StoreUnavailable",
    "SupervisorError",
    "UnknownConnection",
    "UnserialisableData",
    "UnsupportedSocket",
]


class SupervisorError(Exception):
    """Base of the errors of this package that are not the end of a socket."""


class SettingsError(SupervisorError, ValueError):
    """A setting is unknown or impossible; the message names it and says what is allowed."""


class NotRunning(SupervisorError):
    """The supervisor does not run."""


class NotStarted(NotRunning):
    """The supervisor was used before it was started."""


class Drained(NotRunning):
    """The supervisor was used after it was drained."""


class InvalidRoomName(SupervisorError, ValueError):
    """
    The name of a room is malformed.

    A name is a ``str`` of 1 to 255 characters, none of them a control character, that does not begin
    with ``$``. Where a session is asked for a room that has another ``str`` for a name, which a client
    may have chosen, the client is refused instead; see :class:`ConnectionRefused`.
    """


class InvalidPublication(SupervisorError, ValueError):
    """What was to be published has something that rooms of that class have no use for, or lacks it."""


class UnserialisableData(SupervisorError, TypeError):
    """The data cannot be expressed in the wire format."""


class UnsupportedSocket(SupervisorError, TypeError):
    """The object offers no way to send."""


class UnknownConnection(SupervisorError, LookupError):
    """The connection is not, or no longer, connected here."""


class NotAMember(SupervisorError, LookupError):
    """The connection is not in that room."""


class StoreUnavailable(SupervisorError):
    """What keeps messages cannot be used, or has failed; the text says what would help."""


class StoreFull(StoreUnavailable):
    """What keeps messages has too much to write now; later it may have space."""


class AppendRefused(SupervisorError):
    """The message was not kept, nor published: the room was left as it is."""


class OffsetConflict(AppendRefused):
    """
    The room is not at the offset that the publisher expected.

    Attributes:
        current: Where it is.
    """

    def __init__(self, room: str, expected: int, current: Position) -> None:
        super().__init__(f"room {room!r} is at offset {current.offset}, not at {expected}")
        self.current = current


class LogEnded(AppendRefused):
    """The room was said to have ended; nothing more is taken."""


class SessionEnded(WebSocketDisconnect):
    """The client has gone, or the session was closed: with ``code`` and ``reason``."""

    def __str__(self) -> str:
        return f"{self.reason or 'disconnected'} (close code {int(self.code)})"


class ConnectionRefused(SessionEnded):
    """
    The connection was refused; the client was told.

    Attributes:
        code: Close code; before the accept, the client sees ``status`` instead.
        reason: What limit or rule it was.
        status: HTTP status of the refusal.
    """

    def __init__(self, code: int, reason: str, status: int = 403) -> None:
        super().__init__(code, reason)
        self.status = status


class JoinRefused(ConnectionRefused):
    """A join was refused; uncaught, it ends the session with its code."""


class InvalidMessage(SessionEnded):
    """The client sent what the endpoint did not expect; its socket was closed with ``code``."""
