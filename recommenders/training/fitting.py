"""Fits the models of a training configuration on a log."""

import contextlib
import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from recommenders.errors import ConfigurationError, UnsuitableError
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.models import all_models
from recommenders.models.all_models import ENSEMBLES, model_class
from recommenders.models.ensembles.ensemble import Ensemble
from recommenders.models.recommender import Recommender, TrainingOptions
from recommenders.storage.atomic_files import atomic_folder
from recommenders.training.configuration import TrainingConfig

SKIPPED = "skipped.json"


@dataclass(frozen=True)
class SkippedModel:
    """A model that cannot be fitted on this log, and the reason. Ensembles are fitted without it."""

    name: str
    reason: str
    provenance: dict[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> Path:
        """Writes the reason in place of a bundle; returns the folder."""
        with atomic_folder(folder) as staging:
            (staging / SKIPPED).write_text(json.dumps(asdict(self)))
        return folder

    @classmethod
    def load(cls, folder: Path) -> "SkippedModel":
        """Loads what save() wrote."""
        return cls(**json.loads((folder / SKIPPED).read_text()))


def load_fitted(folder: Path) -> Recommender | SkippedModel:
    """What a fit stored in the folder: the model of a bundle, or the reason in its place. Raises BundleError."""
    return SkippedModel.load(folder) if (folder / SKIPPED).exists() else all_models.load(folder)


def fit_base_model(
    name: str,
    config: TrainingConfig,
    log: Interactions,
    features: ItemFeatures | None = None,
    options: TrainingOptions | None = None,
) -> Recommender:
    """Fits one model that needs no other models. options: by default those of the configuration.

    Raises UnknownNameError, ConfigurationError if the model is not enabled, UnsuitableError if it cannot be fitted on
    this log.
    """
    return _enabled(name, config).fit(log, features, options or config.fit.options())


def fit_model(
    name: str,
    config: TrainingConfig,
    log: Interactions,
    fitted: Mapping[str, Recommender],
    features: ItemFeatures | None = None,
    options: TrainingOptions | None = None,
) -> Recommender:
    """Fits one model of any kind. An ensemble uses those of its base models that are in `fitted`, on the same log.

    Raises as fit_base_model does.
    """
    model, options = _enabled(name, config), options or config.fit.options()
    if isinstance(model, Ensemble):
        return model.fit_from(fitted, log, features, options)
    return model.fit(log, features, options)


def required_models(name: str, config: TrainingConfig, log: Interactions) -> list[str]:
    """The base models that an ensemble uses on such a log; [] for other models."""
    model = model_class(name)(config.fit_config(name)) if name in ENSEMBLES else None
    return model.required_models(log) if isinstance(model, Ensemble) else []


def _enabled(name: str, config: TrainingConfig) -> Recommender:
    section = config.fit_config(name)
    if not section.enabled:
        raise ConfigurationError(f"{name} is not enabled; set models.{name}.enabled: true")
    return model_class(name)(section)


def fit_recipe(
    config: TrainingConfig,
    log: Interactions,
    features: ItemFeatures | None = None,
    options_of: Callable[[str], TrainingOptions | None] = lambda _: None,
    on_skip: Callable[[SkippedModel], None] = lambda _: None,
    only: Collection[str] | None = None,
    on_fit: Callable[[str, float], None] = lambda *_: None,
) -> dict[str, Recommender]:
    """Fits all enabled models, or those of them that `only` names, base models first. Returns name -> model.

    Calls `on_skip` for each model that cannot be fitted on this log, and `on_fit` with the name and the seconds of the
    fit of each other one.
    """
    fitted: dict[str, Recommender] = {}
    for name in (name for name in config.enabled() if only is None or name in only):
        started = time.perf_counter()
        try:
            fitted[name] = fit_model(name, config, log, fitted, features, options_of(name))
        except UnsuitableError as error:
            on_skip(SkippedModel(name, str(error)))
        else:
            on_fit(name, time.perf_counter() - started)
    return fitted


def with_base_models(names: Iterable[str], config: TrainingConfig, log: Interactions) -> set[str]:
    """The models, their base models on such a log, and the base models of these."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += required_models(name, config, log)
    return found


def fit_with_base_models(
    name: str, config: TrainingConfig, log: Interactions, features: ItemFeatures | None
) -> Recommender:
    """Fits one enabled model, and before it only the base models that it uses. Raises as fit_base_model does."""
    base_models = {}
    for base_model in required_models(name, config, log):
        if config.section(base_model).enabled:
            with contextlib.suppress(UnsuitableError):
                base_models[base_model] = fit_base_model(base_model, config, log, features)
    return fit_model(name, config, log, base_models, features)
