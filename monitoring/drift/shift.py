"""Distances between two samples of events in each column, and their limits without drift.

Input: reference and current events. Output: the distance of each column and the limit from which it counts as drift.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.stats import t as student

ColumnType = Literal["numerical", "categorical"]
Method = Literal["psi", "jensenshannon"]
METHODS: Mapping[ColumnType, Method] = {"numerical": "psi", "categorical": "jensenshannon"}
POPULARITY = "popularity"
COLUMNS = ("category", POPULARITY, "log_unit_price", "log_quantity", "rating", "segment", "region")
BUCKETS = ("1 head", "2", "3", "4", "5 tail")  # each a fifth of the events the buckets were made from
MAX_LABELS = 30  # the most common; the rest is "other"
FEW_VALUES = 20  # numerical columns with at most this many values are compared value by value (as in Evidently)
CLIP = 0.005  # share of each tail: one extreme value must not widen the bins so much that a shift falls into one bin
MIN_PAST_WINDOWS = 6  # past windows needed to estimate the spread of their distances
N_RANDOM_WINDOWS = 30

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class EncodedLog:
    """Reference and current events as columns of one length n, reference first.

    numbers: float64 (n,), nan where unknown. labels: int32 codes (n,) into names[column], -1 where unknown.
    items: int32 codes (n,). seconds: since 1970 (n,). orders: int32 (n,); events of one order share a code:
    they are not independent, so orders are resampled, not lines.
    """

    n_reference: int
    numbers: Mapping[str, NDArray[np.float64]]
    labels: Mapping[str, NDArray[np.int32]]
    names: Mapping[str, tuple[str, ...]]
    items: NDArray[np.int32]
    seconds: NDArray[np.float64]
    orders: NDArray[np.int32]

    @property
    def column_types(self) -> dict[str, ColumnType]:
        """Type of every column that can be tested, popularity included."""
        labels: dict[str, ColumnType] = dict.fromkeys((*self.labels, POPULARITY), "categorical")
        return {**labels, **dict.fromkeys(self.numbers, "numerical")}

    def popularity_buckets(self, bucket_rows: Rows) -> NDArray[np.int32]:
        """Popularity bucket of each event's item (n,), made from bucket_rows; -1 for items without an event there.

        Such items have no bucket in any sample, because otherwise every launch of an item counts as drift.
        """
        counts = np.bincount(self.items[bucket_rows], minlength=int(self.items.max()) + 1)
        order = np.argsort(-counts, kind="stable")
        middle_rank = (np.cumsum(counts[order]) - counts[order] / 2) / max(counts.sum(), 1)
        bucket = np.empty(counts.size, np.int32)
        bucket[order] = np.minimum((middle_rank * len(BUCKETS)).astype(np.int32), len(BUCKETS) - 1)
        bucket[counts == 0] = -1
        return bucket[self.items]

    def column(self, name: str, rows: Rows, bucket_rows: Rows) -> NDArray[np.float64]:
        """The known values of a column in some rows; codes of labels as float."""
        if name in self.numbers:
            values = self.numbers[name][rows]
            return values[~np.isnan(values)]
        codes = (self.popularity_buckets(bucket_rows) if name == POPULARITY else self.labels[name])[rows]
        return codes[codes >= 0].astype(np.float64)

    def distances(self, bucket_rows: Rows, tested: Rows, window: Rows) -> dict[str, float]:
        """Distance between the tested rows and the window's rows in each column; nan where either has no values."""
        return {
            name: distance(self.column(name, tested, bucket_rows), self.column(name, window, bucket_rows), column_type)
            for name, column_type in self.column_types.items()
        }


def encode(reference: pa.Table, current: pa.Table, items: pa.Table, users: pa.Table | None) -> EncodedLog:
    """The tested columns of both tables (schema INTERACTIONS), with attributes of items and users."""
    table = pa.concat_tables([reference, current])
    sources = [("category", "item_id", items), ("segment", "user_id", users), ("region", "user_id", users)]
    labels, names = {}, {}
    for name, key, source in sources:
        if source is not None:
            values = _lookup(table[key], source[key], source[name])
            labels[name], names[name] = _labels(values, reference.num_rows)
    numbers = {
        "log_unit_price": _logarithms(table["unit_price"]),
        "log_quantity": _logarithms(table["quantity"]),
        "rating": _floats(table["rating"]),
    }
    numbers = {name: _clip_tails(values, reference.num_rows) for name, values in numbers.items()}
    seconds = table["timestamp"].cast(pa.int64()).to_numpy() / 1e6
    days = pa.array(np.floor(seconds / 86400).astype(np.int64)).cast(pa.string())
    # Without order ids, the events of a user on one day.
    orders = pc.coalesce(table["order_id"], pc.binary_join_element_wise(table["user_id"], days, " "))
    return EncodedLog(reference.num_rows, numbers, labels, names, _codes(table["item_id"]), seconds, _codes(orders))


def distance(tested: NDArray[np.float64], window: NDArray[np.float64], column_type: ColumnType) -> float:
    """The score that Evidently gives two samples: PSI of numerical, Jensen-Shannon distance of categorical columns.

    Bins of numerical columns: Sturges' over both samples together. nan if a sample is empty.
    """
    if not tested.size or not window.size:
        return float("nan")
    values = np.unique(tested)
    if column_type == "numerical" and values.size > FEW_VALUES:
        edges = np.histogram_bin_edges(np.concatenate([tested, window]), bins="sturges")
        reference, current = np.histogram(tested, edges)[0] / tested.size, np.histogram(window, edges)[0] / window.size
    else:
        values = np.union1d(values, window)
        reference, current = shares(tested, values), shares(window, values)
    if METHODS[column_type] == "jensenshannon":
        return float(jensenshannon(reference, current))
    reference, current = _fill_empty_bins(reference), _fill_empty_bins(current)
    return float(np.sum((reference - current) * np.log(reference / current)))


