"""
Errors of the supervisor, named by what they mean.

::

    SupervisorError
    ├── SettingsError        (ValueError)  a setting is unknown or impossible
    ├── NotRunning
    │   ├── NotStarted       used before it was started
    │   └── Drained          used after it was drained
    ├── InvalidRoomName      (ValueError)
    ├── UnserialisableData   (TypeError)   no wire format can express it
    ├── UnsupportedSocket    (TypeError)   there is no way to send to it
    ├── UnknownConnection    (LookupError) not, or no longer, connected here
    └── NotAMember           (LookupError) left a room that it was not in

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

__all__ = [
    "ConnectionRefused",
    "Drained",
    "InvalidMessage",
    "InvalidRoomName",
    "JoinRefused",
    "NotAMember",
    "NotRunning",
    "NotStarted",
    "SessionEnded",
    "SettingsError",
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
    """The name of a room is malformed."""


class UnserialisableData(SupervisorError, TypeError):
    """The data cannot be expressed in the wire format."""


class UnsupportedSocket(SupervisorError, TypeError):
    """The object offers no way to send."""


class UnknownConnection(SupervisorError, LookupError):
    """The connection is not, or no longer, connected here."""


class NotAMember(SupervisorError, LookupError):
    """The connection is not in that room."""


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
