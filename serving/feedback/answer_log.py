"""Stores the answers of POST /predict, so that each can be made again, and an event has the list that it follows.

No answer waits for this: a thread writes what has come since its last round. If the store fails for so long that
MAX_WAITING answers wait, further ones are dropped and counted.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from recommenders.clock import now_us

if TYPE_CHECKING:
    from serving.feedback.store import FeedbackStore
    from serving.feedback.stored_answer import StoredAnswer

WRITE_SECONDS = 0.02  # between two rounds
MAX_WAITING = 20_000  # answers
MAX_GROUP = 2_000  # answers of one commit
PRUNE_SECONDS = 3600.0
DAY = 86_400_000_000  # microseconds

log = logging.getLogger(__name__)


class AnswerLog:
    """The answers of one worker. Any thread may add; a thread of its own writes. Before it is started, they wait."""

    def __init__(self, days: int, count: Callable[[str, int], None]) -> None:
        """days: after which an answer is deleted. count: gets "stored" or "dropped", and a number of answers."""
        self.problem = ""
        self._days, self._count = days, count
        self._waiting: deque[StoredAnswer] = deque()
        self._prune_at = time.monotonic()
        self._stop = threading.Event()

    def start(self, store: "FeedbackStore") -> None:
        """Starts to write to a store."""
        self._store = store
        self._thread = threading.Thread(target=self._run, name="answer-log", daemon=True)
        self._thread.start()

    def add(self, answer: "StoredAnswer") -> None:
        """Takes an answer; returns at once."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(answer)
        else:
            self._count("dropped", 1)

    def stop(self) -> None:
        """Stores what waits, and ends the thread."""
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stop.wait(WRITE_SECONDS):
            self._round()
        self._round()

    def _round(self) -> None:
        try:
            self._write()
            if time.monotonic() >= self._prune_at:
                self._prune_at = time.monotonic() + PRUNE_SECONDS
                self._store.delete_answers(now_us() - self._days * DAY)
            self.problem = ""
        except Exception as error:  # the thread must survive whatever a driver raises; /health reports it
            if str(error) != self.problem:
                log.error("%s", error)
            self.problem = str(error)

    def _write(self) -> None:
        while self._waiting:
            group = list(islice(self._waiting, MAX_GROUP))
            n_stored = self._store.append_answers(group)
            for _ in group:  # only now: if the commit fails, they wait for the next round
                self._waiting.popleft()
            self._count("stored", n_stored)
            if n_stored < len(group):  # a client sent one request id twice
                self._count("dropped", len(group) - n_stored)
