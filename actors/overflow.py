"""
What becomes of a message that is offered, and what a full mailbox gives up.

The policies are named by what is lost. The decision itself is made in
:meth:`actors.mailbox.Mailbox.offer`; this module holds the words.
"""

from enum import Enum

__all__ = ["DropReason", "Offer", "Overflow"]


class Overflow(Enum):
    """What is given up for a client that does not keep up; the last two are for rooms only."""

    DROP_OLDEST = "drop_oldest"
    """The messages that have waited longest, as many as make space."""
    DROP_NEWEST = "drop_newest"
    """The message that is offered."""
    DISCONNECT = "disconnect"
    """The owner: the mailbox takes nothing more, and the owner ends."""
    BLOCK = "block"
    """Nothing: the message is handed back to the sender, who waits for space."""
    CONFLATE = "conflate"
    """Older values of the same key: the member is given the newest value of each key when it can
    take it. Of rooms only."""
    CURSOR = "cursor"
    """Nothing: the member reads on from the room's history at its own speed. Of rooms only."""


class Offer(Enum):
    """What became of an offered message."""

    ACCEPTED = "accepted"
    """It waits its turn, or was written at once."""
    CONFLATED = "conflated"
    """It took the place of an older message with the same key."""
    EVICTED = "evicted"
    """It was accepted, and older messages were dropped for it."""
    DROPPED = "dropped"
    """It was dropped, since the mailbox is full."""
    OVERFLOWED = "overflowed"
    """It was dropped, and the owner has to end."""
    FULL = "full"
    """It was handed back; there is no space now."""
    TOO_LARGE = "too_large"
    """It was handed back; it is larger than the byte bound."""
    CLOSED = "closed"
    """It was handed back; the owner has stopped."""
    FAILED = "failed"
    """The socket failed while it was written."""

    __hash__ = object.__hash__

    @property
    def taken(self) -> bool:
        """Whether the message waits in the mailbox now, or was written."""
        return self in _TAKEN


_TAKEN = frozenset({Offer.ACCEPTED, Offer.CONFLATED, Offer.EVICTED})


class DropReason(Enum):
    """Why a message did not reach the owner of a mailbox, or its socket."""

    OLDEST = "drop_oldest"
    """It had waited longest when the mailbox was full."""
    NEWEST = "drop_newest"
    """The mailbox was full."""
    OVERFLOW = "disconnect"
    """The mailbox was full, or stayed so for ``block_timeout``, and its owner was closed."""
    TOO_LARGE = "too_large"
    """It is larger than the mailbox may hold."""
    CLOSED = "closed"
    """The connection ended, or was about to."""
    SEND_FAILED = "send_failed"
    """The socket failed, or was closed, while it waited or was written."""
    UNENCODABLE = "unencodable"
    """Its data cannot be expressed in the recipient's wire format."""
    TRIMMED = "trimmed"
    """The room kept it no longer when the recipient, which was behind, came to it."""
    ROOM_FAILED = "room_failed"
    """The room actor crashed on it, or stopped before it came to it."""
    ROOM_FULL = "room_full"
    """The room's own mailbox had no space, and nobody could wait."""
    NOT_KEPT = "not_kept"
    """The store of the room or of inboxes refused it, and nobody waited to be told."""

    __hash__ = object.__hash__
