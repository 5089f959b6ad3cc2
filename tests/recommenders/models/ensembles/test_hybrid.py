"""The weighted sum of base models."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from recommenders.errors import ConfigurationError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.ensembles.hybrid import Hybrid, HybridConfig
from recommenders.models.popularity import Popularity, PopularityConfig


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"ncff": 1.0}, "unknown base model ncff; choose from collaborative_filtering, content_based, neural_collab"),
        ({"content_based": -0.1, "collaborative_filtering": 1.0}, "0 or more"),
        ({"content_based": 0.0}, "at least one"),
        ({"content_based": float("nan")}, "0 or more"),
    ],
)
def test_invalid_weights_are_rejected(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HybridConfig(model_weights=weights)


def test_a_hybrid_of_one_base_model_ranks_as_it_does(world: Any) -> None:
    log, _ = world
    base_models = {"popularity": Popularity().fit(log), "collaborative_filtering": CollaborativeFiltering().fit(log)}
    config = HybridConfig(model_weights={"collaborative_filtering": 2.0})
    hybrid = Hybrid(config).fit_from(base_models, log)
    rows = np.arange(24, dtype=np.int32)
    alone = base_models["collaborative_filtering"].recommend(rows, log.histories(), 1).item_columns
    np.testing.assert_array_equal(hybrid.recommend(rows, log.histories(), 1).item_columns, alone)


def test_a_user_that_no_base_model_covers_gets_popular_items(toy_events: Any) -> None:
    log = Interactions.from_table(toy_events([(0, 2), (1, 2), (1, 0), (2, 2), (2, 1), (0, 1)], [0, 1, 2, 3, 4, 5]))
    popular = Popularity(PopularityConfig(events="summed")).fit(log)
    fitted = {"popularity": popular, "collaborative_filtering": CollaborativeFiltering().fit(log)}
    hybrid = Hybrid(HybridConfig(model_weights={"collaborative_filtering": 1.0})).fit_from(fitted, log)
    ranked = hybrid.recommend(np.array([-1], np.int32), Histories.from_lists([[]], 3), 3)
    assert ranked.item_columns.tolist() == [[2, 1, 0]]


def test_a_hybrid_without_a_base_model_is_rejected(world: Any) -> None:
    with pytest.raises(ConfigurationError, match="hybrid needs popularity and another of"):
        Hybrid().fit_from({"popularity": Popularity().fit(world[0])}, world[0])


def test_an_unsuitable_base_model_is_skipped_with_a_reason(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    weights = {"content_based": 0.5, "collaborative_filtering": 0.5}
    hybrid = Hybrid(HybridConfig(model_weights=weights)).fit(world[0])  # no features
    assert set(hybrid.base_models_) == {"popularity", "collaborative_filtering"}
    assert "learns from item features" in hybrid.skipped_["content_based"]
    assert "hybrid skips content_based" in caplog.text
