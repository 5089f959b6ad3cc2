"""The feedback of a worker: it opens the store, writes events and answers, and knows users' newest events.

A store that cannot be opened stops no list: it is tried again, and POST /events answers 503 until then.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recommenders.errors import TradewindError
from recommenders.storage.feedback_position import Position
from serving.feedback.answer_log import AnswerLog
from serving.feedback.events import FeedbackError, StoredEvent

if TYPE_CHECKING:  # SQLAlchemy is imported by the thread that opens the store
    from serving.feedback.event_writer import GroupWriter
    from serving.feedback.recent_events import Fitted, RecentEvents
    from serving.feedback.store import FeedbackStore
    from serving.feedback.stored_answer import StoredAnswer

RETRY_SECONDS = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Opened:
    store: "FeedbackStore"
    writer: "GroupWriter"
    recent: "RecentEvents"
    answers: "AnswerLog | None"  # None: answers are not stored

    @property
    def problem(self) -> str:
        return self.recent.problem or (self.answers.problem if self.answers else "")

    def close(self) -> None:
        for part in (self.writer, self.recent, self.answers):
            if part is not None:
                part.stop()
        self.store.close()


class WorkerFeedback:
    """One per worker."""

    def __init__(
        self,
        url: str,
        dataset: str,
        champion: "Callable[[], Fitted | None]",
        answer_days: int,
        count_answers: Callable[[str, int], None],
        on_erased: Callable[[str], object] = lambda _: None,
    ) -> None:
        """url: of the feedback store, as FeedbackStore takes it. dataset: to which events and answers belong.

        champion: returns what makes the lists. The events that it was trained on are not users' newest events.
        answer_days: how long answers are kept; 0: they are not stored. count_answers: see AnswerLog.
        on_erased: see RecentEvents.
        """
        self._on_erased = on_erased
        self._url, self._dataset, self._champion = url, dataset, champion
        self._answers = AnswerLog(answer_days, count_answers) if answer_days else None
        self._opened: _Opened | None = None
        self._problem = "the feedback store is being opened"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._open, name="feedback-opener", daemon=True)

    @property
    def problem(self) -> str:
        """What is wrong with the store; empty if nothing is."""
        return self._opened.problem if self._opened else self._problem

    def start(self) -> None:
        """Opens the store, in a separate thread."""
        self._thread.start()

    async def write(self, events: Sequence[StoredEvent]) -> int:
        """Returns the number of new events when all are on disk. Raises FeedbackError or OverloadedError."""
        if self._opened is None:
            raise FeedbackError(self._problem)
        return await self._opened.writer.write(events)

    def recent_items(self, user_id: str, position: Position | None = None) -> list[str]:
        """The item ids of the user's newest events after the position of a champion, oldest first."""
        return self._opened.recent.items(user_id, position) if self._opened else []

    def erased_at(self, user_id: str) -> int | None:
        """See RecentEvents.erased_at(); None as long as the store is not open."""
        return self._opened.recent.erased_at(user_id) if self._opened else None

    def erase(self, user_id: str) -> tuple[int, dict[str, int]]:
        """FeedbackStore.erase(), and this worker knows of it at once. Raises FeedbackError if nothing was deleted."""
        if self._opened is None:
            raise FeedbackError(self._problem)
        erased = self._opened.store.erase(user_id)
        try:
            self._opened.recent.poll()
        except FeedbackError as error:  # the thread polls again
            log.error("a user was erased, but this worker does not know yet: %s", error)
        return erased

    def store_answer(self, answer: "StoredAnswer") -> None:
        """Stores an answer later; returns at once. It waits if the store is not open yet."""
        if self._answers:
            self._answers.add(answer)

    def stop(self) -> None:
        """Stores what waits, and closes the store."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        if self._opened:
            self._opened.close()

    def _open(self) -> None:
        while not self._stop.is_set():
            try:
                self._opened = self._started()
                return
            except Exception as error:  # Alembic has errors of its own, such as for tables of a later version
                known = isinstance(error, TradewindError)
                problem = str(error) if known else f"the feedback store cannot be opened: {error}"
                if problem != self._problem:
                    log.error("%s", problem)
                self._problem = problem
            self._stop.wait(RETRY_SECONDS)

    def _started(self) -> _Opened:
        from serving.feedback.event_writer import GroupWriter
        from serving.feedback.recent_events import RecentEvents
        from serving.feedback.store import FeedbackStore

        store = FeedbackStore(self._url, self._dataset)
        recent = RecentEvents(store, self._champion, self._on_erased)
        recent.start()
        if self._answers:
            self._answers.start(store)
        return _Opened(store, GroupWriter(store), recent, self._answers)
