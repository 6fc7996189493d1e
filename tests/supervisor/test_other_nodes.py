"""What one loop says to the others of its process about inboxes."""

from __future__ import annotations

import asyncio
import json

import pytest

from supervisor.other_nodes import OtherNodes
from tests.supervisor.asgi import Peer
from tests.supervisor.conftest import NewPeer, Supervise
from tests.supervisor.endpoints import enter
from tests.supervisor.loops import OtherLoop


@pytest.mark.real_time
async def test_what_one_loop_counts_the_others_count(
    supervise: Supervise, peer: NewPeer, other: OtherLoop
) -> None:
    """Delivered as often as may be, a message is given up there, too: its clients are told."""
    supervisor = supervise()
    await enter(supervisor, peer())
    far = Peer()
    await other.run(enter(supervisor, far, user="ann", envelope=True))
    await supervisor.send_to_user("ann", "fire", important=True)
    (id,) = [message.id for message in await supervisor.pending("ann")]

    others = OtherNodes(supervisor.nodes, asyncio.get_running_loop())
    others.delivered("ann", {id: supervisor.settings.max_deliveries})

    async with asyncio.timeout(5):
        while not (dead := await supervisor.dead_letters()):  # noqa: ASYNC110 - another loop
            await asyncio.sleep(0.005)
        while {"settled": [id]} not in map(json.loads, far.got):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)
    assert [message.id for message in dead] == [id]
    await other.run(_end(far))


async def _end(client: Peer) -> None:
    client.leave()
    await client.end()
