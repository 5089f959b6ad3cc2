"""How well lists meet what buyers wanted: one value a user.

ranked: (n_users, k) item columns, best first, -1 past the last one. relevant: CSR (n_users, n_items), its stored
entries. Every function returns (n_users,) float64, nan for a user with nothing relevant, and raises ValueError if the
two disagree on the number of users. Each list is judged as k places long, filled or not.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array


def hits(ranked: NDArray[np.int32], relevant: csr_array) -> NDArray[np.bool_]:
    """(n_users, k): whether each place holds a relevant item. Raises ValueError if the users differ in number."""
    n_users, n_items = relevant.shape
    if len(ranked) != n_users:
        raise ValueError(f"{len(ranked)} lists for {n_users} rows of relevant items; they must be the same users")
    rows = np.arange(n_users, dtype=np.int64)[:, None]
    wanted = np.repeat(rows[:, 0], np.diff(relevant.indptr)) * n_items + relevant.indices
    found = np.isin(rows * n_items + ranked, wanted)
    return found & (ranked >= 0)


def relevant_counts(relevant: csr_array) -> NDArray[np.float64]:
    """Relevant items of each user, nan where there are none; (n_users,)."""
    counts = np.diff(relevant.indptr).astype(np.float64)
    return np.where(counts > 0, counts, np.nan)


def precision(ranked: NDArray[np.int32], relevant: csr_array) -> NDArray[np.float64]:
    """Share of the k places that hold a relevant item, in [0, 1]."""
    found = hits(ranked, relevant).sum(axis=1)
    return np.asarray(found / ranked.shape[1] + 0.0 * relevant_counts(relevant))


def recall(ranked: NDArray[np.int32], relevant: csr_array) -> NDArray[np.float64]:
    """Share of the relevant items that stand in the list, in [0, 1]."""
    return np.asarray(hits(ranked, relevant).sum(axis=1) / relevant_counts(relevant))


def hit_rate(ranked: NDArray[np.int32], relevant: csr_array) -> NDArray[np.float64]:
    """1 if any place holds a relevant item, else 0."""
    return hits(ranked, relevant).any(axis=1) + 0.0 * relevant_counts(relevant)


def mrr(ranked: NDArray[np.int32], relevant: csr_array) -> NDArray[np.float64]:
    """1 / place of the first relevant item, 0 where none is in the list. Voorhees 1999."""
    places = 1.0 / np.arange(1, ranked.shape[1] + 1)
    first = (hits(ranked, relevant) * places).max(axis=1, initial=0.0)
    return np.asarray(first + 0.0 * relevant_counts(relevant))


def average_precision(ranked: NDArray[np.int32], relevant: csr_array) -> NDArray[np.float64]:
    """Mean over min(k, relevant) of the precision at each hit, in [0, 1]; its mean over users is MAP@k."""
    found = hits(ranked, relevant)
    places = np.arange(1, ranked.shape[1] + 1)
    at_hits = (found * np.cumsum(found, axis=1) / places).sum(axis=1)
    return np.asarray(at_hits / np.minimum(ranked.shape[1], relevant_counts(relevant)))


def ndcg(ranked: NDArray[np.int32], relevant: csr_array) -> NDArray[np.float64]:
    """DCG@k / ideal DCG@k, in [0, 1]: binary gains, an ideal of min(k, relevant) hits. Järvelin & Kekäläinen 2002."""
    k = ranked.shape[1]
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    counts = np.diff(relevant.indptr)
    gained = hits(ranked, relevant) @ discounts
    return gained / np.where(counts > 0, ideal[np.minimum(counts, k)], np.nan)
