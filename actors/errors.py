"""
Errors of the actor machine, named by what they mean.

::

    ActorError
    ├── MailboxFull        no space now; later there may be
    ├── MailboxClosed      the owner has stopped; it will never take this
    ├── MessageTooLarge    larger than the mailbox can ever hold
    ├── ActorStopped       the asked actor stopped, or dropped the question, before it answered
    ├── RoomFull           the room has as many members as it may
    ├── HistoryIncomplete  the store of a room lacks what it says it keeps
    ├── WrongLoop          called from an event loop other than the actor's own
    └── TransportClosed    the socket below can carry nothing any more
"""

__all__ = [
    "ActorError",
    "ActorStopped",
    "HistoryIncomplete",
    "MailboxClosed",
    "MailboxFull",
    "MessageTooLarge",
    "RoomFull",
    "TransportClosed",
    "WrongLoop",
]


class ActorError(Exception):
    """Base of every error of this package."""


class MailboxFull(ActorError):
    """The mailbox has no space for the message now."""


class MailboxClosed(ActorError):
    """The owner of the mailbox has stopped."""


class MessageTooLarge(ActorError):
    """The message is larger than the byte bound of the mailbox."""


class ActorStopped(ActorError):
    """The actor stopped, or dropped the question, before it answered."""


class RoomFull(ActorError):
    """The room has as many members as it may have."""


class HistoryIncomplete(ActorError):
    """The store of a room lacks messages that it says it keeps."""


class WrongLoop(ActorError):
    """An actor was called from an event loop that is not its own."""


class TransportClosed(ActorError):
    """The transport can carry nothing any more."""
