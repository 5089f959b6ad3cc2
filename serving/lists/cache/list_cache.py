"""Finds the list of an equal request, or makes it.

The key has everything that a list is made from, so a list that is found is equal to the one that would be made now: a
new champion, catalogue or rules file, a new event of the user, the begin or end of a sale and a rule that becomes
active each give another key. What the key lacks must not change a list; the caller says which lists may be stored.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

import orjson

import recommenders
import serving
from recommenders.storage.erased_users import id_hash
from serving.lists.cache.in_process_cache import InProcessCache
from serving.lists.cache.redis_cache import CacheUnavailableError, RedisCache
from serving.lists.predictor import Prediction

MEGABYTES = 64  # of a memory cache, by default

log = logging.getLogger(__name__)


class _Store(Protocol):
    def get(self, key: str) -> bytes | None: ...
    def put(self, key: str, content: bytes) -> None: ...
    def forget(self, prefix: str) -> None: ...


class ListCache:
    """Lists by what they are made from. A cache that fails stops no list."""

    def __init__(self, store: _Store, count: Callable[[str], None]) -> None:
        """count: gets "hit", "miss" or "error" for each list that is looked up."""
        self._store, self._count, self._code = store, count, code_version()

    def list_for(self, user_id: str, parts: Sequence[object], make: Callable[[], Prediction]) -> Prediction:
        """The list of make(), made now or earlier. parts: JSON-ready, all that the list depends on besides the user."""
        key = f"{_prefix(id_hash(user_id))}{self._hash(user_id, parts)}"
        try:
            content = self._store.get(key)
        except CacheUnavailableError:
            self._count("error")
            return make()
        found = None if content is None else _read(content)
        self._count("miss" if found is None else "hit")
        return self._made(key, make) if found is None else found

    def forget(self, user_hash: str) -> bool:
        """Removes all lists of a user, by the hash of the id (erased_users.id_hash); whether that succeeded."""
        try:
            self._store.forget(_prefix(user_hash))
        except CacheUnavailableError:
            return False
        return True

    def _made(self, key: str, make: Callable[[], Prediction]) -> Prediction:
        prediction = make()
        if all(map(isfinite, prediction.scores)):  # JSON has no other numbers
            try:
                self._store.put(key, orjson.dumps(prediction))
            except CacheUnavailableError:
                log.debug("a list was not stored")  # the outage is in the log already
        return prediction

    def _hash(self, user_id: str, parts: Sequence[object]) -> str:
        return hashlib.sha256(orjson.dumps([self._code, user_id, *parts])).hexdigest()


def open_cache(url: str, seconds: int, count: Callable[[str], None]) -> ListCache | None:
    """The cache of a setting cache_url; None if it is empty. seconds: how long an entry is used.

    Raises ConfigurationError.
    """
    if not url:
        return None
    if not url.startswith("memory:"):
        return ListCache(RedisCache(url, seconds), count)
    megabytes = int(parse_qs(urlsplit(url).query).get("mb", [str(MEGABYTES)])[0])
    return ListCache(InProcessCache(megabytes * 2**20, seconds), count)


def code_version() -> str:
    """The hash of the code that makes lists: services of two versions of it may share one Redis."""
    digest = hashlib.sha256()
    for package in (recommenders, serving):
        folder = Path(package.__path__[0])
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _prefix(user_hash: str) -> str:
    return f"tradewind:{user_hash}:"


def _read(content: bytes) -> Prediction | None:
    """A stored list; None if it is none, because another program wrote it."""
    try:
        return Prediction(**orjson.loads(content))
    except (ValueError, TypeError):
        return None
