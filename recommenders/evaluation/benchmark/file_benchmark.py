"""Reads a benchmark with a given split from files, and makes its training log and its evaluation task."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recommenders.datasets.benchmark_files import read_events, read_items, read_negatives
from recommenders.errors import DataError
from recommenders.evaluation import rank
from recommenders.evaluation.statistics.report_values import Values
from recommenders.evaluation.tasks.sampled import Candidates, rank_candidates, shuffled_candidates
from recommenders.evaluation.tasks.task import EvaluationTask, TaskView
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions, event_order
from recommenders.features.items import ItemFeatures, encode_items
from recommenders.math.sparse import ones
from recommenders.metrics.ranking import all_metrics
from recommenders.models.recommender import Recommender

if TYPE_CHECKING:
    import pyarrow as pa

DAY_SECONDS = 86_400.0
EPOCH = (631_152_000.0, 4_102_444_800.0)  # 1990 and 2100, in seconds since 1970
UNITS = (1.0, 1e3, 1e6)  # ticks per second of seconds, milliseconds, microseconds


@dataclass(frozen=True, eq=False)
class FileBenchmark:
    """A benchmark from files: training log and evaluation task."""

    log: Interactions
    task: EvaluationTask
    candidates: Candidates | None  # None: all items of the training data
    order_given: bool  # whether the times give an order of events for any user
    test_rows: dict[str, int]  # read = judged + repeated + cold_users + cold_items + known
    negatives: dict[str, int]  # read, other_users (not evaluated), unknown_items (not in the training data)
    features: ItemFeatures | None = None  # of the items, if there is an items file

    def evaluate(self, model: Recommender, k: int) -> dict[str, dict[str, Values]]:
        """View -> "metric@k" -> one value per user, (n_users,): over the candidates, or over all items in each view."""
        if self.candidates is None:
            views = self.task.views()
            ranked = rank.rank_users(model, self.task, views, k)
        else:
            views = {"all": TaskView(self.task.relevant, False)}
            ranked = {"all": rank_candidates(model, self.task, self.candidates, k)}
        return {name: all_metrics(ranked[name], view.relevant) for name, view in views.items()}


@dataclass(frozen=True)
class BenchmarkFiles:
    """The paths of a benchmark's files. repeat: users consume known items again."""

    train: Path
    test: Path
    negatives: Path | None = None
    items: Path | None = None
    repeat: bool = False

    def read(self, seed: int) -> FileBenchmark:
        """Reads the benchmark, with item features if there is an items file. Raises DataError."""
        train, test = read_events(self.train, "--train"), read_events(self.test, "--test")
        negatives = read_negatives(self.negatives) if self.negatives else None
        found = make_file_benchmark(train, test, negatives, self.repeat, seed)
        return replace(found, features=encode_items(read_items(self.items), found.log.items)) if self.items else found


def make_file_benchmark(
    train: "pa.Table", test: "pa.Table", negatives: "pa.Table | None" = None, repeat: bool = False, seed: int = 42
) -> FileBenchmark:
    """The benchmark from tables as recommenders.datasets.benchmark_files reads them.

    Test rows with a user or item that train lacks are skipped and counted (with sampled candidates such an item ranks
    last). In full ranking without `repeat`, pairs of user and item that train holds are skipped too. Raises DataError
    if no test user is left.
    """
    log = _training_log(train, test, repeat, has_negatives=negatives is not None)
    task, test_rows = _task(log, test, masked=not repeat and negatives is None)
    candidates: Candidates | None = None
    negative_counts: dict[str, int] = {}
    if negatives is not None:
        candidates, negative_counts = _candidates(task, log, negatives, seed)
        task = replace(task, description=candidates.describe(task))
    return FileBenchmark(log, task, candidates, _has_order(log), test_rows, negative_counts)


# -- the training log


def _training_log(train: "pa.Table", test: "pa.Table", repeat: bool, has_negatives: bool) -> Interactions:
    """The log of the users and items of train; each event has weight 1.

    It is dated if all times look like seconds, milliseconds or microseconds since 1970 and no test event is before the
    last event of train; otherwise times only order the events of each user. Ties are ordered as in every log
    (interactions.event_order).
    """
    users, user_rows = _coded(train["user_id"])
    items, item_columns = _coded(train["item_id"])
    if has_negatives:  # as in papers, an unknown relevant item is a miss; its user still counts
        items, item_columns = _extended(items, item_columns, test["item_id"])
    times, dated, horizon = _times(_doubles(train, "time"), _doubles(test, "time"))
    ratings = _doubles(train, "rating")
    strengths = np.where(np.isnan(ratings), np.log(2.0), ratings).astype(np.float32)
    weights = np.ones(len(times), np.float32)
    order = event_order(times, user_rows, item_columns, weights, strengths)
    return Interactions(
        users,
        items,
        user_rows[order],
        item_columns[order],
        times[order],
        weights,
        strengths[order],
        np.bincount(item_columns, minlength=len(items)) > 0,
        repeat,
        dated,
        horizon,
    )


def _coded(ids: "pa.ChunkedArray") -> tuple[IdMap, NDArray[np.int32]]:
    """The map of all ids of a column, and the row of each entry."""
    coded = ids.combine_chunks().dictionary_encode()
    names = np.asarray(coded.dictionary.to_numpy(zero_copy_only=False), dtype=np.str_)
    order = np.argsort(names)
    places = np.empty(len(names), np.int32)
    places[order] = np.arange(len(names), dtype=np.int32)
    return IdMap(names[order]), places[coded.indices.to_numpy()]


