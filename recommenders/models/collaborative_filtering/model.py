"""Neighbourhood-based collaborative filtering: items of similar users, or items similar to the history."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array, vstack

from recommenders.events.histories import Histories, KnownItems
from recommenders.events.interactions import Interactions
from recommenders.math.sparse import pack_csr, row_entries, unpack_csr, weighted_row_sum
from recommenders.models.collaborative_filtering.neighbour_index import NeighbourIndex, dense_product, product_bytes
from recommenders.models.recommender import BLOCK, ModelConfig, Recommender, TrainingOptions
from recommenders.models.search_space import Range, SearchSpace

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures


class CollaborativeFilteringConfig(ModelConfig):
    """The choice of neighbours, and the weight of the user's own purchases."""

    neighbours: Literal["users", "items"] = Field(
        default="users",
        description="`users`: the items of similar users. `items`: items that are similar to those of the history.",
    )
    similarity_metric: Literal["cosine", "pearson"] = Field(
        default="cosine",
        description="`cosine`: cosine of log(1 + purchases). `pearson`: correlation of ratings or of log quantities.",
    )
    n_neighbours: int = Field(default=60, ge=1, description="Number of neighbours of a user, or of an item.")
    shrinkage: float = Field(
        default=0.1,
        ge=0.0,
        description="Term that is added to the norm of each candidate neighbour, in units of the root mean square "
        "norm. Users, or items, with little data become less similar.",
    )
    similarity_power: float | None = Field(
        default=None, gt=0, description="Power of the similarities; null: 2 for users, 1 for items."
    )
    item_damping: float = Field(
        default=0.5,
        ge=0.0,
        description="Power of the rarity of an item, log(1 + users / (1 + users with the item)); 0: rare and popular "
        "items count the same.",
    )
    recency_visits: float | None = Field(
        default=1.5,
        gt=0,
        description="Number of later visits after which an item of the history has half the weight; null: never.",
    )
    max_visits: int | None = Field(
        default=25, ge=1, description="Number of newest visits of the history that the query uses; null: all."
    )
    repeat_share: float = Field(
        default=0.5,
        ge=0.0,
        lt=1.0,
        description="Share of the user's own purchases in the score; the neighbours have the other part. Used only in "
        "a log with repeat purchases.",
    )

    search_space: ClassVar[SearchSpace] = {
        "n_neighbours": Range(low=10, high=300, log=True),
        "shrinkage": Range(low=0.0, high=1.0),
        "item_damping": Range(low=0.0, high=1.0),
        "recency_visits": Range(low=0.5, high=20.0, log=True),
        "repeat_share": Range(low=0.0, high=0.9),
    }


