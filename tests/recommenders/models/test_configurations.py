"""Properties of every model for several configurations that change its scores, on two kinds of log.

test_contract.py tests more properties, for the default configurations only.
"""

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recommenders.events.histories import Histories
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures, encode_items
from recommenders.models import all_models
from recommenders.models.recommender import Recommender
from recommenders.storage import schema
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import fit_with_base_models

Settings = dict[str, dict[str, Any]]

N_USERS, N_ITEMS, N_SOLD = 16, 14, 12
START = datetime(2026, 1, 1, tzinfo=UTC)
SMALL: Settings = {  # quick to fit; a variant overrides these
    "sasrec": {"fit_on_windows": True, "embedding_dim": 8, "fixed_epochs": 1},
    "neural_collaborative": {"embedding_dim": 4, "hidden_layers": [8, 4], "fixed_epochs": 2, "min_user_events": 3},
    "ials": {"embedding_dim": 8},
    "hybrid": {"model_weights": {"content_based": 0.4, "collaborative_filtering": 0.6}},
    "hybrid_learned": {
        "base_models": ["popularity", "content_based", "ease", "repurchase"],
        "n_windows": 1,
        "n_estimators": 20,
        "max_depth": 3,
    },
}
BY_CATEGORY: Settings = {"popularity": {"by": "category"}}
VARIANTS: list[tuple[str, Settings]] = [
    *((name, {}) for name in all_models.MODELS),
    ("popularity", BY_CATEGORY),
    ("popularity", {"popularity": {"events": "summed", "window_days": 20}}),
    ("content_based", {"content_based": {"similarity_threshold": 0.0, "n_neighbours": 3}}),
    ("content_based", {"content_based": {"similarity_threshold": 1.0, "fallback_neighbours": 0, "repeat_share": 0}}),
    ("content_based", {"content_based": {"recency_visits": None, "popularity_prior": 0}}),
    ("collaborative_filtering", {"collaborative_filtering": {"neighbours": "items"}}),
    ("collaborative_filtering", {"collaborative_filtering": {"similarity_metric": "pearson", "n_neighbours": 3}}),
    ("collaborative_filtering", {"collaborative_filtering": {"neighbours": "items", "similarity_metric": "pearson"}}),
    ("collaborative_filtering", {"collaborative_filtering": {"max_visits": 1, "repeat_share": 0}}),
    ("collaborative_filtering", {"collaborative_filtering": {"max_visits": None, "recency_visits": None}}),
    ("repurchase", {"repurchase": {"n_windows": 1, "half_life_days": 5, "max_pairs": 10}}),
    ("ease", {"ease": {"values": "binary", "events": "summed", "max_weights": 2}}),
    ("ease", {"ease": {"dense_items": 4, "half_life_days": 3}}),
    ("ials", {"ials": {"values": "binary", "events": "summed"}}),
    ("ials", {"ials": {"embedding_dim": 20, "unobserved_weight": 0.5}}),
    ("sasrec", {"sasrec": {"n_heads": 2, "history_length": 2, "n_blocks": 1}}),
    ("sasrec", {"sasrec": {"full_softmax_items": 0, "n_negatives": 4, "dropout": 0}}),
    ("neural_collaborative", {"neural_collaborative": {"side_features": True, "pretraining_epochs": 1}}),
    ("neural_collaborative", {"neural_collaborative": {"history_length": 1, "min_user_events": 99}}),
    ("hybrid", BY_CATEGORY),
    ("hybrid", BY_CATEGORY | {"hybrid": {"model_weights": {"neural_collaborative": 1.0}}}),
    ("hybrid_learned", BY_CATEGORY),
    ("hybrid_learned", {"hybrid_learned": {"base_models": ["popularity", "ease", "neural_collaborative"]}}),
]
LOGS = {"a window": True, "what comes next": False}  # whether users buy items again within a horizon


