"""The k largest of each row, without sorting the row."""

import numpy as np
from numpy.typing import NDArray

ROW_BLOCK = 128  # rows of a product held at once: small enough to stay in the cache between product and selection
CHUNK = 8  # maxima looked at for each place of the list; and entries that share one, where there are enough
LAST = np.iinfo(np.int64).max  # sorts behind every key


def top_k(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Columns and values of the k largest entries of each row, largest first; ties go to the lower column.

    scores: (n, m) float32 without nan; -inf is a value like any other. Returns (n, k) int32 and (n, k) float32, padded
    with column -1 and -inf where k > m.

    The k-th largest of some disjoint chunks' maxima is a lower bound of the k-th largest entry. Only chunks whose
    maximum reaches the bound are looked into, and only what reaches it is sorted.
    """
    n_rows, n_columns = scores.shape
    width = min(k, n_columns)
    columns = np.full((n_rows, k), -1, dtype=np.int32)
    best = np.full((n_rows, k), -np.inf, dtype=np.float32)
    if width == 0 or n_rows == 0:
        return columns, best
    scores = np.ascontiguousarray(scores, dtype=np.float32)
    if n_rows == 1 and n_columns >= 2 * CHUNK * k:
        columns[0, :width] = chosen = _of_one_row(scores[0], width)
        best[0, :width] = scores[0, chosen]
        return columns, best
    keys = _sorted_keys(scores, width)
    columns[:, :width] = keys & 0xFFFFFFFF
    best[:, :width] = _value((keys >> 32).astype(np.int32))
    return columns, best


def top_k_products(
    left: NDArray[np.float32], right: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """top_k(left @ right.T, k) for left (n, d) and right (m, d), holding ROW_BLOCK rows of the product at a time."""
    columns = np.empty((len(left), k), dtype=np.int32)
    best = np.empty((len(left), k), dtype=np.float32)
    right = np.ascontiguousarray(right.T)  # once, where every product would have to turn it again
    product = np.empty((min(ROW_BLOCK, len(left)), right.shape[1]), dtype=np.float32)
    for start in range(0, len(left), ROW_BLOCK):
        rows = slice(start, min(start + ROW_BLOCK, len(left)))
        block = np.matmul(left[rows], right, out=product[: rows.stop - start])
        columns[rows], best[rows] = top_k(block, k)
    return columns, best


def _of_one_row(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """(k,) columns of scores (m,), m >= 2 * CHUNK * k, in fewer steps than many rows take: each costs a microsecond."""
    n_chunks = CHUNK * k
    maxima = scores[: len(scores) // n_chunks * n_chunks].reshape(-1, n_chunks).max(axis=0)
    maxima.partition(n_chunks - k)
    bound = maxima[n_chunks - k]
    if np.count_nonzero(maxima[: n_chunks - k] == bound) > k:  # tied: nearly everything may reach the bound
        chosen = np.concatenate([np.flatnonzero(scores > bound), np.flatnonzero(scores == bound)[:k]])
        chosen.sort()
    else:
        chosen = np.flatnonzero(scores >= bound)
    return np.asarray(chosen[np.argsort(-scores[chosen], kind="stable")[:k]])


def _sorted_keys(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """(n, k) keys of the largest entries of scores (n, m), in the order of the list."""
    n_rows, n_columns = scores.shape
    n_bounds = CHUNK * k
    if n_columns < 2 * n_bounds:
        keys = _keys(scores, np.arange(n_columns))
    else:
        entries = _entries_above_bound(scores, k, n_bounds)
        rows = entries // n_columns
        keys = _side_by_side(rows, _keys(scores.ravel()[entries], entries - rows * n_columns), n_rows)
    if keys.shape[1] > 4 * k:
        keys.partition(k - 1, axis=1)
        keys = keys[:, :k]
    keys.sort(axis=1)
    return keys[:, :k]


def _keys(values: NDArray[np.float32], columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers that ascend where values fall and, among equal values, where columns rise."""
    bits = (values + np.float32(0.0)).view(np.int32)  # the sum makes -0.0 the 0.0 it equals
    ordered = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))  # of negative floats, a larger pattern is a smaller number
    return (~ordered).astype(np.int64) << 32 | columns


def _value(upper: NDArray[np.int32]) -> NDArray[np.float32]:
    """The value behind the upper half of a key."""
    ordered = ~upper
    bits: NDArray[np.int32] = ordered ^ ((ordered >> 31) & np.int32(0x7FFFFFFF))
    return bits.view(np.float32)


