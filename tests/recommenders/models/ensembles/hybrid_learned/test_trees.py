"""Trees as arrays give the scores of the scikit-learn estimator."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from recommenders.models.ensembles.hybrid_learned.trees import BoostedTrees, trees_from_estimator


def fitted(depth: int, n: int = 600) -> tuple[HistGradientBoostingClassifier, np.ndarray]:
    rng = np.random.default_rng(depth)
    rows = rng.normal(size=(n, 6)).astype(np.float32)
    rows[:, 3] = rng.integers(-1, 4, size=n)  # ties, and values equal to thresholds
    labels = rows[:, 0] * rows[:, 1] + (rows[:, 3] > 1) + rng.normal(scale=0.3, size=n) > 0.5
    estimator = HistGradientBoostingClassifier(
        max_iter=20, max_depth=depth, max_leaf_nodes=2**depth, min_samples_leaf=3, early_stopping=False, random_state=0
    )
    return estimator.fit(rows, labels), rows


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_arrays_score_as_the_estimator_does(depth: int) -> None:
    estimator, rows = fitted(depth)
    new = np.random.default_rng(9).normal(size=(500, 6)).astype(np.float32) * 2
    trees = trees_from_estimator(estimator, depth)
    for some in (rows, new, new[:1]):
        np.testing.assert_allclose(trees.score(some), estimator.decision_function(some), rtol=1e-5, atol=1e-5)


def test_shallow_trees_fit_into_deeper_ones() -> None:
    estimator, rows = fitted(2)
    np.testing.assert_allclose(
        trees_from_estimator(estimator, 4).score(rows), trees_from_estimator(estimator, 2).score(rows), rtol=1e-6
    )


def test_a_tree_that_is_too_deep_is_rejected() -> None:
    with pytest.raises(ValueError, match="deeper"):
        trees_from_estimator(fitted(5)[0], 3)


def test_no_rows_give_no_scores_and_arrays_round_trip() -> None:
    estimator, rows = fitted(3)
    trees = trees_from_estimator(estimator, 3)
    assert trees.score(rows[:0]).shape == (0,)
    again = BoostedTrees.from_arrays(trees.arrays())
    np.testing.assert_array_equal(again.score(rows), trees.score(rows))
