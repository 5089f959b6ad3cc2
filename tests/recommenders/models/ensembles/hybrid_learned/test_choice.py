"""Where a base model orders pairs instead of the ranker, or beside it: on made scores the right choice is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommenders.models.ensembles.hybrid_learned.choice import (
    KINDS,
    MIN_USERS,
    SHIFTS,
    Asked,
    Choice,
    Choices,
    _mean_of_views,
    choose,
    kinds_of,
)
from recommenders.models.ensembles.hybrid_learned.features import BUYER_FACTS, ITEM_FACTS, PAIR_FACTS

N_USERS, N_ITEMS, N_MEMBERS = 600, 40, 2
N_FEATURES = N_MEMBERS + len(ITEM_FACTS) + len(BUYER_FACTS) + len(PAIR_FACTS)


def made(
    ranker_noise: float, member_noise: float, *, n_users: int = N_USERS, known: bool = True
) -> tuple[np.ndarray, Asked]:
    """Users want the five items of the largest hidden values, of which half the items were bought before. The ranker
    and the first base model see the values with noise, the second base model sees nothing.
    """
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(n_users, N_ITEMS))
    bought = rng.random((n_users, N_ITEMS)) < 0.5
    wanted = hidden >= -np.sort(-hidden, axis=1)[:, 4:5]
    features = np.zeros((n_users, N_ITEMS, N_FEATURES), np.float32)
    features[:, :, 0] = np.exp(hidden + rng.normal(size=hidden.shape) * member_noise)
    features[:, :, 1] = 0.5
    first = N_FEATURES - len(PAIR_FACTS)
    features[:, :, first - len(BUYER_FACTS) + BUYER_FACTS.index("buyer_known")] = known
    features[:, :, first + PAIR_FACTS.index("pair_orders")] = bought
    columns = np.tile(np.arange(N_ITEMS, dtype=np.int32), (n_users, 1))
    scores = (hidden + rng.normal(size=hidden.shape) * ranker_noise).astype(np.float32).ravel()
    asked = Asked(
        columns,
        features.reshape(-1, N_FEATURES),
        csr_array(bought.astype(np.float32)),
        csr_array(wanted.astype(np.float32)),
    )
    return scores, asked


@pytest.mark.parametrize(("ranker_noise", "member_noise", "share"), [(0.1, 3.0, 0.0), (3.0, 0.1, 1.0), (1.0, 0.7, 0.5)])
def test_the_better_one_orders_and_the_mean_where_both_know_something(
    ranker_noise: float, member_noise: float, share: float
) -> None:
    scores, asked = made(ranker_noise, member_noise)
    found = choose(scores, asked, ("bought", "new"), N_MEMBERS, True)
    assert {kind: choice.share for kind, choice in found.items()} == {"bought": share, "new": share}
    assert all(choice.column == 0 for choice in found.values())


def test_each_kind_of_pair_is_ordered_by_whoever_knows_it() -> None:
    """The ranker knows new items, the base model, whose scores lie close together, what was bought."""
    known_to_ranker, asked = made(0.1, 0.1)
    rng = np.random.default_rng(1)
    new = kinds_of(asked.features, N_MEMBERS) == KINDS.index("new")
    noise = rng.normal(size=len(new)).astype(np.float32) * 3
    features = asked.features.copy()
    features[:, 0] = np.where(new, np.exp(noise), features[:, 0]) ** 0.3
    scores = np.where(new, known_to_ranker, 0.5 * known_to_ranker + noise).astype(np.float32)
    found = choose(scores, replace(asked, features=features), ("bought", "new"), N_MEMBERS, True)
    assert {kind: choice.share for kind, choice in found.items()} == {"bought": 1.0, "new": 0.0}


def test_one_base_model_orders_everything_where_the_ranker_cannot_even_tell_the_kinds_apart() -> None:
    scores, asked = made(3.0, 0.1)
    scores = scores + 5 * (kinds_of(asked.features, N_MEMBERS) == KINDS.index("new")).astype(np.float32)
    found = choose(scores, asked, ("bought", "new"), N_MEMBERS, True)
    assert found == dict.fromkeys(("bought", "new"), Choice(1.0, 0, 0.0, 1.0))
    np.testing.assert_allclose(
        Choices(**found).apply(scores, asked.features, N_MEMBERS), np.log(asked.features[:, 0]), rtol=1e-4, atol=1e-5
    )


def test_views_are_those_of_lists_by_the_scores() -> None:
    """Three users with three, one and two candidates among five items; the second one's best is not a candidate."""
    columns = np.array([[0, 1, 3], [3, -1, -1], [2, 4, -1]], np.int32)
    known = csr_array(np.array([[1, 0, 0, 0, 0], [1, 0, 0, 1, 0], [0, 0, 1, 0, 0]], np.float32))
    wanted = csr_array(np.array([[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 1]], np.float32))
    asked = Asked(columns, np.zeros((6, N_FEATURES), np.float32), known, wanted)
    views = asked.views(np.array([1, 2, 3, 9, 1, 2], np.float32), True)
    second, third = 1 / np.log2(3), 1 / np.log2(4)
    np.testing.assert_allclose(views["all"], [(second + third) / (1 + second), 0.0, 1.0])
    np.testing.assert_allclose(views["reorder"], [third, 0.0, np.nan])
    np.testing.assert_allclose(views["discovery"], [second, 0.0, 1.0])
    alone = asked.views(np.array([1, 2, 3, 9, 1, 2], np.float32), False)
    np.testing.assert_allclose(alone["discovery"], views["discovery"])
    assert list(alone) == ["discovery"]
    judged = _mean_of_views(asked, True, {"all", "reorder"}, np.array([1, 2, 3, 9, 1, 2], np.float32))
    np.testing.assert_allclose(judged, [(views["all"][0] + third) / 2, 0.0, 1.0])  # over the views that are defined


