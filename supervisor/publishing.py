"""
How a publication gets into a room: checked, encoded, kept if its room keeps messages, and handed to the broker.

Keeping comes first. Once a store has taken a message its publication cannot be undone, whoever stops
waiting: so the append and the hand-over belong together, and not to the publisher's task.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

from actors.errors import MailboxFull, MessageTooLarge
from actors.overflow import DropReason
from actors.positions import Position
from actors.publications import Publication
from actors.receipts import Receipt
from supervisor.errors import AppendRefused, InvalidPublication, StoreFull, StoreUnavailable
from supervisor.feeds import decoded, entry_of
from supervisor.history.base import Appended
from supervisor.losses import Losses
from supervisor.telemetry.logging import event_logger
from supervisor.telemetry.quiet import Quiet

if TYPE_CHECKING:
    from supervisor.brokers.base import Broker
    from supervisor.codecs.json import JsonCodec
    from supervisor.history.base import History
    from supervisor.important import Letters
    from supervisor.inbox.base import Inbox, InboxMessage, InboxUser
    from supervisor.node import Node
    from supervisor.policies import RoomPolicies, RoomPolicy
    from supervisor.settings import Settings

__all__ = ["Publisher"]


POSTED_ALERTS = 1_000
"""Alerts of ``publish_nowait`` that may be on their way to the inboxes."""

MAX_IDEMPOTENCY_KEY = 255
"""Characters of an idempotency key, at most."""

FULL_PAUSE = 0.005
"""Seconds after which a publisher tries again that waits for space in the history."""


class Publisher:
    """
    Publishes into rooms; thread-safe.

    Args:
        settings: What may be set.
        policies: What rooms keep.
        broker: Takes what is to be routed.
        history: Keeps what is to be kept.
        inbox: Knows who is addressed by alert rooms.
        letters: Makes messages of inboxes.
        codec: Encodes; what it cannot express is refused.
        open_node: Returns the node of the running loop.
        nodes: Returns all nodes.

    Attributes:
        losses: Messages that no store took, and of which nobody waited to be told.
    """

    def __init__(
        self,
        settings: Settings,
        policies: RoomPolicies,
        broker: Broker,
        *,
        history: History,
        inbox: Inbox,
        letters: Letters,
        codec: JsonCodec,
        open_node: Callable[[], Node],
        nodes: Callable[[], list[Node]],
    ) -> None:
        self.losses = Losses()
        self._inbox = inbox
        self._letters = letters
        self._open_node = open_node
        self._nodes = nodes
        self._settings = settings
        self._policies = policies
        self._broker = broker
        self._history = history
        self._codec = codec
        self._appended = _Answers()
        self._posting = threading.Lock()
        self._posts = 0  # alerts of publish_nowait under way
        self._posted: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Future[None]] = {}
        self._quiet = Quiet()
        self._losing = threading.Lock()
        self._log = event_logger()

    def publication(
        self,
        room: Hashable,
        data: object,
        *,
        key: Hashable | None = None,
        exclude: frozenset[Hashable] = frozenset(),
        ttl: float | None = None,
    ) -> Publication:
        """
        Return the publication of ``data``.

        Raises:
            InvalidPublication: If the room takes no such thing.
            MessageTooLarge: If no mailbox could hold it.
            UnserialisableData: If it cannot be expressed as JSON.
        """
        policy = self._policies.resolve(room)
        _check(room, policy, key, exclude, ttl)
        if policy.feed == "event":
            publication = Publication(data, self._codec, room=room, key=key, exclude=exclude)
        else:  # the same for who is live and who reads it later: what JSON makes of it
            frame = self._codec.encode(data)
            publication = Publication.of_frame(frame, self._codec, decoded, room=room, key=key)
        self._check_size(publication)
        if policy.feed == "status":
            seconds = policy.key_ttl if ttl is None else ttl
            publication.expires = None if seconds is None else time.time() + seconds
        return publication

    def removal(self, room: str, key: str) -> Publication:
        """
        Return the publication that says that ``key`` has no value any more.

        Raises:
            InvalidPublication: If the room has no keys.
        """
        policy = self._policies.resolve(room)
        if policy.feed != "status":
            raise InvalidPublication(
                f"room {room!r} is of the class {policy.feed}; keys are removed from status rooms"
            )
        _check(room, policy, key, frozenset(), None)
        publication = Publication.of_frame(None, self._codec, lambda _: None, room=room, key=key)
        publication.removed = True
        return publication

    def _check_size(self, publication: Publication) -> None:
        allowed = self._settings.mailbox_bytes
        if publication.size > allowed:
            raise MessageTooLarge(
                f"the message has {publication.size} bytes; mailbox_bytes allows {allowed}"
            )

    async def publish(
        self,
        publication: Publication,
        *,
        flush: bool = False,
        idempotency_key: str | None = None,
        expect_offset: int | None = None,
    ) -> Receipt:
        """Publish, and return what became of it; see :meth:`supervisor.supervisor.Supervisor.publish`."""
        room = publication.room
        policy = self._policies.resolve(room)
        _check_append(idempotency_key, expect_offset)
        if policy.feed == "alert":
            if expect_offset is not None:
                raise InvalidPublication(f"room {room!r} is of the class alert and has no offsets")
            return await self._alert(publication, policy, idempotency_key)
        if not policy.keeps:
            if idempotency_key is not None or expect_offset is not None:
                raise InvalidPublication(
                    f"room {room!r} keeps nothing, so idempotency_key and expect_offset mean "
                    "nothing there; rooms of the classes log and status keep"
                )
            return await self._broker.publish(room, publication, flush=flush)
        assert isinstance(room, str)  # no other room has a policy
        pending = _Pending(
            asyncio.get_running_loop(),
            self._appended,
            lambda appended: self._route(publication, appended),
        )
        deadline = time.monotonic() + self._settings.publish_timeout
        appended = await _when_space(
            lambda: self._history.append(
                room,
                entry_of(publication, self._codec),
                policy.retention,
                durability=policy.durability,
                idempotency_key=idempotency_key,
                expect_offset=expect_offset,
                then=pending.done,
            ),
            deadline,
        )
        if appended is None:
            appended = await pending.outcome(max(FULL_PAUSE, deadline - time.monotonic()))
        if appended.repeated:
            return Receipt(position=appended.position, repeated=True)
        publication.position = appended.position
        receipt = await self._broker.publish(room, publication, flush=flush)
        receipt.position = appended.position
        return receipt

    def publish_nowait(
        self, publication: Publication, *, idempotency_key: str | None = None
    ) -> None:
        """Publish without waiting, from any thread."""
        room = publication.room
        policy = self._policies.resolve(room)
        _check_append(idempotency_key, None)
        if policy.feed == "alert":
            self._alert_nowait(publication, policy, idempotency_key)
            return
        if not policy.keeps:
            if idempotency_key is not None:
                raise InvalidPublication(f"room {room!r} keeps nothing, not even idempotency_key")
            self._broker.publish_nowait(room, publication)
            return

        assert isinstance(room, str)  # no other room has a policy

        def done(outcome: Appended | Exception) -> None:
            if isinstance(outcome, Appended):
                self._route(publication, outcome)
            else:
                self._refused(room, policy, outcome)

        try:
            appended = self._history.append(
                room,
                entry_of(publication, self._codec),
                policy.retention,
                durability=policy.durability,
                idempotency_key=idempotency_key,
                then=done,
            )
        except AppendRefused as refusal:
            self._refused(room, policy, refusal)
        else:
            if appended is not None:
                self._route(publication, appended)

    async def send_important(
        self,
        user: InboxUser,
        publication: Publication,
        *,
        lasts: float,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Put ``publication`` into the inbox of ``user``; it lasts so many seconds."""
        _check_append(idempotency_key, None)
        messages = self._letters.write(
            publication, [user], room=None, lasts=lasts, idempotency_key=idempotency_key
        )
        return await self._put(messages)

    async def _alert(
        self, publication: Publication, policy: RoomPolicy, idempotency_key: str | None
    ) -> Receipt:
        """Put ``publication`` into the inbox of everybody who subscribed to its room."""
        room = publication.room
        assert isinstance(room, str)  # no other room has a policy
        assert policy.expires_after is not None  # alert rooms have one
        posted = self._posted.get((asyncio.get_running_loop(), room))
        if posted is not None:
            await asyncio.wait([posted])
        return await self._alert_now(publication, room, policy.expires_after, idempotency_key)

    async def _alert_now(
        self, publication: Publication, room: str, lasts: float, idempotency_key: str | None
    ) -> Receipt:
        messages = self._letters.write(
            publication,
            await self._inbox.subscribers(room),
            room=room,
            lasts=lasts,
            idempotency_key=idempotency_key,
        )
        return await self._put(messages)

    async def _put(self, messages: Sequence[InboxMessage]) -> Receipt:
        if not messages:
            return Receipt()
        kept = await self._open_node().inboxes.put(messages)
        return Receipt(len(kept.new), repeated=not kept.new)

    def _alert_nowait(
        self, publication: Publication, policy: RoomPolicy, idempotency_key: str | None
    ) -> None:
        nodes = self._nodes()
        node = next((node for node in nodes if node.delivery.local), nodes[0] if nodes else None)
        if node is None:
            raise StoreUnavailable(
                "no event loop runs yet that could take an alert: await publish() on one"
            )

        room, lasts = publication.room, policy.expires_after
        assert isinstance(room, str)  # no other room has a policy
        assert lasts is not None  # alert rooms have one
        with self._posting:
            if self._posts >= POSTED_ALERTS:
                raise MailboxFull(f"{POSTED_ALERTS} alerts wait for the inboxes; await publish()")
            self._posts += 1
        place = (node.loop, room)

        def post() -> None:
            before = self._posted.get(place)
            done = self._posted[place] = node.loop.create_future()

            async def alert() -> None:
                if before is not None:
                    await asyncio.wait([before])
                await self._alert_now(publication, room, lasts, idempotency_key)

            def ended(error: BaseException | None) -> None:
                with self._posting:
                    self._posts -= 1
                done.set_result(None)
                if self._posted.get(place) is done:
                    del self._posted[place]
                if isinstance(error, Exception):  # nobody waits: it is counted and logged
                    self._refused(room, policy, error)

            node.runtime.run(alert(), name="alert", on_done=ended)

        node.delivery.post(post)

    def _route(self, publication: Publication, appended: Appended) -> None:
        """Hand over what is kept already; a room that has no space for it will read it."""
        if appended.repeated:
            return
        publication.position = appended.position
        try:
            self._broker.publish_nowait(publication.room, publication)
        except MailboxFull:
            total = self._quiet.total((publication.room, "behind"))
            if total is not None:
                self._log.debug("room.behind", room=publication.room, total=total)

    def _refused(self, room: Hashable, policy: RoomPolicy, error: Exception) -> None:
        """Count what is not kept, and say so; in whatever thread the store says it."""
        with self._losing:
            self.losses.count(policy.feed, DropReason.NOT_KEPT.value)
        total = self._quiet.total((room, "refused"))
        if total is not None:
            self._log.error("history.refused", room=room, reason=str(error), total=total)

    async def end(self, room: str) -> Position:
        """Say that nothing more will come in ``room``; return its last place."""
        policy = self._policies.resolve(room)
        if policy.feed != "log":
            raise InvalidPublication(
                f"room {room!r} is of the class {policy.feed}; only log rooms end"
            )
        position = await self._history.end(room)
        publication = Publication.of_frame(None, self._codec, lambda _: None, room=room)
        publication.position = position
        publication.ended = True
        await self._broker.publish(room, publication)
        return position


