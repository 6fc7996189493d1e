"""
Why an actor ended: values, because an ending is a fact and not an exception.

The close codes are one table for every wire protocol, the one of Centrifugo
(https://centrifugal.dev/docs/server/codes): 3000-3499 and 4000-4499 tell a
client to reconnect, 3500-3999 and 4500-4999 tell it to stop. Codes below 3000
are those of RFC 6455 §7.4.1.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum

__all__ = ["CloseCode", "Ending", "ExitReason"]


class CloseCode(IntEnum):
    """WebSocket close codes that this project sends or understands."""

    NORMAL = 1000
    GOING_AWAY = 1001
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005
    """Never sent: the peer closed without saying why."""
    ABNORMAL = 1006
    """Never sent: the connection ended without a close frame."""
    INVALID_PAYLOAD = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013

    CONNECTION_CLOSED = 3000
    SHUTDOWN = 3001
    ROOM_FAILED = 3004
    EXPIRED = 3005
    SLOW = 3008
    WRITE_ERROR = 3009
    INSUFFICIENT_STATE = 3010
    FORCE_RECONNECT = 3011
    NO_PONG = 3012
    TOO_MANY_REQUESTS = 3013

    INVALID_TOKEN = 3500
    BAD_REQUEST = 3501
    STALE = 3502
    FORCE_DISCONNECT = 3503
    CONNECTION_LIMIT = 3504
    ROOM_LIMIT = 3505
    PERMISSION_DENIED = 3507

    @property
    def reconnect(self) -> bool:
        """
        Whether the code invites the client to come back.

        Below 3000 all do but 1000, which says that it is finished, and those that refuse what the client
        has sent: 1003, 1007, 1008 and 1009.
        """
        if self < 3000:
            return self not in _FINAL
        return self % 1000 < 500


_FINAL = frozenset(
    {
        CloseCode.NORMAL,
        CloseCode.UNSUPPORTED_DATA,
        CloseCode.INVALID_PAYLOAD,
        CloseCode.POLICY_VIOLATION,
        CloseCode.MESSAGE_TOO_BIG,
    }
)


class Ending(Enum):
    """The kinds of trouble, or of peace, in which an actor ends."""

    LEFT = "left"
    """The application let go of it."""
    DISCONNECTED = "disconnected"
    """The peer went away."""
    HANDLER_FAILED = "handler_failed"
    """The endpoint raised."""
    SEND_FAILED = "send_failed"
    """A write raised."""
    SEND_TIMEOUT = "send_timeout"
    """A write or a close missed its deadline."""
    SLOW = "slow"
    """The mailbox overflowed and the policy was to disconnect."""
    GAP = "gap"
    """It missed messages for good, and the policy was to disconnect."""
    PROTOCOL = "protocol"
    """The peer sent what is not allowed."""
    IDLE = "idle"
    """Nothing came from the peer for longer than allowed."""
    LIFETIME = "lifetime"
    """It had lived as long as allowed."""
    KICKED = "kicked"
    """The application or an operator threw it out."""
    SHUTDOWN = "shutdown"
    """The node drains, or the server goes down."""
    ROOM_FAILED = "room_failed"
    """A room it was in crashed too often."""
    CRASHED = "crashed"
    """The actor itself raised: a fault of this software or of a hook."""
    STOPPED = "stopped"
    """Somebody stopped the actor in an orderly way."""


@dataclass(frozen=True, slots=True)
class ExitReason:
    """
    Why one actor ended.

    Attributes:
        ending: The kind.
        code: Close code that the peer was sent, or that it sent.
        text: Reason for people; at most 123 bytes of it travel in a close frame.
        error: The exception behind it, where there is one.
    """

    ending: Ending
    code: int = CloseCode.NORMAL
    text: str = ""
    error: BaseException | None = None
