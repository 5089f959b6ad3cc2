"""A list from the cache is the list that would be made now, whatever happened since. A cache that fails stops none."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

import recommenders
import serving
from recommenders.errors import ConfigurationError
from recommenders.events.sale_periods import ALWAYS, SalePeriods
from recommenders.models.ease import EASE
from recommenders.storage.erased_users import id_hash
from serving.champion.pointer import fingerprint, read_pointer, write_pointer
from serving.champion.watcher import ChampionWatcher
from serving.endpoints import list_making
from serving.endpoints.list_making import Made, make
from serving.endpoints.worker import Worker
from serving.lists import precomputed
from serving.lists.cache import list_cache, redis_cache
from serving.lists.cache.in_process_cache import InProcessCache
from serving.lists.cache.list_cache import ListCache, open_cache
from serving.lists.cache.redis_cache import CacheUnavailableError
from serving.lists.predictor import Prediction
from serving.settings import ServingSettings
from serving.web.predict_request import parse

HOUR = 3_600_000_000
NOON = 1_767_268_800_000_000  # 2026-01-01T12:00:00Z
RULES = (
    "rules: []",
    'rules: [{name: a, action: exclude, items: item.category == "Tools"}]',
    'rules: [{name: a, when: now.getHours() % 2 == 0, action: pin, slot: 2, items: item.id == "109"}]',
    "rules: [{name: a, action: bury, items: item.price > 8.0}, {name: b, action: limit, attribute: brand, at_most: 2}]",
    'rules: [{name: a, when: context.hot == true, action: bury, items: item.brand == "A"}]',
    'rules: [{name: a, when: user.segment == "cafe", action: boost, factor: 5.0, items: item.brand == "A"}]',
)


@dataclass
class Events:
    """The feedback of a worker, without a store."""

    recent: dict[str, list[str]] = field(default_factory=dict)
    erased: dict[str, int] = field(default_factory=dict)
    problem: str = ""

    def recent_items(self, user_id: str, _: object) -> list[str]:
        return self.recent.get(user_id, [])

    def erased_at(self, user_id: str) -> int | None:
        return self.erased.get(user_id)


class Shop:
    """A service whose champion, catalogue, rules, events and clock change; the sale of some items ends."""

    def __init__(self, market: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.market, self.settings, self.rules, self.n_versions = market, market.settings(home), home / "rules.yaml", 0
        self.now, self.events, self.rng = NOON, Events(), np.random.default_rng(0)
        monkeypatch.setattr(list_making.time, "time_ns", lambda: self.now * 1000)
        self.rules.write_text(RULES[0])
        self.watcher = ChampionWatcher(self.settings.pointer, rules_file=self.rules)
        self.swap()

    def worker(self, cache: ListCache | None = None) -> Worker:
        worker = Worker(ServingSettings())
        worker.watcher, worker.feedback, worker.cache = self.watcher, self.events, cache  # type: ignore[assignment]
        return worker

    def swap(self, with_lists: bool = False) -> None:
        self.n_versions += 1
        folder = self.market.release(self.settings, self.n_versions, 0)
        hours = np.arange(12) // 3 * 2 * HOUR
        ends = np.where(np.arange(12) % 2, NOON + hours, ALWAYS.max)
        log = replace(self.market.log(int(self.rng.integers(12))), sale_periods=SalePeriods(np.full(12, 0), ends))
        EASE().fit(log).save(folder)
        pointer = read_pointer(self.settings.pointer)
        write_pointer(self.settings.pointer, replace(pointer, bundle_sha256=fingerprint(folder)))
        self.watcher.poll()
        if with_lists:
            champion = self.watcher.champion
            precomputed.write(folder, champion.pointer.bundle_sha256, champion.predictor.lists)
            self.watcher.poll()

    def change(self) -> None:
        """Changes something that lists are made from."""
        user_id, item_id = str(self.rng.integers(1, 8)), str(self.rng.integers(101, 115))
        match int(self.rng.integers(9)):
            case 0 | 1:
                self.events.recent[user_id] = [*self.events.recent.get(user_id, []), item_id]
            case 2:
                self.events.recent.pop(user_id, None)
                self.events.erased[user_id] = int(self.rng.integers(20))
            case 3 | 7 | 8:
                self.now += int(self.rng.integers(2 * HOUR))
            case 4:
                self.market.catalogue(self.settings, float(self.rng.integers(1, 4)))
            case 5:
                self.rules.write_text(str(self.rng.choice(RULES)))
            case 6:
                self.swap(bool(self.rng.integers(2)))
        self.watcher.poll()

    def request(self) -> bytes:
        """A body of POST /predict, one of a few."""
        rng = self.rng
        chosen = {"user_id": int(rng.integers(1, 8)), "n_recommendations": 10}
        if rng.random() < 0.3:
            chosen["history"] = [[104], ["110", 999]][int(rng.integers(2))]
        if rng.random() < 0.3:
            chosen["scene"] = str(rng.choice(["reorder", "discover", "basket"]))
        if rng.random() < 0.1:
            chosen["exclude"] = [103]
        if rng.random() < 0.2:
            chosen["diversity"] = float(rng.choice([0.3, 0.9]))
        if rng.random() < 0.2:
            chosen["context"] = {"hot": bool(rng.integers(2))}
        if self.watcher.champion.items and rng.random() < 0.3:
            chosen |= {"filters": [{"brand": "A"}, {"price": {"max": 6}}][int(rng.integers(2))], "fields": ["price"]}
        return orjson.dumps(chosen)


@pytest.fixture
def shop(market: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    return Shop(market, tmp_path, monkeypatch)


def made(worker: Worker, body: bytes, request_id: str = "id") -> Made:
    return make(worker, worker.champion, parse(body, "application/json"), body.decode(), request_id)


def shown(one: Made) -> tuple[Any, ...]:
    found = one.prediction
    return one.items, found.strategy, found.unknown_items, found.effects, found.scores


@pytest.mark.parametrize("kind", ["memory", pytest.param("redis", marks=pytest.mark.slow)])
def test_with_and_without_a_cache_the_lists_are_equal(
    shop: Shop, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_cache, "TIMEOUT", 10.0)  # the machine may be busy
    url = "memory://" if kind == "memory" else request.getfixturevalue("redis_url")
    results: Counter[str] = Counter()
    cached, plain = shop.worker(open_cache(url, 300, lambda result: results.update([result]))), shop.worker()
    for n in range(120):
        bodies = [shop.request() for _ in range(6)]
        for changed in (False, True):
            if changed:
                shop.change()
            for body in bodies:
                assert shown(made(cached, body)) == shown(made(plain, body)), (n, changed, body)
    assert results["hit"] > 100, results
    assert results["miss"] > 100
    assert not results["error"]


PLAIN = b'{"user_id": 3, "scene": "discover"}'


def test_a_list_is_found_again_for_an_equal_request_and_the_counts_say_so(shop: Shop) -> None:
    worker = shop.worker()
    worker.cache = open_cache("memory://?mb=1", 300, worker.metrics.record_cache)
    for body in (PLAIN, b'{"scene":"discover","user_id":3}', b'{"user_id": 4, "scene": "discover"}'):
        made(worker, body)
    text = worker.metrics.exposition().decode()
    assert 'tradewind_cache_requests_total{result="hit"} 1.0' in text
    assert 'tradewind_cache_requests_total{result="miss"} 2.0' in text


def test_a_list_with_exploration_depends_on_the_request_id_and_is_never_cached(shop: Shop) -> None:
    shop.rules.write_text("exploration: {share: 0.5, depth: 12}")
    shop.watcher.poll()
    results: list[str] = []
    cached, plain = shop.worker(open_cache("memory://", 300, results.append)), shop.worker()
    body = b'{"user_id": 3, "n_recommendations": 4}'
    lists = [made(cached, body, str(n)) for n in range(20)]
    assert [shown(one) for one in lists] == [shown(made(plain, body, str(n))) for n in range(20)]
    assert len({str(one.items) for one in lists}) > 1
    assert results == []


def test_a_list_that_is_in_memory_already_is_not_looked_up(shop: Shop) -> None:
    shop.swap(with_lists=True)
    results: list[str] = []
    worker = shop.worker(open_cache("memory://", 300, results.append))
    made(worker, b'{"user_id": 3}')
    assert results == []
    for body in (b'{"user_id": 7}', PLAIN, b'{"user_id": 3, "history": [104]}', b'{"user_id": 3, "exclude": [104]}'):
        made(worker, body)
    shop.events.recent["3"] = ["104"]
    made(worker, b'{"user_id": 3}')
    shop.events.recent["3"], shop.events.erased["3"] = [], 100
    made(worker, b'{"user_id": 3}')
    assert results == ["miss"] * 6


def test_lists_that_were_made_for_all_users_are_another_source(shop: Shop) -> None:
    """A model sums in another order for many users at once, so their scores may differ by rounding."""
    results: list[str] = []
    worker, champion = shop.worker(open_cache("memory://", 300, results.append)), shop.watcher.champion
    made(worker, PLAIN)
    folder = champion.pointer.bundle_folder(shop.settings.pointer)
    precomputed.write(folder, champion.pointer.bundle_sha256, champion.predictor.lists)
    shop.watcher.poll()
    for _ in range(2):
        made(worker, PLAIN)
    assert results == ["miss", "miss", "hit"]


class Broken:
    """A store that fails, or holds what another program wrote."""

    def __init__(self, content: bytes | None = None) -> None:
        self.content = content

    def get(self, _: str) -> bytes | None:
        if self.content is None:
            raise CacheUnavailableError
        return self.content

    def put(self, *_: object) -> None:
        raise CacheUnavailableError

    forget = put


@pytest.mark.parametrize(("content", "result"), [(None, "error"), (b"\xff", "miss"), (b"{}", "miss"), (b"5", "miss")])
def test_a_cache_that_fails_or_has_no_list_stops_no_list(shop: Shop, content: bytes | None, result: str) -> None:
    results: list[str] = []
    cache = ListCache(Broken(content), results.append)
    assert made(shop.worker(cache), PLAIN).items == made(shop.worker(), PLAIN).items
    assert (results, cache.forget("hash")) == ([result], False)


def test_a_list_with_a_score_that_json_lacks_is_not_stored() -> None:
    store = InProcessCache(10_000, 300)
    cache = ListCache(store, lambda _: None)
    for score in (1.5, -np.inf, np.nan):
        cache.list_for("3", [score], lambda score=score: Prediction(["101"], [score], None, "history", []))
    assert len(store._entries) == 1


def test_the_lists_of_a_user_are_forgotten(shop: Shop) -> None:
    results: list[str] = []
    worker = shop.worker(open_cache("memory://", 300, results.append))
    other = PLAIN.replace(b"3", b"4")
    for body in (PLAIN, other):
        made(worker, body)
    assert worker.cache.forget(id_hash("3"))
    for body in (PLAIN, other):
        made(worker, body)
    assert results == ["miss", "miss", "miss", "hit"]


def test_services_of_different_code_share_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    store, results = InProcessCache(10_000, 300), []
    for code in ("1", "2", "1"):
        monkeypatch.setattr(list_cache, "code_version", lambda code=code: code)
        ListCache(store, results.append).list_for("3", [], lambda: Prediction([], [], None, "history", []))
    assert results == ["miss", "miss", "hit"]


def test_the_version_of_the_code_changes_with_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in (recommenders, serving):
        monkeypatch.setattr(package, "__path__", [str(tmp_path / package.__name__)])
    versions = {list_cache.code_version()}
    for name in ("recommenders/a.py", "serving/a.py", "serving/lists/a.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        for code in ("1", "2"):
            (tmp_path / name).write_text(code)
            versions |= {list_cache.code_version(), list_cache.code_version()}
    assert len(versions) == 7


@pytest.mark.parametrize(
    "url", ["memory://?mb=0", "memory://?gb=1", "memory", "http://host", "redis://", "redis://a b"]
)
def test_an_address_that_is_none_says_what_is_allowed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEWIND_CACHE_URL", url)
    with pytest.raises(ValueError, match=r"allowed: memory://\?mb=64, redis://HOST:PORT/NUMBER"):
        ServingSettings()


def test_a_cache_in_memory_has_the_megabytes_of_its_address() -> None:
    found = [open_cache(url, 300, lambda _: None)._store._max_bytes for url in ("memory://?mb=3", "memory://")]
    assert found == [3_145_728, 67_108_864]


def test_without_an_address_there_is_no_cache() -> None:
    assert ServingSettings().cache_url == ""
    assert open_cache("", 300, lambda _: None) is None
    pytest.importorskip("redis", reason="redis is not installed (pip install -e '.[dev]')")
    with pytest.raises(ConfigurationError, match="cache_url"):
        open_cache("redis://host:port/0", 300, lambda _: None)
