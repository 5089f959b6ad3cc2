"""What the distances mean: which columns drifted, told so that a person sees what moved. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.drift.shift import BUCKETS, METHODS, POPULARITY, Log, Rows, shares

TITLES = {"psi": "PSI", "jensenshannon": "Jensen-Shannon distance"}


@dataclass(frozen=True)
class ColumnDrift:
    """One column's verdict; change tells it in the column's own units."""

    name: str
    score: float  # nan never: a column without values is not judged
    threshold: float
    method: str
    drifted: bool
    change: str

    @property
    def title(self) -> str:
        """The name without its logarithm, which is how it was compared, not what moved."""
        return self.name.removeprefix("log_")

    @property
    def evidence(self) -> str:
        """The change with its score and limit."""
        return f"{self.change} ({TITLES[self.method]} {self.score:.3f}, limit {self.threshold:.3f})"


def judge(
    log: Log, learn: Rows, judged: Rows, window: Rows, thresholds: Mapping[str, float], min_rows: int
) -> tuple[tuple[ColumnDrift, ...], tuple[str, ...]]:
    """Each column's verdict, furthest beyond its threshold first; and what was not judged, with why."""
    columns, left_out = [], []
    for name, score in log.measure(learn, judged, window).items():
        was, now = log.column(name, judged, learn), log.column(name, window, learn)
        # Half of the reference went into the buckets; of the rest, half may lack the value.
        if was.size < min_rows // 4 or now.size < min_rows // 2:
            known = f"{was.size} known before, {now.size} now" if was.size + now.size else "not in this source"
            left_out.append(f"{name} ({known})")
            continue
        kind, limit = log.kinds[name], thresholds[name]
        labels = () if kind == "number" else label_names(log, name)
        change = _label_change(labels, was, now) if labels else _number_change(name, was, now)
        columns.append(ColumnDrift(name, score, limit, METHODS[kind], score >= limit, change))
    columns.sort(key=lambda column: column.score / column.threshold, reverse=True)
    return tuple(columns), tuple(left_out)


def summarise(columns: tuple[ColumnDrift, ...], not_judged: tuple[str, ...]) -> str:
    """One sentence for a person. columns: the furthest beyond its threshold first."""
    if not columns:
        return f"not judged: no column has enough values; left out: {', '.join(not_judged)}"
    drifted = [column for column in columns if column.drifted]
    if not drifted:
        return f"no drift; nearest to its limit: {columns[0].title}, {columns[0].evidence}"
    most, *others = drifted
    rest = "".join(f"; also {column.title}: {column.evidence}" for column in others)
    return f"{most.title} moved most: {most.evidence}{rest}"


def label_names(log: Log, name: str) -> tuple[str, ...]:
    """What a label column's codes stand for."""
    return BUCKETS if name == POPULARITY else log.names[name]


def _number_change(name: str, was: NDArray[np.float64], now: NDArray[np.float64]) -> str:
    """Such as "median 6 -> 72"; ratings by their mean, a median star moves in jumps."""
    if name == "rating":
        return f"mean {was.mean():.2f} -> {now.mean():.2f}"
    return f"median {np.exp(np.median(was)):.3g} -> {np.exp(np.median(now)):.3g}"


def _label_change(names: tuple[str, ...], was: NDArray[np.float64], now: NDArray[np.float64]) -> str:
    """Such as "'office' 12.0% -> 31.4%": the label whose share moved most."""
    codes = np.arange(len(names), dtype=np.float64)
    before, after = shares(was, codes), shares(now, codes)
    most = int(np.abs(after - before).argmax())
    return f"{names[most]!r} {before[most]:.1%} -> {after[most]:.1%}"
