"""What goes with what the buyer has: one linear model over all items."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.math.gram import WORK, gram, inverted, sparse_gram
from recommenders.math.sparse import RowSums, pack_csr, unpack_csr
from recommenders.models.event_weighting import EventValues, EventValuesConfig
from recommenders.models.recommender import BLOCK, Recommender, Tracker

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

ITEM_BLOCK = 256  # rows of weights chosen from at once
NOISE = 8.0  # reg, in square roots of the number of buyers
MOST_WEIGHTS = 10_000_000  # of all items together: 80 MB of a bundle
LARGEST_REG = 1000.0  # of the published optima, which lie between 200 and 1,000 for 0.1 to 0.6 million buyers


class EASEConfig(EventValuesConfig):
    """How much the weights are held back, and how many of them are kept."""

    reg: float | None = Field(default=None, gt=0)  # None: 8 x sqrt(buyers of two items or more), at most 1,000
    half_lives: float = Field(default=4.0, gt=0)  # in the log's span: it speaks of what is new, reorder of what is old
    max_weights: int = Field(default=256, ge=1)  # kept of each known item, the largest by absolute value
    dense_items: int = Field(default=20_000, ge=1)  # the most bought items, whose weights are found exactly


class Weights(NamedTuple):
    """Some entries of the item weights; (m,) each."""

    rows: NDArray[np.int32]  # the known item
    columns: NDArray[np.int32]  # the item it speaks for
    values: NDArray[np.float32]


class EASE(Recommender):
    """EASE: score = history @ B, where B, with a zero diagonal, is the ridge regression of each item on all others.

    B = I - P diag(1 / diag P), P = (X'X + reg I)^-1; the noise of a count in X'X, and so the reg it takes, grows with
    the square root of the number of buyers. Steck 2019 (Embarrassingly Shallow Autoencoders).
    This is done for the `dense_items` most bought items. Those past them speak, for any item, with the lesser of the
    two regressions of one on the other alone, (X'X)_ij / (max((X'X)_ii, (X'X)_jj) + reg); no other speaks for them.
    """

    name = "ease"
    Config = EASEConfig
    config: EASEConfig
    handles_new_users: ClassVar[bool] = True

    weights_: csr_array  # (n_items, n_items) float32: row = known item
    event_values_: EventValues

    def memory_needed(self, interactions: Interactions) -> float:
        """Bytes: to fit, the dense inverse, a block of sparse products, the weights being sorted; or to answer."""
        n_items = len(interactions.items)
        weights = n_items * self._kept_of_each(n_items)
        fitting = 5.0 * min(n_items, self.config.dense_items) ** 2 + 64.0 * WORK + 60.0 * weights
        answering = 12.0 * BLOCK * n_items + 24.0 * weights
        return max(fitting, answering) + 64.0 * len(interactions)

    def _kept_of_each(self, n_items: int) -> int:
        return max(min(self.config.max_weights, n_items, MOST_WEIGHTS // max(n_items, 1)), 1)

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", tracker: Tracker | None) -> None:
        self.event_values_ = EventValues.settled(self.config, interactions)
        matrix = self.event_values_.learned(interactions)
        telling = int(np.count_nonzero(np.diff(matrix.indptr) > 1))
        reg = self.config.reg or min(NOISE * max(telling, 1) ** 0.5, LARGEST_REG)
        counts = np.bincount(matrix.indices, minlength=matrix.shape[1])
        order = np.argsort(-counts, kind="stable").astype(np.int32)
        ordered = csr_array(matrix[:, order])
        dense = min(len(order), self.config.dense_items)
        found = _kept(ordered, counts[order], reg, dense, self._kept_of_each(len(order)))
        pairs = (found.values, (order[found.rows], order[found.columns]))
        self.weights_ = csr_array(pairs, shape=(len(order), len(order)), dtype=np.float32)
        self._sums = RowSums(self.weights_)

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): the weights of all known items, each times what it counts; 0 for an empty history."""
        if len(histories) == 1:  # making a sparse product would take longer than its use
            return self._sums(*self.event_values_.known_of_one(histories))[None]
        scores: NDArray[np.float32] = (self.event_values_.known(histories) @ self.weights_).toarray()
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights, and how events fade."""
        return {**pack_csr("weights", self.weights_), "half_life_days": np.array([self.event_values_.half_life_days])}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.weights_ = unpack_csr("weights", arrays)
        self.event_values_ = EventValues(self.config.values, float(arrays["half_life_days"][0]))
        self._sums = RowSums(self.weights_)


def _kept(matrix: csr_array, counts: NDArray[np.int64], reg: float, dense: int, kept: int) -> Weights:
    """The largest weights of each row; the columns of matrix (n_users, n_items) in descending order of counts."""
    parts = [*_exact(csr_array(matrix[:, :dense]), counts[:dense], reg, kept)]
    if dense < matrix.shape[1]:
        parts += _of_rare(matrix, reg, dense, kept)
    return _joined(parts)


def _exact(matrix: csr_array, counts: NDArray[np.int64], reg: float, kept: int) -> Iterator[Weights]:
    """The weights of a block of items after the other, by the inverse; `kept` of each, or all there are."""
    inverse = gram(matrix, counts)
    inverse[np.diag_indices_from(inverse)] += np.float32(reg)
    inverse = inverted(inverse)
    scale = -1.0 / inverse.diagonal()
    n_items = len(inverse)
    kept = min(kept, n_items)
    for start in range(0, n_items, ITEM_BLOCK):
        block = inverse[start : start + ITEM_BLOCK] * scale
        rows = np.arange(len(block))
        block[rows, start + rows] = 0.0
        columns = np.argpartition(np.abs(block), n_items - kept, axis=1)[:, n_items - kept :]
        values = np.take_along_axis(block, columns, axis=1)
        yield Weights(np.repeat(start + rows, kept).astype(np.int32), columns.ravel().astype(np.int32), values.ravel())


def _of_rare(matrix: csr_array, reg: float, dense: int, kept: int) -> Iterator[Weights]:
    """The weights of the items past the first `dense` ones, a block of them after the other; `kept` of each at most."""
    squares = matrix.copy()
    squares.data **= 2
    sizes = np.asarray(squares.sum(axis=0), dtype=np.float32) + np.float32(reg)
    for block, products in sparse_gram(matrix, first=dense):
        rows = np.repeat(np.arange(block.start, block.stop, dtype=np.int32), np.diff(products.indptr))
        columns = products.indices
        values = products.data / np.maximum(sizes[rows], sizes[columns])
        others = rows != columns
        yield _largest(Weights(rows[others], columns[others], values[others]), kept)


def _largest(weights: Weights, kept: int) -> Weights:
    """The `kept` largest of each row, by absolute value."""
    order = np.lexsort((weights.columns, -np.abs(weights.values), weights.rows))
    rows = weights.rows[order]
    first = np.searchsorted(rows, rows, side="left")
    order = order[np.arange(len(rows)) - first < kept]
    return Weights(weights.rows[order], weights.columns[order], weights.values[order])


def _joined(parts: list[Weights]) -> Weights:
    return Weights(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
