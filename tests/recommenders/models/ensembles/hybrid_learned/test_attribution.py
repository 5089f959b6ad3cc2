"""The parts of a score: equal to XGBoost's approximate contributions, and exact after each kind of score rule."""

import numpy as np
import pytest
import xgboost

from recommenders.features.ranking import ITEM_FEATURES, PAIR_FEATURES, USER_FEATURES
from recommenders.models.ensembles.hybrid_learned.attribution import attribute, tree_parts
from recommenders.models.ensembles.hybrid_learned.score_rules import ScoreRule, ScoreRules
from recommenders.models.ensembles.hybrid_learned.tree_training import trees_from_json
from recommenders.models.ensembles.hybrid_learned.trees import BoostedTrees

NAMES = ["popularity", "ease", *ITEM_FEATURES, *USER_FEATURES, *PAIR_FEATURES]
DEPTH, BASELINE = 4, 0.25


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(200, len(NAMES))).astype(np.float32)


@pytest.fixture(scope="module")
def booster(features: np.ndarray) -> xgboost.Booster:
    target = features[:, 0] * features[:, 1] + np.abs(features[:, NAMES.index("pair_orders")]) + features[:, 20]
    # of squared errors each row has the same weight, so XGBoost's covers are the numbers of rows
    parameters = {"objective": "reg:squarederror", "base_score": BASELINE, "max_depth": DEPTH, "eta": 0.3}
    return xgboost.train(parameters, xgboost.DMatrix(features, target), 15)


@pytest.fixture(scope="module")
def trees(booster: xgboost.Booster) -> BoostedTrees:
    return trees_from_json(booster.save_raw(raw_format="json"), DEPTH, BASELINE)


def test_they_equal_the_contributions_of_xgboost(booster, trees, features):
    theirs = booster.predict(xgboost.DMatrix(features), pred_contribs=True, approx_contribs=True)
    mean, ours = tree_parts(trees, features, np.arange(len(features)))
    np.testing.assert_allclose(ours, theirs[:, :-1], atol=1e-5)
    assert mean == pytest.approx(theirs[0, -1], abs=1e-5)


RULES = ScoreRules(
    ScoreRule(1.0, 1, 0.3, 0.7, 0.0), ScoreRule(0.5, 0, -0.2, 0.4, -0.25), ScoreRule(0.0, 0, 0.0, 0.0, -0.5)
)


@pytest.mark.parametrize("rules", [ScoreRules(), RULES])
def test_they_add_up_to_the_score_of_each_kind_of_pair(trees, features, rules):
    rng = np.random.default_rng(1)
    features = features.copy()
    for name in ("user_known", "pair_orders"):
        features[:, NAMES.index(name)] = rng.integers(0, 2, len(features))
    scores = rules.apply(trees.score(features), features, 2)
    places = rng.permutation(len(features))[:60]
    parts = attribute(trees, rules, features, places, ["popularity", "ease"])
    np.testing.assert_allclose(sum(parts.values()), scores[places], atol=1e-5)
    assert set(parts) == {
        *("popularity", "ease", "item_sales", "user_activity", "own_purchases", "category", "mean_candidate")
    }


def test_a_feature_that_all_candidates_share_has_no_part(trees, features):
    features = features.copy()
    features[:, NAMES.index("pair_orders")] = 1.0
    _, parts = tree_parts(trees, features, np.arange(len(features)))
    assert not parts[:, NAMES.index("pair_orders")].any()
    assert parts[:, 0].any()
