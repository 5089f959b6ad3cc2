"""The newest events of each user, which the champion was not trained on: every worker reads them from the store.

So what a user does changes the user's next list within a second, in whichever worker stored it. Only events after the
position of the champion are in memory. After a rollback the earlier ones are read again.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from recommenders.storage.erased_users import Erasure, id_hash
from recommenders.storage.feedback_position import Position
from serving.feedback.events import FeedbackError
from serving.feedback.store import FeedbackStore

KINDS = ("cart", "purchase", "rating")  # clicks and impressions do not change a list
POLL_SECONDS = 0.2
PAGE = 10_000  # events of one read
MAX_EVENTS = 200  # newest ones of a user

log = logging.getLogger(__name__)


class Fitted(Protocol):
    """What makes the lists: a champion, or the predictor of a version."""

    @property
    def feedback_position(self) -> Position | None:
        """The last feedback event that it was trained on; None: on none."""


@dataclass
class _Known:
    """The events after `first` up to `last`, by user: (sequence, item id), oldest first.

    position: of the champion that they belong to. A reader may hold a list, so lists are replaced and never changed.
    """

    position: Position | None
    first: int
    last: int
    events: defaultdict[str, list[tuple[int, str]]]


class RecentEvents:
    """User id -> items of the newest events; and who was erased. A thread reads the store; any thread may look up."""

    def __init__(
        self,
        store: FeedbackStore,
        champion: Callable[[], Fitted | None],
        on_erased: Callable[[str], object] = lambda _: None,
    ) -> None:
        """champion: returns the one that makes the lists; None if there is none yet.

        on_erased: gets the hash of the id of each user who was erased since the first poll.
        """
        self.problem = ""
        self._on_erased, self._has_polled = on_erased, False
        self._erased: dict[str, int] = {}  # hash of the user id -> time of the erasure
        self._last_erasure = 0  # its sequence
        self._polling = threading.Lock()
        self._store = store
        self._champion = champion
        self._known = _Known(None, 0, 0, defaultdict(list))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="recent-events", daemon=True)

    def start(self) -> None:
        """Starts to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stops to read."""
        self._stop.set()
        self._thread.join(timeout=5)

    def items(self, user_id: str, position: Position | None = None) -> list[str]:
        """The item ids of the user's newest events after a position, oldest first.

        position: of the champion that makes the list, of which the thread may not know yet.
        """
        known = self._known
        events = known.events.get(user_id, [])
        after = position.sequence if position is not None and position != known.position else known.first
        return [item_id for sequence, item_id in events if sequence > after]

    def erased_at(self, user_id: str) -> int | None:
        """When the user was erased, in microseconds since 1970, UTC; None: never.

        Look it up before items(): then the items of a user who is erased here are those after the erasure.
        """
        return self._erased.get(id_hash(user_id)) if self._erased else None

    def poll(self) -> int:
        """Reads the events and erasures that are new in the store; returns the number of events. Raises FeedbackError.

        Threads take turns.
        """
        with self._polling:
            champion, n_events = self._champion(), 0
            known = self._known
            if champion is not None:  # else no lists are made, and where to begin is not known yet
                if champion.feedback_position != known.position:
                    known = self._moved(known, champion.feedback_position)
                n_events = self._read(known)
            erasures = self._store.erasures(self._last_erasure)  # after the events: none of an erased user stays
            if erasures:
                _forget(known, [erasure for _, erasure in erasures])
            self._known = known
            if erasures:
                self._erased = self._erased | {erasure.user_hash: erasure.erased_at for _, erasure in erasures}
                self._last_erasure = erasures[-1][0]
            for _, erasure in erasures if self._has_polled else ():
                self._on_erased(erasure.user_hash)
            self._has_polled = True
            return n_events

    def _moved(self, known: _Known, position: Position | None) -> _Known:
        """The known events after the position of another champion; none if earlier ones have to be read again."""
        first = position.sequence if position is not None and self._store.has(position) else 0
        kept: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        if first < known.first:
            return _Known(position, first, first, kept)
        for user_id, events in known.events.items():
            if events[-1][0] > first:
                kept[user_id] = [event for event in events if event[0] > first]
        return _Known(position, first, max(first, known.last), kept)

    def _read(self, known: _Known) -> int:
        n_events = 0
        while page := self._store.after(known.last, KINDS, PAGE):
            for sequence, event in page:
                new = (sequence, event.item_id)
                known.events[event.user_id] = [*known.events[event.user_id][-MAX_EVENTS + 1 :], new]
                known.last = sequence
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


def _forget(known: _Known, erasures: Sequence[Erasure]) -> None:
    """Removes the events that erased users had before their erasure."""
    until = {erasure.user_hash: erasure.last_event for erasure in erasures}
    for user_id, events in list(known.events.items()):
        last = until.get(id_hash(user_id), 0)
        if events[0][0] > last:
            continue
        if left := [event for event in events if event[0] > last]:
            known.events[user_id] = left
        else:
            del known.events[user_id]
