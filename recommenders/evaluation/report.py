"""The evaluation report: every model on one case, with intervals, ceilings and the success criteria."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recommenders import bundle
from recommenders.evaluation import lists, markdown, plots
from recommenders.evaluation.comparison import mean_interval
from recommenders.evaluation.criteria import ceilings, criteria
from recommenders.evaluation.protocol import Case, EvaluationConfig, K
from recommenders.features.items import ItemFeatures
from recommenders.models.catalog import MODELS
from recommenders.models.recommender import Recommender

if TYPE_CHECKING:
    import pyarrow as pa

RESPONSE_PROTOCOL = "95th percentile of one list for one buyer at a time, in process"

Metrics = dict[str, list[float | None]]  # metric -> [value, low, high]


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
        )

    def to_json(self) -> dict[str, Any]:
        """Everything but the values of single users; nan becomes null."""
        facts = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "per_user"}
        return {**facts, "criteria": {name: self.criteria(name) for name in self.models}}

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

        facts = json.loads((folder / "report.json").read_text())
        facts.pop("criteria")
        return cls(**facts, per_user=pq.read_table(folder / "per_user.parquet"))


def evaluate(
    models: Mapping[str, Recommender],
    case: Case,
    features: ItemFeatures,
    *,
    dataset: str = "",
    cut: datetime | None = None,
    config: EvaluationConfig | None = None,
) -> Report:
    """Asks every model for lists for every buyer of the case and judges them, over all items (full ranking)."""
    import pyarrow as pa

    config = config or EvaluationConfig()
    views = case.views()
    judged: dict[str, dict[str, Metrics]] = {view: {} for view in views}
    tables = []
    models = {name: models[name] for name in sorted(models, key=[*MODELS].index)}
    for name, model in models.items():
        ranked = lists.rank(model, case, views, K)
        for view, of_view in views.items():
            users = lists.per_user(ranked[view], of_view.relevant, features.vectors)
            items = lists.per_item(ranked[view], case)
            judged[view][name] = {metric: _interval(values, config) for metric, values in (users | items).items()}
            if view == "all":
                tables.append(pa.table({"model": [name] * len(case.user_ids), "user_id": case.user_ids, **users}))
    return Report(
        dataset,
        case.description,
        cut.isoformat() if cut else "",
        len(case.user_ids),
        case.cold_users,
        case.cold_items,
        judged.pop("all"),
        judged,
        {name: ceilings(view.relevant, case.candidates, K) for name, view in views.items()},
        {name: {"users": int((np.diff(view.relevant.indptr) == 0).sum())} for name, view in views.items()},
        {name: lists.latency(model, case, K) for name, model in models.items()},
        {name: lists.bytes_on_disk(model) / 1e6 for name, model in models.items()},
        pa.concat_tables(tables),
    )


def _interval(values: NDArray[np.float64], config: EvaluationConfig) -> list[float | None]:
    found = mean_interval(values, config.n_bootstrap, seed=config.seed)
    return [None if np.isnan(value) else value for value in found]
