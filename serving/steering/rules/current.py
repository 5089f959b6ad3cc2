"""The rules that serve: they follow their file, and fit the catalogue and the model that serve with them."""

import logging
import time
from pathlib import Path

from recommenders.events.ids import IdMap
from recommenders.storage.atomic_files import signature
from serving.steering.catalogue.served_items import ServedItems
from serving.steering.rules.files import content_of, keep, newest, rules_in
from serving.steering.rules.rule_types import Rules, RulesError
from serving.steering.rules.rules_of_model import BoundRules

RETRY_SECONDS = 10.0  # until a file that was refused is read again

log = logging.getLogger(__name__)


class CurrentRules:
    """`rules` are the newest that could be read. What cannot be used is refused, and the old rules stay.

    The old rules of a process that just started are those that served last.
    """

    def __init__(self, path: Path | None, required: bool, folder: Path, keeps: bool = True) -> None:
        """path: None for no rules. required: whether it is a problem if there is no such file.

        folder: of the versions that served. keeps: whether those that serve now are stored there.
        """
        self.rules = Rules()
        self.path, self._required, self._folder, self._keeps = path, required, folder, keeps
        self._unread = self._unfit = self._unkept = ""
        self._is_read = False  # whether the file was read successfully, or has no need to
        self._last_signature: tuple[int, int, int] | None = None
        self._retry_at = 0.0
        self._good: tuple[Rules, ServedItems | None] | None = None  # the pair that serves
        self._texts: dict[str, str] = {}  # version -> the file's text: of the newest rules, and of those that serve

    @property
    def problem(self) -> str:
        """Why the newest rules do not serve, or are not stored; empty if all is well."""
        return self._unread or self._unfit or self._unkept

    @property
    def refused(self) -> tuple[str | None, str] | None:
        """The version of the newest rules and why they do not serve; None if they do.

        The version is None if the file has no rules that could be read.
        """
        if self._unread:
            return None, self._unread
        return (self.rules.version, self._unfit) if self._unfit else None

    def text(self, version: str) -> str:
        """The rules of a version that serves, as their file states them; as JSON if this process did not read that."""
        if (written := self._texts.get(version)) is not None:
            return written
        return self._good[0].text if self._good and self._good[0].version == version else Rules().text

    def retry(self) -> None:
        """Lets the next poll read again a file that was refused."""
        self._retry_at = 0.0

    def poll(self) -> None:
        """Reads the file if it changed."""
        if self.path is None:
            return
        found = signature(self.path)
        if self._is_read or self._unread:
            is_due = found != self._last_signature or (self._unread and time.monotonic() >= self._retry_at)
        else:  # nothing happened so far
            is_due = found is not None or self._required
        if not is_due:
            return
        self._last_signature = found
        try:
            content = content_of(self.path)
            self.rules, self._unread, self._is_read = rules_in(content, str(self.path)), "", True
            good = self._good[0].version if self._good else ""
            self._texts = {good: self.text(good), self.rules.version: content.decode()}
        except RulesError as error:
            if not self._is_read and self._good is None:
                self.rules = newest(self._folder) or self.rules
            self._unread, self._retry_at = self._log(str(error), self._unread), time.monotonic() + RETRY_SECONDS

    def bind(self, items: ServedItems | None, ids: IdMap) -> tuple[ServedItems | None, BoundRules]:
        """The rules for the items of a model, and these items with the attributes that the rules were made with.

        items: with the newest attributes. ids: of the model. If the newest rules and attributes do not fit together,
        the old rules are used with the newest attributes, or with those that served last. Without any, there are none.
        """
        why = ""
        for rules, with_items in self._pairs(items, ids):
            try:
                bound = BoundRules(rules, with_items, ids)
            except RulesError as error:
                why = why or str(error)
                continue
            self._unfit = self._log(why, self._unfit) if why else ""
            self._good = rules, with_items
            self._keep(rules)
            return with_items, bound
        self._unfit = self._log(f"{why}; lists are made without rules", self._unfit)
        return items, BoundRules(Rules(), items, ids)

    def _pairs(self, items: ServedItems | None, ids: IdMap) -> list[tuple[Rules, ServedItems | None]]:
        """Rules and attributes to try, the best first."""
        if self._good is None:
            earlier = newest(self._folder) if not self.rules.is_empty else None
            return [(self.rules, items), *([(earlier, items)] if earlier else [])]
        rules, old = self._good
        if old is not None and old.ids is not ids:
            old = ServedItems(old.catalogue, ids)
        return [(self.rules, items), (rules, items), (rules, old)]

    def _keep(self, rules: Rules) -> None:
        """Stores the rules for later replays. A service that cannot write serves all the same."""
        if not self._keeps or self.path is None or (rules.is_empty and not self._folder.is_dir()):
            return
        try:
            keep(self._folder, rules)
            self._unkept = ""
        except OSError as error:
            why = f"the rules cannot be stored below {self._folder}, so answers cannot be made again: {error.strerror}"
            self._unkept = self._log(why, self._unkept)

    def _log(self, why: str, known: str) -> str:
        if why != known:
            log.error("%s", why)
        return why
