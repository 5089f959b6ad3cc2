"""Time windows that are comparable: of one length, and shifted by whole weeks, so that weekdays and hours agree."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

DAY, WEEK = 86_400.0, 7 * 86_400.0
MAX_WINDOWS = 60  # the newest ones of a log

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Window:
    """Rows of the log, (n_rows,), after the start and up to the end, both in seconds since 1970."""

    rows: NDArray[np.int64]
    start: float
    end: float


def event_seconds(events: pa.Table) -> Floats:
    """(n,) the times of events (schema INTERACTIONS) in seconds since 1970."""
    seconds: Floats = events["timestamp"].cast(pa.int64()).to_numpy() / 1e6
    return seconds


def aligned_windows(seconds: Floats, length: float, end: float | None = None, most: int = MAX_WINDOWS) -> list[Window]:
    """The window of `length` seconds up to the end (by default the newest event), and those before it, oldest first.

    Each begins whole weeks before the next one and does not overlap it. Windows that are not wholly within the log are
    left out; the newest one is always returned. At most `most` windows.
    """
    end = float(seconds.max()) if end is None else end
    step = WEEK * max(np.ceil(length / WEEK - 1e-9), 1)
    age = end - seconds
    number = np.floor(age / step).astype(np.int64)
    inside = (age >= 0) & (age - number * step < length) & (number < most)
    n_windows = max(int((end - seconds.min() - length) // step) + 1, 1)
    order = np.flatnonzero(inside)[np.argsort(number[inside], kind="stable")]
    bounds = np.searchsorted(number[order], np.arange(min(n_windows, most) + 1))
    return [
        Window(np.sort(order[bounds[i] : bounds[i + 1]]), end - i * step - length, end - i * step)
        for i in reversed(range(bounds.size - 1))
    ]


def newest_rows(windows: Sequence[Window]) -> NDArray[np.int64]:
    """The rows of several windows together, in order."""
    return np.sort(np.concatenate([window.rows for window in windows]))
