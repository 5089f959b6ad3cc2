"""The evaluation report: every model on one case, with intervals, ceilings and the success criteria."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recommenders.evaluation import judge, rank
from recommenders.evaluation.criteria import CRITERIA, MODEL_TARGETS, ceilings, criteria, targets
from recommenders.evaluation.figures import Metrics, Values, Vectors, compared, intervals, plain
from recommenders.evaluation.judge import Crowd
from recommenders.evaluation.tasks.slices import slices_of
from recommenders.evaluation.tasks.task import Case, EvaluationConfig, K, View
from recommenders.evaluation.writers import markdown, plots
from recommenders.features.items import ItemFeatures
from recommenders.models.catalog import MODELS
from recommenders.models.recommender import Recommender
from recommenders.storage import bundle

if TYPE_CHECKING:
    import pyarrow as pa

RESPONSE_PROTOCOL = "95th percentile of one list for one buyer at a time, in process"

HEADLINE = f"ndcg@{K}"  # models are compared by it
SLICED = tuple(f"{metric}@{K}" for metric in ("precision", "recall", "ndcg", "hit_rate"))


@dataclass(frozen=True, eq=False)
class Report:
    """What was measured. `views` holds the same metrics for reorder and discovery apart, where buyers reorder."""

    dataset: str
    protocol: str
    cut: str  # ISO 8601
    n_users: int
    cold_users: int
    cold_items: int
    models: dict[str, Metrics]
    views: dict[str, dict[str, Metrics]]  # view -> model -> metrics
    ceilings: dict[str, dict[str, float]]  # view -> metric -> ceiling
    undefined: dict[str, dict[str, int]]  # view -> metric -> users for whom it is undefined
    milliseconds: dict[str, dict[str, float]]  # model -> {"p50", "p95"}
    megabytes: dict[str, float]
    per_user: "pa.Table" = field(repr=False)  # model, user_id, one column a metric; the view over all items
    slices: dict[str, dict[str, Any]] = field(default_factory=dict)  # name -> {"n_users", "models": model -> metrics}
    comparisons: dict[str, dict[str, Any]] = field(default_factory=dict)  # view -> the best model against the others
    oracle: dict[str, dict[str, float]] = field(default_factory=dict)  # view -> metric -> value, where one is known
    costs: dict[str, dict[str, float]] = field(default_factory=dict)  # model -> {"fit_seconds", "peak_memory_mb"}
    cold: dict[str, dict[str, Any]] = field(default_factory=dict)  # case -> what was found there, see _judged_cold
    wanted: dict[str, float] = field(default_factory=lambda: dict(CRITERIA))  # metric -> target of the criteria
    model_targets: dict[str, dict[str, float]] = field(default_factory=lambda: dict(MODEL_TARGETS))

    def vectors(self, metric: str) -> dict[str, NDArray[np.float64]]:
        """Model -> (n_users,) values of one metric, over the same users in the same order."""
        names = self.per_user["model"].to_numpy()
        values = self.per_user[metric].to_numpy()
        return {name: values[names == name] for name in self.models}

    def criteria(self, model: str) -> list[dict[str, Any]]:
        """The success criteria for one model."""
        return criteria(
            self.models[model],
            self.ceilings["all"],
            self.milliseconds[model]["p95"],
            self.megabytes[model],
            self.protocol,
            RESPONSE_PROTOCOL,
            self.wanted,
        )

    def targets(self) -> list[dict[str, Any]]:
        """The targets of single models, as far as those were judged."""
        return targets(self.models, self.ceilings["all"], self.model_targets)

    def against(self, config: EvaluationConfig) -> "Report":
        """The same figures, held against the targets of this configuration."""
        return replace(self, wanted=dict(config.criteria), model_targets=dict(config.model_targets))

    def to_json(self) -> dict[str, Any]:
        """Everything but the values of single users; nan becomes null."""
        facts = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "per_user"}
        derived = {"criteria": {name: self.criteria(name) for name in self.models}, "targets": self.targets()}
        return facts | derived

    def to_markdown(self) -> str:
        """The report for people."""
        return markdown.render(self)

    def plot(self) -> bytes:
        """The models' figures with intervals and ceilings, as PNG."""
        return plots.plot_models(self.models, self.ceilings["all"], f"{self.dataset}: {self.protocol}")

    def save(self, folder: Path) -> Path:
        """Writes report.json, report.md, report.png and per_user.parquet, replacing the folder as one step."""
        import pyarrow.parquet as pq

        staging = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
        staging.mkdir(parents=True)
        (staging / "report.json").write_text(json.dumps(self.to_json(), indent=2))
        (staging / "report.md").write_text(self.to_markdown())
        (staging / "report.png").write_bytes(self.plot())
        pq.write_table(self.per_user, staging / "per_user.parquet")
        bundle.replace_folder(staging, folder)
        return folder

    @classmethod
    def load(cls, folder: Path) -> "Report":
        """The report that save() wrote."""
        import pyarrow.parquet as pq

        stored = json.loads((folder / "report.json").read_text())
        facts = {name: value for name, value in stored.items() if name in cls.__dataclass_fields__}
        return cls(**facts, per_user=pq.read_table(folder / "per_user.parquet"))


