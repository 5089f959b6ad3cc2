"""What the buyers most like this one buy."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from recommenders.datasets.histories import Histories
from recommenders.datasets.interactions import Interactions
from recommenders.models.recommender import ModelConfig, Recommender, Tracker
from recommenders.models.sparse import pack_csr, unpack_csr
from recommenders.models.topk import top_k

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures


class CollaborativeFilteringConfig(ModelConfig):
    """Who is a neighbour, and how much the buyer's own habit counts beside the neighbours'."""

    similarity_metric: Literal["cosine", "pearson"] = "cosine"
    n_neighbours: int = Field(default=50, ge=1)
    shrinkage: float = Field(default=10.0, ge=0.0)  # common items at which a similarity counts half
    own_share: float = Field(default=0.5, ge=0.0, lt=1.0)  # of the own history, where buyers come back to items


class CollaborativeFiltering(Recommender):
    """User neighbours: similarities on strengths (ratings or log quantities, an unobserved pair is 0).

    score = (1 - own_share) * weighted mean of the neighbours' histories + own_share * the buyer's own, each damped by
    log(1 + x); a buyer never is its own neighbour. Resnick et al. 1994; Herlocker et al. 1999 (shrinkage);
    Hu et al. 2020 (TIFU-KNN: own frequency beside that of neighbours).
    """

    name = "collaborative_filtering"
    Config = CollaborativeFilteringConfig
    config: CollaborativeFilteringConfig
    handles_new_users: ClassVar[bool] = True

    strengths_: csr_array  # (n_users, n_items) float32
    usual_strength_: NDArray[np.float32]  # (n_items,) what a purchase of unknown strength is taken for

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", tracker: Tracker | None) -> None:
        self.strengths_ = interactions.matrix("strength")
        counts = np.bincount(self.strengths_.indices, minlength=len(interactions.items))
        sums = np.bincount(self.strengths_.indices, self.strengths_.data, minlength=len(interactions.items))
        overall = self.strengths_.data.mean() if self.strengths_.nnz else 1.0
        self.usual_strength_ = ((sums + overall) / (counts + 1.0)).astype(np.float32)  # one event of prior
        self._prepare()

    def _prepare(self) -> None:
        """What every answer needs and a bundle need not hold."""
        self._by_item = csr_array(self.strengths_.T)  # (n_items, n_users)
        self._bought_by = self._by_item.astype(np.bool_).astype(np.float32)
        self._means, self._norms = self._moments(self.strengths_)
        self._habits: csr_array = self.histories_.matrix.log1p()

    def _moments(self, strengths: csr_array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Means (0 for cosine) and lengths of the rows around them, zeros of unobserved pairs included; (n,) each."""
        n_items = strengths.shape[1]
        squares = strengths.multiply(strengths).sum(axis=1)
        means = strengths.sum(axis=1) / max(n_items, 1)
        if self.config.similarity_metric == "cosine":
            means = np.zeros_like(means)
        norms = np.sqrt(np.maximum(squares - n_items * means**2, 0.0))
        return means.astype(np.float32), norms.astype(np.float32)

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): what the neighbours buy and, where buyers come back, what the buyer bought."""
        known = histories.matrix
        neighbours = self._neighbours(user_rows, known)
        scores: NDArray[np.float32] = (neighbours @ self._habits).toarray()
        if self.repeat_ and self.config.own_share:
            scores *= np.float32(1.0 - self.config.own_share)
            scores += np.float32(self.config.own_share) * known.log1p().toarray()
        return scores

    def _neighbours(self, user_rows: NDArray[np.int32], histories: csr_array) -> csr_array:
        """(n, n_users): the weights of each buyer's neighbours, which add up to 1."""
        similarities = self.similarities(user_rows, histories)
        known = np.flatnonzero(user_rows >= 0)
        similarities[known, user_rows[known]] = 0.0
        columns, values = top_k(similarities, min(self.config.n_neighbours, similarities.shape[1]))
        values = np.maximum(values, 0.0)  # who differs is no neighbour
        totals = values.sum(axis=1, keepdims=True)
        weights = np.divide(values, totals, out=np.zeros_like(values), where=totals > 0)
        rows, places = np.nonzero(weights)
        return csr_array((weights[rows, places], (rows, columns[rows, places])), shape=similarities.shape)

    def similarities(self, user_rows: NDArray[np.int32], histories: csr_array) -> NDArray[np.float32]:
        """(n, n_users): cosine or Pearson correlation with every buyer of the log, shrunk where little is shared."""
        strengths = self._strengths_of(user_rows, histories)
        means, norms = self._moments(strengths)
        products = (strengths @ self._by_item).toarray()
        products -= np.float32(strengths.shape[1]) * np.outer(means, self._means)
        lengths = np.outer(norms, self._norms)
        similarities = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
        if self.config.shrinkage:
            common = (strengths.astype(np.bool_).astype(np.float32) @ self._bought_by).toarray()
            similarities *= common / (common + np.float32(self.config.shrinkage))
        return np.asarray(similarities)

    def _strengths_of(self, user_rows: NDArray[np.int32], histories: csr_array) -> csr_array:
        """Each history with the strengths of the log; items the log does not know of this buyer take the usual one."""
        entry_rows = np.repeat(np.arange(histories.shape[0]), np.diff(histories.indptr))
        usual = self.usual_strength_[histories.indices]
        shape = histories.shape
        known = user_rows >= 0
        if known.any():
            logged = self.strengths_[np.where(known, user_rows, 0)]
            found = csr_array((usual, (entry_rows, histories.indices)), shape=shape)
            marks = found.astype(np.bool_).astype(np.float32).multiply(known[:, None])
            exact = logged.multiply(marks)
            return csr_array(found - found.multiply(exact.astype(np.bool_)) + exact)
        return csr_array((usual, (entry_rows, histories.indices)), shape=shape)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The strengths of the log."""
        return {**pack_csr("strengths", self.strengths_), "usual_strength": self.usual_strength_}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.strengths_ = unpack_csr("strengths", arrays)
        self.usual_strength_ = arrays["usual_strength"]
        self._prepare()
