"""How far a window of events lies from others in each column, and how far apart windows lie by chance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.stats import t as student

Kind = Literal["number", "label"]
Method = Literal["psi", "jensenshannon"]
METHODS: Mapping[Kind, Method] = {"number": "psi", "label": "jensenshannon"}
POPULARITY = "popularity"
COLUMNS = ("category", POPULARITY, "log_unit_price", "log_quantity", "rating", "segment", "region")
BUCKETS = ("1 head", "2", "3", "4", "5 tail")  # each a fifth of the events the buckets were learned on
LABELS_KEPT = 30  # the commonest; the rest is "other"
FEW_VALUES = 20  # numbers with no more values than this are compared value by value (Evidently does so)
CLIP = 0.005  # of each tail: one absurd value must not stretch the bins until every other shift hides in one
MIN_BLOCKS = 6  # past windows needed to say how far past windows lie apart
DRAWS = 30

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Log:
    """Reference and current events as columns of one length n, reference first.

    numbers: float64 (n,), nan where unknown. labels: int32 codes (n,) into names[column], -1 where unknown.
    items: int32 codes (n,). seconds: since 1970 (n,). orders: int32 (n,); events of one order share a code:
    they come together, so chance moves orders, not lines.
    """

    n_reference: int
    numbers: Mapping[str, NDArray[np.float64]]
    labels: Mapping[str, NDArray[np.int32]]
    names: Mapping[str, tuple[str, ...]]
    items: NDArray[np.int32]
    seconds: NDArray[np.float64]
    orders: NDArray[np.int32]

    @property
    def kinds(self) -> dict[str, Kind]:
        """Every column that can be judged, popularity included."""
        labels: dict[str, Kind] = dict.fromkeys((*self.labels, POPULARITY), "label")
        return {**labels, **dict.fromkeys(self.numbers, "number")}

    def buckets(self, learn: Rows) -> NDArray[np.int32]:
        """Popularity bucket of each event's item (n,), learned on some rows; -1 for items those rows lack.

        Such items have no bucket on either side, else every launch of an item would look like drift.
        """
        counts = np.bincount(self.items[learn], minlength=int(self.items.max()) + 1)
        order = np.argsort(-counts, kind="stable")
        middle = (np.cumsum(counts[order]) - counts[order] / 2) / max(counts.sum(), 1)
        bucket = np.empty(counts.size, np.int32)
        bucket[order] = np.minimum((middle * len(BUCKETS)).astype(np.int32), len(BUCKETS) - 1)
        bucket[counts == 0] = -1
        return bucket[self.items]

    def column(self, name: str, rows: Rows, learn: Rows) -> NDArray[np.float64]:
        """The known values of a column in some rows; a label's code as float."""
        if name in self.numbers:
            values = self.numbers[name][rows]
            return values[~np.isnan(values)]
        codes = (self.buckets(learn) if name == POPULARITY else self.labels[name])[rows]
        return codes[codes >= 0].astype(np.float64)

    def measure(self, learn: Rows, judged: Rows, window: Rows) -> dict[str, float]:
        """Distance of the window's rows from the judged rows in each column; nan where either has none."""
        return {
            name: distance(self.column(name, judged, learn), self.column(name, window, learn), kind)
            for name, kind in self.kinds.items()
        }


def encode(reference: pa.Table, current: pa.Table, items: pa.Table, users: pa.Table | None) -> Log:
    """The judged columns of both tables (schema INTERACTIONS), with what items and users add to them."""
    table = pa.concat_tables([reference, current])
    sources = [("category", "item_id", items), ("segment", "user_id", users), ("region", "user_id", users)]
    labels, names = {}, {}
    for name, key, source in sources:
        if source is not None:
            values = _looked_up(table[key], source[key], source[name])
            labels[name], names[name] = _labels(values, reference.num_rows)
    numbers = {
        "log_unit_price": _logs(table["unit_price"]),
        "log_quantity": _logs(table["quantity"]),
        "rating": _floats(table["rating"]),
    }
    numbers = {name: _clipped(values, reference.num_rows) for name, values in numbers.items()}
    seconds = table["timestamp"].cast(pa.int64()).to_numpy() / 1e6
    days = pa.array(np.floor(seconds / 86400).astype(np.int64)).cast(pa.string())
    # Without orders, what a user did in one day.
    orders = pc.coalesce(table["order_id"], pc.binary_join_element_wise(table["user_id"], days, " "))
    return Log(reference.num_rows, numbers, labels, names, _codes(table["item_id"]), seconds, _codes(orders))


def distance(judged: NDArray[np.float64], window: NDArray[np.float64], kind: Kind) -> float:
    """Evidently's own score of two samples: PSI of numbers, Jensen-Shannon distance of labels.

    Its bins for numbers: Sturges' over both samples together. nan if a sample is empty.
    """
    if not judged.size or not window.size:
        return float("nan")
    values = np.unique(judged)
    if kind == "number" and values.size > FEW_VALUES:
        edges = np.histogram_bin_edges(np.concatenate([judged, window]), bins="sturges")
        was, now = np.histogram(judged, edges)[0] / judged.size, np.histogram(window, edges)[0] / window.size
    else:
        values = np.union1d(values, window)
        was, now = shares(judged, values), shares(window, values)
    if METHODS[kind] == "jensenshannon":
        return float(jensenshannon(was, now))
    was, now = _filled(was), _filled(now)
    return float(np.sum((was - now) * np.log(was / now)))


