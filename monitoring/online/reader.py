"""Reads served lists and events of a period from the feedback store, and changes nothing in it."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from sqlalchemy import Table, func, inspect, select

from recommenders.storage.feedback_engine import read_only, store_url
from recommenders.storage.feedback_tables import answers, events

PAGE = 20_000  # rows in memory at once
LISTS = pa.schema(
    [
        ("request_id", pa.string()),
        ("answered_at", pa.int64()),
        ("user_id", pa.string()),
        ("scene", pa.string()),
        ("strategy", pa.string()),
        ("version", pa.int64()),
        ("items", pa.string()),  # JSON
    ]
)
EVENTS = pa.schema(
    [
        ("sequence", pa.int64()),
        ("event", pa.string()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("timestamp", pa.int64()),
        ("request_id", pa.string()),
        ("order_id", pa.string()),
        ("quantity", pa.float64()),
        ("unit_price", pa.float64()),
    ]
)


class Span(NamedTuple):
    """What the store has: the times of the first and the last list, and of the newest event; 0: there is no event."""

    first_list: int
    last_list: int
    newest_event: int


class OnlineReader:
    """The served lists and the events of one data set. All times are microseconds since 1970, UTC."""

    def __init__(self, url: str, dataset: str) -> None:
        """url: as the service takes it (TRADEWIND_FEEDBACK_URL). Raises ConfigurationError."""
        self._dataset = dataset
        self._url = store_url(url)

    def span(self, until: int) -> Span | None:
        """What the store has up to a time; None if there is no list, no store yet, or one without the table of lists.

        Events with a later time do not count: the clock of their sender is wrong. Raises DataError.
        """
        time = answers.c.answered_at
        lists = select(func.min(time), func.max(time)).where(answers.c.dataset == self._dataset, time <= until)
        newest = select(func.max(events.c.timestamp))
        newest = newest.where(events.c.dataset == self._dataset, events.c.timestamp <= until)
        with read_only(self._url, self._dataset) as connection:
            if connection is None or not inspect(connection).has_table(answers.name):
                return None
            first, last = connection.execute(lists).one()
            return None if first is None else Span(first, last, connection.execute(newest).scalar() or 0)

    def count_lists(self, begin: int, end: int) -> int:
        """The number of lists served from begin to before end. Raises DataError."""
        time = answers.c.answered_at
        counted = select(func.count()).where(answers.c.dataset == self._dataset, time >= begin, time < end)
        with read_only(self._url, self._dataset) as connection:
            return 0 if connection is None else int(connection.execute(counted).scalar_one())

    def lists(self, begin: int, end: int) -> Iterator[pa.RecordBatch]:
        """The lists served from begin to before end, in order of time, then of their ids; as batches of LISTS.

        A batch has at most PAGE rows. Raises DataError.
        """
        yield from self._pages(LISTS, answers, ("answered_at", "request_id"), begin, end)

    def numbered_lists(self, begin: int, end: int) -> Iterator[pa.Table]:
        """The same with a first column `list`: 0, 1, ... over all pages. Raises DataError."""
        n_lists = 0
        for page in self.lists(begin, end):
            numbers = pa.array(np.arange(n_lists, n_lists + page.num_rows))
            yield pa.table([numbers, *page.columns], names=["list", *page.schema.names])
            n_lists += page.num_rows

    def events(self, begin: int, end: int) -> Iterator[pa.RecordBatch]:
        """The events that happened from begin to before end, in order of arrival, as batches of EVENTS.

        A batch has at most PAGE rows. Raises DataError.
        """
        yield from self._pages(EVENTS, events, ("sequence",), begin, end)

    def _pages(
        self, schema: pa.Schema, table: Table, order: Sequence[str], begin: int, end: int
    ) -> Iterator[pa.RecordBatch]:
        time = table.c.answered_at if table is answers else table.c.timestamp
        found = select(*(table.c[name] for name in schema.names))
        found = found.where(table.c.dataset == self._dataset, time >= begin, time < end)
        with read_only(self._url, self._dataset) as connection:
            if connection is None:
                return
            paged = connection.execution_options(stream_results=True, yield_per=PAGE)
            for page in paged.execute(found.order_by(*(table.c[name] for name in order))).partitions():
                yield _batch(page, schema)


def _batch(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    return pa.record_batch(
        [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)], schema=schema
    )
