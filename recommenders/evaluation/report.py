"""The evaluation report: all models on one task, with intervals, ceilings and the success criteria."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recommenders.evaluation.criteria import CRITERIA, MODEL_TARGETS, criteria, targets
from recommenders.evaluation.statistics.report_values import Metrics
from recommenders.evaluation.tasks.task import EvaluationConfig

if TYPE_CHECKING:
    import pyarrow as pa

RESPONSE_PROTOCOL = "95th percentile of one list for one user at a time, in process"


@dataclass(frozen=True, eq=False)
class Report:
    """All results of an evaluation. `views` holds the metrics of reorder and discovery if users reorder."""

    dataset: str
    protocol: str
    cut: str  # ISO 8601
    n_users: int
    cold_users: int
    cold_items: int
    models: dict[str, Metrics]
    views: dict[str, dict[str, Metrics]]  # view -> model -> metrics
    ceilings: dict[str, dict[str, float]]  # view -> metric -> ceiling
    undefined: dict[str, dict[str, int]]  # view -> {"users": number of users without relevant items}
    milliseconds: dict[str, dict[str, float]]  # model -> {"p50", "p95"}
    megabytes: dict[str, float]  # model -> its bundle on disk, without the context
    per_user: "pa.Table" = field(repr=False)  # model, user_id, one column per metric; the view "all"
    slices: dict[str, dict[str, Any]] = field(default_factory=dict)  # name -> {"n_users", "models": model -> metrics}
    comparisons: dict[str, dict[str, Any]] = field(default_factory=dict)  # view -> the best model and the others
    oracle: dict[str, dict[str, float]] = field(default_factory=dict)  # view -> metric -> value, if an oracle is known
    costs: dict[str, dict[str, float]] = field(default_factory=dict)  # model -> {"fit_seconds", "peak_memory_mb"}
    cold: dict[str, dict[str, Any]] = field(default_factory=dict)  # cold-start task -> result of _evaluate_cold
    reliability: dict[str, dict[str, Any]] = field(default_factory=dict)  # model -> reliability(), if it is calibrated
    context_megabytes: float = 0.0  # on disk, once for all models; 0 in a report before contexts were stored apart
    wanted: dict[str, float] = field(default_factory=lambda: dict(CRITERIA))  # metric -> target of the criteria
    model_targets: dict[str, dict[str, float]] = field(default_factory=lambda: dict(MODEL_TARGETS))

    def vectors(self, metric: str) -> dict[str, NDArray[np.float64]]:
        """Model -> (n_users,) values of one metric, over the same users in the same order."""
        names = self.per_user["model"].to_numpy()
        values = self.per_user[metric].to_numpy()
        return {name: values[names == name] for name in self.models}

    def bundle_megabytes(self, model: str) -> float:
        """The size on disk of what a service loads: the model's bundle and its context."""
        return self.megabytes[model] + self.context_megabytes

    def criteria(self, model: str) -> list[dict[str, Any]]:
        """The success criteria for one model."""
        return criteria(
            self.models[model],
            self.ceilings["all"],
            self.milliseconds[model]["p95"],
            self.bundle_megabytes(model),
            self.protocol,
            RESPONSE_PROTOCOL,
            self.wanted,
        )

    def targets(self) -> list[dict[str, Any]]:
        """The targets of single models, for the models that were evaluated."""
        return targets(self.models, self.ceilings["all"], self.model_targets)

    def with_targets(self, config: EvaluationConfig) -> "Report":
        """The same results with the targets of another configuration."""
        return replace(self, wanted=dict(config.criteria), model_targets=dict(config.model_targets))

    def to_json(self) -> dict[str, Any]:
        """All results except the values of single users; nan becomes null."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "per_user"}
        derived = {"criteria": {name: self.criteria(name) for name in self.models}, "targets": self.targets()}
        return fields | derived
