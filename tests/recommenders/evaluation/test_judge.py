"""Lists that are made already, judged on the checkerboard."""

from typing import Any

import numpy as np
import pytest

from recommenders.datasets.spec import Protocol
from recommenders.evaluation import judge, rank
from recommenders.evaluation.tasks.task import make_case
from recommenders.metrics import ranking
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.popularity import Popularity

K = 4


@pytest.fixture(scope="module")
def case(reorder_world: Any, toy_events: Any) -> Any:
    pairs = [(user, item) for user in range(20) for item in range(20) if item % 3 == user % 3]
    return make_case(reorder_world[0], toy_events(pairs, [100.0] * len(pairs)), Protocol(split="time_cut", repeat=True))


@pytest.fixture(scope="module")
def crowd(case: Any, reorder_world: Any) -> judge.Crowd:
    return judge.Crowd.of(reorder_world[0].histories(), case, case.views(), K)


def test_the_crowd_counts_buyers_not_events(crowd: judge.Crowd, case: Any, reorder_world: Any) -> None:
    bought = reorder_world[0].matrix("binary").toarray()
    assert crowd.n_buyers.tolist() == bought.sum(axis=0).tolist()
    assert crowd.n_users == 24
    best = np.sort(crowd.n_buyers[case.candidates])[::-1][:K]
    assert crowd.n_buyers[crowd.expected[False]].tolist() == [best.tolist()] * len(case.user_rows)
    known = case.histories.matrix.toarray() > 0
    assert not np.take_along_axis(known, crowd.expected[True].astype(np.int64), axis=1).any()


def test_what_everybody_would_show_holds_no_surprise(crowd: judge.Crowd, case: Any, reorder_world: Any) -> None:
    for view in case.views().values():
        found = judge.per_user(crowd.expected[view.exclude_known], case, view, reorder_world[1], crowd)
        assert np.nanmax(found[f"serendipity@{K}"]) == 0


def test_every_metric_is_told_for_every_buyer(crowd: judge.Crowd, case: Any, reorder_world: Any) -> None:
    log, features = reorder_world
    views = case.views()
    ranked = rank.rank(CollaborativeFiltering().fit(log), case, views, K)
    found = judge.per_user(ranked["all"], case, views["all"], features, crowd)
    names = ("precision", "recall", "ndcg", "hit_rate", "map", "mrr")
    names += ("diversity", "novelty", "serendipity", "popularity_lift")
    assert list(found) == [f"{name}@{K}" for name in names]
    assert all(values.shape == (20,) for values in found.values())
    unknown = judge.per_user(ranked["all"], case, views["all"], None, crowd)
    assert set(found) - set(unknown) == {f"diversity@{K}"}


def test_scores_are_judged_as_the_model_that_gives_them(case: Any, reorder_world: Any) -> None:
    model = CollaborativeFiltering().fit(reorder_world[0])
    views = case.views()
    found = judge.accuracy_of(model.score, case, views, K)
    ranked = rank.rank(model, case, views, K)
    for name, view in views.items():
        alone = ranking.all_metrics(ranked[name], view.relevant)
        assert list(found[name]) == list(alone)
        for metric, values in alone.items():
            np.testing.assert_array_equal(found[name][metric], values)


def test_one_list_for_all_is_not_personal_and_unequal(case: Any, reorder_world: Any) -> None:
    views = case.views()
    same = judge.overall(rank.rank(Popularity().fit(reorder_world[0]), case, views, K)["all"], case)
    own = judge.overall(rank.rank(CollaborativeFiltering().fit(reorder_world[0]), case, views, K)["all"], case)
    assert same[f"personalisation@{K}"] < own[f"personalisation@{K}"]
    assert same[f"gini@{K}"] > own[f"gini@{K}"]
    assert np.isnan(judge.overall(np.zeros((1, K), np.int32), case)[f"personalisation@{K}"])
    two = np.arange(2 * K, dtype=np.int32).reshape(2, K)
    assert judge.overall(two, case)[f"personalisation@{K}"] == 1.0


@pytest.mark.parametrize(("n_known", "n_users"), [(0, 1), (1, 1), (2, 2)])
def test_a_crowd_of_nobody_is_one_of_one(n_known: int, n_users: int, case: Any, reorder_world: Any) -> None:
    histories = reorder_world[0].histories()[:n_known]
    assert judge.Crowd.of(histories, case, case.views(), K).n_users == n_users
