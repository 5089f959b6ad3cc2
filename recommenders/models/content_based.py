"""Items like those the buyer knows, by what is written about them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array, csr_matrix

from recommenders.errors import ConfigurationError, NoFeaturesError
from recommenders.events.histories import Histories, KnownItems
from recommenders.events.interactions import Interactions
from recommenders.math.sparse import RowSums, pack_csr, unpack_csr
from recommenders.models.popularity import decayed_sums
from recommenders.models.recommender import BLOCK, ModelConfig, Reason, Recommender, Tracker

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures


class ContentBasedConfig(ModelConfig):
    """Which items count as alike, and what counts beside likeness; the shares are relative to likeness, which has 1."""

    similarity_threshold: float = Field(default=0.7, ge=0.0, le=1.0)  # cosine below which two items are strangers
    max_neighbours: int = Field(default=100, ge=1)  # kept for each item, the item itself among them
    fallback_neighbours: int = Field(default=5, ge=0)  # nearest ones of an item that has none above the threshold
    sharpness: float = Field(default=8.0, gt=0)  # power of the cosine: how much more the very close count
    recency_visits: float | None = Field(default=5.0, gt=0)  # visits after which an item says half as much; None: never
    popularity_prior: float = Field(default=0.5, ge=0.0)  # of what everybody buys; 0: content alone
    own_share: float = Field(default=0.5, ge=0.0)  # of the own habit, where buyers come back to items


class ContentBased(Recommender):
    """score = history @ similarity + popularity_prior * prior + own_share * habit, each scaled to at most 1.

    history: log(1 + purchases), the newest visits counting most; the logarithm keeps one bulk line from drowning the
    rest. similarity: thresholded cosines to a power, the columns divided by their sums, which keep an item of a crowded
    shelf from winning by the number of its likes. prior: the logarithm of an item's recent sales; an item that never
    sold has its category's typical one, so that it is neither hidden nor pushed. Lops, de Gemmis & Semeraro 2011;
    Deshpande & Karypis 2004 (normalised columns).
    """

    name = "content_based"
    Config = ContentBasedConfig
    config: ContentBasedConfig
    handles_new_items: ClassVar[bool] = True
    uses_features: ClassVar[bool] = True

    similarity_: csr_array  # (n_items, n_items) float32
    prior_: NDArray[np.float32]  # (n_items,) in [0, 1]

    def memory_needed(self, interactions: Interactions) -> float:
        """Bytes: some copies of the similarities that may be kept, and a block of scores."""
        n_items = len(interactions.items)
        return 48.0 * n_items * min(self._n_compared, n_items) + 16.0 * BLOCK * n_items + 64.0 * len(interactions)

    @property
    def _n_compared(self) -> int:
        return max(self.config.max_neighbours, self.config.fallback_neighbours + 1)

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", tracker: Tracker | None) -> None:
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
        self._sums = RowSums(self.similarity_)
        self.prior_ = _prior(decayed_sums(interactions), features.categories)

    def _neighbours(self, vectors: csr_array) -> csr_array:
        """(n_items, n_items): the similarities kept of each item, its own, 1, among them: even an item of which nothing
        is known is like itself.
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
        places = np.arange(len(rows)) - np.searchsorted(rows, rows)  # best first in each row
        close = (values >= config.similarity_threshold) & (places < config.max_neighbours - 1)
        lonely = np.bincount(rows[close], minlength=n_items)[rows] == 0
        kept = close | (lonely & (places < config.fallback_neighbours) & (values > 0))
        itself = np.arange(n_items)
        rows, columns = np.concatenate([rows[kept], itself]), np.concatenate([columns[kept], itself])
        values = np.concatenate([values[kept], np.ones(n_items, dtype=np.float32)])
        return csr_array((values, (rows, columns)), shape=(n_items, n_items), dtype=np.float32)

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): what is like the history, rather popular, and on repeat logs known; rows are not used."""
        known = histories.known_items
        tastes = self._tastes(known)
        if len(histories) == 1:
            scores = self._sums(known.item_columns, tastes)[None]
        else:
            weighted = csr_array((tastes, known.item_columns, known.indptr), histories.shape)
            scores = np.asarray((weighted @ self.similarity_).toarray())
        scores /= np.maximum(scores.max(axis=1, initial=0.0, keepdims=True), np.float32(1e-12))
        scores += np.float32(self.config.popularity_prior) * self.prior_
        if self.repeat_ and self.config.own_share:
            habits = np.log1p(known.weights)
            habits /= np.maximum(known.largest(habits), np.float32(1e-12))[known.rows]
            scores[known.rows, known.item_columns] += np.float32(self.config.own_share) * habits
        return np.asarray(scores, dtype=np.float32)

    def _tastes(self, known: KnownItems) -> NDArray[np.float32]:
        """(n_pairs,) how much each known item says."""
        tastes = np.log1p(known.weights)
        if self.config.recency_visits is not None:
            tastes = tastes / (1.0 + known.visits_ago / self.config.recency_visits)
        return tastes.astype(np.float32)

    def explain_all(self, history: Histories, item_columns: Sequence[int], n_reasons: int = 3) -> list[list[Reason]]:
        """The known items that bring most of each item's likeness to the history; exact, as likeness is a sum."""
        known = history.known_items
        brought = self.similarity_[known.item_columns][:, list(item_columns)].toarray() * self._tastes(known)[:, None]
        best = np.argsort(-brought, axis=0, kind="stable")[:n_reasons]
        return [
            [Reason(int(known.item_columns[i]), float(brought[i, j])) for i in best[:, j] if brought[i, j] > 0]
            for j in range(len(item_columns))
        ]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The similarities kept, and the prior."""
        return {**pack_csr("similarity", self.similarity_), "prior": self.prior_}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.similarity_, self.prior_ = unpack_csr("similarity", arrays), arrays["prior"]
        self._sums = RowSums(self.similarity_)


def _prior(sums: NDArray[np.float64], categories: NDArray[np.str_]) -> NDArray[np.float32]:
    """(n_items,) the logarithm of sales in [0, 1]; what never sold takes the mean of what sold in its category."""
    prior, sold = np.log1p(sums), sums > 0
    if not sold.any():
        return np.zeros(len(sums), dtype=np.float32)
    _, places = np.unique(categories, return_inverse=True)
    counts = np.bincount(places, sold)
    typical = np.divide(
        np.bincount(places, prior), counts, out=np.full(len(counts), prior[sold].mean()), where=counts > 0
    )
    return np.asarray(np.where(sold, prior, typical[places]) / prior.max(), dtype=np.float32)
