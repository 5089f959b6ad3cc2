"""The catalogue in memory: it follows the file on disk, so prices and stock change without a restart."""

import logging
import time
from pathlib import Path

from recommenders.storage.atomic_files import signature
from serving.steering.catalogue.files import Catalogue, CatalogueError, read, read_record

RETRY_SECONDS = 10.0  # until a catalogue that did not load is tried again

log = logging.getLogger(__name__)


class CurrentCatalogue:
    """`catalogue` is None until one is loaded; `problem` states why the newest one is not loaded, or is empty.

    A data set without a catalogue is no problem: its requests can name no fields and filters.
    """

    def __init__(self, record: Path) -> None:
        self.record = record
        self.catalogue: Catalogue | None = None
        self.problem = ""
        self._last_signature: object = None
        self._retry_at = 0.0

    def poll(self) -> None:
        """Reads the newest catalogue if the file changed. One that is damaged is refused, and the old one stays."""
        found = signature(self.record)
        if found == self._last_signature and not (self.problem and time.monotonic() >= self._retry_at):
            return
        try:
            self._load()
            self.problem = ""
        except (CatalogueError, OSError) as error:
            if self.problem != str(error):
                log.error("%s", error)
            self.problem, self._retry_at = str(error), time.monotonic() + RETRY_SECONDS
        self._last_signature = found

    def retry(self) -> None:
        """Lets the next poll read again a catalogue that did not load."""
        self._retry_at = 0.0

    def _load(self) -> None:
        named = read_record(self.record)
        if named is None:
            if self.catalogue is not None:
                raise CatalogueError(f"{self.record} does not exist any more; materialise served_catalogue again")
            return
        if self.catalogue is None or self.catalogue.version != named.version:
            self.catalogue = read(self.record, named.version)
            log.info("catalogue %s has %d items and %d users", named.version[:12], named.items, named.users)
