"""Challenger against champion, each recipe fitted before the same cut and asked for the same lists."""

import numpy as np
from numpy.typing import NDArray

from recommenders.datasets.interactions import Interactions
from recommenders.evaluation.protocol import Case
from recommenders.evaluation.report import Report, evaluate
from recommenders.features.items import ItemFeatures
from recommenders.training.configuration import TrainingConfig
from recommenders.training.training import fit_recipe
from serving.gate import Decision, decide
from serving.versions import Version

METRIC = "ndcg@10"


def judge(
    live: Version | None,
    challenger: Version,
    report: Report,
    log: Interactions,
    features: ItemFeatures,
    case: Case,
) -> Decision:
    """The gate's decision; `report` judged the challenger's recipe on `case`, the live one is judged there too."""
    vectors = report.vectors(METRIC)
    own = vectors[challenger.model]
    champion = None if live is None else champion_vector(live, challenger, own, log, features, case)
    return decide(own, vectors["popularity"], champion, candidate=challenger.model)


def champion_vector(
    live: Version,
    challenger: Version,
    own: NDArray[np.float64],
    log: Interactions,
    features: ItemFeatures,
    case: Case,
) -> NDArray[np.float64]:
    """NDCG@10 of the champion's recipe at this cut: the challenger's own for the same recipe, else fitted anew."""
    if (live.model, live.tags.get("recipe")) == (challenger.model, challenger.tags.get("recipe")):
        return own
    config = TrainingConfig.model_validate_json(live.tags["configuration"])
    fitted = fit_recipe(config, log, features)
    return evaluate({live.model: fitted[live.model]}, case, features).vectors(METRIC)[live.model]
