"""XGBoost trains the trees; as arrays they give the scores of its model."""

import numpy as np
import pytest
import xgboost

from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ensembles.hybrid_learned.examples import Examples
from recommenders.models.ensembles.hybrid_learned.tree_training import parameters_of, train_trees, trees_from_json
from recommenders.models.ensembles.hybrid_learned.trees import BoostedTrees


def fitted(depth: int, n: int = 600) -> tuple[xgboost.Booster, np.ndarray]:
    rng = np.random.default_rng(depth)
    rows = rng.normal(size=(n, 6)).astype(np.float32)
    rows[:, 3] = rng.integers(-1, 4, size=n)  # ties, and values equal to thresholds
    labels = rows[:, 0] * rows[:, 1] + (rows[:, 3] > 1) + rng.normal(scale=0.3, size=n) > 0.5
    parameters = {"objective": "binary:logistic", "base_score": 0.5, "max_depth": depth}
    return xgboost.train(parameters, xgboost.DMatrix(rows, labels), 20), rows


def examples_of(rows: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Examples:
    yes = np.ones(len(rows), np.bool_)
    return Examples(rows, labels, weights, yes, ~yes, np.arange(len(rows)))


def trees_of(booster: xgboost.Booster, depth: int) -> BoostedTrees:
    return trees_from_json(booster.save_raw(raw_format="json"), depth, baseline=0.0)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_arrays_score_as_the_model_does(depth: int) -> None:
    booster, rows = fitted(depth)
    new = np.random.default_rng(9).normal(size=(500, 6)).astype(np.float32) * 2
    thresholds = np.unique(trees_of(booster, depth).thresholds)
    at_thresholds = np.repeat(np.nextafter(thresholds[np.isfinite(thresholds)], np.float32(np.inf))[:, None], 6, axis=1)
    for some in (rows, new, new[:1], at_thresholds, np.nextafter(at_thresholds, np.float32(-np.inf))):
        expected = booster.predict(xgboost.DMatrix(some), output_margin=True)
        np.testing.assert_allclose(trees_of(booster, depth).score(some), expected, rtol=1e-5, atol=1e-5)


def test_the_baseline_is_added() -> None:
    booster, rows = fitted(2)
    shifted = trees_from_json(booster.save_raw(raw_format="json"), 2, baseline=-1.5)
    np.testing.assert_allclose(shifted.score(rows), trees_of(booster, 2).score(rows) - 1.5, rtol=1e-5, atol=1e-5)


def test_shallow_trees_fit_into_deeper_ones() -> None:
    booster, rows = fitted(2)
    np.testing.assert_allclose(trees_of(booster, 4).score(rows), trees_of(booster, 2).score(rows), rtol=1e-6)


def test_a_tree_that_is_too_deep_is_rejected() -> None:
    with pytest.raises(ValueError, match="deeper"):
        trees_of(fitted(5)[0], 3)


def test_no_rows_give_no_scores_and_arrays_round_trip() -> None:
    booster, rows = fitted(3)
    trees = trees_of(booster, 3)
    assert trees.score(rows[:0]).shape == (0,)
    again = BoostedTrees.from_arrays(trees.arrays())
    np.testing.assert_array_equal(again.score(rows), trees.score(rows))


def test_a_leaf_holds_a_share_of_the_examples() -> None:
    """XGBoost counts an example as p (1 - p), which is a quarter if half of the examples are positive."""
    config = HybridLearnedConfig()
    sizes = {n: 4 * parameters_of(config, n, 0.5)["min_child_weight"] for n in (10, 100_250, 10_000_000)}
    assert sizes == {10: 5, 100_250: 200, 10_000_000: 300}
    assert parameters_of(config, 1000, 0.1)["min_child_weight"] == pytest.approx(5 * 0.09)


def test_scores_are_log_odds_and_weights_count() -> None:
    """Where no feature has information, the score is the log odds of the weighted share of positive examples."""
    rng = np.random.default_rng(0)
    labels = rng.random(4000) < 0.5
    rows, weights = np.zeros((4000, 2), np.float32), np.where(labels, 0.25, 1.0)
    share = weights[labels].sum() / weights.sum()
    scores = train_trees(HybridLearnedConfig(), examples_of(rows, labels, weights)).score(rows)
    np.testing.assert_allclose(scores, np.log(share / (1 - share)), atol=1e-4)
    rows[:, 0] = labels  # now they separate the groups
    separated = train_trees(HybridLearnedConfig(), examples_of(rows, labels, weights)).score(rows)
    assert separated[labels].min() > 2
    assert separated[~labels].max() < -2


def test_the_trees_do_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(20_000, 8)).astype(np.float32)
    labels = rows[:, 0] * rows[:, 1] + rng.normal(size=20_000) > 0.5
    examples = examples_of(rows, labels, np.ones(20_000))
    one, two = (train_trees(HybridLearnedConfig(), examples, threads) for threads in (1, 2))
    assert len(one.values) == HybridLearnedConfig().n_estimators
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, two.arrays()[name])
