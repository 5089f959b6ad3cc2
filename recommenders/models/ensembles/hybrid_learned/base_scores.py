"""Base-model scores of all items on a common scale, and the candidates that base models propose."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommenders.math.top_k import top_k

REFERENCE = 10  # a base score is scaled by that of the base model's item of this rank
Pairs = tuple[NDArray[np.int64], NDArray[np.int32]]  # rows of users and columns of items, (n_pairs,) each
COPIED_SCORES = 4_000_000  # in memory beside the scores, if those of one base model are not more


class BaseScores(NamedTuple):
    """The base-model scores of all items, and the scale that makes them comparable."""

    names: list[str]  # of the base models
    scores: NDArray[np.float32]  # (n_base_models, n, n_items)
    zeros: NDArray[np.float32]  # (n_base_models, n) the score that is mapped to 0: the mean over all items
    units: NDArray[np.float32]  # (n_base_models, n) the distance that is mapped to 1: to the REFERENCE-th best item

    def relative(self, rows: NDArray[np.int64], items: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        """Base model -> its scaled scores of some pairs of user and item, (n_pairs,) each."""
        flat = self.scores.reshape(len(self.names), -1)
        relative = flat.take(rows * self.scores.shape[2] + items, axis=1)
        relative = (relative - self.zeros.take(rows, axis=1)) / self.units.take(rows, axis=1)
        return dict(zip(self.names, relative, strict=True))


def base_scores_of(names: list[str], scores: NDArray[np.float32], best: NDArray[np.float32]) -> BaseScores:
    """scores (n_base_models, n, n_items); best (n_base_models, n, at least REFERENCE), descending, padded with -inf."""
    zeros = scores.mean(axis=2)
    references = best[:, :, REFERENCE - 1]
    if (references == -np.inf).any():  # fewer items than that: take the last one
        last = np.where(np.isneginf(best), np.inf, best).min(axis=2)
        references = np.where(np.isneginf(references), np.where(np.isinf(last), zeros, last), references)
    units = references - zeros
    units[units <= 0] = 1.0
    return BaseScores(names, scores, zeros, units)


def penalties_of(allowed: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(n_items,): 0 for the allowed items and -inf for the others; added to scores, it leaves out the others."""
    return np.where(allowed, np.float32(0.0), np.float32(-np.inf))


def top_k_per_model(
    scores: NDArray[np.float32], k: int, penalties: NDArray[np.float32], excluded: Pairs | None = None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k best of scores (n_base_models, n, n_items), from top_k: columns and values, (n_base_models, n, k) each.

    penalties: from penalties_of(). excluded: pairs of user and item that are left out too.
    """
    n_models, n, n_items = scores.shape
    columns, best = np.empty((n_models, n, k), np.int32), np.empty((n_models, n, k), np.float32)
    width = max(1, COPIED_SCORES // max(1, n * n_items))  # base models that are searched together
    for start in range(0, n_models, width):
        models = slice(start, start + width)
        part = scores[models] + penalties
        if excluded is not None:
            part[:, *excluded] = -np.inf
        found = top_k(part.reshape(-1, n_items), k)
        columns[models], best[models] = found[0].reshape(-1, n, k), found[1].reshape(-1, n, k)
    return columns, best


def candidate_columns(columns: NDArray[np.int32], best: NDArray[np.float32]) -> NDArray[np.int32]:
    """(n, n_base_models * k): the columns that top_k_per_model found for each user, -1 for excluded ones."""
    found = np.where(best == -np.inf, np.int32(-1), columns)
    return found.transpose(1, 0, 2).reshape(found.shape[1], -1)


def unique_rows(columns: NDArray[np.int32], n_items: int) -> NDArray[np.int32]:
    """(n, width): the distinct columns of each row, ascending, padded with -1. Ignores -1 in `columns`."""
    ordered = np.sort(np.where(columns < 0, np.int32(n_items), columns), axis=1)
    is_first = ordered < n_items
    is_first[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    if len(ordered) == 1 and is_first.any():
        return ordered[is_first][None]
    counts = is_first.sum(axis=1)
    found = np.full((len(ordered), max(1, int(counts.max(initial=0)))), -1, dtype=np.int32)
    found[np.arange(found.shape[1]) < counts[:, None]] = ordered[is_first]
    return found
