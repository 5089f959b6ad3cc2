"""Lists that a fitted model gives to the users of a simulated market, week by week, and changes of these lists.

A version is EASE, fitted on the events before its release. It serves for SERVED weeks: each order of the log asks for a
list just before it, of the items on sale then, by all earlier events of the user. Users without an event get the most
popular items. So a version's lists differ from week to week by who asks, by what users bought meanwhile (with seasons),
and by the items on sale.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from measuring.drift.logs import Log
from monitoring.online.reader import LISTS, OnlineReader
from monitoring.predictions.drift import PredictionDrift, prediction_drift
from recommenders.datasets.all_datasets import dataset
from recommenders.events.histories import Histories
from recommenders.math.ranked import mask_and_rank
from recommenders.metrics.ranking import K
from recommenders.models.ease import EASE
from recommenders.splitting.temporal import training_log

DAY = 86_400_000_000
TRAINED, SERVED = 22, 8  # weeks before the first release, and of each version
CHANGED_AT, CHANGED = 4, 3  # the first changed week of a version, and how many
KEPT_DAYS, VERSION = 30, 1
Arrays = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Requests:
    """The requests to a version, in order of time: (n,) times and users, (n, n_items) scores and items on sale.

    Items that are not on sale are in no list. item_ids, categories, popularity: (n_items,).
    """

    released: datetime
    times: Arrays
    users: Arrays
    known: Arrays
    scores: Arrays
    on_sale: Arrays
    item_ids: Arrays
    categories: Arrays
    popularity: Arrays

    def in_weeks(self, first: int, last: int) -> Arrays:
        """(n,) whether a request is in the weeks from the first one to before the last one after the release."""
        begin = int(self.released.timestamp() * 1e6) // DAY * DAY
        return (self.times >= begin + first * 7 * DAY) & (self.times < begin + last * 7 * DAY)


Change = Callable[[Requests, Arrays], Requests]  # gets the requests, and which of them are changed


@dataclass(frozen=True)
class StoredLists(OnlineReader):
    """The lists as the feedback store would return them (OnlineReader.lists)."""

    table: pa.Table

    def lists(self, begin: int, end: int) -> Iterator[pa.RecordBatch]:
        first, last = np.searchsorted(self.table["answered_at"].to_numpy(), [begin, end])
        yield from self.table.slice(first, last - first).to_batches()


def versions(log: Log) -> Iterator[Requests]:
    """The requests to each version that serves for SERVED whole weeks of the log."""
    start, end = int(log.seconds.min() * 1e6), int(log.seconds.max() * 1e6)
    for release in range((start // DAY + 7 * TRAINED) * DAY, end - 7 * SERVED * DAY, 7 * SERVED * DAY):
        yield requests(log, release)


def requests(log: Log, release: int) -> Requests:
    """The requests to the version that is fitted and released at a time, in microseconds."""
    events, released = log.events, datetime.fromtimestamp(release / 1e6, UTC)
    times = events["timestamp"].cast(pa.int64()).to_numpy()
    fitted_on = training_log(
        events.filter(pa.array(times < release)), log.items, dataset("custom_b2b").protocol, released
    )
    model, ids = EASE().fit(fitted_on), fitted_on.items
    columns, users = ids.rows(events["item_id"].to_numpy()), events["user_id"].to_numpy()
    _, first = np.unique(events["order_id"].to_numpy().astype(str), return_index=True)
    first = np.sort(first)
    asked = first[(times[first] >= release) & (times[first] < release + 7 * SERVED * DAY)]
    codes = events["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    histories = _histories(codes, columns, times, asked, len(ids))
    known = histories.counts > 0
    popularity = np.bincount(fitted_on.item_columns, minlength=len(ids)) / len(fitted_on)
    scores = np.maximum(model.score(np.full(asked.size, -1, np.int32), histories), 1e-3)
    scores /= 1 + scores  # as probabilities, in the same order
    scores[~known] = popularity
    periods = fitted_on.sale_periods
    on_sale = (periods.begins <= times[asked, None]) & (times[asked, None] < periods.ends)
    named = dict(zip(log.items["item_id"].to_pylist(), log.items["category"].to_pylist(), strict=True))
    categories = np.array([named.get(id_, "") for id_ in ids.ids.tolist()])
    return Requests(
        released, times[asked], users[asked], known, scores, on_sale, ids.ids, categories, popularity.astype(np.float32)
    )


def _histories(users: Arrays, columns: Arrays, times: Arrays, asked: Arrays, n_items: int) -> Histories:
    """The events of known items before each request, (n_requests, n_items). users: codes, (n,)."""
    known = np.flatnonzero(columns >= 0)
    known = known[np.argsort(users[known], kind="stable")]  # by user, in order of time
    begins = np.searchsorted(users[known], np.arange(users.max() + 2))
    of_users = [known[begins[user] : begins[user + 1]] for user in users[asked]]
    rows = [events[: np.searchsorted(events, at)] for events, at in zip(of_users, asked, strict=True)]
    indptr = np.concatenate([[0], np.cumsum([len(each) for each in rows])])
    events = np.concatenate(rows)
    ones = np.ones(events.size, np.float32)
    return Histories(indptr, columns[events].astype(np.int32), times[events], ones, n_items)


def stored(asked: Requests) -> StoredLists:
    """The lists for the requests: the K best items on sale."""
    ranked = mask_and_rank(np.where(asked.on_sale, asked.scores, -np.inf), K, np.ones(asked.item_ids.size, bool), None)
    lists = [
        json.dumps(
            [
                {"item_id": str(asked.item_ids[column]), "rank": rank, "score": float(score)}
                for rank, (column, score) in enumerate(zip(columns, scores, strict=True), 1)
                if column >= 0
            ]
        )
        for columns, scores in zip(ranked.item_columns.tolist(), ranked.scores.tolist(), strict=True)
    ]
    n = len(lists)
    strategies = np.where(asked.known, "known_user", "popularity")
    made_by = [["for_you"] * n, strategies, [VERSION] * n]
    columns = [[str(i) for i in range(n)], asked.times, asked.users, *made_by, lists]
    return StoredLists(
        pa.table([pa.array(values, field.type) for values, field in zip(columns, LISTS, strict=True)], LISTS)
    )


def week_drift(lists: StoredLists, items: pa.Table, released: datetime, week: int) -> PredictionDrift:
    """The result after so many weeks of a version."""
    now = int(released.timestamp() * 1e6) + 7 * week * DAY + DAY // 24
    return prediction_drift("", lists, [items], VERSION, released, now, KEPT_DAYS)[0]


def still_alarms(asked: Requests, items: pa.Table) -> list[list[str]]:
    """The figures that drift in each window of a version without a change of its own."""
    lists = stored(asked)
    weeks = (week_drift(lists, items, asked.released, week) for week in range(2, SERVED + 1))
    return [[column.name for column in found.columns if column.drifted] for found in weeks if found.columns]


def list_delays(asked: Requests, items: pa.Table, changes: Mapping[str, tuple[Change, str]]) -> dict[str, Any]:
    """name -> the first changed window with an alarm (None: none), and whether it puts the named figure first."""
    found, changed = {}, asked.in_weeks(CHANGED_AT, CHANGED_AT + CHANGED)
    for name, (change, figure) in changes.items():
        lists = stored(change(asked, changed))
        found[name] = {"delay": None, "named": False, "by": None}
        for delay in range(1, CHANGED + 1):
            columns = week_drift(lists, items, asked.released, CHANGED_AT + delay).columns
            if columns and columns[0].drifted:
                found[name] = {"delay": delay, "named": columns[0].name == figure, "by": columns[0].name}
                break
    return found


def promised(category: str) -> dict[str, tuple[Change, str]]:
    """name -> change, and the figure that it changes most."""
    return {
        "lists: a category is missing": (_without(category), "category"),
        "lists: scores are halved": (_scaled(0.5), "score"),
        "lists: all users get the most popular items": (_popular(1.0), "coverage"),
    }


def smaller(category: str) -> dict[str, tuple[Change, str]]:
    """The same for changes that are measured and not promised."""
    return {
        "lists: scores are a fifth lower": (_scaled(0.8), "score"),
        "lists: a tenth of the lists has the most popular items": (_popular(0.1), "coverage"),
    }


def _without(category: str) -> Change:
    def change(asked: Requests, changed: Arrays) -> Requests:
        return replace(asked, on_sale=asked.on_sale & ~(changed[:, None] & (asked.categories == category)))

    return change


def _scaled(factor: float) -> Change:
    def change(asked: Requests, changed: Arrays) -> Requests:
        return replace(asked, scores=np.where(changed[:, None], asked.scores * factor, asked.scores))

    return change


def _popular(share: float) -> Change:
    """The order of these lists is that of popularity, with the scores of the items that they had."""

    def change(asked: Requests, changed: Arrays) -> Requests:
        hit = changed & (np.random.default_rng(0).random(changed.size) < share)
        order = np.argsort(-np.where(asked.on_sale[hit], asked.popularity, -1), axis=1, kind="stable")
        falling = -np.sort(-np.where(asked.on_sale[hit], asked.scores[hit], 0), axis=1)
        scores = asked.scores.copy()
        scores[hit] = np.take_along_axis(falling, np.argsort(order, axis=1), axis=1)
        return replace(asked, scores=scores)

    return change
