"""Logs with little or no training data: every model either works or is skipped with a reason, in little time."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recommenders.errors import UnsuitableError
from recommenders.events.histories import DAY
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions, event_order
from recommenders.features.items import ItemFeatures, encode_items
from recommenders.models import all_models
from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig
from recommenders.models.networks.neural_collaborative.model import NeuralCollaborative
from recommenders.models.networks.neural_collaborative.training import NeuMFTrainer
from recommenders.models.networks.sasrec.config import SASRecConfig
from recommenders.models.networks.sasrec.model import SASRec
from recommenders.models.networks.sasrec.training import SASRecTrainer
from recommenders.storage import schema
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import SkippedModel, fit_recipe

EPOCHS = 40  # early stopping ends training long before
CONFIG = TrainingConfig.model_validate(
    {
        "models": {
            "sasrec": {"fit_on_windows": True, "embedding_dim": 4, "epochs": EPOCHS, "patience": 2},
            "neural_collaborative": {"embedding_dim": 4, "hidden_layers": [8], "epochs": EPOCHS, "min_gain": 0.1},
            "ials": {"embedding_dim": 4},
            "hybrid_learned": {"n_estimators": 5, "max_depth": 2},
        }
    }
)


def log_of(users: list[int], items: list[int], days: list[float]) -> Interactions:
    """One event of weight 1 each, in a log with a horizon of 30 days."""
    rows, columns = np.array(users, np.int32), np.array(items, np.int32)
    times, ones = (np.array(days) * DAY).astype(np.int64), np.ones(len(users), np.float32)
    order = event_order(times, rows, columns, ones, ones)
    return Interactions(
        *(
            IdMap.from_ids(f"{kind}{i:03}" for i in range(max(of, default=-1) + 1))
            for kind, of in (("u", users), ("i", items))
        ),
        *(rows[order], columns[order], times[order], ones, ones),
        available=np.ones(max(items, default=-1) + 1, dtype=np.bool_),
        repeat=True,
        horizon_days=30.0,
    )


def spread(n: int, up_to: float = 200.0) -> list[float]:
    return np.linspace(0.0, up_to, n).tolist()


LOGS: dict[str, Callable[[], Interactions]] = {
    "each item once": lambda: log_of([i % 10 for i in range(60)], [*range(60)], spread(60)),
    "no user before and in the last window": lambda: log_of(
        [*(i // 2 for i in range(40)), *range(20, 30)], [i % 7 for i in range(50)], [*spread(40, 100), *[195.0] * 10]
    ),
    "one event a user": lambda: log_of([*range(30)], [i % 7 for i in range(30)], spread(30)),
    "one order a user": lambda: log_of(
        [i // 3 for i in range(30)], [i % 7 for i in range(30)], [i // 3 for i in range(30)]
    ),
    "one user": lambda: log_of([0] * 40, [i * i % 11 for i in range(40)], spread(40)),
    "two users": lambda: log_of([i % 2 for i in range(40)], [i * i % 11 for i in range(40)], spread(40)),
    "one item": lambda: log_of([i % 9 for i in range(40)], [0] * 40, spread(40)),
    "one moment": lambda: log_of([i % 9 for i in range(40)], [i * i % 11 for i in range(40)], [5.0] * 40),
    "two events": lambda: log_of([0, 0], [0, 1], [0.0, 5.0]),
    "one event": lambda: log_of([0], [0], [0.0]),
}
TARGETS: dict[str, dict[str, Any]] = {
    "the window": {},
    "what comes next": {"repeat": False, "dated": False, "horizon_days": None},
}


def features_of(log: Interactions) -> ItemFeatures:
    n = len(log.items)
    table = pa.table(
        {
            "item_id": log.items.ids.tolist(),
            "title": ["pen" if item % 2 else "cup" for item in range(n)],
            "category": ["things"] * n,
            "price": [1.0 + item for item in range(n)],
        }
    )
    return encode_items(schema.conform(table, schema.ITEMS, "toy items"), log.items)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", LOGS)
def test_every_model_works_or_is_skipped_with_a_reason(kind: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommenders.models.networks.sasrec.training.MIN_STEPS_PER_EPOCH", 2)
    log = replace(LOGS[kind](), **TARGETS[target])
    skipped: list[SkippedModel] = []
    fitted = fit_recipe(CONFIG, log, features_of(log), on_skip=skipped.append)
    assert {*fitted, *(one.name for one in skipped)} == {*all_models.MODELS}
    for one in skipped:
        assert "\n" not in one.reason
        assert re.search(rf"^{one.name} .*(got|and in this log)", one.reason), one.reason
    rows = np.arange(-1, len(log.users), dtype=np.int32)
    for name, model in fitted.items():
        assert np.isfinite(model.score(rows, model.histories_[rows.clip(min=0)])).all(), name
        assert len(model.learning_curve) < EPOCHS, name


def test_users_inactive_in_the_last_window_are_validated_on_their_latest_visit() -> None:
    log = LOGS["no user before and in the last window"]()
    kept, validation = SASRecTrainer.hold_out(log, SASRecConfig(), np.random.default_rng(0))
    assert validation is not None
    assert len(kept) == len(log) - len(validation.histories)
    rows = kept.users.rows(kept.users.ids)[:20]
    without = rows[kept.histories().counts[:20] == 1]
    assert len(without) == len(validation.histories) == 10  # half of the twenty with two events
    for row, relevant in zip(without, np.split(validation.relevant.indices, 10), strict=True):
        assert relevant.tolist() == [int(log.histories()[[row]].item_columns[-1])]


def test_users_of_one_order_are_validated_on_one_of_its_items() -> None:
    log = LOGS["one order a user"]()
    config = NeuralCollaborativeConfig(validation_split=0.5)
    kept, validation = NeuMFTrainer.hold_out(log, config, np.random.default_rng(0))
    assert validation is not None
    assert validation.histories.counts.tolist() == [2] * 5
    assert validation.relevant.sum() == len(log) - len(kept) == 5


@pytest.mark.parametrize("kind", ["each item once", "one item"])
def test_a_network_is_not_trained_where_items_cannot_be_compared(kind: str) -> None:
    log, what = LOGS[kind](), {"each item once": "60 items .* at most 1 ", "one item": "1 items .* at most 40 "}[kind]
    for model in (SASRec(), NeuralCollaborative()):
        with pytest.raises(UnsuitableError, match=rf"^{model.name} has nothing to learn: got {what}.*enabled: false"):
            model.fit(log)
