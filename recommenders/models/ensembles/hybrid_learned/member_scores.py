"""What the members of a hybrid say of all items, made comparable; and which items they would propose."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommenders.math.top_k import top_k

REFERENCE = 10  # a member's score is told relative to that of its item of this rank


class Looks(NamedTuple):
    """What members say of every item, and where it stands on a scale that all share."""

    names: list[str]  # of the members
    scores: NDArray[np.float32]  # (n_members, n, n_items)
    zeros: NDArray[np.float32]  # (n_members, n) the score that counts as 0: that of the mean item
    units: NDArray[np.float32]  # (n_members, n) the distance from there to 1: to the REFERENCE-th best item

    def relative(self, rows: NDArray[np.int64], items: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        """Member -> what it says of some pairs of buyer and item, (n_pairs,) each."""
        said = (self.scores[:, rows, items] - self.zeros[:, rows]) / self.units[:, rows]
        return dict(zip(self.names, said, strict=True))


def looks_of(names: list[str], scores: NDArray[np.float32], best: NDArray[np.float32]) -> Looks:
    """scores (n_members, n, n_items); best (n_members, n, at least REFERENCE), largest first, -inf past the last."""
    zeros = scores.mean(axis=2)
    references = best[:, :, REFERENCE - 1]
    if np.isneginf(references).any():  # fewer items than that: the last one there is
        last = np.where(np.isneginf(best), np.inf, best).min(axis=2)
        references = np.where(np.isneginf(references), np.where(np.isinf(last), zeros, last), references)
    units = references - zeros
    units[units <= 0] = 1.0
    return Looks(names, scores, zeros, units)


def best_of_each(
    scores: NDArray[np.float32], k: int, barred: Sequence[Any]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Columns and values (n_members, n, k) of the k best of scores (n_members, n, n_items), as top_k finds them.

    barred: indices of scores that do not count and have -inf meanwhile; a copy would be as large as everything else.
    """
    kept = [scores[places] for places in barred]
    for places in barred:
        scores[places] = -np.inf
    columns, best = top_k(scores.reshape(-1, scores.shape[2]), k)
    for places, values in zip(barred, kept, strict=True):
        scores[places] = values
    shape = (*scores.shape[:2], k)
    return columns.reshape(shape), best.reshape(shape)


def found_columns(columns: NDArray[np.int32], best: NDArray[np.float32]) -> NDArray[np.int32]:
    """(n, n_members k) what best_of_each found for each buyer, -1 where it was not allowed."""
    found = np.where(np.isneginf(best), np.int32(-1), columns)
    return found.transpose(1, 0, 2).reshape(found.shape[1], -1)


def unique_rows(columns: NDArray[np.int32], n_items: int) -> NDArray[np.int32]:
    """(n, most): the distinct columns of each row, ascending, -1 past the last; -1 of `columns` are none."""
    together = np.sort(np.where(columns < 0, np.int32(n_items), columns), axis=1)
    fresh = together < n_items
    fresh[:, 1:] &= together[:, 1:] != together[:, :-1]
    if len(together) == 1 and fresh.any():
        return together[fresh][None]
    counts = fresh.sum(axis=1)
    found = np.full((len(together), max(1, int(counts.max(initial=0)))), -1, dtype=np.int32)
    found[np.arange(found.shape[1]) < counts[:, None]] = together[fresh]
    return found
