"""Random rule sets and requests: no list breaks a rule, and it is as long as it can be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ensembles.hybrid_learned.model import HybridLearned
from recommenders.models.popularity import Popularity
from recommenders.storage import schema
from serving.lists import precomputed
from serving.lists.predictor import Prediction, Predictor
from serving.steering.catalogue.files import Catalogue
from serving.steering.catalogue.served_items import ServedItems
from serving.steering.catalogue.tables import item_attributes, user_attributes
from serving.steering.rules.rule_types import parse
from serving.steering.rules.rules_of_model import BoundRules

N_USERS, N_ITEMS, N_REQUESTS = 20, 40, 8  # requests of one rule set
LEARNED = HybridLearnedConfig(base_models=("popularity", "ease"), n_windows=1, n_estimators=5, n_candidates=10)
CLOCK = 1_780_000_000_000_000
SCENES = ("for_you", "for_you", "reorder", "discover", "basket")
Item = dict[str, Any]

# an expression, and the same as a function of the attributes of item and user; a missing value is None
ITEMS: dict[str, Any] = {
    'item.category == "A"': lambda i, u: i["category"] == "A",
    'item.category != "A"': lambda i, u: i["category"] not in ("A", None),
    'item.category in ["A", "B"]': lambda i, u: i["category"] in ("A", "B"),
    'item.brand.startsWith("x")': lambda i, u: (i["brand"] or "").startswith("x"),
    "item.price < 10.0": lambda i, u: i["price"] is not None and i["price"] < 10,
    "item.price >= 5.0 && item.price <= 30.0": lambda i, u: i["price"] is not None and 5 <= i["price"] <= 30,
    'item.price < 3.0 || item.category == "C"': lambda i, u: (i["price"] or 99) < 3 or i["category"] == "C",
    '!("price" in item.known)': lambda i, u: i["price"] is None,
    'item.id == "7"': lambda i, u: i["id"] == "7",
    'item.id in ["3", "8", "12"]': lambda i, u: i["id"] in ("3", "8", "12"),
    "item.category == user.segment": lambda i, u: i["category"] is not None and i["category"] == u["segment"],
    'user.segment == "A" && item.price > 20.0': lambda i, u: u["segment"] == "A" and (i["price"] or 0) > 20,
    "true": lambda i, u: True,
}
WHEN: dict[str, Any] = {
    'user.segment == "A"': lambda u, scene, n: u["segment"] == "A",
    '"segment" in user.known': lambda u, scene, n: u["segment"] is not None,
    'request.scene == "for_you" && request.n > 3': lambda u, scene, n: scene == "for_you" and n > 3,
    'now > timestamp("2026-01-01T00:00:00Z")': lambda u, scene, n: True,
    'now > timestamp("2030-01-01T00:00:00Z")': lambda u, scene, n: False,
    'user.id == "u3"': lambda u, scene, n: u["id"] == "u3",
}
ACTIONS = ("exclude", "include_only", "pin", "pin", "boost", "bury", "limit", "limit", "allow_bought", "forbid_bought")


@dataclass(frozen=True)
class Shop:
    """A model with its log, and the catalogue."""

    predictor: Predictor
    items: ServedItems
    item_rows: dict[str, Item]
    user_rows: dict[str, Item]
    bought: dict[str, set[str]]


def shop(folder: Path, repeat: bool, with_lists: bool, model: Any) -> Shop:
    rng = np.random.default_rng(7)
    n = 150
    users, items = IdMap.from_ids(f"u{u}" for u in range(N_USERS)), IdMap.from_ids(str(i) for i in range(N_ITEMS))
    rows, columns = rng.integers(0, N_USERS - 2, n, np.int32), rng.integers(0, N_ITEMS, n, np.int32)
    ones, on_sale = np.ones(n, np.float32), rng.random(N_ITEMS) > 0.1
    log = Interactions(users, items, rows, columns, np.arange(n), ones, ones, on_sale, repeat)
    fitted = Predictor(model().fit(log).save(folder / "1"))
    if with_lists:
        fitted.precomputed = precomputed.write(folder / "1", "hash", fitted.lists)
    item_rows = {str(i): item_of(i, rng) | {"sold": bool(on_sale[items.row(str(i))])} for i in range(N_ITEMS)}
    user_rows = {f"u{u}": {"id": f"u{u}", "segment": [None, "A", "B"][u % 3]} for u in range(N_USERS)}
    bought: dict[str, set[str]] = {f"u{u}": set() for u in range(N_USERS)}
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        bought[users.ids[row]].add(str(items.ids[column]))
    return Shop(
        fitted, ServedItems(catalogue_of(item_rows, user_rows), fitted.model.items_), item_rows, user_rows, bought
    )


def item_of(place: int, rng: np.random.Generator) -> Item:
    return {
        "id": str(place),
        "category": [None, "A", "B", "C"][int(rng.integers(4))],
        "brand": [None, "x1", "x2", "y"][int(rng.integers(4))],
        "price": None if rng.random() < 0.2 else float(rng.integers(1, 40)),
    }


def catalogue_of(item_rows: dict[str, Item], user_rows: dict[str, Item]) -> Catalogue:
    columns = {key: [row[key] for row in item_rows.values()] for key in ("category", "brand", "price")}
    items = schema.conform(pa.table({"item_id": list(item_rows), **columns}), schema.ITEMS, "items")
    segments = [row["segment"] for row in user_rows.values()]
    users = schema.conform(pa.table({"user_id": list(user_rows), "segment": segments}), schema.USERS, "users")
    return Catalogue(item_attributes(items, {}, datetime(2026, 6, 1, tzinfo=UTC)), user_attributes(users, {}), "v")


def random_rule(rng: np.random.Generator, place: int) -> dict[str, Any]:
    action = str(rng.choice(ACTIONS))
    rule: dict[str, Any] = {"name": f"rule-{place}", "action": action}
    if rng.random() < 0.4:
        rule["when"] = str(rng.choice(list(WHEN)))
    if action not in ("limit", "allow_bought", "forbid_bought") or rng.random() < 0.5:
        rule["items"] = str(rng.choice(list(ITEMS)))
    if action == "pin":
        rule["slot"] = int(rng.integers(1, 8))
    if action == "boost":
        rule["factor"] = float(rng.choice([0.1, 2.0, 50.0]))
    if action == "limit":
        rule |= {"attribute": str(rng.choice(["category", "brand", "price"])), "at_most": int(rng.integers(1, 4))}
    return rule


class Check:
    """What the rules ask of one request, computed item by item."""

    def __init__(self, shop: Shop, rules: list[dict[str, Any]], request: dict[str, Any]) -> None:
        self.shop, self.request = shop, request
        self.user = shop.user_rows.get(request["user_id"], {"id": request["user_id"], "segment": None})
        scene, n = request["scene"], request["n"]
        self.active = [rule for rule in rules if "when" not in rule or WHEN[rule["when"]](self.user, scene, n)]
        stored = set() if scene == "basket" else shop.bought.get(request["user_id"], set())
        self.history = stored | set(request["history"])
        self.eligible = {id_ for id_, item in shop.item_rows.items() if self._is_eligible(item)}

    def meets(self, rule: dict[str, Any], item: Item) -> bool:
        return "items" not in rule or bool(ITEMS[rule["items"]](item, self.user))

    def _is_eligible(self, item: Item) -> bool:
        if not item["sold"] or item["id"] in self.request["exclude"]:
            return False
        if self.request["filters"] and item["category"] not in self.request["filters"]["category"]:
            return False
        for rule in self.active:
            if rule["action"] == "exclude" and self.meets(rule, item):
                return False
            if rule["action"] == "include_only" and not self.meets(rule, item):
                return False
        is_bought = item["id"] in self.history
        if self.request["scene"] == "reorder":
            return is_bought
        return not is_bought or (self.request["scene"] == "for_you" and self._may_be_bought(item))

    def _may_be_bought(self, item: Item) -> bool:
        for rule in self.active:
            if rule["action"] in ("allow_bought", "forbid_bought") and self.meets(rule, item):
                return bool(rule["action"] == "allow_bought")
        return bool(self.shop.predictor.model.repeat_)

    def breaks_a_limit(self, ids: list[str]) -> bool:
        for rule in self.active:
            if rule["action"] == "limit":
                counted = [self.shop.item_rows[id_] for id_ in ids if self.meets(rule, self.shop.item_rows[id_])]
                values = [item[rule["attribute"]] for item in counted if item[rule["attribute"]] is not None]
                if any(values.count(value) > rule["at_most"] for value in values):
                    return True
        return False

    def check(self, found: Prediction) -> None:
        ids, n = found.item_ids, self.request["n"]
        assert len(set(ids)) == len(ids) <= n
        assert set(ids) <= self.eligible
        assert not self.breaks_a_limit(ids)
        if len(ids) < n:  # nothing can be added
            assert all(self.breaks_a_limit([*ids, id_]) for id_ in self.eligible - set(ids))
        if not any(rule["action"] == "limit" for rule in self.active):
            assert len(ids) == min(n, len(self.eligible))
        self._check_pins(ids, found)
        self._check_buried(ids, found)

    def _check_pins(self, ids: list[str], found: Prediction) -> None:
        slots: dict[int, str] = {}
        for rule in self.active:
            if rule["action"] != "pin" or rule["slot"] > self.request["n"] or rule["slot"] in slots:
                continue
            before = list(slots.values())
            could = {id_ for id_ in self.eligible - {*before} if self.meets(rule, self.shop.item_rows[id_])}
            could = {id_ for id_ in could if not self.breaks_a_limit([*before, id_])}
            placed = {id_ for id_, names in zip(ids, moved_by(found), strict=True) if rule["name"] in names}
            assert len(placed) == min(1, len(could))
            assert placed <= could
            if placed:
                slots[rule["slot"]] = placed.pop()
        for slot, id_ in slots.items():
            place = ids.index(id_) + 1
            assert place == slot or (slot > len(ids) and set(ids[place:]) <= set(slots.values()))

    def _check_buried(self, ids: list[str], found: Prediction) -> None:
        names = {rule["name"] for rule in self.active if rule["action"] == "pin"}
        others = [id_ for id_, by in zip(ids, moved_by(found), strict=True) if not names & set(by)]
        buried = [
            any(rule["action"] == "bury" and self.meets(rule, self.shop.item_rows[id_]) for rule in self.active)
            for id_ in others
        ]
        assert buried == sorted(buried)


def moved_by(found: Prediction) -> Sequence[Sequence[str]]:
    """The rules that placed or moved each item; no rule did if none orders lists."""
    return found.rules or [()] * len(found.item_ids)


def random_request(rng: np.random.Generator) -> dict[str, Any]:
    ids = [str(i) for i in range(N_ITEMS)]
    return {
        "user_id": f"u{rng.integers(0, N_USERS + 3)}",  # the last five have no events
        "history": rng.choice(ids, int(rng.choice([0, 0, 2, 5]))).tolist(),
        "scene": str(rng.choice(SCENES)),
        "exclude": rng.choice(ids, int(rng.choice([0, 0, 6]))).tolist(),
        "n": int(rng.choice([1, 3, 10, 40])),
        "filters": {"category": ["A", "C"]} if rng.random() < 0.2 else {},
    }


def check_rules(shop: Shop, rng: np.random.Generator, n_requests: int) -> int:
    """Checks a random rule set with random requests; returns the number of requests with several active rules."""
    rules = [random_rule(rng, place) for place in range(int(rng.integers(1, 7)))]
    bound = BoundRules(parse({"rules": rules}, "rules.yaml"), shop.items, shop.predictor.model.items_)
    return sum(check_one(shop, bound, rules, random_request(rng)) > 1 for _ in range(n_requests))


def check_one(shop: Shop, bound: BoundRules, rules: list[dict[str, Any]], request: dict[str, Any]) -> int:
    """Checks the list for one request; returns the number of active rules."""
    user_id, n, scene = request["user_id"], request["n"], request["scene"]
    steering, check = bound.steering(user_id, scene, n, CLOCK), Check(shop, rules, request)
    conditions = shop.items.check([], request["filters"])
    eligible = shop.items.mask(conditions) if conditions else None
    asked = (user_id, request["history"], n, CLOCK, scene, request["exclude"], eligible)
    found = shop.predictor.predict(*asked, steering=steering)
    if not check.active:
        assert steering is None
        return 0
    assert steering is not None
    assert [each.rule.name for each in steering.active] == [rule["name"] for rule in check.active]
    assert set(found.effects) == {rule["name"] for rule in check.active}
    check.check(found)
    return len(check.active)


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> list[Shop]:
    kinds = [(True, False, CollaborativeFiltering), (False, True, CollaborativeFiltering), (True, True, Popularity)]
    return [shop(tmp_path_factory.mktemp("shop"), *kind) for kind in kinds]


def test_no_list_breaks_a_rule_and_it_is_as_long_as_it_can_be(shops: list[Shop], sized: Callable[[int], int]) -> None:
    rng, n_sets = np.random.default_rng(0), sized(10_000) // N_REQUESTS
    n_several = sum(check_rules(shops[place % len(shops)], rng, N_REQUESTS) for place in range(n_sets))
    assert n_several > n_sets * N_REQUESTS / 2


def test_nor_does_a_list_of_a_model_that_ranks_candidates(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for repeat in (True, False):
        one = shop(tmp_path / str(repeat), repeat, True, lambda: HybridLearned(LEARNED))
        assert sum(check_rules(one, rng, N_REQUESTS) for _ in range(30)) > 120


def test_precomputed_lists_serve_where_rules_only_remove_items(
    shops: list[Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = shops[2]
    rule = {"name": "a", "action": "exclude", "items": 'item.category == "A"'}
    bound = BoundRules(parse({"rules": [rule]}, "rules.yaml"), one.items, one.predictor.model.items_)
    asked = ("u1", [], 5, CLOCK)
    steering = bound.steering("u1", "for_you", 5, CLOCK)
    with monkeypatch.context() as without:
        without.setattr(one.predictor, "precomputed", None)
        expected = one.predictor.predict(*asked, steering=steering)
    monkeypatch.setattr(one.predictor.lists, "recommend", lambda *_: pytest.fail("the model was asked"))
    assert one.predictor.predict(*asked, steering=steering) == expected
    assert len(expected.item_ids) == 5
