"""Boosted regression trees as arrays, evaluated with numpy."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class BoostedTrees:
    """Perfect binary trees of the same depth. The children of node i are 2i + 1 (feature <= threshold) and 2i + 2.

    A leaf above the last level is repeated below nodes that send every row left, so every row takes `depth` steps.
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

    def paths(self, rows: NDArray[np.float32]) -> NDArray[np.intp]:
        """(depth + 1, n_trees, n): the place within its level of the node that each row of (n, n_features) reaches."""
        n_trees, columns = len(self.values), np.ascontiguousarray(rows.T)
        nodes = np.zeros((self.depth + 1, n_trees, len(rows)), dtype=np.intp)
        trees, places = np.arange(n_trees)[:, None], np.arange(len(rows))
        for level in range(self.depth):
            at = nodes[level] + (2**level - 1)
            right = columns[self.features[trees, at], places] > self.thresholds[trees, at]
            nodes[level + 1] = 2 * nodes[level] + right
        return nodes

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
