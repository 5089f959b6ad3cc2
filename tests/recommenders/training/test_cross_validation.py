"""Cross-validation: the right model wins, models that cannot be fitted are skipped, the page and the plot."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from orchestration.io_manager import form_of
from recommenders.datasets.spec import Protocol
from recommenders.errors import ConfigurationError, UnknownNameError
from recommenders.evaluation.fold_report import CrossValidation
from recommenders.evaluation.fold_tasks import SCHEMES, FoldPlan
from recommenders.evaluation.writers.fold_tables import render_folds
from recommenders.evaluation.writers.plots import plot_folds
from recommenders.storage import schema
from recommenders.training.configuration import TrainingConfig
from recommenders.training.cross_validation import cross_validate

START = datetime(2026, 1, 1, tzinfo=UTC)
PROTOCOL = Protocol(split="time_cut", test_days=10)
CONFIG = TrainingConfig.model_validate(
    {
        "models": {
            "hybrid": {"model_weights": {"content_based": 1.0}},
            "sasrec": {"enabled": False},
            "neural_collaborative": {"enabled": False},
        },
        "evaluation": {"n_resamples": 100},
    }
)
Market = tuple[pa.Table, pa.Table, pa.Table]


@pytest.fixture(scope="module")
def market() -> Market:
    """40 users of four groups buy the ten items of their group again and again; popularity knows no group."""
    rng = np.random.default_rng(3)
    visits = [(day, user, int(rng.integers(10))) for day in range(70) for user in range(40) if (day + user) % 5 == 0]
    columns = {
        "user_id": [f"u{user:02}" for _, user, _ in visits],
        "item_id": [f"i{4 * item + user % 4}" for _, user, item in visits],
        "timestamp": pa.array([START + timedelta(days=day) for day, *_ in visits], schema.TIME),
        "event": ["purchase"] * len(visits),
        "weight": pa.array([1.0] * len(visits), pa.float32()),
    }
    items = pa.table({"item_id": [f"i{item}" for item in range(40)], "category": ["a", "b", "c", "d"] * 10})
    users = pa.table({"user_id": [f"u{user:02}" for user in range(40)], "segment": ["a", "b", "c", "d"] * 10})
    return (
        schema.conform(pa.table(columns), schema.INTERACTIONS, "interactions"),
        schema.conform(items, schema.ITEMS, "items"),
        schema.conform(users, schema.USERS, "users"),
    )


@pytest.fixture(scope="module", params=SCHEMES)
def found(request: pytest.FixtureRequest, market: Market) -> CrossValidation:
    names = ["popularity", "hybrid", "collaborative_filtering"]
    return cross_validate(FoldPlan(request.param, 3), CONFIG, market, PROTOCOL, names, dataset="toy")


def test_the_models_that_know_the_groups_win(found: CrossValidation) -> None:
    assert list(found.pooled) == ["popularity", "collaborative_filtering", "hybrid"]  # content_based was fitted only
    assert found.comparison["best"] != "popularity"
    assert found.comparison["others"]["popularity"]["verdict"] == "worse"
    assert len(found.folds) == 3
    for fold in found.folds:
        values = {name: metrics["ndcg@10"][0] or 0.0 for name, metrics in fold.models.items()}
        assert min(values, key=lambda name: values[name]) == "popularity"
        assert set(fold.fit_seconds) == {*values, "content_based"}
    if found.plan.scheme != "time":  # each user is in one fold, so both means are over the same values
        total = sum((fold.models["hybrid"]["ndcg@10"][0] or 0.0) * fold.n_users for fold in found.folds)
        assert found.pooled["hybrid"]["ndcg@10"][0] == pytest.approx(total / found.n_users)
        assert found.n_users == 40
    assert found.cut.startswith("2026-03-01")


def test_the_results_are_stored_and_read_again(found: CrossValidation, tmp_path: Path) -> None:
    form = form_of(CrossValidation)
    form.save(found, tmp_path / "found.json")
    assert form.load(tmp_path / "found.json") == found


def test_the_page_has_all_folds_and_the_comparison(found: CrossValidation) -> None:
    page = render_folds(found)
    assert page.startswith(f"# Cross-validation of toy, {found.plan.scheme}\n")
    assert "## All folds" in page
    assert "paired by user" in page
    rows = [line for line in page.partition("## Folds")[2].splitlines() if line.startswith(("| 1,", "| 2,", "| 3,"))]
    assert len(rows) == 9
    value, low, high = found.folds[0].models["popularity"]["ndcg@10"]
    assert f"{value:.3f} [{low:.3f}, {high:.3f}]" in page
    assert "Skipped" not in page
    assert plot_folds(found, "ndcg@10").startswith(b"\x89PNG")


def test_a_model_that_cannot_be_fitted_in_a_fold_is_skipped_there(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recommenders.errors import UnsuitableError
    from recommenders.models.ease import EASE

    fit, n_fits = EASE.fit, iter(range(9))

    def only_first(self: EASE, *given: Any, **named: Any) -> Any:
        if next(n_fits):
            raise UnsuitableError("too little data; bring more")
        return fit(self, *given, **named)

    monkeypatch.setattr(EASE, "fit", only_first)
    lines: list[str] = []
    found = cross_validate(FoldPlan("kfold", 3), CONFIG, market, PROTOCOL, ["ease", "popularity"], echo=lines.append)
    assert list(found.pooled) == ["popularity"]
    assert found.models == ["popularity", "ease"]
    assert [sorted(fold.models) for fold in found.folds] == [["ease", "popularity"], ["popularity"], ["popularity"]]
    assert "- ease, fold 2, 3 of 3: too little data; bring more" in render_folds(found)
    assert plot_folds(found, "ndcg@10")
    assert len(lines) == 9
    assert lines[0].startswith("fold 1 of 3, part 1 of the users: ")
    assert lines[1].startswith("fold 1 of 3: popularity: fitted in ")
    assert lines[5] == "fold 2 of 3: ease is skipped: too little data; bring more"
    with pytest.raises(ConfigurationError, match="no model could be fitted in the fold part 1 of the users: ease: too"):
        cross_validate(FoldPlan("kfold", 3), CONFIG, market, PROTOCOL, ["ease"])


def test_unknown_and_disabled_models_are_errors_before_anything_is_fitted(market: Market) -> None:
    for name, error, message in [
        ("eas", UnknownNameError, "unknown model 'eas'; choose from .*; did you mean ease"),
        (
            "sasrec",
            ConfigurationError,
            r"models: got sasrec, which is not enabled; allowed: popularity, .*; set models",
        ),
    ]:
        with pytest.raises(error, match=message):
            cross_validate(FoldPlan(), CONFIG, market, PROTOCOL, [name], echo=pytest.fail)


def test_by_default_all_enabled_models_are_compared(market: Market) -> None:
    few = CONFIG.quick()
    assert few is not None
    protocol = Protocol(split="latest_out", repeat=False)
    found = cross_validate(FoldPlan("time", 2), few, market, protocol)
    skipped = set(found.folds[0].skipped)
    assert {*found.pooled, *skipped} == set(few.enabled())
    assert "repurchase" in skipped  # known items are masked
