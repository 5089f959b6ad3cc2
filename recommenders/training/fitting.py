"""From a configuration and a log to fitted models."""

import contextlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from recommenders.errors import ConfigurationError, UnsuitableError
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.models.catalog import COMPOSED, model_class
from recommenders.models.ensembles.ensemble import Composed
from recommenders.models.ensembles.hybrid_learned.model import HybridLearned
from recommenders.models.recommender import Recommender, Tracker
from recommenders.storage.files import atomic_folder
from recommenders.training.configuration import TrainingConfig

DECLINED = "declined.json"


@dataclass(frozen=True)
class Declined:
    """A model that cannot learn from this log, and why. Blends go on without it."""

    name: str
    reason: str
    provenance: dict[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> Path:
        """Writes the reason in the place of a bundle; returns the folder."""
        with atomic_folder(folder) as staging:
            (staging / DECLINED).write_text(json.dumps(asdict(self)))
        return folder

    @classmethod
    def load(cls, folder: Path) -> "Declined":
        """What save() wrote."""
        return cls(**json.loads((folder / DECLINED).read_text()))


def fit_member(
    name: str,
    config: TrainingConfig,
    log: Interactions,
    features: ItemFeatures | None = None,
    tracker: Tracker | None = None,
) -> Recommender:
    """One model that stands alone.

    Raises UnknownNameError, ConfigurationError for one that is not enabled, UnsuitableError for one that cannot learn
    from this log.
    """
    return _enabled(name, config).fit(log, features, tracker)


def fit_model(
    name: str,
    config: TrainingConfig,
    log: Interactions,
    fitted: Mapping[str, Recommender],
    features: ItemFeatures | None = None,
    tracker: Tracker | None = None,
) -> Recommender:
    """One model, whichever it is; a blend is made of those of its members that are fitted on this log already.

    Raises as fit_member does.
    """
    model = _enabled(name, config)
    if isinstance(model, Composed):
        return model.compose(fitted, log, features, tracker)
    return model.fit(log, features, tracker)


def members_of(name: str, config: TrainingConfig, log: Interactions) -> list[str]:
    """What a blend makes use of on such a log; nothing for a model that stands alone."""
    model = model_class(name)(config.of(name)) if name in COMPOSED else None
    return model.worth_fitting(log) if isinstance(model, Composed) else []


def _enabled(name: str, config: TrainingConfig) -> Recommender:
    section = config.of(name)
    if not section.enabled:
        raise ConfigurationError(f"{name} is not enabled; set models.{name}.enabled: true")
    return model_class(name)(section)


def fit_recipe(
    config: TrainingConfig,
    log: Interactions,
    features: ItemFeatures | None = None,
    tracker_of: Callable[[str], Tracker | None] = lambda _: None,
    declined: Callable[[Declined], None] = lambda _: None,
    only: Collection[str] | None = None,
) -> dict[str, Recommender]:
    """All enabled models by name, or those of them named in `only`, members first; those that cannot learn from this
    log are handed to `declined`.
    """
    fitted: dict[str, Recommender] = {}
    for name in (name for name in config.enabled() if only is None or name in only):
        try:
            fitted[name] = fit_model(name, config, log, fitted, features, tracker_of(name))
        except UnsuitableError as error:
            declined(Declined(name, str(error)))
    return fitted


def fit_one(name: str, config: TrainingConfig, log: Interactions, features: ItemFeatures | None) -> Recommender:
    """One enabled model, with the members it needs and no others. Raises as fit_member does."""
    members = {}
    for member in members_of(name, config, log):
        if config.section(member).enabled:
            with contextlib.suppress(UnsuitableError):
                members[member] = fit_member(member, config, log, features)
    return fit_model(name, config, log, members, features)


def refit(
    name: str,
    config: TrainingConfig,
    log: Interactions,
    features: ItemFeatures | None,
    evaluated: Mapping[str, Recommender],
    tracker: Tracker | None = None,
) -> Recommender:
    """The recipe of a model that was evaluated, on another (longer) log.

    What its evaluation has found out is kept: the epochs of early stopping, the trees of the ranker.
    """
    if name not in COMPOSED:
        return model_class(name)(evaluated[name].refit_config()).fit(log, features, tracker)
    judged = evaluated[name]
    assert isinstance(judged, Composed)
    members = {}
    for member in judged.members_:
        with contextlib.suppress(UnsuitableError):
            members[member] = refit(member, config, log, features, judged.members_, tracker)
    again = model_class(name)(judged.config)
    if isinstance(again, HybridLearned) and isinstance(judged, HybridLearned) and len(members) == len(judged.members_):
        again.copy_rankers(judged)
    assert isinstance(again, Composed)
    return again.compose(members, log, features, tracker)
