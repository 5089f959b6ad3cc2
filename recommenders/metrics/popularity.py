"""Beyond-accuracy metrics that use the popularity of items: novelty, serendipity, popularity bias. One value per user.

ranked: (n_users, k) item columns, best first, each at most once, -1 after the last one. users_per_item: (n_items,)
how many users had each item before the lists were made.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.metrics.ranking import hits, nan_without_relevant, relevant_counts


def novelty(ranked: NDArray[np.int32], users_per_item: NDArray[np.int64], n_users: int) -> NDArray[np.float64]:
    """Mean self-information of a list's items in bits, -log2(share of all `n_users` users who had the item).

    An item that no user had counts as an item of one user. Nan for an empty list. Zhou et al. 2010.
    """
    bits = np.log2(n_users) - np.log2(np.maximum(users_per_item, 1))
    return _mean_of_items(ranked, bits)


def serendipity(ranked: NDArray[np.int32], relevant: csr_array, expected: NDArray[np.int32]) -> NDArray[np.float64]:
    """Share of the k places that hold a relevant item which the expected list lacks, in [0, precision]; (n_users,).

    relevant: CSR (n_users, n_items). expected: (n_users, m) the list of a popularity baseline. Nan for a user with no
    relevant item. Ge, Delgado-Battenfeld & Jannach 2010, over all places of the list.
    """
    useful = hits(ranked, relevant)
    for column in expected.T:  # one place at a time, so that no (n_users, k, m) array is needed
        useful &= ranked != column[:, None]
    return nan_without_relevant(useful.mean(axis=1), relevant_counts(relevant))


def popularity_lift(
    ranked: NDArray[np.int32], users_per_item: NDArray[np.int64], histories: csr_array
) -> NDArray[np.float64]:
    """How much more popular a list's items are than those of the user's history: mean users per item there / here - 1.

    0 means no popularity bias, 1 means that the recommended items have twice the users of the items in the history.
    histories: CSR (n_users, n_items), its stored entries are the items of each history. Nan for an empty list or
    history. Abdollahpouri et al. 2019, computed for each user.
    """
    chosen = np.diff(histories.indptr).astype(np.float64)
    chosen[chosen == 0] = np.nan
    known = csr_array((np.ones(histories.nnz), histories.indices, histories.indptr), shape=histories.shape)
    own = known @ users_per_item.astype(np.float64) / chosen
    own[own == 0] = np.nan
    return np.asarray(_mean_of_items(ranked, users_per_item.astype(np.float64)) / own - 1.0)


def _mean_of_items(ranked: NDArray[np.int32], values: NDArray[np.float64]) -> NDArray[np.float64]:
    filled = ranked >= 0
    counts = filled.sum(axis=1).astype(np.float64)
    counts[counts == 0] = np.nan
    return np.asarray(np.where(filled, values[ranked], 0.0).sum(axis=1) / counts)
