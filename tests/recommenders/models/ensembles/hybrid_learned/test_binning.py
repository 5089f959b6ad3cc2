"""Bins of features, and trees trained on them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.ensemble import HistGradientBoostingClassifier

from recommenders.models.ensembles.hybrid_learned.binning import MAX_BINS, Bins
from recommenders.models.ensembles.hybrid_learned.trees import trees_from_estimator

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)


@given(arrays(np.float32, st.integers(1, 100), elements=FLOATS))
def test_few_values_get_one_bin_each_in_order(column: np.ndarray) -> None:
    rows = column[:, None]
    numbers = Bins.from_features(rows, np.ones(len(rows))).numbers(rows)[:, 0]
    assert numbers.tolist() == np.unique(column, return_inverse=True)[1].tolist()


@pytest.mark.parametrize("share_of_ties", [0.0, 0.6])
def test_many_values_are_binned_by_weighted_quantiles(share_of_ties: float) -> None:
    rng = np.random.default_rng(3)
    column, weights = rng.normal(size=20_000).astype(np.float32), rng.random(20_000)
    column[rng.random(20_000) < share_of_ties] = 0.0
    shares = np.arange(1, MAX_BINS) / MAX_BINS
    edges = np.unique(np.quantile(column, shares, weights=weights, method="inverted_cdf"))
    theirs = np.searchsorted(edges, column)
    ours = Bins.from_features(column[:, None], weights).numbers(column[:, None])[:, 0]
    assert len(np.unique(ours)) <= MAX_BINS
    differ = np.unique(theirs, return_inverse=True)[1] != np.unique(ours, return_inverse=True)[1]
    assert differ.mean() < 0.001  # a sum of weights may round to the other side of a share


def test_adjacent_floats_get_different_bins() -> None:
    one = np.float32(1.0)
    column = np.array([[one], [np.nextafter(one, np.float32(2.0))]])
    assert Bins.from_features(column, np.ones(2)).numbers(column).ravel().tolist() == [0, 1]


def test_bins_hold_equal_weight() -> None:
    rng = np.random.default_rng(1)
    rows, weights = rng.normal(size=(20_000, 1)).astype(np.float32), rng.random(20_000)
    weights[rows[:, 0] > 1] *= 50
    held = np.bincount(Bins.from_features(rows, weights).numbers(rows)[:, 0].astype(int), weights)
    assert len(held) == MAX_BINS
    assert held == pytest.approx(weights.sum() / MAX_BINS, rel=0.2)


def test_trees_trained_on_bins_score_features_alike() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(3000, 5)).astype(np.float32)
    rows[:, 3] = rng.integers(-1, 4, size=3000)
    weights, labels = rng.random(3000), rows[:, 0] * rows[:, 1] + (rows[:, 3] > 1) > 0.5
    bins = Bins.from_features(rows, weights)
    estimator = HistGradientBoostingClassifier(max_iter=20, max_depth=4, early_stopping=False, random_state=0)
    on_numbers = trees_from_estimator(estimator.fit(bins.numbers(rows), labels, weights), 4)
    new = (2 * rng.normal(size=(500, 5))).astype(np.float32)
    for some in (rows, new):
        expected = estimator.decision_function(bins.numbers(some))
        np.testing.assert_allclose(bins.to_feature_values(on_numbers).score(some), expected, rtol=1e-5, atol=1e-5)