async def _when_space(append: Callable[[], Appended | None], deadline: float) -> Appended | None:
    """Append; as long as too much waits for the store, wait until ``deadline`` for space."""
    while True:
        try:
            return append()
        except StoreFull:
            if time.monotonic() >= deadline:
                raise
            await asyncio.sleep(FULL_PAUSE)  # a commit or two: the publisher is held back


def _check_append(idempotency_key: object, expect_offset: object) -> None:
    if idempotency_key is not None and not (
        isinstance(idempotency_key, str)
        and 1 <= len(idempotency_key) <= MAX_IDEMPOTENCY_KEY
        and _is_unicode(idempotency_key)
    ):
        raise InvalidPublication(
            f"idempotency_key is a str of 1 to {MAX_IDEMPOTENCY_KEY} characters, not "
            f"{str(idempotency_key)[:80]!r}"
        )
    if expect_offset is not None and (
        not isinstance(expect_offset, int) or isinstance(expect_offset, bool) or expect_offset < 0
    ):
        raise InvalidPublication(f"expect_offset is an int from 0, not {expect_offset!r}")


def _check(
    room: Hashable,
    policy: RoomPolicy,
    key: Hashable | None,
    exclude: frozenset[Hashable],
    ttl: float | None,
) -> None:
    if ttl is not None and policy.feed != "status":
        raise InvalidPublication(
            f"room {room!r} is of the class {policy.feed}; ttl is for the keys of status rooms"
        )
    if ttl is not None and (not isinstance(ttl, int | float) or not 0 < ttl < math.inf):
        raise InvalidPublication(f"ttl is a number of seconds above 0, not {ttl!r}")
    if policy.feed == "status" and not isinstance(key, str):
        raise InvalidPublication(
            f"room {room!r} is of the class status: a message there is the value of a key, "
            f"key=, which is a str, not {key!r}"
        )
    if policy.feed == "status" and not _is_unicode(str(key)):
        raise InvalidPublication(f"key= is text that UTF-8 can express, not {key!r}")
    if policy.feed in {"log", "alert"} and key is not None:
        raise InvalidPublication(
            f"room {room!r} is of the class {policy.feed}, where every message counts; key= is "
            "for event and status rooms"
        )
    if policy.feed != "event" and exclude:
        raise InvalidPublication(
            f"room {room!r} is of the class {policy.feed} and keeps its messages for all; "
            "exclude= is for event rooms"
        )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Pending:
    """An append under way, and who waits for it."""

    __slots__ = ("_answers", "_claimed", "_future", "_loop", "_outcome", "_thread", "on_abandoned")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        answers: _Answers,
        on_abandoned: Callable[[Appended], None],
    ) -> None:
        self._loop = loop
        self._answers = answers
        self._thread = threading.get_ident()
        self._outcome: Appended | Exception | None = None
        self._future: asyncio.Future[None] | None = None
        self._claimed = False  # whether the publisher has the outcome
        self.on_abandoned = on_abandoned

    def done(self, outcome: Appended | Exception) -> None:
        """Take the outcome, in whatever thread the store has it."""
        self._outcome = outcome
        if threading.get_ident() == self._thread:
            if self._future is not None:
                self.wake()
        elif not self._answers.post(self._loop, self):
            self.wake()

    async def outcome(self, timeout: float) -> Appended:
        """Return the outcome; who stops waiting leaves the rest to ``on_abandoned``."""
        if self._outcome is None:
            self._future = self._loop.create_future()
            late = self._loop.call_later(timeout, self._give_up)  # cheaper than a context
            try:
                await self._future
            except asyncio.CancelledError:
                if self._future.done() and not self._future.cancelled():
                    self.wake()  # the outcome came in the same moment
                raise
            finally:
                late.cancel()
            if self._outcome is None:
                raise StoreUnavailable(
                    f"the history has not answered within publish_timeout, {timeout:g} s; the "
                    "message may be kept yet"
                )
        self._claimed = True
        if isinstance(self._outcome, Exception):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome

    def _give_up(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def wake(self) -> None:
        """Let the one who waits go on; if nobody does any more, see to the rest."""
        if self._claimed:
            return
        if self._future is not None and not self._future.done():
            self._future.set_result(None)
        elif isinstance(self._outcome, Appended):
            self.on_abandoned(self._outcome)


class _Answers:
    """Takes answers to the loops that wait for them: one wake-up a loop, however many there are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.AbstractEventLoop, list[_Pending]] = {}

    def post(self, loop: asyncio.AbstractEventLoop, pending: _Pending) -> bool:
        """Wake ``pending`` on its loop; return whether that loop still is."""
        with self._lock:
            waiting = self._waiting.get(loop)
            if waiting is not None:
                waiting.append(pending)
                return True
            self._waiting[loop] = [pending]
        try:
            loop.call_soon_threadsafe(self._deliver, loop)
        except RuntimeError:  # it was closed
            with self._lock:
                abandoned = self._waiting.pop(loop)
            for each in abandoned:
                if each is not pending:
                    each.wake()
            return False
        return True

    def _deliver(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            waiting = self._waiting.pop(loop)
        for pending in waiting:
            pending.wake()
