"""Boosted regression trees as arrays: trained with scikit-learn, evaluated with numpy."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.models.ensembles.sklearn_internals import baseline, tree_nodes


@dataclass(frozen=True, eq=False)
class BoostedTrees:
    """Perfect binary trees of the same depth. The children of node i are 2i + 1 (feature <= threshold) and 2i + 2.

    A leaf above the last level is padded with nodes that send every row left, so every row takes `depth` steps.
    """

    features: NDArray[np.int32]  # (n_trees, 2^depth - 1)
    thresholds: NDArray[np.float32]  # (n_trees, 2^depth - 1)
    values: NDArray[np.float32]  # (n_trees, 2^depth)
    baseline: float

    @property
    def depth(self) -> int:
        """The number of splits on the path of a row through each tree."""
        return int(self.values.shape[1]).bit_length() - 1

    @cached_property
    def _levels(self) -> list[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        """Features and thresholds of each level, all trees next to each other."""
        bounds = [(2**level - 1, 2 ** (level + 1) - 1) for level in range(self.depth)]
        return [(self.features[:, a:b].ravel().astype(np.intp), self.thresholds[:, a:b].ravel()) for a, b in bounds]

    def score(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,): the sum of the leaf values of each row of (n, n_features), plus the baseline."""
        scores = np.empty(len(rows), dtype=np.float32)
        step = max(1, 200_000 // max(len(self.values), 1))  # (tree, row) pairs that fit into the cache
        for start in range(0, len(rows), step):
            scores[start : start + step] = self._sums(np.ascontiguousarray(rows[start : start + step].T))
        return scores + np.float32(self.baseline)

    def _sums(self, columns: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) for columns (n_features, n). mode="wrap" avoids numpy's bounds check: all indices are valid."""
        n, flat, values = columns.shape[1], columns.ravel(), self.values.ravel()
        features, thresholds = self._levels[0]  # all rows start at the root of each tree
        nodes = 2 * np.arange(len(features))[:, None] + (columns.take(features, axis=0) > thresholds[:, None])
        places = np.arange(n)
        for features, thresholds in self._levels[1:]:
            indices = (features * n).take(nodes, mode="wrap")
            indices += places
            right = flat.take(indices, mode="wrap") > thresholds.take(nodes, mode="wrap")
            nodes += nodes
            nodes += right
        return np.asarray(values.take(nodes, mode="wrap").sum(axis=0))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays for a bundle."""
        return {
            "trees.features": self.features,
            "trees.thresholds": self.thresholds,
            "trees.values": self.values,
            "trees.baseline": np.array([self.baseline], dtype=np.float32),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> "BoostedTrees":
        """The inverse of arrays(). Raises KeyError if one is missing."""
        features, thresholds, values = (arrays[f"trees.{part}"] for part in ("features", "thresholds", "values"))
        return cls(features, thresholds, values, float(arrays["trees.baseline"][0]))


def trees_from_estimator(estimator: Any, depth: int) -> BoostedTrees:
    """Converts a fitted scikit-learn HistGradientBoosting estimator with one output, no tree deeper than `depth`.

    Raises ValueError for a deeper tree. The rows to score must contain no nan.
    """
    trees = tree_nodes(estimator)
    n_nodes = 2**depth - 1
    features = np.zeros((len(trees), n_nodes), dtype=np.int32)
    thresholds = np.full((len(trees), n_nodes), np.inf, dtype=np.float32)  # every row goes left
    values = np.zeros((len(trees), n_nodes + 1), dtype=np.float32)
    for tree, nodes in enumerate(trees):
        _unfold(nodes, 0, 0, depth, features[tree], thresholds[tree], values[tree])
    return BoostedTrees(features, thresholds, values, baseline(estimator))


def _unfold(
    nodes: Any,
    node: int,
    place: int,
    levels: int,
    features: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    values: NDArray[np.float32],
) -> None:
    """Writes the subtree at `node` to the perfect tree at `place`, which has `levels` levels left."""
    found = nodes[node]
    if found["is_leaf"]:
        for _ in range(levels):
            place = 2 * place + 1
        values[place - len(features)] = found["value"]
        return
    if levels == 0:
        raise ValueError("a tree is deeper than the depth given")
    features[place] = found["feature_idx"]
    thresholds[place] = _below(found["num_threshold"])
    _unfold(nodes, found["left"], 2 * place + 1, levels - 1, features, thresholds, values)
    _unfold(nodes, found["right"], 2 * place + 2, levels - 1, features, thresholds, values)


def _below(threshold: float) -> np.float32:
    """The largest float32 that is not above the threshold, so that float32 rows take the same branch as in float64."""
    rounded = np.float32(threshold)
    return rounded if float(rounded) <= threshold else np.nextafter(rounded, np.float32(-np.inf))
