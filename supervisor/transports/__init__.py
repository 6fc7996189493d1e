"""
Sockets, as a connection actor sees them: one file a kind, each an ``actors.interfaces.Transport``.

* :mod:`~supervisor.transports.asgi`: a Starlette or FastAPI WebSocket on any ASGI server.
* :mod:`~supervisor.transports.stub`: whatever has ``send_text`` or ``send_json``: users' tests.
* :mod:`~supervisor.transports.inbound`: the reading half of the first.
"""