def shares(sample: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What part of the sample each value is, (n_values,); values are sorted and hold all of the sample."""
    return np.bincount(np.searchsorted(values, sample), minlength=values.size) / sample.size


def halves(log: Log, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A random half of the orders, (n,): it teaches the popularity buckets, the other half is judged."""
    return (rng.random(int(log.orders.max()) + 1) < 0.5)[log.orders]


def thinned(rows: Rows, most: int, rng: np.random.Generator) -> Rows:
    """At most so many of the rows, drawn without replacement, in order."""
    return rows if rows.size <= most else np.sort(rng.choice(rows, most, replace=False))


def past_windows(log: Log, min_rows: int, most: int = 20) -> list[NDArray[np.bool_]]:
    """Stretches of the reference as long as the current window, newest first, each (n_reference,)."""
    seconds, current = log.seconds[: log.n_reference], log.seconds[log.n_reference :]
    length = max(float(np.ptp(current)), 3600.0)  # seconds
    number = np.floor((seconds.max() - seconds) / length).astype(np.int64)
    whole = int(np.ptp(seconds) / length)
    counts = np.bincount(number, minlength=whole)
    fit = [block for block in range(whole) if counts[block] >= min_rows]
    return [number == block for block in fit[:most]]


def chance_windows(log: Log, rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    """Random orders of the reference, about as many events as the current window holds, at most half."""
    orders = log.orders[: log.n_reference]
    part = min(0.5, (log.seconds.size - log.n_reference) / log.n_reference)
    return [(rng.random(int(orders.max()) + 1) < part)[orders] for _ in range(DRAWS)]


def limits(
    log: Log,
    floors: Mapping[Kind, float],
    max_rows: int,
    min_rows: int,
    alarm_rate: float,
    rng: np.random.Generator,
) -> dict[str, float]:
    """The score each column must reach to count as drift: the more of its floor and what chance explains.

    Past windows of the current one's length are scored against the rest of the reference just as the current
    one will be, buckets learned anew; the limit is what the next such score exceeds with probability
    alarm_rate / n_columns (Student's prediction interval, Bonferroni). A reference too short for six such
    windows lends random orders instead: chance alone, no seasons.
    """
    windows = past_windows(log, min_rows)
    if len(windows) < MIN_BLOCKS:
        windows = chance_windows(log, rng)
    half, rows = halves(log, rng)[: log.n_reference], np.arange(log.n_reference)
    n_current = min(max_rows, log.seconds.size - log.n_reference)
    scores: dict[str, list[float]] = {name: [] for name in log.kinds}
    for window in windows:
        judged = thinned(rows[~half & ~window], max_rows, rng)
        measured = log.measure(rows[half & ~window], judged, thinned(rows[window], n_current, rng))
        for name, score in measured.items():
            scores[name].append(score)
    chance = {name: prediction_limit(np.array(values), alarm_rate / len(scores)) for name, values in scores.items()}
    return {name: max(floors[kind], chance[name]) for name, kind in log.kinds.items()}


def prediction_limit(scores: NDArray[np.float64], alpha: float) -> float:
    """What the next of such scores stays below with probability 1 - alpha; 0 if fewer than two are known."""
    known = scores[~np.isnan(scores)]
    if known.size < 2:
        return 0.0
    spread = float(known.std(ddof=1)) * np.sqrt(1 + 1 / known.size)
    return float(known.mean() + student.ppf(1 - alpha, known.size - 1) * spread)


def _looked_up(keys: pa.ChunkedArray, known: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.take(values.combine_chunks(), pc.index_in(keys, value_set=known.combine_chunks()))


def _labels(values: pa.ChunkedArray, n_reference: int) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Codes and names; labels that are rare in the reference become "other"."""
    counted = pc.value_counts(values.slice(0, n_reference).drop_null())
    names, counts = counted.field("values").to_pylist(), counted.field("counts").to_numpy()
    kept = [names[i] for i in np.argsort(-counts, kind="stable")[:LABELS_KEPT]]
    code = pc.index_in(values, value_set=pa.array(kept, pa.string()))
    other = pa.scalar(len(kept), pa.int32())
    code = pc.if_else(pc.is_valid(values), pc.coalesce(code, other), pa.scalar(-1, pa.int32()))
    return code.to_numpy().astype(np.int32), (*kept, "other")


def _codes(values: pa.ChunkedArray) -> NDArray[np.int32]:
    indices: NDArray[np.int32] = values.combine_chunks().dictionary_encode().indices.to_numpy()
    return indices.astype(np.int32)


def _floats(values: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(values.to_numpy(), np.float64)


def _logs(values: pa.ChunkedArray) -> NDArray[np.float64]:
    floats = _floats(values)
    return np.log(floats, out=np.full(floats.shape, np.nan), where=floats > 0)


def _clipped(values: NDArray[np.float64], n_reference: int) -> NDArray[np.float64]:
    known = values[:n_reference][~np.isnan(values[:n_reference])]
    if np.unique(known).size <= FEW_VALUES:
        return values
    return np.clip(values, *np.quantile(known, [CLIP, 1 - CLIP]))


def _filled(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """Empty bins get a trifle, as in Evidently: its PSI takes logarithms."""
    least = part[part > 0].min()
    return np.where(part == 0, least / 1e6 if least <= 1e-4 else 1e-4, part)
