"""Metrics of given lists, on the checkerboard."""

from typing import Any

import numpy as np
import pytest

from recommenders.datasets.spec import Protocol
from recommenders.evaluation import list_metrics, rank
from recommenders.evaluation.tasks.task import make_task
from recommenders.metrics import ranking
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.popularity import Popularity

K = 4


@pytest.fixture(scope="module")
def task(reorder_world: Any, toy_events: Any) -> Any:
    pairs = [(user, item) for user in range(20) for item in range(20) if item % 3 == user % 3]
    return make_task(reorder_world[0], toy_events(pairs, [100.0] * len(pairs)), Protocol(split="time_cut", repeat=True))


@pytest.fixture(scope="module")
def baseline(task: Any, reorder_world: Any) -> list_metrics.PopularityBaseline:
    return list_metrics.PopularityBaseline.from_log(reorder_world[0].histories(), task, task.views(), K)


def test_the_baseline_counts_users_not_events(
    baseline: list_metrics.PopularityBaseline, task: Any, reorder_world: Any
) -> None:
    bought = reorder_world[0].matrix("binary").toarray()
    assert baseline.users_per_item.tolist() == bought.sum(axis=0).tolist()
    assert baseline.n_users == 24
    best = np.sort(baseline.users_per_item[task.candidates])[::-1][:K]
    assert baseline.users_per_item[baseline.expected[False]].tolist() == [best.tolist()] * len(task.user_rows)
    known = task.histories.matrix.toarray() > 0
    assert not np.take_along_axis(known, baseline.expected[True].astype(np.int64), axis=1).any()


def test_the_baselines_lists_have_no_serendipity(
    baseline: list_metrics.PopularityBaseline, task: Any, reorder_world: Any
) -> None:
    for view in task.views().values():
        found = list_metrics.per_user(baseline.expected[view.exclude_known], task, view, reorder_world[1], baseline)
        assert np.nanmax(found[f"serendipity@{K}"]) == 0


def test_every_user_has_every_metric(baseline: list_metrics.PopularityBaseline, task: Any, reorder_world: Any) -> None:
    log, features = reorder_world
    views = task.views()
    ranked = rank.rank_users(CollaborativeFiltering().fit(log), task, views, K)
    found = list_metrics.per_user(ranked["all"], task, views["all"], features, baseline)
    names = ("precision", "recall", "ndcg", "hit_rate", "map", "mrr")
    names += ("diversity", "novelty", "serendipity", "popularity_lift")
    assert list(found) == [f"{name}@{K}" for name in names]
    assert all(values.shape == (20,) for values in found.values())
    unknown = list_metrics.per_user(ranked["all"], task, views["all"], None, baseline)
    assert set(found) - set(unknown) == {f"diversity@{K}"}


def test_scores_have_the_accuracy_of_their_model(task: Any, reorder_world: Any) -> None:
    model = CollaborativeFiltering().fit(reorder_world[0])
    views = task.views()
    found = list_metrics.accuracy_from_scores(model.score, task, views, K)
    ranked = rank.rank_users(model, task, views, K)
    for name, view in views.items():
        expected = ranking.all_metrics(ranked[name], view.relevant)
        assert list(found[name]) == list(expected)
        for metric, values in expected.items():
            np.testing.assert_array_equal(found[name][metric], values)


def test_equal_lists_have_low_personalisation_and_high_gini(task: Any, reorder_world: Any) -> None:
    views = task.views()
    same = list_metrics.overall(rank.rank_users(Popularity().fit(reorder_world[0]), task, views, K)["all"], task)
    own = list_metrics.overall(
        rank.rank_users(CollaborativeFiltering().fit(reorder_world[0]), task, views, K)["all"], task
    )
    assert same[f"personalisation@{K}"] < own[f"personalisation@{K}"]
    assert same[f"gini@{K}"] > own[f"gini@{K}"]
    assert np.isnan(list_metrics.overall(np.zeros((1, K), np.int32), task)[f"personalisation@{K}"])
    two = np.arange(2 * K, dtype=np.int32).reshape(2, K)
    assert list_metrics.overall(two, task)[f"personalisation@{K}"] == 1.0


@pytest.mark.parametrize(("n_known", "n_users"), [(0, 1), (1, 1), (2, 2)])
def test_a_baseline_has_at_least_one_user(n_known: int, n_users: int, task: Any, reorder_world: Any) -> None:
    histories = reorder_world[0].histories()[:n_known]
    assert list_metrics.PopularityBaseline.from_log(histories, task, task.views(), K).n_users == n_users
