"""Measures whether the scores of the service are probabilities: hybrid_learned on the test window of each data set.

    python benchmarks/calibration.py [--data-sets NAME ...] [--quick] [--json]

The curves are learned before the test window, when the model is fitted; the test window only measures them. Each row is
the expected calibration error (10 bins of equal width; Naeini et al. 2015) of the lists of one kind: the items of each
user's list, their probabilities, and whether the user bought them in the window. On custom_b2b, one row compares with
the true purchase probabilities of the simulated market, of users who buy anything, instead of one outcome of them.
"""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from measuring import result_table
from measuring.benchmark_tasks import DATASETS, LATER_VISITS, SEED, BenchmarkTask, MissingData, benchmark_task
from measuring.fitted_models import fitted
from measuring.synthetic.market_truth import buyer_probabilities, window_probabilities
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.evaluation.statistics.reliability import reliability
from recommenders.events.histories import Histories
from recommenders.models.calibration import BANDS, Kind, RankedUsers
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import Recommender
from recommenders.training.configuration import TrainingConfig

FLOOR = 0.02
FLAGSHIP = "hybrid_learned"
WITH_A_FLOOR = ("custom_b2b", "online_retail")


class ListsOfAKind(NamedTuple):
    """Lists with probabilities: item columns (n, k), with -1; probabilities and what was bought, (n, k)."""

    columns: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    bought: NDArray[np.bool_]


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    parser = result_table.arguments(__doc__)
    parser.add_argument("--data-sets", nargs="+", choices=DATASETS, default=[*DATASETS], metavar="NAME")
    options = parser.parse_args()
    started = time.perf_counter()
    print(result_table.HEAD)
    rows = []
    for name in ["custom_b2b"] if options.quick else options.data_sets:
        try:
            task = benchmark_task(name, scale=0.1 if options.quick else 1.0)
        except MissingData as error:
            print(f"{name} is skipped: {error}")
            continue
        for row in rows_of(task):
            rows.append(row)
            result_table.show(row)
    whole = not options.quick and set(options.data_sets) == set(DATASETS)
    result_table.finish("calibration", rows, started, options.as_json, {}, whole)


def rows_of(task: BenchmarkTask) -> Iterator[dict[str, Any]]:
    """The rows of a data set."""
    model = fitted(FLAGSHIP, task, TrainingConfig())
    assert isinstance(model, Recommender)
    if model.calibration_ is None:
        print(f"{task.name}: too few held-out users, the model is not calibrated")
        return
    deep = lists_of(model, task, "all", BANDS[-1])
    for start, end in zip((0, *BANDS), BANDS, strict=False):
        part = ListsOfAKind(*(array[:, start:end] for array in deep))
        floor = FLOOR if start == 0 and task.name in WITH_A_FLOOR else None
        yield error_row(f"{task.name}, all items, ranks {start + 1} to {end}", part, floor)
    for kind in ("reorder", "discovery") if task.case.repeat else ():
        yield error_row(f"{task.name}, {kind}, ranks 1 to {BANDS[0]}", lists_of(model, task, kind, BANDS[0]))
    if LATER_VISITS in task.cold:
        yield error_row(f"{task.name}, {LATER_VISITS}", cold_start_lists(model, task))
    yield error_row(f"{task.name}, popular items, for the users of the window", popular_lists(model, task))
    if task.name == "custom_b2b":
        yield truth_row(task, ListsOfAKind(*(array[:, : BANDS[0]] for array in deep)))


def error_row(what: str, lists: ListsOfAKind, floor: float | None = None) -> dict[str, Any]:
    """The calibration error of lists."""
    listed = lists.columns >= 0
    found = reliability(lists.probabilities[listed], lists.bought[listed])
    means = {
        "predicted": result_table.rounded(float(lists.probabilities[listed].mean(dtype=np.float64))),
        "observed": result_table.rounded(float(lists.bought[listed].mean())),
    }
    note = f"{len(lists.columns)} users; mean probability {means['predicted']}, bought {means['observed']}"
    error = found["expected_calibration_error"]
    return result_table.row(what, "calibration error", error, floor=floor, lower_is_better=True, note=note, **means)


