"""Checks reasons of hybrid_learned: whether each counterfactual is true when the list is made again, and the time.

    python benchmarks/explanations.py [--counterfactuals 1000] [--quick] [--json]

hybrid_learned is fitted on custom_b2b up to its cut. Lists of ten items for users of the log, in the scenes for_you,
discover and reorder in turn, are explained until there are enough counterfactuals. Each is checked in another way than
it was found: the events are removed from the log that the model keeps, and serving.lists.predictor makes the list anew.
The parts of each score must add up to it.
"""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from measuring import result_table
from measuring.benchmark_tasks import benchmark_task
from measuring.fitted_models import bundle_of
from predict_path import FLAGSHIP, QUICK_SCALE
from threadpoolctl import threadpool_limits

from recommenders.training.configuration import TrainingConfig
from serving.lists.explanations import Counterfactual, Explanation
from serving.lists.predictor import Prediction, Predictor
from serving.lists.query import Scene

K = 10
SCENES: tuple[Scene, ...] = ("for_you", "discover", "reorder")
TOLERANCE = 1e-4  # of a sum of parts: scores are of single precision


@dataclass
class Explained:
    """One list with its reasons, and the seconds that both took."""

    user_id: str
    scene: Scene
    served: Prediction
    counterfactuals: list[list[Counterfactual]]
    error: float  # largest difference between a score and the sum of its parts
    list_seconds: float
    reasons_seconds: float


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    parser = result_table.arguments(__doc__)
    parser.add_argument("--counterfactuals", type=int, default=1000, help="how many are checked")
    options = parser.parse_args()
    wanted = 50 if options.quick else options.counterfactuals
    started = time.perf_counter()
    task = benchmark_task("custom_b2b", scale=QUICK_SCALE if options.quick else 1.0)
    folder = bundle_of(FLAGSHIP, task, TrainingConfig())
    with threadpool_limits(1):  # as in the service
        rows = measure(Predictor(folder), wanted)
    print(result_table.HEAD)
    for line in rows:
        result_table.show(line)
    whole = not options.quick and wanted >= parser.get_default("counterfactuals")
    result_table.finish("explanations", rows, started, options.as_json, {}, whole)


def measure(predictor: Predictor, wanted: int) -> list[dict[str, object]]:
    """The rows of the table. wanted: the number of counterfactuals to check."""
    predictor.warm_up()
    moment = predictor.lists.moment(time.time_ns() // 1000)
    lists: list[Explained] = []
    n_true = n_checked = 0
    for one in explained_lists(predictor, moment):
        lists.append(one)
        for item_id, found in zip(one.served.item_ids, one.counterfactuals, strict=True):
            for counterfactual in found:
                n_true += holds(predictor, one, item_id, counterfactual, moment)
                n_checked += 1
        if n_checked >= wanted:
            break
    items = [found for one in lists for found in one.counterfactuals]
    errors = [one.error for one in lists]
    return [
        result_table.row(f"counterfactuals that hold, of {n_checked}", "share", n_true / max(n_checked, 1), floor=1.0),
        result_table.row(
            f"sums of parts that are the score, of {len(lists)} lists", "share", share_within(errors), floor=1.0
        ),
        result_table.row("items with a counterfactual", "share", np.mean([bool(found) for found in items])),
        result_table.row("a list, p50", "ms", 1000 * np.median([one.list_seconds for one in lists])),
        result_table.row("its reasons, p50", "ms", 1000 * np.median([one.reasons_seconds for one in lists])),
        result_table.row("its reasons, p99", "ms", 1000 * np.quantile([one.reasons_seconds for one in lists], 0.99)),
    ]


def share_within(errors: list[float]) -> float:
    """The share of the errors that are rounding."""
    return float(np.mean(np.array(errors) <= TOLERANCE))


def explained_lists(predictor: Predictor, moment: int) -> Iterator[Explained]:
    """Lists of users of the log in random order, with their reasons."""
    users = np.random.default_rng(42).permutation(predictor.model.users_.ids).tolist()
    for place, user_id in enumerate(users):
        scene = SCENES[place % len(SCENES)]
        began = time.perf_counter()
        served = predictor.predict(user_id, [], K, moment, scene)
        listed = time.perf_counter()
        explanation = Explanation(predictor, predictor.query(user_id, [], scene)[0], K, moment)
        for column in explanation.trials():
            explanation.rank_without(column)
        reasons = explanation.reasons()
        seconds = time.perf_counter() - listed
        sums = [sum(part.amount for part in one.contributions) for one in reasons]
        error = max((abs(a - b) for a, b in zip(sums, served.scores, strict=True)), default=0.0)
        found = [one.counterfactuals for one in reasons]
        yield Explained(user_id, scene, served, found, error, listed - began, seconds)


def holds(predictor: Predictor, one: Explained, item_id: str, found: Counterfactual, moment: int) -> bool:
    """Whether the item has the ranks of a counterfactual, in the list and in that without the events."""
    model, again = copy.copy(predictor.model), copy.copy(predictor)
    row, column, events = model.users_.row(one.user_id), model.items_.row(found.without), model.histories_
    kept = events.select((events.rows != row) | (events.item_columns != column))
    model.context_ = replace(model.context_, histories=kept)
    again.model = model
    exclude = [found.without] if one.scene == "discover" else []
    depth = max(K, model.longest_list)
    ids = again.predict(one.user_id, [], depth, moment, one.scene, exclude).item_ids
    place = ids.index(item_id) + 1 if item_id in ids else None
    return (found.rank, found.rank_without) == (one.served.item_ids.index(item_id) + 1, place)


if __name__ == "__main__":
    main()