def _extended(known: IdMap, columns: NDArray[np.int32], others: "pa.ChunkedArray") -> tuple[IdMap, NDArray[np.int32]]:
    """The map with the ids of `others` added, and the columns in the new map."""
    extended = IdMap(np.union1d(known.ids, _coded(others)[0].ids))
    return extended, extended.rows(known.ids)[columns]


def _doubles(table: "pa.Table", name: str) -> NDArray[np.float64]:
    return np.asarray(table[name].to_numpy(), dtype=np.float64)


def _times(train: NDArray[np.float64], test: NDArray[np.float64]) -> tuple[NDArray[np.int64], bool, float | None]:
    """Microseconds of the training events, whether one cut separates train and test, and the days of test after it.

    Numbers that are not times since 1970 are replaced by their rank, because they only give an order.
    """
    if np.isnan(train).any():
        return np.zeros(len(train), np.int64), False, None
    known = np.concatenate([train, test[~np.isnan(test)]])
    unit = next((unit for unit in UNITS if EPOCH[0] <= known.min() / unit and known.max() / unit <= EPOCH[1]), None)
    if unit is None:
        return np.unique(train, return_inverse=True)[1].astype(np.int64), False, None
    times = np.rint(train * (UNITS[-1] / unit)).astype(np.int64)
    if np.isnan(test).any() or test.min() < train.max():
        return times, False, None
    days = float(test.max() - train.max()) / unit / DAY_SECONDS
    return times, True, days if days > 0 else None


def _has_order(log: Interactions) -> bool:
    """Whether any user has events with different time stamps."""
    first = np.full(len(log.users), np.iinfo(np.int64).max)
    np.minimum.at(first, log.user_rows, log.timestamps)
    return bool((log.timestamps > first[log.user_rows]).any())


# -- the evaluation task


def _task(log: Interactions, test: "pa.Table", masked: bool) -> tuple[EvaluationTask, dict[str, int]]:
    """The task, and the number of test rows of each kind. masked: lists exclude known items."""
    rows, user_ids = _rows_and_codes(test["user_id"], log.users)
    columns, item_ids = _rows_and_codes(test["item_id"], log.items)
    pairs = rows.astype(np.int64) * len(log.items) + columns
    events = log.user_rows.astype(np.int64) * len(log.items) + log.item_columns
    warm = (rows >= 0) & (columns >= 0)
    known = warm & np.isin(pairs, events) if masked else np.zeros(len(rows), dtype=np.bool_)
    relevant_pairs = np.unique(pairs[warm & ~known])
    counts = {
        "read": len(rows),
        "judged": len(relevant_pairs),
        "repeated": int((warm & ~known).sum()) - len(relevant_pairs),
        "cold_users": int((rows < 0).sum()),
        "cold_items": int(((rows >= 0) & (columns < 0)).sum()),
        "known": int(known.sum()),
    }
    if not len(relevant_pairs):
        raise DataError(
            f"nothing can be evaluated: of {counts['read']} test rows {counts['cold_users']} have a user and "
            f"{counts['cold_items']} an item that the training data lacks, {counts['known']} a pair that it holds; "
            "check that ids have the same spelling in both files, or use --repeat if users consume known items again"
        )
    user_rows, places = np.unique(relevant_pairs // len(log.items), return_inverse=True)
    relevant = ones(places, relevant_pairs % len(log.items), (len(user_rows), len(log.items)))
    treatment = "known items masked" if masked else "known items stay"
    task = EvaluationTask(
        log.users.ids[user_rows],
        user_rows.astype(np.int32),
        log.histories()[user_rows],
        relevant,
        log.available,
        not masked,
        f"full ranking over all {len(log.items)} items of the training data, {treatment}",
        len(np.unique(user_ids[rows < 0])),
        len(np.unique(item_ids[columns < 0])),
    )
    return task, counts


def _rows_and_codes(ids: "pa.ChunkedArray", known: IdMap) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """For each entry its row in the known ids, -1 if unknown; and a number that is unique per id."""
    distinct, codes = _coded(ids)
    return known.rows(distinct.ids)[codes], codes


def _candidates(
    task: EvaluationTask, log: Interactions, negatives: "pa.Table", seed: int
) -> tuple[Candidates, dict[str, int]]:
    rows, _ = _rows_and_codes(negatives["user_id"], log.users)
    columns, codes = _rows_and_codes(negatives["item_id"], log.items)
    evaluated = np.isin(rows, task.user_rows)
    numbers = np.where(columns >= 0, columns, len(log.items) + codes).astype(np.int64)[evaluated]
    places = np.searchsorted(task.user_rows, rows[evaluated]).astype(np.int64)
    without = np.setdiff1d(np.arange(len(task.user_ids)), places)
    if len(without):
        first = str(task.user_ids[without[0]])
        raise DataError(
            f"--negatives: {len(without)} of {len(task.user_ids)} test users have none, the first {first!r}; "
            "allowed: sampled items for every user of the test file; add them, or leave --negatives out"
        )
    counts = {
        "read": len(rows),
        "other_users": int((~evaluated).sum()),
        "unknown_items": int((columns[evaluated] < 0).sum()),
    }
    return shuffled_candidates(task, places, numbers, seed), counts
