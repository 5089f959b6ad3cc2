from typing import Any

import numpy as np
import pytest

from recommenders.errors import ConfigurationError, UnknownNameError
from recommenders.models.all_models import MODELS, model_class
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import SkippedModel, fit_base_model, fit_recipe

QUICK = ("popularity", "ease", "hybrid_learned")


def test_a_recipe_fits_every_enabled_model_and_ensembles_share_the_fitted_models(recipe: Any) -> None:
    assert set(recipe.fitted) == set(MODELS) - {"repurchase"}  # no user consumes an item again in this world
    for ensemble in ("hybrid", "hybrid_learned"):
        for name, base_model in recipe.fitted[ensemble].base_models_.items():
            assert base_model is recipe.fitted[name]


def test_a_model_that_cannot_be_fitted_is_skipped_with_a_reason(recipe: Any) -> None:
    assert [one.name for one in recipe.skipped] == ["repurchase"]
    assert "repeat" in recipe.skipped[0].reason
    assert "repurchase" not in recipe.fitted["hybrid_learned"].base_models_


def test_a_skipped_model_is_saved_and_loaded(tmp_path: Any) -> None:
    skipped = SkippedModel("repurchase", "no repeat purchases")
    assert SkippedModel.load(skipped.save(tmp_path / "model")) == skipped


def test_each_model_has_its_own_options(recipe: Any) -> None:
    assert sorted(recipe.tracked) == sorted(MODELS)


@pytest.mark.parametrize("ensemble", ["hybrid", "hybrid_learned"])
def test_a_refit_keeps_the_selected_epochs_and_rankers(recipe: Any, world: Any, ensemble: str) -> None:
    again = recipe.fitted[ensemble].refit(*world)
    epochs = recipe.fitted["neural_collaborative"].epochs_
    network = again.base_models_["neural_collaborative"]
    assert network.config.fixed_epochs == network.epochs_ == epochs
    rows = np.arange(24, dtype=np.int32)
    assert np.isfinite(again.score(rows, again.histories_)).all()
    if ensemble == "hybrid_learned":
        assert again.rankers_ is recipe.fitted[ensemble].rankers_


def test_a_disabled_or_unknown_model_is_not_fitted(world: Any, small_config: TrainingConfig) -> None:
    content = small_config.model_dump(exclude_unset=True)["models"]
    disabled = {name: {"enabled": False} for name in MODELS if name not in QUICK}
    config = TrainingConfig.model_validate({"models": {**content, **disabled}})
    with pytest.raises(ConfigurationError, match=r"set models\.content_based\.enabled: true"):
        fit_base_model("content_based", config, *world)
    with pytest.raises(UnknownNameError, match="unknown model 'ncff'"):
        fit_base_model("ncff", config, *world)
    assert set(fit_recipe(config, *world)) == set(QUICK)


@pytest.mark.parametrize("name", ["sasrec", "neural_collaborative"])
def test_a_network_is_refitted_with_the_selected_epochs(name: str) -> None:
    model: Any = model_class(name)()
    model.epochs_ = 7
    assert model._refit_config().fixed_epochs == 7
