"""A room that is told that what it keeps was removed."""

from __future__ import annotations

from actors.messages import Look
from actors.positions import NOWHERE, Position
from actors.runtime import Runtime
from actors.testing import FakeTransport, settle
from tests.actors.recording import connect
from tests.feeds import ROOM, WORDS, Keeper, Kept


async def test_members_are_told_at_once_and_nobody_gets_what_was_removed(runtime: Runtime) -> None:
    """A gap for who is there; for who comes with an old position: not recovered, and nothing."""
    keeper, transport, late = Keeper(), FakeTransport(), FakeTransport()
    room = Kept(runtime, keeper)
    await room.join(connect(runtime, transport, encoder=WORDS))
    await room.publish("secret", "another")
    before = Position(room.feed.epoch, 1)
    await keeper.history.remove(ROOM)

    room.ref.tell(Look())
    await settle()
    reply = await room.join(connect(runtime, late, encoder=WORDS), since=before)
    await settle()

    assert transport.sent[-1] == "gap :0-0 epoch_changed"
    assert (reply.recovered, reply.position) == (False, NOWHERE)
    assert not any("secret" in str(word) or "another" in str(word) for word in late.sent)


async def test_members_get_what_is_kept_afterwards(runtime: Runtime) -> None:
    """It has another epoch, and begins with 1."""
    keeper, transport = Keeper(), FakeTransport()
    room = Kept(runtime, keeper)
    await room.join(connect(runtime, transport, encoder=WORDS))
    await room.publish("old")
    epoch = room.feed.epoch
    await keeper.history.remove(ROOM)
    room.ref.tell(Look())
    await settle()

    await room.publish("new")
    await settle()

    assert room.feed.epoch != epoch
    assert transport.sent[-1] == f"{room.feed.epoch}:1 =new"


async def test_looking_changes_nothing_where_nothing_has_changed(runtime: Runtime) -> None:
    """Nor when the store cannot be asked: members stay live, and that is reported."""
    keeper, transport = Keeper(), FakeTransport()
    room = Kept(runtime, keeper)
    await room.join(connect(runtime, transport, encoder=WORDS))
    await room.publish("a")
    told = list(transport.sent)

    room.ref.tell(Look())
    await settle()
    keeper.failing = True
    room.ref.tell(Look())
    await settle()

    assert transport.sent == told
    assert room.membership.behind == 0
    assert [what for what, _ in room.log.faults] == ["history.read"]
