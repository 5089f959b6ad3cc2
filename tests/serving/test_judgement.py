"""The challenger beside the champion's recipe, which is fitted anew for it; on a catalogue shorter than a list too."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recommenders import schema
from recommenders.datasets.ids import IdMap
from recommenders.datasets.interactions import Interactions
from recommenders.evaluation.protocol import Case, EvaluationConfig, ones
from recommenders.evaluation.report import Report, evaluate
from recommenders.features.items import encode_items
from recommenders.training.configuration import TrainingConfig
from recommenders.training.training import fit_one
from serving.gate import Decision
from serving.judgement import judge
from serving.versions import Version

N_USERS, N_ITEMS = 30, 6
CONFIG = TrainingConfig.model_validate({"evaluation": {"n_bootstrap": 100}})


@pytest.fixture(scope="module")
def log() -> Interactions:
    """Even buyers know two of the three even items, odd buyers two of the three odd ones."""
    rows = np.repeat(np.arange(N_USERS, dtype=np.int32), 2)
    columns = np.array([[u % 2 + 2 * (u // 2 % 3), u % 2 + 2 * ((u // 2 + 1) % 3)] for u in range(N_USERS)], np.int32)
    weights = np.ones(2 * N_USERS, np.float32)
    users, items = (IdMap.of(f"{number:02}" for number in range(n)) for n in (N_USERS, N_ITEMS))
    times = np.arange(2 * N_USERS) * 3_600_000_000
    on_sale = np.ones(N_ITEMS, np.bool_)
    return Interactions(users, items, rows, columns.ravel(), times, weights, weights, on_sale, repeat=False)


@pytest.fixture(scope="module")
def case(log: Interactions) -> Case:
    """Each buyer wants the third item of the own colour."""
    users = np.arange(N_USERS)
    wanted = ones(users, users % 2 + 2 * ((users // 2 + 2) % 3), (N_USERS, N_ITEMS))
    rows = users.astype(np.int32)
    return Case(log.users.ids, rows, log.histories(), wanted, log.available, False, "the third of a colour", 0, 0)


@pytest.fixture(scope="module")
def report(log: Interactions, case: Case) -> Report:
    models = {name: fit_one(name, CONFIG, log, None) for name in ("popularity", "collaborative_filtering")}
    return evaluate(models, case, config=EvaluationConfig(n_bootstrap=100))


def version(number: int, model: str, recipe: str, configuration: Mapping[str, Any]) -> Version:
    tags = {"recipe": recipe, "configuration": json.dumps(configuration)}
    return Version("toy", number, "run", model, (), datetime(2026, 1, 1, tzinfo=UTC), tags)


CHALLENGER = version(2, "collaborative_filtering", "new", CONFIG.model_dump(mode="json"))


def decided(live: Version | None, report: Report, log: Interactions, case: Case) -> Decision:
    table = pa.table({"item_id": log.items.ids, "category": ["even", "odd"] * (N_ITEMS // 2)})
    features = encode_items(schema.conform(table, schema.ITEMS, "toy items"), log.items)
    return judge(live, CHALLENGER, report, log, features, case)


def test_a_short_catalogue_is_judged_like_any_other(report: Report, log: Interactions, case: Case) -> None:
    vectors = report.vectors("ndcg@10")
    assert vectors["collaborative_filtering"].tolist() == [1.0] * N_USERS  # of four unknown items the one of the colour
    decision = decided(None, report, log, case)
    assert decision.promote
    assert decision.record["first_champion"]
    assert decision.record["challenger_mean"] == 1.0


def test_the_champions_recipe_is_fitted_anew_and_judged_on_the_same_buyers(
    report: Report, log: Interactions, case: Case
) -> None:
    live = version(1, "popularity", "old", CONFIG.model_dump(mode="json"))
    record = decided(live, report, log, case).record
    assert record["champion"] == "champion"
    assert record["versus_champion"]["champion_mean"] == pytest.approx(np.mean(report.vectors("ndcg@10")["popularity"]))


@pytest.mark.parametrize(
    ("model", "models", "cause"),
    [
        ("linear_items", {"linear_items": {"a_setting_of_old": 1}}, "a_setting_of_old Extra inputs are not permitted"),
        ("linear_items", {"linear_items": {"max_memory_mb": 1e-6}}, "linear_items on 30 users x 6 items would need"),
        ("reorder", {}, "reorder learns how buyers come back to items, and in this log they do not"),
        ("forgotten", {"forgotten": {}}, "models.forgotten Extra inputs are not permitted"),
        ("forgotten", {}, "forgotten"),
    ],
)
def test_popularity_stands_in_for_a_recipe_that_can_no_longer_be_fitted(
    model: str, models: dict[str, Any], cause: str, report: Report, log: Interactions, case: Case
) -> None:
    decision = decided(version(1, model, "old", {"models": models}), report, log, case)
    record = decision.record
    assert record["champion"].startswith("popularity (the champion's recipe can no longer be fitted: ")
    assert cause in record["champion"]
    assert "\n" not in record["champion"]
    popularity = np.mean(report.vectors("ndcg@10")["popularity"])
    assert record["versus_champion"]["champion_mean"] == pytest.approx(popularity)
    assert decision.promote
    assert not record["first_champion"]


def test_popularity_stands_in_for_a_champion_that_tells_no_configuration(
    report: Report, log: Interactions, case: Case
) -> None:
    silent = Version("toy", 1, "run", "linear_items", (), datetime(2026, 1, 1, tzinfo=UTC), {})
    assert decided(silent, report, log, case).record["champion"].startswith("popularity (the champion's recipe can no")
