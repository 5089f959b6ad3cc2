"""Somebody else's split as a log and a case: what a model may learn from, and what it is asked."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recommenders.datasets.benchmark_files import read_events, read_items, read_negatives
from recommenders.errors import DataError
from recommenders.evaluation import rank
from recommenders.evaluation.figures import Values
from recommenders.evaluation.tasks.sampled import Candidates, draw_lots, rank_candidates
from recommenders.evaluation.tasks.task import Case, View, ones
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions, in_order
from recommenders.features.items import ItemFeatures, encode_items
from recommenders.metrics.ranking import all_metrics
from recommenders.models.recommender import Recommender

if TYPE_CHECKING:
    import pyarrow as pa

DAY_SECONDS = 86_400.0
EPOCH = (631_152_000.0, 4_102_444_800.0)  # 1990 and 2100, in seconds since 1970
UNITS = (1.0, 1e3, 1e6)  # seconds, milliseconds, microseconds: how many a second has


@dataclass(frozen=True, eq=False)
class External:
    """A benchmark that came as files."""

    log: Interactions
    case: Case
    candidates: Candidates | None  # None: all items of the training data
    order_given: bool  # whether the times say in which order any user's events came
    test_rows: dict[str, int]  # read = judged + repeated + cold_users + cold_items + known
    negatives: dict[str, int]  # read, other_users (not judged), unknown_items (in no row of the training data)
    features: ItemFeatures | None = None  # what is known of its items, where a file tells

    def judge(self, model: Recommender, k: int) -> dict[str, dict[str, Values]]:
        """View -> "metric@k" -> one value a user, (n_users,): among the candidates, or all items in each view."""
        if self.candidates is None:
            views = self.case.views()
            ranked = rank.rank(model, self.case, views, k)
        else:
            views = {"all": View(self.case.relevant, False)}
            ranked = {"all": rank_candidates(model, self.case, self.candidates, k)}
        return {name: all_metrics(ranked[name], view.relevant) for name, view in views.items()}


@dataclass(frozen=True)
class Files:
    """Where a benchmark lies. repeat: users come back to items they know."""

    train: Path
    test: Path
    negatives: Path | None = None
    items: Path | None = None
    repeat: bool = False

    def read(self, seed: int) -> External:
        """The benchmark, with what is known of its items where a file tells. Raises DataError."""
        train, test = read_events(self.train, "--train"), read_events(self.test, "--test")
        negatives = read_negatives(self.negatives) if self.negatives else None
        found = make_external(train, test, negatives, self.repeat, seed)
        return replace(found, features=encode_items(read_items(self.items), found.log.items)) if self.items else found


def make_external(
    train: "pa.Table", test: "pa.Table", negatives: "pa.Table | None" = None, repeat: bool = False, seed: int = 42
) -> External:
    """The benchmark of tables as recommenders.datasets.benchmark_files reads them.

    The log holds the users and items of train and no others, each event with weight 1. It is dated where all times look
    like seconds, milliseconds or microseconds since 1970 and no test event comes before the last of train; else times
    only order each user's events. Ties are put in order as in every log (interactions.in_order). Users and items of
    test that train lacks are left out and counted (among sampled candidates such an item ranks last), and in full
    ranking pairs of user and item that train holds already, unless `repeat`. Raises DataError if nobody is left to ask.
    """
    users, user_rows = _coded(train["user_id"])
    items, item_columns = _coded(train["item_id"])
    if negatives is not None:  # as in papers, a wanted item that nobody could know is a miss, not a user less to judge
        items, item_columns = _extended(items, item_columns, test["item_id"])
    times, dated, horizon = _times(_doubles(train, "time"), _doubles(test, "time"))
    ratings = _doubles(train, "rating")
    strengths = np.where(np.isnan(ratings), np.log(2.0), ratings).astype(np.float32)
    alike = np.ones(len(times), np.float32)
    order = in_order(times, user_rows, item_columns, alike, strengths)
    log = Interactions(
        users,
        items,
        user_rows[order],
        item_columns[order],
        times[order],
        alike,
        strengths[order],
        np.bincount(item_columns, minlength=len(items)) > 0,
        repeat,
        dated,
        horizon,
    )
    case, test_rows = _case(log, test, masked=not repeat and negatives is None)
    candidates: Candidates | None = None
    of_negatives: dict[str, int] = {}
    if negatives is not None:
        candidates, of_negatives = _candidates(case, log, negatives, seed)
        case = replace(case, description=candidates.describe(case))
    return External(log, case, candidates, _ordered(user_rows, times), test_rows, of_negatives)


def _coded(ids: "pa.ChunkedArray") -> tuple[IdMap, NDArray[np.int32]]:
    """All ids of a column, and the row of each entry."""
    coded = ids.combine_chunks().dictionary_encode()
    names = np.asarray(coded.dictionary.to_numpy(zero_copy_only=False), dtype=np.str_)
    order = np.argsort(names)
    places = np.empty(len(names), np.int32)
    places[order] = np.arange(len(names), dtype=np.int32)
    return IdMap(names[order]), places[coded.indices.to_numpy()]


def _extended(known: IdMap, columns: NDArray[np.int32], others: "pa.ChunkedArray") -> tuple[IdMap, NDArray[np.int32]]:
    """The map with more ids in it, and the columns there."""
    whole = IdMap(np.union1d(known.ids, _coded(others)[0].ids))
    return whole, whole.rows(known.ids)[columns]


def _doubles(table: "pa.Table", name: str) -> NDArray[np.float64]:
    return np.asarray(table[name].to_numpy(), dtype=np.float64)


# -- time


def _times(train: NDArray[np.float64], test: NDArray[np.float64]) -> tuple[NDArray[np.int64], bool, float | None]:
    """Microseconds of the training events, whether one cut separates the parts, and the days of test after it.

    Numbers that are no times since 1970 become their rank among each other: they only tell an order.
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


