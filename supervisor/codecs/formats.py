"""The wire formats of sessions: which one a client gets, and how what it sends is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from actors.interfaces import Encoder
from supervisor.codecs.envelope import EnvelopeJsonCodec, EnvelopeMessagePackCodec
from supervisor.codecs.json import JsonCodec
from supervisor.codecs.msgpack import MessagePackCodec

__all__ = ["SUBPROTOCOLS", "Formats"]

SUBPROTOCOLS = ("msgpack", "envelope.json", "envelope.msgpack")
"""What a client can offer to choose its format: plain MessagePack, or envelopes."""

_ACK = re.compile(r'\s*\{\s*"ack"\s*:')
_PACKED_ACK = b"\x81\xa3ack"  # a map of one, whose key is that


class Formats:
    """
    One codec of each wire format, shared by all sockets: members are grouped by theirs.

    Attributes:
        json: JSON text, the format of every client that asks for none.
        msgpack: MessagePack.
        envelope_json: Envelopes as JSON text.
        envelope_msgpack: Envelopes as MessagePack.
    """

    def __init__(self) -> None:
        self.json = JsonCodec()
        self.msgpack = MessagePackCodec()
        self.envelope_json = EnvelopeJsonCodec(self.json)
        self.envelope_msgpack = EnvelopeMessagePackCodec(self.msgpack)

    def choose(self, offered: Iterable[str], *, envelope: bool) -> tuple[str | None, Encoder]:
        """
        Return the subprotocol to accept, None for none, and the format.

        Args:
            offered: Subprotocols of the client, in its order; the first one that is known counts.
            envelope: Whether the session has envelopes whatever the client offers.
        """
        chosen = next((name for name in offered if name in SUBPROTOCOLS), None)
        if chosen == "msgpack":
            return chosen, self.envelope_msgpack if envelope else self.msgpack
        if chosen == "envelope.msgpack":
            return chosen, self.envelope_msgpack
        if chosen == "envelope.json" or envelope:
            return chosen, self.envelope_json
        return chosen, self.json

    def is_envelope(self, encoder: Encoder) -> bool:
        """Whether a format has envelopes."""
        return encoder is self.envelope_json or encoder is self.envelope_msgpack

    def is_binary(self, encoder: Encoder) -> bool:
        """Whether the client's messages are MessagePack, rather than JSON text."""
        return encoder is self.msgpack or encoder is self.envelope_msgpack

    def acknowledged(self, encoder: Encoder, message: str | bytes) -> list[str] | None:
        """
        Return the ids that a client's message acknowledges; None, if it is one for the application.

        An acknowledgement is ``{"ack": ID}``, or ``{"ack": [ID, ...]}``, of a client with envelopes.
        """
        if not self.is_envelope(encoder):
            return None
        said: object = None
        try:
            if isinstance(message, bytes):
                if message.startswith(_PACKED_ACK):
                    said = self.msgpack.decode(message)
            elif _ACK.match(message):
                said = json.loads(message)
        except (ValueError, RecursionError):
            return None
        if not isinstance(said, dict) or list(said) != ["ack"]:
            return None
        ids = said["ack"]
        if isinstance(ids, str):
            return [ids]
        if isinstance(ids, list) and all(isinstance(each, str) for each in ids):
            return ids
        return None