def test_a_base_model_that_says_nothing_of_an_item_says_very_little() -> None:
    scores, asked = made(1.0, 1.0)
    features = asked.features.copy()
    features[::3, 0] = 0.0
    features[1::3, 0] = -2.0
    mean = Choices(bought=Choice(0.5, 0, 0.0, 1.0)).apply(scores, features, N_MEMBERS)
    bought = kinds_of(features, N_MEMBERS) == KINDS.index("bought")
    lowest = bought & (features[:, 0] <= 0)
    np.testing.assert_allclose(mean[lowest], 0.5 * scores[lowest] + 0.5 * np.log(1e-3), rtol=1e-5, atol=1e-5)


def test_a_ranker_that_is_not_clearly_behind_stays() -> None:
    scores, asked = made(0.5, 0.5)
    same = asked.features.copy()
    same[:, 0] = np.exp(scores)  # the base model says what the ranker says
    asked = Asked(asked.columns, same, asked.known, asked.wanted)
    found = choose(scores, asked, ("bought", "new"), N_MEMBERS, True)
    assert [choice.share for choice in found.values()] == [0.0, 0.0]


def test_the_choice_is_never_clearly_behind_the_best_base_model() -> None:
    for ranker_noise in (0.2, 0.6, 1.0, 2.0):
        scores, asked = made(ranker_noise, 0.6)
        choices = Choices(**choose(scores, asked, ("bought", "new"), N_MEMBERS, True))
        chosen = asked.views(choices.apply(scores, asked.features, N_MEMBERS), True)
        for view, member in asked.views(asked.features[:, 0], True).items():
            gain = (chosen[view] - member)[~np.isnan(member)]
            assert gain.mean() >= -2 * gain.std() / np.sqrt(len(gain)), (ranker_noise, view)


def test_users_of_whom_nothing_is_known_have_a_choice_of_their_own() -> None:
    scores, asked = made(3.0, 0.1, known=False)
    assert set(kinds_of(asked.features, N_MEMBERS).tolist()) == {KINDS.index("cold_start")}
    choices = Choices(**choose(scores, asked, ("cold_start",), N_MEMBERS, True))
    assert choices.cold_start.share == 1.0
    assert choices.bought.share == choices.new.share == 0.0


