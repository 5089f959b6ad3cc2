"""Score rules: ranker, base model, or their mean. On synthetic scores the right rule is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommenders.features.ranking import ITEM_FEATURES, PAIR_FEATURES, USER_FEATURES
from recommenders.models.ensembles.hybrid_learned.score_rules import (
    KINDS,
    MIN_USERS,
    SHIFTS,
    ScoreRule,
    ScoreRules,
    ValidationUsers,
    _mean_of_views,
    apply_rule,
    choose_rules,
    pair_kinds,
)

N_USERS, N_ITEMS, N_BASE_MODELS = 600, 40, 2
N_FEATURES = N_BASE_MODELS + len(ITEM_FEATURES) + len(USER_FEATURES) + len(PAIR_FEATURES)


def made(
    ranker_noise: float, base_noise: float, *, n_users: int = N_USERS, known: bool = True
) -> tuple[np.ndarray, ValidationUsers]:
    """The relevant items of a user are the five with the largest hidden values; half of the items were bought before.
    The ranker and the first base model get the values with noise; the second base model has constant scores.
    """
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(n_users, N_ITEMS))
    bought = rng.random((n_users, N_ITEMS)) < 0.5
    relevant = hidden >= -np.sort(-hidden, axis=1)[:, 4:5]
    features = np.zeros((n_users, N_ITEMS, N_FEATURES), np.float32)
    features[:, :, 0] = np.exp(hidden + rng.normal(size=hidden.shape) * base_noise)
    features[:, :, 1] = 0.5
    first = N_FEATURES - len(PAIR_FEATURES)
    features[:, :, first - len(USER_FEATURES) + USER_FEATURES.index("user_known")] = known
    features[:, :, first + PAIR_FEATURES.index("pair_orders")] = bought
    columns = np.tile(np.arange(N_ITEMS, dtype=np.int32), (n_users, 1))
    scores = (hidden + rng.normal(size=hidden.shape) * ranker_noise).astype(np.float32).ravel()
    users = ValidationUsers(
        columns,
        features.reshape(-1, N_FEATURES),
        csr_array(bought.astype(np.float32)),
        csr_array(relevant.astype(np.float32)),
    )
    return scores, users


@pytest.mark.parametrize(("ranker_noise", "base_noise", "share"), [(0.1, 3.0, 0.0), (3.0, 0.1, 1.0), (1.0, 0.7, 0.5)])
def test_the_better_one_is_used_and_the_mean_if_both_have_information(
    ranker_noise: float, base_noise: float, share: float
) -> None:
    scores, users = made(ranker_noise, base_noise)
    found = choose_rules(scores, users, ("bought", "new"), N_BASE_MODELS, True)
    assert {kind: rule.share for kind, rule in found.items()} == {"bought": share, "new": share}
    assert all(rule.column == 0 for rule in found.values())


def test_each_kind_of_pair_uses_the_model_that_ranks_it_best() -> None:
    """The ranker is good for new items; the base model, whose scores lie close together, for bought items."""
    good_scores, users = made(0.1, 0.1)
    rng = np.random.default_rng(1)
    new = pair_kinds(users.features, N_BASE_MODELS) == KINDS.index("new")
    noise = rng.normal(size=len(new)).astype(np.float32) * 3
    features = users.features.copy()
    features[:, 0] = np.where(new, np.exp(noise), features[:, 0]) ** 0.3
    scores = np.where(new, good_scores, 0.5 * good_scores + noise).astype(np.float32)
    found = choose_rules(scores, replace(users, features=features), ("bought", "new"), N_BASE_MODELS, True)
    assert {kind: rule.share for kind, rule in found.items()} == {"bought": 1.0, "new": 0.0}


def test_one_base_model_is_used_for_all_kinds_if_the_ranker_cannot_separate_the_kinds() -> None:
    scores, users = made(3.0, 0.1)
    scores = scores + 5 * (pair_kinds(users.features, N_BASE_MODELS) == KINDS.index("new")).astype(np.float32)
    found = choose_rules(scores, users, ("bought", "new"), N_BASE_MODELS, True)
    assert found == dict.fromkeys(("bought", "new"), ScoreRule(1.0, 0, 0.0, 1.0))
    np.testing.assert_allclose(
        ScoreRules(**found).apply(scores, users.features, N_BASE_MODELS),
        np.log(users.features[:, 0]),
        rtol=1e-4,
        atol=1e-5,
    )


def test_views_hold_the_ndcg_of_lists_by_the_scores() -> None:
    """Three users with three, one and two candidates among five items; the second one's best is not a candidate."""
    columns = np.array([[0, 1, 3], [3, -1, -1], [2, 4, -1]], np.int32)
    known = csr_array(np.array([[1, 0, 0, 0, 0], [1, 0, 0, 1, 0], [0, 0, 1, 0, 0]], np.float32))
    relevant = csr_array(np.array([[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 1]], np.float32))
    users = ValidationUsers(columns, np.zeros((6, N_FEATURES), np.float32), known, relevant)
    views = users.views(np.array([1, 2, 3, 9, 1, 2], np.float32), True)
    second, third = 1 / np.log2(3), 1 / np.log2(4)
    np.testing.assert_allclose(views["all"], [(second + third) / (1 + second), 0.0, 1.0])
    np.testing.assert_allclose(views["reorder"], [third, 0.0, np.nan])
    np.testing.assert_allclose(views["discovery"], [second, 0.0, 1.0])
    without_repeat = users.views(np.array([1, 2, 3, 9, 1, 2], np.float32), False)
    np.testing.assert_allclose(without_repeat["discovery"], views["discovery"])
    assert list(without_repeat) == ["discovery"]
    mean = _mean_of_views(views, {"all", "reorder"})
    np.testing.assert_allclose(mean, [(views["all"][0] + third) / 2, 0.0, 1.0])  # over the views that are defined


