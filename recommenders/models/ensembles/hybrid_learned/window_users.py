"""The users of a window as hybrid_learned trains and validates on them: in batches, or as cold-start users."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import Histories

BATCH = 256  # users whose candidates are computed together


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
