"""MessagePack binary frames, for clients that offered the subprotocol ``msgpack``."""

from __future__ import annotations

import msgpack
from pydantic_core import to_jsonable_python

from actors.interfaces import Encoder
from actors.messages import Frame
from supervisor.codecs.json import plain_frame
from supervisor.errors import UnserialisableData

__all__ = ["MessagePackCodec"]


class MessagePackCodec(Encoder):
    """
    Encodes to MessagePack; ``str`` and ``bytes`` pass unchanged, as they do in JSON.

    What MessagePack itself does not know becomes what JSON would make of it.
    """

    name = "msgpack"

    def encode(self, data: object) -> Frame:
        """
        Return the frame for ``data``.

        Raises:
            UnserialisableData: If MessagePack cannot express it.
        """
        if isinstance(data, str | bytes):
            return plain_frame(data)
        try:
            packed: bytes = msgpack.packb(data, default=to_jsonable_python)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise UnserialisableData(
                f"cannot send {type(data).__name__} as MessagePack: {error}"
            ) from error
        return Frame(packed, encoded=True)

    def decode(self, packed: bytes) -> object:
        """
        Return the data in ``packed``.

        Raises:
            ValueError: If it is no MessagePack, or more than one value.
        """
        try:
            data: object = msgpack.unpackb(packed)
        except (msgpack.UnpackException, ValueError) as error:
            raise ValueError(f"no MessagePack: {str(error) or type(error).__name__}") from error
        return data
