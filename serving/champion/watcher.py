"""The champion in memory: watches the pointer file and replaces the model while requests are served.

A request reads `watcher.champion` once and uses this object to the end. So a replacement is one assignment, and no
request is lost.
"""

import gc
import logging
import threading
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from recommenders.errors import BundleError, TradewindError
from recommenders.storage.atomic_files import signature
from recommenders.storage.bundle import MANIFEST
from recommenders.storage.feedback_position import Position
from recommenders.storage.locks import mark_in_use
from serving.champion.pointer import Pointer, read_pointer, verify
from serving.lists import precomputed
from serving.lists.predictor import Predictor
from serving.steering.catalogue.current import CurrentCatalogue
from serving.steering.catalogue.files import record_file
from serving.steering.catalogue.served_items import ServedItems
from serving.steering.rules.current import CurrentRules
from serving.steering.rules.files import rules_folder
from serving.steering.rules.rule_types import Rules
from serving.steering.rules.rules_of_model import BoundRules

POLL_SECONDS = 0.2  # between two polls of the pointer
RETRY_SECONDS = 10.0  # until a bundle that did not load is tried again
GC_THRESHOLDS = (20_000, 20, 50)  # with the defaults, full collections stopped requests for 100 ms (measured)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Champion:
    """A loaded and warmed-up model with its pointer, the attributes of its items, and the rules of the shop.

    items: None without a catalogue.
    """

    pointer: Pointer
    predictor: Predictor
    loaded_at: float  # monotonic seconds
    items: ServedItems | None = None
    rules: BoundRules | None = None  # of the shop

    @cached_property
    def feedback_position(self) -> Position | None:
        """The last feedback event that it was trained on; None: on none."""
        return self.predictor.feedback_position

    @property
    def age_seconds(self) -> float:
        """Seconds since it was loaded."""
        return round(time.monotonic() - self.loaded_at, 1)


class ChampionWatcher:
    """Watches one pointer file, the catalogue beside it, and the rules of the shop.

    `champion` is None until a model is loaded and warmed up; `problem` describes what is wrong, or is empty.
    """

    def __init__(
        self,
        pointer_file: Path,
        interval: float = POLL_SECONDS,
        rules_file: Path | None = None,
        rules_required: bool = False,
        keeps_rules: bool = True,
    ) -> None:
        """rules_file: None for no rules. rules_required: whether it is a problem if there is no such file.

        keeps_rules: whether the rules are stored as those that served last.
        """
        self.pointer_file = pointer_file
        self.champion: Champion | None = None
        self.problem = ""
        self.catalogue = CurrentCatalogue(record_file(pointer_file))
        self.rules = CurrentRules(rules_file, rules_required, rules_folder(pointer_file), keeps_rules)
        self._sources: tuple[object, ...] = ()  # catalogue and rules that the champion was joined with
        self._interval = interval
        self._last_signature: tuple[int, int, int] | None = None
        self._lists_signature: tuple[int, int, int] | None = None
        self._replaced: tuple[Champion, tuple[int, int, int] | None] | None = None  # and the signature of its lists
        self._retry_at = 0.0
        self._polling = threading.Lock()
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
        """Reads pointer, catalogue and rules once; if one of them changed, loads the new one and replaces the old one.

        If the new one cannot be loaded, the old one stays. A champion, the catalogue and the rules that belong to it
        are replaced together: a request sees one consistent set. Threads take turns.
        """
        with self._polling:
            self.catalogue.poll()
            self.rules.poll()
            self._poll_champion()
            if self.champion and self._sources != (self.catalogue.catalogue, self.rules.rules):
                self.champion = self._joined(self.champion)

    def reload(self) -> Champion | None:
        """Polls now, also what could not be loaded before; returns what serves then. `problem` says what is wrong."""
        with self._polling:
            self._retry_at = 0.0
            self.catalogue.retry()
            self.rules.retry()
        self._poll_safely()
        return self.champion

    def check_rules(self, rules: Rules) -> None:
        """Raises RulesError if rules do not fit the champion and the newest catalogue, which poll() would refuse.

        There must be a champion.
        """
        with self._polling:
            assert self.champion
            BoundRules(rules, self._newest_items(self.champion), self.champion.predictor.model.items_)

    def _newest_items(self, champion: Champion) -> ServedItems | None:
        """The items of a champion with the newest catalogue."""
        catalogue, items = self.catalogue.catalogue, champion.items
        if catalogue and (items is None or items.catalogue is not catalogue):
            return ServedItems(catalogue, champion.predictor.model.items_)
        return items

    def _joined(self, champion: Champion) -> Champion:
        """The champion with the newest catalogue and rules that fit together."""
        self._sources = self.catalogue.catalogue, self.rules.rules
        items, rules = self.rules.bind(self._newest_items(champion), champion.predictor.model.items_)
        return replace(champion, items=items, rules=rules)

    def _poll_champion(self) -> None:
        found = signature(self.pointer_file)
        if found is None:
            self.problem = f"no champion yet: {self.pointer_file} does not exist; train and promote a version"
            self._last_signature = None
            return
        if found == self._last_signature and not (self.problem and time.monotonic() >= self._retry_at):
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
        self._last_signature = found

    def _load(self) -> None:
        pointer = read_pointer(self.pointer_file)
        if pointer is None:  # deleted since the signature was read; the next poll reports it
            return
        before, lists_before = self.champion, self._lists_signature
        if self._replaced and self._replaced[0].pointer.bundle_sha256 == pointer.bundle_sha256:
            # it stayed in memory, so that a rollback loads nothing
            predictor, self._lists_signature = self._replaced[0].predictor, self._replaced[1]
        else:
            predictor, self._lists_signature = self._load_predictor(pointer), None
        champion = self._joined(Champion(pointer, predictor, time.monotonic()))
        self._load_lists(champion)
        self.champion = champion
        if before and before.pointer.bundle_sha256 != pointer.bundle_sha256:
            self._replaced = before, lists_before
        log.info("serving version %s (%s) of %s", pointer.version, pointer.model, pointer.dataset)

    def _load_predictor(self, pointer: Pointer) -> Predictor:
        folder = pointer.bundle_folder(self.pointer_file)
        verify(folder, pointer.bundle_sha256)
        predictor = Predictor(folder)
        mark_in_use(folder / MANIFEST, predictor)  # so that the bundle is not pruned while it is in memory
        predictor.warm_up()
        gc.collect()
        gc.freeze()  # the model stays in use, so later collections need not visit it
        gc.set_threshold(*GC_THRESHOLDS)
        return predictor

    def _load_lists(self, champion: Champion) -> None:
        """Loads new precomputed lists of the champion, if there are any. Without them its model makes each list."""
        folder = precomputed.folder_of(champion.pointer.bundle_folder(self.pointer_file))
        found = signature(folder / precomputed.NOTE)
        if found == self._lists_signature:
            return
        self._lists_signature = found
        if found is not None:
            try:
                lists = precomputed.PrecomputedLists.load(folder, champion.pointer.bundle_sha256)
            except BundleError as error:
                log.error("%s", error)
            else:
                champion.predictor.precomputed = lists

    def _watch(self) -> None:
        while not self._stop.is_set():
            self._poll_safely()
            self._stop.wait(self._interval)

    def _poll_safely(self) -> None:
        try:
            self.poll()
        except Exception as error:  # the thread must survive any error of a bundle; /health reports it
            self.problem = f"the champion that {self.pointer_file} names cannot be loaded: {error!r}"
            self._last_signature, self._retry_at = signature(self.pointer_file), time.monotonic() + RETRY_SECONDS
            log.exception("the champion was not replaced")
