"""Which part of a score of hybrid_learned comes from which base model, and from which kind of feature.

The value of a node of a tree is the mean value of the leaves that the candidates below it reach. On the path of a
candidate, each split changes this value, and the change is the split's feature's part of the score (Saabas 2014,
"Interpreting random forests"; the approximate contributions of XGBoost). So the parts say why an item is above or below
the mean candidate of the user. A feature that all candidates have in common, such as those of the user, has nearly no
part. They add up to the score exactly. Unlike Shapley values (Lundberg & Lee 2017), they depend on the order of the
splits of a tree.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recommenders.features.ranking import ITEM_FEATURES, PAIR_FEATURES, USER_FEATURES
from recommenders.models.ensembles.hybrid_learned.score_rules import FLOOR, ScoreRules, pair_kinds
from recommenders.models.ensembles.hybrid_learned.trees import BoostedTrees

CATEGORY = "pair_category_share"
# source -> its features; base scores have the name of their base model
KINDS_OF_FEATURES = {
    "item_sales": ITEM_FEATURES,
    "user_activity": USER_FEATURES,
    "own_purchases": tuple(name for name in PAIR_FEATURES if name != CATEGORY),
    "category": (CATEGORY,),
}
MEAN_CANDIDATE = "mean_candidate"

Parts = NDArray[np.float64]


def attribute(
    trees: BoostedTrees,
    rules: ScoreRules,
    features: NDArray[np.float32],
    places: NDArray[np.int64],
    base_models: Sequence[str],
) -> dict[str, Parts]:
    """Source -> its part of the scores of some candidates of one user, (m,) each; the parts add up to the scores.

    features: (n_candidates, n_features), from Candidates.features(). places: (m,), the rows of the explained ones.
    """
    mean, parts = tree_parts(trees, features, places)
    kinds = pair_kinds(features, len(base_models))[places]
    shares = np.array([rule.share for rule in rules])[kinds]
    parts *= 1.0 - shares[:, None]
    constant = (1.0 - shares) * mean
    for place, rule in enumerate(rules):
        some = np.flatnonzero(kinds == place)
        logs = np.log(np.maximum(features[places[some], rule.column].astype(np.float64), FLOOR))
        parts[some, rule.column] += rule.share * rule.slope * logs
        constant[some] += rule.share * rule.intercept + rule.shift
    sources = _sources(base_models)
    found = {name: parts[:, [place for place, of in enumerate(sources) if of == name]].sum(axis=1) for name in sources}
    return found | {MEAN_CANDIDATE: constant}


def tree_parts(
    trees: BoostedTrees, features: NDArray[np.float32], places: NDArray[np.int64]
) -> tuple[float, NDArray[np.float64]]:
    """The mean score of all rows (n, n_features); and the features' parts of the scores of some, (m, n_features)."""
    nodes = trees.paths(features)
    leaves = np.take_along_axis(trees.values.astype(np.float64), nodes[-1], axis=1)
    values = [_node_means(leaves, nodes[level], 2**level) for level in range(trees.depth + 1)]
    parts = np.zeros((len(places), features.shape[1]))
    rows, numbers = np.arange(len(places)), np.arange(len(trees.values))[:, None]
    for level in range(trees.depth):
        split = trees.features[numbers, nodes[level][:, places] + (2**level - 1)]
        np.add.at(parts, (rows, split), (values[level + 1] - values[level])[:, places])
    return float(trees.baseline + values[0][:, 0].sum()), parts


def _node_means(leaves: Parts, nodes: NDArray[np.intp], n_nodes: int) -> Parts:
    """(n_trees, n): the mean of the leaf values (n_trees, n) of all rows at the same node of a level as each row."""
    keys = nodes + n_nodes * np.arange(len(nodes))[:, None]
    sums = np.bincount(keys.ravel(), leaves.ravel(), minlength=n_nodes * len(nodes))
    counts = np.bincount(keys.ravel(), minlength=n_nodes * len(nodes))
    return np.asarray((sums / np.maximum(counts, 1))[keys])


def _sources(base_models: Sequence[str]) -> list[str]:
    """The source of each column of the features."""
    kind_of = {feature: kind for kind, names in KINDS_OF_FEATURES.items() for feature in names}
    return [*base_models, *(kind_of[name] for name in (*ITEM_FEATURES, *USER_FEATURES, *PAIR_FEATURES))]
