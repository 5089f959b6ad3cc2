"""Retrainings for the gate drill: ten made worse on purpose, by code or by configuration, and some of equal quality."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy.sparse import csr_array

from orchestration.assets import release as release_assets
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.content_based import ContentBased
from recommenders.models.ensembles.hybrid import Hybrid
from recommenders.models.networks.neural_collaborative.model import NeuralCollaborative

WEEKS = 2  # at the end of the log, of which the champion has not seen anything
MEMBERS = (ContentBased, CollaborativeFiltering, NeuralCollaborative)
CONFIG: dict[str, Any] = {
    "models": {
        "content_based": {},
        "collaborative_filtering": {},
        "neural_collaborative": {"embedding_dim": 16, "hidden_layers": [16], "epochs": 12, "half_life_share": None},
        "hybrid": {
            "model_weights": {"content_based": 0.3, "collaborative_filtering": 0.5, "neural_collaborative": 0.2}
        },
        "repurchase": {"enabled": False},
        "ease": {"enabled": False},
        "ials": {"enabled": False},
        "sasrec": {"enabled": False},
        "hybrid_learned": {"enabled": False},
    },
    "evaluation": {"n_bootstrap": 200},
}

Fit = Callable[..., None]
Change = Callable[[Interactions, ItemFeatures | None], tuple[Interactions, ItemFeatures | None]]


@dataclass(frozen=True)
class Retraining:
    """One retraining: settings on top of CONFIG, or code that is replaced while it runs."""

    name: str
    worse: bool
    settings: Mapping[str, Mapping[str, Any]] | None = None
    code: Callable[[], Any] | None = None  # a context in which the library is another one
    weeks: int | None = None  # of data more than the champion has, 0 to 2; None: none or one, in turn


# -- what is done to the code


@contextmanager
def other_learning(change: Change, *models: type) -> Iterator[None]:
    """Models learn from something else than the log they are given; what they remember of it is untouched."""

    def spoilt(learn: Fit) -> Fit:
        def fit(self: Any, log: Interactions, features: ItemFeatures | None, tracker: Any) -> None:
            learn(self, *change(log, features), tracker)

        return fit

    replaced = [patch.object(model, "_fit", spoilt(model._fit)) for model in models or MEMBERS]  # type: ignore[attr-defined]
    for one in replaced:
        one.start()
    try:
        yield
    finally:
        for one in replaced:
            one.stop()


@contextmanager
def other_scores(change: Callable[[Any], Any]) -> Iterator[None]:
    """The blend answers with other scores."""
    score = Hybrid.score
    with patch.object(Hybrid, "score", lambda self, rows, histories: change(score(self, rows, histories))):
        yield


@contextmanager
def other_refit() -> Iterator[None]:
    """The model that is judged is sound; the one that would serve has learned from shuffled items."""
    sound = release_assets.refit

    def spoilt(*given: Any) -> Any:
        with other_learning(shuffled_items):
            return sound(*given)

    with patch.object(release_assets, "refit", spoilt):
        yield


@contextmanager
def same_code() -> Iterator[None]:
    """Nothing is done: code that was only written otherwise."""
    yield


def shuffled_items(log: Interactions, features: ItemFeatures | None) -> tuple[Interactions, ItemFeatures | None]:
    order = np.random.default_rng(1).permutation(len(log.items)).astype(np.int32)
    return replace(log, item_columns=order[log.item_columns]), features


def shuffled_users(log: Interactions, features: ItemFeatures | None) -> tuple[Interactions, ItemFeatures | None]:
    return replace(log, user_rows=np.random.default_rng(1).permutation(log.user_rows)), features


def next_item(log: Interactions, features: ItemFeatures | None) -> tuple[Interactions, ItemFeatures | None]:
    return replace(log, item_columns=(log.item_columns + 1) % np.int32(len(log.items))), features


def old_data(log: Interactions, features: ItemFeatures | None) -> tuple[Interactions, ItemFeatures | None]:
    return log.select(log.timestamps < np.quantile(log.timestamps, 0.1)), features


def no_features(log: Interactions, features: ItemFeatures | None) -> tuple[Interactions, ItemFeatures | None]:
    if features is None:
        return log, None
    shape = features.vectors.shape
    blind = csr_array(np.eye(1, shape[1], dtype=np.float32).repeat(shape[0], axis=0))
    return log, replace(features, vectors=blind, states=None)


def noisy(scores: Any) -> Any:
    return scores + np.random.default_rng(1).normal(0, scores.std(), scores.shape).astype(np.float32)


RETRAININGS = (
    Retraining("items shuffled while learning", True, code=lambda: other_learning(shuffled_items)),
    Retraining("users shuffled while learning", True, code=lambda: other_learning(shuffled_users)),
    Retraining("items off by one", True, code=lambda: other_learning(next_item)),
    Retraining("learns from old data", True, code=lambda: other_learning(old_data)),
    Retraining(
        "content alone, its features dropped",
        True,
        {"hybrid": {"model_weights": {"content_based": 1.0}}, "content_based": {"own_share": 0.0}},
        lambda: other_learning(no_features),
    ),
    Retraining("scores of the wrong sign", True, code=lambda: other_scores(np.negative)),
    Retraining("noise in the scores", True, code=lambda: other_scores(noisy)),
    Retraining(
        "the network alone, too few epochs",
        True,
        {
            "neural_collaborative": {"epochs": 1, "learning_rate": 1e-5},
            "hybrid": {"model_weights": {"neural_collaborative": 1.0}},
        },
    ),
    Retraining("one neighbour", True, {"collaborative_filtering": {"n_neighbours": 1}}),
    Retraining("refit on shuffled items", True, code=other_refit),
    Retraining("same recipe, newer data", False, weeks=1),
    Retraining("code written otherwise", False, code=same_code, weeks=1),
    Retraining("code written otherwise, newer data", False, code=same_code, weeks=2),
)
OTHER_SEEDS = tuple(
    # never on less data than one before: what ends before the champion's data is held, whatever its quality
    Retraining(f"another seed: {seed}", False, {"neural_collaborative": {"seed": seed}}, weeks=min(seed - 6, WEEKS))
    for seed in range(7, 12)
)