def test_where_users_do_not_come_back_only_new_items_are_looked_at() -> None:
    scores, asked = made(3.0, 0.1)
    views = asked.views(scores, False)
    assert list(views) == ["discovery"]
    assert choose(scores, asked, ("bought", "new"), N_MEMBERS, False)["new"].share == 1.0


def test_new_items_that_the_ranker_overrates_stand_where_they_belong() -> None:
    """Lists are then as good as those of a ranker that does not; the base model knows nothing here."""
    right, asked = made(0.1, 9.0)
    new = kinds_of(asked.features, N_MEMBERS) == KINDS.index("new")
    wrong = right + np.float32(1.0) * new
    values = []
    for scores in (right, wrong):
        choices = Choices(**choose(scores, asked, ("bought", "new"), N_MEMBERS, True))
        views = asked.views(choices.apply(scores, asked.features, N_MEMBERS), True)
        values.append([float(np.nanmean(views[view])) for view in ("all", "reorder", "discovery")])
        assert choices.bought.shift == choices.cold_start.shift == 0.0
    assert choices.new.shift < 0
    assert (np.array(values[1]) >= np.array(values[0]) - 0.03).all()
    assert np.nanmean(asked.views(wrong, True)["all"]) < values[0][0] - 0.1
    assert choose(right, asked, ("bought", "new"), N_MEMBERS, True)["new"].shift == 0.0
    a_little = right + np.float32(0.25) * new
    assert choose(a_little, asked, ("bought", "new"), N_MEMBERS, True)["new"].shift == -0.25
    assert choose(wrong, asked, ("bought", "new"), N_MEMBERS, False)["new"].shift == 0.0  # nothing bought is listed


def test_where_it_costs_nothing_new_items_stand_behind_as_far_as_they_may() -> None:
    """One user alone wants a new item: lists of all items are as good where no new one stands before a bought one."""
    scores, asked = made(0.1, 9.0)
    wanted = asked.wanted.multiply(asked.known).tolil()
    wanted[0, int(np.flatnonzero(asked.known[[0]].toarray()[0] == 0)[0])] = 1
    choices = Choices(**choose(scores, replace(asked, wanted=csr_array(wanted)), ("bought", "new"), N_MEMBERS, True))
    assert choices.new.shift == min(SHIFTS) == -0.5


def test_where_nobody_bought_again_new_items_stand_where_the_ranker_puts_them() -> None:
    scores, asked = made(0.1, 9.0)
    first_time = csr_array(asked.wanted - asked.wanted.multiply(asked.known))
    first_time.eliminate_zeros()
    first_time.sort_indices()
    found = choose(scores, replace(asked, wanted=first_time), ("bought", "new"), N_MEMBERS, True)
    assert found.keys() == {"new"}
    assert found["new"].shift == 0.0


def test_few_users_decide_nothing() -> None:
    scores, asked = made(3.0, 0.1, n_users=MIN_USERS - 1)
    assert choose(scores, asked, ("bought", "new"), N_MEMBERS, True) == {}
    scores, asked = made(3.0, 0.1, n_users=MIN_USERS)
    assert choose(scores, asked, ("bought", "new"), N_MEMBERS, True)


def test_choices_touch_their_own_kind_alone_and_survive_a_bundle() -> None:
    scores, asked = made(1.0, 1.0)
    choices = Choices(new=Choice(0.5, 0, 0.1, 2.0))
    again = Choices.from_array(choices.to_array())
    assert again == choices
    mixed, kinds = again.apply(scores, asked.features, N_MEMBERS), kinds_of(asked.features, N_MEMBERS)
    np.testing.assert_array_equal(mixed[kinds == 0], scores[kinds == 0])
    new = kinds == 1
    np.testing.assert_allclose(
        mixed[new], 0.5 * scores[new] + 0.5 * (0.1 + 2 * np.log(asked.features[new, 0])), rtol=1e-4, atol=1e-4
    )
    assert Choices().apply(scores, asked.features, N_MEMBERS) is scores
    behind = Choices(new=Choice(shift=-0.5)).apply(scores, asked.features, N_MEMBERS)
    np.testing.assert_allclose(behind, scores - 0.5 * new, rtol=1e-6)
    assert Choices.from_array(choices.to_array()[:, :4]) == choices  # of a version that knew no shift