def lists_of(model: Recommender, task: BenchmarkTask, kind: Kind, k: int) -> ListsOfAKind:
    """The lists of the users of the window: of all items, of bought items or of items that are new to the user."""
    case, users = task.case, task.views[kind]
    if kind == "reorder":
        columns, scores = reorder_lists(model, task, k)
    else:
        columns, scores = model.recommend(
            case.user_rows, case.histories, k, case.candidates, users.exclude_known or kind == "discovery"
        )
    return with_probabilities(model, kind, columns, scores, case.relevant)


def reorder_lists(model: Recommender, task: BenchmarkTask, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k best items of each user's history, as the scene `reorder` makes them."""
    case, lists = task.case, []
    for place in range(len(case.user_rows)):
        user = slice(place, place + 1)
        items = np.unique(case.histories[user].item_columns)
        items = items[case.candidates[items]].astype(np.int32)
        scores = np.full(k, -np.inf, np.float32)
        columns = np.full(k, -1, np.int32)
        if len(items):
            found = model.score_items(case.user_rows[user], case.histories[user], items[None])[0]
            order = np.argsort(-found, kind="stable")[:k]
            columns[: len(order)], scores[: len(order)] = items[order], found[order]
        lists.append((columns, scores))
    return np.stack([columns for columns, _ in lists]), np.stack([scores for _, scores in lists])


def cold_start_lists(model: Recommender, task: BenchmarkTask) -> ListsOfAKind:
    """The lists of cold-start users after their first visit."""
    cold = task.cold[LATER_VISITS]
    exclude_known = task.cold_view(LATER_VISITS).exclude_known
    columns, scores = model.recommend(cold.user_rows, cold.histories, BANDS[0], cold.candidates, exclude_known)
    return with_probabilities(model, "cold_start", columns, scores, cold.relevant)


def popular_lists(model: Recommender, task: BenchmarkTask) -> ListsOfAKind:
    """The list that a user without any data gets, for the users of the window."""
    popularity = model.base_models_[Popularity.name]
    assert isinstance(popularity, Popularity)
    nothing = Histories.from_lists([[]], len(task.log.items))
    columns, scores = popularity.recommend(np.array([-1], np.int32), nothing, BANDS[0], task.case.candidates)
    n = len(task.case.user_rows)
    scores = np.repeat(popularity.shares(scores), n, axis=0)
    return with_probabilities(model, "popularity", np.repeat(columns, n, axis=0), scores, task.case.relevant)


def with_probabilities(
    model: Recommender, kind: Kind, columns: NDArray[np.int32], scores: NDArray[np.float32], relevant: csr_array
) -> ListsOfAKind:
    """The lists with what the service would answer as scores."""
    assert model.calibration_
    probabilities = model.calibration_.probabilities(kind, scores)
    assert probabilities is not None
    return ListsOfAKind(columns, probabilities, RankedUsers.of(columns, scores, relevant).bought)


def truth_row(task: BenchmarkTask, lists: ListsOfAKind) -> dict[str, Any]:
    """The distance from the true probabilities, in bins as the calibration error has them.

    A score is a probability for users who buy anything, so it is compared with the true one given that.
    """
    days = task.protocol.test_days
    cut = pc.max(task.interactions["timestamp"]).as_py() - timedelta(days=days)
    true = window_probabilities(task.scale, SEED, task.case, task.log.items, cut, days)
    listed = lists.columns >= 0
    true /= buyer_probabilities(task.scale, SEED, task.case, cut, days)[:, None]
    expected = np.take_along_axis(true, np.maximum(lists.columns, 0), axis=1)[listed]
    found = reliability(lists.probabilities[listed], expected)
    note = f"mean probability {lists.probabilities[listed].mean():.4f}, true {expected.mean():.4f}"
    what = f"{task.name}, all items, ranks 1 to {BANDS[0]}, true probabilities"
    return result_table.row(
        what, "calibration error", found["expected_calibration_error"], lower_is_better=True, note=note
    )


if __name__ == "__main__":
    main()
