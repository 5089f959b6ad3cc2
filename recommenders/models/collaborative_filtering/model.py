"""What the buyers most like this one buy, or what is bought by those who bought the same."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array, vstack

from recommenders.events.histories import Histories, KnownItems
from recommenders.events.interactions import Interactions
from recommenders.math.sparse import RowSums, pack_csr, row_places, unpack_csr
from recommenders.models.collaborative_filtering.neighbour_index import NeighbourIndex, bytes_of_products, dense_product
from recommenders.models.recommender import BLOCK, ModelConfig, Recommender, Tracker

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures


class CollaborativeFilteringConfig(ModelConfig):
    """Who is a neighbour, and how much the buyer's own habit counts beside the neighbours'."""

    neighbours: Literal["users", "items"] = "users"
    similarity_metric: Literal["cosine", "pearson"] = "cosine"
    n_neighbours: int = Field(default=60, ge=1)
    shrinkage: float = Field(default=0.1, ge=0.0)  # added to every length, in typical lengths: little data, less alike
    similarity_power: float | None = Field(default=None, gt=0)  # the close count more; None: 2 for users, 1 for items
    item_damping: float = Field(default=0.5, ge=0.0)  # power of an item's rarity, log(1 + users / buyers), in a taste
    recency_visits: float | None = Field(default=1.5, gt=0)  # visits after which an item says half as much; None: never
    max_visits: int | None = Field(default=25, ge=1)  # of a history that are looked at, the newest ones; None: all
    own_share: float = Field(default=0.5, ge=0.0, lt=1.0)  # of the own history, where buyers come back to items


class CollaborativeFiltering(Recommender):
    """Neighbours by cosine of log(1 + purchases), or by Pearson's correlation of strengths; an unobserved pair is 0.

    Users: the weighted mean of what the neighbours bought, log(1 + x) each; a buyer never is its own neighbour.
    Items: each item keeps its nearest ones, and scores by how alike it is to what the buyer knows.
    Strengths are ratings or log quantities. The newest visits of the buyer who asks say most about what comes next.
    Where buyers come back to items, their own habit has its share. Resnick et al. 1994; Herlocker et al. 1999
    (shrinkage); Deshpande & Karypis 2004 (items); Ludewig & Jannach 2018 (recent events weigh more in the query);
    Hu et al. 2020 (own frequency beside that of neighbours).
    """

    name = "collaborative_filtering"
    Config = CollaborativeFilteringConfig
    config: CollaborativeFilteringConfig
    handles_new_users: ClassVar[bool] = True

    habits_: csr_array  # (n_users, n_items) float32, log(1 + weights)
    strengths_: csr_array  # (n_users, n_items) float32; only Pearson's
    usual_strength_: NDArray[np.float32]  # (n_items,) what a purchase of unknown strength is taken for
    rarity_: NDArray[np.float32]  # (n_items,)
    similar_: csr_array  # (n_items, n_items) what each item says for others; only where items are the neighbours

    def memory_needed(self, interactions: Interactions) -> float:
        """Bytes: some copies of the log, a block of scores, and the similarities of a block of buyers or items."""
        n_users, n_items = interactions.shape
        products = bytes_of_products(n_users if self.config.neighbours == "users" else n_items)
        return 128.0 * len(interactions) + 12.0 * BLOCK * n_items + products

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", tracker: Tracker | None) -> None:
        self.habits_ = interactions.matrix("weight").log1p()
        if self.config.similarity_metric == "pearson":
            self.strengths_ = interactions.matrix("strength")
        else:
            self.strengths_ = csr_array(interactions.shape, dtype=np.float32)
        self.usual_strength_ = _usual(self.strengths_)
        buyers = np.bincount(self.habits_.indices, minlength=len(interactions.items))
        rarity = np.log1p(len(interactions.users) / (1.0 + buyers)) ** self.config.item_damping
        self.rarity_ = rarity.astype(np.float32)
        self.similar_ = csr_array((0, 0), dtype=np.float32)
        if self.config.neighbours == "items":
            self.similar_ = self._similar_items()
        self._prepare()

    def _prepare(self) -> None:
        """What every answer needs and a bundle need not hold."""
        if self.config.neighbours == "users":
            self._index, self._said = self._index_of(self._vectors()), RowSums(self.habits_)
        else:
            self._said = RowSums(self.similar_)

    @property
    def _power(self) -> np.float32:
        return np.float32(self.config.similarity_power or (2.0 if self.config.neighbours == "users" else 1.0))

    def _vectors(self) -> csr_array:
        """(n_users, n_items) what is compared."""
        values = self.habits_ if self.config.similarity_metric == "cosine" else self.strengths_
        return csr_array((values.data * self.rarity_[values.indices], values.indices, values.indptr), values.shape)

    def _index_of(self, vectors: csr_array) -> NeighbourIndex:
        return NeighbourIndex(vectors, self.config.similarity_metric == "pearson", self.config.shrinkage)

    def _similar_items(self) -> csr_array:
        """(n_items, n_items): the column of an item holds its nearest ones."""
        items = csr_array(self._vectors().T)
        index, blocks = self._index_of(items), [csr_array((0, items.shape[0]), dtype=np.float32)]
        for start in range(0, items.shape[0], BLOCK):
            block = np.arange(start, min(start + BLOCK, items.shape[0]), dtype=np.int32)
            blocks.append(index.nearest(items[start : start + BLOCK], self.config.n_neighbours, block))
        similar = vstack(blocks, format="csr")
        similar.data **= self._power
        return csr_array(similar.T, dtype=np.float32)

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): what the neighbours say and, where buyers come back, what the buyer bought."""
        known = histories.known_items
        recent = known if self.config.max_visits is None else known.select(known.visits_ago < self.config.max_visits)
        tastes = self._tastes(user_rows, recent)
        if len(histories) == 1:
            scores = self._of_one(int(user_rows[0]), recent, tastes)[None]
        else:
            scores = self._of_many(user_rows, recent, tastes)
        own_share = np.float32(self.config.own_share)
        if self.repeat_ and own_share and len(known.item_columns):
            own = np.log1p(known.weights)
            if self.config.neighbours == "items":  # similarities have no scale of their own: that of the habits is lent
                scores *= known.largest(own)[:, None] / np.maximum(scores.max(axis=1, keepdims=True), 1e-9)
            scores *= np.float32(1.0) - own_share
            scores[known.rows, known.item_columns] += own_share * own
        return scores

    def _of_one(self, user_row: int, known: KnownItems, tastes: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n_items,) what the neighbours of one buyer say."""
        if self.config.neighbours == "items":
            return self._said(known.item_columns, tastes)
        nearest, weights = self._index.nearest_of_one(known.item_columns, tastes, self.config.n_neighbours, user_row)
        weights = weights**self._power
        return self._said(nearest, weights / np.float32(max(float(weights.sum()), 1e-30)))

    def _of_many(
        self, user_rows: NDArray[np.int32], known: KnownItems, tastes: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """(n, n_items) what the neighbours say."""
        queries = csr_array((tastes, known.item_columns, known.indptr), (len(user_rows), self.habits_.shape[1]))
        if self.config.neighbours == "items":
            return dense_product(queries, self.similar_)
        nearest = self._index.nearest(queries, self.config.n_neighbours, user_rows)
        nearest.data **= self._power
        totals = np.maximum(nearest.sum(axis=1), np.float32(1e-30))
        nearest.data /= np.repeat(totals, np.diff(nearest.indptr))
        return dense_product(nearest, self.habits_)

    def _tastes(self, user_rows: NDArray[np.int32], known: KnownItems) -> NDArray[np.float32]:
        """(n_pairs,) how much each known item says of its buyer's taste."""
        if self.config.similarity_metric == "cosine":
            tastes = np.log1p(known.weights)
        else:
            tastes = self._strengths_of(user_rows, known)
        tastes = tastes * self.rarity_[known.item_columns]
        if self.config.recency_visits is not None:
            tastes = tastes / (1.0 + known.visits_ago / self.config.recency_visits)
        return tastes.astype(np.float32)

    def _strengths_of(self, user_rows: NDArray[np.int32], known: KnownItems) -> NDArray[np.float32]:
        """(n_pairs,) the strengths of the log; items that it does not know of this buyer take the usual one."""
        strengths = self.usual_strength_[known.item_columns]
        logged = np.flatnonzero(user_rows >= 0)
        places, counts = row_places(self.strengths_.indptr, user_rows[logged])
        n_items = self.strengths_.shape[1]
        pairs = np.repeat(logged, counts) * n_items + self.strengths_.indices[places]  # ascend, as those of `known` do
        if len(pairs):
            wanted = known.rows * n_items + known.item_columns
            found = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
            exact = pairs[found] == wanted
            strengths[exact] = self.strengths_.data[places[found[exact]]]
        return strengths

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Habits, strengths, how rare items are, and which are alike."""
        return {
            **pack_csr("habits", self.habits_),
            **pack_csr("strengths", self.strengths_),
            **pack_csr("similar", self.similar_),
            "usual_strength": self.usual_strength_,
            "rarity": self.rarity_,
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.habits_ = unpack_csr("habits", arrays)
        self.strengths_ = unpack_csr("strengths", arrays)
        self.similar_ = unpack_csr("similar", arrays)
        self.usual_strength_, self.rarity_ = arrays["usual_strength"], arrays["rarity"]
        self._prepare()


def _usual(strengths: csr_array) -> NDArray[np.float32]:
    """(n_items,) the mean strength of each item, with one event of the overall mean as prior."""
    counts = np.bincount(strengths.indices, minlength=strengths.shape[1])
    sums = np.bincount(strengths.indices, strengths.data, minlength=strengths.shape[1])
    overall = strengths.data.mean() if strengths.nnz else 1.0
    return np.asarray((sums + overall) / (counts + 1.0), dtype=np.float32)
