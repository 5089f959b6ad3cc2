"""Stores events in groups: one commit for all requests that wait, in a thread of its own.

So a commit, which waits for the disk, stops no answer, and its cost is shared.
"""

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

from serving.feedback.events import FeedbackError, OverloadedError, StoredEvent
from serving.feedback.store import FeedbackStore

MAX_WAITING = 50_000  # events; with more the sender has to try again later
MAX_GROUP = 5_000  # events of one commit

log = logging.getLogger(__name__)


class _Batch(NamedTuple):
    events: Sequence[StoredEvent]
    stored: "Future[int]"


class GroupWriter:
    """Stores the events of many requests. write() may be called from any event loop."""

    def __init__(self, store: FeedbackStore) -> None:
        self._store = store
        self._waiting: list[_Batch] = []
        self._n_waiting = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="feedback-writer", daemon=True)
        self._thread.start()

    async def write(self, events: Sequence[StoredEvent]) -> int:
        """Returns the number of new events when all are on disk.

        Raises OverloadedError, or FeedbackError if they could not be stored.
        """
        stored: Future[int] = Future()
        with self._changed:
            if self._stopping or self._n_waiting + len(events) > MAX_WAITING:
                raise OverloadedError
            self._waiting.append(_Batch(events, stored))
            self._n_waiting += len(events)
            self._changed.notify()
        return await asyncio.wrap_future(stored)

    def stop(self) -> None:
        """Stores what waits, and ends the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while group := self._next_group():
            # from here on a client that disconnects can cancel nothing: its events are stored all the same
            awaited = [batch.stored.set_running_or_notify_cancel() for batch in group]
            try:
                results: list[int | Exception] = list(self._store_group(group))
            except Exception:
                results = [self._store_alone(batch) for batch in group]  # one bad batch must not fail the others
            for batch, result, is_awaited in zip(group, results, awaited, strict=True):
                if not is_awaited:
                    continue
                if isinstance(result, Exception):
                    batch.stored.set_exception(result)
                else:
                    batch.stored.set_result(result)

    def _next_group(self) -> list[_Batch]:
        """Waits for events; [] if there are none and the writer stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            group: list[_Batch] = []
            n_events = 0
            while self._waiting and (not group or n_events + len(self._waiting[0].events) <= MAX_GROUP):
                batch = self._waiting.pop(0)
                group.append(batch)
                n_events += len(batch.events)
            self._n_waiting -= n_events
            return group

    def _store_group(self, group: Sequence[_Batch]) -> list[int]:
        """The number of new events of each batch. An event id counts for the first batch that has it."""
        new = self._store.append([event for batch in group for event in batch.events])
        counts = []
        for batch in group:
            ids = {event.event_id for event in batch.events} & new
            new -= ids
            counts.append(len(ids))
        return counts

    def _store_alone(self, batch: _Batch) -> int | Exception:
        try:
            return len(self._store.append(batch.events))
        except FeedbackError as error:
            return error
        except Exception as error:  # the thread must survive whatever a driver raises
            log.exception("events were not stored")
            return FeedbackError(f"events cannot be stored: {error!r}")
