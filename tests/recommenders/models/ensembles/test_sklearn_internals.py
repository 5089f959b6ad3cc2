"""The private parts of scikit-learn give the scores of the public ones."""

import math

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from recommenders.models.ensembles.sklearn_internals import baseline, tree_nodes


def fitted(n_trees: int) -> tuple[HistGradientBoostingClassifier, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(300, 3))
    labels = rows[:, 0] + rows[:, 1] ** 2 > 0.5
    estimator = HistGradientBoostingClassifier(max_iter=n_trees, max_depth=3, early_stopping=False, random_state=0)
    return estimator.fit(rows, labels), rows, labels


def leaf_value(nodes: np.ndarray, row: np.ndarray) -> float:
    """The value of the leaf that a row reaches, node by node."""
    place = 0
    while not nodes[place]["is_leaf"]:
        node = nodes[place]
        place = node["left"] if row[node["feature_idx"]] <= node["num_threshold"] else node["right"]
    return float(nodes[place]["value"])


def test_the_nodes_and_the_baseline_are_the_decision_function() -> None:
    estimator, rows, _ = fitted(5)
    trees = tree_nodes(estimator)
    assert len(trees) == 5
    found = [baseline(estimator) + sum(leaf_value(nodes, row) for nodes in trees) for row in rows]
    np.testing.assert_allclose(found, estimator.decision_function(rows), rtol=1e-9)


def test_the_baseline_is_the_log_odds_of_the_labels() -> None:
    estimator, _, labels = fitted(1)
    share = labels.mean()
    assert math.isclose(baseline(estimator), math.log(share / (1 - share)), rel_tol=1e-6)
