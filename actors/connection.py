"""
The connection actor: the one writer, and the one closer, of a socket.

States, and who moves them::

    OPEN     ready     nothing waits and the transport takes bytes: deliver() writes at once
             busy      the transport holds something back; what comes waits in the mailbox
    CLOSING            told its listener that it ended; flushes if asked to, then closes
    CLOSED             the transport is done with, or was given up

It leaves OPEN exactly once, whoever is first: a close, a failed write, a missed deadline,
the peer. From then on it never writes application data that was not accepted before, and
after CLOSED it never touches the transport again. It goes by this state alone: never by the
text of an exception, never by what a web framework's flags say.

It is a machine of plain calls: what has to wait waits in the transport, which calls back.
It is never restarted, because its client comes back by itself.

A client that does not keep up has an *episode* (:mod:`actors.episode`): from its first loss, or from
when too much waits for it, until nothing waits. Who keeps up has none, and pays for none.

What else is here reads those states or moves them, and every message passes by it: so it is one piece.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from actors.actor import Actor
from actors.deadline import Deadline
from actors.episode import Episode
from actors.errors import MailboxClosed, MailboxFull, TransportClosed
from actors.exits import CloseCode, Ending, ExitReason
from actors.interfaces import ConnectionListener, Encoder, Source, Transport
from actors.mailbox import Mailbox, MailboxStatistics
from actors.messages import Chunk
from actors.overflow import DropReason, Offer
from actors.receipts import FlushLatch

__all__ = ["LOST", "PULLS_AT_ONCE", "ConnectionActor", "ConnectionState", "Patience"]

T = TypeVar("T")

_ACCEPTED = Offer.ACCEPTED  # looking up a member of an enum costs as much as a call

WRITE_MESSAGES = 64
"""Waiting messages that leave in one write at most."""

WRITE_BYTES = 16 * 1024
"""Waiting bytes that leave in one write at most, so that a slow client's deadline is fair."""

PULLS_AT_ONCE = 2
"""What is pulled and written before the event loop serves others: one that reads all that a room
keeps would have them wait."""

LOST = (DropReason.SEND_FAILED, DropReason.CLOSED)
"""Why messages are lost after they were accepted: the socket ended, or the runtime did."""


class ConnectionState(IntEnum):
    """Life of a connection; it only ever moves down this list."""

    OPEN = 0
    CLOSING = 1
    CLOSED = 2


@dataclass(frozen=True, slots=True)
class Patience:
    """
    How long a connection bears with its client; one object for all connections.

    Attributes:
        send: Longest time in seconds that the transport may hold a chunk back of which the socket
            takes nothing, as far as the transport can see.
        close: Longest time in seconds from :meth:`ConnectionActor.close` to the end, flush included.
        slow: Seconds that the mailbox may be above its soft bounds without a break; then the client
            is slow.
    """

    send: float = 10.0
    close: float = 10.0
    slow: float = 5.0


