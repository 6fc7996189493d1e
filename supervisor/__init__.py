"""
Supervises the WebSocket connections of a FastAPI or Starlette application with actors.

A new application uses :class:`Supervisor`; one that has a hand-written manager imports
:class:`ConnectionManager`, :class:`TargetFirstConnectionManager` or
:class:`FlatConnectionManager` in its place.
"""

from supervisor.environment import refuse_other_actors, refuse_process_manager

refuse_process_manager()
refuse_other_actors()

from actors import (  # noqa: E402 - after the check, whose message is clearer than what follows
    ActorStopped,
    CloseCode,
    DropReason,
    Ending,
    ExitReason,
    MailboxFull,
    MessageTooLarge,
    Overflow,
    Receipt,
    WrongLoop,
)
from supervisor.connection import ClosedConnection, Connection  # noqa: E402
from supervisor.errors import (  # noqa: E402
    ConnectionRefused,
    Drained,
    InvalidMessage,
    InvalidRoomName,
    JoinRefused,
    NotAMember,
    NotRunning,
    NotStarted,
    SessionEnded,
    SettingsError,
    SupervisorError,
    UnknownConnection,
    UnserialisableData,
    UnsupportedSocket,
)
from supervisor.integrations.asgi import RoomEndpoint  # noqa: E402
from supervisor.integrations.connection_manager import (  # noqa: E402
    ConnectionManager,
    FlatConnectionManager,
    TargetFirstConnectionManager,
)
from supervisor.policies import RoomPolicy  # noqa: E402
from supervisor.sessions.plain import Session  # noqa: E402
from supervisor.settings import Settings  # noqa: E402
from supervisor.statistics import Statistics  # noqa: E402
from supervisor.supervisor import Supervisor, SupervisorState  # noqa: E402

__all__ = [
    "ActorStopped",
    "CloseCode",
    "ClosedConnection",
    "Connection",
    "ConnectionManager",
    "ConnectionRefused",
    "Drained",
    "DropReason",
    "Ending",
    "ExitReason",
    "FlatConnectionManager",
    "InvalidMessage",
    "InvalidRoomName",
    "JoinRefused",
    "MailboxFull",
    "MessageTooLarge",
    "NotAMember",
    "NotRunning",
    "NotStarted",
    "Overflow",
    "Receipt",
    "RoomEndpoint",
    "RoomPolicy",
    "Session",
    "SessionEnded",
    "Settings",
    "SettingsError",
    "Statistics",
    "Supervisor",
    "SupervisorError",
    "SupervisorState",
    "TargetFirstConnectionManager",
    "UnknownConnection",
    "UnserialisableData",
    "UnsupportedSocket",
    "WrongLoop",
]
