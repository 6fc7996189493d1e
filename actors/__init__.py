"""
Actors for one event loop: bounded mailboxes, connection and room actors, a runtime.

This package is the machine. It knows no network, no web framework, no broker and no
setting; :mod:`supervisor` wires it to the world and never the other way round.
"""

from actors.actor import Actor, ActorState
from actors.connection import ConnectionActor, ConnectionState
from actors.errors import (
    ActorError,
    ActorStopped,
    MailboxClosed,
    MailboxFull,
    MessageTooLarge,
    RoomFull,
    TransportClosed,
    WrongLoop,
)
from actors.exits import CloseCode, Ending, ExitReason
from actors.mailbox import Mailbox, MailboxStatistics
from actors.messages import Chunk, Frame, Message, Question
from actors.notices import GapReason
from actors.overflow import DropReason, Offer, Overflow
from actors.positions import Position
from actors.publications import Publication
from actors.receipts import Receipt
from actors.ref import ActorRef
from actors.replay import JoinReply
from actors.room import RoomActor
from actors.runtime import Job, Runtime

__all__ = [
    "Actor",
    "ActorError",
    "ActorRef",
    "ActorState",
    "ActorStopped",
    "Chunk",
    "CloseCode",
    "ConnectionActor",
    "ConnectionState",
    "DropReason",
    "Ending",
    "ExitReason",
    "Frame",
    "GapReason",
    "Job",
    "JoinReply",
    "Mailbox",
    "MailboxClosed",
    "MailboxFull",
    "MailboxStatistics",
    "Message",
    "MessageTooLarge",
    "Offer",
    "Overflow",
    "Position",
    "Publication",
    "Question",
    "Receipt",
    "RoomActor",
    "RoomFull",
    "Runtime",
    "TransportClosed",
    "WrongLoop",
]
