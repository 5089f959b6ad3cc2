"""Content-based model: ranks items similar to those of the user's history, by item features."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array, csr_matrix

from recommenders.errors import ConfigurationError, NoFeaturesError
from recommenders.events.histories import Histories, KnownItems
from recommenders.events.interactions import Interactions
from recommenders.math.sparse import pack_csr, unpack_csr, weighted_row_sum
from recommenders.models.popularity import decayed_sums
from recommenders.models.recommender import BLOCK, ModelConfig, Recommender, TrainingOptions
from recommenders.models.search_space import Range, SearchSpace

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures


class ContentBasedConfig(ModelConfig):
    """Which items are similar, and the weights of popularity and repeat purchases; similarity has weight 1."""

    similarity_threshold: float = Field(
        default=0.7, ge=0.0, le=1.0, description="Minimum cosine similarity of two neighbours."
    )
    n_neighbours: int = Field(
        default=100, ge=1, description="Maximum number of neighbours of an item, the item itself included."
    )
    fallback_neighbours: int = Field(
        default=5,
        ge=0,
        description="Number of nearest items that are neighbours of an item if no other item reaches "
        "`similarity_threshold`.",
    )
    sharpness: float = Field(
        default=8.0, gt=0, description="Power of the cosine similarity. A larger value favours very similar items."
    )
    recency_visits: float | None = Field(
        default=5.0,
        gt=0,
        description="Number of later visits after which an item of the history has half the weight; null: never.",
    )
    popularity_prior: float = Field(
        default=0.5,
        ge=0.0,
        description="Weight of popularity, where similarity has weight 1; 0: no popularity.",
    )
    repeat_share: float = Field(
        default=0.5,
        ge=0.0,
        description="Weight of the user's own purchases, where similarity has weight 1. Used only in a log with "
        "repeat purchases.",
    )

    search_space: ClassVar[SearchSpace] = {
        "similarity_threshold": Range(low=0.3, high=0.9),
        "sharpness": Range(low=1.0, high=16.0, log=True),
        "recency_visits": Range(low=1.0, high=20.0, log=True),
        "popularity_prior": Range(low=0.0, high=2.0),
        "repeat_share": Range(low=0.0, high=2.0),
    }


class ContentBased(Recommender):
    """score = history @ similarity + popularity_prior * prior + repeat_share * repeats, each scaled to at most 1.

    history: log(1 + purchases), the newest visits weighted most; the logarithm limits the effect of one bulk line.
    similarity: thresholded cosines to a power, each column divided by its sum, so that an item does not rank high only
    because it has many similar items. prior: the logarithm of an item's recent sales; an item without sales gets the
    mean of its category. repeats: log(1 + purchases) of the item itself, on logs with repeat purchases. Lops, de Gemmis
    & Semeraro 2011; Deshpande & Karypis 2004 (normalised columns).
    """

    name = "content_based"
    Config = ContentBasedConfig
    config: ContentBasedConfig
    handles_new_items: ClassVar[bool] = True
    uses_features: ClassVar[bool] = True

    similarity_: csr_array  # (n_items, n_items) float32
    prior_: NDArray[np.float32]  # (n_items,) in [0, 1]

    def memory_needed(self, interactions: Interactions) -> float:
        """Bytes: some copies of the stored similarities, and a block of scores."""
        n_items = len(interactions.items)
        return 48.0 * n_items * min(self._n_compared, n_items) + 16.0 * BLOCK * n_items + 64.0 * len(interactions)

    @property
    def _n_compared(self) -> int:
        return max(self.config.n_neighbours, self.config.fallback_neighbours + 1)

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", options: TrainingOptions) -> None:
        n_items = len(interactions.items)
        if features is None:
            raise NoFeaturesError(self.name)
        if features.vectors.shape[0] != n_items:
            raise ConfigurationError(
                f"item features have {features.vectors.shape[0]} rows for {n_items} items; "
                "encode them with the interactions' own item ids"
            )
        similarity = self._neighbours(features.vectors)
        similarity.data **= np.float32(self.config.sharpness)
        similarity.data /= np.bincount(similarity.indices, similarity.data, minlength=n_items)[similarity.indices]
        self.similarity_ = similarity.astype(np.float32)
        self._own = self.similarity_.diagonal()
        self.prior_ = _prior(decayed_sums(interactions), features.categories)

    def _neighbours(self, vectors: csr_array) -> csr_array:
        """(n_items, n_items): the similarities of each item to its neighbours and to itself.

        The similarity of an item to itself is 1, also without any features.
        """
        from sparse_dot_topn import sp_matmul_topn  # type: ignore[import-untyped]

        config, n_items = self.config, vectors.shape[0]
        if not n_items or not vectors.nnz:
            return csr_array(np.eye(n_items, dtype=np.float32))
        left = csr_matrix(vectors, dtype=np.float32)
        nearest = sp_matmul_topn(left, csr_matrix(left.T), top_n=min(self._n_compared, n_items), sort=True)
        rows = np.repeat(np.arange(n_items), np.diff(nearest.indptr))
        others = nearest.indices != rows
        rows, columns, values = rows[others], nearest.indices[others], np.minimum(nearest.data[others], 1.0)
        places = np.arange(len(rows)) - np.searchsorted(rows, rows)  # rank within the row
        close = (values >= config.similarity_threshold) & (places < config.n_neighbours - 1)
        isolated = np.bincount(rows[close], minlength=n_items)[rows] == 0
        kept = close | (isolated & (places < config.fallback_neighbours) & (values > 0))
        own_column = np.arange(n_items)
        rows, columns = np.concatenate([rows[kept], own_column]), np.concatenate([columns[kept], own_column])
        values = np.concatenate([values[kept], np.ones(n_items, dtype=np.float32)])
        places = (rows.astype(np.int32), columns.astype(np.int32))
        return csr_array((values, places), shape=(n_items, n_items), dtype=np.float32)

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): similarity to the history, popularity and, on repeat logs, own purchases. Ignores user_rows."""
        known = histories.known_items
        weights = self._history_weights(known)
        if len(histories) == 1:
            scores = weighted_row_sum(self.similarity_, known.item_columns, weights)[None]
        else:
            weighted = csr_array((weights, known.item_columns, known.indptr), histories.shape)
            scores = np.asarray((weighted @ self.similarity_).toarray())
        scores /= np.maximum(scores.max(axis=1, initial=0.0, keepdims=True), np.float32(1e-12))
        scores += np.float32(self.config.popularity_prior) * self.prior_
        if self.repeat_ and self.config.repeat_share:
            largest = np.maximum(known.largest(known.log_weights), np.float32(1e-12))
            repeats: NDArray[Any] = known.log_weights / largest[known.rows]
            known.add_to(scores, np.float32(self.config.repeat_share) * repeats)
        return np.asarray(scores, dtype=np.float32)

    def _history_weights(self, known: KnownItems) -> NDArray[np.float32]:
        """(n_pairs,): the weight of each item of a history."""
        weights = known.log_weights
        if self.config.recency_visits is not None:
            weights = weights / (1.0 + known.visits_ago / self.config.recency_visits)
        return weights.astype(np.float32)

    def drops(self, history: Histories, item_columns: Sequence[int]) -> NDArray[np.float32]:
        """(n_known, m): the part of each item of the history in each item's similarity term; exact, as it is a sum."""
        known = history.known_items
        parts = self.similarity_[known.item_columns][:, list(item_columns)].toarray()
        return np.asarray(parts * self._history_weights(known)[:, None])

    def cosines(self, item_column: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The neighbours of an item, without itself, and their cosine similarities; (m,) both, in column order.

        A stored similarity is a power of the cosine divided by a sum; an item's similarity to itself has cosine 1.
        """
        start, stop = self.similarity_.indptr[item_column : item_column + 2]
        columns, values = self.similarity_.indices[start:stop], self.similarity_.data[start:stop]
        others = columns != item_column
        columns = columns[others].astype(np.int32)
        return columns, (values[others] / self._own[columns]) ** np.float32(1.0 / self.config.sharpness)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The stored similarities, and the prior."""
        return {**pack_csr("similarity", self.similarity_), "prior": self.prior_}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.similarity_, self.prior_ = unpack_csr("similarity", arrays), arrays["prior"]
        self._own = self.similarity_.diagonal()


def _prior(sums: NDArray[np.float64], categories: NDArray[np.str_]) -> NDArray[np.float32]:
    """(n_items,): log sales scaled to [0, 1]; an item without sales gets the mean of the sold items of its category."""
    prior, sold = np.log1p(sums), sums > 0
    if not sold.any():
        return np.zeros(len(sums), dtype=np.float32)
    _, places = np.unique(categories, return_inverse=True)
    counts = np.bincount(places, sold)
    category_mean = np.divide(
        np.bincount(places, prior), counts, out=np.full(len(counts), prior[sold].mean()), where=counts > 0
    )
    return np.asarray(np.where(sold, prior, category_mean[places]) / prior.max(), dtype=np.float32)
