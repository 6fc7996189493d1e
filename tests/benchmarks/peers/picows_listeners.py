"""picows: a WebSocket library in Cython, its listeners written to in a loop."""

from __future__ import annotations

import asyncio

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from tests.benchmarks.peers.control import listen, run, take_commands

transports: set[WSTransport] = set()
paused: set[WSListener] = set()
resumed = asyncio.Event()


class Client(WSListener):  # type: ignore[misc]  # picows is not in the project's environment
    """One socket."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        transports.add(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        transports.discard(transport)
        self.resume_writing()

    def pause_writing(self) -> None:
        paused.add(self)

    def resume_writing(self) -> None:
        paused.discard(self)
        resumed.set()


class Publisher:
    """Sends to every transport, and waits for those that are full before the next burst."""

    async def one(self, text: str) -> None:
        await self.queued([text])

    async def queued(self, texts: list[str]) -> None:
        for text in texts:
            data = text.encode()
            for transport in transports:
                transport.send(WSMsgType.TEXT, data)
        while paused:
            resumed.clear()
            await resumed.wait()

    def members(self) -> int:
        return len(transports)


def listener_of(_: WSUpgradeRequest) -> WSListener:
    """Take whoever comes."""
    return Client()


async def main() -> None:
    """Serve until told otherwise."""
    listener = listen()
    await ws_create_server(listener_of, sock=listener)
    await take_commands(listener, Publisher())


if __name__ == "__main__":
    run(main)
