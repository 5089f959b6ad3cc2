"""Whether lists go beyond what everybody buys anyway: one value a user.

ranked: (n_users, k) item columns, best first, each at most once, -1 past the last one. n_buyers: (n_items,) how many
buyers each item had before the lists were made.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.metrics.ranking import hits, of_those_asked, relevant_counts


def novelty(ranked: NDArray[np.int32], n_buyers: NDArray[np.int64], n_users: int) -> NDArray[np.float64]:
    """Mean self-information of a list's items in bits, -log2(share of all `n_users` buyers who had the item).

    An item that nobody had counts as one that a single buyer had. Nan for an empty list. Zhou et al. 2010.
    """
    bits = np.log2(n_users) - np.log2(np.maximum(n_buyers, 1))
    return _mean_of_items(ranked, bits)


def serendipity(ranked: NDArray[np.int32], relevant: csr_array, expected: NDArray[np.int32]) -> NDArray[np.float64]:
    """Share of the k places that hold a relevant item which the expected list lacks, in [0, precision]; (n_users,).

    relevant: CSR (n_users, n_items). expected: (n_users, m) what anybody would have shown: the most popular items. Nan
    for a user with nothing relevant. Ge, Delgado-Battenfeld & Jannach 2010, over all places of the list.
    """
    useful = hits(ranked, relevant)
    for column in expected.T:  # a place at a time, so that no (n_users, k, m) comes to be
        useful &= ranked != column[:, None]
    return of_those_asked(useful.mean(axis=1), relevant_counts(relevant))


def popularity_lift(
    ranked: NDArray[np.int32], n_buyers: NDArray[np.int64], histories: csr_array
) -> NDArray[np.float64]:
    """How much more popular a list's items are than those its buyer chose: mean buyers of an item there / here - 1.

    0 means no popularity bias, 1 that items shown have twice the buyers of items chosen. histories: CSR
    (n_users, n_items), its stored entries are what each buyer chose. Nan for an empty list or history. Abdollahpouri
    et al. 2019, taken for each buyer.
    """
    chosen = np.diff(histories.indptr).astype(np.float64)
    chosen[chosen == 0] = np.nan
    known = csr_array((np.ones(histories.nnz), histories.indices, histories.indptr), shape=histories.shape)
    own = known @ n_buyers.astype(np.float64) / chosen
    own[own == 0] = np.nan
    return np.asarray(_mean_of_items(ranked, n_buyers.astype(np.float64)) / own - 1.0)


def _mean_of_items(ranked: NDArray[np.int32], values: NDArray[np.float64]) -> NDArray[np.float64]:
    filled = ranked >= 0
    counts = filled.sum(axis=1).astype(np.float64)
    counts[counts == 0] = np.nan
    return np.asarray(np.where(filled, values[ranked], 0.0).sum(axis=1) / counts)
