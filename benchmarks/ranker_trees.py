"""Compares ways to train the trees of hybrid_learned: XGBoost, scikit-learn, and XGBoost's listwise objective.

    python benchmarks/ranker_trees.py [--data-sets NAME ...] [--seeds N] [--quick] [--json]

Each way trains the rankers of the same hybrid_learned on the same examples, with as many trees of the same depth. The
lists are evaluated on the window before the test window, so nothing is chosen on the test window. A row is the mean
over the seeds. Costs are processor seconds of one thread, of training the trees alone.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from measuring import result_table
from measuring.accuracy.entrant_lists import configuration
from measuring.benchmark_tasks import DATASETS, SEED, BenchmarkTask, MissingData, benchmark_task
from measuring.fitted_models import bases
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from xgboost import Booster, QuantileDMatrix, train

from recommenders.evaluation.rank import rank_users
from recommenders.metrics.ranking import K, ndcg
from recommenders.models.ensembles.hybrid_learned import training
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ensembles.hybrid_learned.examples import Examples
from recommenders.models.ensembles.hybrid_learned.tree_training import parameters_of, train_trees
from recommenders.training.fitting import SkippedModel, fit_model

FLAGSHIP = "hybrid_learned"
Scorer = Any  # has score(features) -> (n,)
Trainer = Callable[..., Scorer]


class Scores:
    """The scores of a fitted model of another library."""

    def __init__(self, score: Callable[[NDArray[np.float32]], NDArray[Any]]) -> None:
        self._score = score

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._score(features).astype(np.float32) if len(features) else np.empty(0, np.float32)


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    parser = result_table.arguments(__doc__)
    parser.add_argument("--data-sets", nargs="+", choices=DATASETS, default=[*DATASETS], metavar="NAME")
    parser.add_argument("--seeds", type=int, default=2, help="number of seeds, from 42 on")
    options = parser.parse_args()
    started = time.perf_counter()
    print(result_table.HEAD)
    rows = []
    for name in options.data_sets:
        try:
            task = benchmark_task(name, validation=True, scale=0.1 if options.quick and name == "custom_b2b" else 1.0)
        except MissingData as error:
            print(f"{name}: {error}")
            continue
        for line in rows_of(task, 1 if options.quick else options.seeds):
            result_table.show(line)
            rows.append(line)
    whole = not options.quick and set(options.data_sets) == set(DATASETS)
    result_table.finish("ranker_trees", rows, started, options.as_json, {}, whole)


def rows_of(task: BenchmarkTask, n_seeds: int) -> Iterator[dict[str, Any]]:
    """A row for each view and for the cost: XGBoost against each other way."""
    found = {way: [measure(task, trainer, SEED + seed) for seed in range(n_seeds)] for way, trainer in WAYS.items()}
    means = {
        way: {key: float(np.mean([figures[key] for figures in runs])) for key in runs[0]} for way, runs in found.items()
    }
    ours = means.pop("XGBoost")
    for key, value in ours.items():
        cost = key == "training of the trees"
        for way, theirs in means.items():
            what, unit = f"{task.name}, {key}", "CPU seconds" if cost else "NDCG@10"
            yield result_table.row(what, unit, value, (way, theirs[key]), lower_is_better=cost)


def measure(task: BenchmarkTask, trainer: Trainer, seed: int) -> dict[str, float]:
    """NDCG@10 of each view and of each group of cold-start users, and the cost of the trees."""
    config = configuration(seed=seed)
    base_models = bases(FLAGSHIP, task, config)
    with trained_by(trainer) as spent:
        model = fit_model(FLAGSHIP, config, task.log, base_models, task.features)
    if isinstance(model, SkippedModel):
        raise SystemExit(f"{task.name}: {model.reason}")
    found = {}
    for view, of_view in task.views.items():
        found[view] = float(np.nanmean(ndcg(rank_users(model, task.case, {view: of_view}, K)[view], of_view.relevant)))
    for name, case in task.cold.items():
        target = task.cold_view(name)
        found[name] = float(np.nanmean(ndcg(rank_users(model, case, {name: target}, K)[name], target.relevant)))
    return found | {"training of the trees": spent[0]}


@contextmanager
def trained_by(trainer: Trainer) -> Iterator[list[float]]:
    """A context in which hybrid_learned trains its trees in another way; gives the processor seconds spent on it."""
    spent, original = [0.0], training.train_trees

    def timed(*given: Any) -> Scorer:
        started = time.process_time()
        trees = trainer(*given)
        spent[0] += time.process_time() - started
        return trees

    training.train_trees = timed  # type: ignore[assignment]
    try:
        yield spent
    finally:
        training.train_trees = original


def by_xgboost(config: HybridLearnedConfig, examples: Examples, threads: int | None) -> Scorer:
    """As hybrid_learned does it."""
    return train_trees(config, examples, 1)


def by_scikit_learn(config: HybridLearnedConfig, examples: Examples, threads: int | None) -> Scorer:
    """HistGradientBoostingClassifier with the same number of trees, depth, rate, leaf size and regularisation."""
    model = HistGradientBoostingClassifier(
        max_iter=config.n_estimators,
        learning_rate=config.learning_rate,
        max_depth=config.max_depth,
        max_leaf_nodes=2**config.max_depth,
        min_samples_leaf=int(np.clip(len(examples.labels) // 500, 5, 300)),
        l2_regularization=20.0,
        max_features=0.5,
        early_stopping=False,
        random_state=config.seed,
    )
    return Scores(model.fit(examples.features, examples.labels, examples.weights).decision_function)


def listwise(config: HybridLearnedConfig, examples: Examples, threads: int | None) -> Scorer:
    """LambdaMART: rank:ndcg, a list for each user of a window. Weights of examples have no place in it."""
    lists = np.cumsum(np.append(False, np.diff(examples.users) != 0))
    data = QuantileDMatrix(examples.features, examples.labels.astype(np.int8), qid=lists, nthread=1)
    parameters = parameters_of(config, len(examples.labels), 0.5) | {
        "objective": "rank:ndcg",
        "base_score": 0.0,
        "min_child_weight": 1.0,
        "lambda": 1.0,
        "lambdarank_pair_method": "topk",
        "lambdarank_num_pair_per_sample": K,
        "nthread": 1,
    }
    model = train(parameters, data, config.n_estimators)
    return Scores(partial(_margins, model))


def _margins(model: Booster, features: NDArray[np.float32]) -> NDArray[Any]:
    return np.asarray(model.inplace_predict(features, predict_type="margin"))


WAYS: dict[str, Trainer] = {
    "XGBoost": by_xgboost,
    "scikit-learn": by_scikit_learn,
    "XGBoost rank:ndcg": listwise,
}


if __name__ == "__main__":
    main()
