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
    GapReason,
    JoinReply,
    MailboxFull,
    MessageTooLarge,
    Overflow,
    Position,
    Receipt,
    WrongLoop,
)
from supervisor.connection import ClosedConnection, Connection  # noqa: E402
from supervisor.errors import (  # noqa: E402
    AppendRefused,
    ConnectionRefused,
    Drained,
    InvalidMessage,
    InvalidPublication,
    InvalidRoomName,
    JoinRefused,
    LogEnded,
    NotAMember,
    NotRunning,
    NotStarted,
    OffsetConflict,
    SessionEnded,
    SettingsError,
    StoreFull,
    StoreUnavailable,
    SupervisorError,
    UnknownConnection,
    UnserialisableData,
    UnsupportedSocket,
)
from supervisor.history_slice import HistorySlice, KeptMessage  # noqa: E402
from supervisor.important import ImportantMessage  # noqa: E402
from supervisor.integrations.asgi import RoomEndpoint  # noqa: E402
from supervisor.integrations.connection_manager import (  # noqa: E402
    ConnectionManager,
    FlatConnectionManager,
    TargetFirstConnectionManager,
)
from supervisor.policies import RoomPolicy  # noqa: E402
from supervisor.sessions.plain import Session  # noqa: E402
from supervisor.settings import Settings  # noqa: E402
from supervisor.state import SupervisorState  # noqa: E402
from supervisor.statistics import Statistics  # noqa: E402
from supervisor.supervisor import Supervisor  # noqa: E402

__all__ = [
    "ActorStopped",
    "AppendRefused",
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
    "GapReason",
    "HistorySlice",
    "ImportantMessage",
    "InvalidMessage",
    "InvalidPublication",
    "InvalidRoomName",
    "JoinRefused",
    "JoinReply",
    "KeptMessage",
    "LogEnded",
    "MailboxFull",
    "MessageTooLarge",
    "NotAMember",
    "NotRunning",
    "NotStarted",
    "OffsetConflict",
    "Overflow",
    "Position",
    "Receipt",
    "RoomEndpoint",
    "RoomPolicy",
    "Session",
    "SessionEnded",
    "Settings",
    "SettingsError",
    "Statistics",
    "StoreFull",
    "StoreUnavailable",
    "Supervisor",
    "SupervisorError",
    "SupervisorState",
    "TargetFirstConnectionManager",
    "UnknownConnection",
    "UnserialisableData",
    "UnsupportedSocket",
    "WrongLoop",
]
