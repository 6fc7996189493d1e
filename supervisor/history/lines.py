"""Lines of a log, as stores read them: for :mod:`supervisor.history.base`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from supervisor.history.base import Record

__all__ = ["Lines"]

_new = tuple.__new__  # a named tuple's own constructor costs twice as much


class Lines(Sequence[Record]):
    """
    Records that differ in offset, time and payload only: lists side by side.

    A page has hundreds, and a replay wants their offsets and payloads: a record is made when one is
    asked for.

    Attributes:
        offsets: As those of records are, in their order.
        times: As many, in seconds.
        payloads: As many.
        encoded: Whether each is the JSON text of other data.
    """

    __slots__ = ("encoded", "offsets", "payloads", "times")

    def __init__(
        self,
        offsets: Sequence[int],
        times: Sequence[float],
        payloads: Sequence[str | bytes],
        *,
        encoded: bool,
    ) -> None:
        self.offsets = offsets
        self.times = times
        self.payloads = payloads
        self.encoded = encoded

    def __len__(self) -> int:
        return len(self.payloads)

    def __iter__(self) -> Iterator[Record]:
        encoded = self.encoded
        for offset, time, payload in zip(self.offsets, self.times, self.payloads, strict=True):
            yield _new(Record, (offset, time, payload, encoded, None, False, None))

    @overload
    def __getitem__(self, place: int) -> Record: ...

    @overload
    def __getitem__(self, place: slice) -> Lines: ...

    def __getitem__(self, place: int | slice) -> Record | Lines:
        if isinstance(place, slice):
            return Lines(
                self.offsets[place], self.times[place], self.payloads[place], encoded=self.encoded
            )
        offset, time, payload = self.offsets[place], self.times[place], self.payloads[place]
        return Record(offset, time, payload, self.encoded, None, False, None)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, list | Lines) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as of lists

    def __repr__(self) -> str:
        return repr(list(self))
