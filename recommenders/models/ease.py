"""EASE: a linear item-item model. Weighted histories -> scores of all items."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.math.gram import BLOCK_PRODUCTS, gram, invert_in_place, sparse_gram
from recommenders.math.sparse import pack_csr, unpack_csr, weighted_row_sum
from recommenders.models.event_weighting import EventWeighting, EventWeightingConfig
from recommenders.models.recommender import BLOCK, Recommender, TrainingOptions
from recommenders.models.search_space import Choice, Range, SearchSpace

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

ITEM_BLOCK = 256  # rows of weights among which the largest are chosen at once
REG_FACTOR = 8.0  # reg divided by the square root of the number of users
MAX_TOTAL_WEIGHTS = 10_000_000  # of all items together: 80 MB of a bundle
MAX_REG = 1000.0  # the largest published optimum; they lie between 200 and 1,000 for 0.1 to 0.6 million users


class EASEConfig(EventWeightingConfig):
    """Regularisation of the weights, and how many of them are kept."""

    reg: float | None = Field(
        default=None,
        gt=0,
        description="L2 regularisation; null: 8 x sqrt(number of users with two items or more), at most 1000.",
    )
    n_half_lives: float = Field(
        default=4.0,  # a short half-life favours recent patterns; repurchase models cover old ones
        gt=0,
        description="Number of half-lives in the log's span, if `half_life_days` is null.",
    )
    max_weights: int = Field(
        default=256,
        ge=1,
        description="Number of weights that are kept for each item, the largest by absolute value. A catalogue of "
        "more than 39,062 items keeps fewer, so that all items together keep at most 10 million.",
    )
    dense_items: int = Field(
        default=20_000,
        ge=1,
        description="Number of the most popular items whose weights are exact. Those of rarer items are approximate.",
    )

    search_space: ClassVar[SearchSpace] = {
        "reg": Range(low=10.0, high=10_000.0, log=True),
        "n_half_lives": Range(low=0.5, high=16.0, log=True),
        "values": Choice(choices=("log", "binary")),
    }


class Weights(NamedTuple):
    """Some entries of the item weights; (m,) each."""

    rows: NDArray[np.int32]  # the known item
    columns: NDArray[np.int32]  # the scored item
    values: NDArray[np.float32]


class EASE(Recommender):
    """EASE: score = history @ B, where B, with a zero diagonal, is the ridge regression of each item on all others.

    B = I - P diag(1 / diag P), P = (X'X + reg I)^-1. The noise of a count in X'X, and so the reg it needs, grows with
    the square root of the number of users. Steck 2019 (Embarrassingly Shallow Autoencoders).
    Only the `dense_items` most popular items are solved this way. The weight of a rarer item for any item is the lesser
    of the two regressions of one on the other alone, (X'X)_ij / (max((X'X)_ii, (X'X)_jj) + reg). Popular items have no
    weight for rarer items.
    """

    name = "ease"
    Config = EASEConfig
    config: EASEConfig
    handles_new_users: ClassVar[bool] = True

    weights_: csr_array  # (n_items, n_items) float32: row = known item
    event_weighting_: EventWeighting

    def memory_needed(self, interactions: Interactions) -> float:
        """Bytes, the larger of fitting (dense inverse, a block of sparse products, sorted weights) and scoring."""
        n_items = len(interactions.items)
        weights = n_items * self._weights_per_item(n_items)
        fitting = 5.0 * min(n_items, self.config.dense_items) ** 2 + 64.0 * BLOCK_PRODUCTS + 60.0 * weights
        scoring = 12.0 * BLOCK * n_items + 24.0 * weights
        return max(fitting, scoring) + 64.0 * len(interactions)

    def _weights_per_item(self, n_items: int) -> int:
        return max(min(self.config.max_weights, n_items, MAX_TOTAL_WEIGHTS // max(n_items, 1)), 1)

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", options: TrainingOptions) -> None:
        self.event_weighting_ = EventWeighting.from_log(self.config, interactions)
        matrix = self.event_weighting_.log_matrix(interactions)
        n_multi_item_users = int(np.count_nonzero(np.diff(matrix.indptr) > 1))
        reg = self.config.reg or min(REG_FACTOR * max(n_multi_item_users, 1) ** 0.5, MAX_REG)
        counts = np.bincount(matrix.indices, minlength=matrix.shape[1])
        order = np.argsort(-counts, kind="stable").astype(np.int32)
        ordered = csr_array(matrix[:, order])
        n_dense = min(len(order), self.config.dense_items)
        weights = _item_weights(ordered, counts[order], reg, n_dense, self._weights_per_item(len(order)))
        entries = (weights.values, (order[weights.rows], order[weights.columns]))
        self.weights_ = csr_array(entries, shape=(len(order), len(order)), dtype=np.float32)

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): the weights of all known items, each times its pair weight; 0 for an empty history."""
        if len(histories) == 1:  # building a sparse matrix would take longer than the sum
            return weighted_row_sum(self.weights_, *self.event_weighting_.weighted_items(histories))[None]
        scores: NDArray[np.float32] = (self.event_weighting_.history_matrix(histories) @ self.weights_).toarray()
        return scores

    def drops(self, history: Histories, item_columns: Sequence[int]) -> NDArray[np.float32]:
        """(n_known, m): the terms of the sum that is the score. Without an item, other events may weigh more."""
        found = np.zeros((len(history.known_items.item_columns), len(item_columns)), dtype=np.float32)
        items = self.event_weighting_.weighted_items(history)
        parts = self.weights_[items.item_columns][:, list(item_columns)].toarray() * items.weights[:, None]
        found[np.searchsorted(history.known_items.item_columns, items.item_columns)] = parts
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights, and the half-life of events."""
        return {
            **pack_csr("weights", self.weights_),
            "half_life_days": np.array([self.event_weighting_.half_life_days]),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.weights_ = unpack_csr("weights", arrays)
        self.event_weighting_ = EventWeighting(self.config.values, float(arrays["half_life_days"][0]))


def _item_weights(matrix: csr_array, counts: NDArray[np.int64], reg: float, n_dense: int, n_kept: int) -> Weights:
    """The largest weights of each row; the columns of matrix (n_users, n_items) in descending order of counts."""
    parts = [*_exact_weights(csr_array(matrix[:, :n_dense]), counts[:n_dense], reg, n_kept)]
    if n_dense < matrix.shape[1]:
        parts += _rare_item_weights(matrix, reg, n_dense, n_kept)
    return _concatenate(parts)


def _exact_weights(matrix: csr_array, counts: NDArray[np.int64], reg: float, n_kept: int) -> Iterator[Weights]:
    """The exact weights, one block of items after the other; the n_kept largest of each item, or all if fewer."""
    inverse = gram(matrix, counts)
    inverse[np.diag_indices_from(inverse)] += np.float32(reg)
    inverse = invert_in_place(inverse)
    scale = -1.0 / inverse.diagonal()
    n_items = len(inverse)
    n_kept = min(n_kept, n_items)
    for start in range(0, n_items, ITEM_BLOCK):
        block = inverse[start : start + ITEM_BLOCK] * scale
        rows = np.arange(len(block))
        block[rows, start + rows] = 0.0
        columns = np.argpartition(np.abs(block), n_items - n_kept, axis=1)[:, n_items - n_kept :]
        values = np.take_along_axis(block, columns, axis=1)
        yield Weights(
            np.repeat(start + rows, n_kept).astype(np.int32), columns.ravel().astype(np.int32), values.ravel()
        )


def _rare_item_weights(matrix: csr_array, reg: float, n_dense: int, n_kept: int) -> Iterator[Weights]:
    """The weights of the items after the first n_dense ones, one block after the other; at most n_kept of each."""
    squares = matrix.copy()
    squares.data **= 2
    sizes = np.asarray(squares.sum(axis=0), dtype=np.float32) + np.float32(reg)
    for block, products in sparse_gram(matrix, first=n_dense):
        rows = np.repeat(np.arange(block.start, block.stop, dtype=np.int32), np.diff(products.indptr))
        columns = products.indices
        values = products.data / np.maximum(sizes[rows], sizes[columns])
        others = rows != columns
        yield _keep_largest(Weights(rows[others], columns[others], values[others]), n_kept)


def _keep_largest(weights: Weights, n_kept: int) -> Weights:
    """The n_kept largest of each row, by absolute value."""
    order = np.lexsort((weights.columns, -np.abs(weights.values), weights.rows))
    rows = weights.rows[order]
    first = np.searchsorted(rows, rows, side="left")
    order = order[np.arange(len(rows)) - first < n_kept]
    return Weights(weights.rows[order], weights.columns[order], weights.values[order])


def _concatenate(parts: list[Weights]) -> Weights:
    return Weights(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
