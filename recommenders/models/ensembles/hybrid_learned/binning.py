"""Features cut into a few hundred bins before trees grow on them. Imported only while fitting.

Where examples are weighted, scikit-learn sorts a feature anew for each of its 255 quantiles, which on 100,000 examples
takes four fifths of a ranker's growing. So few different values it takes as they are: it is given the number of each
value's bin.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recommenders.models.ensembles.hybrid_learned.trees import BoostedTrees

MOST = 255  # bins of a feature, which is what scikit-learn takes
LOOKED_AT = 200_000  # rows that tell where the bins lie, at least, where there are so many


@dataclass(frozen=True, eq=False)
class Bins:
    """Bin i of a feature holds what is above edge i - 1 and not above edge i."""

    edges: list[NDArray[np.float32]]  # one a feature, ascending, at most MOST - 1

    @classmethod
    def of(cls, rows: NDArray[np.float32], weights: NDArray[np.float64]) -> "Bins":
        """Bins of finite features (n, n_features) that hold the same weight (n,) each, as far as ties allow."""
        some = slice(None, None, max(1, len(rows) // LOOKED_AT))
        return cls([_edges(column, weights[some]) for column in rows[some].T])

    def numbers(self, rows: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(n, n_features) the bin of each value."""
        found = np.empty(rows.shape, dtype=np.uint8)
        for feature, edges in enumerate(self.edges):
            found[:, feature] = np.searchsorted(edges, rows[:, feature])
        return found

    def in_features(self, trees: BoostedTrees) -> BoostedTrees:
        """The trees that ask features what `trees`, grown on numbers(), ask their bins."""
        thresholds = trees.thresholds.copy()
        for feature, edges in enumerate(self.edges):
            asked = (trees.features == feature) & np.isfinite(thresholds)
            if asked.any():
                thresholds[asked] = edges[thresholds[asked].astype(np.int64)]
        return replace(trees, thresholds=thresholds)


def _edges(values: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    order = np.argsort(values)
    ascending = values[order]
    distinct = np.unique(ascending)
    if len(distinct) <= MOST:
        between = distinct[:-1] + (distinct[1:] - distinct[:-1]) / 2
        return np.asarray(np.where(between < distinct[1:], between, distinct[:-1]))  # of neighbours it may round up
    summed = np.cumsum(weights[order])
    places = np.searchsorted(summed, summed[-1] * np.arange(1, MOST) / MOST)
    return np.unique(ascending[places])
