"""What is promised of pages: what is in them, and how large they are."""

from __future__ import annotations

from supervisor.history.base import (
    PAGE_BYTES,
    PAGE_RECORDS,
    Entry,
    History,
    Record,
)
from supervisor.testing.histories.kit import (
    ALL,
    Clock,
    append_text,
    append_texts,
    append_to,
)

__all__ = ["PROMISES", "TIMED_PROMISES"]


async def _reads_ranges(history: History) -> None:
    await append_texts(history, "a", 9)

    for after, before, limit, forward, backward in (
        (0, None, 300, (range(1, 10), False), (range(9, 0, -1), False)),
        (3, None, 300, (range(4, 10), False), (range(9, 3, -1), False)),
        (3, 7, 300, (range(4, 7), False), (range(6, 3, -1), False)),
        (0, None, 4, (range(1, 5), True), (range(9, 5, -1), True)),
        (2, 8, 2, (range(3, 5), True), (range(7, 5, -1), True)),
        (2, 8, 5, (range(3, 8), False), (range(7, 2, -1), False)),
        (9, None, 300, (range(0), False), (range(0), False)),
        (99, None, 300, (range(0), False), (range(0), False)),
        (0, 1, 300, (range(0), False), (range(0), False)),
        (5, 6, 300, (range(0), False), (range(0), False)),
        (7, 3, 300, (range(0), False), (range(0), False)),
        (8, 99, 300, (range(9, 10), False), (range(9, 10), False)),
    ):
        for reverse, (offsets, more) in ((False, forward), (True, backward)):
            page = await history.read("a", after=after, before=before, limit=limit, reverse=reverse)
            asked = f"after={after}, before={before}, limit={limit}, reverse={reverse}"
            assert [r.offset for r in page.records] == list(offsets), f"{asked}: {page.records}"
            assert page.more is more, f"{asked}: whether the range has more is not {page.more}"
            assert page.state == await history.state("a"), f"{asked}: {page.state}"


async def _reads_pages(history: History) -> None:
    await append_texts(history, "many", PAGE_RECORDS + 5)
    for letter in "abcdef":
        await append_text(history, "large", letter * 100)
    await append_text(history, "huge", "x" * (PAGE_BYTES + 1))
    await append_text(history, "huge", "y")

    page = await history.read("many", limit=10 * PAGE_RECORDS)
    rest = await history.read("many", after=page.records[-1].offset)
    bytes_250 = await history.read("large", size=250)
    bytes_300 = await history.read("large", size=300, reverse=True)
    one = await history.read("large", size=1, after=2)
    huge = await history.read("huge", size=100 * PAGE_BYTES)

    assert len(page.records) == PAGE_RECORDS, f"a page has at most {PAGE_RECORDS} records"
    assert page.more, "and says that there is more"
    assert len(rest.records) == 5, "and the next one goes on where it ended"
    assert [r.offset for r in bytes_250.records] == [1, 2], "a page has at most so many bytes"
    assert [r.offset for r in bytes_300.records] == [6, 5, 4], "and as many as fit"
    for full in (bytes_250, bytes_300, one, huge):
        assert full.more, "a page that is full by bytes says that there is more"
    assert [r.offset for r in one.records] == [3], "but it has always one record"
    assert [r.offset for r in huge.records] == [1], f"a page has at most {PAGE_BYTES} bytes"


async def _keeps_what_was_appended(history: History, clock: Clock) -> None:
    entries = [
        Entry("text"),
        Entry("häß\U0001f600\x00\n"),
        Entry(b"\x00\xff bytes"),
        Entry(""),
        Entry(b""),
        Entry('{"n": 1}', encoded=True),
        Entry("x", key="k", expires=clock() + 3600.5),
        Entry("", key="ü", removed=True),
    ]
    for number, entry in enumerate(entries, 1):
        await append_to(history, "a/ü:1", entry, ALL)
        clock.now += 0.25
        records = (await history.read("a/ü:1")).records
        assert len(records) == number, f"what was appended is there at once: {records}"

    page = await history.read("a/ü:1")
    state = page.state

    for number, (entry, record) in enumerate(zip(entries, page.records, strict=True)):
        expected = (
            number + 1,
            Clock.now + number / 4,
            entry.payload,
            entry.encoded,
            entry.key,
            entry.removed,
            entry.expires,
        )
        assert tuple(record) == expected, f"a record is what was appended: {record}"
        assert type(record.payload) is type(entry.payload), f"text stays text: {record}"
        assert isinstance(record, Record), f"pages have Records: {record!r}"
        assert record.encoded is entry.encoded, f"flags are bool: {record}"
        assert record.removed is entry.removed, f"flags are bool: {record}"
    assert state.records == len(entries), f"the state counts the records: {state}"
    assert state.size == sum(entry.size for entry in entries), f"and their bytes: {state}"
    assert not page.more, "there are no more"


PROMISES = (
    _reads_ranges,
    _reads_pages,
)

TIMED_PROMISES = (_keeps_what_was_appended,)
