"""
Envelopes: messages that say which room they come from, and where they stand in it.

For clients with a bare WebSocket that want to resume where they stopped, and to hear of gaps. Only
a session that asked for them gets them. Every message is one object, of one of these shapes; what
does not apply is absent::

    {"room", "epoch", "offset", "key", "expires", "id", "data"}       a message
    {"room", "epoch", "offset", "key", "removed": true}               its key has no value any more
    {"joined": {"room", "epoch", "offset", "begins", "recovered", "reason"}}
    {"gap": {"room", "epoch", "from", "to", "reason"}}
    {"end": {"room", "offset"}}
    {"settled": [ID, ...]}                            need no acknowledgement any more

``str`` and other data stand under ``data``; ``bytes``, which JSON has no words for, stand under
``base64`` there, and under ``data`` in MessagePack.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from actors.interfaces import Encoder
from actors.messages import Frame
from actors.notices import Gap, Joined, Notice, Settled
from actors.publications import Publication
from supervisor.codecs.json import JsonCodec
from supervisor.codecs.msgpack import MessagePackCodec

__all__ = ["EnvelopeJsonCodec", "EnvelopeMessagePackCodec"]


class EnvelopeJsonCodec(Encoder):
    """
    JSON envelopes.

    Args:
        plain: Encodes the data; what it has encoded already is put into the envelope as it is.
    """

    name = "envelope.json"

    def __init__(self, plain: JsonCodec) -> None:
        self._plain = plain

    def encode(self, data: object) -> Frame:
        """Return the frame for what comes from no room."""
        return self._with_head("{", self._plain.encode(data))

    def publication(self, publication: Publication) -> Frame:
        """Return the frame for a message of a room, or for the end of one."""
        if publication.ended:
            return Frame(_dumps(_end(publication)), encoded=True)
        head = _dumps(_head(publication))
        if publication.removed:
            return Frame(head, encoded=True)
        frame = publication.frame(self._plain)
        assert frame is not None  # it carries data
        return self._with_head(head[:-1] + "," if len(head) > 2 else "{", frame)

    def notice(self, notice: Notice) -> Frame:
        """Return the frame for what a room says of itself."""
        return Frame(_dumps(_notice(notice)), encoded=True)

    def _with_head(self, head: str, frame: Frame) -> Frame:
        payload = frame.payload
        if isinstance(payload, bytes):
            text = base64.b64encode(payload).decode()
            return Frame(f'{head}"base64":"{text}"}}', encoded=True)
        data = payload if frame.encoded else json.dumps(payload, ensure_ascii=False)
        return Frame(f'{head}"data":{data}}}', encoded=True)


class EnvelopeMessagePackCodec(Encoder):
    """
    MessagePack envelopes.

    Args:
        plain: Encodes what MessagePack has no words for.
    """

    name = "envelope.msgpack"

    def __init__(self, plain: MessagePackCodec) -> None:
        self._plain = plain

    def encode(self, data: object) -> Frame:
        """Return the frame for what comes from no room."""
        return self._plain.encode({"data": data})

    def publication(self, publication: Publication) -> Frame:
        """Return the frame for a message of a room, or for the end of one."""
        if publication.ended:
            return self._plain.encode(_end(publication))
        head = _head(publication)
        if not publication.removed:
            head["data"] = publication.data
        return self._plain.encode(head)

    def notice(self, notice: Notice) -> Frame:
        """Return the frame for what a room says of itself."""
        return self._plain.encode(_notice(notice))


def _head(publication: Publication) -> dict[str, Any]:
    """Return what an envelope says beside the data; rooms that nobody can name stay unnamed."""
    head: dict[str, Any] = {}
    if isinstance(publication.room, str):
        head["room"] = publication.room
    epoch, offset = publication.position
    if offset:
        head["epoch"] = epoch
        head["offset"] = offset
    if isinstance(publication.key, str | int):
        head["key"] = publication.key
    if publication.expires is not None:
        head["expires"] = publication.expires
    if publication.id is not None:
        head["id"] = publication.id
    if publication.removed:
        head["removed"] = True
    return head


def _end(publication: Publication) -> dict[str, Any]:
    return {"end": {"room": publication.room, "offset": publication.position.offset}}


def _notice(notice: Notice) -> dict[str, Any]:
    if isinstance(notice, Joined):
        joined: dict[str, Any] = {
            "room": notice.room,
            "epoch": notice.position.epoch,
            "offset": notice.position.offset,
            "begins": notice.begins,
        }
        if notice.recovered is not None:
            joined["recovered"] = notice.recovered
        if notice.reason is not None:
            joined["reason"] = notice.reason
        return {"joined": joined}
    if isinstance(notice, Settled):
        return {"settled": list(notice.ids)}
    if isinstance(notice, Gap):
        gap = {"room": notice.room, "epoch": notice.epoch, "from": notice.first}
        return {"gap": {**gap, "to": notice.last, "reason": notice.reason}}
    return {"end": {"room": notice.room, "offset": notice.offset}}


def _dumps(data: dict[str, Any]) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair in a key, which JSON can escape
        text = json.dumps(data, separators=(",", ":"))
    return text
