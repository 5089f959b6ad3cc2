"""How different the items of lists are, within a list and over all lists."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array


def diversity(ranked: NDArray[np.int32], vectors: csr_array) -> NDArray[np.float64]:
    """1 - mean cosine over the pairs of items of each list, (n_users,); nan for lists of fewer than two items.

    ranked: (n_users, k) item columns, -1 past the last one. vectors: (n_items, n_features), rows of length 1 or 0; a
    pair with an item of which nothing is known counts as cosine 0. Ziegler et al. 2005.
    """
    # sum over pairs of a.b = (|sum of vectors|^2 - sum of |vector|^2) / 2, so no pair is ever formed
    n_users = len(ranked)
    filled = ranked >= 0
    rows = np.repeat(np.arange(n_users), filled.sum(axis=1))
    columns = ranked[filled]
    lists = csr_array((np.ones(len(columns)), (rows, columns)), shape=(n_users, vectors.shape[0]))
    squares = np.asarray(vectors.multiply(vectors).sum(axis=1), dtype=np.float64)
    sums = lists @ vectors.astype(np.float64)
    of_sums = np.asarray(sums.multiply(sums).sum(axis=1))
    counts = filled.sum(axis=1)
    pairs = np.where(counts >= 2, counts * (counts - 1) / 2, np.nan)
    return np.asarray(1.0 - (of_sums - lists @ squares) / 2 / pairs)


def covered(ranked: NDArray[np.int32], candidates: NDArray[np.bool_]) -> NDArray[np.float64]:
    """1 for each candidate item that stands in any list, else 0; (n_candidates,). Its mean is the catalogue coverage.

    ranked: (n_users, k) item columns, -1 past the last one. candidates: (n_items,).
    """
    shown = np.zeros(len(candidates), dtype=np.float64)
    shown[ranked[ranked >= 0]] = 1.0
    return shown[candidates]