def evaluate(
    models: Mapping[str, Recommender],
    case: Case,
    features: ItemFeatures | None = None,
    *,
    dataset: str = "",
    cut: datetime | None = None,
    config: EvaluationConfig | None = None,
    segments: Mapping[str, NDArray[np.bool_]] | None = None,
    oracle: Mapping[str, Mapping[str, float]] | None = None,
    cold: Mapping[str, Case] | None = None,
) -> Report:
    """Asks every model for lists for every buyer of the case and judges them, over all items (full ranking).

    segments: name -> (n_users,) buyers to judge apart, beside those of slices.slices_of. oracle: view -> metric ->
    what a ranking by the true probabilities reaches, on a simulated market. cold: name -> a case over the same items
    that is judged beside the main one, such as those of recommenders.evaluation.tasks.cold_start.
    """
    config, views, models = config or EvaluationConfig(), case.views(), _in_order(models)
    vectors, metrics = _judge(models, case, views, features, config)
    return Report(
        dataset,
        case.description,
        cut.isoformat() if cut else "",
        len(case.user_ids),
        case.cold_users,
        case.cold_items,
        metrics.pop("all"),
        metrics,
        {name: ceilings(view.relevant, case.candidates, K) for name, view in views.items()},
        {name: {"users": int((np.diff(view.relevant.indptr) == 0).sum())} for name, view in views.items()},
        **_taken(models, case),
        per_user=_table(vectors["all"], case),
        slices=_sliced(vectors["all"], slices_of(case, features, segments), config),
        comparisons={name: compared(of_view, HEADLINE, config) for name, of_view in vectors.items()},
        oracle={name: dict(of_view) for name, of_view in (oracle or {}).items()},
        cold={name: _judged_cold(models, other, config) for name, other in (cold or {}).items()},
    ).against(config)


def _in_order(models: Mapping[str, Recommender]) -> dict[str, Recommender]:
    """As the catalogue has them; what it does not know comes last."""
    order = {name: place for place, name in enumerate(MODELS)}
    return {name: models[name] for name in sorted(models, key=lambda name: order.get(name, len(order)))}


def _judge(
    models: Mapping[str, Recommender],
    case: Case,
    views: dict[str, View],
    features: ItemFeatures | None,
    config: EvaluationConfig,
) -> tuple[dict[str, dict[str, dict[str, Values]]], dict[str, dict[str, Metrics]]]:
    """View -> model -> metric -> one value a user; and view -> model -> metrics with their intervals."""
    crowd = Crowd.of(next(iter(models.values())).histories_, case, views, K)
    users: dict[str, dict[str, dict[str, Values]]] = {view: {} for view in views}
    items: dict[str, dict[str, dict[str, Values]]] = {view: {} for view in views}
    whole: dict[str, dict[str, Metrics]] = {view: {} for view in views}
    for name, model in models.items():
        for view, ranked in rank.rank(model, case, views, K).items():
            users[view][name] = judge.per_user(ranked, case, views[view], features, crowd)
            items[view][name] = judge.per_item(ranked, case)
            whole[view][name] = {m: [plain(v), None, None] for m, v in judge.overall(ranked, case).items()}
    metrics = {}
    for view in views:
        parts = (intervals(users[view], config), intervals(items[view], config), whole[view])
        metrics[view] = {name: parts[0][name] | parts[1][name] | parts[2][name] for name in models}
    return users, metrics


def _taken(models: Mapping[str, Recommender], case: Case) -> dict[str, Any]:
    """What each model takes: milliseconds a list, megabytes on disk, and for fitting what was recorded then."""
    known = ("fit_seconds", "peak_memory_mb")
    return {
        "milliseconds": {name: rank.latency(model, case, K) for name, model in models.items()},
        "megabytes": {name: rank.bytes_on_disk(model) / 1e6 for name, model in models.items()},
        "costs": {
            name: {fact: float(model.provenance[fact]) for fact in known if model.provenance.get(fact) is not None}
            for name, model in models.items()
        },
    }


def _judged_cold(models: Mapping[str, Recommender], case: Case, config: EvaluationConfig) -> dict[str, Any]:
    """{"description", "n_users", "models", "ceilings", "comparison"} of one case, all its items in one view."""
    views = {"all": case.views()["all"]}
    vectors, metrics = _judge(models, case, views, None, config)
    return {
        "description": case.description,
        "n_users": len(case.user_ids),
        "models": {name: {m: found[m] for m in SLICED} for name, found in metrics["all"].items()},
        "ceilings": ceilings(case.relevant, case.candidates, K),
        "comparison": compared(vectors["all"], HEADLINE, config),
    }


def _sliced(
    vectors: Vectors, slices: Mapping[str, NDArray[np.bool_]], config: EvaluationConfig
) -> dict[str, dict[str, Any]]:
    found = {}
    for name, members in slices.items():
        inside = {model: {m: v[members] for m, v in own.items() if m in SLICED} for model, own in vectors.items()}
        found[name] = {"n_users": int(members.sum()), "models": intervals(inside, config)}
    return found


def _table(vectors: Vectors, case: Case) -> "pa.Table":
    import pyarrow as pa

    n_users = len(case.user_ids)
    parts = [{"model": [name] * n_users, "user_id": case.user_ids, **found} for name, found in vectors.items()]
    return pa.concat_tables([pa.table(part) for part in parts])
