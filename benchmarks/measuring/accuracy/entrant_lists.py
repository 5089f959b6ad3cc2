"""The lists of all entrants of benchmarks/accuracy.py: our models, the peers, simple baselines, the oracle.

The lists of an entrant for a benchmark task are a mapping: view -> (n_users, 10) item columns. If the task has sampled
candidates, "sampled" is one of the views. Our models also have: cold-start task -> lists of its users.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers.environments import PeerError, ask, sources
from peers.tuning.chosen_settings import ended_by, limits_of
from peers.tuning.search import exclusions, lists_of
from peers.tuning.spaces import DEFAULTS, NETWORKS, PEERS
from threadpoolctl import threadpool_limits

from measuring.benchmark_tasks import SEED, BenchmarkTask
from measuring.disk_cache import code_version, kept_arrays, key_of
from measuring.fitted_models import fit_key, fitted
from recommenders.evaluation.criteria import MODEL_TARGETS
from recommenders.evaluation.evaluate import evaluate
from recommenders.evaluation.oracle import oracle_lists
from recommenders.evaluation.rank import rank_users
from recommenders.evaluation.tasks.sampled import Candidates, rank_candidates
from recommenders.evaluation.tasks.task import EvaluationConfig
from recommenders.math.ranked import mask_and_rank
from recommenders.math.top_k import top_k
from recommenders.metrics.ranking import K
from recommenders.models.all_models import MODELS
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import BLOCK, Recommender
from recommenders.simulation.config import WorldConfig
from recommenders.simulation.purchase_model import make_world
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import SkippedModel

KEPT_FORMAT = 1  # raised if the kept lists of a peer are made or checked in another way
Lists = Mapping[str, NDArray[np.int32]]


def configuration(models: Sequence[str] = (), seed: int = SEED) -> TrainingConfig:
    """The default configuration, with every model enabled on each log that it can be fitted on.

    models: if given, only these models and popularity are enabled.
    """
    sections: dict[str, Any] = {"sasrec": {"fit_on_windows": True}}
    if models:
        off = {name: {"enabled": False} for name in MODELS if name not in (*models, Popularity.name)}
        sections |= off
    return TrainingConfig.model_validate({"data": {"seed": seed}, "models": sections})


def ours(name: str, task: BenchmarkTask, config: TrainingConfig) -> tuple[Lists, dict[str, Any]]:
    """(lists of one model, facts). The lists are {} if the model cannot be fitted on the log.

    facts: "skipped" is the reason for that; "targets" has the model's rows of the success criteria on the simulated
    market.
    """
    key = key_of("ours", fit_key(name, task, config), Path(__file__).read_text())

    def make() -> dict[str, NDArray[Any]]:
        model = fitted(name, task, config)
        if isinstance(model, SkippedModel):
            return {"facts": np.array(json.dumps({"skipped": model.reason}))}
        facts = {"targets": _criteria(model, task)}
        return {**_lists(model, task), "facts": np.array(json.dumps(facts))}

    found = kept_arrays(key, make)
    facts = json.loads(str(found.pop("facts")))
    return found, facts


def _lists(model: Recommender, task: BenchmarkTask) -> Lists:
    lists = rank_users(model, task.case, task.views, K)
    if task.sampled is not None:
        lists["sampled"] = rank_candidates(model, task.case, task.sampled, K)
    for name, evaluation in task.cold.items():
        lists[name] = rank_users(model, evaluation, {"all": task.cold_view(name)}, K)["all"]
    return lists


def _criteria(model: Recommender, task: BenchmarkTask) -> list[dict[str, Any]]:
    if task.name != "custom_b2b" or model.name not in MODEL_TARGETS:
        return []
    config = EvaluationConfig()
    return evaluate({model.name: model}, task.case, task.features, dataset=task.name, config=config).targets()


def peer(name: str, task: BenchmarkTask, tuned: Mapping[str, Any], threads: int) -> tuple[Lists, set[str]]:
    """(lists of one peer's model with the best settings for each view, what ended its training runs).

    Raises PeerError if the peer cannot be run, or if its lists contain items that are not allowed.

    tuned: view -> settings; a view without settings uses the library's defaults.
    """
    environment, model = PEERS[name]
    chosen = {view: tuned.get(view, DEFAULTS[name]) for view in task.views}
    jobs = {json.dumps(params): {"model": model, "params": params} for params in chosen.values()}
    key = key_of("peer", KEPT_FORMAT, name, given(task), chosen, sources(environment), limits_of(name))

    def make() -> dict[str, NDArray[Any]]:
        k = len(task.log.items) if task.sampled is not None else K
        rows, exclude_known = task.case.user_rows, exclusions(task)
        seconds = NETWORKS.get(name, 0.0)
        limits = {"seconds": seconds, "timeout": max(1800.0, 3 * seconds * len(jobs))}
        found = ask(environment, task.log, rows, list(jobs.values()), k, exclude_known, threads, **limits)
        answers = dict(zip(jobs, found, strict=True))
        lists = {}
        for view, params in chosen.items():
            ranked = lists_of(answers[json.dumps(params)], task.views[view].exclude_known)
            check_lists(name, task, view, ranked)
            lists[view] = ranked[:, :K]
            if view == "all" and task.sampled is not None:
                lists["sampled"] = rank_among_candidates(ranked, task.sampled, len(task.log.items))
        return {**lists, "ended": np.array(sorted({ended_by(answer.figures) for answer in found} - {""}), dtype=str)}

    lists = kept_arrays(key, make)
    return lists, set(lists.pop("ended").tolist())


def given(task: BenchmarkTask) -> str:
    """A hash of all that a peer's lists depend on in a task: the log, the users, the views, the sampled candidates.

    The text of this project is not part of it, so lists of an hour's training outlive a change of names.
    """
    digest = hashlib.sha256(repr([(name, view.exclude_known) for name, view in task.views.items()]).encode())
    log, sampled = task.log, task.sampled
    arrays = [log.user_rows, log.item_columns, log.timestamps, log.weights, log.strengths, log.available]
    arrays += [task.case.user_rows, task.case.candidates]
    for array in (*arrays, *([] if sampled is None else [sampled.item_columns])):
        digest.update(repr((array.shape, array.dtype.str)).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def check_lists(name: str, task: BenchmarkTask, view: str, ranked: NDArray[np.int32]) -> None:
    """Raises PeerError if the lists contain an item twice, an item that is not a candidate, or an excluded known item.

    ranked: (n, k) item columns.
    """
    evaluation = task.case
    rows, places = np.nonzero(ranked >= 0)
    columns = ranked[rows, places]
    counts = np.zeros((len(ranked), len(evaluation.candidates)), dtype=np.int64)
    np.add.at(counts, (rows, columns), 1)
    errors = {
        "an item twice": counts.max(initial=0) > 1,
        "items that are not candidates": bool(counts[:, ~evaluation.candidates].any()),
    }
    if task.views[view].exclude_known:
        errors["known items of the user"] = bool(counts[evaluation.histories.matrix.nonzero()].any())
    if found := [what for what, is_so in errors.items() if is_so]:
        raise PeerError(f"{name}: its lists of view {view} contain {', '.join(found)}; check its runner")


def rank_among_candidates(ranked: NDArray[np.int32], candidates: Candidates, n_items: int) -> NDArray[np.int32]:
    """(n, K) the candidates in the order of full rankings; candidates that are not ranked come last.

    ranked: (n, n_items) item columns.
    """
    rows = np.arange(len(ranked))[:, None]
    scores = np.full((len(ranked), n_items + 1), -np.inf, dtype=np.float32)  # the last column is for the padding -1
    scores[rows, ranked] = -np.arange(ranked.shape[1], dtype=np.float32)
    scores[:, -1] = -np.inf
    columns = candidates.item_columns
    found = np.maximum(scores[rows, columns], np.float32(-2.0 * n_items))  # unranked: equal, so random tie-breaking
    chosen, _ = top_k(np.where(columns >= 0, found, np.float32(-np.inf)).astype(np.float32), K)
    return np.take_along_axis(columns, np.maximum(chosen, 0), axis=1)


def bought_most(task: BenchmarkTask) -> Lists:
    """A baseline: the user's items by number of purchases, then by newest purchase; then the most popular items."""
    evaluation, log = task.case, task.log
    popular = Popularity().fit(log).score(evaluation.user_rows[:1], evaluation.histories[:1])[0]
    order = np.argsort(np.argsort(popular)) / len(popular)
    start, span = log.timestamps.min(), max(int(np.ptp(log.timestamps)), 1)
    parts: dict[str, list[NDArray[np.int32]]] = {view: [] for view in task.views}
    for first in range(0, len(evaluation.user_rows), BLOCK):
        known = evaluation.histories[first : first + BLOCK]
        counts = np.zeros(known.shape)
        np.add.at(counts, (known.rows, known.item_columns), 1.0)
        latest = np.zeros(known.shape)
        np.maximum.at(latest, (known.rows, known.item_columns), (known.timestamps - start) / span)
        scores = (counts + 0.5 * latest + 1e-3 * order).astype(np.float32)
        for view, target_view in task.views.items():
            masked = known.matrix if target_view.exclude_known else None
            parts[view].append(mask_and_rank(scores.copy(), K, evaluation.candidates, masked).item_columns)
    return {view: np.concatenate(lists) for view, lists in parts.items()}


def oracle(task: BenchmarkTask) -> Lists:
    """The lists by the true purchase probabilities of the simulated market."""

    def make() -> Lists:
        with threadpool_limits(limits=1):  # as for its files: another order of summation would give another market
            world = make_world(WorldConfig.scaled(task.scale, SEED))
        days = task.protocol.test_days
        return oracle_lists(world, task.case, task.log, task.views, task.interactions, days)

    return kept_arrays(key_of("oracle", task.key, code_version()), make)
