"""Fits our models on the log of a benchmark task, each once, and keeps their bundles, so that a run can be resumed."""

import shutil
import time
from pathlib import Path

from peers.environments import place

from measuring.benchmark_tasks import BenchmarkTask
from measuring.disk_cache import code_version, key_of
from recommenders.errors import UnsuitableError
from recommenders.models.all_models import load
from recommenders.models.recommender import Recommender
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import SKIPPED, SkippedModel, fit_model, required_models

KEPT_DAYS = 1.0  # bundles of other code versions, some hundred MB per data set, are removed after that


def fitted(name: str, task: BenchmarkTask, config: TrainingConfig) -> Recommender | SkippedModel:
    """Loads the model from its bundle. Without a bundle it is fitted first, and so are its base models."""
    folder = bundle_of(name, task, config)
    return SkippedModel.load(folder) if (folder / SKIPPED).exists() else load(folder)


def bundle_of(name: str, task: BenchmarkTask, config: TrainingConfig) -> Path:
    """The folder of the model's bundle or of its SkippedModel, fitted if needed. Raises UnknownNameError."""
    folder = place() / "fitted" / code_version()[:16] / f"{name}-{fit_key(name, task, config)}"
    if not folder.exists():
        if not folder.parent.exists():
            remove_old_versions(folder.parents[1])
            folder.parent.mkdir(parents=True)
        _fit(name, task, config).save(folder)
    return folder


def fit_key(name: str, task: BenchmarkTask, config: TrainingConfig) -> str:
    """A short key of everything that a fitted model depends on."""
    settings = [config.fit_config(base).model_dump_json() for base in (name, *_base_models(name, task, config))]
    return key_of("fit", name, task.key, code_version(), settings)


def _fit(name: str, task: BenchmarkTask, config: TrainingConfig) -> Recommender | SkippedModel:
    try:
        return fit_model(name, config, task.log, bases(name, task, config), task.features)
    except UnsuitableError as error:
        return SkippedModel(name, str(error))


def bases(name: str, task: BenchmarkTask, config: TrainingConfig) -> dict[str, Recommender]:
    """The fitted base models of an ensemble, without those that cannot be fitted on the log. {} for other models."""
    models = {base: fitted(base, task, config) for base in _base_models(name, task, config)}
    return {base: model for base, model in models.items() if isinstance(model, Recommender)}


def _base_models(name: str, task: BenchmarkTask, config: TrainingConfig) -> list[str]:
    return [base for base in required_models(name, config, task.log) if config.section(base).enabled]


def remove_old_versions(versions: Path, days: float = KEPT_DAYS) -> None:
    """Removes the bundles of code versions that are older than `days`."""
    for folder in versions.glob("*"):
        if time.time() - folder.stat().st_mtime > days * 24 * 3600:
            shutil.rmtree(folder)
