"""Runs a file benchmark: fits the models one after the other and evaluates each one as soon as it is fitted."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from recommenders.errors import ConfigurationError, NoFeaturesError
from recommenders.evaluation.benchmark.file_benchmark import BenchmarkFiles, FileBenchmark
from recommenders.evaluation.benchmark.results import Outcome, results, summary_text, task_summary
from recommenders.evaluation.cost import Cost, measure
from recommenders.models.all_models import MODELS
from recommenders.models.ensembles.ensemble import Ensemble
from recommenders.models.recommender import Recommender
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import fit_model, required_models, with_base_models

Echo = Callable[[str], None]

NEEDS_ITEMS = "needs item features; give --items FILE"


def evaluate_files(
    files: BenchmarkFiles, names: Sequence[str], k: int, config: TrainingConfig, echo: Echo
) -> dict[str, Any]:
    """The results of the benchmark, ready for JSON (docs/evaluation.md); calls `echo` with lines about the progress.

    Raises DataError for files that cannot be read, ConfigurationError if no model could be fitted.
    """
    started = time.perf_counter()
    benchmark = files.read(config.evaluation.seed)
    summary = task_summary(benchmark, k)
    echo(f"Read in {time.perf_counter() - started:.1f} s: {summary_text(summary)}\n{summary['protocol']}")
    run = FileBenchmarkRun(config, benchmark, k, echo)
    run.run(names)
    if not run.outcome.vectors:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in run.outcome.skipped.items())
        raise ConfigurationError(f"no model could be evaluated: {reasons}")
    found = results(benchmark, k, run.outcome, config.evaluation)
    return summary | found | {"seconds": round(time.perf_counter() - started, 3)}


@dataclass
class FileBenchmarkRun:
    """Fits and evaluates models. A model stays in memory only as long as a later ensemble needs it."""

    config: TrainingConfig
    benchmark: FileBenchmark
    k: int
    echo: Echo
    outcome: Outcome = field(default_factory=Outcome)
    fitted: dict[str, Recommender] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)  # of each model without its base models

    def run(self, names: Sequence[str]) -> None:
        """Fits and evaluates the named models; the base models of an ensemble are fitted too."""
        needed_names = with_base_models(names, self.config, self.benchmark.log)
        waiting = [name for name in MODELS if name in needed_names]
        while waiting:
            name = waiting.pop(0)
            self._fit(name)
            if name in names and name in self.fitted:
                self._evaluate(name)
            needed = {model for later in waiting for model in required_models(later, self.config, self.benchmark.log)}
            self.fitted = {kept: model for kept, model in self.fitted.items() if kept in needed}

    def _cost(self, name: str) -> Cost:
        """The cost of the model with all its base models, each one once."""
        return self.costs[name].with_base_models([self.costs[part] for part in _base_models(self.fitted[name])])

    def _fit(self, name: str) -> None:
        log, features = self.benchmark.log, self.benchmark.features
        try:
            model, self.costs[name] = measure(lambda: fit_model(name, self.config, log, self.fitted, features))
        except ConfigurationError as error:
            reason = NEEDS_ITEMS if isinstance(error, NoFeaturesError) else str(error)
            self.outcome.skipped[name] = reason
            self.echo(f"  - {name} is skipped: {reason}")
            return
        self.fitted[name] = model
        if isinstance(model, Ensemble) and (
            missing := [m for m in model.base_model_names() if m not in model.base_models_]
        ):
            self.outcome.missing[name] = missing
        cost = self._cost(name)
        self.echo(f"  + {name}: fitted in {cost.seconds:.1f} s, {cost.peak_mb:,.0f} MB at the peak")

    def _evaluate(self, name: str) -> None:
        self.outcome.costs[name] = self._cost(name)
        for view, found in self.benchmark.evaluate(self.fitted[name], self.k).items():
            self.outcome.vectors.setdefault(view, {})[name] = found


def _base_models(model: Recommender) -> set[str]:
    """The names of the base models and of their base models, without skipped ones."""
    if not isinstance(model, Ensemble):
        return set()
    return set(model.base_models_).union(*(_base_models(base_model) for base_model in model.base_models_.values()))