def test_a_base_score_of_0_or_less_is_replaced_by_a_small_lower_bound() -> None:
    scores, users = made(1.0, 1.0)
    features = users.features.copy()
    features[::3, 0] = 0.0
    features[1::3, 0] = -2.0
    mean = ScoreRules(bought=ScoreRule(0.5, 0, 0.0, 1.0)).apply(scores, features, N_BASE_MODELS)
    bought = pair_kinds(features, N_BASE_MODELS) == KINDS.index("bought")
    lowest = bought & (features[:, 0] <= 0)
    np.testing.assert_allclose(mean[lowest], 0.5 * scores[lowest] + 0.5 * np.log(1e-3), rtol=1e-5, atol=1e-5)


def test_a_ranker_that_is_not_clearly_worse_stays() -> None:
    scores, users = made(0.5, 0.5)
    same = users.features.copy()
    same[:, 0] = np.exp(scores)  # the base model has the scores of the ranker
    users = ValidationUsers(users.columns, same, users.known, users.relevant)
    found = choose_rules(scores, users, ("bought", "new"), N_BASE_MODELS, True)
    assert [rule.share for rule in found.values()] == [0.0, 0.0]


def test_the_rules_are_never_clearly_worse_than_the_best_base_model() -> None:
    for ranker_noise in (0.2, 0.6, 1.0, 2.0):
        scores, users = made(ranker_noise, 0.6)
        rules = ScoreRules(**choose_rules(scores, users, ("bought", "new"), N_BASE_MODELS, True))
        chosen = users.views(rules.apply(scores, users.features, N_BASE_MODELS), True)
        for view, base in users.views(users.features[:, 0], True).items():
            gain = (chosen[view] - base)[~np.isnan(base)]
            assert gain.mean() >= -2 * gain.std() / np.sqrt(len(gain)), (ranker_noise, view)


def test_a_base_model_that_pushes_bought_items_above_better_new_ones_is_not_used() -> None:
    """It ranks the bought items themselves better than the ranker does, so the reorder view gains. All items lose."""
    scores, users = made(0.1, 0.1)
    bought = pair_kinds(users.features, N_BASE_MODELS) == KINDS.index("bought")
    features = users.features.copy()
    pushed = np.where(features[:, 0] > np.e, features[:, 0] * np.exp(2), features[:, 0])
    features[:, 0] = np.where(bought, pushed, 0.5)
    users = replace(users, features=features)
    rule = choose_rules(scores, users, ("bought",), N_BASE_MODELS, True)["bought"]
    before = users.views(scores, True)
    mean = users.views(apply_rule(scores, features, bought, rule._replace(share=0.5)), True)
    assert np.nanmean(mean["reorder"]) > np.nanmean(before["reorder"]) + 0.02
    assert np.nanmean(mean["all"]) < np.nanmean(before["all"])
    assert rule.share == 0.0


def test_cold_start_users_have_a_rule_of_their_own() -> None:
    scores, users = made(3.0, 0.1, known=False)
    assert set(pair_kinds(users.features, N_BASE_MODELS).tolist()) == {KINDS.index("cold_start")}
    rules = ScoreRules(**choose_rules(scores, users, ("cold_start",), N_BASE_MODELS, True))
    assert rules.cold_start.share == 1.0
    assert rules.bought.share == rules.new.share == 0.0