def _side_by_side(rows: NDArray[np.int64], keys: NDArray[np.int64], n_rows: int) -> NDArray[np.int64]:
    """(n_rows, longest) the keys of each row, which stand in the order of rows; LAST behind them."""
    counts = np.bincount(rows, minlength=n_rows)
    table = np.full((n_rows, int(counts.max())), LAST, dtype=np.int64)
    table[rows, np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)] = keys
    return table


def _entries_above_bound(scores: NDArray[np.float32], k: int, n_bounds: int) -> NDArray[np.int64]:
    """Places in scores.ravel(), by row, among which are the k best of each row."""
    maxima = _chunk_maxima(scores, n_bounds)
    bound = _kth_largest(maxima, k, n_bounds)
    hot = np.flatnonzero(maxima >= bound[:, None])
    rows = hot // maxima.shape[1]
    crowded = np.bincount(rows, minlength=len(scores)) > 4 * k  # as where most scores are 0
    if not crowded.any():
        return _within(scores, bound, hot, rows, maxima.shape[1])
    kept = ~crowded[rows] | (maxima.ravel()[hot] > bound[rows])
    entries = _within(scores, bound, hot[kept], rows[kept], maxima.shape[1])
    of = entries // scores.shape[1]
    untied = entries[~crowded[of] | (scores.ravel()[entries] > bound[of])]
    entries = np.concatenate([untied, _first_ties(scores, bound, np.flatnonzero(crowded), k)])
    entries.sort()
    return entries


def _chunk_maxima(scores: NDArray[np.float32], n_bounds: int) -> NDArray[np.float32]:
    """(n, n_chunks) the largest entry of columns j, j + n_chunks, ...; n_chunks is n_bounds times a power of two.

    Neighbouring columns fall into different chunks: catalogues are often ordered by what is alike.
    """
    n_rows, n_columns = scores.shape
    n_chunks = n_bounds << max(0, (n_columns // (CHUNK * n_bounds)).bit_length() - 1)
    length = n_columns // n_chunks
    maxima: NDArray[np.float32] = scores[:, : length * n_chunks].reshape(n_rows, length, n_chunks).max(axis=1)
    if rest := n_columns - length * n_chunks:
        np.maximum(maxima[:, :rest], scores[:, -rest:], out=maxima[:, :rest])
    return maxima


def _kth_largest(maxima: NDArray[np.float32], k: int, n_bounds: int) -> NDArray[np.float32]:
    """(n,) the k-th largest after halving the number of chunks to n_bounds: at most the k-th largest score."""
    while maxima.shape[1] > n_bounds:
        half = maxima.shape[1] // 2
        maxima = np.maximum(maxima[:, :half], maxima[:, half:])
    return np.asarray(np.partition(maxima, n_bounds - k, axis=1)[:, n_bounds - k])


def _within(
    scores: NDArray[np.float32],
    bound: NDArray[np.float32],
    hot: NDArray[np.int64],
    rows: NDArray[np.int64],
    n_chunks: int,
) -> NDArray[np.int64]:
    """Places of the entries of the hot chunks, numbered row by row, that reach their row's bound."""
    n_columns = scores.shape[1]
    places = (hot + rows * (n_columns - n_chunks))[:, None] + np.arange(0, n_columns, n_chunks)
    kept = scores.ravel().take(places, mode="clip") >= bound[rows][:, None]
    kept[:, -1] &= places[:, -1] < (rows + 1) * n_columns  # the last place of a chunk may lie in the next row
    return np.asarray(places[kept])


def _first_ties(
    scores: NDArray[np.float32], bound: NDArray[np.float32], crowded: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """Places of the first k entries that equal the bound in each crowded row, or of all where there are fewer."""
    n_columns, width, found = scores.shape[1], 4 * k, [np.zeros(0, dtype=np.int64)]
    while len(crowded):  # most rows are done with their first columns, the others look further
        equal = scores[crowded, :width] == bound[crowded, None]
        met = np.cumsum(equal, axis=1, dtype=np.int32)
        done = (met[:, -1] >= k) | (width >= n_columns)
        rows, columns = np.nonzero(equal & (met <= k) & done[:, None])
        found.append(crowded[rows] * n_columns + columns)
        crowded, width = crowded[~done], 4 * width
    return np.concatenate(found)
