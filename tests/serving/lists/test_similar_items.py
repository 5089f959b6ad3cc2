"""Substitutes and complements on a market that has one pair of each."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recommenders.events.histories import DAY
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.features.items import encode_items
from recommenders.models.content_based import ContentBased, ContentBasedConfig
from recommenders.models.ease import EASE
from recommenders.models.recommender import Recommender
from recommenders.storage import schema
from serving.lists.similar_items import SimilarItems

N_USERS, N_ITEMS = 40, 12
BOLT, OTHER_BOLT, NUT, NEW = 0, 4, 2, 11
BOLTS = {BOLT, 1, 3, OTHER_BOLT, NEW}  # by category
OTHERS = [1, 3, *range(5, NEW)]
EVERYTHING = np.ones(N_ITEMS, dtype=np.bool_)


@pytest.fixture(scope="module")
def log() -> Interactions:
    """Each user buys either bolt, never both in one order, a nut with three of four bolts, and two other items."""
    rng, rows, columns, days = np.random.default_rng(5), [], [], []
    for user in range(N_USERS):
        for day in range(8):
            bolt = BOLT if (user + day) % 2 else OTHER_BOLT
            order = {bolt, *([NUT] if day % 4 else []), *rng.choice(OTHERS, 2).tolist()}
            if day % 3 == 2:
                order -= {bolt, NUT}
            rows += [user] * len(order)
            columns += sorted(order)
            days += [day] * len(order)
    users, items = (IdMap.from_ids(f"{n:02}" for n in range(count)) for count in (N_USERS, N_ITEMS))
    ones = np.ones(len(rows), dtype=np.float32)
    order_ = np.argsort(days, kind="stable")
    return Interactions(
        *(users, items, np.array(rows, np.int32)[order_], np.array(columns, np.int32)[order_]),
        *(np.array(days)[order_] * DAY, ones, ones, EVERYTHING, True),
    )


@pytest.fixture(scope="module")
def content(log: Interactions) -> Recommender:
    category = ["bolts" if item in BOLTS else f"{item}" for item in range(N_ITEMS)]
    table = schema.conform(pa.table({"item_id": log.items.ids.tolist(), "category": category}), schema.ITEMS, "items")
    return ContentBased().fit(log, encode_items(table, log.items))


def test_a_substitute_is_similar_and_bought_in_other_orders(content):
    found = SimilarItems(content).find("substitutes", BOLT, 3, EVERYTHING)
    assert found.source == "features"
    assert found.item_columns[0] == OTHER_BOLT
    assert set(found.item_columns) <= BOLTS
    assert found.scores == sorted(found.scores, reverse=True)


def test_a_complement_is_bought_in_the_same_orders(content):
    found = SimilarItems(content).find("complements", BOLT, 3, EVERYTHING)
    assert (found.item_columns[0], found.source) == (NUT, "orders")
    assert OTHER_BOLT not in found.item_columns
    back = SimilarItems(content).find("complements", NUT, 2, EVERYTHING)
    assert set(back.item_columns) == {BOLT, OTHER_BOLT}


def test_nearly_the_same_item_is_no_complement(log, content):
    together = SimilarItems(EASE().fit(log)).find("complements", BOLT, N_ITEMS, EVERYTHING)
    similar = SimilarItems(content).find("complements", BOLT, N_ITEMS, EVERYTHING)
    assert not BOLTS & set(similar.item_columns)
    assert [column for column in together.item_columns if column not in BOLTS] == similar.item_columns
    assert BOLTS & set(together.item_columns)
    assert OTHER_BOLT not in together.item_columns  # never in one order


def test_only_candidates_are_found_and_never_the_item_itself(content):
    some = np.isin(np.arange(N_ITEMS), [BOLT, NUT, 3])
    for kind in ("substitutes", "complements"):
        for item in range(N_ITEMS):
            found = SimilarItems(content).find(kind, item, N_ITEMS, some).item_columns
            assert set(found) <= {BOLT, NUT, 3} - {item}


def test_a_new_item_has_substitutes_by_its_features_and_no_complements(content):
    similar = SimilarItems(content)
    found = similar.find("substitutes", NEW, 4, EVERYTHING)
    assert set(found.item_columns) == BOLTS - {NEW}
    assert similar.find("complements", NEW, 4, EVERYTHING).item_columns == []


def test_without_features_substitutes_are_bought_by_the_same_users(log):
    found = SimilarItems(EASE().fit(log)).find("substitutes", BOLT, 3, EVERYTHING)
    assert (found.item_columns[0], found.source) == (OTHER_BOLT, "users")
    assert SimilarItems(EASE().fit(log)).find("substitutes", NEW, 3, EVERYTHING).item_columns == []


@pytest.mark.parametrize("sharpness", [1.0, 8.0])
def test_the_cosines_of_the_features_are_recovered(log: Interactions, sharpness: Any) -> None:
    words = ["red bolt", "blue bolt", "red nut", *["tape red"] * 2, *["blue tape"] * 6, "red"]
    table = {"item_id": log.items.ids.tolist(), "title": words, "category": ["x"] * N_ITEMS}
    features = encode_items(schema.conform(pa.table(table), schema.ITEMS, "items"), log.items)
    config = ContentBasedConfig(sharpness=sharpness, similarity_threshold=0.1)
    model = ContentBased(config).fit(log, features)
    cosines = (features.vectors @ features.vectors.T).toarray()
    for item in range(N_ITEMS):
        columns, values = model.cosines(item)
        assert item not in columns
        assert len(columns)
        np.testing.assert_allclose(values, np.minimum(cosines[item, columns], 1.0), rtol=1e-4)
