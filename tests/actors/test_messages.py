"""What actors say to each other."""

from __future__ import annotations

import asyncio

import pytest

from actors.errors import ActorStopped
from actors.messages import Chunk, Frame, Join, Leave, Message, Publish, Question
from actors.publications import Publication
from actors.testing import TextEncoder
from tests.actors.recording import TEXT, FakeMember, Request, chunk


class CountingEncoder(TextEncoder):
    """Counts how often it encodes."""

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, data: object) -> Frame:
        self.encoded += 1
        return super().encode(data)


@pytest.mark.parametrize(
    ("payload", "size"),
    [("", 0), ("abc", 3), ("äö", 4), ("😀", 4), ("\ud800", 3), (b"\x00\xff", 2)],
)
def test_a_frame_counts_its_bytes_on_the_wire(payload: str | bytes, size: int) -> None:
    """Text counts as UTF-8, also with a lone surrogate, which no codec accepts."""
    assert Frame(payload).size == size


def test_a_chunk_counts_frames_and_bytes() -> None:
    """A chunk's size and count are those of all its frames."""
    joined = chunk("ab", b"cde")

    assert (joined.count, joined.size) == (2, 5)


def test_singles_are_the_frames_in_order() -> None:
    """singles() shares the frames, and a chunk of one is its own single."""
    joined = chunk("a", "b")
    alone = chunk("c", key="k")

    assert [single.frames for single in joined.singles()] == [(frame,) for frame in joined.frames]
    assert alone.singles() == [alone]


def test_a_chunk_is_settled_once() -> None:
    """on_settled is told the first time, and never again."""
    told: list[bool] = []
    alone = chunk("a", on_settled=told.append)

    alone.settle(True)
    alone.settle(False)

    assert told == [True]


def test_a_chunk_that_settles_itself_again_is_told_once() -> None:
    """A callback that comes back to the same chunk finds it settled."""
    told: list[bool] = []

    def settle_again(delivered: bool) -> None:
        told.append(delivered)
        alone.settle(False)

    alone = chunk("a", on_settled=settle_again)

    alone.settle(True)

    assert told == [True]


def test_a_chunk_without_a_callback_can_be_settled() -> None:
    """Shared chunks are settled by everybody, and tell nobody."""
    shared = chunk("a")

    shared.settle(True)
    shared.settle(False)

    assert shared.on_settled is None


def test_a_publication_is_encoded_once_a_format() -> None:
    """frame() encodes at the first need of a format, and returns the same frame ever after."""
    first, second = CountingEncoder(), CountingEncoder()
    publication = Publication({"a": 1}, first)

    frames = {publication.frame(encoder) for encoder in (first, second, first, second)}

    assert len(frames) == 2
    assert (first.encoded, second.encoded) == (1, 1)
    assert [publication.size] == [frame.size for frame in {publication.frame(first)} if frame]


def test_data_that_cannot_be_encoded_is_the_publisher_s_error() -> None:
    """The first encoding happens where the publisher can see what was wrong."""

    class Picky(TextEncoder):
        def encode(self, data: object) -> Frame:
            raise TypeError("no sets, please")

    with pytest.raises(TypeError, match="no sets"):
        Publication({1}, Picky())


def test_a_plain_message_has_the_defaults_of_the_mailbox() -> None:
    """A message says nothing about itself unless it has something to say."""
    message = Message()

    assert (message.size, message.count, message.key, message.pinned) == (0, 1, None, False)
    message.settle(True)


def test_joins_and_leaves_are_pinned_and_publications_are_not() -> None:
    """An overflow of the room's mailbox may cost a publication, never a membership."""
    member = FakeMember()

    assert Join(member).pinned
    assert Leave(member).pinned
    assert not Publish(Publication("a", TEXT)).pinned


def test_a_publish_counts_the_bytes_of_its_publication() -> None:
    """The room's mailbox is bounded by what it will have to send."""
    assert Publish(Publication("abc", TEXT)).size == 3


def test_a_question_that_nobody_asked_can_be_answered() -> None:
    """Telling a question is allowed; its answer goes nowhere."""
    question: Question[int] = Question()

    question.answer(1)
    question.refuse(ActorStopped())
    question.settle(False)

    assert question.reply is None


async def test_the_first_answer_stands() -> None:
    """A question is answered once, whoever tries again."""
    question = Request()
    question.reply = asyncio.get_running_loop().create_future()

    question.answer("first")
    question.answer("second")
    question.refuse(ActorStopped())
    question.settle(False)

    assert question.reply.result() == "first"


async def test_a_question_that_is_lost_is_answered_with_an_error() -> None:
    """settle(False) refuses; settle(True) leaves the question to its owner."""
    question = Request()
    question.reply = asyncio.get_running_loop().create_future()

    question.settle(True)
    assert not question.reply.done()
    question.settle(False)

    with pytest.raises(ActorStopped):
        question.reply.result()


async def test_an_answer_to_a_cancelled_question_goes_nowhere() -> None:
    """Whoever stopped waiting is not disturbed."""
    question = Request()
    question.reply = asyncio.get_running_loop().create_future()
    question.reply.cancel()

    question.answer("late")
    question.refuse(ActorStopped())

    assert question.reply.cancelled()


def test_forms_start_empty() -> None:
    """A transport makes its form of a chunk when it first writes one."""
    assert Chunk((Frame("a"),)).forms is None


@pytest.mark.parametrize("payload", ["", "text", "tëxt €", b"", b"\x00\xff"])
def test_a_frame_whose_payload_is_kept_elsewhere_says_the_same(payload: str | bytes) -> None:
    """What a transport has made of it may hold the payload, so that it is not kept twice."""
    frame = Frame(payload)
    data = b"header" + (payload.encode() if isinstance(payload, str) else payload)

    frame.keep_in(data, len(data) - frame.size)

    assert frame.payload == payload
    assert type(frame.payload) is type(payload)
    assert frame.text is isinstance(payload, str)
