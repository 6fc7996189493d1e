"""
Load engine: many WebSocket clients that count what a server sends them, at little cost.

Publishers send payloads that carry a number and a time (:mod:`~supervisor.cli.load.payload`),
:class:`Receivers` count them and measure how long each took, :class:`ServerProcess` says what
the server spent. Needs the standard library only, and is faster with uvloop.
"""

from supervisor.cli.load.errors import LoadError, ProtocolError, ServerRefused
from supervisor.cli.load.payload import HEADER_BYTES, Numbers, payload
from supervisor.cli.load.process import ServerProcess
from supervisor.cli.load.publishers import HttpPublisher, WebSocketPublisher, open_publisher
from supervisor.cli.load.receivers import Receivers
from supervisor.cli.load.results import LastReceiver, Latency, LoadResult

__all__ = [
    "HEADER_BYTES",
    "HttpPublisher",
    "LastReceiver",
    "Latency",
    "LoadError",
    "LoadResult",
    "Numbers",
    "ProtocolError",
    "Receivers",
    "ServerProcess",
    "ServerRefused",
    "WebSocketPublisher",
    "open_publisher",
    "payload",
]
