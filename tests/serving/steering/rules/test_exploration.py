"""Exploration: stated propensities are the frequencies, estimates by them are unbiased, and rules hold."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from recommenders.math.ranked import Ranked
from serving.steering.rules.active_rules import ActiveRule, Steered, Steering
from serving.steering.rules.exploration import Draw
from serving.steering.rules.item_choice import Chosen
from serving.steering.rules.model_ranking import ModelRanking
from serving.steering.rules.rule_types import parse

N_ITEMS, N_DRAWS, N_LISTS = 40, 3000, 1500
ITEMS = [Chosen(column, -float(column), None, ()) for column in range(N_ITEMS)]
# share, length of the list, number of items that may be drawn, pinned slots
CASES = [
    (0.1, 10, 20, ()),
    (0.1, 10, 1, ()),  # fewer items than slots times share: 0.9 slots, 1 item
    (0.5, 10, 3, ()),  # as above: 4.5 slots
    (0.3, 10, 20, (2, 5, 9)),
    (0.25, 5, 5, ()),  # a whole number of slots
    (0.5, 2, 4, ()),
]


def draws(share: float, n: int, m: int, pinned: tuple[int, ...]) -> Iterator[list[Chosen]]:
    for number in range(N_DRAWS):
        yield Draw(share, n + m, f"request {number}").explored(ITEMS[:n], ITEMS[n : n + m], pinned)


@pytest.mark.parametrize(("share", "n", "m", "pinned"), CASES)
def test_frequencies_are_the_stated_propensities(share: float, n: int, m: int, pinned: tuple[int, ...]) -> None:
    shown, stated, n_explored = Counter[tuple[int, int]](), {}, []
    for found in draws(share, n, m, pinned):
        assert len({item.column for item in found}) == n
        n_explored.append(sum(item.column >= n for item in found))
        for place, item in enumerate(found):
            shown[place, item.column] += 1
            assert stated.setdefault((place, item.column), item.propensity) == item.propensity
    places = [place for place in range(1, n) if place + 1 not in pinned]
    chance = min(share, m / len(places))
    assert np.mean(n_explored) == pytest.approx(chance * len(places), abs=0.05)
    assert max(n_explored) <= np.ceil(chance * len(places))
    for place in range(n):
        if place not in places:
            assert stated[place, place] is None
            assert shown[place, place] == N_DRAWS
            continue
        assert stated[place, place] == 1 - chance
        expected = {place: 1 - chance} | dict.fromkeys(range(n, n + m), chance / m)
        assert sum(expected.values()) == pytest.approx(1)
        for column, propensity in expected.items():
            times = shown[place, column]
            assert binomtest(times, N_DRAWS, propensity).pvalue > 1e-6
            assert not times or stated[place, column] == pytest.approx(propensity, rel=1e-12)


@pytest.mark.parametrize(("share", "n", "m", "pinned"), CASES)
def test_estimates_by_propensities_are_unbiased(share: float, n: int, m: int, pinned: tuple[int, ...]) -> None:
    """For the list without exploration, and for a list that shows the items in another order."""
    rewards = np.random.default_rng(0).random((n, n + m))  # of each item at each place
    places = [place for place in range(1, n) if place + 1 not in pinned]
    others = {place: n + number % m for number, place in enumerate(places)}
    for target in ({place: place for place in places}, others):
        truth = sum(rewards[place, column] for place, column in target.items())
        estimates = [
            sum(
                rewards[place, column] / found[place].propensity  # type: ignore[operator]
                for place, column in target.items()
                if found[place].column == column
            )
            for found in draws(share, n, m, pinned)
        ]
        error = np.std(estimates) / np.sqrt(len(estimates))
        assert np.mean(estimates) == pytest.approx(truth, abs=4.5 * error + 1e-9)
        plain = [sum(rewards[place, found[place].column] for place in target) for found in draws(share, n, m, pinned)]
        assert abs(np.mean(plain) - truth) > 0.005  # the mean without propensities is biased


@pytest.mark.parametrize(("n", "m", "pinned"), [(1, 5, ()), (5, 0, ()), (3, 5, (2, 3)), (0, 0, ())])
def test_where_nothing_can_change_nothing_does(n: int, m: int, pinned: tuple[int, ...]) -> None:
    for found in draws(0.5, n, m, pinned):
        assert found == ITEMS[:n]


def test_a_request_id_gives_the_same_list_in_each_version_of_python() -> None:
    found = Draw(0.5, 20, "5e0c1f7a9b3d2468").explored(ITEMS[:6], ITEMS[6:20])
    assert [item.column for item in found] == [0, 1, 12, 11, 4, 5]
    assert found == Draw(0.5, 20, "5e0c1f7a9b3d2468").explored(ITEMS[:6], ITEMS[6:20])
    assert found != Draw(0.5, 20, "5e0c1f7a9b3d2469").explored(ITEMS[:6], ITEMS[6:20])


# rules of a list of 8 from 40 items: a pin at slot 3, at most 2 of a brand, a boosted item, and a third is buried
CONTENTS: list[dict[str, Any]] = [
    {"name": "pin", "action": "pin", "slot": 3, "items": "true"},
    {"name": "two", "action": "limit", "attribute": "brand", "at_most": 2},
    {"name": "boost", "action": "boost", "factor": 50.0, "items": "true"},
    {"name": "bury", "action": "bury", "items": "true"},
]
COLUMNS = np.arange(N_ITEMS)
MASKS = [COLUMNS == 20, COLUMNS >= 0, COLUMNS == 30, COLUMNS % 3 == 1]
BRANDS = COLUMNS % 7
K = 8


def steering(n_rules: int, draw: Draw | None) -> Steering:
    rules = parse({"rules": CONTENTS[:n_rules]}, "f").rules
    codes = [None, BRANDS, None, None]
    return Steering(tuple(ActiveRule(*each) for each in zip(rules, MASKS, codes, strict=False)), K, draw)


def rank(items: NDArray[np.bool_], k: int) -> Ranked:
    columns = np.flatnonzero(items)[:k]
    return Ranked(columns[None].astype(np.int32), -columns[None].astype(np.float32))


def listed(n_rules: int, draw: Draw | None, k: int = K, length: int = 25) -> Steered:
    """The list of k items from a model's list of this length."""
    eligible = np.ones(N_ITEMS, np.bool_)
    of_model = ModelRanking(rank(eligible, length), length, rank, lambda _: None)
    return steering(n_rules, draw).choose(eligible, k, of_model)


