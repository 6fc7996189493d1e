"""JSON text, the format of every client that asked for none: ``str`` and ``bytes`` pass unchanged."""

from __future__ import annotations

import json

from pydantic_core import to_jsonable_python

from actors.interfaces import Encoder
from actors.messages import Frame
from supervisor.errors import UnserialisableData

__all__ = ["JsonCodec", "plain_frame"]


class JsonCodec(Encoder):
    """
    Encodes to compact JSON text.

    Beyond what :mod:`json` knows it takes what pydantic knows: models, dataclasses, dates,
    UUIDs, enums, sets. Not-a-number and infinities are no JSON and are refused.
    """

    name = "json"

    def encode(self, data: object) -> Frame:
        """
        Return the frame for ``data``.

        Raises:
            UnserialisableData: If JSON cannot express it, or UTF-8 cannot express the text.
        """
        if isinstance(data, str | bytes):
            return plain_frame(data)
        try:
            text = _dumps(data, ensure_ascii=False)
            if not _is_unicode(text):
                text = _dumps(data, ensure_ascii=True)
        except (TypeError, ValueError, RecursionError) as error:
            raise UnserialisableData(
                f"cannot send {type(data).__name__} as JSON: {error}; allowed are str and bytes "
                "as they are, and whatever json.dumps or pydantic can turn into JSON, which has "
                "neither NaN nor infinities"
            ) from error
        return Frame(text, encoded=True)


def plain_frame(data: str | bytes) -> Frame:
    """
    Return the frame for what travels unchanged.

    Raises:
        UnserialisableData: If it is text that UTF-8 cannot express: a socket would fail of it.
    """
    if isinstance(data, str) and not _is_unicode(data):
        raise UnserialisableData(
            "cannot send text with half a surrogate pair, which UTF-8 cannot express; as a part of "
            "other data JSON escapes it"
        )
    return Frame(data)


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _dumps(data: object, *, ensure_ascii: bool) -> str:
    return json.dumps(
        data,
        ensure_ascii=ensure_ascii,
        separators=(",", ":"),
        allow_nan=False,
        default=to_jsonable_python,
    )
