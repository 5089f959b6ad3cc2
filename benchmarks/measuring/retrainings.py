"""Retrainings for the gate drill: ten are worse on purpose, by code or by configuration, others have equal quality."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy.sparse import csr_array

from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.content_based import ContentBased
from recommenders.models.ensembles.hybrid import Hybrid
from recommenders.models.networks.neural_collaborative.model import NeuralCollaborative

WEEKS = 2  # at the end of the log, which the champion's training data does not contain
BASE_MODELS = (ContentBased, CollaborativeFiltering, NeuralCollaborative)
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
    "evaluation": {"n_resamples": 200},
}

Fit = Callable[..., None]
Change = Callable[[Interactions, ItemFeatures | None], tuple[Interactions, ItemFeatures | None]]


@dataclass(frozen=True)
class Retraining:
    """One retraining: settings that override CONFIG, or code that is replaced while it runs."""

    name: str
    worse: bool
    settings: Mapping[str, Mapping[str, Any]] | None = None
    code: Callable[[], Any] | None = None  # a context in which the library code is changed
    weeks: int | None = None  # of additional data compared with the champion, 0 to 2; None: 0 and 1 in turn


# -- changes of the code


@contextmanager
def changed_training(change: Change, *models: type) -> Iterator[None]:
    """Models are fitted on a changed log; what else they store of the original log is unchanged."""

    def changed(fit_original: Fit) -> Fit:
        def fit(self: Any, log: Interactions, features: ItemFeatures | None, options: Any) -> None:
            fit_original(self, *change(log, features), options)

        return fit

    patches = [patch.object(model, "_fit", changed(model._fit)) for model in models or BASE_MODELS]  # type: ignore[attr-defined]
    for one_patch in patches:
        one_patch.start()
    try:
        yield
    finally:
        for one_patch in patches:
            one_patch.stop()


@contextmanager
def changed_scores(change: Callable[[Any], Any]) -> Iterator[None]:
    """The scores of the model hybrid are changed."""
    score = Hybrid.score
    with patch.object(Hybrid, "score", lambda self, rows, histories: change(score(self, rows, histories))):
        yield


@contextmanager
def changed_refit() -> Iterator[None]:
    """The evaluated model is sound; its refit, which would be served, is fitted on shuffled items."""
    original = Hybrid.refit

    def changed(*arguments: Any) -> Any:
        with changed_training(shuffled_items):
            return original(*arguments)

    with patch.object(Hybrid, "refit", changed):
        yield


@contextmanager
def same_code() -> Iterator[None]:
    """No change: for code that is rewritten without another result."""
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
    constant = csr_array(np.eye(1, shape[1], dtype=np.float32).repeat(shape[0], axis=0))
    return log, replace(features, vectors=constant, states=None)


def noisy(scores: Any) -> Any:
    return scores + np.random.default_rng(1).normal(0, scores.std(), scores.shape).astype(np.float32)


RETRAININGS = (
    Retraining("items shuffled in training", True, code=lambda: changed_training(shuffled_items)),
    Retraining("users shuffled in training", True, code=lambda: changed_training(shuffled_users)),
    Retraining("items off by one", True, code=lambda: changed_training(next_item)),
    Retraining("trained on old data", True, code=lambda: changed_training(old_data)),
    Retraining(
        "content_based only, without features",
        True,
        {"hybrid": {"model_weights": {"content_based": 1.0}}, "content_based": {"repeat_share": 0.0}},
        lambda: changed_training(no_features),
    ),
    Retraining("scores of the wrong sign", True, code=lambda: changed_scores(np.negative)),
    Retraining("noise in the scores", True, code=lambda: changed_scores(noisy)),
    Retraining(
        "network only, too few epochs",
        True,
        {
            "neural_collaborative": {"epochs": 1, "learning_rate": 1e-5},
            "hybrid": {"model_weights": {"neural_collaborative": 1.0}},
        },
    ),
    Retraining("one neighbour", True, {"collaborative_filtering": {"n_neighbours": 1}}),
    Retraining("refit on shuffled items", True, code=changed_refit),
    Retraining("same recipe, newer data", False, weeks=1),
    Retraining("rewritten code", False, code=same_code, weeks=1),
    Retraining("rewritten code, newer data", False, code=same_code, weeks=2),
)
OTHER_SEEDS = tuple(
    # never on less data than a retraining before: data that ends before the champion's is held, whatever the quality
    Retraining(f"another seed: {seed}", False, {"neural_collaborative": {"seed": seed}}, weeks=min(seed - 6, WEEKS))
    for seed in range(7, 12)
)
