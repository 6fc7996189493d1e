"""What the tables have of each kind of scenario: on the page, and on the console."""

from __future__ import annotations

from dataclasses import dataclass

from tests.benchmarks.scenarios import Kind

__all__ = ["COLUMNS", "Column"]


@dataclass(frozen=True)
class Column:
    """
    One value of a table.

    Attributes:
        value: Its name in a row.
        heading: On the page.
        short: On the console.
        form: Its format.
    """

    value: str
    heading: str
    short: str
    form: str = "{:.1f}"


COLUMNS = {
    Kind.THROUGHPUT: (
        Column("rate", "deliveries/s", "deliveries/s", "{:,.0f}"),
        Column("cpu_us", "server CPU per delivery, µs", "CPU µs/delivery", "{:.2f}"),
    ),
    Kind.LATENCY: (
        Column("last_ms", "last receiver, median, ms", "last receiver ms"),
        Column("p99_ms", "all receipts, p99, ms", "p99 ms"),
        Column("longest_ms", "longest, ms", "longest ms"),
        Column("gc_ms", "longest collection, ms", "collection ms"),
    ),
    Kind.STALLED: (
        Column("kept", "the others' rate, of that before", "rate kept", "{:.2f}"),
        Column("rate_alone", "before, deliveries/s", "before, per s", "{:,.0f}"),
        Column("rate", "while one stalls", "stalled, per s", "{:,.0f}"),
        Column("cpu_alone_us", "CPU per delivery before, µs", "CPU µs before", "{:.2f}"),
        Column("cpu_us", "while one stalls, µs", "CPU µs stalled", "{:.2f}"),
        Column("growth_kib", "growth of memory, KiB", "growth KiB", "{:,.0f}"),
    ),
    Kind.IDLE: (Column("kib", "KiB per connection", "KiB/connection"),),
    Kind.SCALE: (
        Column("cpu_us", "server CPU per delivery, µs", "CPU µs/delivery", "{:.2f}"),
        Column("rate", "deliveries/s", "deliveries/s", "{:,.0f}"),
    ),
    Kind.KEEPING: (
        Column("append_us", "CPU that keeping adds, nobody there, µs", "append µs", "{:.2f}"),
        Column("added_us", "that it adds with 10 members, µs", "with members µs", "{:.2f}"),
        Column("event_us", "all of one that is not kept, µs", "not kept µs", "{:.2f}"),
        Column("log_us", "all of one that is, µs", "kept µs", "{:.2f}"),
    ),
    Kind.APPENDS: (
        Column(
            "publishers_rate", "publications/s, of 1,000 publishers", "publications/s", "{:,.0f}"
        ),
        Column("store_rate", "the store alone, appends/s", "store, per s", "{:,.0f}"),
    ),
    Kind.REPLAY: (
        Column("replay_rate", "lines/s while nobody publishes", "lines/s alone", "{:,.0f}"),
        Column("line_us", "server CPU per line, µs", "CPU µs/line", "{:.2f}"),
        Column("live_rate", "lines/s beside the others", "lines/s beside", "{:,.0f}"),
        Column("alone_ms", "the others' p99 without it, ms", "p99 without ms"),
        Column("beside_ms", "beside it, ms", "p99 beside ms"),
        Column("raised_ms", "raised by, ms", "raised ms"),
    ),
    Kind.CHURN: (
        Column("seconds", "seconds", "seconds", "{:.2f}"),
        Column("connection_us", "server CPU per connection, µs", "CPU µs/connection", "{:,.0f}"),
    ),
}
"""In their order; the first is what a table is sorted by."""
