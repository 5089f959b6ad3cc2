"""The champion in memory: watches the pointer file and replaces the model while requests are served.

A request reads `watcher.champion` once and uses this object to the end. So a replacement is one assignment, and no
request is lost.
"""

import gc
import logging
import threading
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from recommenders.errors import BundleError, TradewindError
from recommenders.storage.feedback_position import Position
from serving.lists import precomputed
from serving.lists.predictor import Predictor
from serving.pointer import Pointer, read_pointer, verify

POLL_SECONDS = 1.0  # between two polls of the pointer
RETRY_SECONDS = 10.0  # until a bundle that did not load is tried again
GC_THRESHOLDS = (20_000, 20, 50)  # with the defaults, full collections stopped requests for 100 ms (measured)

log = logging.getLogger(__name__)

Signature = tuple[int, int, int]


@dataclass(frozen=True)
class Champion:
    """A loaded and warmed-up model with its pointer."""

    pointer: Pointer
    predictor: Predictor
    loaded_at: float  # monotonic seconds

    @cached_property
    def feedback_position(self) -> Position | None:
        """The last feedback event that it was trained on; None: on none."""
        return self.predictor.feedback_position

    @property
    def age_seconds(self) -> float:
        """Seconds since it was loaded."""
        return round(time.monotonic() - self.loaded_at, 1)


class ChampionWatcher:
    """Watches one pointer file.

    `champion` is None until a model is loaded and warmed up; `problem` describes what is wrong, or is empty.
    """

    def __init__(self, pointer_file: Path, interval: float = POLL_SECONDS) -> None:
        self.pointer_file = pointer_file
        self.champion: Champion | None = None
        self.problem = ""
        self._interval = interval
        self._last_signature: Signature | None = None
        self._lists_signature: Signature | None = None
        self._retry_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="champion-watcher", daemon=True)

    def start(self) -> None:
        """Starts to watch, in a separate thread, so that loading does not delay requests."""
        self._thread.start()

    def stop(self) -> None:
        """Stops to watch."""
        self._stop.set()
        self._thread.join(timeout=5)

    def poll(self) -> None:
        """Reads the pointer once; if it changed, loads the new champion and replaces the old one.

        If the new champion cannot be loaded, the old one stays.
        """
        signature = signature_of(self.pointer_file)
        if signature is None:
            self.problem = f"no champion yet: {self.pointer_file} does not exist; train and promote a version"
            self._last_signature = None
            return
        if signature == self._last_signature and not (self.problem and time.monotonic() >= self._retry_at):
            if self.champion:
                self._load_lists(self.champion)
            return
        try:
            self._load()
            self.problem = ""
        except (TradewindError, OSError) as error:
            self.problem = f"the champion that {self.pointer_file} names cannot be loaded: {error}"
            log.error(self.problem)
            self._retry_at = time.monotonic() + RETRY_SECONDS
        self._last_signature = signature

    def _load(self) -> None:
        pointer = read_pointer(self.pointer_file)
        if pointer is None:  # deleted since the signature was read; the next poll reports it
            return
        folder = pointer.bundle_folder(self.pointer_file)
        verify(folder, pointer.bundle_sha256)
        predictor = Predictor(folder)
        predictor.warm_up()
        champion = Champion(pointer, predictor, time.monotonic())
        self._lists_signature = None
        self._load_lists(champion)
        gc.collect()
        gc.freeze()  # the model stays in use, so later collections need not visit it
        gc.set_threshold(*GC_THRESHOLDS)
        self.champion = champion
        log.info("serving version %s (%s) of %s", pointer.version, pointer.model, pointer.dataset)

    def _load_lists(self, champion: Champion) -> None:
        """Loads new precomputed lists of the champion, if there are any. Without them its model makes each list."""
        folder = precomputed.folder_of(champion.pointer.bundle_folder(self.pointer_file))
        signature = signature_of(folder / precomputed.NOTE)
        if signature == self._lists_signature:
            return
        self._lists_signature = signature
        if signature is not None:
            try:
                found = precomputed.PrecomputedLists.load(folder, champion.pointer.bundle_sha256)
            except BundleError as error:
                log.error("%s", error)
            else:
                champion.predictor.precomputed = found

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.poll()
            except Exception as error:  # the thread must survive any error of a bundle; /health reports it
                self.problem = f"the champion that {self.pointer_file} names cannot be loaded: {error!r}"
                self._last_signature, self._retry_at = signature_of(self.pointer_file), time.monotonic() + RETRY_SECONDS
                log.exception("the champion was not replaced")
            self._stop.wait(self._interval)


def signature_of(path: Path) -> Signature | None:
    """What changes when a file is replaced; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
