"""Popularity: sums, decay, windows, categories."""

from typing import Any

import numpy as np
import pytest

from recommenders.errors import ConfigurationError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.models.popularity import Popularity, PopularityConfig


def test_popularity_sums_decays_and_limits_to_a_window(toy_events: Any) -> None:
    log = Interactions.from_table(toy_events([(0, 0), (1, 0), (0, 1)], [0, 0, 30]))

    def scores(**settings: Any) -> list[float]:
        model = Popularity(PopularityConfig(**settings)).fit(log)
        found: list[float] = model.score(np.array([-1], np.int32), Histories.from_lists([[]], 2))[0].tolist()
        return found

    assert scores(events="summed") == [2, 1]
    assert scores(events="decayed", half_life_days=30) == [1, 1]
    assert scores(events="summed", window_days=10) == [0, 1]


def test_by_category_the_users_own_category_ranks_first(world: Any, tmp_path: Any) -> None:
    model = Popularity(PopularityConfig(events="summed", by="category")).fit(*world)
    histories = Histories.from_lists([[0, 2, 4], [1, 3, 5], []], 22)
    even, odd, empty = model.score(np.full(3, -1, np.int32), histories)
    sold = slice(0, 20)
    assert even[sold][::2].min() > even[sold][1::2].max()
    assert odd[sold][1::2].min() > odd[sold][::2].max()
    np.testing.assert_allclose(empty, model.popularity_, rtol=1e-6)
    # of the user's 3 purchases + 1 pseudo-purchase, 3 + 1/2 are even: (3 + 1/2) / 4; of all purchases 1/2
    np.testing.assert_allclose(even[sold][::2], model.popularity_[sold][::2] * 3.5 / 4 / 0.5, rtol=1e-5)
    again = Popularity.load(model.save(tmp_path / "bundle"))
    np.testing.assert_array_equal(again.score(np.full(3, -1, np.int32), histories)[0], even)


def test_by_category_without_features_is_rejected(world: Any) -> None:
    with pytest.raises(ConfigurationError, match="needs item features and got none"):
        Popularity(PopularityConfig(by="category")).fit(world[0])
