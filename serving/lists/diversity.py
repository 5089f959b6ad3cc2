"""Diversity: a list is ordered by maximal marginal relevance, with a similarity that any two items of a model have.

Carbonell & Goldstein 1998 (The use of MMR, diversity-based reranking for reordering documents and producing summaries).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import Histories
from recommenders.features.co_purchases import CoPurchases
from recommenders.math.ragged import joined_ranges
from recommenders.models.content_based import ContentBased
from recommenders.models.recommender import Recommender

MAX_USERS = 128  # of an item in its sample: the standard error of a cosine is at most 0.05
MULTIPLIER = 2654435761  # Knuth 1973, multiplicative hashing: the same order of users in each process

Values = NDArray[np.float64]


def by_marginal_relevance(n: int, diversity: float, similarities: Callable[[int], Values]) -> Iterator[int]:
    """The places 0 to n - 1 of a list, best first, in their new order; computed as far as they are asked for.

    Each next place is the one with the largest (1 - diversity) * relevance - diversity * similarity: the relevance
    falls evenly from 1 at place 0, the similarity is the largest one to a place that came before. Of equal places the
    first comes first, so place 0 stays the first. similarities: a place -> those to each place, (n,) in [0, 1].
    """
    gains = (1.0 - diversity) * (1.0 - np.arange(n) / n)
    largest = np.zeros(n)
    for _ in range(n):
        place = int(np.argmax(gains - diversity * largest))
        yield place
        gains[place] = -np.inf
        np.maximum(largest, similarities(place), out=largest)


@dataclass(frozen=True, eq=False)
class UserSamples:
    """The users of each item, of an item with more than MAX_USERS only the first ones in a random order of all users.

    So any two samples have all users of both items up to the place where the shorter one ends, and from these their
    cosine is estimated: bottom-k sketches (Cohen & Kaplan 2007). It is exact for items that have all their users.
    """

    n_users: int
    indptr: NDArray[np.int64]  # (n_items + 1,): the users of item i are places[indptr[i] : indptr[i + 1]]
    places: NDArray[np.int32]  # in the random order; they ascend within an item
    ends: NDArray[np.int32]  # (n_items,): the last place that the sample covers; n_users if it has all users

    @classmethod
    def from_histories(cls, histories: Histories, max_users: int = MAX_USERS) -> "UserSamples":
        """The samples of the items of a log."""
        n_users = len(histories)
        order = np.argsort(np.arange(n_users, dtype=np.uint32) * np.uint32(MULTIPLIER), kind="stable")
        users = CoPurchases.from_histories(histories[order], dated=False).items.T.tocsr()
        counts = np.diff(users.indptr)
        kept = np.minimum(counts, max_users)
        places = users.indices[joined_ranges(users.indptr[:-1], kept)].astype(np.int32)
        indptr = np.concatenate([[0], np.cumsum(kept, dtype=np.int64)])
        ends = np.full(len(counts), n_users, np.int32)
        cut = counts > kept
        ends[cut] = places[indptr[1:][cut] - 1]
        return cls(n_users, indptr, places, ends)


class Similarities:
    """The similarity of any two items of a model, from what its bundle holds; in [0, 1].

    It is the cosine of the sets of their users, or that of their features if it is larger: for the neighbours that
    content_based stores, where the model is or has this model.
    """

    def __init__(self, model: Recommender) -> None:
        self._model = model
        models = (model, *model.base_models_.values())
        self._content = next((one for one in models if isinstance(one, ContentBased)), None)

    @cached_property
    def _samples(self) -> UserSamples:
        return UserSamples.from_histories(self._model.histories_)

    def among(self, columns: NDArray[np.int32]) -> "PoolSimilarities":
        """Those of some items, (n,) different columns."""
        return PoolSimilarities(columns, self._samples, self._content)


class PoolSimilarities:
    """The similarities of the items of one list."""

    def __init__(self, columns: NDArray[np.int32], samples: UserSamples, content: ContentBased | None) -> None:
        self._columns, self._content = columns, content
        starts = samples.indptr[columns]
        self._counts = counts = samples.indptr[columns + 1] - starts
        self._places = samples.places[joined_ranges(starts, counts)]
        self._items = np.repeat(np.arange(len(columns)), counts)  # of each entry of _places
        self._first = np.concatenate([[0], np.cumsum(counts)])
        self._ends = samples.ends[columns]
        self._is_user = np.zeros(samples.n_users, np.bool_)  # of the item whose similarities are computed
        self._place_of = np.full(len(samples.ends), -1, np.int32)
        self._place_of[columns] = np.arange(len(columns), dtype=np.int32)

    def of(self, place: int) -> Values:
        """(n,): the similarity of the item at a place of the list to each item of it."""
        found = self._by_users(place)
        if self._content is not None:
            columns, cosines = self._content.cosines(int(self._columns[place]))
            places = self._place_of[columns]
            listed = places >= 0
            found[places[listed]] = np.maximum(found[places[listed]], cosines[listed])
        return found

    def _by_users(self, place: int) -> Values:
        """Common users / sqrt(users of the one * users of the other), each up to the end of the shorter sample."""
        n, own = len(self._columns), self._places[self._first[place] : self._first[place + 1]]
        self._is_user[own] = True
        common = np.bincount(self._items[self._is_user[self._places]], minlength=n)
        self._is_user[own] = False
        one = np.searchsorted(own, self._ends, side="right")
        other = self._counts
        if self._ends[place] < len(self._is_user):
            other = np.bincount(self._items[self._places <= self._ends[place]], minlength=n)
        return np.asarray(common / np.sqrt(np.maximum(one * other, 1)))
