"""The inbox in memory: what the contract suite does not see."""

from __future__ import annotations

from dataclasses import replace

import pytest

from supervisor.errors import StoreFull
from supervisor.inbox.base import REMEMBERED, InboxMessage
from supervisor.inbox.memory import MemoryInbox

MESSAGE = InboxMessage(
    "m", "ann", room=None, payload="x" * 500, encoded=False, created=0.0, expires=10.0
)


async def test_it_holds_so_many_bytes() -> None:
    """More is refused, all of it, until something is settled."""
    inbox = MemoryInbox(max_bytes=2_500)
    await inbox.put([replace(MESSAGE, id="a"), replace(MESSAGE, id="b")], capacity=10)

    with pytest.raises(StoreFull, match="2500 bytes"):
        await inbox.put([replace(MESSAGE, id="c"), replace(MESSAGE, id="d")], capacity=10)

    assert [m.id for m in await inbox.pending("ann", now=0)] == ["a", "b"]
    await inbox.acknowledge("ann", ["a"])
    await inbox.put([replace(MESSAGE, id="c")], capacity=10)


async def test_what_is_settled_takes_no_space() -> None:
    """Beside its id, for a while."""
    inbox = MemoryInbox()

    for number in range(2 * REMEMBERED):
        message = replace(MESSAGE, id=str(number), user=number)
        await inbox.put([message], capacity=1)
        await inbox.acknowledge(number, [message.id])

    assert inbox._size == 0
    assert inbox._boxes == {}
    assert inbox._users == {}
    assert len(inbox._numbers) == REMEMBERED
    assert len(inbox._deadlines) <= 1_001
