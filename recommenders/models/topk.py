"""The k largest of each row, without sorting the row."""

import numpy as np
from numpy.typing import NDArray


def top_k(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Columns and values of the k largest entries of each row, largest first; ties go to the lower column.

    scores: (n, m) float32 without nan. Returns (n, k) int32 and (n, k) float32, padded with column -1 and -inf
    where k > m.
    """
    n_rows, n_columns = scores.shape
    width = min(k, n_columns)
    columns = np.full((n_rows, k), -1, dtype=np.int32)
    best = np.full((n_rows, k), -np.inf, dtype=np.float32)
    if width == 0 or n_rows == 0:
        return columns, best
    chosen = _choose(scores, width)
    values = np.take_along_axis(scores, chosen, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")  # chosen ascends, so a stable sort keeps the lower column first
    columns[:, :width] = np.take_along_axis(chosen, order, axis=1)
    best[:, :width] = np.take_along_axis(values, order, axis=1)
    return columns, best


def _choose(scores: NDArray[np.float32], width: int) -> NDArray[np.intp]:
    """(n, width) ascending columns of the largest entries; where the last place is tied, the lower columns win."""
    n_columns = scores.shape[1]
    if width == n_columns:
        return np.broadcast_to(np.arange(n_columns), scores.shape)
    chosen = np.argpartition(scores, n_columns - width, axis=1)[:, n_columns - width :]
    chosen.sort(axis=1)
    last = np.take_along_axis(scores, chosen, axis=1).min(axis=1, keepdims=True)
    tied = np.flatnonzero((scores >= last).sum(axis=1) > width)
    if len(tied):
        rows, last = scores[tied], last[tied]
        above, equal = rows > last, rows == last
        room = width - above.sum(axis=1, keepdims=True)
        taken = above | (equal & (np.cumsum(equal, axis=1) <= room))
        chosen[tied] = np.nonzero(taken)[1].reshape(len(tied), width)
    return chosen
