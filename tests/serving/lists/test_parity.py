"""The served lists are the evaluated lists: both are compared user by user, on a log with many ties."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recommenders.datasets.spec import Protocol
from recommenders.evaluation.rank import rank_users
from recommenders.evaluation.tasks.cold_start import cold_start_users
from recommenders.evaluation.tasks.task import EvaluationTask, make_task
from recommenders.events.interactions import Interactions
from recommenders.features.items import encode_items
from recommenders.models.all_models import model_class
from recommenders.models.ensembles.ensemble import Ensemble
from recommenders.models.ensembles.hybrid import Hybrid, HybridConfig
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ensembles.hybrid_learned.model import HybridLearned
from recommenders.splitting.temporal import cut_time, split, training_log
from recommenders.storage import schema
from serving.champion.pointer import fingerprint
from serving.lists import precomputed
from serving.lists.predictor import Predictor
from serving.lists.served_lists import ServedLists

START = datetime(2026, 1, 1, tzinfo=UTC)
N_ITEMS, N_TWINS, N_TASTES, DAYS, K = 120, 40, 6, 100, 10


def market(n_users: int) -> tuple[pa.Table, pa.Table]:
    """Events and items. Users buy two items per visit, mostly of their taste; every tenth user starts late in the log.

    Each odd one of the first N_TWINS items is bought together with the item before it and has the same title and
    category, so their scores tie.
    """
    rng = np.random.default_rng(7)
    visits = np.repeat(np.arange(n_users), 5)
    days = np.where(visits % 10, rng.integers(0, DAYS, len(visits)), rng.integers(DAYS - 15, DAYS, len(visits)))
    users, days = np.repeat(visits, 2), np.repeat(days, 2)
    size = N_ITEMS // N_TASTES
    of_taste = users % N_TASTES * size + rng.zipf(1.6, len(users)) % size
    items = np.where(rng.random(len(users)) < 0.8, of_taste, rng.integers(0, N_ITEMS, len(users)))
    items -= (items < N_TWINS) & (items % 2 == 1)
    twins = np.flatnonzero(items < N_TWINS)
    users, days, items = (
        np.append(users, users[twins]),
        np.append(days, days[twins]),
        np.append(items, items[twins] + 1),
    )
    events = {
        "user_id": [f"u{user}" for user in users],
        "item_id": [f"i{item:03}" for item in items],
        "timestamp": [START + timedelta(days=int(day)) for day in days],
        "event": ["purchase"] * len(users),
        "weight": [1.0] * len(users),
    }
    names = [item - item % 2 if item < N_TWINS else item for item in range(N_ITEMS)]
    described = {
        "item_id": [f"i{item:03}" for item in range(N_ITEMS)],
        "title": [f"thing {name}" for name in names],
        "category": [f"taste {name // size}" for name in names],
    }
    return schema.conform(pa.table(events), schema.INTERACTIONS, "e"), schema.conform(
        pa.table(described), schema.ITEMS, "i"
    )


@dataclass(frozen=True)
class Served:
    """A release candidate, its evaluation tasks, and the same model loaded as in the service."""

    log: Interactions
    model: Ensemble
    known: EvaluationTask
    cold: EvaluationTask
    predictor: Predictor

    @classmethod
    def make(cls, folder: Path, n_users: int, candidate: Ensemble, repeat: bool = True) -> "Served":
        events, items = market(n_users)
        protocol = Protocol("time_cut", test_days=15, repeat=repeat)
        parts = split(events, protocol)
        test = parts.filter(pc.field("part") == "test")
        log = training_log(parts.filter(pc.field("part") != "test"), items, protocol, cut_time(parts))
        features = encode_items(items, log.items)
        fitted = {name: model_class(name)().fit(log, features) for name in candidate.base_model_names()}
        model = candidate.fit_from(fitted, log, features)
        known, cold = make_task(log, test, protocol), cold_start_users(log, test, protocol)
        return cls(log, model, known, cold, Predictor(model.save(folder / "bundle")))

    def assert_served_as_evaluated(self, task: EvaluationTask) -> int:
        """Compares every user's list, item by item; returns how many lists hold a tie."""
        ids, tied = self.log.items.ids, 0
        evaluated = rank_users(self.model, task, {"all": task.views()["all"]}, K)["all"]
        for place, user_id in enumerate(task.user_ids.tolist()):
            cold = task.user_rows[place] < 0
            history = ids[task.histories[place : place + 1].item_columns].tolist() if cold else []
            served = self.predictor.predict(user_id, history, K)
            assert served.item_ids == ids[evaluated[place]].tolist(), user_id
            assert served.strategy == ("history" if cold else "known_user")
            tied += len(set(served.scores)) < K
        return tied


def learned(*base_models: str) -> HybridLearned:
    return HybridLearned(HybridLearnedConfig(base_models=base_models, n_windows=1, n_estimators=20, max_users=1000))


CHEAP = ("popularity", "ease", "collaborative_filtering", "content_based")
ENSEMBLE = HybridConfig(model_weights={"content_based": 0.5, "collaborative_filtering": 0.5})


@pytest.mark.parametrize(
    ("candidate", "repeat"), [(learned(*CHEAP, "repurchase"), True), (learned(*CHEAP), False), (Hybrid(ENSEMBLE), True)]
)
def test_served_lists_are_the_evaluated_ones(tmp_path: Path, candidate: Ensemble, repeat: bool) -> None:
    served = Served.make(tmp_path, 300, candidate, repeat)
    assert served.assert_served_as_evaluated(served.known) > 50
    assert served.assert_served_as_evaluated(served.cold) > 0
    lists, bundle = ServedLists(served.model), tmp_path / "bundle"
    stored = precomputed.write(bundle, fingerprint(bundle), lists)
    served.predictor.precomputed = stored
    assert served.assert_served_as_evaluated(served.known) > 50  # now from the stored lists
    live = Predictor(bundle)
    for user_id in served.known.user_ids[:100].tolist():  # a cart changes neither the scores nor the order of others
        best = live.predict(user_id, [], K)
        cart = best.item_ids[:2]
        answered = served.predictor.predict(user_id, [], K, exclude=cart)
        assert answered == live.predict(user_id, [], K, exclude=cart)
        assert answered.item_ids[: K - 2] == best.item_ids[2:]
        assert answered.scores[: K - 2] == pytest.approx(best.scores[2:], rel=1e-5)


@pytest.mark.slow
def test_served_lists_of_many_users_are_the_evaluated_ones(tmp_path: Path, sized: Callable[[int], int]) -> None:
    served = Served.make(tmp_path, sized(9000), learned("popularity", "ease", "repurchase"))
    assert len(served.known.user_ids) + len(served.cold.user_ids) >= sized(5000)
    assert served.assert_served_as_evaluated(served.known) > sized(500)
    assert served.assert_served_as_evaluated(served.cold) > sized(50)
