"""Lists of items, best first, from scores."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.math.top_k import top_k


class Ranked(NamedTuple):
    """Lists, best item first: item columns (n_users, k) int32, padded with -1; scores (n_users, k), with -inf."""

    item_columns: NDArray[np.int32]
    scores: NDArray[np.float32]


def mask_and_rank(
    scores: NDArray[np.float32], k: int, candidates: NDArray[np.bool_], known: csr_array | None = None
) -> Ranked:
    """The k best candidates of each row of scores (n, n_items), without the items in `known`. Overwrites scores."""
    scores[:, ~candidates] = -np.inf
    if known is not None:
        rows = np.repeat(np.arange(known.shape[0]), np.diff(known.indptr))
        scores[rows, known.indices] = -np.inf
    columns, best = top_k(scores, k)
    return Ranked(np.where(np.isneginf(best), np.int32(-1), columns), best)
