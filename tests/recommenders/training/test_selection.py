"""The release candidate is the better one on the validation window; later events do not count."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recommenders.datasets.spec import Protocol
from recommenders.evaluation.window_task import window_task
from recommenders.splitting.temporal import split
from recommenders.storage import schema
from recommenders.training import selection
from recommenders.training.configuration import TrainingConfig
from recommenders.training.selection import choose

START = datetime(2026, 1, 1, tzinfo=UTC)
TIME_CUT, LATEST_OUT = Protocol(split="time_cut", test_days=10), Protocol(split="latest_out", repeat=False)
ABSENT = ("repurchase", "ease", "ials", "sasrec", "neural_collaborative")
OFF = {name: {"enabled": False} for name in ABSENT}
ENSEMBLES = (
    {"model_weights": {"content_based": 1.0}},
    {"n_windows": 1, "n_estimators": 5, "base_models": ("popularity", "content_based")},
)


def config(**models: Any) -> TrainingConfig:
    given = {"hybrid": ENSEMBLES[0], "hybrid_learned": ENSEMBLES[1], "collaborative_filtering": {}} | models
    return TrainingConfig.model_validate({"models": OFF | given})


def market(days: int = 70, n_users: int = 30) -> tuple[pa.Table, pa.Table]:
    """Users of one colour buy items of that colour."""
    rng = np.random.default_rng(3)
    visits = [
        (day, user, int(rng.integers(4))) for day in range(days) for user in range(n_users) if (day + user) % 5 == 0
    ]
    columns = {
        "user_id": [f"u{user:02}" for _, user, _ in visits],
        "item_id": [f"i{2 * item + user % 2}" for _, user, item in visits],
        "timestamp": pa.array([START + timedelta(days=day) for day, *_ in visits], schema.TIME),
        "event": ["purchase"] * len(visits),
        "weight": pa.array([1.0] * len(visits), pa.float32()),
    }
    items = pa.table({"item_id": [f"i{item}" for item in range(8)], "category": ["even", "odd"] * 4})
    return (
        schema.conform(pa.table(columns), schema.INTERACTIONS, "interactions"),
        schema.conform(items, schema.ITEMS, "items"),
    )


@pytest.fixture
def fixed_ndcg(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives models fixed NDCG values on the validation window; the task is real."""

    def give(means: Mapping[str, float]) -> list[Any]:
        tasks: list[Any] = []

        class FixedNdcg(selection.WindowTask):  # type: ignore[misc]
            def lists(self, model: Any) -> Any:
                return model.name

            def ndcg(self, ranked: Any) -> Any:
                return np.full(len(self.task.user_ids), means[ranked])

        def fixed_task(*given: Any) -> Any:
            found = window_task(*given)
            tasks.append(found)
            return FixedNdcg(found.log, found.features, found.task)

        monkeypatch.setattr(selection, "window_task", fixed_task)
        return tasks

    return give


@pytest.mark.parametrize("better", ["hybrid", "hybrid_learned"])
def test_the_better_one_on_the_validation_window_is_chosen(better: str, fixed_ndcg: Any) -> None:
    means = {"hybrid": 0.3, "hybrid_learned": 0.3, better: 0.4}
    fixed_ndcg(means)
    choice = choose(config(), *market(), TIME_CUT)
    assert choice.candidate == better
    assert choice.means == pytest.approx(means)


@pytest.mark.parametrize("protocol", [TIME_CUT, LATEST_OUT])
def test_the_choice_does_not_depend_on_the_test_window(protocol: Protocol) -> None:
    """With other events in the test window the choice and its NDCG values are the same."""
    interactions, items = market()
    parts = split(interactions, protocol)
    changed = pc.if_else(pc.equal(parts["part"], "test"), "i0", interactions["item_id"])
    place = interactions.schema.get_field_index("item_id")
    other = interactions.set_column(place, interactions.schema.field(place), changed)
    first, second = (choose(config(), table, items, protocol) for table in (interactions, other))
    assert first.means == second.means
    assert set(first.means) == {"hybrid", "hybrid_learned"}


def test_both_are_fitted_on_the_log_before_the_validation_window(fixed_ndcg: Any) -> None:
    interactions, items = market()
    tasks = fixed_ndcg({"hybrid": 0.1, "hybrid_learned": 0.2})
    choose(config(), interactions, items, TIME_CUT)
    (window,) = tasks
    assert window.log.last_event <= START + timedelta(days=69 - 2 * TIME_CUT.test_days)


def test_an_earlier_choice_is_valid_for_its_recipe_and_a_similar_log(fixed_ndcg: Any) -> None:
    fixed_ndcg({"hybrid": 0.4, "hybrid_learned": 0.3})
    interactions, items = market()
    earlier = choose(config(), interactions, items, TIME_CUT)
    fixed_ndcg({"hybrid": 0.3, "hybrid_learned": 0.4})
    grown = market(days=75)[0]

    def again(settings: TrainingConfig, table: pa.Table, protocol: Protocol = TIME_CUT) -> str:
        return choose(settings, table, items, protocol, earlier).candidate

    assert again(config(), grown) == "hybrid"
    assert again(config(), market(days=90)[0]) == "hybrid_learned"
    assert again(config(content_based={"n_neighbours": 3}), grown) == "hybrid_learned"
    assert again(config(), grown, Protocol(split="time_cut", test_days=12)) == "hybrid_learned"


def test_no_model_is_fitted_with_one_candidate_or_for_the_first_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "fit_recipe", lambda *_, **__: pytest.fail("it fits"))
    interactions, items = market()
    alone = choose(config(hybrid_learned={"enabled": False}), interactions, items, TIME_CUT)
    assert (alone.candidate, alone.how) == ("hybrid", "the only enabled candidate")
    first = choose(config(), interactions, items, TIME_CUT, first=True)
    assert first.candidate == "hybrid_learned"
    short = choose(config(), market(days=15)[0], items, TIME_CUT)
    assert (short.candidate, dict(short.means)) == ("hybrid_learned", {})
    assert "there is no validation window" in short.how


def test_single_models_are_compared_for_the_first_release_too(fixed_ndcg: Any) -> None:
    fixed_ndcg({"popularity": 0.1, "ease": 0.3, "repurchase": 0.2})
    quick = config(ease={}, repurchase={}).quick()
    assert quick is not None
    assert choose(quick, *market(), TIME_CUT, first=True).candidate == "ease"


def test_a_choice_without_comparison_is_not_kept(fixed_ndcg: Any) -> None:
    interactions, items = market()
    first = choose(config(), interactions, items, TIME_CUT, first=True)
    fixed_ndcg({"hybrid": 0.4, "hybrid_learned": 0.3})
    assert choose(config(), interactions, items, TIME_CUT, first).candidate == "hybrid"
