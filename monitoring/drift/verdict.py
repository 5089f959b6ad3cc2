"""The drift verdict: which columns drifted, with a text that states what changed. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.drift.shift import BUCKETS, METHODS, POPULARITY, EncodedLog, Rows, shares

TITLES = {"psi": "PSI", "jensenshannon": "Jensen-Shannon distance"}


@dataclass(frozen=True)
class ColumnDrift:
    """The verdict of one column; change: the change in the column's own units."""

    name: str
    score: float  # never nan: a column without values is not tested
    threshold: float
    method: str
    drifted: bool
    change: str

    @property
    def title(self) -> str:
        """The name without log_: logarithms are compared, but the text shows the values themselves."""
        return self.name.removeprefix("log_")

    @property
    def evidence(self) -> str:
        """The change with its score and limit, as text."""
        return f"{self.change} ({TITLES[self.method]} {self.score:.3f}, limit {self.threshold:.3f})"


def column_verdicts(
    log: EncodedLog, bucket_rows: Rows, tested: Rows, window: Rows, thresholds: Mapping[str, float], min_rows: int
) -> tuple[tuple[ColumnDrift, ...], tuple[str, ...]]:
    """The verdict of each column, largest score relative to its threshold first; and the columns that were not tested,
    with the reason.
    """
    columns, not_tested = [], []
    for name, score in log.distances(bucket_rows, tested, window).items():
        reference, current = log.column(name, tested, bucket_rows), log.column(name, window, bucket_rows)
        # Half of the reference is used for the buckets; half of the rest may have no value.
        if reference.size < min_rows // 4 or current.size < min_rows // 2:
            counts = (
                f"{reference.size} known before, {current.size} now"
                if reference.size + current.size
                else "not in this source"
            )
            not_tested.append(f"{name} ({counts})")
            continue
        column_type, limit = log.column_types[name], thresholds[name]
        labels = () if column_type == "numerical" else label_names(log, name)
        change = _label_change(labels, reference, current) if labels else _number_change(name, reference, current)
        columns.append(ColumnDrift(name, score, limit, METHODS[column_type], score >= limit, change))
    columns.sort(key=lambda column: column.score / column.threshold, reverse=True)
    return tuple(columns), tuple(not_tested)


def summarise(columns: tuple[ColumnDrift, ...], not_tested: tuple[str, ...]) -> str:
    """The verdicts in one sentence. columns: largest score relative to its threshold first."""
    if not columns:
        return f"not tested: no column has enough values: {', '.join(not_tested)}"
    drifted = [column for column in columns if column.drifted]
    if not drifted:
        return f"no drift; closest to its limit: {columns[0].title}, {columns[0].evidence}"
    largest, *others = drifted
    rest = "".join(f"; also {column.title}: {column.evidence}" for column in others)
    return f"{largest.title} changed most: {largest.evidence}{rest}"


def label_names(log: EncodedLog, name: str) -> tuple[str, ...]:
    """The names of a categorical column's codes."""
    return BUCKETS if name == POPULARITY else log.names[name]


def _number_change(name: str, reference: NDArray[np.float64], current: NDArray[np.float64]) -> str:
    """Such as "median 6 -> 72"; for ratings the mean, because their median changes in whole stars."""
    if name == "rating":
        return f"mean {reference.mean():.2f} -> {current.mean():.2f}"
    return f"median {np.exp(np.median(reference)):.3g} -> {np.exp(np.median(current)):.3g}"


def _label_change(names: tuple[str, ...], reference: NDArray[np.float64], current: NDArray[np.float64]) -> str:
    """Such as "'office' 12.0% -> 31.4%": the label whose share changed most."""
    codes = np.arange(len(names), dtype=np.float64)
    before, after = shares(reference, codes), shares(current, codes)
    largest = int(np.abs(after - before).argmax())
    return f"{names[largest]!r} {before[largest]:.1%} -> {after[largest]:.1%}"