@cache
def _table() -> pa.Table:
    """Visits of one to four items. Some times have several users, or an item of a user twice with different weights."""
    rng = np.random.default_rng(3)
    rows = [
        (f"u{user:02}", f"i{item:02}", START + timedelta(days=day), float(rng.integers(1, 4)))
        for user in range(N_USERS)
        for day in rng.choice(60, 1 + user // 3, replace=False).tolist()
        for item in rng.choice(N_SOLD, rng.integers(1, 5)).tolist()
    ]
    users, items, times, weights = zip(*rows, strict=True)
    columns: dict[str, Any] = {"user_id": users, "item_id": items, "timestamp": times, "weight": weights}
    columns |= {"event": ["purchase"] * len(rows), "quantity": weights}
    return schema.conform(pa.table(columns), schema.INTERACTIONS, "toy events")


def _log(table: pa.Table, *, repeat: bool) -> Interactions:
    """The last two items have no events."""
    items = IdMap.from_ids(f"i{item:02}" for item in range(N_ITEMS))
    return Interactions.from_table(table, items, repeat=repeat, dated=repeat, horizon_days=15.0 if repeat else None)


@cache
def _features() -> ItemFeatures:
    table = pa.table(
        {
            "item_id": [f"i{item:02}" for item in range(N_ITEMS)],
            "title": [f"{'big' if item % 2 else 'small'} {('pen', 'cup', 'box')[item % 3]}" for item in range(N_ITEMS)],
            "category": [("pen", "cup", "box")[item % 3] for item in range(N_ITEMS)],
            "price": [1.0 + item for item in range(N_ITEMS)],
        }
    )
    return encode_items(schema.conform(table, schema.ITEMS, "toy items"), IdMap.from_ids(table["item_id"].to_pylist()))


def _fitted(name: str, settings: Settings, log: Interactions) -> Recommender:
    models = {each: SMALL.get(each, {}) | settings.get(each, {}) for each in {*SMALL, *settings}}
    return fit_with_base_models(name, TrainingConfig.model_validate({"models": models}), log, _features())


def _users(model: Recommender) -> tuple[np.ndarray, Histories]:
    """Known users, the same users as cold-start users, and one user without a history."""
    known = np.arange(N_USERS, dtype=np.int32)
    histories = model.histories_[np.concatenate([known, known])]
    empty = np.append(histories.indptr, histories.indptr[-1])
    events = (histories.item_columns, histories.timestamps, histories.weights)
    return np.concatenate([known, np.full(N_USERS + 1, -1, np.int32)]), Histories(empty, *events, N_ITEMS)


Case = tuple[str, Settings, bool, Recommender]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((name, settings, repeat), id=f"{name}-{settings.get(name, settings)}-{kind}")
        for name, settings in VARIANTS
        for kind, repeat in LOGS.items()
        if repeat or name != "repurchase"  # repurchase needs repeat purchases
    ],
)
def case(request: pytest.FixtureRequest) -> Case:
    name, settings, repeat = request.param
    return name, settings, repeat, _fitted(name, settings, _log(_table(), repeat=repeat))


def test_a_user_gets_the_same_scores_alone_and_in_any_batch(case: Case) -> None:
    model = case[-1]
    rows, histories = _users(model)
    together = model.score(rows, histories)
    assert together.shape == (len(rows), N_ITEMS)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    alone = np.concatenate([model.score(rows[i : i + 1], histories[i : i + 1]) for i in range(len(rows))])
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)
    reversed_ = np.arange(len(rows))[::-1]
    np.testing.assert_allclose(
        model.score(rows[reversed_], histories[reversed_])[reversed_], together, rtol=1e-4, atol=1e-5
    )


def test_score_items_equals_score(case: Case) -> None:
    model = case[-1]
    rows, histories = _users(model)
    some = np.random.default_rng(0).integers(0, N_ITEMS, (len(rows), 5)).astype(np.int32)
    every = np.take_along_axis(model.score(rows, histories), some.astype(np.int64), axis=1)
    np.testing.assert_allclose(model.score_items(rows, histories, some), every, rtol=1e-4, atol=1e-5)


def test_a_saved_model_scores_alike(case: Case, tmp_path: Path) -> None:
    model = case[-1]
    loaded = all_models.load(model.save(tmp_path / "bundle"))
    np.testing.assert_array_equal(loaded.score(*_users(model)), model.score(*_users(model)))


def test_the_order_of_rows_in_a_table_does_not_matter(case: Case) -> None:
    name, settings, repeat, model = case
    shuffled = _table().take(np.random.default_rng(1).permutation(len(_table())))
    again = _fitted(name, settings, _log(shuffled, repeat=repeat))
    for part in ("item_columns", "timestamps", "weights"):
        np.testing.assert_array_equal(getattr(again.histories_, part), getattr(model.histories_, part))
    np.testing.assert_array_equal(again.score(*_users(model)), model.score(*_users(model)))
