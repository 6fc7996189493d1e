"""
Errors of the load engine; the text of each says what to do.

::

    LoadError
    ├── ServerRefused      the server answered, and not with a WebSocket
    └── ProtocolError      the server sent what RFC 6455 does not allow
"""

__all__ = ["LoadError", "ProtocolError", "ServerRefused"]


class LoadError(Exception):
    """A load cannot be made, or not as it was asked for."""


class ServerRefused(LoadError):
    """
    The server answered the handshake with something other than 101.

    Attributes:
        status: The HTTP status of its answer.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ProtocolError(LoadError):
    """The server sent what the protocol does not allow."""
