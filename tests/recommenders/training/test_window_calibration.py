"""Calibration of models that have none of their own, on the newest window of the log."""

from typing import Any

import numpy as np
import pytest

from recommenders.errors import UnsuitableError
from recommenders.events.interactions import Interactions
from recommenders.models.ease import EASE
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import TrainingOptions
from recommenders.training.window_calibration import calibrate


@pytest.fixture(autouse=True)
def _few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommenders.models.calibration.MIN_USERS", 10)
    monkeypatch.setattr("recommenders.models.calibration.MIN_BOUGHT", 5)


@pytest.fixture(scope="module")
def log(toy_events: Any) -> Interactions:
    """40 users of two groups buy one item of their group every five days; ten items a group. Each day a new user of a
    group comes twice."""
    rng = np.random.default_rng(0)
    pairs, days = [], []
    for day in range(100):
        visits = [(user, day) for user in range(40) if (user + day) % 5 == 0] + [(40 + day, day), (40 + day, day + 2)]
        for user, at in visits:
            pairs.append((user, int(user % 2 * 10 + rng.integers(10))))
            days.append(float(at))
    return Interactions.from_table(toy_events(pairs, days), repeat=True, horizon_days=20.0)


def test_each_kind_of_list_has_the_rate_of_its_users(log: Interactions) -> None:
    model, popularity = EASE().fit(log), Popularity().fit(log)
    found = calibrate(model, popularity, log, None, TrainingOptions())
    assert found
    assert set(found.curves) == {"all", "discovery", "cold_start", "popularity"}
    assert model.calibration_ is None  # the caller decides
    known = np.arange(40, dtype=np.int32)
    ranked = model.recommend(known, log.histories()[known], 10)
    probabilities = found.probabilities("all", ranked.scores)
    assert probabilities is not None
    # four purchases of ten items in twenty days: an item of the group is bought with 1 - .9^4 = .34
    assert probabilities[:, :5].mean() == pytest.approx(0.34, abs=0.08)
    shares = popularity.ranked_users(log.matrix("binary"), log.available).scores[:1]
    popular = found.probabilities("popularity", shares)
    assert popular is not None
    assert 0.05 < popular[0, :10].mean() < 0.25  # half of the items are of the other group


def test_a_log_without_a_window_and_a_model_that_does_not_fit_give_none(
    log: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, popularity = EASE().fit(log), Popularity().fit(log)
    short = log.select(log.timestamps == log.timestamps.min())
    assert calibrate(model, popularity, short, None, TrainingOptions()) is None

    def refuse(*_: Any) -> None:
        raise UnsuitableError("too short")

    monkeypatch.setattr(EASE, "refit", refuse)
    assert calibrate(model, popularity, log, None, TrainingOptions()) is None
