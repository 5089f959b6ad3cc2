"""The examples on which the rankers of hybrid_learned are trained, and the users of a window that they are made of."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import Histories

BATCH = 256  # users whose candidates are computed together


class Examples(NamedTuple):
    """Training examples, pairs of a user and an item: features (n, n_features), labels and example weights (n,)."""

    features: NDArray[np.float32]
    labels: NDArray[np.bool_]
    weights: NDArray[np.float64]
    known: NDArray[np.bool_]  # (n,) whether the user is treated as known (not as a cold-start user)
    new: NDArray[np.bool_]  # (n,) whether the user had no events before the window
    users: NDArray[np.int64]  # (n,) the number of the user within the window

    def select(self, mask: NDArray[np.bool_]) -> "Examples":
        """The examples of a mask (n,)."""
        return Examples(**{name: getattr(self, name)[mask] for name in self._fields})

    @classmethod
    def concatenate(cls, parts: "list[Examples]") -> "Examples":
        return cls(*(np.concatenate(field) for field in zip(*parts, strict=True)))


def batches(chosen: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The chosen users in parts whose candidates are computed together."""
    for start in range(0, len(chosen), BATCH):
        yield chosen[start : start + BATCH]


def unknown_rows(histories: Histories) -> NDArray[np.int32]:
    """(n,): the training rows of cold-start users."""
    return np.full(len(histories), -1, np.int32)


def as_cold_start(histories: Histories, now: int) -> Histories:
    """The histories as those of cold-start users: each item once, in the order of first purchase, without times."""
    keys = histories.rows * histories.n_items + histories.item_columns
    first = np.zeros(len(keys), dtype=np.bool_)
    first[np.unique(keys, return_index=True)[1]] = True
    kept = histories.select(first)
    return replace(kept, timestamps=np.full_like(kept.timestamps, now), weights=np.ones_like(kept.weights))
