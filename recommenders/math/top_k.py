"""The k largest entries of each row, without sorting the row."""

import numpy as np
from numpy.typing import NDArray

from recommenders.math.ragged import joined_ranges

ROW_BLOCK = 128  # rows of a product in memory at once: few enough to stay in the cache between product and selection
CHUNK = 8  # chunk maxima per place of the list; also the smallest number of entries per chunk, if there are enough
NARROW = 16_384  # columns; in rows of at most so many, comparing all entries is faster than searching some chunks
PADDING_KEY = np.iinfo(np.int64).max  # sorts after every key


def top_k(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Columns and values of the k largest entries of each row, largest first; ties go to the lower column.

    scores: (n, m) float32 without nan; -inf is a value like any other. Returns (n, k) int32 and (n, k) float32, padded
    with column -1 and -inf where k > m.

    The k-th largest maximum of some disjoint chunks is a lower bound of the k-th largest entry. Only chunks whose
    maximum reaches the bound are searched, and only entries that reach it are sorted.
    """
    n_rows, n_columns = scores.shape
    width = min(k, n_columns)
    scores = np.ascontiguousarray(scores, dtype=np.float32)
    if width == 0 or n_rows == 0:
        columns, best = np.zeros((n_rows, width), np.int32), np.zeros((n_rows, width), np.float32)
    elif n_rows == 1:
        columns = _top_k_of_one_row(scores[0], width)[None].astype(np.int32)
        best = scores.take(columns)
    else:
        keys = _sorted_keys(scores, width)
        columns = (keys & 0xFFFFFFFF).astype(np.int32)
        best = _key_values((keys >> 32).astype(np.int32))
    if width == k:
        return columns, best
    missing = ((0, 0), (0, k - width))
    return np.pad(columns, missing, constant_values=-1), np.pad(best, missing, constant_values=-np.inf)


def top_k_products(
    left: NDArray[np.float32], right: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """top_k(left @ right.T, k) for left (n, d) and right (m, d), with ROW_BLOCK rows of the product in memory."""
    columns = np.empty((len(left), k), dtype=np.int32)
    best = np.empty((len(left), k), dtype=np.float32)
    right = np.ascontiguousarray(right.T)  # transposed once, not in each product
    product = np.empty((min(ROW_BLOCK, len(left)), right.shape[1]), dtype=np.float32)
    for start in range(0, len(left), ROW_BLOCK):
        rows = slice(start, min(start + ROW_BLOCK, len(left)))
        block = np.matmul(left[rows], right, out=product[: rows.stop - start])
        columns[rows], best[rows] = top_k(block, k)
    return columns, best


def _top_k_of_one_row(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """(k,) columns of scores (m,), m >= k. Fewer steps than for many rows: each costs a microsecond."""
    n_chunks = CHUNK * k
    if len(scores) < 2 * n_chunks:
        return np.argsort(-scores, kind="stable")[:k]
    maxima = scores[: len(scores) // n_chunks * n_chunks].reshape(-1, n_chunks).max(axis=0)
    maxima.partition(n_chunks - k)
    bound = maxima[n_chunks - k]
    if np.count_nonzero(maxima[: n_chunks - k] == bound) > k:  # many ties: nearly all entries may reach the bound
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
        keys = _pad_rows(rows, _keys(scores.ravel()[entries], entries - rows * n_columns), n_rows)
    if keys.shape[1] > 4 * k:
        keys.partition(k - 1, axis=1)
        keys = keys[:, :k]
    keys.sort(axis=1)
    return keys[:, :k]


def _keys(values: NDArray[np.float32], columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Integers that rise as values fall and, among equal values, rise with the column."""
    bits = (values + np.float32(0.0)).view(np.int32)  # the sum turns -0.0 into 0.0, which is equal to it
    ordered = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))  # of negative floats, a larger pattern is a smaller number
    return (~ordered).astype(np.int64) << 32 | columns


