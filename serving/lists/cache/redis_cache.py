"""A cache in a Redis, which several workers and services share.

A Redis that does not answer costs a request TIMEOUT seconds at most, and only one request every SKIP_SECONDS.
"""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from recommenders.errors import ConfigurationError

TIMEOUT = 0.05  # seconds, of a connection and of an answer
SKIP_SECONDS = 5.0  # for which the cache is not asked after it did not answer
PAGE = 1000  # keys of one step of a search

Result = TypeVar("Result")

log = logging.getLogger(__name__)


class CacheUnavailableError(Exception):
    """The cache does not answer, or did not a short time ago."""


class RedisCache:
    """Key -> content. Threads may share it. All methods raise CacheUnavailableError."""

    def __init__(self, url: str, seconds: int, clock: Callable[[], float] = time.monotonic) -> None:
        """url: redis://... seconds: how long an entry is used. Connects later. Raises ConfigurationError."""
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                "cache_url: redis:// needs its client, which is not installed; pip install -e '.[redis]', or use "
                "memory:// (TRADEWIND_CACHE_URL)"
            ) from error
        waits = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "retry": Retry(NoBackoff(), 0)}
        try:
            self._client = redis.Redis.from_url(url, protocol=2, **waits)
        except ValueError as error:  # its message has no password
            raise ConfigurationError(
                f"cache_url: {error}; allowed: redis://HOST:PORT/NUMBER; set TRADEWIND_CACHE_URL"
            ) from error
        self._errors = (redis.RedisError, OSError)
        self._seconds, self._clock = seconds, clock
        self._retry_at, self._is_down = 0.0, False

    def get(self, key: str) -> bytes | None:
        """The content; None if there is none."""
        found = self._asked(lambda: self._client.get(key))
        return found if isinstance(found, bytes) else None

    def put(self, key: str, content: bytes) -> None:
        """Stores a content."""
        self._asked(lambda: self._client.set(key, content, ex=self._seconds))

    def forget(self, prefix: str) -> None:
        """Removes all entries whose keys begin so; it searches all keys, so it is for rare use."""
        self._asked(lambda: [self._client.unlink(key) for key in self._client.scan_iter(f"{prefix}*", PAGE)])

    def _asked(self, ask: Callable[[], Result]) -> Result:
        if self._clock() < self._retry_at:
            raise CacheUnavailableError
        try:
            result = ask()
        except self._errors as error:
            self._retry_at = self._clock() + SKIP_SECONDS
            if not self._is_down:  # one line for each outage
                log.error("the cache does not answer: %s; lists are made without it", error)
            self._is_down = True
            raise CacheUnavailableError from error
        if self._is_down:
            self._is_down = False
            log.warning("the cache answers again")
        return result
