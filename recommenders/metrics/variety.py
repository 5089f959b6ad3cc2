"""Variety of lists: within a list, between users, and over the catalogue.

ranked: (n_users, k) item columns, best first, each at most once, -1 after the last one.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array


def diversity(ranked: NDArray[np.int32], vectors: csr_array) -> NDArray[np.float64]:
    """1 - mean cosine over the pairs of items of each list, (n_users,); nan for lists of fewer than two items.

    vectors: (n_items, n_features), rows of length 1 or 0; a pair with an item that has no features counts as
    cosine 0. Ziegler et al. 2005.
    """
    # sum over pairs of a.b = (|sum of vectors|^2 - sum of |vector|^2) / 2, so no pair has to be formed
    counts = (ranked >= 0).sum(axis=1)
    lists = as_matrix(ranked, vectors.shape[0])
    squares = np.asarray(vectors.multiply(vectors).sum(axis=1), dtype=np.float64)
    sums = lists @ vectors.astype(np.float64)
    squared_sums = np.asarray(sums.multiply(sums).sum(axis=1))
    pairs = np.where(counts >= 2, counts * (counts - 1) / 2, np.nan)
    return np.asarray(1.0 - (squared_sums - lists @ squares) / 2 / pairs)


def personalisation(ranked: NDArray[np.int32], n_items: int) -> NDArray[np.float64]:
    """1 - mean share of the k places that a list has in common with the list of another user, in [0, 1]; (n_users,).

    The mean over users is 1 - the mean overlap of all pairs of lists; nan for a single user. It is computed from how
    often each item is recommended, without forming a pair. It is a mean over pairs, so it varies about twice as much
    as a bootstrap of these values over users shows. Zhou et al. 2010 (inter-list distance).
    """
    n_users, k = ranked.shape
    others = exposure(ranked, n_items) - 1.0
    shared = np.where(ranked >= 0, others[ranked], 0.0).sum(axis=1)
    return np.asarray(1.0 - shared / (k * (n_users - 1 if n_users > 1 else np.nan)))


def covered(ranked: NDArray[np.int32], candidates: NDArray[np.bool_]) -> NDArray[np.float64]:
    """1 for each candidate item that is in any list, else 0; (n_candidates,). Its mean is the catalogue coverage.

    candidates: (n_items,).
    """
    return (exposure(ranked, len(candidates)) > 0)[candidates].astype(np.float64)


def exposure(ranked: NDArray[np.int32], n_items: int) -> NDArray[np.int64]:
    """(n_items,) the number of lists that hold each item."""
    return np.bincount(ranked[ranked >= 0], minlength=n_items)


def gini(shown: NDArray[np.int64]) -> float:
    """Inequality of exposure, in [0, 1]: 0 if all items are recommended equally often, near 1 if few items take all.

    shown: (n,) number of places of each candidate item; nan if no item was recommended. Gini 1912.
    """
    n, total = len(shown), shown.sum()
    if not total:
        return np.nan
    rank_weights = 2 * np.arange(1, n + 1) - n - 1
    return float((rank_weights * np.sort(shown)).sum() / (n * total))


def as_matrix(ranked: NDArray[np.int32], n_items: int) -> csr_array:
    """(n_users, n_items) float64, 1 for each item of a list. Raises ValueError if a column is n_items or more."""
    if ranked.max(initial=-1) >= n_items:
        raise ValueError(
            f"lists: got item column {ranked.max()}; allowed: below {n_items}; rank items of this catalogue"
        )
    filled = ranked >= 0
    indptr = np.concatenate([[0], np.cumsum(filled.sum(axis=1))])
    columns = ranked[filled]
    return csr_array((np.ones(len(columns)), columns, indptr), shape=(len(ranked), n_items))
