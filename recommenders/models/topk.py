"""The k largest of each row, without sorting the row."""

import numpy as np
from numpy.typing import NDArray


def top_k(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Columns and values of the k largest entries of each row, largest first; ties go to the lower column.

    scores: (n, m) float32. Returns (n, k) int32 and (n, k) float32, padded with column -1 and -inf where k > m.
    """
    n_rows, n_columns = scores.shape
    width = min(k, n_columns)
    part = np.argpartition(-scores, width - 1, axis=1)[:, :width] if width < n_columns else None
    if part is None:
        part = np.broadcast_to(np.arange(n_columns), scores.shape)
    values = np.take_along_axis(scores, part, axis=1)
    order = np.lexsort((part, -values), axis=1)
    columns = np.full((n_rows, k), -1, dtype=np.int32)
    best = np.full((n_rows, k), -np.inf, dtype=np.float32)
    columns[:, :width] = np.take_along_axis(part, order, axis=1)
    best[:, :width] = np.take_along_axis(values, order, axis=1)
    return columns, best
