"""The same over TLS, whose transports have buffers and ends of their own."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.integration.clients import gather_numbers
from tests.integration.conftest import Start
from tests.integration.servers import LARGE, SEND_TIMEOUT, Kind, Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a new key, and a certificate that it signed itself."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate, and is not installed")
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-keyout", "key.pem", "-out", "certificate.pem"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder


def stalled(server: Server, path: str) -> socket.socket:
    """Return a client that has done its handshake, and reads nothing more than that."""
    assert server.tls is not None
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=5)
    client = server.tls.wrap_socket(plain)
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert b" 101 " in client.recv(20)
    return client


async def test_over_tls_stalled_clients_cost_nothing_and_do_not_keep_the_server(
    kind: Kind, start: Start, certificate: Path
) -> None:
    """One is freed at its deadline while another reads all; one that is left does not matter."""
    if not kind.name.startswith("supervised"):
        pytest.skip("what other classes do with a stalled TLS client is their own matter")
    server = start(
        kind, f"--ssl-keyfile {certificate}/key.pem --ssl-certfile {certificate}/certificate.pem"
    )
    server.tls = ssl.create_default_context(cafile=str(certificate / "certificate.pem"))
    server.tls.check_hostname = False
    url = f"wss://127.0.0.1:{server.port}/modern/room/a"
    clients = [await asyncio.to_thread(stalled, server, "/modern/room/a")]
    try:
        async with connect(url, ssl=server.tls, proxy=None, close_timeout=1) as reader:
            await server.members("modern", "a", 2)
            filling = asyncio.create_task(server.fill("modern", "a", 100))
            assert await gather_numbers(reader, 100, 10) == list(range(100))
            await filling
            await server.members("modern", "a", 1, seconds=SEND_TIMEOUT + 1.5)
            (closed,) = await server.closed("modern", "a")
            assert closed["ending"] == "send_timeout"

            await reader.send("close 4001")
            await reader.wait_closed()
            assert reader.close_code == 4001

        clients.append(await asyncio.to_thread(stalled, server, "/drop_oldest/room/a"))
        await server.members("drop_oldest", "a", 1)
        await server.post("/publish/drop_oldest/a", count=30, size=LARGE, pause=0.001)
        await server.until_lagging("drop_oldest")
        await asyncio.to_thread(server.stop)
    finally:
        for client in clients:
            client.close()
    assert server.complaints() == []