def _key_values(upper: NDArray[np.int32]) -> NDArray[np.float32]:
    """The value in the upper half of a key."""
    ordered = ~upper
    bits: NDArray[np.int32] = ordered ^ ((ordered >> 31) & np.int32(0x7FFFFFFF))
    return bits.view(np.float32)


def _pad_rows(rows: NDArray[np.int64], keys: NDArray[np.int64], n_rows: int) -> NDArray[np.int64]:
    """(n_rows, longest) the keys of each row, padded with PADDING_KEY. rows: (n_keys,) of the keys, ascending."""
    counts = np.bincount(rows, minlength=n_rows)
    table = np.full((n_rows, int(counts.max())), PADDING_KEY, dtype=np.int64)
    table[rows, joined_ranges(0, counts)] = keys
    return table


def _entries_above_bound(scores: NDArray[np.float32], k: int, n_bounds: int) -> NDArray[np.int64]:
    """Positions in scores.ravel(), by row, that include the k largest entries of each row."""
    maxima = _chunk_maxima(scores, n_bounds)
    bound = _kth_largest(maxima, k, n_bounds)
    if scores.shape[1] <= NARROW and not ((maxima == bound[:, None]).sum(axis=1) > 4 * k).any():
        return np.flatnonzero(scores >= bound[:, None])
    chunks = np.flatnonzero(maxima >= bound[:, None])
    rows = chunks // maxima.shape[1]
    best = maxima.ravel()[chunks]
    at_bound = best == bound[rows]
    tied = np.bincount(rows[at_bound], minlength=len(scores)) > 4 * k  # for example if most scores are 0
    if not tied.any():
        return _entries_of_chunks(scores, bound, chunks, rows, maxima.shape[1])
    kept = ~tied[rows] | (best > bound[rows])
    entries = _entries_of_chunks(scores, bound, chunks[kept], rows[kept], maxima.shape[1])
    entry_rows = entries // scores.shape[1]
    untied = entries[~tied[entry_rows] | (scores.ravel()[entries] > bound[entry_rows])]
    entries = np.concatenate([untied, _first_ties(scores, bound, np.flatnonzero(tied), k)])
    entries.sort()
    return entries


def _chunk_maxima(scores: NDArray[np.float32], n_bounds: int) -> NDArray[np.float32]:
    """(n, n_chunks) the largest entry of columns j, j + n_chunks, ...; n_chunks is n_bounds times a power of two.

    Neighbouring columns are in different chunks: in many catalogues, similar items are neighbours.
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


def _entries_of_chunks(
    scores: NDArray[np.float32],
    bound: NDArray[np.float32],
    chunks: NDArray[np.int64],
    rows: NDArray[np.int64],
    n_chunks: int,
) -> NDArray[np.int64]:
    """Positions of the entries of some chunks, numbered row by row, that reach the bound of their row."""
    n_columns = scores.shape[1]
    positions = (chunks + rows * (n_columns - n_chunks))[:, None] + np.arange(0, n_columns, n_chunks)
    kept = scores.ravel().take(positions, mode="clip") >= bound[rows][:, None]
    kept[:, -1] &= positions[:, -1] < (rows + 1) * n_columns  # the last position of a chunk may be in the next row
    return np.asarray(positions[kept])


def _first_ties(
    scores: NDArray[np.float32], bound: NDArray[np.float32], tied: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """Positions of the first k entries that equal the bound in each row of `tied`, or of all if there are fewer."""
    n_columns, width, found = scores.shape[1], 4 * k, [np.zeros(0, dtype=np.int64)]
    while len(tied):  # most rows have k ties in their first columns; the others are searched further
        equal = scores[tied, :width] == bound[tied, None]
        n_ties = np.cumsum(equal, axis=1, dtype=np.int32)
        done = (n_ties[:, -1] >= k) | (width >= n_columns)
        rows, columns = np.nonzero(equal & (n_ties <= k) & done[:, None])
        found.append(tied[rows] * n_columns + columns)
        tied, width = tied[~done], 4 * width
    return np.concatenate(found)
