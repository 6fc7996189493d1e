"""JSON text, the format of every client that asked for none: ``str`` and ``bytes`` pass unchanged."""

from __future__ import annotations

import json

from pydantic_core import to_jsonable_python

from actors.messages import Frame
from supervisor.errors import UnserialisableData

__all__ = ["JsonCodec"]


class JsonCodec:
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
            UnserialisableData: If JSON cannot express it.
        """
        if isinstance(data, str | bytes):
            return Frame(data)
        try:
            text = json.dumps(
                data,
                ensure_ascii=False,
                separators=(",", ":"),
                allow_nan=False,
                default=to_jsonable_python,
            )
        except (TypeError, ValueError, RecursionError) as error:
            raise UnserialisableData(
                f"cannot send {type(data).__name__} as JSON: {error}; allowed are str and bytes "
                "as they are, and whatever json.dumps or pydantic can turn into JSON"
            ) from error
        return Frame(text, encoded=True)
