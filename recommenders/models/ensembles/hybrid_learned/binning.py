"""Maps features to at most 255 bins before the trees are trained. Imported only while fitting.

For weighted examples, scikit-learn sorts a feature again for each of its 255 quantiles. On 100,000 examples that is
four fifths of the training time of a ranker. It skips this for features with few distinct values. So it is given the
bin number of each value.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recommenders.models.ensembles.hybrid_learned.trees import BoostedTrees

MAX_BINS = 255  # per feature, the maximum of scikit-learn
SAMPLE_ROWS = 200_000  # minimum number of rows (if there are so many) from which the edges are computed


@dataclass(frozen=True, eq=False)
class Bins:
    """Bin i of a feature holds the values above edge i - 1 and not above edge i."""

    edges: list[NDArray[np.float32]]  # one array per feature, ascending, at most MAX_BINS - 1 edges

    @classmethod
    def from_features(cls, rows: NDArray[np.float32], weights: NDArray[np.float64]) -> "Bins":
        """Bins of finite features (n, n_features) with equal sums of weights (n,), as far as ties allow."""
        sample = slice(None, None, max(1, len(rows) // SAMPLE_ROWS))
        return cls([_edges(column, weights[sample]) for column in rows[sample].T])

    def numbers(self, rows: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(n, n_features): the bin number of each value."""
        found = np.empty(rows.shape, dtype=np.uint8)
        for feature, edges in enumerate(self.edges):
            found[:, feature] = np.searchsorted(edges, rows[:, feature])
        return found

    def to_feature_values(self, trees: BoostedTrees) -> BoostedTrees:
        """Converts trees trained on bin numbers, numbers(), to trees that split on the feature values themselves."""
        thresholds = trees.thresholds.copy()
        for feature, edges in enumerate(self.edges):
            used = (trees.features == feature) & np.isfinite(thresholds)
            if used.any():
                thresholds[used] = edges[thresholds[used].astype(np.int64)]
        return replace(trees, thresholds=thresholds)


def _edges(values: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    order = np.argsort(values)
    ascending = values[order]
    distinct = np.unique(ascending)
    if len(distinct) <= MAX_BINS:
        between = distinct[:-1] + (distinct[1:] - distinct[:-1]) / 2
        return np.asarray(np.where(between < distinct[1:], between, distinct[:-1]))  # it may round up
    summed = np.cumsum(weights[order])
    places = np.searchsorted(summed, summed[-1] * np.arange(1, MAX_BINS) / MAX_BINS)
    return np.unique(ascending[places])