def test_without_repeat_purchases_only_new_items_are_evaluated() -> None:
    scores, users = made(3.0, 0.1)
    views = users.views(scores, False)
    assert list(views) == ["discovery"]
    assert choose_rules(scores, users, ("bought", "new"), N_BASE_MODELS, False)["new"].share == 1.0


def test_new_items_that_the_ranker_overrates_are_shifted_down() -> None:
    """The lists are then as good as those of an unbiased ranker; the base model has no information here."""
    unbiased, users = made(0.1, 9.0)
    new = pair_kinds(users.features, N_BASE_MODELS) == KINDS.index("new")
    biased = unbiased + np.float32(1.0) * new
    values = []
    for scores in (unbiased, biased):
        rules = ScoreRules(**choose_rules(scores, users, ("bought", "new"), N_BASE_MODELS, True))
        views = users.views(rules.apply(scores, users.features, N_BASE_MODELS), True)
        values.append([float(np.nanmean(views[view])) for view in ("all", "reorder", "discovery")])
        assert rules.bought.shift == rules.cold_start.shift == 0.0
    assert rules.new.shift < 0
    assert (np.array(values[1]) >= np.array(values[0]) - 0.03).all()
    assert np.nanmean(users.views(biased, True)["all"]) < values[0][0] - 0.1
    assert choose_rules(unbiased, users, ("bought", "new"), N_BASE_MODELS, True)["new"].shift == 0.0
    slightly = unbiased + np.float32(0.25) * new
    assert choose_rules(slightly, users, ("bought", "new"), N_BASE_MODELS, True)["new"].shift == -0.25
    assert choose_rules(biased, users, ("bought", "new"), N_BASE_MODELS, False)["new"].shift == 0.0  # no bought items


def test_new_items_get_the_largest_shift_if_it_costs_nothing() -> None:
    """Only one user has a relevant new item: lists of all items are as good with all new items behind bought ones."""
    scores, users = made(0.1, 9.0)
    relevant = users.relevant.multiply(users.known).tolil()
    relevant[0, int(np.flatnonzero(users.known[[0]].toarray()[0] == 0)[0])] = 1
    rules = ScoreRules(
        **choose_rules(scores, replace(users, relevant=csr_array(relevant)), ("bought", "new"), N_BASE_MODELS, True)
    )
    assert rules.new.shift == min(SHIFTS) == -0.5


def test_without_repurchases_in_the_window_new_items_are_not_shifted() -> None:
    scores, users = made(0.1, 9.0)
    first_time = csr_array(users.relevant - users.relevant.multiply(users.known))
    first_time.eliminate_zeros()
    first_time.sort_indices()
    found = choose_rules(scores, replace(users, relevant=first_time), ("bought", "new"), N_BASE_MODELS, True)
    assert found.keys() == {"new"}
    assert found["new"].shift == 0.0


def test_too_few_users_choose_no_rule() -> None:
    scores, users = made(3.0, 0.1, n_users=MIN_USERS - 1)
    assert choose_rules(scores, users, ("bought", "new"), N_BASE_MODELS, True) == {}
    scores, users = made(3.0, 0.1, n_users=MIN_USERS)
    assert choose_rules(scores, users, ("bought", "new"), N_BASE_MODELS, True)


def test_rules_change_only_their_own_kind_and_survive_a_bundle() -> None:
    scores, users = made(1.0, 1.0)
    rules = ScoreRules(new=ScoreRule(0.5, 0, 0.1, 2.0))
    again = ScoreRules.from_array(rules.to_array())
    assert again == rules
    mixed, kinds = again.apply(scores, users.features, N_BASE_MODELS), pair_kinds(users.features, N_BASE_MODELS)
    np.testing.assert_array_equal(mixed[kinds == 0], scores[kinds == 0])
    new = kinds == 1
    np.testing.assert_allclose(
        mixed[new], 0.5 * scores[new] + 0.5 * (0.1 + 2 * np.log(users.features[new, 0])), rtol=1e-4, atol=1e-4
    )
    assert ScoreRules().apply(scores, users.features, N_BASE_MODELS) is scores
    behind = ScoreRules(new=ScoreRule(shift=-0.5)).apply(scores, users.features, N_BASE_MODELS)
    np.testing.assert_allclose(behind, scores - 0.5 * new, rtol=1e-6)
    assert ScoreRules.from_array(rules.to_array()[:, :4]) == rules  # of a version without shifts