def _ordered(user_rows: NDArray[np.int32], times: NDArray[np.int64]) -> bool:
    """Whether any user has events of two different times."""
    first = np.full(int(user_rows.max(initial=0)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, user_rows, times)
    return bool((times > first[user_rows]).any())


# -- the question


def _case(log: Interactions, test: "pa.Table", masked: bool) -> tuple[Case, dict[str, int]]:
    """What is asked, and where every row of test went; masked: known items stay out of the lists."""
    rows, user_ids = _placed(test["user_id"], log.users)
    columns, item_ids = _placed(test["item_id"], log.items)
    pairs = rows.astype(np.int64) * len(log.items) + columns
    events = log.user_rows.astype(np.int64) * len(log.items) + log.item_columns
    warm = (rows >= 0) & (columns >= 0)
    known = warm & np.isin(pairs, events) if masked else np.zeros(len(rows), dtype=np.bool_)
    wanted = np.unique(pairs[warm & ~known])
    counts = {
        "read": len(rows),
        "judged": len(wanted),
        "repeated": int((warm & ~known).sum()) - len(wanted),
        "cold_users": int((rows < 0).sum()),
        "cold_items": int(((rows >= 0) & (columns < 0)).sum()),
        "known": int(known.sum()),
    }
    if not len(wanted):
        raise DataError(
            f"nothing can be evaluated: of {counts['read']} test rows {counts['cold_users']} have a user and "
            f"{counts['cold_items']} an item that the training data lacks, {counts['known']} a pair that it holds; "
            "look at whether ids are written alike in both files, or say --repeat where users come back"
        )
    user_rows, places = np.unique(wanted // len(log.items), return_inverse=True)
    relevant = ones(places, wanted % len(log.items), (len(user_rows), len(log.items)))
    stay = "known items masked" if masked else "known items stay"
    case = Case(
        log.users.ids[user_rows],
        user_rows.astype(np.int32),
        log.histories()[user_rows],
        relevant,
        log.available,
        not masked,
        f"full ranking over all {len(log.items)} items of the training data, {stay}",
        len(np.unique(user_ids[rows < 0])),
        len(np.unique(item_ids[columns < 0])),
    )
    return case, counts


def _placed(ids: "pa.ChunkedArray", known: IdMap) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Of each entry the row in the known ids, -1 where it is none of them; and a number that tells ids apart."""
    distinct, codes = _coded(ids)
    return known.rows(distinct.ids)[codes], codes


def _candidates(case: Case, log: Interactions, negatives: "pa.Table", seed: int) -> tuple[Candidates, dict[str, int]]:
    rows, _ = _placed(negatives["user_id"], log.users)
    columns, codes = _placed(negatives["item_id"], log.items)
    asked = np.isin(rows, case.user_rows)
    numbers = np.where(columns >= 0, columns, len(log.items) + codes).astype(np.int64)[asked]
    places = np.searchsorted(case.user_rows, rows[asked]).astype(np.int64)
    without = np.setdiff1d(np.arange(len(case.user_ids)), places)
    if len(without):
        first = str(case.user_ids[without[0]])
        raise DataError(
            f"--negatives: {len(without)} of {len(case.user_ids)} test users have none, the first {first!r}; "
            "allowed: sampled items for every user of the test file; add them, or leave --negatives out"
        )
    counts = {
        "read": len(rows),
        "other_users": int((~asked).sum()),
        "unknown_items": int((columns[asked] < 0).sum()),
    }
    return draw_lots(case, places, numbers, seed), counts
