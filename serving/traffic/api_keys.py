"""The API keys in memory: reads the file of keys again when it changes, and finds the key of a request."""

import hmac
import logging
import time
from collections.abc import Callable
from pathlib import Path

from recommenders.errors import ConfigurationError
from serving.traffic.key_file import ApiKey, digest, read_keys

POLL_SECONDS = 1.0

log = logging.getLogger(__name__)


class ApiKeys:
    """The keys of one file. If the file becomes invalid, the keys that were read before stay."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._keys: list[ApiKey] | None = None
        self._problem = ""
        self._signature: tuple[int, ...] | None = None
        self._poll_at = -float("inf")

    def find(self, key: str) -> ApiKey | None:
        """The entry of a key, or None. Raises ConfigurationError if no file of keys was ever read."""
        self._poll()
        if self._keys is None:
            raise ConfigurationError(self._problem)
        found, own_digest = None, digest(key)
        for entry in self._keys:  # all of them: the time must not depend on which one it is
            if hmac.compare_digest(entry.sha256, own_digest):
                found = entry
        return found

    @property
    def problem(self) -> str:
        """What is wrong with the file; empty if nothing is."""
        self._poll()
        return self._problem

    def _poll(self) -> None:
        if self._clock() < self._poll_at:
            return
        self._poll_at = self._clock() + POLL_SECONDS
        signature = self._stat()
        if signature == self._signature and self._keys is not None:
            return
        self._signature = signature
        try:
            self._keys, problem = read_keys(self._path), ""
        except ConfigurationError as error:
            problem = str(error)
        if problem and problem != self._problem:
            log.error("API keys: %s; keys that were read before stay valid", problem)
        self._problem = problem

    def _stat(self) -> tuple[int, ...]:
        try:
            status = self._path.stat()
        except OSError:
            return ()
        return status.st_mtime_ns, status.st_ino, status.st_size
