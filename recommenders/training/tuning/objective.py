"""What a trial measures: a metric of a model on the validation window, fitted on the events before this window."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from recommenders.errors import ConfigurationError, UnsuitableError
from recommenders.evaluation.rank import rank_users
from recommenders.evaluation.window_task import WindowTask
from recommenders.metrics.ranking import FORMULAS, all_metrics
from recommenders.models.recommender import LONGEST_LIST, EpochCallback, Recommender
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import fit_base_model, fit_model, required_models
from recommenders.training.tuning.spaces import with_values


def parse_metric(text: str) -> tuple[str, int]:
    """ "ndcg@10" -> its name and the length of the lists. Raises ConfigurationError."""
    name, _, k = text.partition("@")
    if name not in FORMULAS or not k.isdecimal() or not 1 <= int(k) <= LONGEST_LIST:
        raise ConfigurationError(
            f"metric: got {text!r}; allowed: {', '.join(FORMULAS)}, @ and a number from 1 to {LONGEST_LIST}; "
            "write ndcg@10"
        )
    return name, int(k)


@dataclass
class Objective:
    """The metric of a model, by the values of its settings. A base model is fitted once for all trials of an ensemble.

    The test window is not used: `window` is the task of the validation window.
    """

    model: str
    config: TrainingConfig
    window: WindowTask
    metric: str
    threads: int | None = None
    base_models: dict[str, Recommender | None] = field(default_factory=dict)  # None: it cannot be fitted on this log

    def __call__(
        self, values: Mapping[str, Any], on_epoch: EpochCallback | None = None, checkpoints: Path | None = None
    ) -> float:
        """The mean of the metric over the users of the window. Raises UnsuitableError if the model cannot be fitted."""
        config = with_values(self.config, self.model, values)
        options = replace(config.fit.options(on_epoch, checkpoints), threads=self.threads or config.fit.threads)
        window = self.window
        needed = required_models(self.model, config, window.log)
        fitted = {name: base_model for name in needed if (base_model := self._base(name)) is not None}
        model = fit_model(self.model, config, window.log, fitted, window.features, options)
        _, k = parse_metric(self.metric)
        lists = rank_users(model, window.task, {"all": window.task.views()["all"]}, k)["all"]
        return float(np.nanmean(all_metrics(lists, window.task.relevant)[self.metric]))

    def _base(self, name: str) -> Recommender | None:
        if name not in self.base_models and self.config.section(name).enabled:
            self.base_models[name] = None
            with contextlib.suppress(UnsuitableError):
                self.base_models[name] = fit_base_model(name, self.config, self.window.log, self.window.features)
        return self.base_models.get(name)
