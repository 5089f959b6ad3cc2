"""Challenger against champion, each recipe fitted before the same cut and asked for the same lists."""

import json

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from recommenders.datasets.interactions import Interactions
from recommenders.errors import ConfigurationError, ReleaseError
from recommenders.evaluation.protocol import Case
from recommenders.evaluation.report import Report, evaluate
from recommenders.features.items import ItemFeatures
from recommenders.training.configuration import TrainingConfig
from recommenders.training.training import fit_one
from serving.gate import Decision, decide
from serving.registry import Registry
from serving.versions import RECORD_TAG, Version

METRIC = "ndcg@10"


def judge(
    live: Version | None,
    challenger: Version,
    report: Report,
    log: Interactions,
    features: ItemFeatures,
    case: Case,
) -> Decision:
    """The gate's decision; `report` judged the challenger on `case`, the live recipe is judged there too.

    Where that recipe can no longer be fitted, of an older version say, popularity stands in for it.
    """
    vectors = report.vectors(METRIC)
    own, popularity = vectors[challenger.model], vectors["popularity"]
    if live is None:
        return decide(own, popularity, candidate=challenger.model)
    try:
        champion = champion_vector(live, challenger, own, log, features, case)
    except (ValidationError, ConfigurationError) as error:
        cause = " ".join(str(error).split())
        name = f"popularity (the champion's recipe can no longer be fitted: {cause})"
        return decide(own, popularity, popularity, candidate=challenger.model, champion_name=name)
    return decide(own, popularity, champion, candidate=challenger.model)


def champion_vector(
    live: Version,
    challenger: Version,
    own: NDArray[np.float64],
    log: Interactions,
    features: ItemFeatures,
    case: Case,
) -> NDArray[np.float64]:
    """NDCG@10 of the champion's recipe at this cut; the challenger's own if it is the same one."""
    if (live.model, live.tags.get("recipe")) == (challenger.model, challenger.tags.get("recipe")):
        return own
    config = TrainingConfig.model_validate_json(live.tags.get("configuration", ""))  # none: a ValidationError
    model = fit_one(live.model, config, log, features)
    return evaluate({live.model: model}, case, features).vectors(METRIC)[live.model]


def promote_judged(registry: Registry, dataset: str, number: int, force: str = "") -> Version:
    """Promotes a version that the gate let pass, or any one against it with a reason, which is stored.

    Raises ReleaseError if the gate held the version back, or never saw it, and no reason is given.
    """
    version = registry.version(dataset, number)
    record = json.loads(version.tags.get(RECORD_TAG, "{}"))
    if not record.get("promote") and not force:
        why = "; ".join(record.get("reasons", [])) or "the gate never judged it"
        raise ReleaseError(
            f"version {number} of {dataset} may not be promoted: {why}; --force REASON does it against the gate"
        )
    if force:
        record = {**record, "forced": force}
    return registry.promote(dataset, number, record)
