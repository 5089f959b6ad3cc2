from typing import Any

import numpy as np
import pytest

from recommenders.errors import ConfigurationError, UnknownNameError
from recommenders.models.catalog import MODELS
from recommenders.training.configuration import TrainingConfig
from recommenders.training.training import fit_member, fit_recipe, refit


@pytest.fixture(scope="module")
def fitted(world: Any, small_config: TrainingConfig) -> Any:
    return fit_recipe(small_config, *world)


def test_a_recipe_fits_every_enabled_model_and_blends_the_very_same(fitted: Any) -> None:
    assert set(fitted) == set(MODELS)
    for name, member in fitted["hybrid"].members_.items():
        assert member is fitted[name]


def test_each_member_reports_to_its_own_tracker(world: Any, small_config: TrainingConfig) -> None:
    asked: list[str] = []
    fit_recipe(small_config, *world, tracker_of=asked.append)
    assert sorted(asked) == sorted(set(MODELS) - {"hybrid"})


def test_a_refit_takes_the_epochs_that_were_found(fitted: Any, world: Any, small_config: TrainingConfig) -> None:
    again = refit("hybrid", small_config, *world, fitted)
    epochs = fitted["neural_collaborative"].epochs_
    network = again.members_["neural_collaborative"]
    assert network.config.fixed_epochs == network.epochs_ == epochs
    rows = np.arange(24, dtype=np.int32)
    assert np.isfinite(again.score(rows, again.histories_)).all()


def test_a_disabled_or_unknown_model_is_not_fitted(world: Any) -> None:
    config = TrainingConfig.model_validate(
        {"models": {"content_based": {"enabled": False}, "hybrid": {"enabled": False}}}
    )
    with pytest.raises(ConfigurationError, match=r"set models\.content_based\.enabled: true"):
        fit_member("content_based", config, *world)
    with pytest.raises(UnknownNameError, match="unknown model 'ncff'"):
        fit_member("ncff", config, *world)
    assert "hybrid" not in fit_recipe(config, *world)
