"""Ranking accuracy: precision, recall, NDCG, hit rate, MAP and MRR of top-k lists. One value per user.

ranked: (n_users, k) item columns, best first, each at most once, -1 after the last one. relevant: CSR
(n_users, n_items), its stored entries, each once. Every function returns (n_users,) float64, nan for a user with
no relevant item, and raises ValueError if the two differ in the number of users. Each list counts as k places long,
also where some places are empty.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

K = 10  # default length of a list
PRIMARY_METRIC = f"ndcg@{K}"  # the metric that selects, compares and releases models

Values = NDArray[np.float64]  # (n_users,)
Found = NDArray[np.bool_]  # (n_users, k)


def all_metrics(ranked: NDArray[np.int32], relevant: csr_array, ks: Sequence[int] | None = None) -> dict[str, Values]:
    """ "metric@k" -> one value per user, for every metric of this module and each k (default: the lists' length).

    The hits are computed once for all metrics. Raises ValueError if a k is below 1 or longer than the lists.
    """
    length = ranked.shape[1]
    ks = [length] if ks is None else ks
    if not ks or min(ks) < 1 or max(ks) > length:
        raise ValueError(f"k: got {list(ks)} for lists of {length} places; allowed: 1 to {length}; rank longer lists")
    found, counts = hits(ranked, relevant), relevant_counts(relevant)
    return {f"{name}@{k}": formula(found[:, :k], counts) for k in ks for name, formula in FORMULAS.items()}


def hits(ranked: NDArray[np.int32], relevant: csr_array) -> Found:
    """(n_users, k): whether each place holds a relevant item. Raises ValueError if the numbers of users differ."""
    n_users, n_items = relevant.shape
    if len(ranked) != n_users:
        raise ValueError(f"{len(ranked)} lists for {n_users} rows of relevant items; they must be the same users")
    if not relevant.nnz:
        return np.zeros(ranked.shape, dtype=np.bool_)
    starts = np.arange(n_users, dtype=np.int64) * n_items
    pairs = np.repeat(starts, np.diff(relevant.indptr)) + relevant.indices  # one ascending number per pair
    if not relevant.has_sorted_indices:
        pairs.sort()
    queries = starts[:, None] + ranked
    place = np.searchsorted(pairs, queries)
    np.minimum(place, len(pairs) - 1, out=place)
    found: Found = (pairs[place] == queries) & (ranked >= 0)
    return found


def relevant_counts(relevant: csr_array) -> Values:
    """Number of relevant items of each user, nan where there are none; (n_users,)."""
    counts: Values = np.diff(relevant.indptr).astype(np.float64)
    counts[counts == 0] = np.nan
    return counts


def nan_without_relevant(values: NDArray[Any], counts: Values) -> Values:
    """The values, nan for a user with no relevant item."""
    return np.where(np.isnan(counts), np.nan, values)


def precision(ranked: NDArray[np.int32], relevant: csr_array) -> Values:
    """Share of the k places that hold a relevant item, in [0, 1]."""
    return _precision(hits(ranked, relevant), relevant_counts(relevant))


def recall(ranked: NDArray[np.int32], relevant: csr_array) -> Values:
    """Share of the relevant items that are in the list, in [0, 1]."""
    return _recall(hits(ranked, relevant), relevant_counts(relevant))


def ndcg(ranked: NDArray[np.int32], relevant: csr_array) -> Values:
    """DCG@k / ideal DCG@k, in [0, 1]: binary gains, ideal of min(k, relevant) hits. Järvelin & Kekäläinen 2002."""
    return _ndcg(hits(ranked, relevant), relevant_counts(relevant))


def hit_rate(ranked: NDArray[np.int32], relevant: csr_array) -> Values:
    """1 if any place holds a relevant item, else 0."""
    return _hit_rate(hits(ranked, relevant), relevant_counts(relevant))


def average_precision(ranked: NDArray[np.int32], relevant: csr_array) -> Values:
    """Mean over min(k, relevant) of the precision at each hit, in [0, 1]; its mean over users is MAP@k."""
    return _average_precision(hits(ranked, relevant), relevant_counts(relevant))


def mrr(ranked: NDArray[np.int32], relevant: csr_array) -> Values:
    """1 / place of the first relevant item, 0 if the list has none. Voorhees 1999."""
    return _mrr(hits(ranked, relevant), relevant_counts(relevant))


# The formulas: found (n_users, k) from hits(), counts (n_users,) from relevant_counts().


def _precision(found: Found, counts: Values) -> Values:
    return nan_without_relevant(_sums(found) / found.shape[1], counts)


def _recall(found: Found, counts: Values) -> Values:
    return np.asarray(_sums(found) / counts)


def _ndcg(found: Found, counts: Values) -> Values:
    k = found.shape[1]
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[np.nan], np.cumsum(discounts)])
    possible = np.nan_to_num(np.minimum(counts, k)).astype(np.int64)
    return np.asarray(found @ discounts / ideal[possible])


def _hit_rate(found: Found, counts: Values) -> Values:
    return nan_without_relevant(np.asarray(found.any(axis=1)), counts)


def _average_precision(found: Found, counts: Values) -> Values:
    k = found.shape[1]
    at_hits = np.einsum("uk,uk,k->u", found, np.cumsum(found, axis=1), 1.0 / np.arange(1, k + 1))
    return np.asarray(at_hits / np.minimum(k, counts))


def _mrr(found: Found, counts: Values) -> Values:
    return nan_without_relevant(found.any(axis=1) / (found.argmax(axis=1) + 1.0), counts)


def _sums(found: Found) -> Values:
    return np.asarray(found @ np.ones(found.shape[1]))


FORMULAS = {  # name in reports and configurations -> formula
    "precision": _precision,
    "recall": _recall,
    "ndcg": _ndcg,
    "hit_rate": _hit_rate,
    "map": _average_precision,
    "mrr": _mrr,
}
