"""Reads the feedback store, and changes nothing in it. It needs no serving: the store may be of another machine."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, func, inspect, select

from recommenders.errors import DataError
from recommenders.storage.erased_users import id_hash
from recommenders.storage.feedback_engine import read_only, store_url
from recommenders.storage.feedback_files import COLUMNS, FeedbackFiles
from recommenders.storage.feedback_position import Position
from recommenders.storage.feedback_tables import TRAINABLE, erased_events, erased_users, events
from recommenders.storage.locks import locked

PAGE = 100_000  # events in memory at once


def collect(reader: "FeedbackReader", files: FeedbackFiles) -> pa.Table:
    """Appends the events that are new in the store to the files, and returns the newest page of them.

    The files then know which users were erased. One process at a time. Raises DataError.
    """
    newest = COLUMNS.empty_table()
    if reader.exists():
        with locked(files.folder / ".lock"):
            for page in reader.pages(files.position()):
                files.append(page)
                newest = page
            files.forget(reader.erased())
    return newest


class FeedbackReader:
    """The events of one data set that models can be fitted on (TRAINABLE)."""

    def __init__(self, url: str, dataset: str) -> None:
        """url: as the service takes it (TRADEWIND_FEEDBACK_URL). Raises ConfigurationError."""
        self._dataset = dataset
        self._url = store_url(url)

    def exists(self) -> bool:
        """Whether there is a store with its table. Raises DataError if it cannot be reached."""
        with read_only(self._url, self._dataset) as connection:
            return connection is not None

    def pages(self, position: Position | None, size: int = PAGE) -> Iterator[pa.Table]:
        """The events after a position, in the order of their sequence, as tables of at most `size` rows.

        The columns are those of feedback_files.COLUMNS. None: from the first event on. There are no pages if there is
        no store yet. Raises DataError if the store cannot be read, or if it lacks the event of the position.
        """
        while page := self._page(position, size):
            yield pa.Table.from_pylist([dict(row._mapping) for row in page], schema=COLUMNS)
            position = Position(page[-1].sequence, page[-1].event_id)

    def erased(self) -> dict[str, int]:
        """Hash of each erased user's id -> sequence of the newest event that the store had then.

        Raises DataError if the store cannot be read.
        """
        chosen = select(erased_users.c.user_hash, erased_users.c.last_event)
        with read_only(self._url, self._dataset) as connection:
            if connection is None or not inspect(connection).has_table(erased_users.name):
                return {}  # the service that migrates the store has not started yet
            rows = connection.execute(chosen.where(erased_users.c.dataset == self._dataset))
            return {row.user_hash: row.last_event for row in rows}

    def count(self, kinds: Sequence[str], after: int, later_than: int, limit: int) -> int:
        """The number of events of some kinds after a sequence that happened later than a time; at most `limit`.

        later_than: microseconds since 1970, UTC. 0 if there is no store yet. Raises DataError if it cannot be read.
        """
        found = self._of(kinds, after + 1).where(events.c.timestamp > later_than).limit(limit)
        with read_only(self._url, self._dataset) as connection:
            counted = select(func.count()).select_from(found.subquery())
            return 0 if connection is None else int(connection.execute(counted).scalar_one())

    def _page(self, position: Position | None, size: int) -> Sequence[Any]:
        with read_only(self._url, self._dataset) as connection:
            if connection is None:
                return []
            if position is None or self._has(connection, position):
                first = position.sequence + 1 if position else 0
                return connection.execute(self._of(TRAINABLE, first).limit(size)).all()
        raise DataError(
            f"{self._dataset}: the feedback store lacks event {position.event_id!r} with the sequence "
            f"{position.sequence}, which was read before; allowed: the same store; restore it, or move the files "
            f"away that were read from it (feedback/{self._dataset} below TRADEWIND_HOME)"
        )

    def _has(self, connection: Connection, position: Position) -> bool:
        """Whether the store has the event of a position, or had it until its user was erased."""
        where = events.c.dataset == self._dataset, events.c.sequence == position.sequence
        if connection.execute(select(events.c.event_id).where(*where)).scalars().all() == [position.event_id]:
            return True
        if not inspect(connection).has_table(erased_events.name):
            return False
        where = erased_events.c.dataset == self._dataset, erased_events.c.sequence == position.sequence
        found = connection.execute(select(erased_events.c.event_hash).where(*where)).scalars().all()
        return found == [id_hash(position.event_id)]

    def _of(self, kinds: Sequence[str], first: int) -> Any:
        """The events of some kinds from a sequence on."""
        chosen = events.c.dataset == self._dataset, events.c.sequence >= first, events.c.event.in_(kinds)
        columns = (events.c[name] for name in COLUMNS.names)
        return select(*columns).where(*chosen).order_by(events.c.sequence)