class ConnectionActor(Actor[Chunk]):
    """
    One socket.

    Args:
        identity: What publishers exclude it by.
        transport: The socket; nobody else may write to it or close it.
        encoder: Its wire format.
        listener: Told of its end, and of the losses of a slow client.
        patience: How long it bears with its client.

    Attributes:
        state: Where it is in its life.
        reason: Why it ended; None while it is open.
        written: Messages that the transport has taken.
        lost: Messages that were accepted and then lost to a failed or closed socket. The mailbox
            has counted them under the classes of their rooms, for one of :data:`LOST`.
    """

    repeats_turns = False  # it is the transport that says when it takes more

    __slots__ = (
        "_close_sent",
        "_deadline",
        "_episode",
        "_held",
        "_in_flight",
        "_landing_latches",
        "_latches",
        "_listener",
        "_patience",
        "_pulls_next",
        "_pulls_soon",
        "_silent",
        "_sources",
        "_transport",
        "encoder",
        "identity",
        "lost",
        "ready",
        "reason",
        "state",
        "written",
    )

    def __init__(
        self,
        identity: Hashable,
        transport: Transport,
        encoder: Encoder,
        listener: ConnectionListener[ConnectionActor],
        *,
        patience: Patience = Patience(),
    ) -> None:
        self.identity = identity
        self.encoder = encoder
        self.state = ConnectionState.OPEN
        self.reason: ExitReason | None = None
        self.ready = False
        self.written = 0
        self.lost = 0
        self._transport = transport
        self._listener = listener
        self._patience = patience
        self._in_flight: Chunk | None = None  # what the transport holds back
        self._deadline: Deadline | None = None  # of what is in flight, then of the close
        self._held = 0  # bytes that the transport held back when that was set
        self._close_sent = False
        self._silent = False
        self._latches: list[FlushLatch] | None = None  # of what waits
        self._landing_latches: list[FlushLatch] | None = None  # of what is in flight
        self._episode: Episode | None = None  # of a client that does not keep up
        self._sources: deque[Source] | None = None  # what it pulls from when nothing else waits
        self._pulls_next = False  # whether it is their turn, although something waits
        self._pulls_soon = False  # whether it goes on pulling when others had their turn

    @property
    def send_timeout(self) -> float:
        """Longest time in seconds that the socket may take nothing of what waits for it."""
        return self._patience.send

    def on_start(self) -> None:
        """Take the transport over."""
        self._transport.attach(self)
        self.cell.mailbox.on_drop = self._dropped
        self.ready = self.state is ConnectionState.OPEN and not self.cell.mailbox

    def deliver(self, chunk: Chunk) -> Offer:
        """Write ``chunk`` at once, or queue it; never waits, never raises."""
        if self.ready:
            try:  # as in _write, which would be another call where every message passes
                done = self._transport.write(chunk)
            except BaseException as error:  # noqa: BLE001 - _failed raises again what it must
                self._failed(chunk, error)
                return Offer.FAILED
            if done and chunk.on_settled is None:
                self.written += chunk.count
            else:
                self._wrote(chunk, done)
            return _ACCEPTED
        if self.state is not ConnectionState.OPEN:
            return Offer.CLOSED
        mailbox = self.cell.mailbox
        offer = mailbox.offer(chunk)
        if offer is Offer.OVERFLOWED:
            self.close(ExitReason(Ending.SLOW, CloseCode.SLOW, "mailbox overflow"))
        elif mailbox.above_soft is not ((episode := self._episode) is not None and episode.above):
            self._look()
        return offer

    async def deliver_when_space(self, chunk: Chunk, *, timeout: float) -> Offer:
        """
        Write or queue ``chunk`` as soon as there is space; close with 3008 if that takes too long.

        Never raises. Cancelling queues nothing.

        Args:
            chunk: What to send.
            timeout: Longest wait, in seconds.
        """
        try:
            return await self.cell.ref.put(chunk, timeout=timeout, at_once=True)
        except MailboxFull:
            self.cell.mailbox.drop(chunk, DropReason.OVERFLOW)
            text = f"no space in the mailbox for {timeout:.3g} s"
            self.close(ExitReason(Ending.SLOW, CloseCode.SLOW, text))
            return Offer.OVERFLOWED
        except MailboxClosed:
            return Offer.CLOSED

    def deliver_control(self, chunk: Chunk) -> Offer:
        """As :meth:`deliver`, but ahead of all data; a full control lane ends the connection."""
        if self.ready or self.state is not ConnectionState.OPEN:
            return self.deliver(chunk)
        offer = self.cell.mailbox.offer_control(chunk)
        if offer is Offer.OVERFLOWED:
            self.close(ExitReason(Ending.SLOW, CloseCode.SLOW, "control lane overflow"))
        return offer

    def follow(self, source: Source) -> None:
        """Pull from ``source`` from now on, at once if nothing waits; nothing once it has ended."""
        if self.state is not ConnectionState.OPEN:
            return
        if self._sources is None:
            self._sources = deque()
        self._sources.append(source)
        self.resume(source)

    def unfollow(self, source: Source) -> None:
        """Pull from ``source`` no more. Idempotent."""
        if self._sources is not None and source in self._sources:
            self._sources.remove(source)
            if not self._sources:
                self._sources = None

    def resume(self, source: Source) -> None:
        """``source`` has something again: pull, now or as soon as nothing waits."""
        if self.ready and self._sources is not None and source in self._sources:
            self._pull()

    def missed(self, count: int, reason: DropReason, feed: str) -> None:
        """Count messages of a room that it will never get."""
        self.cell.mailbox.count_dropped(count, reason, feed)

    def close(self, reason: ExitReason, *, flush: bool = False, silent: bool = False) -> None:
        """
        End the connection: deregister it now, close the socket in the background.

        Idempotent: the first reason stands. An ending of DISCONNECTED sends nothing; the
        peer is gone.

        Args:
            reason: Why; its code and text go into the close frame.
            flush: Whether what waits is written first, as far as the deadline allows.
            silent: Whether the socket is let go as it is, without a close frame.
        """
        if self.state is not ConnectionState.OPEN:
            return
        self._silent = silent
        self._leave_open(reason)
        if reason.ending is Ending.DISCONNECTED:
            self._finish()
            return
        if flush:
            self.cell.mailbox.seal()
        else:
            self.cell.mailbox.close(DropReason.SEND_FAILED)
            self._tell_latches(False)
        try:
            if self._in_flight is None:
                self._advance()
        finally:
            self._close_in_time()

    def behind(self, seconds: float) -> bool:
        """
        Whether the transport holds a chunk back for longer than ``seconds``.

        Counted anew each time that its deadline is put off, because the socket has taken some.
        """
        deadline = self._deadline
        if self._in_flight is None or deadline is None or deadline.due is None:
            return False
        return self.cell.runtime.clock() - (deadline.due - self.send_timeout) > seconds

    def when_flushed(self, latch: FlushLatch) -> bool:
        """
        Count down ``latch`` when all that waits now is written or lost.

        Returns:
            Whether there is anything to wait for; False too for a client that is behind for
            longer than the patience of the latch.
        """
        if latch.patience is not None and self.behind(latch.patience):
            return False
        if self.cell.mailbox:
            if self._latches is None:
                self._latches = []
            self._latches.append(latch)
        elif self._in_flight is not None:
            if self._landing_latches is None:
                self._landing_latches = []
            self._landing_latches.append(latch)
        else:
            return False
        latch.add()
        return True

    def statistics(self) -> MailboxStatistics:
        """Return a snapshot of the mailbox."""
        return self.cell.mailbox.statistics()

    def turn(self, mailbox: Mailbox[Chunk]) -> None:
        """Write what came by the ref while the transport had nothing to do."""
        if self.state is ConnectionState.OPEN and self._in_flight is None:
            self.ready = False
            self._advance()
        if self._episode is not None or mailbox.above_soft:
            self._look()

    def on_stop(self, reason: ExitReason) -> Awaitable[None] | None:
        """End with the runtime, if nothing ended it before."""
        if reason.ending is Ending.CRASHED:
            self._fail(reason)  # its text is no business of the peer
        else:
            self.close(reason)
            self._give_up()
        return None

    # What the transport says.

    def transport_ready(self) -> None:
        """Go on with what waits."""
        if self.state is ConnectionState.CLOSED or self._in_flight is None:
            return
        self._landed()
        self._advance()
        if self._episode is not None:
            self._look()

    def transport_failed(self, error: BaseException) -> None:
        """End: nothing can be written any more, because the peer is gone or something is wrong."""
        if isinstance(error, OSError | TransportClosed):
            text = str(error) or "the peer was gone when it was written to"
            reason = ExitReason(Ending.DISCONNECTED, CloseCode.ABNORMAL, text, error)
        else:
            text = str(error) or type(error).__name__
            reason = ExitReason(Ending.SEND_FAILED, CloseCode.WRITE_ERROR, text, error)
        self._fail(reason)

    def transport_closed(self) -> None:
        """End, in good order."""
        if self._close_sent:
            self._finish()

    def _write(self, chunk: Chunk) -> bool:
        """Return whether the transport took it all; if not, it is in flight, or all is over."""
        try:
            done = self._transport.write(chunk)
        except BaseException as error:  # noqa: BLE001 - _failed raises again what it must
            self._failed(chunk, error)
            return False
        self._wrote(chunk, done)
        return done

    def _wrote(self, chunk: Chunk, done: bool) -> None:
        """The transport has taken ``chunk``, or holds it back."""
        if done:
            self.written += chunk.count
            chunk.settle(True)
            return
        self.ready = False
        self._in_flight = chunk
        if self.state is ConnectionState.OPEN:
            self._held = self._transport.held
            self._set_deadline(self._patience.send)

    def _failed(self, chunk: Chunk, error: BaseException) -> None:
        """A socket may fail in any way; it is its end."""
        self._lose(chunk)
        self.transport_failed(error)
        chunk.settle(False)
        if not isinstance(error, Exception | asyncio.CancelledError):
            raise error

    def _lose(self, chunk: Chunk) -> None:
        """Count what the socket had in hand, and never took, under the classes of its messages."""
        self.lost += chunk.count
        for part in chunk.parts or (chunk,):
            self.missed(part.count, DropReason.SEND_FAILED, part.feed)

    def _landed(self) -> None:
        """What was in flight is written."""
        chunk, self._in_flight = self._in_flight, None
        assert chunk is not None
        self.written += chunk.count
        if self.state is ConnectionState.OPEN and self._deadline is not None:
            self._deadline.due = None
        if self._landing_latches is not None:
            latches, self._landing_latches = self._landing_latches, None
            for latch in latches:
                latch.count_down(True)
        chunk.settle(True)

    def _advance(self) -> None:
        """Write what waits, until the transport holds back or nothing is left; then close."""
        mailbox = self.cell.mailbox
        while self._in_flight is None:
            if self._pulls_next and self._sources is not None and mailbox:
                self._pulls_next = False
                if not self._pull_once():
                    return
            chunk = _take_joined(mailbox)
            if chunk is None:
                break
            self._pulls_next = True
            if not self._write(chunk):
                self._stall_sources()
                return
        if self._in_flight is not None:  # who was told of a settled chunk came back, and wrote
            return
        self._tell_latches(True)
        if self.state is ConnectionState.CLOSING:
            self._close_transport()
        elif self.state is ConnectionState.OPEN:
            self.ready = True
            if self._episode is not None:
                self._end_episode()
            if self._sources is not None:
                self._pull()

    def _pull(self) -> None:
        """Write what sources have, in turns, as long as the transport takes it; much of it, by and by."""
        idle = 0  # sources in a row that had nothing
        left = PULLS_AT_ONCE
        while self.ready and self._sources is not None and idle < len(self._sources):
            if not left:
                self._pull_soon()
                return
            source = self._sources[0]
            self._sources.rotate(-1)
            chunk = source.pull()
            if chunk is not None:
                idle = 0
                left -= 1
                if not self._write(chunk):
                    self._stall_sources()
            elif self._sources is not None and self._sources[-1] is source:
                idle += 1  # one that has ended with this is in the way of nobody

    def _pull_soon(self) -> None:
        """Go on pulling when others have had their turn."""
        if not self._pulls_soon:
            self._pulls_soon = True
            self.cell.runtime.loop.call_soon(self._pull_again)

    def _pull_again(self) -> None:
        self._pulls_soon = False
        if self.ready:
            self._pull()
        else:  # something else came between, which the socket holds back
            self._stall_sources()

    def _pull_once(self) -> bool:
        """Let one source have its turn among what waits; return whether the transport takes more."""
        assert self._sources is not None
        source = self._sources[0]
        self._sources.rotate(-1)
        chunk = source.pull()
        if chunk is None or self._write(chunk):
            return self._in_flight is None and self.state is not ConnectionState.CLOSED
        self._stall_sources()
        return False

    def _stall_sources(self) -> None:
        """Have sources let go of what they hold ready: it would wait for the socket."""
        if self._sources is not None:
            for source in self._sources:
                source.stalled()

    def _close_in_time(self) -> None:
        """Give up later, if the transport is not done with already, as most are."""
        if self.state is not ConnectionState.CLOSED:
            self._set_deadline(self._patience.close)

    def _close_transport(self) -> None:
        assert self.reason is not None
        if self._close_sent:
            return
        if self._silent:
            self._finish()
            return
        self._close_sent = True
        try:
            done = self._transport.close(self.reason.code, self.reason.text)
        except BaseException as error:
            done = False
            self._give_up()  # it was to end, and it has: nothing is lost by it
            if not isinstance(error, Exception | asyncio.CancelledError):
                raise
        if done:
            self._finish()

    def _leave_open(self, reason: ExitReason) -> None:
        """Take nothing more, and say so."""
        self.state = ConnectionState.CLOSING
        self.reason = reason
        self.ready = False
        self._sources = None
        if self._episode is not None:
            self._drop_episode()
        self._tell(self._listener.connection_ended, reason)

    def _fail(self, reason: ExitReason) -> None:
        if self.state is ConnectionState.OPEN:
            self._leave_open(reason)
        self._give_up()

    def _missed_deadline(self) -> None:
        if self.state is ConnectionState.OPEN and 0 < self._transport.held < self._held:
            self._held = self._transport.held  # slow, and alive: a large message takes its time
            self._set_deadline(self._patience.send)
            return
        self._fail(
            ExitReason(
                Ending.SEND_TIMEOUT,
                CloseCode.WRITE_ERROR,
                f"the socket took nothing for {self._patience.send} s",
            )
        )

    def _give_up(self) -> None:
        """Abort the transport, if it was not closed; the connection is deregistered already."""
        if self.state is ConnectionState.CLOSING:
            self._transport.abort()
            self._finish()

    def _finish(self) -> None:
        if self.state is ConnectionState.CLOSED:
            return
        self.state = ConnectionState.CLOSED
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._in_flight is not None:
            chunk, self._in_flight = self._in_flight, None
            self._lose(chunk)
            chunk.settle(False)
        self.cell.mailbox.close(DropReason.SEND_FAILED)
        self._tell_latches(False)
        assert self.reason is not None
        del self._transport  # which knows its listener: a socket must not wait for a collection
        self.cell.stop(self.reason)

    def _tell(self, listener: Callable[[ConnectionActor, T], None], what: T) -> None:
        """Tell the listener; a faulty one must not leave a socket half closed."""
        try:
            listener(self, what)
        except Exception as error:  # noqa: BLE001 - it is reported, and the actor goes on
            self.cell.runtime.fault("connection.listener", error)

    def _tell_latches(self, delivered: bool) -> None:
        """Tell who waits for what waited in the mailbox; when it was lost, also the others."""
        latches, self._latches = self._latches, None
        for latch in latches or ():
            latch.count_down(delivered)
        if self.state is ConnectionState.CLOSED:
            latches, self._landing_latches = self._landing_latches, None
            for latch in latches or ():
                latch.count_down(False)

    # Clients that do not keep up.

    def _dropped(self, chunk: Chunk, reason: DropReason) -> None:
        if reason in LOST:
            self.lost += chunk.count
        elif self.state is ConnectionState.OPEN:
            episode = self._episode
            if episode is None:
                episode = self._begin_episode()
            begins = not episode.dropped
            episode.dropped += chunk.count
            if begins:
                self._tell(self._listener.connection_lagging, reason)

    def _look(self) -> None:
        """Look at the episode, one that begins by this too; see :meth:`Episode.look` for when."""
        if self.state is not ConnectionState.OPEN:
            return
        episode = self._episode
        if episode is None:
            if not self.cell.mailbox.above_soft:
                return
            episode = self._begin_episode()
        if episode.look():
            text = f"too much waited for {self._patience.slow:.3g} s"
            self.close(ExitReason(Ending.SLOW, CloseCode.SLOW, text))
        elif self._episode is episode and not episode.matters:
            self._episode = None

    def _begin_episode(self) -> Episode:
        cell = self.cell
        episode = self._episode = Episode(
            cell.mailbox,
            cell.runtime,
            self._patience.slow,
            on_slow=self._slow,
            on_time=self._look,
        )
        return episode

    def _slow(self) -> None:
        self._tell(self._listener.connection_slow, self.statistics())

    def _end_episode(self) -> None:
        """Nothing waits any more: who keeps up has the bounds that its mailbox was made with."""
        episode = self._drop_episode()
        self.cell.mailbox.relax()
        if episode.dropped or episode.slow:
            self._tell(self._listener.connection_caught_up, episode.dropped)

    def _drop_episode(self) -> Episode:
        episode, self._episode = self._episode, None
        assert episode is not None
        episode.end()
        return episode

    def _set_deadline(self, seconds: float) -> None:
        """Give up in ``seconds``."""
        if self._deadline is None:
            self._deadline = Deadline(self.cell.runtime, self._missed_deadline)
        self._deadline.set(seconds)


def _take_joined(mailbox: Mailbox[Chunk]) -> Chunk | None:
    """
    Take what goes out in one write: what waits, up to :data:`WRITE_BYTES`, as one chunk.

    Up to the first whose sender wants to know when it is written: it is to be told then.
    """
    first = mailbox.take()
    following = mailbox.peek()
    if first is None or following is None or first.on_settled is not None:
        return first
    chunks, count, size = [first], first.count, first.size
    while following is not None and chunks[-1].on_settled is None:
        count += following.count
        size += following.size
        if count > WRITE_MESSAGES or size > WRITE_BYTES:
            break
        mailbox.take()
        chunks.append(following)
        following = mailbox.peek()
    return first if len(chunks) == 1 else Chunk.join(chunks)
