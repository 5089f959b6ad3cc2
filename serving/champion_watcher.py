"""The champion in memory: follows the pointer file and exchanges the model while requests go on.

A request takes `live.current` once and keeps it, so an exchange is one assignment and loses nothing.
"""

import gc
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from recommenders.errors import TradewindError
from serving.pointer import Pointer, read_pointer, verify
from serving.predictor import Predictor

INTERVAL = 1.0  # seconds between two looks at the pointer
RETRY = 10.0  # seconds until a bundle that did not load is tried again
GC_THRESHOLDS = (20_000, 20, 50)  # full collections were the stalls of 100 ms (docs: measured)

log = logging.getLogger(__name__)

Signature = tuple[int, int, int]


@dataclass(frozen=True)
class Champion:
    """A model that is loaded, warm and named."""

    pointer: Pointer
    predictor: Predictor
    loaded_at: float  # monotonic seconds

    @property
    def age_seconds(self) -> float:
        """Seconds since it was loaded."""
        return round(time.monotonic() - self.loaded_at, 1)


class Live:
    """Watches one pointer file.

    `current` is None until a champion is warm; `problem` says what is wrong, if anything.
    """

    def __init__(self, pointer_file: Path, interval: float = INTERVAL) -> None:
        self.pointer_file = pointer_file
        self.current: Champion | None = None
        self.problem = ""
        self._interval = interval
        self._seen: Signature | None = None
        self._retry_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="champion-watcher", daemon=True)

    def start(self) -> None:
        """Starts to watch, in a thread of its own: loading never stands in the way of a request."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the watch."""
        self._stop.set()
        self._thread.join(timeout=5)

    def look(self) -> None:
        """One look at the pointer; loads and exchanges if it changed.

        What cannot be loaded leaves the old one in place.
        """
        signature = self._signature()
        if signature is None:
            self.problem = f"no champion yet: {self.pointer_file} does not exist; train and promote a version"
            self._seen = None
            return
        if signature == self._seen and not (self.problem and time.monotonic() >= self._retry_at):
            return
        try:
            self._exchange()
            self.problem = ""
        except (TradewindError, OSError) as error:
            self.problem = f"{self.pointer_file} names a champion that cannot be served: {error}"
            log.error(self.problem)
            self._retry_at = time.monotonic() + RETRY
        self._seen = signature

    def _exchange(self) -> None:
        pointer = read_pointer(self.pointer_file)
        if pointer is None:  # gone since it was looked at; the next look tells
            return
        folder = pointer.bundle_folder(self.pointer_file)
        verify(folder, pointer.bundle_sha256)
        predictor = Predictor(folder)
        predictor.warm()
        gc.collect()
        gc.freeze()  # the model is not garbage: later collections need not walk over it
        gc.set_threshold(*GC_THRESHOLDS)
        self.current = Champion(pointer, predictor, time.monotonic())
        log.info("serving version %s (%s) of %s", pointer.version, pointer.model, pointer.dataset)

    def _signature(self) -> Signature | None:
        try:
            status = self.pointer_file.stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Exception as error:  # the watch must outlive anything a bundle does to it; /health tells
                self.problem = f"{self.pointer_file} names a champion that cannot be served: {error!r}"
                self._seen, self._retry_at = self._signature(), time.monotonic() + RETRY
                log.exception("the champion was not exchanged")
            self._stop.wait(self._interval)
