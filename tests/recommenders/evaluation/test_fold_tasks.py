"""The tasks of folds: what models may know, and that the results are those of the evaluation."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recommenders.datasets.spec import Protocol
from recommenders.errors import ConfigurationError, DataError, UnknownNameError
from recommenders.evaluation.evaluate import evaluate
from recommenders.evaluation.fold_report import EvaluatedFold, FoldResult, evaluate_fold, pool, summarise
from recommenders.evaluation.fold_tasks import SCHEMES, FoldPlan, fold_tasks, strata
from recommenders.evaluation.tasks.task import EvaluationConfig
from recommenders.evaluation.window_task import window_task
from recommenders.events.interactions import Interactions
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.popularity import Popularity
from recommenders.splitting.folds import before_test
from recommenders.splitting.temporal import split
from recommenders.storage import schema

PROTOCOL = Protocol(split="time_cut", test_days=15, relevant_events=("purchase",))
CONFIG = EvaluationConfig(n_resamples=100)
START, LAST_USERS = datetime(2026, 1, 12, tzinfo=UTC), datetime(2026, 2, 25, tzinfo=UTC)  # without events between
Market = tuple[pa.Table, pa.Table, pa.Table]


@pytest.fixture(scope="module")
def market(toy_events: Any) -> Market:
    """24 users of two regions (a few without one) buy items of their colour over 90 days; some only view items."""
    rng = np.random.default_rng(5)
    pairs = [(user, int(2 * rng.integers(6) + user % 2)) for _ in range(14) for user in range(24)]
    days = np.sort(rng.uniform(0, 90, len(pairs)))
    table = toy_events(pairs, days.tolist())
    kinds = pa.array(np.where(rng.random(len(pairs)) < 0.3, "view", "purchase"))
    place = table.schema.get_field_index("event")
    table = table.set_column(place, table.schema.field(place), kinds)
    items = pa.table({"item_id": [f"i{item:02}" for item in range(12)], "category": ["even", "odd"] * 6})
    regions = [None if user < 4 else ("north" if user % 3 else "south") for user in range(24)]
    users = pa.table({"user_id": [f"u{user:02}" for user in range(24)], "region": pa.array(regions, pa.string())})
    return table, schema.conform(items, schema.ITEMS, "items"), schema.conform(users, schema.USERS, "users")


def plan(scheme: str) -> FoldPlan:
    return FoldPlan(scheme, 3, "region" if scheme == "stratified" else "")


def pairs_of(log: Interactions) -> set[tuple[str, str, int]]:
    users, items = log.users.ids[log.user_rows], log.items.ids[log.item_columns]
    return set(zip(users.tolist(), items.tolist(), log.timestamps.tolist(), strict=True))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_other_events_in_the_test_window_change_no_fold(scheme: str, market: Market) -> None:
    interactions, items, users = market
    test = pc.equal(split(interactions, PROTOCOL)["part"], "test")
    place = interactions.schema.get_field_index("item_id")
    changed = pc.if_else(test, "i00", interactions["item_id"])
    other = interactions.set_column(place, interactions.schema.field(place), changed)
    cut = np.datetime64(pc.max(interactions["timestamp"]).as_py().replace(tzinfo=None), "us").astype(np.int64)
    cut -= int(timedelta(days=15).total_seconds() * 1e6)
    folds = [list(fold_tasks(plan(scheme), table, items, users, PROTOCOL)) for table in (interactions, other)]
    for one, same in zip(*folds, strict=True):
        assert one.window.log.timestamps.max() <= cut
        assert one.window.task.histories.timestamps.max() <= cut
        assert pairs_of(one.window.log) == pairs_of(same.window.log)
        assert one.window.task.user_ids.tolist() == same.window.task.user_ids.tolist()
        assert (one.window.task.relevant != same.window.task.relevant).nnz == 0


@pytest.mark.parametrize("scheme", ["kfold", "stratified"])
def test_no_event_of_a_held_out_user_is_in_the_training_log(scheme: str, market: Market) -> None:
    everyone = set(market[2]["user_id"].to_pylist())
    every_event = pairs_of(Interactions.from_table(before_test(market[0], PROTOCOL)))
    held_out: list[list[str]] = []
    for fold in fold_tasks(plan(scheme), *market, PROTOCOL):
        task, log = fold.window.task, fold.window.log
        held_out.append(sorted(everyone - set(log.users.ids.tolist())))
        assert set(task.user_ids.tolist()) <= set(held_out[-1])
        assert pairs_of(log) == {event for event in every_event if event[0] not in held_out[-1]}
        assert len(task.user_ids) + task.cold_users == len(held_out[-1])
        assert (task.user_rows == -1).all()
        assert "the first 80% of their events folded in" in task.description
    assert sorted(user for part in held_out for user in part) == sorted(everyone)
    regions = dict(zip(market[2]["user_id"].to_pylist(), market[2]["region"].to_pylist(), strict=True))
    if scheme == "stratified":
        assert "stratified by region" in task.description
        for region in (None, "north", "south"):
            counts = [[regions[user] for user in part].count(region) for part in held_out]
            assert max(counts) - min(counts) <= 1


def test_views_are_training_events_but_no_relevant_items(market: Market) -> None:
    interactions, items, users = market
    purchases = interactions.filter(pc.field("event") == "purchase")
    bought = set(zip(purchases["user_id"].to_pylist(), purchases["item_id"].to_pylist(), strict=True))
    every = Protocol(split="time_cut", test_days=15, relevant_events=("purchase", "view"))
    n_relevant = {}
    for protocol in (PROTOCOL, every):
        folds = list(fold_tasks(plan("kfold"), interactions, items, users, protocol))
        n_relevant[protocol] = sum(fold.window.task.relevant.nnz for fold in folds)
        if protocol is PROTOCOL:
            for fold in folds:
                task = fold.window.task
                rows, columns = task.relevant.nonzero()
                ids = zip(task.user_ids[rows].tolist(), fold.window.log.items.ids[columns].tolist(), strict=True)
                assert set(ids) <= bought
            assert any((fold.window.log.user_rows >= 0).sum() > purchases.num_rows / 2 for fold in folds)
    assert n_relevant[PROTOCOL] < n_relevant[every]


def test_the_newest_window_is_the_validation_window_of_the_evaluation(market: Market) -> None:
    interactions, items, _ = market
    *older, newest = fold_tasks(plan("time"), *market, PROTOCOL)
    expected = window_task(interactions, items, PROTOCOL, "validation")
    assert len(older) == 2
    assert pairs_of(newest.window.log) == pairs_of(expected.log)
    assert newest.window.task.user_ids.tolist() == expected.task.user_ids.tolist()
    assert (newest.window.task.relevant != expected.task.relevant).nnz == 0
    assert newest.window.task.description == (
        "rolling origin: windows of 15 days, each predicted from all events before, full ranking over all items sold "
        "before the cut, known items stay"
    )


def test_a_window_that_cannot_be_evaluated_is_an_error_with_its_name(market: Market) -> None:
    interactions, items, users = market
    gap = pc.and_(pc.greater(interactions["timestamp"], START), pc.less(interactions["timestamp"], LAST_USERS))
    with pytest.raises(
        DataError, match=r"fold 2026-0\d-\d\d to 2026-0\d-\d\d: nothing can be evaluated: .* fewer folds"
    ):
        list(fold_tasks(plan("time"), interactions.filter(pc.invert(gap)), items, users, PROTOCOL))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_values_of_a_fold_are_those_of_the_evaluation_report(scheme: str, market: Market) -> None:
    fold = next(iter(fold_tasks(plan(scheme), *market, PROTOCOL)))
    window = fold.window
    models = {"popularity": Popularity().fit(window.log), "cf": CollaborativeFiltering().fit(window.log)}
    found = evaluate_fold(fold, models, {"ease": "why"}, {"popularity": 1.0}, CONFIG)
    report = evaluate(models, window.task, window.features, config=CONFIG)
    assert found.result.models == report.models
    assert found.result.n_users == report.n_users
    assert (found.result.n_training_users, found.result.n_training_events) == (len(window.log.users), len(window.log))
    assert (found.result.skipped, found.result.fit_seconds) == ({"ease": "why"}, {"popularity": 1.0})
    for name in models:
        np.testing.assert_array_equal(found.vectors[name]["ndcg@10"], report.vectors("ndcg@10")[name])


def evaluated(users: list[str], **values: list[float]) -> EvaluatedFold:
    vectors = {name: {"ndcg@10": np.array(column)} for name, column in values.items()}
    means = {name: {"ndcg@10": [float(np.nanmean(v["ndcg@10"])), None, None]} for name, v in vectors.items()}
    return EvaluatedFold(FoldResult("x", len(users), 0, 1, 1, means, {}, {}), "task", np.array(users), vectors)


def test_a_user_of_several_folds_counts_once_and_undefined_values_do_not() -> None:
    first = evaluated(["a", "b", "c"], x=[0.2, 0.4, np.nan], y=[0.0, 0.0, 0.0], z=[1.0, 1.0, 1.0])
    second = evaluated(["c", "a"], x=[np.nan, 0.6], y=[1.0, 1.0])
    n_users, vectors = pool([first, second])
    assert n_users == 3
    assert list(vectors) == ["x", "y"]  # z was not fitted in the second fold
    np.testing.assert_allclose(vectors["x"]["ndcg@10"], [0.4, 0.4, np.nan])
    np.testing.assert_allclose(vectors["y"]["ndcg@10"], [0.5, 0.0, 0.5])
    found = summarise([first, second], FoldPlan(folds=2), CONFIG, "toy", "2026")
    assert found.models == ["x", "y", "z"]
    assert found.pooled["y"]["ndcg@10"][0] == pytest.approx(1 / 3)
    assert found.across_folds["y"]["ndcg@10"] == pytest.approx([0.5, np.sqrt(0.5)])
    assert found.comparison["best"] == "x"
    assert found.comparison["others"]["y"]["n_users"] == 2


def test_without_a_model_of_every_fold_nothing_is_pooled() -> None:
    found = summarise([evaluated(["a"], x=[0.1]), evaluated(["b"], y=[0.2])], FoldPlan(folds=2), CONFIG, "", "")
    assert (found.n_users, found.pooled, found.across_folds, found.comparison) == (2, {}, {}, {})


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            {"scheme": "tim"},
            UnknownNameError,
            "unknown scheme 'tim'; choose from kfold, stratified, time; did you mean",
        ),
        ({"folds": 1}, ConfigurationError, "folds: got 1; allowed: 2 or more"),
        ({"scheme": "time", "by": "region"}, ConfigurationError, "by: got region with the scheme time; allowed: with"),
    ],
)
def test_a_plan_that_no_log_allows_is_an_error(given: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        FoldPlan(**given)


def test_strata_are_a_text_column_of_the_users_table_or_the_activity(market: Market) -> None:
    interactions, _, users = market
    log = Interactions.from_table(interactions)
    regions = [region or "" for region in users["region"].to_pylist()]
    assert strata(log, users, "region").tolist() == regions
    assert strata(log, users.slice(10), "region").tolist() == [""] * 10 + regions[10:]
    assert set(strata(log, users, "activity").tolist()) <= {0, 1, 2, 3}
    with pytest.raises(
        UnknownNameError, match="unknown group of users 'regio'; choose from activity, industry, region"
    ):
        strata(log, users, "regio")
    with pytest.raises(UnknownNameError, match="unknown group of users 'annual_revenue'"):
        strata(log, users, "annual_revenue")
    with pytest.raises(DataError, match="by: got segment, of which no user has a value; allowed: region, activity"):
        next(iter(fold_tasks(FoldPlan("stratified", 3), *market, PROTOCOL)))
