"""A model's list for one request, as the rules need it: made once, as long as it is cheap, then asked for parts."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommenders.math.ranked import Ranked

Mask = NDArray[np.bool_]
# (items (n_items,), k) -> the model's list of the k best of them, of one user
Rank = Callable[[Mask, int], Ranked]
# scores (n, k) of lists, best first -> the probability of each item, or None
Probabilities = Callable[[NDArray[np.float32]], NDArray[np.float32] | None]
# columns (k,) of a list -> its places, from 0, in another order
Order = Callable[[NDArray[np.int32]], Iterator[int]]


class RankedItem(NamedTuple):
    """An item with its score, its place in the model's list, from 0, and how likely it is bought (None: not known).

    Each item below the list counts as the one after its last. So its place does not depend on other such items.
    """

    column: int
    score: float
    place: int
    probability: float | None
    worth: float | None  # the probability of the item that the model has at this place

    @property
    def value(self) -> float:
        """What a factor multiplies: the worth, or 1 / rank."""
        return 1 / (self.place + 1) if self.worth is None else self.worth


class ModelRanking:
    """The best eligible items by the model, and further ones below them."""

    def __init__(
        self, listed: Ranked, length: int, rank: Rank, probabilities: Probabilities, order: Order | None = None
    ) -> None:
        """listed: of `length` items, fewer if no others are eligible. rank: makes other lists of the same user.

        order: puts the list in another order; None: that of the model.
        """
        self.length, self._rank, self._probabilities = length, rank, probabilities
        self._columns, self._scores = _of_one_user(listed)
        self._is_whole = len(self._columns) < length
        found = probabilities(self._scores[None])
        values = [None] * len(self._columns) if found is None else found[0].tolist()
        ranked = zip(self._columns.tolist(), self._scores.tolist(), range(len(values)), values, values, strict=True)
        self._items = [RankedItem(*each) for each in ranked]
        self._order = None if order is None else order(self._columns)
        self._reordered: list[RankedItem] = []  # as far as they were asked for

    def first(self, k: int) -> list[RankedItem]:
        """The first k items."""
        return self._items[:k] if self._order is None else list(islice(self._in_order(self._order), k))

    def among(self, items: Mask) -> Iterator[RankedItem]:
        """The items of the list that are among some, (n_items,); best first."""
        if self._order is None:
            return (self._items[place] for place in np.flatnonzero(items[self._columns]).tolist())
        return (item for item in self._in_order(self._order) if items[item.column])

    def _in_order(self, order: Iterator[int]) -> Iterator[RankedItem]:
        """The items in another order. Each has the worth of its new place, so a factor moves it from there."""
        for place, at_place in enumerate(self._items):
            if place == len(self._reordered):
                item = self._items[next(order)]
                self._reordered.append(item._replace(place=place, worth=at_place.worth))
            yield self._reordered[place]

    def below(self, items: Mask) -> list[RankedItem]:
        """The best of some eligible items, (n_items,), that the list lacks: as many as the list has, if there are."""
        below = items.copy()
        below[self._columns] = False
        if self._is_whole or not below.any():
            return []
        columns, scores = _of_one_user(self._rank(below, self.length))
        lists = np.column_stack([np.tile(self._scores, (len(scores), 1)), scores])  # each with one item more
        found, place = self._probabilities(lists), len(self._columns)
        values = [None] * len(scores) if found is None else found[:, -1].tolist()
        pairs = zip(columns.tolist(), scores.tolist(), values, strict=True)
        return [RankedItem(column, score, place, value, value) for column, score, value in pairs]


def _of_one_user(ranked: Ranked) -> Ranked:
    """Columns and scores, (k,) each, of a list of one user, without its padding."""
    n_items = int((ranked.item_columns[0] >= 0).sum())
    return Ranked(ranked.item_columns[0, :n_items], ranked.scores[0, :n_items])
