"""Items that can take the place of an item, and items that go with it, from what the champion's bundle holds.

Nothing is learned for this. The orders are those of the training log; the similarity of features is that of
content_based, where the champion is or has this model.
"""

from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommenders.features.co_purchases import CoPurchases, PairCounts, log_likelihood_ratio
from recommenders.math.top_k import top_k
from recommenders.models.content_based import ContentBased
from recommenders.models.recommender import Recommender

Kind = Literal["substitutes", "complements"]
Source = Literal["features", "orders", "users"]

NEARLY_EQUAL = 0.9  # cosine of the features of two items of which one is no complement of the other

Values = NDArray[np.float64]


class Similar(NamedTuple):
    """Item columns, best first, their scores, and from what they were found."""

    item_columns: list[int]
    scores: list[float]
    source: Source


class SimilarItems:
    """The substitutes and complements of the items of one model."""

    def __init__(self, model: Recommender) -> None:
        self._model = model
        models = (model, *model.base_models_.values())
        self._content = next((one for one in models if isinstance(one, ContentBased)), None)

    @cached_property
    def _orders(self) -> CoPurchases:
        return CoPurchases.from_histories(self._model.histories_, self._model.dated_)

    @cached_property
    def _users(self) -> CoPurchases:
        """All events of a user as one order."""
        return self._orders if self._orders.by_user else CoPurchases.from_histories(self._model.histories_, False)

    def find(self, kind: Kind, item_column: int, k: int, candidates: NDArray[np.bool_]) -> Similar:
        """At most k of the candidates (n_items,). There may be none, as for a new item without features."""
        counts, cosines = self._orders.of(item_column), self._cosines(item_column)
        if kind == "complements":
            scores, source = self._complements(item_column, counts, cosines)
        else:
            scores, source = self._substitutes(item_column, counts, cosines)
        scores[~candidates] = 0.0
        scores[item_column] = 0.0
        found = np.where(scores > 0, scores, -np.inf).astype(np.float32)[None]
        columns, best = top_k(found, k)
        n_found = int(np.isfinite(best[0]).sum())
        return Similar(columns[0, :n_found].tolist(), best[0, :n_found].tolist(), source)

    def _substitutes(self, item_column: int, counts: PairCounts, cosines: Values) -> tuple[Values, Source]:
        """similarity x (expected + 1) / (together + 1): similar items that the same users buy in other orders."""
        source: Source = "features" if cosines.any() else "users"
        similarity = cosines if cosines.any() else self._common_users(item_column)
        return similarity * (counts.expected + 1.0) / (counts.together + 1.0), source

    def _complements(self, item_column: int, counts: PairCounts, cosines: Values) -> tuple[Values, Source]:
        """The log-likelihood ratio of items that are in one order more often than if all orders were independent."""
        orders = self._orders
        n_orders, count = orders.items.shape[0], int(orders.counts[item_column])
        often = counts.together * n_orders > count * orders.counts
        scores = log_likelihood_ratio(counts.together, count, orders.counts, n_orders)
        return np.where(often & (cosines < NEARLY_EQUAL), scores, 0.0), "users" if orders.by_user else "orders"

    def _cosines(self, item_column: int) -> Values:
        """(n_items,): the similarities of the features of an item's neighbours, 0 for all other items."""
        found = np.zeros(len(self._model.items_))
        if self._content is not None:
            columns, values = self._content.cosines(item_column)
            found[columns] = values
        return found

    def _common_users(self, item_column: int) -> Values:
        """(n_items,): users with both items / the square root of the product of the numbers of users with each."""
        both = self._users.of(item_column).together
        counts = self._users.counts
        return np.asarray(both / np.sqrt(np.maximum(counts * counts[item_column], 1.0)))
