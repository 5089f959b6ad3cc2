"""The lists of everybody in benchmarks/accuracy.py: our models, the peers, plain baselines, the oracle.

An entrant's answer to a question is a mapping: view -> (n_users, 10) item columns, "sampled" among the views where a
question has sampled candidates; of our models also: cold case -> lists of its buyers.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers.environments import PeerError, ask, sources
from peers.spaces import DEFAULTS, NETWORKS, PEERS
from peers.tuning import ended_by, exclusions, limits_of, lists_of
from threadpoolctl import threadpool_limits

from measuring.fitted import fit_key, fitted
from measuring.kept import code_version, kept_arrays, key_of
from measuring.questions import SEED, Question
from recommenders.evaluation.criteria import MODEL_TARGETS
from recommenders.evaluation.evaluate import evaluate
from recommenders.evaluation.oracle import oracle_lists
from recommenders.evaluation.rank import rank
from recommenders.evaluation.tasks.sampled import Candidates, rank_candidates
from recommenders.evaluation.tasks.task import EvaluationConfig
from recommenders.math.top_k import top_k
from recommenders.metrics.ranking import K
from recommenders.models.catalog import MODELS
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import BLOCK, Recommender, mask_and_rank
from recommenders.simulation.config import WorldConfig
from recommenders.simulation.orders import make_world
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import Declined

Lists = Mapping[str, NDArray[np.int32]]


def configuration(models: Sequence[str] = (), seed: int = SEED) -> TrainingConfig:
    """The defaults, with every model wherever it can learn; with names, those alone and popularity, always there."""
    sections: dict[str, Any] = {"sasrec": {"windows": True}}
    if models:
        off = {name: {"enabled": False} for name in MODELS if name not in (*models, Popularity.name)}
        sections |= off
    return TrainingConfig.model_validate({"data": {"seed": seed}, "models": sections})


def ours(name: str, asked: Question, config: TrainingConfig) -> tuple[Lists, dict[str, Any]]:
    """The lists of one model, {} if it cannot learn from the log; and facts: "declined" says why not, "targets" holds
    the model's rows of the success criteria on the simulated market.
    """
    key = key_of("ours", fit_key(name, asked, config), Path(__file__).read_text())

    def make() -> dict[str, NDArray[Any]]:
        model = fitted(name, asked, config)
        if isinstance(model, Declined):
            return {"facts": np.array(json.dumps({"declined": model.reason}))}
        facts = {"targets": _targets(model, asked)}
        return {**_answers(model, asked), "facts": np.array(json.dumps(facts))}

    found = kept_arrays(key, make)
    facts = json.loads(str(found.pop("facts")))
    return found, facts


def _answers(model: Recommender, asked: Question) -> Lists:
    lists = rank(model, asked.case, asked.views, K)
    if asked.sampled is not None:
        lists["sampled"] = rank_candidates(model, asked.case, asked.sampled, K)
    for name, case in asked.cold.items():
        lists[name] = rank(model, case, {"all": asked.cold_view(name)}, K)["all"]
    return lists


def _targets(model: Recommender, asked: Question) -> list[dict[str, Any]]:
    if asked.name != "custom_b2b" or model.name not in MODEL_TARGETS:
        return []
    config = EvaluationConfig()
    return evaluate({model.name: model}, asked.case, asked.features, dataset=asked.name, config=config).targets()


def peer(name: str, asked: Question, tuned: Mapping[str, Any], threads: int) -> tuple[Lists, set[str]]:
    """The lists of one peer's model with the settings that are best for each view; and what ended its trainings.

    Raises PeerError where it cannot be asked, or where its lists hold what they may not.

    tuned: view -> settings; a view that is not named has the library's defaults.
    """
    environment, model = PEERS[name]
    chosen = {view: tuned.get(view, DEFAULTS[name]) for view in asked.views}
    jobs = {json.dumps(params): {"model": model, "params": params} for params in chosen.values()}
    key = key_of(
        "peer", name, asked.key, chosen, sources(environment), limits_of(name), Path(__file__).read_text(), threads
    )

    def make() -> dict[str, NDArray[Any]]:
        k = len(asked.log.items) if asked.sampled is not None else K
        rows, wanted = asked.case.user_rows, exclusions(asked)
        seconds = NETWORKS.get(name, 0.0)
        limits = {"seconds": seconds, "timeout": max(1800.0, 3 * seconds * len(jobs))}
        found = ask(environment, asked.log, rows, list(jobs.values()), k, wanted, threads, **limits)
        answers = dict(zip(jobs, found, strict=True))
        lists = {}
        for view, params in chosen.items():
            ranked = lists_of(answers[json.dumps(params)], asked.views[view].exclude_known)
            check_lists(name, asked, view, ranked)
            lists[view] = ranked[:, :K]
            if view == "all" and asked.sampled is not None:
                lists["sampled"] = among(ranked, asked.sampled, len(asked.log.items))
        return {**lists, "ended": np.array(sorted({ended_by(answer.figures) for answer in found} - {""}), dtype=str)}

    lists = kept_arrays(key, make)
    return lists, set(lists.pop("ended").tolist())


def check_lists(name: str, asked: Question, view: str, ranked: NDArray[np.int32]) -> None:
    """Raises PeerError if lists (n, k) hold an item twice, no candidate or, in a view without them, a known item."""
    case = asked.case
    rows, places = np.nonzero(ranked >= 0)
    columns = ranked[rows, places]
    held = np.zeros((len(ranked), len(case.candidates)), dtype=np.int64)
    np.add.at(held, (rows, columns), 1)
    wrong = {"an item twice": held.max(initial=0) > 1, "what is no candidate": bool(held[:, ~case.candidates].any())}
    if asked.views[view].exclude_known:
        wrong["what a user knows"] = bool(held[case.histories.matrix.nonzero()].any())
    if found := [what for what, is_so in wrong.items() if is_so]:
        raise PeerError(f"{name}: its lists of {view} hold {', '.join(found)}; look at its runner")


def among(ranked: NDArray[np.int32], candidates: Candidates, n_items: int) -> NDArray[np.int32]:
    """(n, K) of the candidates in the order of whole rankings (n, n_items); what is not ranked comes last."""
    rows = np.arange(len(ranked))[:, None]
    scores = np.full((len(ranked), n_items + 1), -np.inf, dtype=np.float32)  # the last column stands for nothing
    scores[rows, ranked] = -np.arange(ranked.shape[1], dtype=np.float32)
    scores[:, -1] = -np.inf
    columns = candidates.item_columns
    found = np.maximum(scores[rows, columns], np.float32(-2.0 * n_items))  # unranked: equal, so that lots decide
    chosen, _ = top_k(np.where(columns >= 0, found, np.float32(-np.inf)).astype(np.float32), K)
    return np.take_along_axis(columns, np.maximum(chosen, 0), axis=1)


def bought_most(asked: Question) -> Lists:
    """What the buyer bought most often, the newest first among equals, then what everybody buys."""
    case, log = asked.case, asked.log
    popular = Popularity().fit(log).score(case.user_rows[:1], case.histories[:1])[0]
    order = np.argsort(np.argsort(popular)) / len(popular)
    start, span = log.timestamps.min(), max(int(np.ptp(log.timestamps)), 1)
    parts: dict[str, list[NDArray[np.int32]]] = {view: [] for view in asked.views}
    for first in range(0, len(case.user_rows), BLOCK):
        known = case.histories[first : first + BLOCK]
        counts = np.zeros(known.shape)
        np.add.at(counts, (known.rows, known.item_columns), 1.0)
        latest = np.zeros(known.shape)
        np.maximum.at(latest, (known.rows, known.item_columns), (known.timestamps - start) / span)
        scores = (counts + 0.5 * latest + 1e-3 * order).astype(np.float32)
        for view, wanted in asked.views.items():
            masked = known.matrix if wanted.exclude_known else None
            parts[view].append(mask_and_rank(scores.copy(), K, case.candidates, masked).item_columns)
    return {view: np.concatenate(lists) for view, lists in parts.items()}


def oracle(asked: Question) -> Lists:
    """On the simulated market: by the true probabilities."""

    def make() -> Lists:
        with threadpool_limits(limits=1):  # as its files were made: sums in another order would be another world
            world = make_world(WorldConfig.scaled(asked.scale, SEED))
        days = asked.protocol.test_days
        return oracle_lists(world, asked.case, asked.log, asked.views, asked.interactions, days)

    return kept_arrays(key_of("oracle", asked.key, code_version()), make)
