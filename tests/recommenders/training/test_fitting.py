from typing import Any

import numpy as np
import pytest

from recommenders.errors import ConfigurationError, UnknownNameError
from recommenders.models.catalog import MODELS, model_class
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import Declined, fit_member, fit_recipe, refit

QUICK = ("popularity", "ease", "hybrid_learned")


def test_a_recipe_fits_every_enabled_model_and_blends_the_very_same(recipe: Any) -> None:
    assert set(recipe.fitted) == set(MODELS) - {"repurchase"}  # nobody comes back in this world
    for blend in ("hybrid", "hybrid_learned"):
        for name, member in recipe.fitted[blend].members_.items():
            assert member is recipe.fitted[name]


def test_who_cannot_learn_says_why_and_is_gone_without(recipe: Any) -> None:
    assert [one.name for one in recipe.declined] == ["repurchase"]
    assert "repeat" in recipe.declined[0].reason
    assert "repurchase" not in recipe.fitted["hybrid_learned"].members_


def test_a_reason_for_declining_is_kept(tmp_path: Any) -> None:
    declined = Declined("repurchase", "nobody comes back")
    assert Declined.load(declined.save(tmp_path / "model")) == declined


def test_each_member_reports_to_its_own_tracker(recipe: Any) -> None:
    assert sorted(recipe.tracked) == sorted(MODELS)


@pytest.mark.parametrize("blend", ["hybrid", "hybrid_learned"])
def test_a_refit_takes_what_was_found(recipe: Any, world: Any, small_config: TrainingConfig, blend: str) -> None:
    again = refit(blend, small_config, *world, recipe.fitted)
    epochs = recipe.fitted["neural_collaborative"].epochs_
    network = again.members_["neural_collaborative"]
    assert network.config.fixed_epochs == network.epochs_ == epochs
    rows = np.arange(24, dtype=np.int32)
    assert np.isfinite(again.score(rows, again.histories_)).all()
    if blend == "hybrid_learned":
        assert again.rankers_ is recipe.fitted[blend].rankers_


def test_a_disabled_or_unknown_model_is_not_fitted(world: Any, small_config: TrainingConfig) -> None:
    content = small_config.model_dump(exclude_unset=True)["models"]
    disabled = {name: {"enabled": False} for name in MODELS if name not in QUICK}
    config = TrainingConfig.model_validate({"models": {**content, **disabled}})
    with pytest.raises(ConfigurationError, match=r"set models\.content_based\.enabled: true"):
        fit_member("content_based", config, *world)
    with pytest.raises(UnknownNameError, match="unknown model 'ncff'"):
        fit_member("ncff", config, *world)
    assert set(fit_recipe(config, *world)) == set(QUICK)


@pytest.mark.parametrize("name", ["sasrec", "neural_collaborative"])
def test_a_network_is_fitted_again_with_the_epochs_that_were_found(name: str) -> None:
    model: Any = model_class(name)()
    model.epochs_ = 7
    assert model.refit_config().fixed_epochs == 7