@pytest.mark.parametrize("n_rules", [0, 1, 2, 3, 4])
def test_rules_win_over_exploration(n_rules: int) -> None:
    plain = listed(n_rules, None)
    own = [item.column for item in plain.items]
    # the list of 25 items by the same rules, without buried ones, is what may be drawn
    longer = [item.column for item in listed(n_rules, None, k=25).items]
    assert longer[:K] == own
    drawable = {column for column in longer[K:] if not (n_rules == 4 and MASKS[3][column])}
    shown, stated = Counter[tuple[int, int]](), {}
    for number in range(N_LISTS):
        found = listed(n_rules, Draw(0.4, 25, f"{number}"))
        assert found.kept_out == plain.kept_out
        columns = [item.column for item in found.items]
        assert len(set(columns)) == K
        assert columns[0] == own[0]
        if n_rules >= 1:
            assert columns[2] == 20
            assert (found.items[2].rules, found.items[2].propensity) == (("pin",), None)
        if n_rules >= 2:
            assert max(Counter(BRANDS[columns].tolist()).values()) <= 2
        for place, item in enumerate(found.items):
            assert item.column == own[place] or item.column in drawable
            shown[place, item.column] += 1
            stated[place, item.column] = item.propensity
    assert {column for place, column in shown if column != own[place]} == drawable
    for (place, column), propensity in stated.items():
        if propensity is not None:
            assert propensity == pytest.approx(0.6 if column == own[place] else 0.4 / len(drawable))
            assert binomtest(shown[place, column], N_LISTS, propensity).pvalue > 1e-6


def test_a_list_as_long_as_the_depth_is_not_explored() -> None:
    assert listed(2, Draw(0.5, K, "a")).items == listed(2, None).items
    # nor is one that has all items of the model's list
    assert listed(0, Draw(0.5, 50, "a"), length=K).items == listed(0, None).items