def shares(sample: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of each value in the sample, (n_values,); values are sorted and contain all values of the sample."""
    return np.bincount(np.searchsorted(values, sample), minlength=values.size) / sample.size


def random_half(log: EncodedLog, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A random half of the orders, (n,): popularity buckets are made from it, the other half is tested."""
    return (rng.random(int(log.orders.max()) + 1) < 0.5)[log.orders]


def subsample(rows: Rows, max_rows: int, rng: np.random.Generator) -> Rows:
    """At most max_rows of the rows, drawn without replacement, in order."""
    return rows if rows.size <= max_rows else np.sort(rng.choice(rows, max_rows, replace=False))


def past_windows(log: EncodedLog, min_rows: int, max_windows: int = 20) -> list[NDArray[np.bool_]]:
    """Windows of the reference as long as the current window, newest first, each a mask (n_reference,)."""
    seconds, current = log.seconds[: log.n_reference], log.seconds[log.n_reference :]
    length = max(float(np.ptp(current)), 3600.0)  # seconds
    number = np.floor((seconds.max() - seconds) / length).astype(np.int64)
    whole = int(np.ptp(seconds) / length)
    counts = np.bincount(number, minlength=whole)
    large_enough = [block for block in range(whole) if counts[block] >= min_rows]
    return [number == block for block in large_enough[:max_windows]]


def random_windows(log: EncodedLog, rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    """Random orders of the reference, each a mask (n_reference,) with about as many events as the current window, at
    most half.
    """
    orders = log.orders[: log.n_reference]
    share = min(0.5, (log.seconds.size - log.n_reference) / log.n_reference)
    return [(rng.random(int(orders.max()) + 1) < share)[orders] for _ in range(N_RANDOM_WINDOWS)]


def limits(
    log: EncodedLog,
    floors: Mapping[ColumnType, float],
    max_rows: int,
    min_rows: int,
    alarm_rate: float,
    rng: np.random.Generator,
) -> dict[str, float]:
    """The score from which each column counts as drift: the larger of its floor and its limit without drift.

    Past windows of the current one's length are scored against the rest of the reference in the same way as the current
    window, with new buckets. The next such score exceeds the limit with probability alarm_rate / n_columns (Student's
    prediction interval, Bonferroni). If the reference is too short for six such windows, random orders replace them:
    they have random variation but no seasons.
    """
    windows = past_windows(log, min_rows)
    if len(windows) < MIN_PAST_WINDOWS:
        windows = random_windows(log, rng)
    half, rows = random_half(log, rng)[: log.n_reference], np.arange(log.n_reference)
    n_current = min(max_rows, log.seconds.size - log.n_reference)
    scores: dict[str, list[float]] = {name: [] for name in log.column_types}
    for window in windows:
        tested = subsample(rows[~half & ~window], max_rows, rng)
        found = log.distances(rows[half & ~window], tested, subsample(rows[window], n_current, rng))
        for name, score in found.items():
            scores[name].append(score)
    past_limit = {name: prediction_limit(np.array(values), alarm_rate / len(scores)) for name, values in scores.items()}
    return {name: max(floors[column_type], past_limit[name]) for name, column_type in log.column_types.items()}


def prediction_limit(scores: NDArray[np.float64], alpha: float) -> float:
    """The limit that the next such score does not exceed with probability 1 - alpha; 0 if fewer than two are known."""
    known = scores[~np.isnan(scores)]
    if known.size < 2:
        return 0.0
    spread = float(known.std(ddof=1)) * np.sqrt(1 + 1 / known.size)
    return float(known.mean() + student.ppf(1 - alpha, known.size - 1) * spread)


def _lookup(keys: pa.ChunkedArray, known: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.take(values.combine_chunks(), pc.index_in(keys, value_set=known.combine_chunks()))


def _labels(values: pa.ChunkedArray, n_reference: int) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Codes and names; labels that are rare in the reference become "other"."""
    counted = pc.value_counts(values.slice(0, n_reference).drop_null())
    names, counts = counted.field("values").to_pylist(), counted.field("counts").to_numpy()
    kept = [names[i] for i in np.argsort(-counts, kind="stable")[:MAX_LABELS]]
    code = pc.index_in(values, value_set=pa.array(kept, pa.string()))
    other = pa.scalar(len(kept), pa.int32())
    code = pc.if_else(pc.is_valid(values), pc.coalesce(code, other), pa.scalar(-1, pa.int32()))
    return code.to_numpy().astype(np.int32), (*kept, "other")


def _codes(values: pa.ChunkedArray) -> NDArray[np.int32]:
    indices: NDArray[np.int32] = values.combine_chunks().dictionary_encode().indices.to_numpy()
    return indices.astype(np.int32)


def _floats(values: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(values.to_numpy(), np.float64)


def _logarithms(values: pa.ChunkedArray) -> NDArray[np.float64]:
    floats = _floats(values)
    return np.log(floats, out=np.full(floats.shape, np.nan), where=floats > 0)


def _clip_tails(values: NDArray[np.float64], n_reference: int) -> NDArray[np.float64]:
    known = values[:n_reference][~np.isnan(values[:n_reference])]
    if np.unique(known).size <= FEW_VALUES:
        return values
    return np.clip(values, *np.quantile(known, [CLIP, 1 - CLIP]))


def _fill_empty_bins(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shares with a small value for empty bins, as in Evidently, because PSI takes logarithms."""
    smallest = share[share > 0].min()
    return np.where(share == 0, smallest / 1e6 if smallest <= 1e-4 else 1e-4, share)
