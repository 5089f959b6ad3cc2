"""`tradewind evaluate --train F --test F`: anybody's benchmark, read from files, fitted and judged in one call."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.datasets.external import read_events, read_items, read_negatives
from recommenders.errors import ConfigurationError
from recommenders.evaluation import lists, markdown
from recommenders.evaluation.comparison import Interval, compare_all, mean_intervals
from recommenders.evaluation.cost import Cost, measure
from recommenders.evaluation.criteria import ceilings
from recommenders.evaluation.external import External, make_external
from recommenders.evaluation.protocol import EvaluationConfig, View
from recommenders.evaluation.sampled import rank_candidates
from recommenders.features.items import ItemFeatures, encode_items
from recommenders.metrics.ranking import all_metrics
from recommenders.models.catalog import COMPOSED, MODELS, model_class
from recommenders.models.composed import Composed
from recommenders.models.recommender import Recommender
from recommenders.training.configuration import TrainingConfig
from recommenders.training.training import compose, fit_member

Values = NDArray[np.float64]
Vectors = dict[str, dict[str, dict[str, Values]]]  # view -> model -> metric -> one value a user
Say = Callable[[str], None]

NEEDS_ITEMS = "learns from what is known of items; give --items FILE"


@dataclass(frozen=True)
class Files:
    """What the user pointed at."""

    train: Path
    test: Path
    negatives: Path | None = None
    items: Path | None = None
    repeat: bool = False

    def read(self, seed: int) -> tuple[External, ItemFeatures | None]:
        """The benchmark, and what is known of its items where a file tells. Raises DataError."""
        train, test = read_events(self.train, "--train"), read_events(self.test, "--test")
        negatives = read_negatives(self.negatives) if self.negatives else None
        external = make_external(train, test, negatives, self.repeat, seed)
        features = encode_items(read_items(self.items), external.log.items) if self.items else None
        return external, features


@dataclass
class Contest:
    """Models fitted one after the other, each judged as soon as it stands, then kept only for a blend to come."""

    config: TrainingConfig
    external: External
    features: ItemFeatures | None
    k: int
    vectors: Vectors = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)  # of each alone
    left_out: dict[str, str] = field(default_factory=dict)  # model -> why
    without: dict[str, list[str]] = field(default_factory=dict)  # blend -> the members it had to do without
    fitted: dict[str, Recommender] = field(default_factory=dict)

    def run(self, asked: Sequence[str], say: Say) -> None:
        """Fits and judges the models asked for; what a blend of them needs is fitted too."""
        wanted = {*asked, *(member for name in asked for member in self._needed(name))}
        waiting = [name for name in MODELS if name in wanted]
        while waiting:
            name = waiting.pop(0)
            self._fit(name, say)
            if name in self.fitted and name in asked:
                self._judge(name)
            needed = {member for blend in waiting for member in self._members(blend)}
            self.fitted = {kept: model for kept, model in self.fitted.items() if kept in needed}

    def _members(self, name: str) -> list[str]:
        """What a blend is made of; nothing for a model that stands alone."""
        model = model_class(name)(self.config.of(name)) if name in COMPOSED else None
        return model.wanted() if isinstance(model, Composed) else []

    def _needed(self, name: str) -> set[str]:
        """All models that must stand before this one can, members of members too."""
        members = self._members(name)
        return {*members, *(deeper for member in members for deeper in self._needed(member))}

    def cost(self, name: str) -> Cost:
        """What the model cost, with everything it is made of, each part once."""
        return self.costs[name].after([self.costs[part] for part in self._needed(name) if part in self.costs])

    def _fit(self, name: str, say: Say) -> None:
        fit = self._blend if name in COMPOSED else self._alone
        try:
            self.fitted[name], self.costs[name] = fit(name)
        except ConfigurationError as error:
            blind = self.features is None and model_class(name).uses_features and name not in COMPOSED
            self.left_out[name] = NEEDS_ITEMS if blind and "features" in str(error) else str(error)
            say(f"  - {name} is left out: {self.left_out[name]}")
        else:
            cost = self.cost(name)
            say(f"  + {name}: fitted in {cost.seconds:.1f} s, {cost.peak_mb:,.0f} MB at the peak")

    def _alone(self, name: str) -> tuple[Recommender, Cost]:
        return measure(lambda: fit_member(name, self.config, self.external.log, self.features))

    def _blend(self, name: str) -> tuple[Recommender, Cost]:
        """The blend of those members that could be fitted."""
        members = {member: self.fitted[member] for member in self._members(name) if member in self.fitted}
        if absent := [member for member in self._members(name) if member not in members]:
            self.without[name] = absent
        model, cost = measure(lambda: compose(name, self.config, self.external.log, members, self.features))
        if isinstance(model, Composed) and (unused := [member for member in members if member not in model.members_]):
            self.without[name] = self.without.get(name, []) + unused
        return model, cost

    def _judge(self, name: str) -> None:
        case, candidates = self.external.case, self.external.candidates
        if candidates is None:
            views = case.views()
            ranked = lists.rank(self.fitted[name], case, views, self.k)
        else:
            views = {"all": View(case.relevant, False)}
            ranked = {"all": rank_candidates(self.fitted[name], case, candidates, self.k)}
        for view, of_view in views.items():
            self.vectors.setdefault(view, {})[name] = all_metrics(ranked[view], of_view.relevant)


def evaluate_files(files: Files, asked: Sequence[str], k: int, config: TrainingConfig, say: Say) -> dict[str, Any]:
    """The benchmark's figures as the command prints them (docs/evaluation.md); what happens meanwhile goes to `say`.

    Raises DataError for files that cannot be read, ConfigurationError if no model could be fitted.
    """
    started = time.perf_counter()
    external, features = files.read(config.evaluation.seed)
    facts = _facts(external, files, k)
    say(f"Read in {time.perf_counter() - started:.1f} s: " + _in_words(facts))
    contest = Contest(config, external, features, k)
    contest.run(asked, say)
    if not contest.vectors:
        why = "; ".join(f"{name}: {reason}" for name, reason in contest.left_out.items())
        raise ConfigurationError(f"no model could be judged: {why}")
    return facts | _figures(contest) | {"seconds": round(time.perf_counter() - started, 3)}


def _facts(external: External, files: Files, k: int) -> dict[str, Any]:
    log, case = external.log, external.case
    return {
        "protocol": case.description,
        "n_users": len(case.user_ids),
        "k": k,
        "training": {"rows": len(log), "users": len(log.users), "items": len(log.items)},
        "test": external.test_rows,
        "cold_users": case.cold_users,
        "cold_items": case.cold_items,
        "negatives": external.negatives,
        "order": "given" if external.order_given else "unknown",
        "dated": log.dated,
        "repeat": files.repeat,
    }


def _in_words(facts: Mapping[str, Any]) -> str:
    training, test = facts["training"], facts["test"]
    lost = {"repeated": "repeated", "known": "known from training", "cold_items": "of unknown items"}
    skipped = [f"{test[key]:,} {words}" for key, words in lost.items() if test[key]]
    if test["cold_users"]:
        skipped.insert(0, f"{test['cold_users']:,} of {facts['cold_users']:,} unknown users")
    if facts["negatives"].get("unknown_items"):
        skipped.append(f"and {facts['negatives']['unknown_items']:,} negatives are unknown, which rank last")
    return (
        f"{training['rows']:,} events of {training['users']:,} users and {training['items']:,} items, order "
        f"{facts['order']}; {test['read']:,} test rows, skipped: {', '.join(skipped) or 'none'}.\n{facts['protocol']}"
    )


def _figures(contest: Contest) -> dict[str, Any]:
    judged = {view: _intervals(found, contest.config.evaluation) for view, found in contest.vectors.items()}
    for name, metrics in judged["all"].items():
        cost = contest.cost(name)
        metrics |= {"fit_seconds": round(cost.seconds, 3), "peak_memory_mb": round(cost.peak_mb, 1)}
    case = contest.external.case
    highest = ceilings(case.relevant, case.candidates, contest.k)
    return {
        "models": judged.pop("all"),
        "views": judged,
        "comparison": _compared(contest),
        "ceilings": {name: value for name, value in highest.items() if not name.startswith("coverage")},
        "left_out": contest.left_out,
        "without": contest.without,
    }


def _intervals(vectors: Mapping[str, Mapping[str, Values]], config: EvaluationConfig) -> dict[str, dict[str, Any]]:
    flat = {(name, metric): values for name, found in vectors.items() for metric, values in found.items()}
    intervals = mean_intervals(flat, config.n_bootstrap, seed=config.seed)
    return {name: {metric: _cell(intervals[name, metric]) for metric in found} for name, found in vectors.items()}


def _compared(contest: Contest) -> dict[str, Any]:
    """The model with the highest NDCG against each other one, corrected for their number (Holm 1979)."""
    metric, config = f"ndcg@{contest.k}", contest.config.evaluation
    headline = {name: found[metric] for name, found in contest.vectors["all"].items()}
    best = max(headline, key=lambda name: float(np.mean(headline[name])))
    others = compare_all(headline, best, config.n_bootstrap, seed=config.seed)
    told = {
        name: {
            "difference": _cell(found.interval),
            "p": _plain(found.p),
            "p_holm": _plain(found.p_holm),
            "verdict": found.verdict,
        }
        for name, found in others.items()
    }
    return {"metric": metric, "best": best, "others": told}


def _cell(interval: Interval) -> list[float | None]:
    return [_plain(value) for value in interval]


def _plain(value: float) -> float | None:
    """For JSON, which has no nan."""
    return None if np.isnan(value) else float(value)


# -- for people


def to_markdown(found: Mapping[str, Any]) -> str:
    """The figures as tables."""
    parts = [f"# {found['protocol']}", f"{found['n_users']:,} users judged. {_in_words(found).splitlines()[0]}"]
    parts.append(markdown.metrics_table(_accuracy(found["models"]), found["ceilings"]))
    parts += [f"## {view.capitalize()}\n\n" + markdown.metrics_table(of, {}) for view, of in found["views"].items()]
    if found["comparison"]["others"]:
        parts.append(markdown.comparison_table(found["comparison"]))
    costs = [
        [name, f"{metrics['fit_seconds']:.1f}", f"{metrics['peak_memory_mb']:,.0f}"]
        for name, metrics in found["models"].items()
    ]
    parts.append(markdown.table(["model", "seconds to fit", "MB at the peak"], costs))
    parts += [f"{name} is left out: {why}." for name, why in found["left_out"].items()]
    parts += [f"{name} goes on without {', '.join(absent)}." for name, absent in found["without"].items()]
    return "\n\n".join(parts) + "\n"


def _accuracy(models: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {m: v for m, v in found.items() if isinstance(v, list)} for name, found in models.items()}
