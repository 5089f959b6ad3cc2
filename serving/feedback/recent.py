"""The newest events of each user, which no model was trained on yet: every worker reads them from the store.

So what a user does changes the user's next list within a second, in whichever worker stored it.
"""

import logging
import threading
from collections import defaultdict

from serving.feedback.events import FeedbackError
from serving.feedback.store import FeedbackStore

KINDS = ("cart", "purchase", "rating")  # clicks and impressions do not change a list
POLL_SECONDS = 0.2
PAGE = 10_000  # events of one read
MAX_EVENTS = 200  # newest ones of a user

log = logging.getLogger(__name__)


class RecentEvents:
    """User id -> items of the newest events. A thread reads the store; any thread may look up."""

    def __init__(self, store: FeedbackStore) -> None:
        self.problem = ""
        self._store = store
        self._sequence = 0
        self._items: defaultdict[str, list[str]] = defaultdict(list)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="recent-events", daemon=True)

    def start(self) -> None:
        """Starts to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stops to read."""
        self._stop.set()
        self._thread.join(timeout=5)

    def items(self, user_id: str) -> list[str]:
        """The item ids of the user's newest events, oldest first."""
        return self._items.get(user_id, [])

    def poll(self) -> int:
        """Reads the events that are new in the store; returns their number. Raises FeedbackError."""
        n_events = 0
        while page := self._store.after(self._sequence, KINDS, PAGE):
            for sequence, event in page:
                items = [*self._items[event.user_id][-MAX_EVENTS + 1 :], event.item_id]
                self._items[event.user_id] = items  # a new list: a reader may hold the old one
                self._sequence = sequence
            n_events += len(page)
        return n_events

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.poll()
                self.problem = ""
            except Exception as error:  # the thread must survive whatever a driver raises; /health reports it
                problem = str(error) if isinstance(error, FeedbackError) else f"events cannot be read: {error!r}"
                if problem != self.problem:
                    log.error("%s", problem)
                self.problem = problem
            self._stop.wait(POLL_SECONDS)