class CollaborativeFiltering(Recommender):
    """Neighbours by cosine of log(1 + purchases), or by Pearson's correlation of strengths; an unobserved pair is 0.

    Users: the score is the weighted mean of the neighbours' log(1 + purchases); a user is never its own neighbour.
    Items: each item keeps its nearest items; the score is its similarity to the items of the history.
    Strengths are ratings or log quantities. In the query, the newest visits of the user have the largest weights.
    On logs with repeat purchases, the user's own purchases are added. Resnick et al. 1994; Herlocker et al. 1999
    (shrinkage); Deshpande & Karypis 2004 (items); Ludewig & Jannach 2018 (recent events weigh more in the query);
    Hu et al. 2020 (own frequency combined with that of neighbours).
    """

    name = "collaborative_filtering"
    Config = CollaborativeFilteringConfig
    config: CollaborativeFilteringConfig
    handles_new_users: ClassVar[bool] = True

    log_weights_: csr_array  # (n_users, n_items) float32, log(1 + weights)
    strengths_: csr_array  # (n_users, n_items) float32; only for Pearson's correlation
    mean_strength_: NDArray[np.float32]  # (n_items,), for purchases of unknown strength
    rarity_: NDArray[np.float32]  # (n_items,)
    item_similarity_: csr_array  # (n_items, n_items); only if neighbours are items

    def memory_needed(self, interactions: Interactions) -> float:
        """Bytes: some copies of the log, a block of scores, and the similarities of a block of users or items."""
        n_users, n_items = interactions.shape
        products = product_bytes(n_users if self.config.neighbours == "users" else n_items)
        return 128.0 * len(interactions) + 12.0 * BLOCK * n_items + products

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", options: TrainingOptions) -> None:
        self.log_weights_ = interactions.matrix("weight").log1p()
        if self.config.similarity_metric == "pearson":
            self.strengths_ = interactions.matrix("strength")
        else:
            self.strengths_ = csr_array(interactions.shape, dtype=np.float32)
        self.mean_strength_ = _mean_strength(self.strengths_)
        users = np.bincount(self.log_weights_.indices, minlength=len(interactions.items))
        rarity = np.log1p(len(interactions.users) / (1.0 + users)) ** self.config.item_damping
        self.rarity_ = rarity.astype(np.float32)
        self.item_similarity_ = csr_array((0, 0), dtype=np.float32)
        if self.config.neighbours == "items":
            self.item_similarity_ = self._similar_items()
        self._prepare()

    def _prepare(self) -> None:
        """Builds the structures that scoring needs and that a bundle does not store."""
        if self.config.neighbours == "users":
            self._index = self._build_index(self._vectors())

    @property
    def _power(self) -> np.float32:
        return np.float32(self.config.similarity_power or (2.0 if self.config.neighbours == "users" else 1.0))

    def _vectors(self) -> csr_array:
        """(n_users, n_items): the vectors that are compared."""
        values = self.log_weights_ if self.config.similarity_metric == "cosine" else self.strengths_
        return csr_array((values.data * self.rarity_[values.indices], values.indices, values.indptr), values.shape)

    def _build_index(self, vectors: csr_array) -> NeighbourIndex:
        return NeighbourIndex(vectors, self.config.similarity_metric == "pearson", self.config.shrinkage)

    def _similar_items(self) -> csr_array:
        """(n_items, n_items): the column of an item holds the similarities of its nearest items."""
        items = csr_array(self._vectors().T)
        index, blocks = self._build_index(items), [csr_array((0, items.shape[0]), dtype=np.float32)]
        for start in range(0, items.shape[0], BLOCK):
            block = np.arange(start, min(start + BLOCK, items.shape[0]), dtype=np.int32)
            blocks.append(index.nearest(items[start : start + BLOCK], self.config.n_neighbours, block))
        similarity = vstack(blocks, format="csr")
        similarity.data **= self._power
        return csr_array(similarity.T, dtype=np.float32)

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): the score from the neighbours and, on repeat logs, from the user's own purchases."""
        known = histories.known_items
        recent = known if self.config.max_visits is None else known.select(known.visits_ago < self.config.max_visits)
        query_weights = self._query_weights(user_rows, recent)
        if len(histories) == 1:
            scores = self._score_one(int(user_rows[0]), recent, query_weights)[None]
        else:
            scores = self._score_many(user_rows, recent, query_weights)
        repeat_share = np.float32(self.config.repeat_share)
        if self.repeat_ and repeat_share and len(known.item_columns):
            repeats = known.log_weights
            if self.config.neighbours == "items":  # similarities have no scale: use that of the repeats
                scores *= known.largest(repeats)[:, None] / np.maximum(scores.max(axis=1, keepdims=True), 1e-9)
            scores *= np.float32(1.0) - repeat_share
            known.add_to(scores, repeat_share * repeats)
        return scores

    def _score_one(self, user_row: int, known: KnownItems, query_weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n_items,): the neighbours' score for one user."""
        if self.config.neighbours == "items":
            return weighted_row_sum(self.item_similarity_, known.item_columns, query_weights)
        nearest, weights = self._index.nearest_of_one(
            known.item_columns, query_weights, self.config.n_neighbours, user_row
        )
        weights = weights**self._power
        return weighted_row_sum(self.log_weights_, nearest, weights / np.float32(max(float(weights.sum()), 1e-30)))

    def _score_many(
        self, user_rows: NDArray[np.int32], known: KnownItems, query_weights: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """(n, n_items): the neighbours' scores."""
        queries = csr_array(
            (query_weights, known.item_columns, known.indptr), (len(user_rows), self.log_weights_.shape[1])
        )
        if self.config.neighbours == "items":
            return dense_product(queries, self.item_similarity_)
        nearest = self._index.nearest(queries, self.config.n_neighbours, user_rows)
        nearest.data **= self._power
        totals = np.maximum(nearest.sum(axis=1), np.float32(1e-30))
        nearest.data /= np.repeat(totals, np.diff(nearest.indptr))
        return dense_product(nearest, self.log_weights_)

    def _query_weights(self, user_rows: NDArray[np.int32], known: KnownItems) -> NDArray[np.float32]:
        """(n_pairs,): the weight of each item of a history in the query."""
        if self.config.similarity_metric == "cosine":
            query_weights = known.log_weights
        else:
            query_weights = self._known_strengths(user_rows, known)
        query_weights = query_weights * self.rarity_[known.item_columns]
        if self.config.recency_visits is not None:
            query_weights = query_weights / (1.0 + known.visits_ago / self.config.recency_visits)
        return query_weights.astype(np.float32)

    def _known_strengths(self, user_rows: NDArray[np.int32], known: KnownItems) -> NDArray[np.float32]:
        """(n_pairs,): the strengths of the log; the mean strength of the item if the log does not have the pair."""
        strengths = self.mean_strength_[known.item_columns]
        logged = np.flatnonzero(user_rows >= 0)
        places, counts = row_entries(self.strengths_.indptr, user_rows[logged])
        n_items = self.strengths_.shape[1]
        pairs = np.repeat(logged, counts) * n_items + self.strengths_.indices[places]  # ascending, as in `known`
        if len(pairs):
            queries = known.rows * n_items + known.item_columns
            found = np.minimum(np.searchsorted(pairs, queries), len(pairs) - 1)
            exact = pairs[found] == queries
            strengths[exact] = self.strengths_.data[places[found[exact]]]
        return strengths

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The log weights, strengths, rarities and item similarities."""
        return {
            **pack_csr("log_weights", self.log_weights_),
            **pack_csr("strengths", self.strengths_),
            **pack_csr("item_similarity", self.item_similarity_),
            "mean_strength": self.mean_strength_,
            "rarity": self.rarity_,
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.log_weights_ = unpack_csr("log_weights", arrays)
        self.strengths_ = unpack_csr("strengths", arrays)
        self.item_similarity_ = unpack_csr("item_similarity", arrays)
        self.mean_strength_, self.rarity_ = arrays["mean_strength"], arrays["rarity"]
        self._prepare()


def _mean_strength(strengths: csr_array) -> NDArray[np.float32]:
    """(n_items,): the mean strength of each item, with one pseudo-event of the overall mean."""
    counts = np.bincount(strengths.indices, minlength=strengths.shape[1])
    sums = np.bincount(strengths.indices, strengths.data, minlength=strengths.shape[1])
    overall = strengths.data.mean() if strengths.nnz else 1.0
    return np.asarray((sums + overall) / (counts + 1.0), dtype=np.float32)
