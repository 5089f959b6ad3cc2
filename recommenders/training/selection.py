"""Selects the release candidate on the validation window, before the test window is used."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from recommenders.datasets.spec import Protocol
from recommenders.errors import DataError
from recommenders.evaluation.window_task import WindowTask, window_task
from recommenders.models.recommender import Recommender
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import SkippedModel, fit_recipe, with_base_models

LOG = logging.getLogger(__name__)

CANDIDATES = ("hybrid_learned", "hybrid")  # release candidates if enabled, the first one by default
MAX_LOG_CHANGE = 0.1  # relative change of the number of events up to which an earlier choice stays valid


@dataclass(frozen=True)
class CandidateChoice:
    """The selected candidate and the reason, with the recipe, protocol and log of the selection."""

    candidate: str
    how: str
    recipe: str
    protocol: str
    n_events: int
    means: Mapping[str, float]  # model -> mean NDCG@10 on the validation window; {} if nothing was compared
    n_users: int = 0

    def to_json(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)


def choose(
    config: TrainingConfig,
    interactions: pa.Table,
    items: pa.Table,
    protocol: Protocol,
    earlier: CandidateChoice | None = None,
    first: bool = False,
) -> CandidateChoice:
    """The ensemble with the higher NDCG on the validation window; both are fitted on the log before that window.

    If no ensemble is enabled, all models are candidates. An earlier choice stays valid if recipe and protocol are the
    same and the number of events has changed by at most MAX_LOG_CHANGE. No model is fitted if there is only one
    candidate, if the log is too short for a validation window, or for the first release of an ensemble (`first`), to
    save the extra fitting time: then the result is the default.
    """
    n_events = interactions.num_rows
    if earlier is not None and _is_valid(earlier, config, protocol, n_events):
        return earlier
    names = [name for name in CANDIDATES if name in config.enabled()] or config.enabled()

    def chosen(name: str, how: str, means: Mapping[str, float] | None = None, n_users: int = 0) -> CandidateChoice:
        return CandidateChoice(name, how, config.recipe(), protocol.describe(), n_events, means or {}, n_users)

    if len(names) == 1:
        return chosen(names[0], "the only enabled candidate")
    if first and names[0] in CANDIDATES:
        return chosen(names[0], "the default, because no ensemble is served yet; the next training compares both")
    try:
        window = window_task(interactions, items, protocol, "validation")
    except DataError as error:
        return chosen(names[0], f"the default, because there is no validation window: {error}")
    means = {name: float(np.nanmean(window.ndcg(window.lists(m)))) for name, m in _fitted(names, config, window)}
    if not means:
        return chosen(
            names[0], "the default, because no candidate could be fitted on the log before the validation window"
        )
    best = max(means, key=lambda name: means[name])
    return chosen(
        best, f"best on the validation window of a log of {n_events:,} events", means, len(window.task.user_ids)
    )


def _is_valid(earlier: CandidateChoice, config: TrainingConfig, protocol: Protocol, n_events: int) -> bool:
    if not earlier.means:  # it compared nothing
        return False
    same = (earlier.recipe, earlier.protocol) == (config.recipe(), protocol.describe())
    return same and abs(n_events - earlier.n_events) <= MAX_LOG_CHANGE * earlier.n_events


def _fitted(names: Sequence[str], config: TrainingConfig, window: WindowTask) -> list[tuple[str, Recommender]]:
    """The models that can be fitted on the training log of the window; each base model is fitted once."""
    needed = with_base_models(names, config, window.log)

    def log_skip(model: SkippedModel) -> None:
        LOG.info("the selection on the validation window skips %s: %s", model.name, model.reason)

    fitted = fit_recipe(config, window.log, window.features, on_skip=log_skip, only=needed)
    return [(name, fitted[name]) for name in names if name in fitted]
