"""The feedback of a worker: it opens the store, writes what POST /events brings, and knows users' newest events.

A store that cannot be opened stops no list: it is tried again, and POST /events answers 503 until then.
"""

import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recommenders.errors import TradewindError
from serving.feedback.events import FeedbackError, StoredEvent

if TYPE_CHECKING:  # SQLAlchemy is imported by the thread that opens the store
    from serving.feedback.recent import RecentEvents
    from serving.feedback.store import FeedbackStore
    from serving.feedback.writer import GroupWriter

RETRY_SECONDS = 5.0

log = logging.getLogger(__name__)


class Feedback:
    """One per worker."""

    def __init__(self, url: str, dataset: str) -> None:
        """url: of the feedback store, as FeedbackStore takes it. dataset: to which the events belong."""
        self._url, self._dataset = url, dataset
        self._opened: tuple[FeedbackStore, GroupWriter, RecentEvents] | None = None
        self._problem = "the feedback store is being opened"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._open, name="feedback-opener", daemon=True)

    @property
    def problem(self) -> str:
        """What is wrong with the store; empty if nothing is."""
        return self._opened[2].problem if self._opened else self._problem

    def start(self) -> None:
        """Opens the store, in a separate thread."""
        self._thread.start()

    async def write(self, events: Sequence[StoredEvent]) -> int:
        """Returns the number of new events when all are on disk. Raises FeedbackError or OverloadedError."""
        if self._opened is None:
            raise FeedbackError(self._problem)
        return await self._opened[1].write(events)

    def recent_items(self, user_id: str) -> list[str]:
        """The item ids of the user's newest events, oldest first."""
        return self._opened[2].items(user_id) if self._opened else []

    def stop(self) -> None:
        """Stores what waits, and closes the store."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        if self._opened:
            store, writer, recent = self._opened
            writer.stop()
            recent.stop()
            store.close()

    def _open(self) -> None:
        from serving.feedback.recent import RecentEvents
        from serving.feedback.store import FeedbackStore
        from serving.feedback.writer import GroupWriter

        while not self._stop.is_set():
            try:
                store = FeedbackStore(self._url, self._dataset)
                recent = RecentEvents(store)
                recent.start()
                self._opened = store, GroupWriter(store), recent
                return
            except Exception as error:  # Alembic has errors of its own, such as for tables of a later version
                known = isinstance(error, TradewindError)
                problem = str(error) if known else f"the feedback store cannot be opened: {error}"
                if problem != self._problem:
                    log.error("%s", problem)
                self._problem = problem
            self._stop.wait(RETRY_SECONDS)
