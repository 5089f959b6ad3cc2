"""Which recipe goes on to the gate: chosen on the validation window, before anybody looks at the test window."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from recommenders.datasets.spec import Protocol
from recommenders.errors import DataError
from recommenders.evaluation.window import Question, question_of
from recommenders.models.recommender import Recommender
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import Declined, fit_recipe, members_of

LOG = logging.getLogger(__name__)

BLENDS = ("hybrid_learned", "hybrid")  # released where one of them is enabled, the first by default; else a model
GROWTH = 0.1  # share of events that a log may gain or lose before an earlier choice no longer holds


@dataclass(frozen=True)
class Choice:
    """The recipe chosen, how, and for which recipe and log the choice was made."""

    candidate: str
    how: str
    recipe: str
    protocol: str
    n_events: int
    means: Mapping[str, float]  # model -> mean NDCG@10 on the validation window; empty where nothing was compared
    n_users: int = 0

    def to_json(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)


def choose(
    config: TrainingConfig,
    interactions: pa.Table,
    items: pa.Table,
    protocol: Protocol,
    earlier: Choice | None = None,
    first: bool = False,
) -> Choice:
    """The better of the two blends on the validation window, both fitted on what lies before it.

    An earlier choice holds as long as recipe and protocol are its own and the log has grown by no more than GROWTH.
    Nothing is fitted where there is nothing to choose between, where the log is too short for a validation window, or
    for the first release of all (`first`), which should not take half as long again: then the default goes on.
    """
    n_events = interactions.num_rows
    if earlier is not None and _holds(earlier, config, protocol, n_events):
        return earlier
    names = [name for name in BLENDS if name in config.enabled()] or config.enabled()

    def chosen(name: str, how: str, means: Mapping[str, float] | None = None, n_users: int = 0) -> Choice:
        return Choice(name, how, config.recipe(), protocol.describe(), n_events, means or {}, n_users)

    if len(names) == 1:
        return chosen(names[0], "the only one that is enabled")
    if first:
        return chosen(names[0], "the default, for nothing serves yet; the next training chooses")
    try:
        question = question_of(interactions, items, protocol, "validation")
    except DataError as error:
        return chosen(names[0], f"the default, for there is no validation window: {error}")
    means = {name: float(np.nanmean(question.ndcg(question.lists(m)))) for name, m in _fitted(names, config, question)}
    if not means:
        return chosen(names[0], "the default, for none could be fitted before the validation window")
    best = max(means, key=lambda name: means[name])
    return chosen(
        best, f"best on the validation window of a log of {n_events:,} events", means, len(question.case.user_ids)
    )


def _holds(earlier: Choice, config: TrainingConfig, protocol: Protocol, n_events: int) -> bool:
    if not earlier.means:  # nothing was compared for it
        return False
    same = (earlier.recipe, earlier.protocol) == (config.recipe(), protocol.describe())
    return same and abs(n_events - earlier.n_events) <= GROWTH * earlier.n_events


def _fitted(names: Sequence[str], config: TrainingConfig, question: Question) -> list[tuple[str, Recommender]]:
    """Those of the models that can be fitted on the question's log, each member once."""
    members = {member for name in names for member in members_of(name, config, question.log)}

    def skipped(model: Declined) -> None:
        LOG.info("the choice on the validation window skips %s: %s", model.name, model.reason)

    fitted = fit_recipe(config, question.log, question.features, declined=skipped, only={*names, *members})
    return [(name, fitted[name]) for name in names if name in fitted]
