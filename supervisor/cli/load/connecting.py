"""Opens one client of a load; receivers and publishers both do."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from supervisor.cli.load.client import Inlet, LoadClient
from supervisor.cli.load.errors import LoadError
from supervisor.cli.load.handshake import Address, Handshake

__all__ = ["open_client", "why_not"]


async def open_client(
    address: Address,
    inlet: Inlet,
    *,
    subprotocol: str | None = None,
    headers: Sequence[tuple[str, str]] = (),
    receive_buffer: int | None = None,
    on_read: Callable[[LoadClient, int], None] | None = None,
    on_closed: Callable[[LoadClient], None] | None = None,
) -> LoadClient:
    """
    Connect, and wait until the handshake is done. Cancelling leaves nothing open.

    Args:
        address: Where to.
        inlet: Where it reads into.
        subprotocol: See :class:`~supervisor.cli.load.handshake.Handshake`.
        headers: The same.
        receive_buffer: Bytes of the kernel's receive buffer; None lets the kernel choose.
        on_read: See :class:`~supervisor.cli.load.client.LoadClient`.
        on_closed: The same.

    Raises:
        ServerRefused: If the server answers something else.
        LoadError: If there is no server, or it does not speak WebSocket.
    """
    loop = asyncio.get_running_loop()
    clients: list[LoadClient] = []

    def client() -> LoadClient:
        handshake = Handshake(address, subprotocol, headers)
        clients.append(LoadClient(inlet, handshake, on_read=on_read, on_closed=on_closed))
        return clients[0]

    context = ssl.create_default_context() if address.secure else None
    peer = None
    try:
        try:
            peer = await _connected_socket(address, receive_buffer)
            await loop.create_connection(
                client,
                sock=peer,
                ssl=context,
                server_hostname=address.host if address.secure else None,
            )
        except OSError as error:
            raise LoadError(why_not(address, error, answered=peer is not None)) from error
        failed = await clients[0].opened
        if failed is not None:
            raise failed
    except BaseException:
        if clients:
            clients[0].abort()
        if peer is not None and not (clients and clients[0].has_transport):
            peer.close()
        raise
    return clients[0]


def why_not(address: Address, error: OSError, *, answered: bool) -> str:
    """
    Say why there is no connection, and what to look at.

    Args:
        address: Where to.
        error: What happened.
        answered: Whether there was one before TLS began.
    """
    what = f"{address.url}: cannot connect ({error.strerror or str(error) or 'no answer'})."
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{what} The server's certificate is not trusted here."
    if address.secure and answered:
        plain = address.url.replace("s://", "://", 1)
        return f"{what} Does the server speak TLS? If not, try {plain}"
    return f"{what} Is the server running, and is this its address?"


async def _connected_socket(address: Address, receive_buffer: int | None) -> socket.socket:
    loop = asyncio.get_running_loop()
    problem: OSError | None = None
    for family, where in await _resolved(address):
        peer = socket.socket(family, socket.SOCK_STREAM)
        try:
            peer.setblocking(False)
            if receive_buffer is not None:  # counts only before the connection is made
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            await loop.sock_connect(peer, where)
            return peer
        except OSError as error:
            peer.close()
            problem = error
        except BaseException:
            peer.close()
            raise
    raise problem or OSError("no address found")


async def _resolved(address: Address) -> list[tuple[int, tuple[Any, ...]]]:
    """Return family and socket address of each candidate; an IP address needs no resolver."""
    try:
        version = ipaddress.ip_address(address.host).version
    except ValueError:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        return [(family, where) for family, _, _, _, where in found]
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return [(family, (address.host, address.port))]
