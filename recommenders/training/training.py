"""From a configuration and a log to fitted models."""

from collections.abc import Callable, Mapping

from recommenders.datasets.interactions import Interactions
from recommenders.errors import ConfigurationError
from recommenders.features.items import ItemFeatures
from recommenders.models.catalog import model_class
from recommenders.models.hybrid import Hybrid, HybridConfig
from recommenders.models.neural_collaborative import NeuralCollaborative
from recommenders.models.recommender import ModelConfig, Recommender, Tracker
from recommenders.training.configuration import TrainingConfig


def fit_member(
    name: str,
    config: TrainingConfig,
    log: Interactions,
    features: ItemFeatures | None = None,
    tracker: Tracker | None = None,
) -> Recommender:
    """One model that stands alone. Raises UnknownNameError, or ConfigurationError for one that is not enabled."""
    section = config.of(name)
    if not section.enabled:
        raise ConfigurationError(f"{name} is not enabled; set models.{name}.enabled: true")
    return model_class(name)(section).fit(log, features, tracker)


def compose_hybrid(config: TrainingConfig, log: Interactions, members: Mapping[str, Recommender]) -> Hybrid:
    """The configured blend of members that are fitted on this log already."""
    section = config.of(Hybrid.name)
    assert isinstance(section, HybridConfig)
    return Hybrid.compose(members, log, section)


def fit_recipe(
    config: TrainingConfig,
    log: Interactions,
    features: ItemFeatures | None = None,
    tracker_of: Callable[[str], Tracker | None] = lambda _: None,
) -> dict[str, Recommender]:
    """All enabled models by name, the hybrid made of the others."""
    members = [name for name in config.enabled() if name != Hybrid.name]
    fitted = {name: fit_member(name, config, log, features, tracker_of(name)) for name in members}
    if Hybrid.name in config.enabled():
        fitted[Hybrid.name] = compose_hybrid(config, log, fitted)
    return fitted


def refit(
    name: str,
    config: TrainingConfig,
    log: Interactions,
    features: ItemFeatures | None,
    evaluated: Mapping[str, Recommender],
    tracker: Tracker | None = None,
) -> Recommender:
    """The recipe of a model that was evaluated, on another (longer) log, with the epochs that early stopping found."""
    if name != Hybrid.name:
        return model_class(name)(_as_stopped(evaluated[name], config.of(name))).fit(log, features, tracker)
    weights = config.models.hybrid.model_weights
    needed = [m for m in config.enabled() if m != Hybrid.name and (weights.get(m, 0) > 0 or m == "popularity")]
    return compose_hybrid(config, log, {m: refit(m, config, log, features, evaluated, tracker) for m in needed})


def _as_stopped(evaluated: Recommender, config: ModelConfig) -> ModelConfig:
    if isinstance(evaluated, NeuralCollaborative):
        return config.model_copy(update={"fixed_epochs": evaluated.epochs_})
    return config
