"""How well lists meet what buyers wanted: one value a user.

ranked: (n_users, k) item columns, best first, each at most once, -1 past the last one. relevant: CSR
(n_users, n_items), its stored entries, each once. Every function returns (n_users,) float64, nan for a user with
nothing relevant, and raises ValueError if the two disagree on the number of users. Each list is judged as k places
long, filled or not.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

K = 10  # places of a list, wherever nothing else is asked for
PRIMARY_METRIC = f"ndcg@{K}"  # models are chosen, compared and released by it

Values = NDArray[np.float64]  # (n_users,)
Found = NDArray[np.bool_]  # (n_users, k)
Metric = Callable[[NDArray[np.int32], csr_array], Values]  # of lists and what is relevant
Formula = Callable[[Found, Values], Values]  # of hits and how many items are relevant

FORMULAS: dict[str, Formula] = {}  # "metric" -> how it is told from hits; each metric below adds its own


def all_metrics(ranked: NDArray[np.int32], relevant: csr_array, ks: Sequence[int] | None = None) -> dict[str, Values]:
    """ "metric@k" -> one value a user, for every metric of this module and each k, by default the lists' length.

    The hits are looked up once for all. Raises ValueError if a k is below 1 or longer than the lists.
    """
    length = ranked.shape[1]
    ks = [length] if ks is None else ks
    if not ks or min(ks) < 1 or max(ks) > length:
        raise ValueError(f"k: got {list(ks)} for lists of {length} places; allowed: 1 to {length}; rank longer lists")
    found, counts = hits(ranked, relevant), relevant_counts(relevant)
    return {f"{name}@{k}": formula(found[:, :k], counts) for k in ks for name, formula in FORMULAS.items()}


def hits(ranked: NDArray[np.int32], relevant: csr_array) -> Found:
    """(n_users, k): whether each place holds a relevant item. Raises ValueError if the users differ in number."""
    n_users, n_items = relevant.shape
    if len(ranked) != n_users:
        raise ValueError(f"{len(ranked)} lists for {n_users} rows of relevant items; they must be the same users")
    if not relevant.nnz:
        return np.zeros(ranked.shape, dtype=np.bool_)
    starts = np.arange(n_users, dtype=np.int64) * n_items
    wanted = np.repeat(starts, np.diff(relevant.indptr)) + relevant.indices  # one ascending number a pair
    if not relevant.has_sorted_indices:
        wanted.sort()
    asked = starts[:, None] + ranked
    place = np.searchsorted(wanted, asked)
    np.minimum(place, len(wanted) - 1, out=place)
    found: Found = (wanted[place] == asked) & (ranked >= 0)
    return found


def relevant_counts(relevant: csr_array) -> Values:
    """Relevant items of each user, nan where there are none; (n_users,)."""
    counts: Values = np.diff(relevant.indptr).astype(np.float64)
    counts[counts == 0] = np.nan
    return counts


def _metric(name: str) -> Callable[[Formula], Metric]:
    """Makes a function of lists from one of their hits, which all_metrics knows by that name."""

    def of(formula: Formula) -> Metric:
        def metric(ranked: NDArray[np.int32], relevant: csr_array) -> Values:
            return formula(hits(ranked, relevant), relevant_counts(relevant))

        FORMULAS[name] = formula
        metric.__name__, metric.__qualname__, metric.__doc__ = formula.__name__, formula.__qualname__, formula.__doc__
        return metric

    return of


@_metric("precision")
def precision(found: Found, counts: Values) -> Values:
    """Share of the k places that hold a relevant item, in [0, 1]."""
    return of_those_asked(_sums(found) / found.shape[1], counts)


@_metric("recall")
def recall(found: Found, counts: Values) -> Values:
    """Share of the relevant items that stand in the list, in [0, 1]."""
    return np.asarray(_sums(found) / counts)


@_metric("ndcg")
def ndcg(found: Found, counts: Values) -> Values:
    """DCG@k / ideal DCG@k, in [0, 1]: binary gains, an ideal of min(k, relevant) hits. Järvelin & Kekäläinen 2002."""
    k = found.shape[1]
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[np.nan], np.cumsum(discounts)])
    possible = np.nan_to_num(np.minimum(counts, k)).astype(np.int64)
    return np.asarray(found @ discounts / ideal[possible])


@_metric("hit_rate")
def hit_rate(found: Found, counts: Values) -> Values:
    """1 if any place holds a relevant item, else 0."""
    return of_those_asked(np.asarray(found.any(axis=1)), counts)


@_metric("map")
def average_precision(found: Found, counts: Values) -> Values:
    """Mean over min(k, relevant) of the precision at each hit, in [0, 1]; its mean over users is MAP@k."""
    k = found.shape[1]
    at_hits = np.einsum("uk,uk,k->u", found, np.cumsum(found, axis=1), 1.0 / np.arange(1, k + 1))
    return np.asarray(at_hits / np.minimum(k, counts))


@_metric("mrr")
def mrr(found: Found, counts: Values) -> Values:
    """1 / place of the first relevant item, 0 where none is in the list. Voorhees 1999."""
    return of_those_asked(found.any(axis=1) / (found.argmax(axis=1) + 1.0), counts)


def of_those_asked(values: NDArray[Any], counts: Values) -> Values:
    """The values, nan for a user with nothing relevant."""
    return np.where(np.isnan(counts), np.nan, values)


def _sums(found: Found) -> Values:
    return np.asarray(found @ np.ones(found.shape[1]))
